"""What a read proves, where its rows and SAC's counts disagree: unproven reads delete nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.service import SALES_MODEL, Request, Response, SampleService
from tests.conftest import discover, select, sync
from tests.helpers.counts import (
    FACTS,
    ROWS,
    SALES,
    counting,
    dates,
    empty_page,
    without_link,
)
from tests.helpers.runs import is_activated, run
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, error_response, sales

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Messages, Serve


UNPROVEN = (
    "SAC counts {} rows of sales_fact_data but sent {}, and no row follows the last one: the "
    "read may be incomplete, so nothing is deleted from the target."
)


NO_ANSWER = (
    "SAC counts 9 rows of sales_fact_data but sent 6, and does not answer whether more rows follow"
)


REFUSALS = {
    "400": error_response(400, "no"),
    "403": error_response(403, "no"),
    "429": error_response(429, "slow down", **{"Retry-After": "0"}),
    "500": error_response(500, "no [1205]"),
    "501": error_response(501, "not implemented"),
    "503": error_response(503, "busy", **{"Retry-After": "0"}),
    "html": Response(200, b"<html>", {"Content-Type": "text/html"}),
    "broken": Response(200, b'{"value":[', JSON),
}


def cut_after_6(
    tenant: StandIn, probe: Callable[[Request], Response | None]
) -> Callable[[Request], Response | None]:
    """Cut the read after 6 of 9 rows, and answer requests for rows at a position by `probe`."""
    cut = without_link(3, tenant)

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target:
            return None
        if "$top=1" in request.target:
            return probe(request)
        return cut(request)

    return fault


def in_reverse(tenant: StandIn) -> Callable[[Request], Response | None]:
    """Ignore ``$orderby``: the row at a position is one of those that came."""
    rows = ROWS[:6][::-1]
    return lambda request: tenant.page(request, [*rows, rows[0]])


def assert_nothing_is_deleted(messages: Messages) -> None:
    assert len(messages.records(FACTS)) == 6
    assert not is_activated(messages, FACTS)
    assert messages.state["bookmarks"].get(FACTS, {}) == {}


def test_count_that_is_not_one_of_rows_deletes_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = counting(tenant, 4000)
    messages, failure = run(serve(tenant))
    assert not failure
    assert not is_activated(messages, FACTS)
    assert messages.state["bookmarks"].get(FACTS, {}) == {}
    assert UNPROVEN.format("4,000", "9") in caplog.text


@pytest.mark.parametrize("way", ["empty", "skip ignored", "order ignored"])
@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_probe_that_shows_no_missing_row_deletes_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture, way: str, method: str
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.skips = way != "skip ignored"
    probes = {
        "empty": lambda _: empty_page(),
        "skip ignored": lambda _: None,
        "order ignored": in_reverse(tenant),
    }
    tenant.fault = cut_after_6(tenant, probes[way])
    messages, failure = run({**serve(tenant), "default_replication_method": method})
    assert not failure
    assert_nothing_is_deleted(messages)
    assert UNPROVEN.format("9", "6") in caplog.text


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
@pytest.mark.usefixtures("waits")
def test_probe_without_an_answer_fails_the_stream(serve: Serve, refusal: str, method: str) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = cut_after_6(tenant, lambda _: REFUSALS[refusal])
    config = {**serve(tenant), "default_replication_method": method, "backoff_max_tries": 2}
    messages, failure = run(config)
    assert NO_ANSWER in failure
    assert_nothing_is_deleted(messages)


@pytest.mark.parametrize("refusal", ["503", "broken"])
def test_probe_is_tried_as_often_as_any_request(
    serve: Serve, waits: list[float], refusal: str
) -> None:
    tenant = StandIn(sales(*ROWS))
    left = [REFUSALS[refusal]] * 3
    tenant.fault = cut_after_6(tenant, lambda _: left.pop() if left else None)
    _, failure = run({**serve(tenant), "backoff_max_tries": 4})
    assert "and more rows follow the last one: the read was truncated" in failure
    assert len(waits) == 3


@pytest.mark.parametrize("refusal", ["400", "500", "501"])
def test_probe_is_tried_without_an_order_at_last(serve: Serve, refusal: str) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = cut_after_6(
        tenant, lambda request: REFUSALS[refusal] if "$orderby" in request.target else None
    )
    _, failure = run({**serve(tenant), "backoff_max_tries": 2})
    assert "and more rows follow the last one: the read was truncated" in failure


@pytest.mark.parametrize("probe", ["a row", "no answer"])
def test_nothing_is_deleted_if_disproof_is_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture, probe: str
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = cut_after_6(tenant, lambda _: REFUSALS["400"] if probe == "no answer" else None)
    messages, failure = run({**serve(tenant), "verify_counts": "warn"})
    assert not failure
    assert_nothing_is_deleted(messages)
    assert "verify_counts is warn, so nothing is deleted" in caplog.text


def test_unproven_read_leaves_the_last_completed_one_in_the_state(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))
    config = serve(tenant)
    before = sync(config).state["bookmarks"][FACTS]
    tenant.fault = cut_after_6(tenant, lambda _: empty_page())
    messages, failure = run(config, state={"bookmarks": {FACTS: before}})
    assert not failure
    assert messages.state["bookmarks"][FACTS] == before


@pytest.mark.parametrize("form", ["records", "files"])
@pytest.mark.parametrize("probe", ["none", "no answer"])
@pytest.mark.usefixtures("waits")
def test_bookmark_of_audit_data_moves_only_with_a_proven_read(
    serve: Serve, tmp_path: Path, probe: str, form: str
) -> None:
    columns = edmx(AuditData={"Audit_Time": "Edm.DateTimeOffset"})
    rows = [f'{{"Audit_Time":"2026-11-0{day}T00:00:00.000Z"}}' for day in range(1, 8)]
    tenant = StandIn(Model("C4A", "A", columns, {"AuditData": rows[:1]}))
    config = serve(tenant)
    catalog = select(discover(config), "a_audit_data")
    if form == "files":
        config["batch_config"] = {
            "encoding": {"format": "jsonl", "compression": "gzip"},
            "storage": {"root": tmp_path.as_uri()},
        }
    state = sync(config, catalog).state
    before = state["bookmarks"]["a_audit_data"]["replication_key_value"]
    tenant.models[0].sets["AuditData"] = rows

    def fault(request: Request) -> Response | None:
        if "$top=1" in request.target:
            return empty_page() if probe == "none" else REFUSALS["501"]
        if "$skiptoken=4" not in request.target:
            return None
        answer = tenant.page(request, rows)
        members = json.loads(answer.body)
        members.pop("@odata.nextLink")
        return Response(200, json.dumps(members).encode(), JSON)

    tenant.fault = fault
    messages, failure = run(config, catalog=catalog, state=state)
    assert bool(failure) is (probe == "no answer")
    after = messages.state["bookmarks"]["a_audit_data"]
    assert after["replication_key_value"] == before
    tenant.fault = lambda _: None
    repaired = sync(config, catalog, messages.state).state["bookmarks"]["a_audit_data"]
    assert repaired["replication_key_value"] == "2026-11-07T00:00:00.000Z"


@pytest.mark.parametrize("probe", ["a row", "none", "no answer"])
@pytest.mark.usefixtures("waits")
def test_chain_of_an_opening_that_is_not_proven_is_deleted(serve: Serve, probe: str) -> None:
    service = SampleService(Behaviour(page_cap=1000))
    service.limit(SALES_MODEL, 2_500)
    answers = {"a row": None, "none": empty_page(), "no answer": REFUSALS["501"]}

    def tenant(request: Request) -> Response:
        is_probe = "/FactData?" in request.target and "$top=1&" in request.target
        return (answers[probe] if is_probe else None) or service(request)

    config = {
        **serve(tenant),
        "models": ["Sales Planning"],
        "default_replication_method": "LOG_BASED",
    }
    messages, failure = run(config)
    assert bool(failure) is (probe != "none")
    assert not is_activated(messages, SALES)
    assert "delta_link" not in messages.state["bookmarks"].get(SALES, {})
    assert not [item for item in service.subscriptions.values() if item.set_name == "FactData"]


@pytest.mark.parametrize(("has_key", "place"), [(True, ""), (False, "catalog"), (False, "map")])
def test_rows_that_are_sent_twice(
    serve: Serve, caplog: pytest.LogCaptureFixture, place: str, *, has_key: bool
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = counting(tenant, 5)
    config = serve(tenant)
    catalog = discover(config)
    if place == "catalog":
        catalog[FACTS]["key_properties"] = []
    elif place == "map":
        config["stream_maps"] = {FACTS: {"__key_properties__": []}}
    messages, failure = run(config, catalog=select(catalog, FACTS))
    assert bool(failure) is not has_key
    assert not is_activated(messages, FACTS)
    told = "SAC counts 5 rows of sales_fact_data but sent 9, "
    assert told in (caplog.text if has_key else failure)


@pytest.mark.parametrize(
    "body",
    [
        '{"value":[ROW],"value":[]}',
        '{"value":[],"value":[ROW]}',
        '{"value": [ ROW ], "value": [ ROW ]}',
        '{"@odata.nextLink":"FactData?x=1","value":[ROW],"@odata.nextLink":null}',
        '{"@odata.count":1,"value":[ROW],"@odata.count":2}',
    ],
)
def test_member_that_is_sent_twice_is_a_broken_page(serve: Serve, body: str) -> None:
    tenant = StandIn(sales(*ROWS))
    page = Response(200, body.replace("ROW", ROWS[0]).encode(), JSON)
    tenant.fault = lambda request: page if "/FactData" in request.target else None
    messages, failure = run(serve(tenant))
    assert "more than once" in failure
    assert not is_activated(messages, FACTS)


@pytest.mark.parametrize("empty", ['"@odata.nextLink":""', '"@odata.nextLink":null'])
@pytest.mark.parametrize("order", [1, -1])
def test_empty_link_next_to_a_filled_one_is_ignored(serve: Serve, empty: str, order: int) -> None:
    tenant = StandIn(sales(*ROWS))
    path = "/api/v1/dataexport/providers/sac/C4SALES/FactData?$skiptoken=2"
    links = ",".join([empty, f'"@odata.nextlink":"{path}"'][::order])
    body = f'{{"value":[{",".join(ROWS[:2])}],{links}}}'.encode()
    tenant.fault = lambda request: (
        Response(200, body, JSON)
        if "/FactData" in request.target and "$skiptoken" not in request.target
        else None
    )
    messages, failure = run({**serve(tenant), "verify_counts": "off"})
    assert not failure
    assert dates(messages) == [f"{number:06}" for number in range(9)]


def test_count_in_a_later_page_counts(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.counts = False

    def fault(request: Request) -> Response | None:
        if "$skiptoken=2" not in request.target:
            return None
        answer = tenant.page(request, ROWS)
        return replace(answer, body=b'{"@odata.count":"9",' + answer.body[1:])

    tenant.fault = fault
    _, failure = run(serve(tenant))
    assert not failure
    assert "sales_fact_data: 9 rows read, 9 counted by SAC, 5 pages." in caplog.text
