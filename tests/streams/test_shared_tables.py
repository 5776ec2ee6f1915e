"""Tables with several streams, where a version of one removes the rows of the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from tests.conftest import discover, select
from tests.helpers.batches import batch_config, records_of
from tests.helpers.disorder import overlapping
from tests.helpers.runs import run
from tests.helpers.slicing import SLICED, SlicingStandIn, at_slice, kept
from tests.helpers.stand_in import Model, StandIn, edmx, error_response
from tests.helpers.target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tap_sac.demo.service import Request, Response
    from tests.conftest import Messages, Serve

TABLE = "facts"
A, B, C = (f"{name}_fact_data" for name in "abc")
SIZE = 6  # of the table of each model; the last row is removed
# How streams come into one table.
ALIAS = {"stream_maps": {"*_fact_data": {"__alias__": TABLE}}}
WAYS: dict[str, dict[str, Any]] = {
    "alias": ALIAS["stream_maps"],
    "expression": {"*_fact_data": {"__alias__": f"'{TABLE}' if __stream_name__ else ''"}},
    "source": {A: {"__alias__": TABLE}, B: None, TABLE: {"__source__": B}},
    "case": {A: {"__alias__": TABLE.upper()}, B: {"__alias__": TABLE}},
    "own name": {A: {"__alias__": B}},
}


class Tenant(StandIn):
    """Serves two models or more with facts, of which it evaluates filters.

    Attributes:
        unordered: The models whose pages overlap, unless they are asked for in order.
    """

    def __init__(self, names: str = "AB") -> None:
        self.unordered = ""
        document = edmx(FactData={"ID": "Edm.String*"}, DMaster={"ID": "Edm.String*"})
        rows = {name: [f'{{"ID":"{name}{number}"}}' for number in range(SIZE)] for name in names}
        sets = {name: {"FactData": rows[name], "DMaster": ()} for name in names}
        super().__init__(*(Model(f"C4{name}", name, document, sets[name]) for name in names))

    @override
    def page(self, request: Request, rows: Sequence[str]) -> Response:
        there = kept(request, rows)
        is_unordered = any(f"/C4{name}/" in request.path for name in self.unordered)
        if is_unordered and len(there) > 1 and "$orderby" not in request.options:
            there = overlapping(there)
        return super().page(request, there)

    def remove_rows(self) -> None:
        """Remove the last row of each model."""
        for model in self.models:
            model.sets["FactData"] = model.sets["FactData"][: SIZE - 1]

    def refuse(self, part: str, status: int) -> None:
        self.fault = lambda request: (
            error_response(status, "no")
            if request.target.partition("?")[0].endswith(part)
            else None
        )


@dataclass
class Warehouse:
    """A target that does not tell upper from lower case, and the runs into it."""

    config: dict[str, Any]
    target: Target = field(default_factory=Target)

    def load(self, catalog: dict[str, Any] | None = None, **settings: Any) -> tuple[Messages, str]:
        state = {"bookmarks": {**self.target.state.get("bookmarks", {})}}
        messages, failure = run({**self.config, **settings}, catalog=catalog, state=state)
        self.target.load(
            {**item, "stream": item["stream"].lower()} if "stream" in item else item
            for item in messages
        )
        return messages, failure

    def numbers(self, table: str = TABLE) -> dict[str, int]:
        """Count the rows of each model in a table."""
        ids = [row["ID"] for row in self.target.rows(table)]
        return {
            name: sum(id_[0] == name for id_ in ids) for name in sorted({id_[0] for id_ in ids})
        }


def of_table(messages: Messages, table: str = TABLE) -> list[dict[str, Any]]:
    return [item for item in messages if item.get("stream", "").lower() == table]


def versions(messages: Messages, table: str = TABLE) -> set[int]:
    return {item["version"] for item in of_table(messages, table) if "version" in item}


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if text.startswith("Rows no longer in SAC stay")]


@pytest.mark.parametrize("way", WAYS)
def test_all_streams_of_a_table_share_a_version_which_is_activated_after_the_last(
    serve: Serve, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    tenant, table = Tenant(), B if way == "own name" else TABLE
    warehouse = Warehouse({**serve(tenant), "stream_maps": WAYS[way]})
    warehouse.load(models=["A"])  # B has an older version, or none.
    for size in (SIZE, SIZE - 1):
        messages, failure = warehouse.load()
        assert not failure
        assert warehouse.numbers(table) == {"A": size, "B": size}
        assert len(versions(messages, table)) == 1
        kinds = [item["type"] for item in of_table(messages, table)]
        spellings = 2 if way == "case" else 1
        assert kinds[-spellings - 1 :] == ["RECORD", *["ACTIVATE_VERSION"] * spellings]
        assert kinds.count("ACTIVATE_VERSION") == spellings
        tenant.remove_rows()
    assert not told(caplog)


LATER = "was not read completely: a later run removes them"
ABSENT = "is not read in this run: give it a table of its own, or remove it from catalog and state"
METHOD = "is LOG_BASED: make it FULL_TABLE, or give it a table of its own"


@pytest.mark.parametrize(
    ("trouble", "name", "failure", "why"),
    [
        ("a value", "A", "failed; the others were read", LATER),
        ("a value", "C", "failed; the others were read", LATER),
        ("no rows", "A", "", LATER),
        ("not served", "C", "", LATER),
        ("no metadata", "A", "", ABSENT),
        ("expression", "A", "", ABSENT),
        ("no state", "A", "The model 'A' (C4A) was not read", ABSENT),
        ("no model", "C", "", ABSENT),
        ("not selected", "A", "", ABSENT),
        ("another choice", "C", "", ABSENT),
        ("LOG_BASED", "A", "", METHOD),
    ],
)
def test_nothing_is_deleted_unless_all_streams_were_read(
    serve: Serve, caplog: pytest.LogCaptureFixture, trouble: str, name: str, failure: str, why: str
) -> None:
    tenant = Tenant("ABC")
    model = next(item for item in tenant.models if item.name == name)
    stream = f"{name.lower()}_d_master" if trouble == "not served" else f"{name.lower()}_fact_data"
    pattern = "*_d*" if trouble == "not served" else "*_fact_data"
    alias = f"'{TABLE}' + __stream_name__[99:]" if trouble == "expression" else TABLE
    warehouse = Warehouse({**serve(tenant), "stream_maps": {pattern: {"__alias__": alias}}})
    model.sets["DMaster"] = [f'{{"ID":"D{number}"}}' for number in range(SIZE)]
    assert not warehouse.load()[1]
    everything = warehouse.numbers()
    assert not told(caplog)

    tenant.remove_rows()
    catalog, models = discover(warehouse.config), tenant.models
    settings: dict[str, Any] = {}
    chosen = select(catalog, *catalog)
    rows = model.sets["FactData"]
    if trouble == "a value":
        model.sets["FactData"] = [*rows[:2], '{"ID":null}']
    elif trouble == "no rows":
        settings["filters"] = {stream: "ID eq 'x'"}
    elif trouble == "not served":
        tenant.refuse(f"C4{name}/DMaster", 404)
    elif trouble in {"no metadata", "no state", "expression"}:
        tenant.refuse(f"C4{name}/$metadata", 412)
    elif trouble == "no model":
        tenant.models = tuple(item for item in models if item is not model)
    elif trouble == "not selected":
        chosen = select(catalog, *({*catalog} - {stream}))
    elif trouble == "another choice":
        settings["models"] = [f"!{name}"]
    else:
        root = next(item for item in catalog[stream]["metadata"] if not item["breadcrumb"])
        root["metadata"]["replication-method"] = trouble
    has_catalog = trouble in {"not selected", "LOG_BASED", "no state"}
    if trouble == "no state":
        warehouse.target.state = {}
    messages, found = warehouse.load(chosen if has_catalog else None, **settings)
    assert failure in found
    assert bool(failure) == bool(found)
    assert warehouse.numbers() == everything
    assert "ACTIVATE_VERSION" not in [item["type"] for item in of_table(messages)]
    number = 6 if trouble == "not served" else 3
    (line,) = told(caplog)
    assert line.endswith(f"in the table {TABLE} of {number} streams, because {stream} {why}.")

    tenant.fault, tenant.models, model.sets["FactData"] = lambda _: None, models, rows
    assert not warehouse.load()[1]
    assert set(warehouse.numbers().values()) == {SIZE - 1} | (
        {SIZE} if "D" in everything else set()
    )


@pytest.mark.parametrize(("unordered", "is_activated"), [("A", True), ("B", False)])
def test_repeated_read_gives_the_others_its_version_unless_it_comes_later(
    serve: Serve, caplog: pytest.LogCaptureFixture, unordered: str, *, is_activated: bool
) -> None:
    tenant = Tenant()
    warehouse = Warehouse({**serve(tenant), **ALIAS})
    warehouse.load()
    tenant.remove_rows()
    tenant.unordered = unordered
    messages, failure = warehouse.load()
    assert not failure
    size = SIZE - 1 if is_activated else SIZE
    assert warehouse.numbers() == {"A": size, "B": size}
    assert len(versions(messages)) == 2
    assert [line.rpartition("because ")[2] for line in told(caplog)] == (
        []
        if is_activated
        else ["a repeated or resumed read has another version: a later run removes them."]
    )
    warehouse.load()
    assert warehouse.numbers() == {"A": SIZE - 1, "B": SIZE - 1}


def test_resumed_slices_keep_their_version_and_delete_nothing_of_others(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = SlicingStandIn({"A": 3, "B": 5})
    maps = {"stream_maps": {"providers": {"__alias__": "sales_fact_data"}}}
    warehouse = Warehouse({**serve(tenant), **SLICED, **maps})
    tenant.fault = at_slice("B", lambda _: error_response(403, "no"), skiptoken="2")
    assert "403" in warehouse.load()[1]
    tenant.fault = lambda _: None
    assert not warehouse.load()[1]
    assert "has another version" in told(caplog)[0]
    table = warehouse.target.rows("sales_fact_data")
    assert sorted(row.get("ProviderID") or row["Version"] for row in table) == [
        *"AAABBBBB",
        "C4SALES",
    ]
    messages, failure = warehouse.load()
    assert not failure
    assert len(versions(messages, "sales_fact_data")) == 1
    assert len(warehouse.target.rows("sales_fact_data")) == 9


def test_tables_that_have_a_stream_in_common_share_the_highest_version(serve: Serve) -> None:
    tenant = Tenant("ABC")
    maps = {A: {"__alias__": "one"}, B: {"__alias__": "one"}, C: {"__alias__": "two"}}
    maps["two"] = {"__source__": B}
    warehouse = Warehouse({**serve(tenant), "stream_maps": maps})
    warehouse.load()
    warehouse.target.state["bookmarks"][C]["version"] += 10**12  # The clock of another machine.
    messages, _ = warehouse.load()
    assert versions(messages, "one") == versions(messages, "two")
    tenant.remove_rows()
    warehouse.load()
    assert warehouse.numbers("one") == {"A": SIZE - 1, "B": SIZE - 1}
    assert warehouse.numbers("two") == {"B": SIZE - 1, "C": SIZE - 1}


def test_files_of_several_streams_have_one_version(serve: Serve, tmp_path: Path) -> None:
    tenant = Tenant()
    config = {**serve(tenant), **ALIAS, **batch_config(tmp_path, "jsonl", None, 4)}
    _, messages = None, Warehouse(config).load()[0]
    rows = records_of(messages, TABLE)
    assert len(rows) == 2 * SIZE
    (version,) = {row["_sdc_table_version"] for row in rows}
    activated = [item for item in of_table(messages) if item["type"] == "ACTIVATE_VERSION"]
    assert activated == [{"type": "ACTIVATE_VERSION", "stream": TABLE, "version": version}]


def test_without_versions_nothing_is_said(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    warehouse = Warehouse({**serve(Tenant()), **ALIAS, "emit_activate_version_messages": False})
    warehouse.load()
    messages, _ = warehouse.load(models=["A"])
    assert not versions(messages)
    assert not told(caplog)
