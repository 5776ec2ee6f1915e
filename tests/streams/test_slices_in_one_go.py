"""Tables that are read in one go although they should be read in slices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tap_sac.demo.service import SALES_MODEL, Response, SampleService
from tests.conftest import discover, select
from tests.helpers.counts import SALES
from tests.helpers.runs import is_activated, run
from tests.helpers.slicing import (
    FACTS,
    SIZES,
    SLICED,
    SlicingStandIn,
    at_slice,
    is_of_facts,
    warnings,
    without_key,
)
from tests.helpers.stand_in import Model, StandIn, edmx, error_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_sac.demo.service import Request
    from tests.conftest import Serve


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
            "SAC answered the slice Version eq 'public.Actual' with rows of 'public.Plan'.",
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
def test_stream_that_cannot_be_sliced_is_read_in_one_go(
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


def test_rows_without_a_key_are_not_written_twice(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)
    tenant.fault = at_slice("public.Plan", lambda _: error_response(400, "late"))
    config = {**serve(tenant), **SLICED}
    messages, failure = run(config, catalog=without_key(config))
    assert (
        "without a key, a read in one go would duplicate rows: SAC does not list all values"
        in failure
    )
    assert len(messages.records(FACTS)) == 10
    assert not is_activated(messages, FACTS)


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
    assert "SAC would track changes per slice" in line


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
    assert warnings(caplog, "levels and paths of a hierarchy need all members")


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
    assert warnings(caplog, "SAC aggregates over a column that is deselected")
