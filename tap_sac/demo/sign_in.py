"""The sign-in of users: a page, codes, and refresh tokens (RFC 6749, 4.1 and 6; RFC 7636).

There are no passwords: the page lets the user choose an identity. It is unknown whether SAC's own
authorization server requires PKCE; this one does, so that a client without it fails.
"""

from __future__ import annotations

import base64
import hashlib
import html
import secrets
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from tap_sac.demo.exchange import Response
from tap_sac.demo.people import PEOPLE, Person

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_sac.demo.behaviour import Behaviour
    from tap_sac.demo.exchange import Request

_CODE_SECONDS = 600
_METHOD = "S256"
_PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Alpenglow Outdoor: $title</title>
<style>body { font: 1.1rem/1.5 system-ui, sans-serif; margin: 15vh auto; max-width: 34rem; }</style>
</head>
<body>
<h1>$title</h1>
<p>$text</p>
$form
</body>
</html>
"""
)
_BUTTON = Template('<p><button name="person" value="$value">$label</button></p>\n')


@dataclass(frozen=True)
class _Code:
    """The sign-in that a code was issued for."""

    person: Person
    redirect_uri: str
    challenge: str
    good_until: float


class SignIn:
    """The pending and the completed sign-ins."""

    def __init__(self, client_id: str, behaviour: Behaviour) -> None:
        """Start without sign-ins."""
        self._client_id = client_id
        self._behaviour = behaviour
        self._codes: dict[str, _Code] = {}
        self._refresh_tokens: dict[str, tuple[Person, float]] = {}
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Response:
        """Show the page, or redirect the browser with the choice."""
        query = _form(urlsplit(request.target).query)
        redirect_uri = query.get("redirect_uri", "")
        if query.get("client_id") != self._client_id:
            return _page("Unknown client", "There is no OAuth client with this ID.")
        if redirect_uri != self._behaviour.redirect_uri:
            text = f"The redirect URI {redirect_uri} is not registered with the OAuth client."
            return _page("Wrong redirect URI", text)
        is_complete = query.get("response_type") == "code" and query.get("code_challenge")
        if not is_complete or query.get("code_challenge_method") != _METHOD:
            return _redirect(query, error="invalid_request", error_description="PKCE is missing")
        if request.method != "POST":
            return _sign_in_page()
        chosen = _form(request.body.decode()).get("person")
        person = next((person for person in PEOPLE if person.email == chosen), None)
        if person is None:
            return _redirect(query, error="access_denied", error_description="Not allowed")
        return _redirect(query, code=self._give_code(person, query))

    def take(self, form: Mapping[str, str]) -> Person | None:
        """Return the user of the code or refresh token in a token request; None if invalid."""
        with self._lock:
            if form.get("grant_type") == "authorization_code":
                return self._take_code(form)
            token = form.get("refresh_token", "")
            person, good_until = self._refresh_tokens.get(token, (None, 0.0))
            if self._behaviour.rotates_refresh_tokens:
                self._refresh_tokens.pop(token, None)
            return person if time.monotonic() < good_until else None

    def refresh_token(self, person: Person, form: Mapping[str, str]) -> str:
        """Return the refresh token for a response: a new one, or the same as before."""
        if "refresh_token" in form and not self._behaviour.rotates_refresh_tokens:
            return form["refresh_token"]
        token = f"{secrets.token_urlsafe()}-r"
        end = time.monotonic() + self._behaviour.refresh_token_seconds
        self._refresh_tokens[token] = (person, end)
        return token

    def end_all(self) -> None:
        """Delete all refresh tokens, like an administrator who revokes them."""
        self._refresh_tokens.clear()

    def _give_code(self, person: Person, query: Mapping[str, str]) -> str:
        code = secrets.token_urlsafe()
        end = time.monotonic() + _CODE_SECONDS
        self._codes[code] = _Code(person, query["redirect_uri"], query["code_challenge"], end)
        return code

    def _take_code(self, form: Mapping[str, str]) -> Person | None:
        """Redeem a code, which is valid once, for its redirect URI and verifier."""
        code = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            code is None
            or time.monotonic() >= code.good_until
            or (form.get("redirect_uri"), challenge) != (code.redirect_uri, code.challenge)
        ):
            return None
        return code.person


def _form(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


def _redirect(query: Mapping[str, str], **answer: str) -> Response:
    state = {"state": query["state"]} if "state" in query else {}
    location = f"{query['redirect_uri']}?{urlencode({**answer, **state})}"
    return Response(HTTPStatus.SEE_OTHER, b"", {"Location": location})


def _sign_in_page() -> Response:
    buttons = "".join(
        _BUTTON.substitute(value=html.escape(person.email), label=html.escape(person.name))
        for person in PEOPLE
    )
    refusal = _BUTTON.substitute(value="", label="No, thanks")
    form = f'<form method="post">\n{buttons}{refusal}</form>'
    text = "tap-sac wants to read models with your permissions. Who are you?"
    return _page("Sign in", text, form, HTTPStatus.OK)


def _page(
    title: str, text: str, form: str = "", status: HTTPStatus = HTTPStatus.BAD_REQUEST
) -> Response:
    body = _PAGE.substitute(title=html.escape(title), text=html.escape(text), form=form)
    return Response(status, body.encode(), {"Content-Type": "text/html; charset=utf-8"})
