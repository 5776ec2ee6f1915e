"""Change-tracking subscriptions: deleted if they are ours and no longer needed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import pytest

from tap_sac.demo import Behaviour
from tap_sac.demo.service import (
    CLIENT_ID,
    CLIENT_SECRET,
    TOKEN_PATH,
    Request,
    Response,
    SampleService,
    _subscription_row,
)
from tap_sac.sac.export.delta import DeltaLink, was_read
from tests.conftest import discover, select, sync
from tests.helpers.pipeline import (
    ALL_PRODUCTS,
    STREAM,
    Pipeline,
    small,
)
from tests.helpers.stand_in import error_response
from tests.helpers.state_runs import listing
from tests.helpers.tracking import (
    LINK,
    ROWS,
    TrackingStandIn,
    VagueService,
    changed,
    delta,
    log_based,
)

if TYPE_CHECKING:
    from tests.conftest import Serve


def test_switching_to_full_table_deletes_the_chain(pipeline: Pipeline) -> None:
    pipeline.run()
    assert pipeline.service.subscriptions
    messages = pipeline.run(default_replication_method="FULL_TABLE")
    assert not pipeline.service.subscriptions
    assert "delta_link" not in pipeline.bookmark()
    assert "_sdc_deleted_at" not in messages.schema(STREAM)["schema"]["properties"]
    pipeline.check()


@pytest.mark.parametrize("followed", [1, 2])
@pytest.mark.parametrize(
    "changes", [{"default_replication_method": "FULL_TABLE"}, {"filters": ALL_PRODUCTS}]
)
def test_subscription_is_deleted_after_any_number_of_reads(
    pipeline: Pipeline, changes: dict[str, Any], followed: int
) -> None:
    pipeline.run()
    for number in range(followed):
        pipeline.facts.put(pipeline.row(number, REVENUE="5.0000000"))
        assert len(pipeline.run().records(STREAM)) == 1
    chain = set(pipeline.service.subscriptions)
    assert len(chain) == followed + 1
    pipeline.run(**changes)
    assert chain.isdisjoint(pipeline.service.subscriptions)


def test_subscriptions_of_others_are_never_touched(pipeline: Pipeline) -> None:
    sync(pipeline.config)
    others = set(pipeline.service.subscriptions)
    pipeline.run()
    pipeline.run(filters=ALL_PRODUCTS)
    pipeline.run(default_replication_method="FULL_TABLE")
    assert set(pipeline.service.subscriptions) == others


def test_tenant_that_lists_no_subscriptions_gets_no_advice_on_settings(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    service = small(VagueService("same", lists_subscriptions=False))
    config = {**serve(service), "models": ["Sales Planning"]}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    pipeline.run()
    pipeline.run()
    assert f"SAC does not list the subscriptions of {STREAM}: 404 Not Found" in caplog.text
    assert "tenant_url" not in caplog.text


START = "2026-11-02T05:12:44.43Z"
OPEN = {"SubscriptionID": "A", "StartTime": START}
READ = {**OPEN, "EndTime": "2026-11-02T05:12:44.431Z"}
WITHOUT_LENGTH = {**OPEN, "EndTime": START, "Timezone": "UTC"}
FOLLOWER = {"SubscriptionID": "B", "PreviousSubscriptionID": "A"}
FIRST = {"SubscriptionID": "first-A"}
FIRST_FOLLOWER = {"SubscriptionID": "first-B", "PreviousSubscriptionID": "first-A"}


@pytest.mark.parametrize("delta_id", ["A", "first-A"])
@pytest.mark.parametrize(
    ("is_followed", "subscriptions", "expected"),
    [
        (False, [], False),
        (True, [], True),
        (True, [FOLLOWER], True),
        (False, [FOLLOWER], True),
        (False, [FIRST_FOLLOWER], True),
        (False, [OPEN], False),
        (True, [OPEN], False),
        (True, [FIRST], False),
        (False, [OPEN, FOLLOWER], True),
        (False, [FIRST, FIRST_FOLLOWER], True),
        (True, [OPEN, FOLLOWER], True),
        (False, [READ], True),
        (True, [READ], True),
        (False, [READ, FOLLOWER], True),
        (False, [{**READ, **FIRST}], True),
        (False, [WITHOUT_LENGTH], False),
        (True, [WITHOUT_LENGTH], False),
        (True, [{**WITHOUT_LENGTH, **FIRST}], False),
        (False, [WITHOUT_LENGTH, FOLLOWER], True),
        # The subscription that follows the first one may have its id.
        (False, [FIRST, {**OPEN, "PreviousSubscriptionID": "first-A"}], False),
    ],
)
def test_link_counts_as_read_by_the_list_of_sac_or_a_request(
    subscriptions: list[dict[str, str]], delta_id: str, *, is_followed: bool, expected: bool
) -> None:
    link = DeltaLink(f"https://x{LINK}{delta_id}", is_followed)
    assert was_read(link, subscriptions) == expected


TIMES = {
    "trailing zeros": ("2026-11-02T05:12:44.43Z", "2026-11-02T05:12:44.430Z", False),
    "no digits": ("2026-11-02T05:12:44Z", "2026-11-02T05:12:44.000Z", False),
    "digits": ("2026-11-02T05:12:44Z", "2026-11-02T05:12:44.1Z", True),
    "many digits": ("2026-11-02T05:12:44.123456788Z", "2026-11-02T05:12:44.123456789Z", True),
    "more digits": ("2026-11-02T05:12:44.9Z", "2026-11-02T05:12:45.05Z", True),
    "no offset": ("2026-11-02T05:12:44", "2026-11-02T05:12:44Z", False),
    "another offset": ("2026-11-02T05:12:44Z", "2026-11-02T06:12:44+01:00", False),
    "a blank": ("2026-11-02 05:12:44", "2026-11-03 05:12:44", True),
}


@pytest.mark.parametrize("is_followed", [False, True])
@pytest.mark.parametrize(("start", "end", "expected"), TIMES.values(), ids=TIMES)
def test_only_a_later_end_proves_a_read(
    start: str, end: str, *, expected: bool, is_followed: bool
) -> None:
    subscription = {"SubscriptionID": "A", "StartTime": start, "EndTime": end}
    link = DeltaLink(f"https://x{LINK}A", is_followed)
    assert was_read(link, [subscription]) == expected


@pytest.mark.parametrize("is_followed", [False, True])
@pytest.mark.parametrize(
    "times",
    [
        {"EndTime": START},
        {"StartTime": START, "EndTime": "2026-11-01T05:12:44.43Z"},
        {"StartTime": START, "EndTime": "2026-13-01T05:12:44.43Z"},
        {"StartTime": "soon", "EndTime": "later"},
        {"StartTime": 1, "EndTime": 2},
    ],
)
def test_unclear_times_are_decided_by_the_requests_of_the_tap(
    times: dict[str, Any], *, is_followed: bool
) -> None:
    link = DeltaLink(f"https://x{LINK}A", is_followed)
    assert was_read(link, [{"SubscriptionID": "A", **times}]) == is_followed


@pytest.mark.parametrize(("in_link", "in_list"), [("first-", ""), ("", "first-")])
def test_chain_is_followed_and_deleted_with_and_without_first(
    serve: Serve, in_link: str, in_list: str
) -> None:
    deleted: list[str] = []
    list_them = listing(f"{in_list}A", deleted=deleted)
    tenant = TrackingStandIn(*ROWS, first_link=f"{in_link}A")
    tenant.deltas[f"{in_link}A"] = delta(changed(ROWS[0]))
    tenant.fault = list_them
    config = log_based(serve, tenant)
    first = sync(config)
    assert len(sync(config, state=first.state).records("sales_fact_data")) == 1
    sync({**config, "default_replication_method": "FULL_TABLE"}, state=first.state)
    assert [f"SubscriptionID='{in_list}A'" in target for target in deleted] == [True]


@pytest.mark.parametrize("is_followed", [False, True])
def test_link_without_a_deltaid_matches_no_subscription(*, is_followed: bool) -> None:
    link = "https://x/FactData?$deltatoken=A"
    assert was_read(DeltaLink(link, is_followed), [OPEN, FOLLOWER]) == is_followed


def test_failed_cleanup_is_a_warning(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    pipeline.run()
    pipeline.service.refuse(r"/Subscriptions\(", error_response(500, "broken"))
    pipeline.run(filters=ALL_PRODUCTS)
    (told,) = [text for text in caplog.messages if "could not be deleted" in text]
    assert told.endswith(". Delete it under Data Management > API Subscriptions.")
    own = re.sub(r"SAC answered .*?\. (?=Delete)", "SAC answered 500 to DELETE. ", told)
    assert len(own.split()) <= 35
    pipeline.check()


def test_csrf_token_is_fetched_again_when_required(pipeline: Pipeline) -> None:
    pipeline.run()
    refusal = error_response(403, "x", **{"x-csrf-token": "Required"})
    pipeline.service.refuse(r"/Subscriptions\(", refusal, times=1)
    pipeline.run(default_replication_method="FULL_TABLE")
    assert not pipeline.service.subscriptions


@pytest.mark.parametrize(
    "answer",
    [
        Response(200, b""),
        Response(200, b"<html>Sign in"),
        error_response(404, "not valid [1305]"),
        error_response(403, "no"),
        error_response(500, "broken"),
        Response(302, b"", {"Location": "/login"}),
        Response(200, b"", {"x-csrf-token": "a b"}),
        error_response(403, "no", **{"x-csrf-token": "Required"}),
    ],
)
def test_csrf_token_is_fetched_with_the_namespaces_if_its_endpoint_returns_none(
    pipeline: Pipeline, answer: Response
) -> None:
    pipeline.run()
    pipeline.service.refuse("/csrf$", answer)
    pipeline.run(default_replication_method="FULL_TABLE")
    assert not pipeline.service.subscriptions


@pytest.mark.parametrize("is_required", [False, True])
def test_chain_is_deleted_without_a_csrf_token_where_sac_gives_none(
    serve: Serve, caplog: pytest.LogCaptureFixture, *, is_required: bool
) -> None:
    service = small(SampleService(Behaviour(is_api_host=not is_required)))

    def application(request: Request) -> Response:
        if request.headers.get("x-csrf-token") == "fetch":
            request = replace(request, headers={**request.headers, "x-csrf-token": ""})
        return service(request)

    config = {**serve(application), "models": ["Sales Planning"]}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    pipeline.run()
    pipeline.run(default_replication_method="FULL_TABLE")
    assert bool(service.subscriptions) == is_required
    refusal = "could not be deleted: SAC answered 403 Forbidden, 'A CSRF token is required.'"
    assert (refusal in caplog.text) == is_required


@pytest.mark.parametrize("method", ["LOG_BASED", "FULL_TABLE"])
@pytest.mark.parametrize("signature", [None, "", "0" * 64, 5, "ø"])
def test_subscription_without_a_valid_signature_is_not_deleted(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, signature: object, method: str
) -> None:
    pipeline.run()
    (subscription,) = pipeline.service.subscriptions
    pipeline.bookmark()["signature"] = signature
    pipeline.run(default_replication_method=method, filters=ALL_PRODUCTS)
    assert subscription in pipeline.service.subscriptions
    assert f"The subscription {subscription} of {STREAM} is no longer needed, but" in caplog.text
    pipeline.check()


def test_subscription_that_sac_does_not_have_is_not_to_be_deleted(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.run()
    pipeline.bookmark()["signature"] = None
    pipeline.service.subscriptions.clear()
    pipeline.run()
    assert "again under a new version, because SAC answered 404" in caplog.text
    assert "is no longer needed" not in caplog.text
    pipeline.check()


@pytest.mark.parametrize("control", ["\n", "\r", "\x1b[2J"])
def test_tampered_link_cannot_forge_the_log(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, control: str
) -> None:
    pipeline.run()
    pipeline.bookmark()["delta_link"] += quote(f"{control}forged")
    pipeline.run(default_replication_method="FULL_TABLE")
    assert not [text for text in caplog.messages if control in text or "no longer needed" in text]


@pytest.mark.parametrize(
    "changes", [{"default_replication_method": "FULL_TABLE"}, {"filters": ALL_PRODUCTS}]
)
def test_state_cannot_delete_the_chain_of_another_stream(
    pipeline: Pipeline, changes: dict[str, Any]
) -> None:
    other = f"{STREAM}_aggregation"
    pipeline.run(catalog=select(discover(pipeline.config), STREAM, other))
    theirs = pipeline.table.state["bookmarks"][other]
    (subscription,) = parse_qs(urlsplit(theirs["delta_link"]).query)["deltaid"]
    ours = pipeline.bookmark()
    link = ours["delta_link"].partition("?")[0]
    ours |= {"delta_link": f"{link}?deltaid={subscription}", "signature": theirs["signature"]}
    pipeline.run(**changes)
    assert subscription in pipeline.service.subscriptions


def test_chain_of_others_does_not_become_ours_by_following_it(pipeline: Pipeline) -> None:
    pipeline.run()
    pipeline.bookmark()["signature"] = None
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))
    assert len(pipeline.run().records(STREAM)) == 1
    assert pipeline.bookmark()["signature"] is None
    before = set(pipeline.service.subscriptions)
    pipeline.run(default_replication_method="FULL_TABLE")
    assert set(pipeline.service.subscriptions) == before


def test_recreated_client_deletes_no_subscription_of_the_old_one(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    service = small(SampleService())

    def any_secret(request: Request) -> Response:
        if request.target == TOKEN_PATH:
            form = quote_plus(CLIENT_ID), quote_plus(CLIENT_SECRET)
            body = "grant_type=client_credentials&client_id={}&client_secret={}".format(*form)
            request = replace(request, headers={}, body=body.encode())
        return service(request)

    config = {**serve(any_secret), "models": ["Sales Planning"]}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    pipeline.run()
    (subscription,) = service.subscriptions
    pipeline.run(client_secret="another", default_replication_method="FULL_TABLE")
    assert subscription in service.subscriptions
    assert "does not prove that this tap opened it" in caplog.text


@pytest.mark.parametrize("link", ["https://evil.example/FactData?deltaid={}", "?deltaid={}", None])
@pytest.mark.parametrize("method", ["LOG_BASED", "FULL_TABLE"])
def test_tampered_state_cannot_delete_a_subscription(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, link: str | None, method: str
) -> None:
    pipeline.run()
    (others,) = pipeline.service.subscriptions
    if link:
        pipeline.bookmark()["delta_link"] = link.format(others)
    else:  # Somebody has opened it under a name, and not the tap.
        monkeypatch.setattr(
            "tap_sac.demo.service._subscription_row",
            lambda item, request: {**_subscription_row(item, request), "ExternalID": "nightly"},
        )
    pipeline.run(default_replication_method=method, filters=ALL_PRODUCTS)
    assert others in pipeline.service.subscriptions
