"""Tokens that are refused: what passes with time or a new token, and what does not."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, tzinfo
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from tap_sac.demo import Behaviour
from tap_sac.demo.service import Response, SampleService
from tests.conftest import sync
from tests.helpers.demo_client import ANNA, refresh_token
from tests.helpers.runs import run
from tests.helpers.stand_in import JSON, StandIn, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_sac.demo.service import Request
    from tests.conftest import RunCli, Serve

FACTS = "sales_fact_data"
ROWS = [sales_row(number) for number in range(5)]
EXPIRED = error_response(403, "Forbidden")
MINUTE = 61  # seconds, and one more


class Clock(datetime):
    """A clock that a test puts forward."""

    ahead = timedelta()

    @classmethod
    @override
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + cls.ahead

    @classmethod
    def forward(cls, seconds: float) -> None:
        cls.ahead += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(Clock, "ahead", timedelta())
    monkeypatch.setattr("tap_sac.sac.oauth.bearer.datetime", Clock)
    return Clock


def refusing(tenant: StandIn, answer: Response, *tokens: str) -> list[str]:
    """Refuse these tokens for facts; returns the tokens that facts are asked for with."""
    asked: list[str] = []

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target:
            return None
        token = request.headers["authorization"].removeprefix("Bearer ")
        asked.append(token)
        return answer if token in tokens else None

    tenant.fault = fault
    return asked


def with_old_token(tenant: StandIn, clock: type[Clock]) -> StandIn:
    """Let a minute pass after the first token was given."""
    inner = tenant.fault

    def fault(request: Request) -> Response | None:
        if "/$metadata" in request.target:
            clock.forward(MINUTE)
        return inner(request)

    tenant.fault = fault
    return tenant


GRANT_DESCRIPTIONS = ["Unauthorized grant type", "Invalid grant_type.", "No Grant Type: x"]


@pytest.mark.parametrize("description", GRANT_DESCRIPTIONS)
@pytest.mark.parametrize("error", ["invalid_client", "unauthorized"])
@pytest.mark.parametrize("status", [400, 401, 200])
def test_wrong_grant_is_named_and_the_secret_is_not(
    serve: Serve, status: int, error: str, description: str
) -> None:
    body = {"error": error, "error_description": description}
    answer = Response(status, json.dumps(body).encode(), JSON)
    _, failure = run(serve(lambda _: answer))
    assert f"({error}: {description})" in failure
    assert "'Client Credentials'" in failure
    assert "App Integration" in failure
    assert "secret" not in failure


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_grant_that_the_client_lacks_is_named(
    serve: Serve, run_cli: RunCli, check: list[str]
) -> None:
    config = serve(SampleService(Behaviour(missing_grant="client_credentials")))
    result = run_cli(config, *check)
    assert result.returncode == 1
    output = result.stdout + result.stderr
    assert "lacks the grant 'Client Credentials'" in output
    assert "secret has expired" not in output


def test_grant_of_people_that_the_client_lacks_is_named(serve: Serve) -> None:
    service = SampleService(Behaviour())
    config = serve(service)
    token = refresh_token(config, ANNA)
    other = serve(SampleService(Behaviour(missing_grant="authorization_code")))
    _, failure = run({**other, "refresh_token": token})
    assert "Unauthorized grant type" in failure
    assert "'Authorization Code'" in failure


def test_wrong_secret_is_still_the_secret(serve: Serve) -> None:
    _, failure = run({**serve(SampleService()), "client_secret": "wrong"})
    assert "client secret has expired or is mistyped" in failure


ID, SECRET = "sb-0f1e!b123|client!b3", "5a-b$Zm9v="
BLANKS = (" ", "\n", "\r\n", "\t", "\u00a0", "'", '"', "\ufeff", "\u202f", "\u2019", "`")


def refused(serve: Serve, status: int, **credentials: str) -> str:
    body = b'{"error":"invalid_client","error_description":"Bad credentials"}'
    config = {**serve(lambda _: Response(status, body, JSON)), "client_id": ID, **credentials}
    _, failure = run({"client_secret": SECRET, **config, **credentials})
    return failure


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("place", ["{}x", "x{}"])
@pytest.mark.parametrize("name", ["client_id", "client_secret"])
def test_credentials_that_were_pasted_with_more_are_named_and_not_shown(
    serve: Serve, name: str, place: str, blank: str
) -> None:
    credentials = {name: place.replace("x", "s3cr3t").format(blank)}
    failure = refused(serve, 401, **credentials)
    assert "starts or ends with a space, a line break or a quotation mark" in failure
    assert "s3cr3t" not in failure


def test_swapped_credentials_are_named_and_not_shown(serve: Serve) -> None:
    failure = refused(serve, 401, client_id=SECRET, client_secret=ID)
    assert "client_id and client_secret are swapped. Swap them." in failure
    assert SECRET not in failure


def test_accepted_credentials_may_have_any_format(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))
    config = {**serve(tenant), "client_id": f" {SECRET} ", "client_secret": f"'{ID}'"}
    assert len(sync(config).records(FACTS)) == len(ROWS)


def test_404_of_the_token_url_is_not_a_wrong_secret(serve: Serve) -> None:
    failure = refused(serve, 404, client_secret=" x ")
    assert "token_url belongs to another tenant" in failure
    assert "client_secret" not in failure
    assert "blank" not in failure


def test_place_of_the_secret_is_among_the_causes(serve: Serve, run_cli: RunCli) -> None:
    result = run_cli({**serve(SampleService()), "client_secret": "wrong"}, "--check")
    assert result.returncode == 1
    assert (
        "3. the token endpoint expects the client secret in the other place (header or body). "
        "Switch token_endpoint_auth_method" in result.stdout
    )


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("error", [{}, {"error": "x"}])
def test_token_is_taken_at_status_200_and_201(
    serve: Serve, status: int, error: dict[str, str]
) -> None:
    tenant = StandIn(sales(*ROWS))
    token = json.dumps({"access_token": "t", "expires_in": 3600, **error}).encode()

    def application(request: Request) -> Response:
        is_token = request.target == "/oauth/token"
        return Response(status, token, JSON) if is_token else tenant(request)

    assert len(sync(serve(application)).records(FACTS)) == len(ROWS)


@pytest.mark.parametrize("status", [200, 201])
def test_error_of_the_token_endpoint_is_shown_at_any_status(serve: Serve, status: int) -> None:
    body = b'{"error":"invalid_client","error_description":"Bad credentials"}'
    _, failure = run(serve(lambda _: Response(status, body, JSON)))
    assert f"answered {status} (invalid_client: Bad credentials)" in failure
    assert "Check the settings client_id and client_secret" in failure


XML_ERROR = Response(403, b"<?xml version='1.0'?><error><message>no</message></error>", {})


@pytest.mark.parametrize("answer", [EXPIRED, XML_ERROR], ids=["json", "xml"])
def test_bare_403_gets_a_new_token_once(serve: Serve, clock: type[Clock], answer: Response) -> None:
    tenant = StandIn(sales(*ROWS))
    asked = refusing(tenant, answer, "token-1")
    messages = sync(serve(with_old_token(tenant, clock)))
    assert len(messages.records(FACTS)) == len(ROWS)
    assert asked[:2] == ["token-1", "token-2"]
    assert len(tenant.token_requests) == 2


def test_expired_token_that_is_forbidden_is_renewed(
    serve: Serve, clock: type[Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = SampleService(Behaviour(token_seconds=600, expired_is_forbidden=True))
    seconds = [0.0]
    watch = SimpleNamespace(monotonic=lambda: 1_000 + seconds[0])
    monkeypatch.setattr("tap_sac.demo.access.time", watch)
    statuses: list[int] = []

    def application(request: Request) -> Response:
        if "FactData" in request.target and not seconds[0]:
            seconds[0] = MINUTE * 10
            clock.forward(MINUTE)
        answer = service(request)
        statuses.append(answer.status)
        return answer

    messages = sync({**serve(application), "models": ["Live*", "Sales Planning"]})
    assert messages.records("sales_planning_fact_data")
    assert 403 in statuses


OTHER_REFUSALS = {
    "a number": error_response(403, "no [3401]"),
    "another number": error_response(403, "no [1234]"),
    "a CSRF token": error_response(403, "no", **{"x-csrf-token": "Required"}),
    "a page": Response(403, b"<html>no", {"Content-Type": "text/html"}),
    "a text": Response(403, b"no", {}),
    "nothing": Response(403, b"", {}),
    "other JSON": Response(403, b'{"message":"no"}', JSON),
    "a router": error_response(403, "no", **{"X-Cf-RouterError": "unknown_route"}),
}


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("answer", OTHER_REFUSALS.values(), ids=OTHER_REFUSALS)
def test_token_is_not_renewed_after_403_with_a_reason_or_of_a_gateway(
    serve: Serve, clock: type[Clock], answer: Response
) -> None:
    tenant = StandIn(sales(*ROWS))
    refusing(tenant, answer, "token-1")
    _, failure = run({**serve(with_old_token(tenant, clock)), "backoff_max_tries": 1})
    assert "403" in failure
    assert len(tenant.token_requests) == 1


def test_403_for_a_young_token_gets_no_new_one(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))
    asked = refusing(tenant, EXPIRED, "token-1")
    _, failure = run(serve(tenant))
    assert "403 Forbidden" in failure
    assert len(tenant.token_requests) == 1
    assert asked.count("token-1") == len(asked)


def test_403_gets_a_new_token_once_in_a_run(serve: Serve, clock: type[Clock]) -> None:
    models = [sales(*ROWS, model_id=f"C4{name}", name=name) for name in ("Costs", "Sales", "Staff")]
    tenant = StandIn(*models)

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target:
            return None
        clock.forward(MINUTE)
        return EXPIRED

    tenant.fault = fault
    _, failure = run({**serve(tenant), "max_parallel_requests": 1})
    assert "403 Forbidden" in failure
    assert len(tenant.token_requests) == 2


def early(tenant: StandIn, times: int, answer: Response | None = None) -> None:
    """Refuse the first requests with 401."""
    left = [times]

    def fault(_: Request) -> Response | None:
        left[0] -= 1
        return (answer or error_response(401, "no")) if left[0] >= 0 else None

    tenant.fault = fault


@pytest.mark.parametrize("times", [1, 4])
def test_new_token_is_tried_again_until_sac_accepts_it(
    serve: Serve, waits: list[float], times: int
) -> None:
    tenant = StandIn(sales(*ROWS))
    early(tenant, times)
    assert len(sync(serve(tenant)).records(FACTS)) == len(ROWS)
    assert len(tenant.token_requests) == 1
    assert 1 <= sum(waits) <= 15
    assert {item.headers["authorization"] for item in tenant.requests} == {"Bearer token-1"}


def test_new_token_is_tried_again_for_15_seconds(serve: Serve, waits: list[float]) -> None:
    tenant = StandIn(sales(*ROWS))
    early(tenant, 1_000)
    _, failure = run(serve(tenant))
    assert sum(waits) == 15
    assert len(tenant.token_requests) == 2
    assert "401 Unauthorized" in failure


def test_refusals_that_time_does_not_mend_are_waited_for_once(
    serve: Serve, waits: list[float]
) -> None:
    models = [sales(*ROWS, model_id=f"C4{name}", name=name) for name in ("Costs", "Sales", "Staff")]
    tenant = StandIn(*models)
    refusing(tenant, error_response(401, "no"), *(f"token-{number}" for number in range(1_000)))
    _, failure = run({**serve(tenant), "max_parallel_requests": 1})
    assert "401 Unauthorized" in failure
    assert sum(waits) == 15


def test_advice_about_the_region_comes_after_the_tries(
    serve: Serve, run_cli: RunCli, waits: list[float]
) -> None:
    tenant = StandIn(sales(*ROWS))
    early(tenant, 1_000)
    result = run_cli(serve(tenant), "--check")
    assert "same tenant and region" in result.stdout + result.stderr
    assert sum(waits) == 15


def refuse_client(tenant: StandIn, _: type[Clock]) -> None:
    early(tenant, 1, error_response(401, "no [3401]"))


def refuse_older_token(tenant: StandIn, clock: type[Clock]) -> None:
    early(tenant, 1)
    inner = tenant.fault

    def fault(request: Request) -> Response | None:
        if len(tenant.requests) == 1:
            clock.forward(MINUTE)
        return inner(request)

    tenant.fault = fault


def refuse_used_token(tenant: StandIn, _: type[Clock]) -> None:
    refusing(tenant, error_response(401, "no"), "token-1")


@pytest.mark.parametrize("prepare", [refuse_client, refuse_older_token, refuse_used_token])
def test_other_401_gets_a_new_token_at_once(
    serve: Serve,
    waits: list[float],
    clock: type[Clock],
    prepare: Callable[[StandIn, type[Clock]], None],
) -> None:
    tenant = StandIn(sales(*ROWS))
    prepare(tenant, clock)
    assert len(sync(serve(tenant)).records(FACTS)) == len(ROWS)
    assert len(tenant.token_requests) == 2
    assert not waits
