"""What full reads remove from targets, and what they warn of before."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest

from tap_sac.demo.service import SALES_MODEL, SampleService
from tests.conftest import discover, sync
from tests.helpers.counts import (
    FACTS,
    ROWS,
    SALES,
    sales_config,
)
from tests.helpers.runs import is_activated, run
from tests.helpers.stand_in import StandIn, error_response, sales

if TYPE_CHECKING:
    from tests.conftest import Serve


@pytest.mark.parametrize(
    ("rows", "counts", "odata_filter", "activates"),
    [
        ([], True, None, True),
        ([], False, None, False),
        (ROWS, True, "Date eq 'x'", False),
        ([], True, "Date eq 'x'", True),
    ],
    ids=["counted as empty", "not counted", "filter finds nothing", "empty behind the filter"],
)
def test_empty_read_empties_a_table_only_if_sac_counts_it_as_empty(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    rows: list[str],
    odata_filter: str | None,
    *,
    counts: bool,
    activates: bool,
) -> None:
    tenant = StandIn(sales(*rows))
    tenant.counts = counts
    tenant.fault = lambda request: tenant.page(request, []) if "$filter" in request.target else None
    filters = {"filters": {FACTS: odata_filter}} if odata_filter else {}
    messages, failure = run({**serve(tenant), **filters})
    assert not failure
    assert is_activated(messages, FACTS) is activates
    assert ("is empty" in caplog.text) is not activates


def test_changed_filter_is_reported_before_the_read(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = serve(StandIn(sales(*ROWS)))
    state = sync(config).state
    assert state["bookmarks"][FACTS]["filter"] is None
    changed = {**config, "filters": {FACTS: "Date ge '000003'"}}
    messages, _ = run(changed, state=state)
    warning = "has changed since the last completed read, from none to Date ge '000003'"
    assert sum(warning in text for text in caplog.messages) == 1
    after_warning = caplog.text.partition(warning)[2]
    assert "sales_fact_data: 9 rows read" in after_warning
    caplog.clear()
    run(changed, state=messages.state)
    assert "has changed since" not in caplog.text
    run({**config, "emit_activate_version_messages": False}, state=messages.state)
    assert "has changed since" not in caplog.text


@pytest.mark.parametrize(
    ("earlier", "method"),
    [("FULL_TABLE", "FULL_TABLE"), ("FULL_TABLE", "LOG_BASED"), ("LOG_BASED", "FULL_TABLE")],
)
def test_filter_that_changed_with_the_method_is_reported_once(
    serve: Serve, caplog: pytest.LogCaptureFixture, earlier: str, method: str
) -> None:
    service = SampleService()
    service.limit(SALES_MODEL, 5)
    config = sales_config(serve, service, default_replication_method=earlier)
    config["filters"] = {SALES: "startswith(Product,'P')"}
    state = sync(config).state
    config["default_replication_method"] = method
    run(config, state=copy.deepcopy(state))
    assert "The filter" not in caplog.text
    del config["filters"]
    messages, _ = run(config, state=state)
    warning = "since the last completed read, from startswith(Product,'P') to none: the target"
    assert sum(warning in text for text in caplog.messages) == 1
    caplog.clear()
    run(config, state=messages.state)
    assert "The filter" not in caplog.text


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
@pytest.mark.parametrize("earlier", ["FULL_TABLE", "LOG_BASED"])
def test_version_increases_even_if_the_clock_is_wrong(
    serve: Serve, earlier: str, method: str
) -> None:
    service = SampleService()
    service.limit(SALES_MODEL, 5)
    config = sales_config(serve, service, default_replication_method=earlier)
    state = sync(config).state
    config["default_replication_method"] = method
    state["bookmarks"][SALES]["version"] += 10**9
    last = state["bookmarks"][SALES]["version"]
    service.expire()
    messages, _ = run(config, state=state)
    activated = [
        item["version"] for item in messages.of(SALES) if item["type"] == "ACTIVATE_VERSION"
    ]
    assert activated == [last + 1]
    assert messages.state["bookmarks"][SALES]["version"] == last + 1


@pytest.mark.parametrize("version", [-1, "5", 2**70, None, True])
def test_invalid_version_in_the_state_is_ignored(serve: Serve, version: object) -> None:
    state = {"bookmarks": {FACTS: {"version": version, "filter": None}}}
    messages, failure = run(serve(StandIn(sales(*ROWS))), state=state)
    assert not failure
    assert 0 < messages.of(FACTS)[-1]["version"] < 2**62


def test_providers_are_not_activated_if_a_namespace_could_not_be_read(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    public = sales(*ROWS, model_id="PUBLIC", name="Public")
    public.namespace = "sac_public_dimensions"
    tenant = StandIn(sales(*ROWS), public)
    assert is_activated(sync(serve(tenant)), "providers")
    tenant.fault = lambda request: (
        error_response(404, "no") if "'sac_public_dimensions'" in request.target else None
    )
    messages, failure = run(serve(tenant))
    assert not failure
    assert messages.records("providers")
    assert not is_activated(messages, "providers")
    assert "Rows of providers that are no longer in SAC stay" in caplog.text


def test_change_tracking_follows_the_metadata(serve: Serve) -> None:
    supported = (
        '<Annotations Target="{target}"><Annotation Term="Capabilities.ChangeTracking"><Record>'
        '<PropertyValue Property="Supported" Bool="{value}"/></Record></Annotation></Annotations>'
    )
    for target in ("sac.FactData", "sac.Container/FactData"):
        for value, method in (("true", "LOG_BASED"), ("false", "FULL_TABLE")):
            model = sales(*ROWS)
            annotation = supported.format(target=target, value=value)
            model.edmx = model.edmx.replace("</Schema>", f"{annotation}</Schema>")
            config = {**serve(StandIn(model)), "default_replication_method": "LOG_BASED"}
            assert discover(config)[FACTS]["replication_method"] == method
