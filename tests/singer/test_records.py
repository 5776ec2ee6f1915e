"""Values of every Edm type, through the whole tap: what SAC sent is what is written."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from singer_sdk import Stream

from tap_sac.sac.errors import SACError
from tap_sac.sac.odata.decimals import ExactDecimal
from tap_sac.sac.odata.model import EntitySet, Property
from tap_sac.singer.records import RecordMaker
from tap_sac.singer.schema import json_schema
from tap_sac.tap import TapSAC
from tests.conftest import discover, examples, select, served, sync
from tests.helpers.rows import COLUMNS, one_column, outcome, row_text, unusual_rows, usual_rows
from tests.helpers.stand_in import Model, StandIn, edmx, sales, sales_row

if TYPE_CHECKING:
    from tests.conftest import Serve


FAILED = r"1 of (1 stream|2 streams) failed(; the others were read)?\. [a-z_]+"


@pytest.mark.parametrize(
    ("type_name", "sent", "written", "schema"),
    [
        ("Edm.String", '"a\\u00e4\\n\\"b"', '"aä\\n\\"b"', {"type": "string"}),
        ("Edm.String", "202401", '"202401"', {"type": "string"}),
        ("Edm.String", "1.50", '"1.50"', {"type": "string"}),
        ("Edm.Boolean", "true", "true", {"type": "boolean"}),
        ("Edm.Byte", "255", "255", {"type": "integer"}),
        ("Edm.SByte", "-128", "-128", {"type": "integer"}),
        ("Edm.Int16", "-5", "-5", {"type": "integer"}),
        ("Edm.Int32", "2.0", "2", {"type": "integer"}),
        ("Edm.Int64", '"9007199254740993"', "9007199254740993", {"type": "integer"}),
        ("Edm.Int64", "9007199254740993", "9007199254740993", {"type": "integer"}),
        ("Edm.Double", "0.1", "0.1", {"type": "number"}),
        ("Edm.Single", "1e-3", "1e-3", {"type": "number"}),
        ("Edm.Decimal", "16.0000000", "16.0000000", {"type": "number"}),
        ("Edm.Decimal", "0.0000000", "0.0000000", {"type": "number"}),
        ("Edm.Decimal", "-0.0000001", "-0.0000001", {"type": "number"}),
        ("Edm.Decimal", '"10557.33"', "10557.33", {"type": "number"}),
        ("Edm.Decimal", '"+007.50"', "7.50", {"type": "number"}),
        ("Edm.Decimal", "250", "250", {"type": "number"}),
        ("Edm.Decimal", "-0", "0", {"type": "number"}),
        (
            "Edm.Decimal",
            "123456789012345678901234.1234567",
            "123456789012345678901234.1234567",
            {"type": "number"},
        ),
        ("Edm.Decimal", "1e400", "1e400", {"type": "number"}),
        ("Edm.Date", '"2026-11-02"', '"2026-11-02"', {"type": "string", "format": "date"}),
        (
            "Edm.DateTimeOffset",
            '"2026-11-02T05:12:44.123Z"',
            '"2026-11-02T05:12:44.123Z"',
            {"type": "string", "format": "date-time"},
        ),
        ("Edm.TimeOfDay", '"07:59:59.9"', '"07:59:59.9"', {"type": "string"}),
        ("Edm.Duration", '"P12DT1S"', '"P12DT1S"', {"type": "string"}),
        ("Edm.Binary", '"T0RhdGE="', '"T0RhdGE="', {"type": "string"}),
        (
            "Edm.Guid",
            '"21ec2020-3aea-1069-a2dd-08002b30309d"',
            '"21ec2020-3aea-1069-a2dd-08002b30309d"',
            {"type": "string"},
        ),
        (
            "Edm.GeographyPoint",
            '{"type":"Point","coordinates":[1.10,2]}',
            '"{\\"type\\":\\"Point\\",\\"coordinates\\":[1.10,2]}"',
            {"type": "string"},
        ),
        ("sac.Unknown", '{"a":[1.10]}', '"{\\"a\\":[1.10]}"', {"type": "string"}),
        ("Collection(Edm.Decimal)", "[1.0,2.50,null]", '"[1.0,2.50,null]"', {"type": "string"}),
    ],
)
def test_values_of_each_type(
    serve: Serve,
    capsys: pytest.CaptureFixture[str],
    type_name: str,
    sent: str,
    written: str,
    schema: dict[str, str],
) -> None:
    TapSAC(config=serve(one_column(type_name, sent, "null"))).sync_all()
    lines = capsys.readouterr().out.splitlines()
    records = [line for line in lines if '"RECORD","stream":"t_s"' in line]
    assert f'"record":{{"ID":"0","X":{written}}}' in records[0]
    assert '"record":{"ID":"1","X":null}' in records[1]
    message = next(json.loads(line) for line in lines if '"SCHEMA","stream":"t_s"' in line)
    declared = message["schema"]["properties"]["X"]
    assert declared["type"] == [schema["type"], "null"]
    assert declared.get("format") == schema.get("format")
    assert "multipleOf" not in declared
    assert message["schema"]["properties"]["ID"]["type"] == "string"
    assert message["key_properties"] == ["ID"]


@pytest.mark.parametrize(
    ("type_name", "value"),
    [
        ("Edm.Decimal", '"twelve"'),
        ("Edm.Decimal", '"NaN"'),
        ("Edm.Decimal", "true"),
        ("Edm.Decimal", "[1]"),
        ("Edm.Double", '"INF"'),
        ("Edm.Int32", "2.5"),
        ("Edm.Int64", "1e400"),
        ("Edm.Int64", "true"),
        ("Edm.Decimal", "false"),
        ("Edm.Boolean", "1"),
        ("Edm.String", "true"),
        ("Edm.String", "{}"),
    ],
)
def test_value_of_another_type_stops_the_run_by_name(
    serve: Serve, type_name: str, value: str
) -> None:
    with pytest.raises(SACError, match=rf"^{FAILED}: The column X of S holds .*Edm\."):
        sync(serve(one_column(type_name, value)))


@pytest.mark.parametrize("values", [("-0", "1"), ("1", "-0"), ("-0",), ("-0", "null")])
def test_negative_zero_is_zero_wherever_it_is(serve: Serve, values: tuple[str, ...]) -> None:
    lines = "\n".join(outcome(serve(one_column("Edm.Decimal", *values))))
    written = [value.replace("-0", "0") for value in values]
    assert re.findall(r'"ID":"\d","X":([^}]*)}', lines) == written


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_stop_the_run(
    serve: Serve, waits: list[float], literal: str
) -> None:
    with pytest.raises(SACError, match=f"{literal} is not valid JSON"):
        sync({**serve(one_column("Edm.Decimal", literal)), "backoff_max_tries": 2})
    assert waits


def test_missing_columns_are_null_and_unknown_ones_are_dropped_with_one_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    row = '{"Version":"A","Date":"1","@odata.id":"x","AMOUNT@odata.type":"y","NEW":1}'
    rows = ('{"Version":"A","Date":"0"}', row, row.replace('"1"', '"2"'))
    messages = sync(serve(StandIn(sales(*rows))))
    assert messages.records("sales_fact_data") == [
        {"Version": "A", "Date": date, "AMOUNT": None} for date in ("0", "1", "2")
    ]
    warnings = [text for text in caplog.messages if "Dropping columns" in text]
    assert warnings == [
        "Dropping columns of FactData that are not in $metadata: NEW",
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('{"Version":"A"}', "no value in its key column Date: the model has changed"),
        ('{"Version":"A","Date":null}', "null in its key column Date: correct it in SAC"),
    ],
)
def test_row_without_its_key_stops_the_run(serve: Serve, row: str, told: str) -> None:
    with pytest.raises(SACError, match=rf"^{FAILED}: .* has {told}"):
        sync(serve(StandIn(sales(row))))


def test_text_that_is_not_unicode_fails_its_table(serve: Serve) -> None:
    config = serve(one_column("Edm.String", '"\\ud800"'))
    with pytest.raises(SACError, match=rf"^{FAILED}: .*half of a surrogate pair"):
        sync(config)


def test_audit_row_without_a_time_fails_its_table(serve: Serve) -> None:
    document = edmx(AuditData={"ID": "Edm.String*", "Audit_Time": "Edm.DateTimeOffset"})
    tenant = StandIn(Model("C4T", "T", document, {"AuditData": ['{"ID":"1","Audit_Time":null}']}))
    config = serve(tenant)
    with pytest.raises(SACError, match=rf"^{FAILED}: .*no valid time in Audit_Time"):
        sync(config, select(discover(config), "t_audit_data"))


def test_singer_decimals_have_all_digits_precision_and_scale(serve: Serve) -> None:
    config = {
        **serve(
            StandIn(sales(sales_row(1, "0.0000000"), sales_row(2, "12"), sales_row(3, '"5.0"')))
        ),
        "use_singer_decimal": True,
    }
    declared = {
        "type": ["string", "null"],
        "format": "x-singer.decimal",
        "precision": 31,
        "scale": 7,
    }
    catalog = discover(config)
    assert catalog["sales_fact_data"]["schema"]["properties"]["AMOUNT"] == declared
    for messages in (sync(config), sync(config, select(catalog, "sales_fact_data"))):
        amounts = [record["AMOUNT"] for record in messages.records("sales_fact_data")]
        assert amounts == ["0.0000000", "12", "5.0"]
        schema = messages.schema("sales_fact_data")["schema"]
        assert schema["properties"]["AMOUNT"] == declared


NESTED = (
    '<E><Schema Namespace="sac"><ComplexType Name="Line">'
    '<Property Name="amount" Type="Edm.Decimal" Precision="9" Scale="2"/></ComplexType>'
    '<ComplexType Name="Map" OpenType="true"/><EntityType Name="S">'
    '<Property Name="lines" Type="Collection(sac.Line)"/><Property Name="map" Type="sac.Map"/>'
    '<Property Name="numbers" Type="Collection(Edm.Decimal)" Precision="5" Scale="1"/>'
    "</EntityType></Schema></E>"
)


@pytest.mark.parametrize("use_singer_decimal", [True, False])
def test_structured_columns_are_json_text_with_every_digit(
    serve: Serve, *, use_singer_decimal: bool
) -> None:
    row = '{"lines":[{"amount":1.50},null],"map":{"a":1,"b.c":[1.0,{"d":null}]},"numbers":[null]}'
    tenant = StandIn(Model("C4T", "T", NESTED, {"S": [row]}))
    messages = sync({**serve(tenant), "use_singer_decimal": use_singer_decimal})
    assert messages.records("t_s") == [
        {
            "lines": '[{"amount":1.50},null]',
            "map": '{"a":1,"b.c":[1.0,{"d":null}]}',
            "numbers": "[null]",
        }
    ]
    properties = messages.schema("t_s")["schema"]["properties"]
    assert list(properties.values()) == [{"type": ["string", "null"]}] * 3


def decimal_columns(row: str, **facets: str) -> StandIn:
    """Serve a set T of decimals with these attributes, in pages of two, five times the row."""
    properties = "".join(
        f'<Property Name="{name}" Type="Edm.Decimal" {text}/>' for name, text in facets.items()
    )
    document = (
        '<E><Schema Namespace="sac"><EntityType Name="FactData"><Key><PropertyRef Name="ID"/></Key>'
        f'<Property Name="ID" Type="Edm.String"/>{properties}</EntityType></Schema></E>'
    )
    rows = [f'{{"ID":"{number}",{row}}}' for number in range(5)]
    return StandIn(Model("C4T", "T", document, {"FactData": rows}))


BOTH = 'Precision="9" Scale="2"'
FACETS_WITHOUT_SCALE = [
    "",
    'Precision="31"',
    'Precision="31" Scale="variable"',
    'Precision="31" Scale="floating"',
    'Scale="7"',
]


@pytest.mark.parametrize("facets", FACETS_WITHOUT_SCALE)
def test_precision_or_scale_alone_is_not_declared_but_warned_about_once(
    serve: Serve, caplog: pytest.LogCaptureFixture, facets: str
) -> None:
    text = '"1.0123456789012345678901234567"'
    tenant = decimal_columns(f'"AMOUNT":{text}', GOOD=BOTH, OTHER=facets, AMOUNT=facets)
    config = {**serve(tenant), "use_singer_decimal": True}
    catalog = discover(config)
    everything = select(catalog, "t_fact_data")
    assert "precision and scale" not in caplog.text
    for entry in catalog["t_fact_data"]["metadata"]:
        if entry["breadcrumb"] == ["properties", "OTHER"]:
            entry["metadata"]["selected"] = False
    expected = {"type": ["string", "null"], "format": "x-singer.decimal"}
    for messages in (sync(config), sync(config, everything)):
        properties = messages.schema("t_fact_data")["schema"]["properties"]
        assert properties["GOOD"] == {**expected, "precision": 9, "scale": 2}
        assert properties["AMOUNT"] == expected
        record = messages.records("t_fact_data")[4]
        assert record["AMOUNT"] == json.loads(text)
    warnings = [line for line in caplog.messages if "precision and scale" in line]
    assert len(warnings) == 2
    assert "t_fact_data: OTHER, AMOUNT. Some targets round" in warnings[0]
    assert "t_fact_data: AMOUNT. Some targets round" in warnings[1]


def test_decimals_without_scale_are_warned_about_once_a_run_also_if_a_table_is_read_again(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = decimal_columns('"AMOUNT":1', AMOUNT="")
    config = {
        **serve(tenant),
        "use_singer_decimal": True,
        "default_replication_method": "LOG_BASED",
    }
    link = f"{config['tenant_url']}/api/v1/dataexport/providers/sac/C4T/FactData?deltaid=x"
    query = {"key": ["ID"], "columns": ["ID", "AMOUNT"], "filter": None}
    bookmark = {"delta_link": link, "version": 1, "question": query, "is_followed": False}
    messages = sync(config, state={"bookmarks": {"t_fact_data": bookmark}})
    assert len(messages.records("t_fact_data")) == len(tenant.models[0].sets["FactData"])
    assert "Reading the whole table of t_fact_data again" in caplog.text
    assert sum("precision and scale" in line for line in caplog.messages) == 1


def test_no_warning_of_decimals_that_are_not_read_or_are_numbers_or_plain_text(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    digits = "1.0123456789012345678901234567"
    config = serve(decimal_columns(f'"AMOUNT":{digits}', GOOD=BOTH, AMOUNT='Precision="31"'))
    assert sync(config).records("t_fact_data")[0]["AMOUNT"] == digits
    config["use_singer_decimal"] = True
    catalog = discover(config)
    sync(config, select(catalog, "providers"))
    columns = catalog["t_fact_data"]["schema"]["properties"]
    del columns["AMOUNT"]["format"]
    messages = sync(config, select(catalog, "t_fact_data"))
    assert messages.records("t_fact_data")[0]["AMOUNT"] == digits
    assert messages.schema("t_fact_data")["schema"]["properties"]["AMOUNT"] == {
        "type": ["string", "null"]
    }
    assert "precision and scale" not in caplog.text


WITH_ROOM = {
    "0.0000000": "0.0000000",
    "1.50000000": "1.50000000",
    '"1.50000000000000000000000000000000000000"': "1.50000000000000000000000000000000000000",
    "-0.1234567000": "-0.1234567000",
    "1.5E-6": "1.5E-6",
    "150000E-10": "150000E-10",
    "1E5": "1E5",
    "0E-30": "0E-30",
    "1E400": "1E400",
    "12": "12",
}
WITHOUT_ROOM = {
    "1.12345678": "1.12345678 requires scale 8",
    "-0.00000001": "-0.00000001 requires scale 8",
    "-0.0000000100": "-0.0000000100 requires scale 8",
    "1.0000000000005": "1.0000000000005 requires scale 13",
    "1.5E-8": "1.5E-8 requires scale 9",
    "10.50E-7": "10.50E-7 requires scale 8",
    "1E-400": "1E-400 requires scale 400",
    '"1.12345678"': "1.12345678 requires scale 8",
    f"0.{41 * '1'}": f"0.{38 * '1'}... requires scale 41",
}


def test_zeros_beyond_the_scale_are_kept(serve: Serve) -> None:
    config = {**serve(one_column("Edm.Decimal", *WITH_ROOM)), "use_singer_decimal": True}
    for extra in ({}, {"stream_maps": {"t_s": {"__filter__": "1 == 1"}}}):
        records = sync({**config, **extra}).records("t_s")
        assert [record["X"] for record in records] == list(WITH_ROOM.values())


@pytest.mark.parametrize(("value", "message"), WITHOUT_ROOM.items())
def test_digits_behind_the_scale_that_targets_get_fail_by_name(
    serve: Serve, value: str, message: str
) -> None:
    config = serve(one_column("Edm.Decimal", "1", "2.5", value))
    catalogs = {}
    for use_singer_decimal in (True, False):
        config["use_singer_decimal"] = use_singer_decimal
        catalogs[use_singer_decimal] = select(discover(config), "t_s")
    told = [({**config, "use_singer_decimal": True}, None), (config, catalogs[True])]
    untold = [(config, None), ({**config, "use_singer_decimal": True}, catalogs[False])]
    for settings_, catalog in told:
        for extra in ({}, {"stream_maps": {"t_s": {"__filter__": "1 == 1"}}}):
            with pytest.raises(SACError) as error:
                sync({**settings_, **extra}, catalog)
            assert str(error.value).partition(" failed")[2].partition(". ")[2] == (
                "t_s: "
                f"The column X of S holds a decimal that targets would round: {message}, "
                "but $metadata declares scale 7. Correct the value in SAC, set use_singer_decimal "
                "to false and run discovery again, or deselect the column."
            )
    for settings_, catalog in untold:
        record = sync(settings_, catalog).records("t_s")[2]
        assert value.strip('"') in json.dumps(record["X"])


def test_catalog_of_other_settings_is_warned_about(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = serve(StandIn(sales(sales_row(1))))
    catalog = select(discover(config), "sales_fact_data")
    messages = sync({**config, "use_singer_decimal": True}, catalog)
    assert messages.records("sales_fact_data")[0]["AMOUNT"] == "1.0000000"
    assert "differently than SAC and the settings do now: AMOUNT" in caplog.text


def test_stream_maps_calculate_with_decimals(serve: Serve) -> None:
    maps = {"sales_fact_data": {"DOUBLE": "AMOUNT * 2"}}
    config = {**serve(StandIn(sales(sales_row(1, "0.1000001")))), "stream_maps": maps}
    assert sync(config).records("sales_fact_data") == [
        {"Version": "public.Actual", "Date": "000001", "AMOUNT": "0.1000001", "DOUBLE": "0.2000002"}
    ]


DECIMALS = EntitySet("S", (Property("X", "Edm.Decimal", precision=31, scale=7),), ())
JSON_NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,23})(\.[0-9]{1,7})?", fullmatch=True)


@settings(max_examples=examples(300))
@given(JSON_NUMBERS, st.booleans())
def test_the_text_of_every_decimal_survives(number: str, as_string: bool) -> None:  # noqa: FBT001
    schema = json_schema(DECIMALS, use_singer_decimal=False)
    maker = RecordMaker(DECIMALS, schema, ["X"])
    body = json.loads(f'"{number}"' if as_string else number, parse_float=ExactDecimal)
    (record,) = maker.records([{"X": body}])
    assert ExactDecimal(str(record["X"])) == ExactDecimal(number)
    if "." in number or number != "-0":
        assert str(record["X"]) == number


@settings(max_examples=examples(30, least=10))
@given(
    rows=st.lists(usual_rows | unusual_rows, max_size=6),
    use_singer_decimal=st.booleans(),
)
def test_many_records_at_a_time_are_the_bytes_of_the_sdk(
    rows: list[dict[str, str]], *, use_singer_decimal: bool
) -> None:
    texts = list(map(row_text, rows))
    tenant = StandIn(Model("C4T", "T", edmx(S=COLUMNS), {"S": texts}))
    with served(tenant) as server:
        config = {**server.settings, "use_singer_decimal": use_singer_decimal}
        fast = outcome(config)
        slow = outcome({**config, "stream_maps": {"t_s": {"__filter__": "1 == 1"}}})
    assert fast == slow


def test_states_come_where_the_sdk_writes_them(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stream, "STATE_MSG_FREQUENCY", 1_000)
    config = serve(StandIn(sales(*(sales_row(number) for number in range(2_500)))))
    config |= {"page_size": 777}
    slow = {**config, "stream_maps": {"sales_fact_data": {"__filter__": "1 == 1"}}}
    lines = outcome(config)
    assert lines == outcome(slow)
    assert sum('"STATE"' in line for line in lines) > 1
