"""Where the values of a slice column come from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from tests.conftest import discover, select
from tests.helpers.runs import is_activated, run
from tests.helpers.slicing import COLUMNS, FACTS, facts, kept, versions, warnings
from tests.helpers.stand_in import Model, StandIn, edmx, error_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_sac.demo.service import Request, Response
    from tests.conftest import Serve

SUMS = "FactDataAggregation"
SIZES = {"public.Actual": 3, "public.Plan": 2}
SETS = {
    "FactData": COLUMNS,
    # As SAP documents it: no column is a key.
    SUMS: {name: type_.rstrip("*") for name, type_ in COLUMNS.items()},
    "VersionMaster": {"ID": "Edm.String*", "VERSION": "Edm.String"},
    "DateMaster": {"DATE": "Edm.String*", "YEAR": "Edm.String"},
}
SOURCES = (SUMS, "VersionMaster", "DateMaster")


class SourcesTenant(StandIn):
    """Serves facts, and each set that may list the values of a column, unless it refuses that.

    Attributes:
        refused: The sets that are described, and refused.
        versions: The rows of VersionMaster.
        dates: The members of DateMaster; None for those of the facts.
    """

    def __init__(self, *refused: str, listed: dict[str, dict[str, str]] | None = None) -> None:
        document = edmx(**{**SETS, **(listed or {})})
        self.refused = refused
        self.versions = [{"ID": "Actual"}, {"ID": "Plan"}, {"ID": "Budget"}]
        self.dates: list[str] | None = None
        self.rows = facts(SIZES)
        names = (*SETS, *(listed or {}), "Version___Distinct", "Date___Distinct")
        super().__init__(Model("C4SALES", "Sales", document, dict.fromkeys(names, ())))
        self.models[0].sets["FactData"] = self.rows

    @override
    def page(self, request: Request, rows: Sequence[str]) -> Response:
        name = request.path.rpartition("/")[2]
        if name in self.refused:
            return error_response(404, f"Entity set {name} does not exist. [3707]")
        known = [json.loads(row) for row in self.rows]
        if name == "VersionMaster":
            rows = [*map(json.dumps, self.versions)]
        elif name == "DateMaster":
            dates = self.dates or dict.fromkeys(row["Date"] for row in known)
            rows = [json.dumps({"YEAR": "2024", "DATE": date}) for date in dates]
        elif "Distinct" in name or "$select" in request.options:
            asked = name.removesuffix("___Distinct").split("___")
            if name == SUMS:
                asked = request.options["$select"].removesuffix(",AMOUNT").split(",")
            # With a column that was not asked for, as SAP's sample has it.
            seen = {tuple((item, row[item]) for item in asked): None for row in known}
            rows = [json.dumps({"AMOUNT": 1, **dict(item)}) for item in seen]
        return super().page(request, kept(request, rows))

    @property
    def sources(self) -> list[str]:
        """The sets that were asked for values, in order, each with a count at first."""
        names = (
            request.path.rpartition("/")[2]
            for request in self.requests
            if "$count" in request.options and "$top" not in request.options
        )
        return [name for name in names if name in {*SOURCES} or name.endswith("___Distinct")]


def read(serve: Serve, tenant: SourcesTenant, column: str, **settings: Any) -> list[str]:
    """Read the facts in slices, all of them; returns their versions."""
    config = {**serve(tenant), "partition_by": {FACTS: column}, **settings}
    catalog = select(discover(config), FACTS)
    tenant.requests.clear()
    messages, failure = run(config, catalog=catalog)
    assert not failure
    assert is_activated(messages, FACTS)
    assert sorted(row["Version"] + row["Date"] for row in messages.records(FACTS)) == sorted(
        item["Version"] + item["Date"] for item in map(json.loads, tenant.rows)
    )
    return versions(messages)


@pytest.mark.parametrize(
    ("column", "refused", "asked"),
    [
        ("Version", [], [SUMS, SUMS]),
        ("Date", [], [SUMS, SUMS]),
        ("Version", [SUMS], [SUMS, "VersionMaster", "VersionMaster"]),
        ("Date", [SUMS], [SUMS, "DateMaster", "DateMaster"]),
        (
            "Version",
            [SUMS, "VersionMaster"],
            [SUMS, "VersionMaster", "Version___Distinct", "Version___Distinct"],
        ),
    ],
)
def test_lists_that_answered_are_requested_again_but_not_refused_ones(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    column: str,
    refused: list[str],
    asked: list[str],
) -> None:
    tenant = SourcesTenant(*refused)
    read(serve, tenant, column)
    assert tenant.sources == asked
    assert not warnings(caplog, "")


@pytest.mark.parametrize(("status", "times"), [(400, 2), (404, 1)])
def test_only_a_filter_may_be_why_sums_are_refused(serve: Serve, status: int, times: int) -> None:
    tenant = SourcesTenant()
    tenant.fault = lambda request: (
        error_response(status, "no")
        if request.path.endswith(SUMS) and "$top" not in request.options
        else None
    )
    read(serve, tenant, "Version", filters={FACTS: "Date ge '000000'"})
    assert tenant.sources == [*[SUMS] * times, "VersionMaster", "VersionMaster"]


@pytest.mark.parametrize(
    ("odata_filter", "is_sent"), [("Date ge '000000'", True), ("AMOUNT ge 0", False)]
)
def test_sums_are_not_filtered_by_a_measure(
    serve: Serve, odata_filter: str, *, is_sent: bool
) -> None:
    """SAC may apply such a filter to the sums, and leave out values that facts have."""
    tenant = SourcesTenant()
    read(serve, tenant, "Version", filters={FACTS: odata_filter})
    filters = {
        request.options.get("$filter")
        for request in tenant.requests
        if request.path.endswith(SUMS) and "$top" not in request.options
    }
    assert filters == {odata_filter if is_sent else None}


def test_without_a_source_the_table_is_read_in_one_go(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = SourcesTenant(SUMS, "VersionMaster", "Version___Distinct")
    read(serve, tenant, "Version")
    assert tenant.sources == [SUMS, "VersionMaster", "Version___Distinct"]
    assert warnings(caplog, "in one go: SAC lists no values of Version.")


@pytest.mark.parametrize(
    "name", ["Version___Distinct", "Version___Date___Distinct", "Date___Version___Distinct"]
)
def test_listed_set_of_values_is_requested_first(serve: Serve, name: str) -> None:
    tenant = SourcesTenant(listed={name: {"Version": "Edm.String", "AMOUNT": "Edm.Decimal"}})
    read(serve, tenant, "Version")
    assert tenant.sources == [name, name]


def test_columns_without_numbers_are_not_measures(serve: Serve) -> None:
    columns = {"Text": "Edm.String", **SETS["FactData"]}
    tenant = SourcesTenant(listed={"FactData": columns, SUMS: {**columns, **SETS[SUMS]}})
    read(serve, tenant, "Version")
    selects = [item.options.get("$select") for item in tenant.requests if SUMS in item.target]
    assert "Version,AMOUNT" in selects


@pytest.mark.parametrize(
    "master",
    [
        [{"ID": "Actual"}, {"ID": "Plan"}],
        [{"ID": "public.Actual"}, {"ID": "public.Plan"}],
        [{"ID": "1", "VERSION": "public.Actual"}, {"ID": "2", "VERSION": "Plan"}],
        # Members without facts, and facts without members.
        [{"ID": "Actual"}, {"ID": "Budget"}],
        [{"ID": "unknown"}],
    ],
)
def test_versions_have_a_prefix_in_facts_and_perhaps_in_their_master(
    serve: Serve, caplog: pytest.LogCaptureFixture, master: list[dict[str, str]]
) -> None:
    tenant = SourcesTenant(SUMS)
    tenant.versions = master
    assert read(serve, tenant, "Version") == ["public.Actual"] * 3 + ["public.Plan"] * 2
    assert not warnings(caplog, "")


@pytest.mark.parametrize(("members", "is_enough"), [(1_000, True), (1_001, False)])
def test_masters_with_too_many_members_list_no_values(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, members: int, *, is_enough: bool
) -> None:
    monkeypatch.setattr("tests.helpers.stand_in.PAGE_SIZE", 2_000)
    tenant = SourcesTenant(SUMS)
    tenant.dates = [f"{number:06}" for number in range(members)]
    # The first slice ends the run: there are a thousand.
    tenant.fault = lambda request: (
        error_response(403, "no") if "$filter=Date" in request.target else None
    )
    config = {**serve(tenant), "partition_by": {FACTS: "Date"}}
    _, failure = run(config, catalog=select(discover(config), FACTS))
    assert "SAC answered 403" in failure
    assert ("Date___Distinct" in tenant.sources) is not is_enough
