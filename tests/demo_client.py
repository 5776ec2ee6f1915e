"""A client of the sample tenant, which knows nothing of the tap."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from tap_sac.demo.service import SERVICE_ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

FINANCE = "C4FINPLANK2M9X7QW1TBV0ZJ8A"
WORKFORCE = "C4WORKFRCK5M2X8QW3TBV1ZJ7B"
SALES = "C4SALESPLK8M4X1QW6TBV2ZJ5C"
BUDGET = "C4BUDGETQ7W2E9R5T1Y8U3I6OA"


class Client:
    """Has signed in at a tenant."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._root = settings["tenant_url"]
        self.session = requests.Session()
        form = {
            "grant_type": "client_credentials",
            "client_id": settings["client_id"],
            "client_secret": settings["client_secret"],
        }
        token = self.session.post(settings["token_url"], data=form, timeout=5).json()
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
