"""BATCH messages and their files."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import sys
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet
from typing_extensions import override

from tap_sac.demo.service import SALES_MODEL, Response, SampleService
from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import Messages, discover, read_messages, select, sync
from tests.helpers.batches import PARQUET_FACETS, batch_config, files, lines_of, records_of
from tests.helpers.pipeline import STREAM as SALES
from tests.helpers.pipeline import Pipeline, Table, small
from tests.helpers.runs import killed_sync
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import RunCli, Serve

STREAM = "sales_fact_data"
AMOUNTS = ("0.0000000", "-1.5", "123456789012345678901234.1234567", "null", "10557.33")
ROWS = [sales_row(number, amount) for number, amount in enumerate(AMOUNTS)]


def types_of(messages: Messages, stream: str) -> list[str]:
    """Return the types of the messages about a stream, and of the states between them."""
    kinds = [
        item["type"] for item in messages if item["type"] == "STATE" or item.get("stream") == stream
    ]
    return kinds[kinds.index("SCHEMA") :]


def with_version(row: str, version: int) -> str:
    return f'{row[:-1]},"_sdc_table_version":{version}}}'


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("compression", ["gzip", None])
def test_jsonl_files_have_every_digit_and_the_version(
    serve: Serve, tmp_path: Path, size: int, compression: str | None
) -> None:
    config = batch_config(tmp_path, "jsonl", compression, size)
    messages = sync({**serve(StandIn(sales(*ROWS))), **config})
    number = len(files(messages, STREAM))
    assert number == -(-len(ROWS) // size)
    types = [item["type"] for item in messages.of(STREAM)]
    assert types == ["SCHEMA", *["BATCH"] * number, "ACTIVATE_VERSION"]
    version = messages.of(STREAM)[-1]["version"]
    assert lines_of(messages, STREAM) == [with_version(row, version) for row in ROWS]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_without_versions_files_have_the_rows_alone(
    serve: Serve, tmp_path: Path, size: int
) -> None:
    config = batch_config(tmp_path, "jsonl", "gzip", size)
    config["emit_activate_version_messages"] = False
    messages = sync({**serve(StandIn(sales(*ROWS))), **config})
    assert lines_of(messages, STREAM) == ROWS
    types = [item["type"] for item in messages.of(STREAM)]
    assert types == ["SCHEMA", *["BATCH"] * len(files(messages, STREAM))]


def test_rows_without_a_column_have_a_version(serve: Serve, tmp_path: Path) -> None:
    tenant = StandIn(Model("C4T", "T", edmx(S={"X": "Edm.String"}), {"S": ["{}", "{}"]}))
    config = {**serve(tenant), **batch_config(tmp_path, "jsonl", None, 10)}
    entry = discover(config)["t_s"]
    column = next(item for item in entry["metadata"] if item["breadcrumb"])
    column["metadata"] = {"inclusion": "available", "selected": False}
    messages = sync(config, select({"t_s": entry}, "t_s"))
    version = messages.of("t_s")[-1]["version"]
    assert records_of(messages, "t_s") == [{"_sdc_table_version": version}] * 2


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_activation_and_state_follow_the_last_file(
    serve: Serve, tmp_path: Path, size: int, format_: str
) -> None:
    rows = ROWS[:4]
    link = '"@odata.deltaLink":"/api/v1/dataexport/providers/sac/C4SALES/FactData?deltaid=D"'
    tenant = StandIn(sales(*rows))
    tenant.fault = lambda request: (
        Response(200, f'{{"value":[{",".join(rows)}],{link}}}'.encode(), JSON)
        if "/FactData" in request.target
        else None
    )
    config = {**serve(tenant), **batch_config(tmp_path, format_, None, size)}
    messages = sync({**config, "default_replication_method": "LOG_BASED"})
    types = types_of(messages, STREAM)
    assert types[-2:] == ["ACTIVATE_VERSION", "STATE"]
    assert types.count("ACTIVATE_VERSION") == 1
    for message in messages[: messages.index(messages.of(STREAM)[-1])]:
        if message["type"] == "STATE":
            assert not message["value"]["bookmarks"].get(STREAM)
    bookmark = messages.state["bookmarks"][STREAM]
    assert bookmark["delta_link"].endswith("deltaid=D")
    assert bookmark["version"] == messages.of(STREAM)[-1]["version"]


def test_run_that_fails_activates_nothing(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = lambda request: (
        error_response(400, "no more") if "skiptoken=4" in request.target else None
    )
    config = {**serve(tenant), **batch_config(tmp_path, "jsonl", None, 2)}
    with pytest.raises(SACError, match="no more"):
        TapSAC(config=config).sync_all()
    messages = read_messages(capsys.readouterr().out)
    assert [item["type"] for item in messages.of(STREAM)] == ["SCHEMA", "BATCH", "BATCH"]


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_run_that_cannot_write_its_last_file_activates_nothing(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    service = small(SampleService())
    first = service.facts(SALES_MODEL).rows[0]
    assert first
    config = {
        **serve(service),
        **batch_config(tmp_path, "parquet", None, 1000),
        "models": ["Sales Planning"],
        "default_replication_method": method,
        # One column of two types, which is seen when the file is closed.
        "stream_maps": {SALES: {"MIXED": f"1 if QUANTITY == {first['QUANTITY']} else 'x'"}},
    }
    with pytest.raises(SACError, match="use the format jsonl"):
        TapSAC(config=config).sync_all()
    messages = read_messages(capsys.readouterr().out)
    assert [item["type"] for item in messages.of(SALES)] == ["SCHEMA"]
    assert all(
        not item["value"]["bookmarks"].get(SALES) for item in messages if item["type"] == "STATE"
    )


@pytest.mark.parametrize("batches", [False, True])
def test_read_that_a_map_ends_leaves_no_subscription_behind(
    serve: Serve, tmp_path: Path, *, batches: bool
) -> None:
    service = small(SampleService())
    config = {
        **serve(service),
        **(batch_config(tmp_path, "jsonl", None, 1000) if batches else {}),
        "models": ["Sales Planning"],
        "default_replication_method": "LOG_BASED",
        "stream_maps": {SALES: {"X": "None if _sdc_deleted_at else int(Version)"}},
    }
    with pytest.raises(SACError, match=r"fails on a row \(ValueError: .*public\.Actual") as failure:
        TapSAC(config=config).sync_all()
    assert failure.tb is not None  # What its frames refer to is not closed by itself.
    assert not service.subscriptions


def test_changes_whose_last_file_cannot_be_written_are_not_lost(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = small(SampleService())
    config = {
        **serve(service),
        "models": ["Sales Planning"],
        "default_replication_method": "LOG_BASED",
    }
    pipeline = Pipeline(service, config)
    pipeline.run()
    before = pipeline.bookmark()
    pipeline.facts.put(pipeline.row(0, QUANTITY="5.0000000"))
    pipeline.facts.put(pipeline.row(1, QUANTITY="6.0000000"))
    spoilt = {
        **config,
        **batch_config(tmp_path, "parquet", None, 1000),
        # One column of two types, which is seen when the file is closed.
        "stream_maps": {SALES: {"MIXED": "1 if QUANTITY == 5 else 'x'"}},
    }
    with pytest.raises(SACError, match="use the format jsonl"):
        TapSAC(config=spoilt, state=copy.deepcopy(pipeline.table.state)).sync_all()
    pipeline.table.load(read_messages(capsys.readouterr().out))
    assert pipeline.bookmark()["delta_link"] == before["delta_link"]
    pipeline.run()
    pipeline.check()


def unpacked(messages: Messages) -> Messages:
    """Put RECORD messages in place of the files that BATCH messages name."""
    result = Messages()
    for message in messages:
        if message["type"] != "BATCH":
            result.append(message)
            continue
        stream = message["stream"]
        for record in records_of(Messages([message]), stream):
            version = record.pop("_sdc_table_version", None)
            result.append(
                {"type": "RECORD", "stream": stream, "record": record, "version": version}
            )
    return result


@pytest.mark.parametrize("size", [2, 100])
def test_changes_and_runs_that_are_killed_lose_nothing(
    serve: Serve, tmp_path: Path, size: int
) -> None:
    service = small(SampleService())
    config = {
        **serve(service),
        **batch_config(tmp_path, "jsonl", "gzip", size),
        "models": ["Sales Planning"],
        "default_replication_method": "LOG_BASED",
        "page_size": 5,
    }
    pipeline = Pipeline(service, config)
    catalog = select(discover(config), SALES)
    facts = pipeline.facts
    number = len(sync(config, catalog))
    for killed_after in range(number):
        pipeline.table = Table()
        pipeline.table.load(unpacked(killed_sync(config, catalog, {}, killed_after)))
        gone = next(row for row in facts.rows if row is not None)
        facts.delete(facts.key_of(gone))
        pipeline.table.load(unpacked(sync(config, catalog, pipeline.table.state)))
        pipeline.check()
        facts.put({**gone, "REVENUE": Decimal(f"{killed_after}.5000000")})
        other = next(row for row in facts.rows if row is not None and row != gone)
        facts.delete(facts.key_of(other))
        state = pipeline.table.state
        pipeline.table.load(unpacked(killed_sync(config, catalog, state, killed_after)))
        facts.put({**gone, "REVENUE": Decimal(f"{killed_after}.7500000")})
        pipeline.table.load(unpacked(sync(config, catalog, pipeline.table.state)))
        pipeline.check()
        facts.put(other)


AUDIT_COLUMNS = {"ID": "Edm.String*", "Audit_Time": "Edm.DateTimeOffset", "USER": "Edm.String"}
AUDIT_ROWS = [
    f'{{"ID":"{number}","Audit_Time":"2026-01-0{number}T00:00:00Z","USER":"Ada"}}'
    for number in range(1, 4)
]


def test_incremental_files_have_no_version_and_follow_the_map(serve: Serve, tmp_path: Path) -> None:
    tenant = StandIn(Model("C4T", "T", edmx(AuditData=AUDIT_COLUMNS), {"AuditData": AUDIT_ROWS}))
    tenant.fault = lambda request: (
        Response(200, f'{{"value":[{",".join(AUDIT_ROWS)}]}}'.encode(), JSON)
        if "/AuditData" in request.target
        else None
    )
    config = {**serve(tenant), **batch_config(tmp_path, "jsonl", "gzip", 2)}
    catalog = select(discover(config), "t_audit_data")
    maps = {"t_audit_data": {"__filter__": "ID != '2'", "USER": "'somebody'"}}
    messages = sync({**config, "stream_maps": maps}, catalog)
    assert records_of(messages, "t_audit_data") == [
        {"ID": number, "Audit_Time": f"2026-01-0{number}T00:00:00Z", "USER": "somebody"}
        for number in ("1", "3")
    ]
    assert "ACTIVATE_VERSION" not in types_of(messages, "t_audit_data")
    bookmark = messages.state["bookmarks"]["t_audit_data"]
    assert bookmark["replication_key_value"] == "2026-01-03T00:00:00Z"


def test_incremental_bookmark_stays_if_the_last_file_cannot_be_written(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = Model("C5L", "U", edmx(S={"ID": "Edm.String*"}), {"S": ['{"ID":"1"}']})
    tenant = StandIn(
        Model("C4T", "T", edmx(AuditData=AUDIT_COLUMNS), {"AuditData": AUDIT_ROWS}), later
    )
    config = {
        **serve(tenant),
        **batch_config(tmp_path, "parquet", None, 100),
        # One column of two types, which is seen when the file is closed.
        "stream_maps": {"t_audit_data": {"MIXED": "1 if ID == '2' else ID"}},
    }
    catalog = select(discover(config), "t_audit_data", "u_s")
    before = {"replication_key": "Audit_Time", "replication_key_value": "2025-12-31T00:00:00Z"}
    state = {"bookmarks": {"t_audit_data": before}}
    with pytest.raises(SACError, match="use the format jsonl"):
        TapSAC(config=config, catalog=catalog, state=state).sync_all()
    messages = read_messages(capsys.readouterr().out)
    assert "u_s" in messages.state["bookmarks"]
    bookmark = messages.state["bookmarks"]["t_audit_data"]
    assert bookmark["replication_key_value"] == "2025-12-31T00:00:00Z"


def test_map_with_an_alias_masks_filters_and_leaves_out(serve: Serve, tmp_path: Path) -> None:
    config = {
        **serve(StandIn(sales(*ROWS))),
        **batch_config(tmp_path, "jsonl", "gzip", 2),
        "stream_maps": {
            STREAM: {
                "__alias__": "facts",
                "__filter__": "AMOUNT",
                "__else__": None,
                "Version": "md5(Version)",
                "Date": "Date",
                "COPY": "AMOUNT",
            },
            "__else__": None,
        },
    }
    messages = sync(config)
    assert {item.get("stream") for item in messages if item["type"] != "STATE"} == {"facts"}
    version = messages.of("facts")[-1]["version"]
    digest = "1ede6e218a022100ed9695d56205b5cf"
    assert records_of(messages, "facts") == [
        {"Version": digest, "Date": date, "COPY": amount, "_sdc_table_version": version}
        for date, amount in [
            ("000001", "-1.5"),
            ("000002", "123456789012345678901234.1234567"),
            ("000004", "10557.33"),
        ]
    ]
    assert len(files(messages, "facts")) == 2


@pytest.mark.parametrize("prefix", [None, "\u6771" * 66], ids=["stream", "prefix"])
def test_long_names_of_streams_are_cut_in_names_of_files(
    serve: Serve, tmp_path: Path, prefix: str | None
) -> None:
    names = [200 * "a" + end for end in "bc"]
    tenant = StandIn(*(sales(*ROWS, model_id=f"C4{name[-1]}", name=name) for name in names))
    config = batch_config(tmp_path, "jsonl", "gzip", 2)
    config["batch_config"]["storage"]["prefix"] = prefix
    messages = sync({**serve(tenant), **config})
    streams = {item["stream"] for item in messages if item["type"] == "BATCH"} - {"providers"}
    assert len(streams) == 2
    for stream in streams:
        assert [json.loads(line)["Date"] for line in lines_of(messages, stream)] == [
            f"{number:06}" for number in range(len(ROWS))
        ]
    starts = {path.name.rsplit("-", 6)[0] for path in tmp_path.iterdir()}
    assert len(starts) == 3
    assert 253 <= max(len(path.name.encode()) for path in tmp_path.iterdir()) <= 255


def test_removed_stream_writes_nothing(serve: Serve, tmp_path: Path) -> None:
    config = {
        **serve(StandIn(sales(*ROWS))),
        **batch_config(tmp_path, "jsonl", "gzip", 2),
        "stream_maps": {STREAM: None},
    }
    messages = sync(config)
    assert messages.of(STREAM) == []
    assert messages.of("providers")
    assert not [path.name for path in tmp_path.iterdir() if STREAM in path.name]


def test_several_maps_of_a_stream_are_refused_before_any_message(
    serve: Serve, tmp_path: Path, run_cli: RunCli
) -> None:
    config = {
        **serve(StandIn(sales(*ROWS))),
        "stream_maps": {"facts_again": {"__source__": STREAM, "__key_properties__": []}},
    }
    assert len(sync(config).records("facts_again")) == len(ROWS)
    result = run_cli({**config, **batch_config(tmp_path, "jsonl", None, 10)})
    assert result.returncode == 1
    assert not result.stdout
    (sentence,) = (line for line in result.stderr.splitlines() if "__source__" in line)
    assert (
        f"The setting stream_maps copies {STREAM} into further streams (facts_again), which "
        "batch_config cannot write: remove their __source__, or unset batch_config."
    ) in sentence
    assert "Traceback" not in result.stderr
    catalog = select(discover(config), "providers")
    assert sync({**config, **batch_config(tmp_path, "jsonl", None, 10)}, catalog).of("providers")


@pytest.mark.parametrize("size", [2, 100])
def test_file_is_complete_before_its_message(serve: Serve, tmp_path: Path, size: int) -> None:
    rows: list[Any] = []

    class Target(io.StringIO):
        @override
        def write(self, text: str) -> int:
            for path in files(read_messages(text), STREAM):
                with gzip.open(path, "rt") as file:
                    rows.extend(json.loads(line) for line in file)
            return super().write(text)

    config = {
        **serve(StandIn(sales(*ROWS))),
        **batch_config(tmp_path, "jsonl", "gzip", size),
    }
    with contextlib.redirect_stdout(Target()):
        tap = TapSAC(config=config)
        tap.sync_all()
    assert rows == [json.loads(with_version(row, tap.initialized_at)) for row in ROWS]


@pytest.mark.parametrize("compression", ["gzip", None])
@pytest.mark.parametrize("use_singer_decimal", [True, False])
def test_parquet_files_have_decimals(
    serve: Serve, tmp_path: Path, compression: str | None, *, use_singer_decimal: bool
) -> None:
    config = {
        **serve(StandIn(sales(*ROWS))),
        **batch_config(tmp_path, "parquet", compression, 3),
        "use_singer_decimal": use_singer_decimal,
        "default_replication_method": "LOG_BASED",
    }
    messages = sync(config)
    tables = [parquet.ParquetFile(path).read() for path in files(messages, STREAM)]
    assert [table.num_rows for table in tables] == [3, 2]
    assert {str(table.schema.field("AMOUNT").type) for table in tables} == {"decimal128(31, 7)"}
    assert tables[0].schema == tables[1].schema
    amounts = [value for table in tables for value in table["AMOUNT"].to_pylist()]
    assert amounts == [None if text == "null" else Decimal(text) for text in AMOUNTS]
    assert tables[1]["Date"].to_pylist() == ["000003", "000004"]
    assert {str(table.schema.field("_sdc_table_version").type) for table in tables} == {"int64"}
    version = messages.of(STREAM)[-1]["version"]
    assert [value for table in tables for value in table["_sdc_table_version"].to_pylist()] == [
        version
    ] * len(ROWS)


def test_parquet_of_every_type(serve: Serve, tmp_path: Path) -> None:
    columns = {
        "ID": "Edm.String*",
        "COUNT": "Edm.Int64",
        "FLAG": "Edm.Boolean",
        "RATE": "Edm.Double",
        "DAY": "Edm.Date",
        "PLACE": "Edm.GeographyPoint",
        "TAGS": "Collection(Edm.String)",
    }
    row = (
        '{"ID":"1","COUNT":9007199254740993,"FLAG":true,"RATE":0.5,"DAY":"2026-11-02",'
        '"PLACE":{"type":"Point"},"TAGS":["a","b"]}'
    )
    tenant = StandIn(Model("C4T", "T", edmx(S=columns), {"S": [row]}))
    config = {**serve(tenant), **batch_config(tmp_path, "parquet", None, 10)}
    catalog = select(discover(config), "t_s")
    messages = sync(config, catalog)
    (path,) = files(messages, "t_s")
    assert parquet.ParquetFile(path).read().to_pylist() == [
        {
            "ID": "1",
            "COUNT": 9007199254740993,
            "FLAG": True,
            "RATE": 0.5,
            "DAY": date(2026, 11, 2),
            "PLACE": '{"type":"Point"}',
            "TAGS": '["a","b"]',
            "_sdc_table_version": messages.of("t_s")[-1]["version"],
        }
    ]


def test_parquet_without_versions_has_no_column_for_them(serve: Serve, tmp_path: Path) -> None:
    config = batch_config(tmp_path, "parquet", None, 10)
    config["emit_activate_version_messages"] = False
    (path,) = files(sync({**serve(StandIn(sales(*ROWS))), **config}), STREAM)
    assert parquet.ParquetFile(path).schema_arrow.names == ["Version", "Date", "AMOUNT"]


@pytest.mark.parametrize("has_catalog", [True, False])
@pytest.mark.parametrize("use_singer_decimal", [True, False])
def test_parquet_keeps_the_types_of_unmapped_columns(
    serve: Serve, tmp_path: Path, *, use_singer_decimal: bool, has_catalog: bool
) -> None:
    config = {
        **serve(StandIn(sales(*ROWS))),
        **batch_config(tmp_path, "parquet", None, 10),
        "use_singer_decimal": use_singer_decimal,
        "stream_maps": {
            STREAM: {"Version": "md5(Version)", "Date": "int(Date)", "RENAMED": "AMOUNT"}
        },
    }
    catalog = select(discover(config), STREAM) if has_catalog else None
    (path,) = files(sync(config, catalog), STREAM)
    table = parquet.ParquetFile(path).read()
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "Version": "string",
        "Date": "int64",
        "AMOUNT": "decimal128(31, 7)",
        "RENAMED": "string" if use_singer_decimal else "decimal128(31, 7)",
        "_sdc_table_version": "int64",
    }
    amounts = [None if text == "null" else text for text in AMOUNTS]
    numbers = [None if text is None else Decimal(text) for text in amounts]
    assert table["AMOUNT"].to_pylist() == numbers
    assert table["RENAMED"].to_pylist() == (amounts if use_singer_decimal else numbers)
    assert table["Date"].to_pylist() == list(range(len(ROWS)))


def test_value_that_parquet_cannot_keep_stops_the_run(serve: Serve, tmp_path: Path) -> None:
    config = batch_config(tmp_path, "parquet", None, 10)
    with pytest.raises(SACError, match=r"1\.12345678 requires scale 8.*use the format jsonl"):
        sync({**serve(StandIn(sales(sales_row(1, "1.12345678")))), **config})


def decimals(facets: str, *values: str) -> StandIn:
    """Serve decimals with these attributes."""
    document = (
        '<E><Schema Namespace="sac"><EntityType Name="S"><Key><PropertyRef Name="ID"/></Key>'
        '<Property Name="ID" Type="Edm.String"/>'
        f'<Property Name="ONE" Type="Edm.Decimal" {facets}/></EntityType></Schema></E>'
    )
    rows = [f'{{"ID":"1.50000000","ONE":{value}}}' for value in values]
    return StandIn(Model("C4T", "T", document, {"S": rows}))


@pytest.mark.parametrize("use_singer_decimal", [True, False])
@pytest.mark.parametrize("facets", PARQUET_FACETS)
def test_zeros_that_parquet_has_no_room_for_are_left_out(
    serve: Serve, tmp_path: Path, facets: str, *, use_singer_decimal: bool
) -> None:
    texts = ["1.5", f"-1.5{'0' * 40}", f"0.{'0' * 80}", "0E-30", "1E5", f"15{'0' * 90}E-91", "2"]
    config = {
        **serve(decimals(facets, *texts)),
        **batch_config(tmp_path, "parquet", None, 4),
        "use_singer_decimal": use_singer_decimal,
    }
    tables = [parquet.ParquetFile(path).read() for path in files(sync(config), "t_s")]
    written = [row for table in tables for row in table.to_pylist()]
    assert {row["ID"] for row in written} == {"1.50000000"}
    assert [row["ONE"] for row in written] == list(map(Decimal, texts))
    precision, scale, _ = PARQUET_FACETS[facets]
    types = {table.schema.field("ONE").type for table in tables}
    assert {(item.precision, item.scale) for item in types} == {(precision, scale)}
    assert {item.bit_width for item in types} == {128 if precision <= 38 else 256}
    assert tables[0].schema == tables[1].schema


# With the scale that each needs, if it is what some column lacks.
LONG_NUMBERS = {
    "1.00000000051": 11,
    "-1.5E-20": 21,
    "0.000000000000000000000100": 22,
    f"1.{'0' * 50}1": 51,
    **dict.fromkeys(["1E400", "-99999999.5", "9" * 30, "1" * 30, f"{'9' * 24}.5"], 0),
    **dict.fromkeys(["9" * 38, "9" * 57, "9" * 75, "9E55"], 0),
}


@pytest.mark.parametrize("facets", PARQUET_FACETS)
def test_digits_are_in_parquet_or_fail_by_name(serve: Serve, tmp_path: Path, facets: str) -> None:
    precision, scale, source = PARQUET_FACETS[facets]
    for number, (value, needed_scale) in enumerate(LONG_NUMBERS.items()):
        needed_precision = Decimal(value).adjusted() + 1 + scale
        folder = tmp_path / str(number)
        folder.mkdir()
        config = {
            **serve(decimals(facets, "1.0", value)),
            **batch_config(folder, "parquet", None, 10),
        }
        if needed_scale <= scale and needed_precision <= precision:
            (path,) = files(sync(config), "t_s")
            assert parquet.ParquetFile(path).read()["ONE"].to_pylist()[1] == Decimal(value)
            continue
        with pytest.raises(SACError) as error:
            sync(config)
        shown = value if len(value) <= 40 else f"{value[:40]}..."
        needed = f"scale {needed_scale}" if needed_scale else f"precision {needed_precision}"
        assert str(error.value) == (
            "1 of 2 streams failed; the others were read. t_s: "
            f"The column ONE does not fit into the batch file: {shown} requires {needed}, but "
            f"it has precision {precision} and scale {scale}{source}: use the format jsonl, or "
            "deselect the column."
        )


def test_parquet_without_pyarrow_is_an_error_that_names_the_extra(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    config = batch_config(tmp_path, "parquet", None, 10)
    with pytest.raises(SACError, match=r"install tap-sac\[parquet\]"):
        sync({**serve(StandIn(sales(*ROWS))), **config})
