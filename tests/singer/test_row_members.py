"""The members of row objects: columns that never come, members twice, and marks of deleted rows."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sac.demo.service import Response
from tap_sac.sac.errors import SACError
from tap_sac.sac.odata.model import EntitySet, OwnColumn, Property
from tap_sac.singer.records import RecordMaker
from tap_sac.singer.schema import json_schema
from tests.conftest import discover, select, sync
from tests.helpers.batches import batch_config
from tests.helpers.runs import is_activated, run
from tests.helpers.slicing import FACTS, SLICED, SlicingStandIn
from tests.helpers.stand_in import JSON, Model, StandIn, edmx
from tests.helpers.target import Target

if TYPE_CHECKING:
    from pathlib import Path

    from tap_sac.demo.service import Request
    from tests.conftest import Serve

STREAM = "t_fact_data"
COLUMNS = {"ID": "Edm.String*", "NAME": "Edm.String", "Revenue": "Edm.Decimal", "N": "Edm.Int64"}
MAPS = {"stream_maps": {STREAM: {"__filter__": "1 == 1"}}}
LINK = "/api/v1/dataexport/providers/sac/C4T/FactData?deltaid="


def row(number: int, **members: str) -> str:
    found = {"ID": f'"{number}"', "NAME": '"a"', "Revenue": "1.5", "N": "7", **members}
    return (
        f"{{{','.join(f'{json.dumps(name)}:{value}' for name, value in found.items() if value)}}}"
    )


def tenant_of(*rows: str) -> StandIn:
    return StandIn(Model("C4T", "T", edmx(FactData=COLUMNS), {"FactData": rows}))


def tracking(*changes: str) -> StandIn:
    """Serve one row, and then changes."""
    tenant = tenant_of(*changes)

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target or "filter=" in request.target:
            return None
        is_delta = "deltaid" in request.target
        items, link = (changes, "B") if is_delta else ((row(0),), "A")
        body = (
            f'{{"@odata.context":"$metadata#FactData{"/$delta" if is_delta else ""}",'
            f'"value":[{",".join(items)}],"@odata.deltaLink":"{LINK}{link}"}}'
        )
        return Response(200, body.encode(), JSON)

    tenant.fault = fault
    return tenant


WAYS: dict[str, dict[str, Any]] = {
    "at once": {},
    "one by one": MAPS,
    "one row per page": {"page_size": 1},
    "as text": {"use_singer_decimal": True},
    "opening": {"default_replication_method": "LOG_BASED"},
}


@pytest.mark.parametrize(
    ("way", "column", "other", "number"),
    [
        *((way, "Revenue", "REVENUE", number) for way in WAYS.values() for number in (0, 5)),
        ({}, "Revenue", "Revenue ", 5),
        ({}, "Revenue", " revenue", 5),
        ({}, "Revenue", "Rev\u00a0enue", 5),
        ({}, "Revenue", "Rev\u200benue", 5),
        ({}, "NAME", "Name", 5),
        ({}, "N", "n\t", 5),
    ],
)
def test_misspelled_column_fails_its_stream_by_name(
    serve: Serve, way: dict[str, Any], column: str, other: str, number: int
) -> None:
    rows = [row(item, **{column: ""}) for item in range(6)]
    rows[number] = row(number, **{column: "", other: "1"})
    messages, failure = run({**serve(tenant_of(*rows)), **way})
    declared = f"$metadata declares the column {column} of FactData, but its rows have "
    assert f"{declared}{other!a}, so" in failure  # It may look the same.
    assert not is_activated(messages, STREAM)
    assert messages.records("providers")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    "members",
    [
        {"Revenue": "null"},
        {"Revenue": "2.0", "REVENUE": "3.0"},
        {"REVENUE": "3.0", "Revenue": "null"},
    ],
)
@pytest.mark.parametrize("number", [0, 5])
def test_column_with_one_value_is_not_a_misspelling(
    serve: Serve, way: dict[str, Any], members: dict[str, str], number: int
) -> None:
    rows = [row(item, Revenue="", REVENUE="1") for item in range(6)]
    rows[number] = row(number, **({"Revenue": ""} | members))
    target = Target()
    target.load(sync({**serve(tenant_of(*rows)), **way}))
    expected: list[Decimal | None] = [None] * 6
    expected[number] = None if members["Revenue"] == "null" else Decimal(members["Revenue"])
    assert [item["Revenue"] for item in target.rows(STREAM)] == expected


@pytest.mark.parametrize("other", ["Revenues", "Rev-enue", "REVENUE@odata.type", "Umsatz"])
def test_other_columns_are_other_columns(serve: Serve, other: str) -> None:
    tenant = tenant_of(row(0, **{"Revenue": "", other: '"x"'}))
    assert sync(serve(tenant)).records(STREAM)[0]["Revenue"] is None


def test_deselected_column_may_be_misspelled(serve: Serve) -> None:
    config = serve(tenant_of(row(0, Revenue="", REVENUE="1")))
    catalog = select(discover(config), STREAM)
    for entry in catalog["streams"]:
        for item in entry["metadata"]:
            if item["breadcrumb"] == ["properties", "Revenue"]:
                item["metadata"]["selected"] = False
    assert sync(config, catalog).records(STREAM) == [{"ID": "0", "NAME": "a", "N": 7}]


@pytest.mark.parametrize(("versions", "fails"), [("AB", True), ("B", False)])
def test_slices_are_one_read(serve: Serve, versions: str, *, fails: bool) -> None:
    tenant = SlicingStandIn({"A": 2, "B": 2})
    tenant.rows[:] = [
        fact.replace("AMOUNT", "Amount") if json.loads(fact)["Version"] in versions else fact
        for fact in tenant.rows
    ]
    messages, failure = run({**serve(tenant), **SLICED})
    assert ("$metadata declares the column AMOUNT of FactData" in failure) is fails
    assert is_activated(messages, FACTS) is not fails


def test_changes_under_another_spelling_fail_their_stream(serve: Serve) -> None:
    config = {
        **serve(tracking(row(0, Revenue="", REVENUE="2.5"))),
        "default_replication_method": "LOG_BASED",
    }
    target = Target()
    target.load(sync(config))
    messages, failure = run(config, state=target.state)
    assert "$metadata declares the column Revenue of " in failure
    assert messages.state["bookmarks"][STREAM]["delta_link"].endswith("A")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_columns_without_values_are_logged_once_without_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture, way: dict[str, Any]
) -> None:
    caplog.set_level("INFO")
    rows = [row(number, Revenue="", N="" if number else "null") for number in range(5)]
    sync({**serve(tenant_of(*rows)), **way})
    records = [
        item for item in caplog.records if f"No row read from {STREAM} " in item.getMessage()
    ]
    assert [item.getMessage() for item in records] == [
        f"No row read from {STREAM} has the columns Revenue, so they are null."
    ]
    assert records[0].levelname == "INFO"


def test_table_without_rows_lacks_no_columns(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sync(serve(tenant_of()))
    assert f"No row read from {STREAM} " not in caplog.text


TWICE = {
    "number": row(0)[:-1] + ',"Revenue":2.5}',
    "the same value": row(0)[:-1] + ',"Revenue":1.5}',
    "text": row(0)[:-1] + ',"NAME":"b"}',
    "key": row(0)[:-1] + ',"ID":"9"}',
    "null": row(0)[:-1] + ',"Revenue":null}',
    "at the beginning": '{"Revenue":2.5,' + row(0)[1:],
    "another column is missing": row(0, N="")[:-1] + ',"Revenue":2.5}',
    "with blanks": row(0)[:-1] + ', "Revenue" : 2.5 }',
    "escaped": row(0)[:-1] + ',"\\u0052evenue":2.5}',
    "text with colons": row(0, NAME='"12:30\\":"')[:-1] + ',"Revenue":2.5}',
    "unknown": row(0)[:-1] + ',"NEW":1,"NEW":2}',
    "annotation": row(0)[:-1] + ',"@odata.id":"x","@odata.id":"y"}',
}


OTHERS = [row(1), row(1, N=""), row(1, **{"@odata.id": '"a:b"'})]


@pytest.mark.parametrize(
    ("way", "others"),
    [*(({}, others) for others in OTHERS), (MAPS, OTHERS[0])],
    ids=["at once", "at once beside fewer", "at once beside an annotation", "one by one"],
)
@pytest.mark.parametrize("twice", TWICE.values(), ids=TWICE)
def test_member_twice_in_a_row_is_refused_as_in_the_page(
    serve: Serve, way: dict[str, Any], twice: str, others: str
) -> None:
    rows = [others, others.replace('"1"', '"2"'), twice]
    config = serve(tenant_of(*rows))
    messages, failure = run({**config, **way})
    assert "has a row with the member '" in failure
    assert "more than once" in failure
    assert not is_activated(messages, STREAM)


@pytest.mark.parametrize("twice", TWICE.values(), ids=TWICE)
def test_member_twice_in_a_changed_row_is_refused(serve: Serve, twice: str) -> None:
    config = {**serve(tracking(twice)), "default_replication_method": "LOG_BASED"}
    state = sync(config).state
    assert "more than once" in run(config, state=state)[1]


DELETED = {
    "@removed": row(3, **{"@removed": '{"reason":"deleted"}'}),
    "@odata.removed": row(3, **{"@odata.removed": '{"reason":"changed"}', "@id": '"x"'}),
    "$deletedEntity": row(3, **{"@odata.context": '"#FactData/$deletedEntity"', "id": '"x"'}),
    "without an id": row(3, **{"@odata.context": '"#FactData/$deletedEntity"'}),
    "without a key": '{"@removed":{"reason":"deleted"},"@id":"FactData(ID=\'3\')"}',
}


@pytest.mark.parametrize("way", [{}, MAPS], ids=["at once", "one by one"])
@pytest.mark.parametrize("deleted", DELETED.values(), ids=DELETED)
@pytest.mark.parametrize("context", ["", '"#FactData/$entity"'])
def test_mark_of_a_deleted_row_in_a_full_read_fails_its_stream(
    serve: Serve, way: dict[str, Any], deleted: str, context: str
) -> None:
    rows = [*(row(number, **{"@odata.context": context}) for number in range(3)), deleted]
    messages, failure = run({**serve(tenant_of(*rows)), **way})
    assert f"{STREAM}: A full read of FactData contains a deleted row" in failure
    assert not is_activated(messages, STREAM)


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_rows_that_leave_columns_out_are_in_files_too(
    serve: Serve, tmp_path: Path, format_: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row(0), row(1, NAME="", N=""), row(2, Revenue=""), row(3, NAME="null")]
    config = {**serve(tenant_of(*rows)), **batch_config(tmp_path, format_, None, 10)}
    sync(config)
    assert f"{STREAM}: 4 rows read" in caplog.text


ENTITY_SET = EntitySet(
    "S",
    (
        Property("ID", "Edm.String"),
        Property("NAME", "Edm.String"),
        Property("X", "Edm.Decimal"),
        Property("N", "Edm.Int64"),
        Property("DAY", "Edm.Date"),
    ),
    ("ID",),
)
VALUES = {
    "ID": st.sampled_from(['"k"', '"a:b"', '"\\":"', '"\\\\"']),
    "NAME": st.sampled_from(["null", '"x"', '":"', '"\\":\\":"', '"\\\\\\":"', '" :"']),
    "X": st.sampled_from(["null", "1.5", "7"]),
    "N": st.sampled_from(["null", "1"]),
    "DAY": st.sampled_from(["null", '"2026-01-01"']),
    "@odata.id": st.sampled_from(['"S(ID=1):"', "null"]),
}
member_lists = st.lists(
    st.sampled_from([*VALUES]).flatmap(lambda name: st.tuples(st.just(name), VALUES[name])),
    max_size=7,
).map(lambda members: [("ID", '"k"'), *members])


@given(st.lists(member_lists, max_size=5), st.sampled_from([":", ": ", " : "]))
def test_rows_are_refused_only_for_duplicate_members(
    rows: list[list[tuple[str, str]]], colon: str
) -> None:
    schema = json_schema(ENTITY_SET, use_singer_decimal=False)
    names = [column.name for column in ENTITY_SET.properties]
    maker = RecordMaker(ENTITY_SET, schema, names)
    for members in rows:  # A maker learns from each.
        text = "{" + ",".join(f'"{name}"{colon}{value}' for name, value in members) + "}"
        items = [msgspec.Raw(text.encode())] * 2
        if max(Counter(name for name, _ in members).values()) > 1:
            with pytest.raises(SACError, match="more than once"):
                maker.lines(items, "SAC's answer")
            continue
        made = [json.loads(line) for line in maker.lines(items, "SAC's answer").splitlines()]
        expected = dict.fromkeys(names) | json.loads(text)
        expected.pop("@odata.id", None)
        assert made == [expected] * 2


@pytest.mark.parametrize("own", [(), (OwnColumn("OWN", "Edm.String"),)], ids=["", "own column"])
@pytest.mark.parametrize(
    "row_twice",
    [
        '{"ID":"k","NAME":"x","NAME":"x","X":1,"N":1}',  # As long as with "DAY":null.
        '{"ID":"k","NAME":"x","NAME":"x","X":1,"N":1,"DAY":null}',  # As long as with "OWN":null.
    ],
)
def test_member_twice_is_refused_whatever_is_added_to_the_record(
    row_twice: str, own: tuple[OwnColumn, ...]
) -> None:
    entity_set = replace(ENTITY_SET, own_columns=own)
    maker = RecordMaker(
        entity_set,
        json_schema(entity_set, use_singer_decimal=False),
        [column.name for column in ENTITY_SET.properties],
    )
    with pytest.raises(SACError, match="more than once"):
        maker.lines([msgspec.Raw(row_twice.encode())], "SAC's answer")


@pytest.mark.parametrize(
    ("column", "members"),
    [
        (Property("L", "Collection(Edm.String)"), ""),  # Its rows are read one by one.
        (Property("L", "Edm.String"), ',"L":null,"NEW":1'),  # A maker learns to leave it out.
    ],
)
def test_lines_have_the_columns_of_the_schema_and_no_others(column: Property, members: str) -> None:
    entity_set = EntitySet("S", (Property("ID", "Edm.String"), column), ("ID",))
    maker = RecordMaker(entity_set, json_schema(entity_set, use_singer_decimal=False), ["ID", "L"])
    items = [msgspec.Raw(f'{{"ID":"k"{members}}}'.encode())]
    for _ in range(2):
        assert maker.lines(items, "SAC's answer") == b'{"ID":"k","L":null}\n'
