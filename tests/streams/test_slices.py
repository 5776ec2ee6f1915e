"""A table that is read in slices has the rows of the whole, each once, or says what it lacks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.service import SALES_MODEL, Response, SampleService
from tap_sac.tap import TapSAC
from tests.conftest import discover, select
from tests.helpers.gauge import (
    Gauge,
)
from tests.helpers.runs import is_activated, run
from tests.helpers.slicing import (
    COLOURED,
    FACTS,
    SIZES,
    SLICED,
    SlicingStandIn,
    at_slice,
    fact,
    is_of_facts,
    members,
    versions,
    warnings,
    without_link,
)
from tests.helpers.stand_in import StandIn, edmx, error_response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tap_sac.demo.service import Request
    from tests.conftest import Messages, Serve


SALES = "sales_planning_fact_data"


def whole_then_sliced(
    config: dict[str, Any], stream: str, column: str, **settings: Any
) -> tuple[Messages, Messages]:
    """Read a stream of the sample tenant in one go, and in slices."""
    runs = []
    for partition_by in ({}, {stream: column}):
        own = {**config, **settings, "partition_by": partition_by}
        catalog = discover(own)
        for entry in catalog.values():
            entry["replication_method"] = "FULL_TABLE"
        messages, failure = run(own, catalog=select(catalog, stream))
        assert not failure
        assert messages.of(stream)[-1]["type"] == "ACTIVATE_VERSION"
        runs.append(messages)
    whole, sliced = runs
    return whole, sliced


@pytest.mark.parametrize(
    ("stream", "column", "slices"),
    [
        ("sales_planning_fact_data", "Version", 2),
        ("sales_planning_fact_data", "XX_REGION", 8),
        ("sales_planning_fact_data_aggregation", "Date", 3),
        ("sales_planning_master_data", "Product___ID", 10),
        ("sales_planning_master_data", "Product.ID", 10),
        ("workforce_planning_audit_data", "CostCenter", 2),
        ("exchange_rates_currency_table", "fromCurr", 4),
    ],
)
def test_slices_have_each_row_of_the_whole_once_and_in_order(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    picture: Behaviour,
    stream: str,
    column: str,
    slices: int,
) -> None:
    service = SampleService(replace(picture, dotted_master_data="." in column))
    service.limit(SALES_MODEL, 240)
    facts = service.facts(SALES_MODEL)
    for row in [row for row in facts.rows[:20] if row]:
        facts.put({**row, "Version": "public.Plan"})
    models = ["Sales Planning", "Workforce Planning", "Exchange Rates"]
    config = {**serve(service), "models": models, "page_size": 50}
    whole, sliced = whole_then_sliced(config, stream, column)
    rows = sliced.records(stream)
    assert sorted(map(repr, rows)) == sorted(map(repr, whole.records(stream)))
    values = [record[column] for record in rows]
    assert values == sorted(values)
    found = re.search(rf"{stream}: .* (\d+) slices by {column}\.$", caplog.text, re.MULTILINE)
    assert found
    assert int(found[1]) >= slices
    assert "could not be verified" not in caplog.text


ODD_VALUES = [
    None,
    "",
    " ",
    "#",
    "it's",
    "''",
    "a&b",
    "50%",
    "1+1",
    "%27",
    "a/b?c=d",
    '"x"',
    "Größe",
    "null",
    "a\nb",
]


@pytest.mark.parametrize(
    ("colour_type", "colours"),
    [("Edm.String", ODD_VALUES), ("Edm.Int32", [3, -1, 0, None])],
    ids=["texts", "numbers"],
)
def test_null_blanks_and_quotes_are_values_like_others(
    serve: Serve, colour_type: str, colours: Sequence[object]
) -> None:
    tenant = members(colour_type, colours)
    settings = {"partition_by": {"a_product_master": "Colour"}}
    messages, failure = run({**serve(tenant), **settings})
    assert not failure
    assert is_activated(messages, "a_product_master")
    rows = messages.records("a_product_master")
    assert sorted(row["ID"] for row in rows) == sorted(
        f"{number}-{copy}" for number in range(len(colours)) for copy in range(2)
    )
    assert [row["Colour"] for row in rows[::2]] == [
        *[None],
        *sorted(colour for colour in colours if colour is not None),  # type: ignore[type-var]
    ]
    reads = [item for item in tenant.requests if "/ProductMaster?" in item.target]
    for counts in (False, True):
        asked = [
            item.options["$filter"]
            for item in reads
            if "$filter" in item.options and ("$top" in item.options) is counts
        ]
        assert len(asked) == len(colours)


def test_slices_are_anded_with_the_filter_of_the_user(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)
    filters = {"filters": {FACTS: "Date ge '000001' or Version eq 'public.Budget'"}}
    messages, failure = run({**serve(tenant), **SLICED, **filters})
    assert not failure
    assert is_activated(messages, FACTS)
    assert sorted(tenant.asked()) == [
        f"(Date ge '000001' or Version eq 'public.Budget') and Version eq '{version}'"
        for version in sorted(SIZES)
    ]
    assert versions(messages) == [
        version
        for version in sorted(SIZES)
        for _ in range(1 if version == "public.Budget" else SIZES[version] - 1)
    ]


def test_number_of_parallel_slices_is_that_of_parallel_requests(serve: Serve) -> None:
    tenant = SlicingStandIn({f"V{number}": 1 for number in range(8)})
    gauge = Gauge(4)
    tenant.fault = lambda request: (
        gauge() if "$top" not in request.options and (is_of_facts(request)) else None
    )
    messages, failure = run({**serve(tenant), **SLICED, "max_parallel_requests": 4})
    assert not failure
    assert gauge.most == 4
    assert versions(messages) == [f"V{number}" for number in range(8)]


def cut_slice(
    tenant: SlicingStandIn, probe: Callable[[Request], Response | None]
) -> Callable[[Request], Response | None]:
    """Cut the slice public.Actual after 4 of 5 rows, and answer each probe by `probe`."""
    cut = at_slice(
        "public.Actual",
        lambda request: without_link(tenant.page(request, tenant.rows)),
        skiptoken="2",
    )
    return lambda request: probe(request) if request.options.get("$top") == "1" else cut(request)


def test_unproven_slice_counts_with_its_rows(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = SlicingStandIn(SIZES)
    tenant.fault = cut_slice(tenant, lambda request: tenant.page(request, []))
    messages, failure = run({**serve(tenant), **SLICED})
    assert not failure
    assert len(messages.records(FACTS)) == 12
    assert not is_activated(messages, FACTS)
    assert "filter" not in messages.state["bookmarks"][FACTS]
    assert "so nothing is deleted from the target" in caplog.text
    (line,) = warnings(caplog, "not proven to be the whole")
    assert line.endswith("SAC counts 13 rows of sales_fact_data, but its slices have 12.")


@pytest.mark.parametrize("settings", [{"verify_counts": "warn"}, {}], ids=["warn", "fail"])
@pytest.mark.parametrize("shows", [True, False], ids=["a row", "no answer"])
def test_slice_that_lacks_rows_activates_nothing(
    serve: Serve, settings: dict[str, Any], *, shows: bool
) -> None:
    tenant = SlicingStandIn(SIZES)
    tenant.fault = cut_slice(tenant, lambda _: None if shows else error_response(501, "no"))
    messages, failure = run({**serve(tenant), **SLICED, **settings, "backoff_max_tries": 1})
    assert bool(failure) is not bool(settings)
    # Where SAC does not say whether rows are missing, they are read in one go.
    is_whole = bool(settings) and not shows
    assert is_activated(messages, FACTS) is is_whole
    assert ("filter" in messages.state["bookmarks"].get(FACTS, {})) is is_whole


@pytest.mark.parametrize(
    ("settings", "counts", "why"),
    [
        ({}, False, "SAC does not count it"),
        ({"verify_counts": "off"}, True, "verify_counts is off"),
    ],
)
def test_slices_that_cannot_be_counted_activate_nothing(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    settings: dict[str, Any],
    counts: bool,  # noqa: FBT001
    why: str,
) -> None:
    tenant = SlicingStandIn(SIZES)
    tenant.counts = counts
    messages, failure = run({**serve(tenant), **SLICED, **settings})
    assert not failure
    assert not is_activated(messages, FACTS)
    assert len(messages.records(FACTS)) == 13
    (line,) = warnings(caplog, "not proven to be the whole")
    assert line.endswith(f"{why}.")
    assert any("$count" in target for target in tenant.targets) is not bool(settings)
    assert "slices" not in messages.state["bookmarks"][FACTS]


def test_new_value_during_a_read_is_read_too(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)

    def insert(_: Request) -> None:
        if not any("public.New" in row for row in tenant.rows):
            tenant.rows += [fact("public.New", 1), fact("public.New", 2), fact("public.New", 3)]

    tenant.fault = at_slice("public.Plan", insert)
    messages, failure = run({**serve(tenant), **SLICED})
    assert not failure
    assert versions(messages).count("public.New") == 3
    assert len(messages.records(FACTS)) == 16
    assert is_activated(messages, FACTS)


def test_changes_between_slices_do_not_make_them_unproven(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = SlicingStandIn({"A": 3, "B": 2})

    def change(_: Request) -> None:
        tenant.rows.remove(fact("A", 0))
        tenant.rows.append(fact("B", 9))

    config = {**serve(tenant), **SLICED, "max_parallel_requests": 1}
    tenant.fault = at_slice("B", change)
    messages, failure = run(config)
    assert not failure
    assert versions(messages) == [*"AAABBB"]
    assert is_activated(messages, FACTS)
    assert not warnings(caplog, "not proven")


def test_rows_without_a_key_in_two_slices_fail_the_stream(serve: Serve) -> None:
    tenant = SlicingStandIn({"A": 2, "B": 2})
    # A tenant that compares in another way, of a column that cannot be looked at.
    document = edmx(FactData={**COLUMNS_WITHOUT_KEY})
    tenant.models[0].edmx = document.replace(
        "</Schema>",
        '<EntityType Name="Version___Distinct"><Property Name="Version" Type="Edm.String"/>'
        "</EntityType></Schema>",
    )
    tenant.fault = lambda request: (
        StandIn.page(tenant, request, tenant.rows)
        if request.options.get("$filter") == "Version eq 'B'"
        else None
    )
    config = {**serve(tenant), **SLICED}
    catalog = select(discover(config), FACTS)
    for entry in catalog["streams"]:
        for item in entry["metadata"]:
            if item["breadcrumb"][1:] == ["Version"]:
                item["metadata"]["selected"] = False
    messages, failure = run(config, catalog=catalog)
    assert (
        "SAC counts 4 rows of sales_fact_data, but its slices have 6, so some were sent twice"
        in failure
    )
    assert not is_activated(messages, FACTS)


COLUMNS_WITHOUT_KEY = {"Version": "Edm.String", "Date": "Edm.String", "AMOUNT": "Edm.Decimal"}


def test_slice_that_is_cut_short_fails_the_stream_and_is_named(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)
    tenant.fault = at_slice(
        "public.Actual",
        lambda request: without_link(tenant.page(request, tenant.rows)),
        skiptoken="2",
    )
    messages, failure = run({**serve(tenant), **SLICED})
    assert "SAC counts 5 rows of sales_fact_data (Version eq 'public.Actual') but sent 4" in failure
    assert not is_activated(messages, FACTS)
    assert is_activated(messages, "providers")


def test_empty_slices_empty_no_table(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    tenant = SlicingStandIn(SIZES)
    filters = {"filters": {FACTS: "Date eq '9'"}}
    messages, failure = run({**serve(tenant), **SLICED, **filters})
    assert not failure
    assert not is_activated(messages, FACTS)
    assert warnings(caplog, "but SAC counts 13 rows without the filter")


@pytest.mark.parametrize("facts_per_key", [1, 3])
def test_facts_of_slices_are_compared_with_their_keys(serve: Serve, facts_per_key: int) -> None:
    service = SampleService(Behaviour(facts_per_key=facts_per_key))
    service.limit(SALES_MODEL, 400)
    config = {**serve(service), "models": ["Sales Planning"], "partition_by": {SALES: "Date"}}
    messages, failure = run(config)
    several = "SAC stores several facts of sales_planning_fact_data under one key (Version="
    assert (several in failure) is (facts_per_key > 1)
    assert is_activated(messages, SALES) is (facts_per_key == 1)


def test_totals_of_slices_are_compared(
    serve: Serve, caplog: pytest.LogCaptureFixture, picture: Behaviour
) -> None:
    service = SampleService(picture)
    service.limit(SALES_MODEL, 400)
    config = {**serve(service), "models": ["Sales Planning"], "partition_by": {SALES: "Date"}}
    messages, failure = run({**config, "verify_totals": True})
    assert not failure
    assert is_activated(messages, SALES)
    assert len(re.findall("  the same$", caplog.text, re.MULTILINE)) == 3


def test_dry_run_reads_no_slice(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)
    TapSAC(config={**serve(tenant), **SLICED}).run_connection_test()
    assert set(tenant.asked()) == {""}


def test_row_that_moves_to_a_slice_that_was_read_does_not_go_from_the_target(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """All counts agree afterwards, but the member was never read."""
    tenant = members("Edm.String", ["blue", "red"])
    rows = tenant.models[0].sets["ProductMaster"]
    assert isinstance(rows, list)

    def repaint(request: Request) -> None:
        if "Colour eq 'red'" in request.options.get("$filter", "") and len(rows) == 4:
            rows[2] = rows[2].replace("red", "blue")
            rows.append(json.dumps({"ID": "new", "Colour": "red"}))

    tenant.fault = repaint
    settings = {**COLOURED, "max_parallel_requests": 1}
    messages, failure = run({**serve(tenant), **settings})
    assert not failure
    assert [row["ID"] for row in messages.records("a_product_master")] == [
        *["0-0", "0-1"],
        *["1-1", "new"],
    ]
    assert not is_activated(messages, "a_product_master")
    assert warnings(caplog, "1 slice changed meanwhile, so rows may have moved")
    tenant.fault = lambda _: None
    again, failure = run({**serve(tenant), **settings})
    assert not failure
    assert is_activated(again, "a_product_master")
    assert len(again.records("a_product_master")) == 5


def test_no_run_resumes_slices_between_which_rows_move(serve: Serve) -> None:
    """Two that change places leave all counts as they are."""
    tenant = members("Edm.String", ["blue", "red"])
    config = {**serve(tenant), **COLOURED}
    rows = tenant.models[0].sets["ProductMaster"]
    assert isinstance(rows, list)
    tenant.fault = lambda request: (
        error_response(403, "no")
        if "Colour eq 'red'" in request.options.get("$filter", "")
        else None
    )
    first, failure = run(config)
    assert "SAC answered 403" in failure
    assert len(first.records("a_product_master")) == 2
    rows[1], rows[2] = rows[1].replace("blue", "red"), rows[2].replace("red", "blue")
    tenant.fault = lambda _: None
    written = [item["value"] for item in first if item["type"] == "STATE"]
    messages, failure = run(config, state=written[-1] if written else {})
    assert not failure
    assert is_activated(messages, "a_product_master")
    assert len(messages.records("a_product_master")) == 4
