"""Who may ask the sample tenant: bearer tokens for reading, and CSRF tokens for writing."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from dataclasses import replace
from http import HTTPStatus
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

from tap_sac.demo.exchange import Request, Response, error_answer, json_answer

CLIENT_ID = "sb-2f0e8a1c-demo!b1|client!b1"
CLIENT_SECRET = "demo$not-secret=+/%:é"  # noqa: S105  (opens nothing but made-up data)

_TOKEN_SECONDS = 3600
_SESSION = "JSESSIONID"


class Access:
    """The tokens that have been given."""

    def __init__(self) -> None:
        """Begin with none."""
        self._tokens: dict[str, float] = {}
        self._csrf_tokens: dict[str, str] = {}

    def give_token(self, request: Request) -> Response:
        """Give a token for client credentials, in the Basic header, the body or the query."""
        form = parse_qs(request.body.decode() or urlsplit(request.target).query)
        credentials = [form.get(name, [""])[0] for name in ("client_id", "client_secret")]
        scheme, _, basic = request.headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            try:
                credentials = base64.b64decode(basic, validate=True).decode().split(":", 1)
            except (binascii.Error, UnicodeDecodeError):
                credentials = []
        if form.get("grant_type") != ["client_credentials"] or credentials != [
            CLIENT_ID,
            CLIENT_SECRET,
        ]:
            answer = {"error": "invalid_client", "error_description": "Bad credentials"}
            return json_answer(answer, HTTPStatus.UNAUTHORIZED)
        token = secrets.token_urlsafe()
        self._tokens[token] = time.monotonic() + _TOKEN_SECONDS
        answer = {"access_token": token, "token_type": "bearer"}
        return json_answer({**answer, "expires_in": _TOKEN_SECONDS})

    def has_token(self, request: Request) -> bool:
        """Return whether a request has a token that is still good."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme == "Bearer" and self._tokens.get(token, 0) >= time.monotonic()

    def give_csrf_token(self) -> Response:
        """Give a token that is good for writing in the session of the cookie."""
        session, token = secrets.token_urlsafe(), secrets.token_urlsafe()
        self._csrf_tokens[session] = token
        headers = {"x-csrf-token": token, "Set-Cookie": f"{_SESSION}={session}; Path=/"}
        return Response(HTTPStatus.OK, b"", headers)

    def csrf_refusal(self, request: Request) -> Response | None:
        """Refuse a request that writes without a token of its session."""
        cookies = SimpleCookie(request.headers.get("cookie", ""))
        session = cookies[_SESSION].value if _SESSION in cookies else ""
        expected = self._csrf_tokens.get(session)
        if expected is not None and request.headers.get("x-csrf-token") == expected:
            return None
        refusal = error_answer(HTTPStatus.FORBIDDEN, "A CSRF token is required.")
        return replace(refusal, headers={**refusal.headers, "x-csrf-token": "Required"})
