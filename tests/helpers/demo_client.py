"""A client of the sample tenant, which knows nothing of the tap."""

from __future__ import annotations

import base64
import hashlib
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import requests

from tap_sac.demo import Behaviour
from tap_sac.demo.service import AUTHORIZE_PATH, SERVICE_ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

FINANCE = "C4FINPLANK2M9X7QW1TBV0ZJ8A"
WORKFORCE = "C4WORKFRCK5M2X8QW3TBV1ZJ7B"
SALES = "C4SALESPLK8M4X1QW6TBV2ZJ5C"
BUDGET = "C4BUDGETQ7W2E9R5T1Y8U3I6OA"


class Client:
    """Has signed in at a tenant."""

    def __init__(self, settings: Mapping[str, str], token: Mapping[str, str] | None = None) -> None:
        self._root = settings["tenant_url"]
        self.session = requests.Session()
        form = {
            "grant_type": "client_credentials",
            "client_id": settings["client_id"],
            "client_secret": settings["client_secret"],
        }
        token = token or self.session.post(settings["token_url"], data=form, timeout=5).json()
        self.session.headers["Authorization"] = f"Bearer {token['access_token']}"

    def url(self, path: str) -> str:
        """Return the URL of a path: from the root, or within the models of the namespace sac."""
        return self._root + (path if path[0] == "/" else f"{SERVICE_ROOT}/providers/sac/{path}")

    def get(self, path: str, query: str = "", **headers: str) -> requests.Response:
        """Send query options such as ``$top=1&$filter=A eq 'b'``, encoded as clients do."""
        encoded = quote(query, safe="$=&,()'*")
        return self.session.get(self.url(path), params=encoded, headers=headers, timeout=10)

    def page(self, path: str, query: str = "", **headers: str) -> dict[str, Any]:
        """Return a page, with all digits."""
        return parse(self.get(path, query, **headers))

    def follow(self, link: str) -> dict[str, Any]:
        """Return the page behind a link."""
        return parse(self.session.get(link, timeout=10))

    def rows(self, path: str, query: str = "") -> list[dict[str, Any]]:
        """Return the rows of all pages."""
        page = self.page(path, query)
        rows: list[dict[str, Any]] = page["value"]
        while "@odata.nextLink" in page:
            page = self.follow(page["@odata.nextLink"])
            rows += page["value"]
        return rows


def parse(answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = json.loads(answer.text, parse_float=Decimal)
    return body


ANNA, BEN = "anna@alpenglow.example", "ben@alpenglow.example"
_VERIFIER = "v" * 43


def authorize(settings: Mapping[str, Any], **changes: str) -> str:
    """Return the address where a person signs in, with a challenge for the verifier here."""
    digest = hashlib.sha256(_VERIFIER.encode()).digest()
    query = {
        "response_type": "code",
        "client_id": settings["client_id"],
        "redirect_uri": Behaviour.redirect_uri,
        "state": "a state",
        "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        "code_challenge_method": "S256",
        **changes,
    }
    return f"{settings['tenant_url']}{AUTHORIZE_PATH}?{urlencode(query)}"


def choose(address: str, person: str) -> str:
    """Choose a person on the sign-in page; returns where the browser goes then."""
    answer = requests.post(address, {"person": person}, timeout=5, allow_redirects=False)
    return answer.headers["Location"]


def tokens(settings: Mapping[str, Any], **form: str) -> requests.Response:
    """Ask for tokens."""
    credentials = (settings["client_id"].encode(), settings["client_secret"].encode())
    return requests.post(settings["token_url"], form, auth=credentials, timeout=5)


def exchange(settings: Mapping[str, Any], redirected: str, **changes: str) -> requests.Response:
    """Change the code that a sign-in gave for tokens."""
    form = {
        "grant_type": "authorization_code",
        "code": parse_qs(urlsplit(redirected).query)["code"][0],
        "redirect_uri": Behaviour.redirect_uri,
        "code_verifier": _VERIFIER,
        **changes,
    }
    return tokens(settings, **form)


def refresh_token(settings: Mapping[str, Any], person: str) -> str:
    """Sign in as a person; returns the refresh token."""
    answer = exchange(settings, choose(authorize(settings), person)).json()
    return str(answer["refresh_token"])
