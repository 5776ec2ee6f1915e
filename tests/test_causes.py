"""What errors say: the likeliest cause at each step, and the next step, in few words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tap_sac.causes import causes_of, explain
from tap_sac.sac.errors import SACError
from tap_sac.sac.failures import Failure, Step
from tests.helpers.stand_in import StandIn, error_response, sales, sales_row

if TYPE_CHECKING:
    from tap_sac.demo.exchange import Request, Response
    from tests.conftest import RunCli, Serve

MOST_WORDS = 35
REFUSED = "SAC answered 404 Not Found to GET"  # what SAC says, and the path, do not count
STEPS = (None, *Step)
AFTER_NAMESPACES = tuple(step for step in Step if step not in {Step.TOKEN, Step.NAMESPACES})
REFUSALS = (
    *(Failure.BAD_REQUEST, Failure.UNAUTHORIZED, Failure.FORBIDDEN, Failure.NOT_FOUND),
    *(Failure.UNEXPECTED_STATUS, Failure.FOREIGN_ANSWER, Failure.WEB_PAGE),
    Failure.NOT_A_TOKEN_ENDPOINT,
)
NO_ANSWERS = (
    *(Failure.NO_APP, Failure.UNKNOWN_HOST, Failure.PLAIN_PORT, Failure.NO_CONNECTION),
    *(Failure.SLOW_ANSWER, Failure.DAMAGED_ANSWER, Failure.WRONG_ENCODING, Failure.SERVER_FAULT),
)


def words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("failure", Failure)
def test_message_of_each_failure_is_short_and_names_the_next_step(
    failure: Failure, step: Step | None
) -> None:
    error = SACError(REFUSED, failure, step=step)
    text = str(error)
    assert text == explain(error)
    assert text.startswith(REFUSED)
    assert text.removeprefix(REFUSED)[:2] in {": ", ". "}
    assert text.endswith(".")
    assert words(text) <= MOST_WORDS
    for cause in causes_of(error):
        assert words(f"{REFUSED} {cause}") <= MOST_WORDS
        assert cause.next_step[0].isupper()
        assert not cause.next_step.endswith(".")


@pytest.mark.parametrize("step", AFTER_NAMESPACES)
@pytest.mark.parametrize("failure", [*REFUSALS, *NO_ANSWERS])
def test_address_that_has_worked_is_not_suspected(failure: Failure, step: Step) -> None:
    error = SACError(REFUSED, failure, step=step)
    assert "_url" not in "".join(map(str, causes_of(error)))


@pytest.mark.parametrize("step", [Step.METADATA, Step.ROWS, Step.SUBSCRIPTIONS])
@pytest.mark.parametrize("failure", [Failure.FORBIDDEN, Failure.NOT_FOUND])
def test_model_that_is_refused_is_not_shared_and_nothing_else(failure: Failure, step: Step) -> None:
    (cause,) = causes_of(SACError(REFUSED, failure, step=step))
    assert "the model is not shared" in cause.what


@pytest.mark.parametrize("failure", [*REFUSALS, *NO_ANSWERS])
def test_no_model_is_named_before_there_is_one(failure: Failure) -> None:
    causes = causes_of(SACError(REFUSED, failure, step=Step.NAMESPACES))
    assert "model" not in "".join(map(str, causes))


PATHS = {
    "/oauth/token": Step.TOKEN,
    "/Namespaces": Step.NAMESPACES,
    "/Providers": Step.PROVIDERS,
    "/$metadata": Step.METADATA,
    "/FactData": Step.ROWS,
}


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 500])
@pytest.mark.parametrize("path", PATHS)
def test_run_that_sac_refuses_ends_with_the_next_step(
    serve: Serve, run_cli: RunCli, path: str, status: int
) -> None:
    tenant = StandIn(sales(sales_row(1)))

    def application(request: Request) -> Response:
        is_refused = request.target.partition("?")[0].endswith(path)
        return error_response(status, "no") if is_refused else tenant(request)

    result = run_cli({**serve(application), "backoff_max_tries": 1})
    assert result.returncode == 1
    *_, last = result.stderr.splitlines()
    bare = re.search(rf"\b{status}\b[^:.]*", last)
    assert bare
    said = last[bare.end() :]
    errors = (SACError("", failure, step=step) for failure in Failure for step in STEPS)
    next_steps = {cause.next_step for error in errors for cause in causes_of(error)}
    assert any(f"{next_step}." in said for next_step in next_steps)
