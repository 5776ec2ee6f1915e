"""Access to the sample tenant: bearer tokens for reading, and CSRF tokens for writing."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from dataclasses import replace
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tap_sac.demo.exchange import Request, Response, error_answer, json_answer
from tap_sac.demo.people import Person
from tap_sac.demo.sign_in import SignIn

if TYPE_CHECKING:
    from tap_sac.demo.behaviour import Behaviour

CLIENT_ID = "sb-2f0e8a1c-demo!b1|client!b1"
CLIENT_SECRET = "demo$not-secret=+/%:é"  # noqa: S105  (opens nothing but made-up data)

_OF_PEOPLE = {"authorization_code", "refresh_token"}
_SESSION = "JSESSIONID"


class Access:
    """The tokens that were issued.

    Attributes:
        sign_in: The sign-in of users.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        """Start without tokens."""
        self.sign_in = SignIn(CLIENT_ID, behaviour)
        self._behaviour = behaviour
        self._seconds = behaviour.token_seconds
        self._tokens: dict[str, tuple[Person | None, float]] = {}
        self._csrf_tokens: dict[str, str] = {}

    def give_token(self, request: Request) -> Response:
        """Issue a token to a client with credentials in the Basic header, body or query."""
        text = request.body.decode() or urlsplit(request.target).query
        form = {name: values[0] for name, values in parse_qs(text).items()}
        credentials = [form.get(name, "") for name in ("client_id", "client_secret")]
        scheme, _, basic = request.headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            try:
                credentials = base64.b64decode(basic, validate=True).decode().split(":", 1)
            except (binascii.Error, UnicodeDecodeError):
                credentials = []
        grant = form.get("grant_type")
        if credentials != [CLIENT_ID, CLIENT_SECRET] or grant not in {
            "client_credentials",
            *_OF_PEOPLE,
        }:
            answer = {"error": "invalid_client", "error_description": "Bad credentials"}
            return json_answer(answer, HTTPStatus.UNAUTHORIZED)
        if self._behaviour.missing_grant == (
            "authorization_code" if grant in _OF_PEOPLE else grant
        ):
            # Seen live: the error code is the one for a wrong secret.
            answer = {"error": "invalid_client", "error_description": "Unauthorized grant type"}
            return json_answer(answer, HTTPStatus.UNAUTHORIZED)
        person = None
        refresh_token = {}
        if grant in _OF_PEOPLE:
            person = self.sign_in.take(form)
            if person is None:
                answer = {"error": "invalid_grant", "error_description": "Token expired"}
                return json_answer(answer, HTTPStatus.BAD_REQUEST)
            refresh_token = {"refresh_token": self.sign_in.refresh_token(person, form)}
        token = secrets.token_urlsafe()
        if person or self._behaviour.readable_tokens:
            token = (person or Person("client", "", "")).token(token)
        self._tokens[token] = (person, time.monotonic() + self._seconds)
        answer = {"access_token": token, "token_type": "bearer", **refresh_token}
        return json_answer({**answer, "expires_in": self._seconds})

    def token_refusal(self, request: Request) -> Response | None:
        """Refuse a request without a valid token."""
        good_until = self._owner(request)[1]
        if good_until >= time.monotonic():
            return None
        is_forbidden = good_until > 0 and self._behaviour.expired_is_forbidden
        status = HTTPStatus.FORBIDDEN if is_forbidden else HTTPStatus.UNAUTHORIZED
        return error_answer(status, "The access token is missing or has expired.")

    def person(self, request: Request) -> Person | None:
        """Return the user of a request's token; None for the client's own."""
        return self._owner(request)[0]

    def _owner(self, request: Request) -> tuple[Person | None, float]:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self._tokens.get(token, (None, 0)) if scheme == "Bearer" else (None, 0)

    def with_csrf_token(self, request: Request, response: Response) -> Response:
        """Add a CSRF token for the session of the cookie, if requested."""
        is_asked_for = request.method == "GET" and request.headers.get("x-csrf-token") == "fetch"
        if self._behaviour.is_api_host or not is_asked_for:
            return response
        session, token = secrets.token_urlsafe(), secrets.token_urlsafe()
        self._csrf_tokens[session] = token
        headers = {"x-csrf-token": token, "Set-Cookie": f"{_SESSION}={session}; Path=/"}
        return replace(response, headers={**response.headers, **headers})

    def csrf_refusal(self, request: Request) -> Response | None:
        """Refuse a write without a CSRF token of its session."""
        if self._behaviour.is_api_host:
            return None
        cookies = SimpleCookie(request.headers.get("cookie", ""))
        session = cookies[_SESSION].value if _SESSION in cookies else ""
        expected = self._csrf_tokens.get(session)
        if expected is not None and request.headers.get("x-csrf-token") == expected:
            return None
        refusal = error_answer(HTTPStatus.FORBIDDEN, "A CSRF token is required.")
        return replace(refusal, headers={**refusal.headers, "x-csrf-token": "Required"})
