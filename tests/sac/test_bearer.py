"""Tokens: how they are asked for, how long they serve, and who never sees them."""

from __future__ import annotations

import base64
import logging
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, quote_plus

import pytest
import requests
import requests_mock

from tap_sac.demo.service import TOKEN_PATH
from tap_sac.sac.errors import SACError
from tap_sac.sac.failures import Step
from tap_sac.sac.oauth.bearer import AuthMethod, BearerAuthenticator
from tap_sac.sac.oauth.grants import ClientCredentials
from tests.conftest import sync
from tests.helpers.stand_in import StandIn, error_response, sales, sales_row

if TYPE_CHECKING:
    from tap_sac.demo.service import Request, Response
    from tests.conftest import Serve

TOKEN_URL = "https://acme.authentication.eu10.hana.ondemand.com/oauth/token"
CLIENT_ID = "sb-2f0e!b12|client!b345"
SECRETS = ["a$b=c+d/e%f:g", "Größe-ß-é_=", "plain", "100%25 +&?#"]
MOST_WORDS = 35
ROWS = [sales_row(number) for number in range(9)]


def make_authenticator(
    secret: str = "s3cret", method: AuthMethod = "client_secret_basic"
) -> BearerAuthenticator:
    return BearerAuthenticator(
        ClientCredentials(),
        token_url=TOKEN_URL,
        client_id=CLIENT_ID,
        client_secret=secret,
        auth_method=method,
        session=requests.Session(),
        timeout=5,
    )


def authorize(authenticator: BearerAuthenticator) -> requests.PreparedRequest:
    """Prepare a request to the tenant, with a token from the mocked endpoint."""
    return requests.Request(
        "GET", "https://acme.example/x?$a=b%20c&d", auth=authenticator
    ).prepare()


def token_endpoint(mock: requests_mock.Mocker, **answer: Any) -> None:
    mock.post(TOKEN_URL, **(answer or {"json": {"access_token": "t0ken", "expires_in": 3599}}))


@pytest.mark.parametrize("secret", SECRETS)
def test_credentials_in_the_basic_header(secret: str) -> None:
    with requests_mock.Mocker() as mock:
        token_endpoint(mock)
        request = authorize(make_authenticator(secret))
    assert request.headers["Authorization"] == "Bearer t0ken"
    assert request.url == "https://acme.example/x?$a=b%20c&d"
    sent = mock.request_history[0]
    scheme, _, credentials = sent.headers["Authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(credentials).decode() == f"{CLIENT_ID}:{secret}"
    assert sent.text == "grant_type=client_credentials"


@pytest.mark.parametrize("secret", SECRETS)
def test_secret_that_is_repeated_as_it_was_sent_is_hidden(secret: str) -> None:
    for sent in (secret, quote(secret), quote_plus(secret)):
        with requests_mock.Mocker() as mock:
            token_endpoint(mock, status_code=401, json={"error": f"no <{sent}>"})
            with pytest.raises(SACError, match=r"no <\*\*\*>"):
                authorize(make_authenticator(secret))


@pytest.mark.parametrize("secret", SECRETS)
def test_credentials_in_the_body(secret: str) -> None:
    with requests_mock.Mocker() as mock:
        token_endpoint(mock)
        authorize(make_authenticator(secret, "client_secret_post"))
    sent = mock.request_history[0]
    assert "Authorization" not in sent.headers
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert parse_qs(sent.text) == {
        "grant_type": ["client_credentials"],
        "client_id": [CLIENT_ID],
        "client_secret": [secret],
    }


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            {
                "status_code": 401,
                "json": {"error": "invalid_client", "error_description": "Bad s3cret"},
            },
            r"answered 401 \(invalid_client: Bad \*\*\*\).*client_id and client_secret",
        ),
        (
            {
                "status_code": 401,
                "json": {"error": base64.b64encode(f"{CLIENT_ID}:s3cret".encode()).decode()},
            },
            r"answered 401 \(\*\*\*\)",
        ),
        ({"text": '{"access_tok'}, "damaged or truncated.*later"),
        (
            {"status_code": 401, "json": {"error": "x" * 280 + " s3cret s3cret"}},
            "answered 401.*client_secret",
        ),
        ({"status_code": 404, "text": "<html>tenant not found"}, "HTML.*token_url.*OAuth2SAML"),
        ({"text": "<html>Log in"}, "HTML.*token_url.*not OAuth2SAML"),
        ({"status_code": 302, "headers": {"Location": "https://x"}}, "302.*token_url"),
        ({"json": {"token": "x"}}, "access_token.*token_url"),
        ({"json": {"access_token": "a\nb"}}, "access_token.*token_url"),
        ({"json": ["x"]}, "without JSON.*token_url"),
        ({"text": "[" * 100_000}, "without JSON.*token_url"),
        ({"json": {"error": "invalid_client"}}, "200 .invalid_client.*client_secret"),
        ({"status_code": 403, "json": {"error": "access_denied"}}, "403 .*client_secret"),
        *(
            (
                {"status_code": status, "json": {"error": "invalid_client"}},
                f"{status} .*: token_url",
            )
            for status in (302, 404, 405, 406, 410, 415)
        ),
        *(
            ({"status_code": status, "json": body}, f"{status}.*: token_url belongs to another")
            for status in (400, 401, 403)
            for body in ({"message": "no route"}, {"error": {"code": "x", "message": "[1305]"}})
        ),
        ({"status_code": 503}, "answered 503.*later"),
        ({"status_code": 429}, "answered 429.*rate-limiting requests"),
        ({"status_code": 503, "reason": "s3cret"}, r"answered 503 \*\*\*"),
        (
            {"status_code": 302, "headers": {"Location": "http://[::1/x"}},
            "redirects to an.*token_url",
        ),
        ({"exc": requests.ConnectTimeout}, "No response from https://acme.auth.*token_url"),
    ],
)
def test_refusal_names_the_setting_and_hides_the_secret(answer: dict[str, Any], told: str) -> None:
    with requests_mock.Mocker() as mock:
        token_endpoint(mock, **answer)
        with pytest.raises(SACError, match=told) as error:
            authorize(make_authenticator())
    assert error.value.step is Step.TOKEN
    said = re.sub(r" \(.*\):", ":", str(error.value))  # without what the server says
    assert len(said.split()) <= MOST_WORDS
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    "answer",
    [
        {"text": "<html>Log in"},
        {"status_code": 404, "json": {"error": "x"}},
        {"json": {}},
        {"exc": requests.ConnectTimeout},
    ],
)
def test_token_url_that_has_worked_is_not_suspected(answer: dict[str, Any]) -> None:
    authenticator = make_authenticator()
    with requests_mock.Mocker() as mock:
        token_endpoint(mock)
        request = authorize(authenticator)
        authenticator.accept(request)
        authenticator.expire(request)
        token_endpoint(mock, **answer)
        with pytest.raises(SACError, match=r"proxy|network") as error:
            authorize(authenticator)
    assert "_url" not in str(error.value)


QUERY = "/?grant_type=client_credentials&x-sap-sac-custom-auth=true&x=%7E'+%2D%C3"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_query_of_the_token_url_reaches_the_server_unchanged(serve: Serve, method: str) -> None:
    tenant = StandIn(sales(*ROWS))
    asked: list[Request] = []

    def application(request: Request) -> Response:
        if not request.target.startswith(TOKEN_PATH):
            return tenant(request)
        asked.append(request)
        return tenant(replace(request, target=TOKEN_PATH))

    config = serve(application)
    config["token_url"] += QUERY
    sync({**config, "token_endpoint_auth_method": method})
    (request,) = asked
    assert request.target == TOKEN_PATH + QUERY
    assert b"grant_type=client_credentials" in request.body
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"


def test_secret_in_the_query_of_the_token_url_is_hidden(serve: Serve) -> None:
    config = {**serve(lambda _: error_response(401, "no")), "client_secret": "s3cr3t$"}
    config["token_url"] += "?client_secret=s3cr3t%24&again=s3cr3t$"
    with pytest.raises(SACError, match=r"answered 401") as error:
        sync(config)
    assert "s3cr3t" not in str(error.value)


def test_one_token_is_used_for_the_whole_run(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS), sales(*ROWS, model_id="C4B", name="B"))
    sync(serve(tenant))
    assert len(tenant.token_requests) == 1


@pytest.mark.parametrize(
    ("seconds", "age", "is_renewed"),
    [
        (3599, 3500, False),
        (3599, 3550, True),
        ("3600", 3550, True),
        (10, 1, False),
        (10, 9.5, True),
    ],
)
def test_token_is_renewed_before_it_expires(
    seconds: int | str, age: float, *, is_renewed: bool
) -> None:
    authenticator = make_authenticator()
    tokens = [{"json": {"access_token": name, "expires_in": seconds}} for name in ("old", "new")]
    with requests_mock.Mocker() as mock:
        mock.post(TOKEN_URL, tokens)
        authorize(authenticator)
        assert authenticator.last_refreshed is not None
        authenticator.last_refreshed -= timedelta(seconds=age)
        request = authorize(authenticator)
    expected = "new" if is_renewed else "old"
    assert request.headers["Authorization"] == f"Bearer {expected}"


def test_token_is_renewed_once_on_401_in_the_middle_of_a_read(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))
    revoked = "Bearer token-1"

    def fault(request: Request) -> Response | None:
        is_third_page = request.target.endswith("$skiptoken=4")
        refused = is_third_page and request.headers["authorization"] == revoked
        return error_response(401, "expired") if refused else None

    tenant.fault = fault
    records = sync(serve(tenant)).records("sales_fact_data")
    assert len(records) == len(ROWS)
    assert len(tenant.token_requests) == 2


@pytest.mark.usefixtures("waits")
def test_second_401_is_an_error(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = lambda _: error_response(401, "no")
    with pytest.raises(SACError, match=r"401.*'Data Export Service'.*--check"):
        sync(serve(tenant))
    assert len(tenant.token_requests) == 2


def test_neither_secret_nor_token_is_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tenant = StandIn(sales(*ROWS))
    config = serve(tenant)
    sync(config)
    assert "sales_fact_data" in caplog.text
    assert config["client_secret"] not in caplog.text
    assert "token-1" not in caplog.text
