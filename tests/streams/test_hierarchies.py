"""Levels and paths of members: what they are, and what becomes of members that have none."""

from __future__ import annotations

import json
import tempfile
import threading
from functools import partial
from logging import INFO
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from tap_sac.demo.company import models
from tap_sac.demo.service import Request, Response
from tap_sac.sac.errors import SACError
from tap_sac.sac.export.hierarchies import Hierarchy, Members
from tests.conftest import discover, select, sync
from tests.helpers.batches import batch_config, files, records_of
from tests.helpers.gauge import A_MOMENT
from tests.helpers.runs import run
from tests.helpers.selection import metadata_of
from tests.helpers.selection import without as without_columns
from tests.helpers.slicing import kept
from tests.helpers.stand_in import JSON, PAGE_SIZE, Model, StandIn, edmx, error_response
from tests.helpers.target import Target
from tests.helpers.warehouse import (
    place_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.conftest import Messages, RunCli, Serve

STREAM = "sales_product_master_with_hierarchy"
SET = "ProductMasterWithHierarchy"
TYPES = {"ID": "Edm.String*", "Description": "Edm.String", "H1_PARENTID": "Edm.String"}

Places = dict[str, tuple[Any, Any]]


def dimension(*members: tuple[object, object], **columns: str) -> StandIn:
    """Make a tenant with a dimension whose members have these ids and parents."""
    rows = []
    for member, parent in members:
        row = {"ID": member, "Description": "x", **dict.fromkeys(columns, "mine")}
        rows.append(json.dumps(row if parent is None else {**row, "H1_PARENTID": parent}))
    document = edmx(**{SET: {**TYPES, **columns}})
    return StandIn(Model("C4SALES", "Sales", document, {SET: rows}))


def places(messages: Messages, hierarchy: str = "H1", stream: str = STREAM) -> Places:
    return {
        record["ID"]: (record[f"{hierarchy}_LEVEL"], record[f"{hierarchy}_PATH"])
        for record in messages.records(stream)
    }


without = partial(without_columns, stream=STREAM)


def test_members_of_the_sample_company_have_levels_and_paths() -> None:
    messages = sync({"demo": True})
    for model in models():
        for table in model.tables:
            if not table.name.endswith("MasterWithHierarchy"):
                continue
            dimension = str(table.dimension)
            prefix = model.name.lower().replace(" ", "_")
            snake = "cost_center" if dimension == "CostCenter" else dimension.lower()
            for hierarchy in ("H1", "H2") if snake == "cost_center" else ("H1",):
                parents = {
                    str(row["ID"]): optional(row.get(f"{hierarchy}_PARENTID")) for row in table.rows
                }
                stream = f"{prefix}_{snake}_master_with_hierarchy"
                found = places(messages, hierarchy, stream)
                assert found == {member: place_of(member, parents) for member in parents}
    costs = "financial_planning_cost_center_master_with_hierarchy"
    assert places(messages, "H1", costs)["1600"] == (3, "ALL/SHOPS/1600")
    assert places(messages, "H2", costs)["1600"] == (2, "VARIABLE/1600")
    assert places(messages, "H1", costs)["FIXED"] == (None, None)
    assert places(messages, "H2", costs)["ALL"] == (None, None)
    products = places(messages, "H1", "sales_planning_product_master_with_hierarchy")
    assert products["P-ALL"] == (1, "P-ALL")
    assert products["P-009"] == (4, "P-ALL/P-HIKE/P-HIKE%2FALPINE/P-009")


def optional(value: object) -> str | None:
    return None if value is None else str(value)


@given(
    st.dictionaries(
        st.sampled_from("abcdefg/%"), st.one_of(st.none(), st.sampled_from("abcdefg/%xy"))
    ),
    st.sampled_from([{}, {"P": None}, {"P": ""}]),
)
def test_any_parents_lead_to_a_place_or_are_reported(
    parents: dict[str, str | None], none: dict[str, str | None]
) -> None:
    hierarchy = Hierarchy("H", "P")
    members = Members("ID", [hierarchy])
    numbers = {
        member: members.add({"ID": member, **({"P": parent} if parent else none)})
        for member, parent in parents.items()
    }
    troubles = members.set_levels()
    found = {
        member: members.place(number, hierarchy) or (None, None)
        for member, number in numbers.items()
    }
    assert found == {member: place_of(member, parents) for member in parents}
    lost = [item for item in parents if parents[item] is not None and found[item] == (None, None)]
    trouble = troubles.get(hierarchy)
    assert (trouble.count if trouble else 0) == len(lost)
    orphans = [item for item in lost if parents[item] not in parents]
    assert (trouble.orphan_count if trouble else 0) == len(orphans)
    if trouble:
        assert set(trouble.orphans) <= set(orphans)
        assert len(trouble.orphans) == min(5, len(orphans))
        assert len(trouble.cycle) == min(5, trouble.cycle_count)
        assert all(is_above_itself(item, parents) for item in trouble.cycle)
    cycles = [item for item in lost if is_above_itself(item, parents)]
    assert (trouble.cycle_count if trouble else 0) == len(cycles)


def is_above_itself(member: str, parents: Mapping[str, str | None]) -> bool:
    above = parents.get(member)
    for _ in parents:
        if above in (None, member):
            break
        above = parents.get(str(above))
    return above == member


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([None, "", *"abcdx"])), max_size=9)
)
def test_every_row_has_its_own_place_or_none_and_the_last_of_a_member_has_it(
    rows: list[tuple[str, str | None]],
) -> None:
    hierarchy = Hierarchy("H", "P")
    members = Members("ID", [hierarchy])
    numbers = [members.add({"ID": member, "P": parent}) for member, parent in rows]
    trouble = members.set_levels().get(hierarchy)
    last = dict(rows)
    places = [members.place(number, hierarchy) or (None, None) for number in numbers]
    for (member, parent), place in zip(rows, places, strict=True):
        if place != (None, None):
            assert place == place_of(member, last)
            assert (parent or None) == (last[member] or None)
    assert {member: place for (member, _), place in zip(rows, places, strict=True)} == {
        member: place_of(member, last) for member in last
    }
    several = {item for item, _ in rows if len({p or None for m, p in rows if m == item}) > 1}
    assert (trouble.moved_count if trouble else 0) == len(several)
    assert set(trouble.moved if trouble else ()) == several


def test_parents_may_come_after_their_children(serve: Serve) -> None:
    tenant = dimension(("leaf", "node"), ("other", None), ("node", "root"), ("root", ""), (17, 4))
    tenant.models[0].sets = {
        SET: [*tenant.models[0].sets[SET], '{"ID":4,"Description":null,"H1_PARENTID":null}']
    }
    messages = sync(serve(tenant))
    assert places(messages) == {
        "leaf": (3, "root/node/leaf"),
        "other": (None, None),
        "node": (2, "root/node"),
        "root": (1, "root"),
        "17": (2, "4/17"),
        "4": (1, "4"),
    }
    properties = messages.schema(STREAM)["schema"]["properties"]
    assert properties["H1_LEVEL"] == {"type": ["integer", "null"]}
    assert properties["H1_PATH"] == {"type": ["string", "null"]}
    assert list(messages.records(STREAM)[0]) == [*TYPES, "H1_LEVEL", "H1_PATH"]
    assert [item["type"] for item in messages.of(STREAM)] == [
        "SCHEMA",
        *["RECORD"] * 6,
        "ACTIVATE_VERSION",
    ]
    (first,) = [target for target in tenant.reads(SET) if "skiptoken" not in target]
    assert first.endswith(f"/{SET}?$count=true")


def test_ids_with_a_separator_are_distinguished_from_two_ids(serve: Serve) -> None:
    tenant = dimension(("a", None), ("a/b", "a"), ("b", "a"), ("a%2Fb", "a"), ("c", "a/b"))
    assert places(sync(serve(tenant))) == {
        "a": (1, "a"),
        "a/b": (2, "a/a%2Fb"),
        "b": (2, "a/b"),
        "a%2Fb": (2, "a/a%252Fb"),
        "c": (3, "a/a%2Fb/c"),
    }


def test_orphans_and_cycles_are_named_and_have_no_place(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = dimension(
        *[(f"orphan{number}", "gone") for number in range(7)],
        ("below", "orphan0"),
        ("a", "b"),
        ("b", "c"),
        ("c", "a"),
        ("into", "a"),
        ("self", "self"),
        ("root", None),
        ("leaf", "root"),
    )
    found = places(sync(serve(tenant)))
    assert {member for member, place in found.items() if place != (None, None)} == {"root", "leaf"}
    assert len(found) == 15
    (line,) = [item.getMessage() for item in caplog.records if item.levelname == "WARNING"]
    orphans = ", ".join(f"orphan{number} below gone" for number in range(5))
    assert line == (
        f"The hierarchy H1 of {STREAM} is broken at {orphans} and 2 more, whose parents are not in "
        "the table, and at a, b, c, self, which are their own ancestors: there and below, H1_LEVEL "
        "and H1_PATH are null (rows: 13). Correct the parents in SAC."
    )


def test_member_with_two_parents_has_the_path_of_the_row_that_targets_keep(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = dimension(
        ("root", None),
        ("a", "root"),
        ("b", "root"),
        ("two", "a"),
        ("below", "two"),
        ("two", "b"),
        ("same", "a"),
        ("same", "a"),
        ("gone", "b"),
    )
    tenant.fault = lambda request: (
        tenant.page(request, kept(request, tenant.models[0].sets[SET]))
        if "$filter" in request.options
        else None
    )
    config, target = serve(tenant), Target()
    target.load(sync(config))
    rows = tenant.models[0].sets[SET]
    tenant.models[0].sets = {SET: rows[:-1]}
    caplog.clear()
    messages, failure = run(config, state=target.state)
    assert not failure
    two = [row["H1_PATH"] for row in messages.records(STREAM) if row["ID"] == "two"]
    assert two == [None, "root/b/two"]
    target.load(messages)
    assert {row["ID"]: (row["H1_LEVEL"], row["H1_PATH"]) for row in target.rows(STREAM)} == {
        "root": (1, "root"),
        "a": (2, "root/a"),
        "b": (2, "root/b"),
        "two": (3, "root/b/two"),
        "below": (4, "root/b/two/below"),
        "same": (3, "root/a/same"),
    }
    of_paths, of_rows = (item.getMessage() for item in caplog.records if item.levelno > INFO)
    assert of_paths == (
        f"Rows of {STREAM} list several parents of two in the hierarchy H1, so only the last row "
        "of each member has H1_LEVEL and H1_PATH. List each member once in SAC."
    )
    assert of_rows == (
        f"SAC has several rows of {STREAM} under one key (ID='two'; 2 extra rows): a target keeps "
        "only one per key."
    )


def test_path_of_a_deep_member_is_null_and_its_level_is_right(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    size, longest = 2100, 4000
    names = [f"M{number:04}" for number in range(size)]
    config = serve(dimension(*zip(names, [None, *names], strict=False)))
    found = places(sync({**config, "page_size": size}))
    assert [level for level, _ in found.values()] == [*range(1, size + 1)]
    paths = ["/".join(names[: number + 1]) for number in range(size)]
    assert [path for _, path in found.values()] == [
        path if len(path) <= longest else None for path in paths
    ]
    (line,) = [item.getMessage() for item in caplog.records if item.levelname == "WARNING"]
    assert line == (
        f"H1_PATH of {STREAM} is null in 1,434 rows, because the path would have more than 4,000 "
        "characters: use level and parent instead."
    )
    caplog.clear()
    messages = sync(config | {"page_size": size}, without(config, "H1_PATH"))
    assert messages.records(STREAM)[-1]["H1_LEVEL"] == size
    assert not [item for item in caplog.records if item.levelname == "WARNING"]


def test_filter_that_leaves_parents_out_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    stream = "sales_planning_product_master_with_hierarchy"
    config = {"demo": True, "models": ["Sales Planning"], "filters": {stream: "ID ne 'P-HIKE'"}}
    found = places(sync(config, select(discover(config), stream)), stream=stream)
    assert found["P-BIKE"] == (2, "P-ALL/P-BIKE")
    assert found["P-009"] == (None, None)
    assert "at P-HIKE/ALPINE below P-HIKE, P-004 below P-HIKE" in caplog.text
    assert "are null (rows: 8). Correct the parents in SAC, or include them" in caplog.text


def test_columns_can_be_deselected(serve: Serve) -> None:
    tenant = dimension(("root", None), ("leaf", "root"))
    config = serve(tenant)
    found = discover(config)[STREAM]
    for column in ("H1_LEVEL", "H1_PATH"):
        assert metadata_of(found, column) == {"inclusion": "available"}
    messages = sync(config, without(config, "H1_LEVEL", "H1_PARENTID"))
    left = ["ID", "Description", "H1_PATH"]
    assert list(messages.schema(STREAM)["schema"]["properties"]) == left
    assert messages.records(STREAM) == [
        {"ID": "root", "Description": "x", "H1_PATH": "root"},
        {"ID": "leaf", "Description": "x", "H1_PATH": "root/leaf"},
    ]
    # The parents are needed all the same, so everything is.
    assert "$select" not in tenant.reads(SET)[-1]

    messages = sync(config, without(config, "H1_LEVEL", "Description"))
    assert messages.records(STREAM)[1] == {
        "ID": "leaf",
        "H1_PARENTID": "root",
        "H1_PATH": "root/leaf",
    }
    assert tenant.reads(SET)[-1].endswith("?$select=ID,H1_PARENTID")

    messages = sync(config, without(config, "H1_LEVEL", "H1_PATH", "H1_PARENTID"))
    assert messages.records(STREAM)[1] == {"ID": "leaf", "Description": "x"}
    assert tenant.reads(SET)[-1].endswith("?$select=ID,Description")


@pytest.mark.parametrize("name", ["H1_LEVEL", "h1_level"])
def test_name_that_sac_has_is_left_to_sac(
    serve: Serve, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    tenant = dimension(("root", None), ("leaf", "root"), **{name: "Edm.String"})
    messages = sync(serve(tenant))
    assert messages.records(STREAM)[1] == {
        "ID": "leaf",
        "Description": "x",
        "H1_PARENTID": "root",
        name: "mine",
        "H1_PATH": "root/leaf",
    }
    properties = messages.schema(STREAM)["schema"]["properties"]
    assert properties[name] == {"type": ["string", "null"]}
    told = f"The tap does not add H1_LEVEL to {STREAM}, because SAC has columns with the same name."
    assert told in caplog.text


def test_older_catalog_lacks_them_with_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = serve(dimension(("root", None), ("leaf", "root")))
    catalog = without(config)
    for entry in catalog["streams"]:
        for column in ("H1_LEVEL", "H1_PATH"):
            entry["schema"]["properties"].pop(column, None)
    messages = sync(config, catalog)
    assert set(messages.records(STREAM)[0]) == set(TYPES)
    assert set(messages.schema(STREAM)["schema"]["properties"]) == set(TYPES)
    told = f"lacks these columns of {STREAM}, so they are not read: H1_LEVEL, H1_PATH."
    assert told in caplog.text


def test_batch_files_have_them_with_their_types(serve: Serve, tmp_path: Path) -> None:
    config = serve(dimension(("root", None), ("leaf", "root"), ("other", None)))
    messages = sync({**config, **batch_config(tmp_path, "jsonl", None, 2)})
    assert [(item["H1_LEVEL"], item["H1_PATH"]) for item in records_of(messages, STREAM)] == [
        (1, "root"),
        (2, "root/leaf"),
        (None, None),
    ]
    messages = sync({**config, **batch_config(tmp_path, "parquet", None, 10)})
    (path,) = files(messages, STREAM)
    table = parquet.read_table(path)
    assert table["H1_LEVEL"].to_pylist() == [1, 2, None]
    assert str(table["H1_LEVEL"].type) == "int64"
    assert table["H1_PATH"].to_pylist() == ["root", "root/leaf", None]
    settings = batch_config(tmp_path, "parquet", None, 10)
    (path,) = files(sync({**config, **settings}, without(config, "H1_PATH")), STREAM)
    assert parquet.read_table(path).column_names == [*TYPES, "H1_LEVEL", "_sdc_table_version"]


@pytest.mark.parametrize("batches", [False, True])
def test_stream_maps_can_use_rename_and_drop_them(
    serve: Serve, tmp_path: Path, *, batches: bool
) -> None:
    maps = {STREAM: {"path": "H1_PATH", "H1_PATH": None, "H1_LEVEL": None}}
    settings = batch_config(tmp_path, "jsonl", None, 9) if batches else {}
    config = {**serve(dimension(("root", None), ("leaf", "root"))), "stream_maps": maps}
    messages = sync({**config, **settings})
    records = records_of(messages, STREAM) if batches else messages.records(STREAM)
    assert [record["path"] for record in records] == ["root", "root/leaf"]
    assert not {"H1_LEVEL", "H1_PATH"} & records[0].keys()
    assert set(messages.schema(STREAM)["schema"]["properties"]) == {*TYPES, "path"}


def test_many_rows_are_buffered_in_a_file(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("tap_sac.streams.page_spool._MOST_BYTES_IN_MEMORY", 100)
    members = [(f"ü{number}", f"ü{number - 1}" if number else None) for number in range(25)]
    messages = sync(serve(dimension(*members)))
    assert places(messages)["ü24"] == (25, "/".join(f"ü{number}" for number in range(25)))
    assert [record["ID"] for record in messages.records(STREAM)] == [item for item, _ in members]
    assert f"{STREAM}: 25 rows read, 25 counted by SAC, 13 pages." in caplog.text


def test_full_temporary_disk_is_reported_with_the_next_step(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tap_sac.streams.page_spool._MOST_BYTES_IN_MEMORY", 1)
    monkeypatch.setattr(tempfile, "tempdir", "/does/not/exist")
    with pytest.raises(
        SACError, match=r"buffered in a temporary file .*set the .* TMPDIR to another"
    ):
        sync(serve(dimension(("root", None), ("leaf", "root"))))


def test_read_that_is_cut_fails_by_name(serve: Serve, run_cli: RunCli) -> None:
    tenant = dimension(*[(str(number), None) for number in range(5)])

    def fault(request: Request) -> Response | None:
        if "$skiptoken=2" not in request.target:
            return None
        body = json.loads(tenant.page(request, tenant.models[0].sets[SET]).body)
        body.pop("@odata.nextLink")
        return Response(200, json.dumps(body).encode(), JSON)

    tenant.fault = fault
    result = run_cli(serve(tenant))
    assert result.returncode == 1
    assert f"SAC counts 5 rows of {STREAM} but sent 4" in result.stderr
    assert f'"ACTIVATE_VERSION","stream":"{STREAM}"' not in result.stdout


@pytest.mark.parametrize("status", [400, 404, 405])
def test_refusal_of_a_later_page_is_not_one_of_the_table(
    serve: Serve, run_cli: RunCli, status: int
) -> None:
    tenant = dimension(*[(str(number), None) for number in range(5)])
    tenant.fault = lambda request: (
        error_response(status, "gone") if "$skiptoken=4" in request.target else None
    )
    result = run_cli(serve(tenant))
    assert result.returncode == 1
    assert f"{status}" in result.stderr
    assert "Skipping the stream" not in result.stderr
    assert '"RECORD"' not in result.stdout.replace('"RECORD","stream":"providers"', "")


def test_dimension_that_sac_does_not_serve_is_skipped(serve: Serve, run_cli: RunCli) -> None:
    tenant = dimension(("root", None))
    tenant.fault = lambda request: (
        error_response(400, "no") if f"/{SET}" in request.target else None
    )
    result = run_cli(serve(tenant))
    assert result.returncode == 0
    assert f"Skipping the stream {STREAM}" in result.stderr


def test_members_with_several_key_columns_have_no_path(serve: Serve) -> None:
    document = edmx(**{SET: {**TYPES, "Language": "Edm.String*"}})
    row = '{"ID":"a","Description":null,"H1_PARENTID":"a","Language":"de"}'
    tenant = StandIn(Model("C4SALES", "Sales", document, {SET: [row]}))
    (record,) = sync(serve(tenant)).records(STREAM)
    assert set(record) == {*TYPES, "Language"}


def test_hierarchy_is_read_in_full_even_if_sac_tracks_it(serve: Serve) -> None:
    tenant = dimension(("root", None), ("leaf", "root"))
    tracked = (
        f'<Annotations Target="sac.{SET}"><Annotation Term="Capabilities.ChangeTracking"><Record>'
        '<PropertyValue Property="Supported" Bool="true"/></Record></Annotation></Annotations>'
    )
    tenant.models[0].edmx = tenant.models[0].edmx.replace("</Schema>", f"{tracked}</Schema>")
    config = {**serve(tenant), "default_replication_method": "LOG_BASED"}
    assert places(sync(config)) == {"root": (1, "root"), "leaf": (2, "root/leaf")}
    assert "prefer" not in {name for request in tenant.requests for name in request.headers}


def test_check_and_test_read_a_first_page_alone(serve: Serve, run_cli: RunCli) -> None:
    tenant = dimension(*[(str(number), None) for number in range(9)])
    config = serve(tenant)
    result = run_cli(config, "--check")
    assert result.returncode == 0
    assert f"the first page of {STREAM} has 2 rows" in result.stdout
    assert len(tenant.reads(SET)) == 1
    tenant.requests.clear()
    is_read, were_read_early = threading.Event(), []

    def fault(request: Request) -> None:
        if SET in request.target:
            is_read.set()
        elif len(tenant.reads("/Providers")) > 1:  # discovery, and the stream of that name
            were_read_early.append(is_read.wait(A_MOMENT))

    tenant.fault = fault
    result = run_cli(config, "--test")
    assert result.returncode == 0
    assert were_read_early == [False]
    assert len(tenant.reads(SET)) < len(range(0, 9, PAGE_SIZE))
