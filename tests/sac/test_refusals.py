"""Refusals: who sent them, what they say, and whether a retry may help."""

from __future__ import annotations

import json

import pytest

from tap_sac.sac.errors import ForeignAnswerError, ResponseError, SACError, TransientError
from tap_sac.sac.failures import Failure
from tap_sac.sac.http.answer import Answer
from tap_sac.sac.http.refusals import response_error

URL = "https://acme.example/api/v1/x?a=b"


def refused(
    status: int, body: bytes = b"", reason: str = "No", **headers: str
) -> SACError | TransientError:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return response_error(Answer("GET", URL, status, reason, headers, body))


def error_body(message: object, code: str = "6f1c") -> bytes:
    return json.dumps({"error": {"code": code, "message": message}}).encode()


@pytest.mark.parametrize(
    ("status", "message", "failure"),
    [
        (400, "no", Failure.BAD_REQUEST),
        (401, "no", Failure.UNAUTHORIZED),
        (403, "no", Failure.FORBIDDEN),
        (404, "no", Failure.NOT_FOUND),
        (412, "no", Failure.LIVE_MODEL),
        (414, "no", Failure.LONG_URL),
        (418, "no", Failure.UNEXPECTED_STATUS),
        (400, "no [1305]", Failure.NOT_FOUND),
        (400, "no [1402]", Failure.OLD_CATALOG),
        (401, "no [3401]", Failure.CLIENT_NOT_ALLOWED),
        (500, "no [3401]", Failure.CLIENT_NOT_ALLOWED),
        (500, "no [1205]", Failure.UNPREPARED),
        (400, "no [3905]", Failure.AUDIT_OFF),
        (400, "no [9999]", Failure.BAD_REQUEST),
        (400, "no [4711] in [3707].", Failure.OLD_CATALOG),
        (400, "[3707] no", Failure.OLD_CATALOG),
    ],
)
def test_error_number_precedes_the_status(status: int, message: str, failure: Failure) -> None:
    error = refused(status, error_body(message))
    assert isinstance(error, ResponseError)
    assert error.failure is failure
    assert error.status == status
    assert error.reason == f"{status} No, {message!r} (correlation id 6f1c)"
    assert error.what == f"SAC answered {error.reason} to GET /api/v1/x"


def test_number_after_a_long_text_is_read() -> None:
    error = refused(500, error_body(f"{'SELECT ' * 100}cannot be prepared. [1205]"))
    assert error.failure is Failure.UNPREPARED


@pytest.mark.parametrize(
    ("status", "failure", "may_have_run"),
    [
        (408, Failure.SERVER_FAULT, False),
        (425, Failure.SERVER_FAULT, False),
        (429, Failure.TOO_MANY_REQUESTS, False),
        (500, Failure.SERVER_FAULT, True),
        (503, Failure.SERVER_FAULT, True),
    ],
)
def test_retry_may_help(status: int, failure: Failure, *, may_have_run: bool) -> None:
    error = refused(status, error_body("busy"), retry_after="7")
    assert isinstance(error, TransientError)
    assert (error.failure, error.may_have_run, error.retry_after) == (failure, may_have_run, 7)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("100000", 900),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2199 07:28:00 GMT", 900),
        ("soon", None),
        ("", None),
        ("-5", None),
    ],
)
def test_seconds_to_wait(value: str, seconds: float | None) -> None:
    assert Answer("GET", URL, 429, headers={"retry-after": value}).retry_after == seconds


@pytest.mark.parametrize("year", [2015, 2199])
def test_date_to_wait_for_is_one_of_the_clock_of_the_server(year: int) -> None:
    dates = {"date": f"Wed, 21 Oct {year} 07:28:00 GMT"}
    dates["retry-after"] = dates["date"].replace("28:00", "29:30")
    assert Answer("GET", URL, 429, headers=dates).retry_after == 90


@pytest.mark.parametrize(
    "body",
    [b"<html>no</html>", b"no", b'"no"', b'{"message":"no Route"}', b'{"error":null}', b"[]"],
)
@pytest.mark.parametrize("status", [403, 404, 405, 412])
def test_page_of_a_gateway_is_not_a_refusal_of_sac(status: int, body: bytes) -> None:
    error = refused(status, body)
    assert isinstance(error, ForeignAnswerError)
    assert error.failure is Failure.FOREIGN_ANSWER


@pytest.mark.parametrize("body", [b"", b' {"error" : {"code":"x","mess', b"<error>no</error>"])
def test_refusal_of_sac_may_be_empty_or_cut_off(body: bytes) -> None:
    assert not isinstance(refused(404, body), ForeignAnswerError)


@pytest.mark.parametrize(
    ("message", "text"), [("no", "'no'"), ({"lang": "en", "value": "no"}, "'no'"), ({}, "403 No (")]
)
def test_message_may_be_a_text_or_an_object(message: object, text: str) -> None:
    assert text in refused(403, error_body(message)).what


def test_redirect_names_the_other_host_alone() -> None:
    error = refused(302, location="https://user:secret@login.example/x?token=y")
    assert error.what.endswith(", a redirect to https://login.example")


def test_router_without_an_instance_may_be_passed_later() -> None:
    error = refused(404, b"404 Not Found", x_cf_routererror="unknown_route")
    assert isinstance(error, TransientError)
    assert (error.failure, error.may_have_run) == (Failure.NO_APP, False)
