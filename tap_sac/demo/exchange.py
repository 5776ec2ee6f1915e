"""Requests and responses, in SAC's formats."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from tap_sac.demo.tables import Row


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        method: The method, such as GET.
        base_url: Scheme, host and port by which the client reached the server.
        target: Path and query, as sent.
        headers: The headers, with lower-case names.
        body: The body, as sent.
    """

    method: str
    base_url: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path, as sent."""
        return urlsplit(self.target).path

    @property
    def options(self) -> dict[str, str]:
        """The query options; unlike in forms, a plus stays a plus."""
        query = urlsplit(self.target).query
        pairs = (part.partition("=") for part in query.split("&") if part)
        return {unquote(name): unquote(value) for name, _, value in pairs}


@dataclass(frozen=True)
class Response:
    """An answer.

    Attributes:
        status: The HTTP status code.
        body: The whole body.
        headers: The headers; the server adds Content-Length if missing.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


Application = Callable[[Request], Response]

_REFUSAL = re.compile(r"(\d{3}) (\[\d{4}\] )?(text:|object:|XML|HTML|JSON|plain|empty) ?(.*)")
_BODIES = {"XML": "<error/>", "HTML": "<html></html>", "JSON": "[]", "plain": "Xx", "empty": ""}


class Refusal:
    """A fixed response to some requests, a number of times or always.

    Attributes:
        response: The answer.
    """

    def __init__(self, path_pattern: str, response: Response, times: int | None) -> None:
        """Store the response.

        Args:
            path_pattern: A regular expression to search for in the decoded path and query.
            response: The answer.
            times: How often; None for always.
        """
        self.response = response
        self._pattern = re.compile(path_pattern)
        self._times = times
        self._lock = threading.Lock()

    def applies(self, request: Request) -> bool:
        """Return whether a request gets this response, and count it if so."""
        if not self._pattern.search(unquote(request.target)):
            return False
        with self._lock:
            if self._times is None:
                return True
            self._times -= 1
            return self._times >= 0


def link(request: Request, options: Mapping[str, str]) -> str:
    """Return an absolute link to the entity set of a request."""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    return f"{request.base_url}{request.path}?{query}"


def other_address(url: str) -> str:
    """Return the tenant's other address, with or without ``.api``."""
    match = re.fullmatch(r"(https://[^.]+\.)(api\.)?(.+)", url)
    return url if match is None else f"{match[1]}{'' if match[2] else 'api.'}{match[3]}"


def error_answer(status: HTTPStatus, message: str) -> Response:
    """Respond like SAC: the code is the ID of this request, and the number is in the message."""
    return json_answer({"error": {"code": str(uuid.uuid4()), "message": message}}, status)


def described_answer(text: str) -> Response | None:
    """Make a refusal by its description in a report; None if it describes something else."""
    if (match := _REFUSAL.fullmatch(text)) is None:
        return None
    status, number, form, words = match.groups()
    if form in _BODIES:
        return Response(int(status), _BODIES[form].encode())
    message = f"{words.replace('...', 'Xx')} {number or ''}".strip()
    said = message if form == "text:" else {"lang": "en", "value": message}
    return json_answer({"error": {"code": "0", "message": said}}, HTTPStatus(int(status)))


def page_answer(
    context: str, rows: list[Row], links: Mapping[str, str], count: int | None = None
) -> Response:
    """Respond with a page of rows.

    Args:
        context: The value of ``@odata.context``.
        rows: The rows.
        links: URLs by name, such as nextLink.
        count: The number of all rows.
    """
    body: dict[str, object] = {"@odata.context": f"$metadata#{context}"}
    if count is not None:
        body["@odata.count"] = count
    body["@des.entitiesInPage"] = str(len(rows))
    body["@des.processingTimeInMilliseconds"] = "1"
    body["value"] = rows
    return json_answer(body | {f"@odata.{name}": url for name, url in links.items()})


def json_answer(body: Mapping[str, object], status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Respond with JSON."""
    return Response(status, _json_text(body).encode(), {"Content-Type": "application/json"})


def _json_text(value: object) -> str:
    """Write JSON with all digits of decimals, even trailing zeros."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        members = (f"{json.dumps(name)}:{_json_text(item)}" for name, item in value.items())
        return f"{{{','.join(members)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_json_text, value))}]"
    return json.dumps(value)
