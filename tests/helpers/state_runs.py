"""Tenants and runs that write states, and what a run has written."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tap_sac.demo.service import SALES_MODEL, Response, SampleService
from tests.conftest import discover, select
from tests.helpers.demo_client import refresh_token
from tests.helpers.runs import run
from tests.helpers.slicing import SLICED, SlicingStandIn, at_slice
from tests.helpers.stand_in import Model, StandIn, edmx, error_response, sales
from tests.helpers.states import blanked, filled, golden
from tests.helpers.tracking import ROWS, TrackingStandIn, changed, delta, log_based

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tap_sac.demo.service import Request
    from tests.conftest import Messages, Serve

FACTS = "sales_fact_data"
SUMS, AUDIT = "sales_fact_data_aggregation", "sales_audit_data"
DEMO_FACTS, REGIONS = "sales_planning_fact_data", "sales_planning_xx_region_master"
DENIED = error_response(403, "no")

Config = dict[str, Any]
Bookmark = dict[str, Any]


def of(bookmark: Bookmark, stream: str = FACTS) -> dict[str, Any]:
    """Make the state that has one bookmark."""
    return {"bookmarks": {stream: copy.deepcopy(bookmark)}}


def bookmark_of(messages: Messages, stream: str = FACTS) -> Bookmark:
    bookmark: Bookmark = messages.state["bookmarks"][stream]
    return bookmark


def written(messages: Messages, config: Config, stream: str = FACTS) -> Bookmark:
    """Return the bookmark that a run wrote last, with placeholders."""
    return blanked(bookmark_of(messages, stream), config)


def kinds(messages: Messages, stream: str = FACTS) -> set[str]:
    return {message["type"] for message in messages.of(stream)}


def version_of(messages: Messages, stream: str = FACTS) -> int:
    (version,) = {item["version"] for item in messages.of(stream) if "version" in item}
    return int(version)


def warnings(caplog: pytest.LogCaptureFixture, text: str = "") -> list[str]:
    return [
        item.getMessage()
        for item in caplog.records
        if item.levelname == "WARNING" and text in item.getMessage()
    ]


def full_config(serve: Serve) -> Config:
    return serve(StandIn(sales(*ROWS)))


def tracking(serve: Serve, *deltas: Response) -> tuple[TrackingStandIn, Config]:
    """Serve a tenant with a chain of changes: A, B, ..."""
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas = dict(zip("ABC", deltas or [delta(changed(ROWS[0]))], strict=False))
    return tenant, {**log_based(serve, tenant), "backoff_max_tries": 1}


def slicing(serve: Serve, *, stops: bool) -> tuple[SlicingStandIn, Config]:
    """Serve a tenant with three slices, and refuse the last one if the run shall stop there."""
    tenant = SlicingStandIn({"A": 3, "B": 5, "C": 2})
    if stops:
        tenant.fault = at_slice("C", lambda _: DENIED)
    return tenant, {**serve(tenant), **SLICED}


AUDIT_ROWS = [
    f'{{"Audit_Time":"2026-11-0{day}T00:00:00.000Z","Action":"Change"}}' for day in (1, 2, 3)
]


def several_sets(serve: Serve, *audit_rows: str) -> tuple[StandIn, Config]:
    """Serve a tenant that also has sums and audit data."""
    document = edmx(
        FactData={"Version": "Edm.String*", "AMOUNT": "Edm.Decimal"},
        FactDataAggregation={
            "Version": "Edm.String*",
            "Date": "Edm.String*",
            "AMOUNT": "Edm.Decimal",
        },
        AuditData={"Audit_Time": "Edm.DateTimeOffset", "Action": "Edm.String"},
    )
    sums = [row.replace("public.Actual", f"public.{number}") for number, row in enumerate(ROWS)]
    sets = {"FactData": (), "FactDataAggregation": sums, "AuditData": audit_rows or AUDIT_ROWS}
    tenant = StandIn(Model("C4SALES", "Sales", document, sets))
    return tenant, serve(tenant)


def chosen(config: Config, *streams: str, without: str = "") -> dict[str, Any]:
    """Make the catalog that selects some streams, without a column."""
    found = discover(config)
    for name in streams:
        for item in found[name]["metadata"]:
            if item["breadcrumb"][1:] == [without]:
                item["metadata"]["selected"] = False
    return select(found, *streams)


def demo_config(serve: Serve, user: str | None, **settings: Any) -> Config:
    service = SampleService()
    service.limit(SALES_MODEL, 20)
    config = {**serve(service), "models": ["Sales Planning"], **settings}
    return {**config, "refresh_token": refresh_token(config, user)} if user else config


def listing(
    *subscriptions: str, deleted: list[str] | None = None
) -> Callable[[Request], Response | None]:
    """List subscriptions, and let them be deleted."""

    def answer(request: Request) -> Response | None:
        if request.target.endswith("/csrf"):
            return Response(200, b"", {"x-csrf-token": "token"})
        if "Subscriptions" not in request.target:
            return None
        if request.method == "DELETE":
            if deleted is not None:
                deleted.append(request.target)
            return Response(204, b"")
        rows = (
            f'{{"SubscriptionID":"{name}","EntitySetName":"FactData"}}' for name in subscriptions
        )
        return Response(200, f'{{"value":[{",".join(rows)}]}}'.encode())

    return answer


def half_done(serve: Serve) -> tuple[SlicingStandIn, Config, Bookmark]:
    """Serve slices of which the state, of another version than the run, has two."""
    tenant, config = slicing(serve, stops=True)
    messages, _ = run(config)
    slices = bookmark_of(messages)["slices"]
    values = {"query": slices["question"], "started_at": slices["started_at"]}
    tenant.fault = lambda _: None
    tenant.requests.clear()
    return tenant, config, filled(golden("slices_half_done"), config, **values)
