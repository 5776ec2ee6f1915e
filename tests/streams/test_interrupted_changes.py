"""Runs that die, and responses that are lost, at any point: no change is lost."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tap_sac.demo.service import (
    SALES_MODEL,
    Request,
    Response,
)
from tap_sac.streams.stream import SACStream
from tests.conftest import discover, examples, select, sync
from tests.helpers.pipeline import (
    STREAM,
    Pipeline,
    Table,
    small,
)
from tests.helpers.relay import Relay, cut, reset
from tests.helpers.runs import ALL_MESSAGES, killed_sync
from tests.helpers.stand_in import error_response
from tests.helpers.tracking import (
    ROWS,
    TrackingStandIn,
    VagueService,
    changed,
    delta,
    log_based,
)

if TYPE_CHECKING:
    from tap_sac.demo.tracking import Key, TrackedRows
    from tests.conftest import Serve
    from tests.helpers.relay import Spoil


MOST_MESSAGES = 12


@pytest.mark.parametrize("spoil", [reset, cut])
def test_changes_survive_a_broken_response(serve: Serve, waits: list[float], spoil: Spoil) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.link_form = "root-relative"
    answers = [delta(changed(ROWS[0])), delta()]
    tenant.fault = lambda request: answers.pop(0) if "deltaid=A" in request.target else None
    config = log_based(serve, tenant)
    with Relay(config["tenant_url"], b"deltaid=A", spoil) as relay:
        config |= {"tenant_url": relay.url}
        messages = sync(config, state=sync(config).state).of("sales_fact_data")
        relay.shutdown()
    assert waits
    assert not answers
    assert messages[-1]["type"] == "ACTIVATE_VERSION"


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("expire"), st.just(0), st.just(0)),
        st.tuples(st.just("run"), st.integers(0, 40), st.just(0)),
    ),
    max_size=14,
)


def test_first_run_that_is_killed_between_any_two_messages_loses_nothing(
    pipeline: Pipeline,
) -> None:
    catalog = select(discover(pipeline.config), STREAM)
    messages = list(sync(pipeline.config, catalog))
    facts = pipeline.facts
    for killed_after in range(len(messages) + 1):
        pipeline.table = Table()
        pipeline.table.load(sync(pipeline.config, catalog)[:killed_after])
        gone = next(row for row in facts.rows if row is not None)
        facts.delete(facts.key_of(gone))
        pipeline.run(catalog=catalog)
        pipeline.check()
        facts.put(gone)


@pytest.mark.parametrize(
    ("answer_again", "state_frequency", "page_size", "lists_subscriptions"),
    [  # each value with each other one
        *[("same", 1, 100, True), ("same", 10_000, 3, False)],
        *[("empty", 1, 100, False), ("empty", 10_000, 3, True)],
        *[("error", 1, 100, True), ("error", 10_000, 3, False)],
        *[("newer", 1, 100, False), ("newer", 10_000, 3, True)],
    ],
)
def test_delta_run_that_is_killed_between_any_two_messages_loses_nothing(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    answer_again: str,
    state_frequency: int,
    page_size: int,
    *,
    lists_subscriptions: bool,
) -> None:
    monkeypatch.setattr(SACStream, "STATE_MSG_FREQUENCY", state_frequency)
    service = small(VagueService(answer_again, lists_subscriptions=lists_subscriptions))
    config = {**serve(service), "models": ["Sales Planning"], "page_size": page_size}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    catalog = select(discover(pipeline.config), STREAM)
    facts = pipeline.facts
    pipeline.run(catalog=catalog)
    for killed_after in range(MOST_MESSAGES):
        first, second, *_ = (row for row in facts.rows if row is not None)
        facts.put({**first, "REVENUE": Decimal(f"{killed_after}.0000000")})
        facts.put({**first, "Date": f"20{30 + killed_after}01"})
        facts.delete(facts.key_of(second))
        if lists_subscriptions:  # Even what was written may be lost on its way to the table.
            messages = sync(pipeline.config, catalog, pipeline.table.state)[:killed_after]
        else:
            messages = killed_sync(pipeline.config, catalog, pipeline.table.state, killed_after)
        pipeline.table.load(messages)
        if len(messages) < killed_after:
            return
        facts.put({**first, "Date": f"20{50 + killed_after}01"})
        pipeline.run(catalog=catalog)
        pipeline.check()
        facts.put(second)
    pytest.fail("a run with three changes wrote more messages than it can have")


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("tries", [1, 8])
@pytest.mark.parametrize("is_late", [True, False])
@pytest.mark.parametrize("lists", ["newer", "older", ""])
@pytest.mark.parametrize("answer_again", ["same", "empty", "error"])
def test_changes_survive_a_lost_response(
    serve: Serve, answer_again: str, lists: str, *, is_late: bool, tries: int
) -> None:
    service = small(
        VagueService(
            answer_again, lists_subscriptions=bool(lists), older_subscriptions=lists == "older"
        )
    )
    lost: list[Request] = []
    unfinished: list[Request] = []

    def application(request: Request) -> Response:
        if "deltaid" not in request.target:
            return service(request)
        if lost:
            for earlier in unfinished:  # SAC was still at it when the request was repeated.
                service(earlier)
            unfinished.clear()
            return service(request)
        lost.append(request)
        if is_late:
            unfinished.append(request)
        else:
            service(request)
        return Response(504, b"<html>gateway</html>", {"Retry-After": "0"})

    config = {**serve(application), "models": ["Sales Planning"], "backoff_max_tries": tries}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    pipeline.run()
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))
    pipeline.facts.delete(pipeline.facts.key_of(pipeline.row(1)))
    if tries == 1:
        messages = killed_sync(pipeline.config, None, pipeline.table.state, ALL_MESSAGES)
        pipeline.table.load(messages)
    pipeline.run()
    assert lost
    pipeline.check()


@pytest.mark.usefixtures("waits")
def test_changes_that_sac_marked_as_read_are_not_requested_again(serve: Serve) -> None:
    service = small(VagueService("newer", lists_subscriptions=True))
    lost: list[Request] = []

    def application(request: Request) -> Response:
        answer = service(request)
        if "deltaid" in request.target and not lost:
            lost.append(request)
            facts = service.facts(SALES_MODEL)
            # The next answer would have this, and nothing of what was lost.
            facts.put({**(facts.rows[2] or {}), "REVENUE": Decimal("6.0000000")})
            return Response(504, b"<html>gateway</html>", {"Retry-After": "0"})
        return answer

    config = {**serve(application), "models": ["Sales Planning"]}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    pipeline.run()
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))
    pipeline.facts.delete(pipeline.facts.key_of(pipeline.row(1)))
    pipeline.run()
    assert lost
    pipeline.check()


def change_behind(faults: list[Response], pipeline: Pipeline, serve: Serve) -> None:
    """Read the table, change a fact, and have these answers ready for its delta link."""

    def application(request: Request) -> Response:
        is_spoiled = "deltaid" in request.target and faults
        return faults.pop() if is_spoiled else pipeline.service(request)

    pipeline.config |= serve(application)
    pipeline.run()
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))


def test_link_that_sac_has_not_marked_as_read_is_followed_again_after_an_overload(
    pipeline: Pipeline, serve: Serve
) -> None:
    faults = [error_response(503, "overload", **{"Retry-After": "0"})]
    change_behind(faults, pipeline, serve)
    state = pipeline.table.state
    messages = killed_sync(pipeline.config | {"backoff_max_tries": 1}, None, state, ALL_MESSAGES)
    pipeline.table.load(messages)
    assert not faults
    assert len(pipeline.run().records(STREAM)) == 1
    pipeline.check()


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("status", [401, 403, 429])
def test_link_that_was_denied_is_followed_by_the_next_run(serve: Serve, status: int) -> None:
    service = small(VagueService("error", lists_subscriptions=False))
    is_refused = False

    def application(request: Request) -> Response:
        if is_refused and "deltaid" in request.target:
            return error_response(status, "no", **{"Retry-After": "0"})
        return service(request)

    config = {**serve(application), "models": ["Sales Planning"]}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    pipeline.run()
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))
    is_refused = True
    messages = killed_sync(pipeline.config, None, pipeline.table.state, ALL_MESSAGES)
    pipeline.table.load(messages)
    is_refused = False
    assert len(pipeline.run().records(STREAM)) == 1
    pipeline.check()


@pytest.mark.usefixtures("waits")
def test_delta_that_was_not_read_is_requested_again(pipeline: Pipeline, serve: Serve) -> None:
    faults = [error_response(429, "slow down", **{"Retry-After": "0"})]
    change_behind(faults, pipeline, serve)
    assert len(pipeline.run().records(STREAM)) == 1
    assert not faults
    pipeline.check()


@settings(
    max_examples=examples(15, least=5), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    operations=OPERATIONS,
    answer_again=st.sampled_from(["same", "empty", "error"]),
    lists=st.sampled_from(["newer", "older", ""]),
)
def test_any_sequence_of_changes_and_killed_runs_loses_nothing(
    *,
    serve: Serve,
    operations: list[tuple[str, int, int]],
    answer_again: str,
    lists: str,
) -> None:
    service = small(
        VagueService(
            answer_again, lists_subscriptions=bool(lists), older_subscriptions=lists == "older"
        )
    )
    config = {**serve(service), "models": ["Sales Planning"], "page_size": 3}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    catalog = select(discover(pipeline.config), STREAM)
    facts = service.facts(SALES_MODEL)
    template = pipeline.row(0)
    for operation, number, value in operations:
        row = {**template, "Date": f"20300{number}", "REVENUE": Decimal(f"{value}.0000000")}
        if operation == "put":
            facts.put(row)
        elif operation == "delete" and facts.key_of(row) in live_keys(facts):
            facts.delete(facts.key_of(row))
        elif operation == "expire":
            service.expire()
        elif operation == "run":
            state = pipeline.table.state
            pipeline.table.load(killed_sync(pipeline.config, catalog, state, number))
    pipeline.run(catalog=catalog)
    pipeline.check()


def live_keys(facts: TrackedRows) -> set[Key]:
    return {facts.key_of(row) for row in facts.rows if row is not None}
