"""One pace for a tenant: what waits after a 429 or 503 that names a wait, and for how long."""

from __future__ import annotations

import signal
import subprocess
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.service import TOKEN_PATH
from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import discover, select, sync
from tests.helpers.cli import read_until, started, tap_command
from tests.helpers.counts import FACTS, ROWS, dates, options
from tests.helpers.gauge import A_MOMENT, PATIENCE
from tests.helpers.stand_in import PAGE_SIZE, Model, StandIn, edmx, error_response, sales

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tap_sac.demo.service import Request, Response
    from tap_sac.sac.odata.pages import Page
    from tests.conftest import RunCli, Serve

EVERY_DATE = [f"{number:06}" for number in range(len(ROWS))]


def asking(status: int, seconds: object) -> Response:
    return error_response(status, "slow down", **{"Retry-After": str(seconds)})


def at_pages(status: int, seconds: int, times: dict[int, int]) -> Callable[[Request], Any]:
    """Refuse pages of facts, by their number so many times."""
    left = dict(times)

    def fault(request: Request) -> Response | None:
        page = int(options(request).get("$skiptoken", "0")) // PAGE_SIZE + 1
        if "/FactData" not in request.target or not left.get(page):
            return None
        left[page] -= 1
        return asking(status, seconds)

    return fault


@pytest.mark.parametrize(("status", "waiting"), [(429, ["A/Two", "B/One"]), (503, ["A/Two"])])
def test_wait_is_for_all_requests_to_the_tenant_or_model(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, status: int, waiting: list[str]
) -> None:
    columns = {"Version": "Edm.String*", "Date": "Edm.String*"}
    sets: dict[str, Sequence[str]] = {"One": ROWS[:1], "Two": ROWS[:1]}
    tenant = StandIn(*(Model(name, name, edmx(One=columns, Two=columns), sets) for name in "AB"))
    settings = serve(tenant)
    client = TapSAC(config=settings).client
    tenant.requests.clear()
    clock = 0.0
    others: list[Future[Page]] = []
    at_end_of_wait: list[str] = []
    at_first_answer: list[str] = []

    def page(path: str) -> Page:
        return client.page(f"{settings['tenant_url']}/api/v1/dataexport/providers/sac/{path}")

    def sleep(seconds: float) -> None:
        nonlocal clock
        others.extend(pool.submit(page, path) for path in ("A/Two", "B/One"))
        wait(others, A_MOMENT)
        at_end_of_wait.extend(arrived())
        clock += seconds

    def arrived() -> list[str]:
        return [target.removeprefix("/providers/sac/") for target in tenant.targets]

    def fault(request: Request) -> Response | None:
        if not request.target.endswith("A/One"):
            return None
        if not others:
            return asking(status, 7)
        wait(others, A_MOMENT)
        at_first_answer.extend(arrived())
        return None

    tenant.fault = fault
    monkeypatch.setattr("tap_sac.safety.waiting.sleep", sleep)
    monkeypatch.setattr("tap_sac.sac.http.pace.monotonic", lambda: clock)
    with ThreadPoolExecutor() as pool:
        page("A/One")
        for other in others:
            other.result()
    at_once = [path for path in ("B/One",) if path not in waiting]
    assert at_end_of_wait == ["A/One", *at_once]
    assert at_first_answer == ["A/One", *at_once, "A/One"]
    assert sorted(arrived()[len(at_first_answer) :]) == waiting


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("seconds", "waited"), [(0, [1, 2, 4, 8, 16]), (3, [3, 3, 4, 8, 16]), (9999, [900] * 3)]
)
def test_waits_are_the_longer_of_retry_after_and_backoff_without_using_attempts(
    serve: Serve, waits: list[float], status: int, seconds: int, waited: list[float]
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = at_pages(status, seconds, {2: len(waited)})
    assert dates(sync({**serve(tenant), "backoff_max_tries": 1})) == EVERY_DATE
    assert waits == waited


def test_waits_start_over_after_an_answer(serve: Serve, waits: list[float]) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = at_pages(429, 0, {2: 3, 3: 2})
    assert dates(sync(serve(tenant))) == EVERY_DATE
    assert waits == [1, 2, 4, 1, 2]


def test_no_more_requests_are_under_way_than_may_be(serve: Serve) -> None:
    most = 2
    tenant = StandIn(sales(*ROWS))
    settings = {**serve(tenant), "max_parallel_requests": most}
    client = TapSAC(config=settings).client
    under_way = 0
    are_too_many = threading.Event()

    def fault(_: Request) -> None:
        nonlocal under_way
        under_way += 1
        if under_way > most:
            are_too_many.set()
        are_too_many.wait(A_MOMENT)
        under_way -= 1

    tenant.fault = fault
    with ThreadPoolExecutor(2 * most) as pool:
        answers = [pool.submit(client.namespaces) for _ in range(2 * most)]
    assert [answer.result() for answer in answers] == [["sac"]] * 2 * most
    assert not are_too_many.is_set()


def test_requests_that_are_refused_together_are_one_wait(serve: Serve, waits: list[float]) -> None:
    number = 4
    together = threading.Barrier(number, timeout=PATIENCE)
    tenant = StandIn(*(sales(*ROWS, model_id=f"C4{name}", name=name) for name in "ABCD"))
    refused: set[str] = set()

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target or request.target in refused or len(refused) == number:
            return None
        refused.add(request.target)
        together.wait()
        return asking(429, 0)

    settings = {**serve(tenant), "max_parallel_requests": number}
    catalog = select(discover(settings), *(f"{name}_fact_data" for name in "abcd"))
    tenant.fault = fault
    messages = sync(settings, catalog)
    assert [len(messages.records(f"{name}_fact_data")) for name in "abcd"] == [len(ROWS)] * number
    assert set(waits) == {1}


@pytest.mark.usefixtures("waits")
def test_count_is_retried_after_a_wait(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    tenant = StandIn(sales(*ROWS))
    config = serve(tenant)
    catalog = discover(config)
    amount = next(item for item in catalog[FACTS]["metadata"] if "AMOUNT" in item["breadcrumb"])
    amount["metadata"]["selected"] = False
    answers = [asking(429, 0)] * 5
    tenant.fault = lambda request: answers.pop() if "$count" in request.target and answers else None
    sync({**config, "backoff_max_tries": 1}, select(catalog, FACTS))
    assert not answers
    assert f"{FACTS}: 9 rows read, 9 counted by SAC" in caplog.text


@pytest.mark.parametrize("seconds", [0, 600, 900])
def test_counts_are_given_up_after_endless_waits(
    serve: Serve, waits: list[float], seconds: int
) -> None:
    names = "ABC"
    tenant = StandIn(*(sales(*ROWS, model_id=f"C4{name}", name=name) for name in names))
    tenant.fault = lambda request: asking(429, seconds) if "$count" in request.target else None
    messages = sync({**serve(tenant), "max_parallel_requests": 1})
    assert [len(messages.records(f"{name}_fact_data")) for name in "abc"] == [len(ROWS)] * 3
    assert 900 <= sum(waits) <= 1800


@pytest.mark.parametrize("seconds", [0, 600])
@pytest.mark.parametrize("status", [429, 503])
def test_waits_come_to_an_end(serve: Serve, waits: list[float], status: int, seconds: int) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = at_pages(status, seconds, {2: 9999})
    with pytest.raises(SACError, match=f"SAC answered {status} .*slow down"):
        sync(serve(tenant))
    assert 3000 <= sum(waits) <= 3600


def refusing_tokens(tenant: StandIn, *answers: Response) -> Callable[[Request], Response]:
    """Refuse tokens with these answers, then give them."""
    left = [*answers]

    def application(request: Request) -> Response:
        is_refused = request.target == TOKEN_PATH and left
        return left.pop(0) if is_refused else tenant(request)

    return application


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("seconds", "waited"), [(0, [1, 2, 4, 8, 16]), (3, [3, 3, 4, 8]), (9999, [900] * 3)]
)
def test_waits_for_a_token_use_up_no_try(
    serve: Serve, waits: list[float], status: int, seconds: int, waited: list[float]
) -> None:
    tenant = StandIn(sales(*ROWS))
    application = refusing_tokens(tenant, *[asking(status, seconds)] * len(waited))
    assert dates(sync({**serve(application), "backoff_max_tries": 1})) == EVERY_DATE
    assert waits == waited


def test_all_requests_wait_for_one_token(serve: Serve, waits: list[float]) -> None:
    names = "ABCD"
    together = threading.Barrier(len(names), timeout=PATIENCE)
    tenant = StandIn(*(sales(*ROWS, model_id=f"C4{name}", name=name) for name in names))
    refusals = [asking(429, 0)] * 3

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target or "-1" not in request.headers["authorization"]:
            return None
        together.wait()
        return error_response(401, "expired")

    def application(request: Request) -> Response:
        is_refused = request.target == TOKEN_PATH and tenant.token_requests and refusals
        return refusals.pop() if is_refused else tenant(request)

    settings = {**serve(application), "max_parallel_requests": len(names), "backoff_max_tries": 1}
    tenant.fault = fault
    messages = sync(settings)
    assert [len(messages.records(f"{name}_fact_data")) for name in "abcd"] == [len(ROWS)] * 4
    assert waits == [1, 2, 4]
    assert len(tenant.token_requests) == 2


@pytest.mark.parametrize("seconds", [0, 600])
def test_waits_for_a_token_come_to_an_end(serve: Serve, waits: list[float], seconds: int) -> None:
    tap = TapSAC(config=serve(lambda _: asking(429, seconds)), setup_mapper=False)
    for _ in range(2):  # The second request waits no more.
        with pytest.raises(SACError, match=r"The token endpoint .* answered 429 .*rate-limiting"):
            tap.client.namespaces()
    assert 3000 <= sum(waits) <= 3600


@pytest.mark.parametrize("option", ["--check", "--test", "--models", "--models=json"])
@pytest.mark.parametrize("path", [TOKEN_PATH, "/Namespaces"])
def test_person_at_a_terminal_waits_for_a_minute_at_most(
    serve: Serve, run_cli: RunCli, waits: list[float], option: str, path: str
) -> None:
    tenant = StandIn(sales(*ROWS))

    def application(request: Request) -> Response:
        return asking(429, 25) if request.target.endswith(path) else tenant(request)

    result = run_cli(serve(application), option)
    assert result.returncode == 1
    assert "rate-limiting" in result.stderr + result.stdout
    assert waits == [25, 25]


def test_signal_ends_a_wait(serve: Serve, tmp_path: Path) -> None:
    tenant = StandIn(sales(*ROWS))
    is_asked = threading.Event()

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target:
            return None
        is_asked.set()
        return asking(429, 900)

    tenant.fault = fault
    command = tap_command(tmp_path, serve(tenant))
    with started(command, stderr=subprocess.PIPE) as process:
        read_until("Retrying in 900.0 seconds", process.stderr)
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
