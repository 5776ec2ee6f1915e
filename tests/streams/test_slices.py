"""A table that is read in slices has the rows of the whole, each once, or says what it lacks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.service import SALES_MODEL, Response, SampleService
from tap_sac.tap import TapSAC
from tests.conftest import discover, select
from tests.helpers.gauge import (
    Gauge,
)
from tests.helpers.runs import is_activated, run
from tests.helpers.slicing import (
    FACTS,
    SLICED,
    SlicingStandIn,
    at_slice,
    fact,
    is_of_facts,
    kept,
    versions,
    warnings,
    without_link,
)
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, error_response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tap_sac.demo.service import Request
    from tests.conftest import Messages, Serve

SALES = "sales_planning_fact_data"
SIZES = {"public.Actual": 5, "public.Plan": 3, "public.Budget": 1, "public.Old": 4}


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


def members(colour_type: str, colours: Sequence[object]) -> StandIn:
    """Serve a master with two members of each colour, and the list of the colours."""
    document = edmx(
        ProductMaster={"ID": "Edm.String*", "Colour": colour_type},
        Colour___Distinct={"Colour": colour_type},
    )
    rows = [
        json.dumps({"ID": f"{number}-{copy}"} | ({} if colour is None else {"Colour": colour}))
        for number, colour in enumerate(colours)
        for copy in range(2)
    ]
    listed = [json.dumps({} if colour is None else {"Colour": colour}) for colour in colours]
    sets: dict[str, Sequence[str]] = {"ProductMaster": rows, "Colour___Distinct": listed}

    class Tenant(StandIn):
        @override
        def page(self, request: Request, rows: Sequence[str]) -> Response:
            return super().page(request, kept(request, rows))

    return Tenant(Model("C4A", "A", document, sets))


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


def test_as_many_slices_are_read_at_once_as_requests_may_be(serve: Serve) -> None:
    tenant = SlicingStandIn({f"V{number}": 1 for number in range(8)})
    gauge = Gauge(4)
    tenant.fault = lambda request: (
        gauge() if "$top" not in request.options and (is_of_facts(request)) else None
    )
    messages, failure = run({**serve(tenant), **SLICED, "max_parallel_requests": 4})
    assert not failure
    assert gauge.most == 4
    assert versions(messages) == [f"V{number}" for number in range(8)]


REST = "(Version eq null or Version ne 'public.Actual' and Version ne 'public.Budget' and "
REST += "Version ne 'public.Plan')"


def lacking_a_value(sizes: dict[str, int] | None = None) -> SlicingStandIn:
    """Serve facts of which the list of values lacks the last one."""
    tenant = SlicingStandIn(sizes or SIZES)
    tenant.values = [*(sizes or SIZES)][:-1]
    return tenant


def rows(*texts: str) -> Response:
    return Response(200, f'{{"value":[{",".join(texts)}]}}'.encode(), JSON)


def at_rest(answer: Callable[[], Response]) -> Callable[[Request], Response | None]:
    """Answer in another way to what no slice has."""
    return lambda request: answer() if " ne " in request.options.get("$filter", "") else None


def test_last_slice_has_what_the_list_of_values_lacks(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = lacking_a_value()
    messages, failure = run({**serve(tenant), **SLICED})
    assert not failure
    assert is_activated(messages, FACTS)
    assert len({(row["Version"], row["Date"]) for row in messages.records(FACTS)}) == 13
    assert len(messages.records(FACTS)) == 13
    assert tenant.asked()[-1] == REST
    assert not warnings(caplog, "")


@pytest.mark.parametrize("listed", [["blue"], [None, "blue"]])
def test_last_slice_has_null_unless_another_one_has(serve: Serve, listed: list[str | None]) -> None:
    tenant = members("Edm.String", [None, "blue", "red"])
    lines = [json.dumps({} if colour is None else {"Colour": colour}) for colour in listed]
    tenant.models[0].sets["Colour___Distinct"] = lines
    messages, failure = run({**serve(tenant), **COLOURED})
    assert not failure
    assert is_activated(messages, "a_product_master")
    assert len(messages.records("a_product_master")) == 6


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            lambda: error_response(400, "no"),
            "to the slice (Version eq null or Version ne 'public.Actual'",
        ),
        # As in SQL, where a condition on null keeps nothing.
        (rows, "SAC counts 13 rows of sales_fact_data"),
        (lambda: rows(fact("public.Plan", 1)), "with rows of 'public.Plan'"),
    ],
    ids=["refused", "empty", "ignored"],
)
@pytest.mark.parametrize("has_key", [True, False])
def test_what_no_slice_has_is_read_in_one_go_or_fails_by_name(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    answer: Callable[[], Response],
    why: str,
    *,
    has_key: bool,
) -> None:
    tenant = lacking_a_value()
    config = {**serve(tenant), **SLICED}
    catalog = select(discover(config), FACTS) if has_key else without_key(config)
    tenant.fault = at_rest(answer)
    messages, failure = run(config, catalog=catalog)
    assert is_activated(messages, FACTS) is has_key
    if has_key:
        assert not failure
        assert len({(row["Version"], row["Date"]) for row in messages.records(FACTS)}) == 13
        assert why in warnings(caplog, "in one go")[0]
    else:
        assert f"{FACTS}: " in failure
        assert "and without a key, rows would come twice in one go" in failure
        assert len(messages.records(FACTS)) == 9


@pytest.mark.parametrize("has_key", [True, False])
def test_condition_of_the_last_slice_is_no_longer_than_gateways_take(
    serve: Serve, caplog: pytest.LogCaptureFixture, *, has_key: bool
) -> None:
    tenant = lacking_a_value({f"public.{number:03}{200 * 'x'}": 1 for number in range(40)})
    config = {**serve(tenant), **SLICED}
    catalog = select(discover(config), FACTS) if has_key else without_key(config)
    messages, failure = run(config, catalog=catalog)
    assert is_activated(messages, FACTS) is has_key
    assert ("without a key, rows would come twice" in failure) is not has_key
    assert bool(warnings(caplog, "in one go: SAC does not list all values of Version")) is has_key
    assert len(set(versions(messages))) == 40 - (not has_key)
    assert max(len(target) for target in tenant.targets) < 6_000


def test_slices_that_lack_rows_which_sac_does_not_show_activate_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = lacking_a_value()
    tenant.skips = False
    tenant.fault = at_rest(rows)
    messages, failure = run({**serve(tenant), **SLICED})
    assert not failure
    assert not is_activated(messages, FACTS)
    (line,) = warnings(caplog, "not proven to be the whole")
    assert line == (
        "The slices of sales_fact_data by Version are not proven to be the whole table, so rows "
        "that are gone from SAC stay in the target: SAC counts 13 rows of sales_fact_data, and 9 "
        "in its slices."
    )


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


def test_unproven_slice_counts_with_the_rows_that_came(
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
    assert line.endswith("SAC counts 13 rows of sales_fact_data, and 12 in its slices.")


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


def test_value_that_comes_up_meanwhile_is_read_too(serve: Serve) -> None:
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


def test_changes_between_slices_are_no_reason_to_doubt_them(
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


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (
            lambda tenant: (
                lambda request: (
                    tenant.page(replace(request, target=request.path), tenant.rows)
                    if is_of_facts(request) and "$filter" in request.options
                    else None
                )
            ),
            "SAC answered to the slice Version eq 'public.Actual' with rows of 'public.Plan'.",
        ),
        (
            lambda _: at_slice("public.Actual", lambda _: error_response(400, "no")),
            "SAC answered 400 Bad Request, 'no'",
        ),
        (
            lambda _: at_slice("public.Actual", lambda _: error_response(500, "SQL [1205]")),
            "'SQL [1205]'",
        ),
        (
            lambda _: at_slice("public.Plan", lambda _: error_response(400, "late")),
            "to the slice Version eq 'public.Plan'.",
        ),
        (
            lambda _: (
                lambda request: (
                    error_response(404, "no [3707]") if "Distinct" in request.target else None
                )
            ),
            "SAC lists no values of Version.",
        ),
    ],
    ids=["ignored", "400", "1205", "late", "no values"],
)
def test_what_cannot_be_sliced_is_read_in_one_go(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    fault: Callable[[SlicingStandIn], Callable[[Request], Response | None]],
    why: str,
) -> None:
    tenant = SlicingStandIn(SIZES)
    tenant.fault = fault(tenant)
    messages, failure = run({**serve(tenant), **SLICED})
    assert not failure
    records = {(row["Version"], row["Date"]) for row in messages.records(FACTS)}
    assert len(records) == 13
    assert len({item["version"] for item in messages.of(FACTS) if "version" in item}) == 1
    assert is_activated(messages, FACTS)
    (line,) = warnings(caplog, "The table of sales_fact_data is read in one go")
    assert why in line
    assert not messages.state["bookmarks"][FACTS].get("slices")


def test_column_with_too_many_values_is_read_in_one_go(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.helpers.stand_in.PAGE_SIZE", 1_000)
    tenant = SlicingStandIn({f"V{number}": 1 for number in range(2_500)})
    messages, failure = run({**serve(tenant), **SLICED})
    assert not failure
    assert len(messages.records(FACTS)) == 2_500
    assert tenant.asked() == [""]
    assert sum("/Version___Distinct" in target for target in tenant.targets) == 2
    (line,) = warnings(caplog, "in one go")
    assert line.endswith("Version has more than 1,000 values.")


def without_key(config: dict[str, Any]) -> dict[str, Any]:
    catalog = discover(config)
    catalog[FACTS]["key_properties"] = []
    return select(catalog, FACTS)


def test_rows_without_a_key_are_not_written_twice(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)
    tenant.fault = at_slice("public.Plan", lambda _: error_response(400, "late"))
    config = {**serve(tenant), **SLICED}
    messages, failure = run(config, catalog=without_key(config))
    assert "without a key, rows would come twice in one go: SAC does not list all values" in failure
    assert len(messages.records(FACTS)) == 10
    assert not is_activated(messages, FACTS)


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
        "SAC counts 4 rows of sales_fact_data, and 6 in its slices, so some rows came twice"
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
    assert warnings(caplog, "while SAC counts 13 rows without the filter")


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


def test_opening_read_of_a_delta_is_in_one_go(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    service = SampleService()
    service.limit(SALES_MODEL, 400)
    config = {**serve(service), "models": ["Sales Planning"], "partition_by": {SALES: "Date"}}
    messages, failure = run({**config, "default_replication_method": "LOG_BASED"})
    assert not failure
    assert is_activated(messages, SALES)
    assert len(messages.records(SALES)) == 400
    assert len(service.subscriptions) == 1
    (line,) = warnings(caplog, "in one go")
    assert "SAC would track the changes of each slice alone" in line


def test_incremental_read_is_in_one_go(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    stream = "workforce_planning_audit_data"
    config = {**serve(SampleService()), "models": ["Workforce Planning"]}
    config["partition_by"] = {stream: "Version"}
    messages, failure = run(config, catalog=select(discover(config), stream))
    assert not failure
    assert len(messages.records(stream)) == 300
    assert warnings(caplog, "an INCREMENTAL read has only the rows since the last one")


def test_hierarchies_are_in_one_go(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    stream = "sales_planning_product_master_with_hierarchy"
    config = {**serve(SampleService()), "models": ["Sales Planning"]}
    config["partition_by"] = {stream: "Brand"}
    messages, failure = run(config, catalog=select(discover(config), stream))
    assert not failure
    assert is_activated(messages, stream)
    assert warnings(caplog, "a place in a hierarchy is not known before all members are")


def test_sums_over_a_deselected_column_are_in_one_go(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    stream = "a_fact_data_aggregation"
    document = edmx(
        FactDataAggregation={"Version": "Edm.String", "AMOUNT": "Edm.Decimal"},
        Version___Distinct={"Version": "Edm.String"},
    )
    tenant = StandIn(Model("C4A", "A", document))
    tenant.models[0].sets |= {
        "FactDataAggregation": ['{"AMOUNT":3.0}'],
        "Version___Distinct": ['{"Version":"A"}'],
    }
    config = serve(tenant)
    config["partition_by"] = {stream: "Version"}
    catalog = select(discover(config), stream)
    for entry in catalog["streams"]:
        for item in entry["metadata"]:
            if item["breadcrumb"][1:] == ["Version"]:
                item["metadata"]["selected"] = False
    messages, failure = run(config, catalog=catalog)
    assert not failure
    assert len(messages.records(stream)) == 1
    assert warnings(caplog, "SAC adds up rows over a column that is deselected")


def test_dry_run_asks_for_no_slice(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)
    TapSAC(config={**serve(tenant), **SLICED}).run_connection_test()
    assert set(tenant.asked()) == {""}


COLOURED = {"partition_by": {"a_product_master": "Colour"}}


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
    assert warnings(caplog, "1 of them have changed, so rows may have moved from one to another")
    tenant.fault = lambda _: None
    again, failure = run({**serve(tenant), **settings})
    assert not failure
    assert is_activated(again, "a_product_master")
    assert len(again.records("a_product_master")) == 5


def test_nobody_goes_on_with_slices_between_which_rows_move(serve: Serve) -> None:
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
