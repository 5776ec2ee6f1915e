"""Sends requests for a report, where any answer is useful, and remembers earlier answers."""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import SACError, TransientError
from tap_sac.sac.failures import Step
from tap_sac.sac.http.refusals import error_number, is_transient
from tap_sac.sac.urls import absolute_link, is_same_server
from tap_sac.safety.text import decimal_digits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_sac.sac.export.client import SACClient
    from tap_sac.sac.http.answer import Answer

COUNT, NEXT_LINK = "@odata.count", "@odata.nextLink"
_MOST_TRIES = 2
_MOST_BYTES_KEPT = 64 * 1024**2

Page = dict[str, Any]


class Number(str):
    """The digits of a JSON number, to tell it from text."""

    __slots__ = ()


class Asker:
    """Remembers the last good answer to each request of the run, and sends further requests.

    Attributes:
        client: Sends the requests.
        answers: The answers, by method and URL.
        headers: The names of all response headers.
        asks_until: When to stop sending requests, by `time.monotonic`; 0 to use only old answers.
    """

    def __init__(self, client: SACClient) -> None:
        """Observe all answers from now on."""
        self.client = client
        self.answers: dict[tuple[str, str], Answer] = {}
        self.headers: set[str] = set()
        self.asks_until = 0.0
        self._bytes_kept = 0
        client.transport.observe = self._remember

    @property
    def is_over(self) -> bool:
        """Whether the time is up, so no more requests may be sent."""
        is_late = time.monotonic() >= self.asks_until
        return is_late or self.client.transport.requests_left <= 0

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer | None:
        """Return the earlier answer to a GET, or a new one; None if no more requests may be sent.

        With headers, the request is always sent. A transient refusal is retried once.
        """
        answer = None if headers else self.answers.get(("GET", url))
        tries = 0 if answer else _MOST_TRIES
        while tries and not self.is_over:
            tries -= 1
            try:
                answer = self.client.ask("GET", url, headers or {})
            except TransientError:
                continue
            except SACError as error:
                if error.step in {Step.TOKEN, Step.NEW_TOKEN}:
                    self.asks_until = 0.0  # A refused sign-in may lock the client.
                break
            if not is_transient(answer.status) or error_number(answer) is not None:
                break
        return answer

    def follow(self, answer: Answer | None, most: int) -> list[Page]:
        """Read a page and the pages that follow it, up to a maximum number."""
        found: list[Page] = []
        while answer and (page := page_of(answer)) and len(found) < most:
            found.append(page)
            link = _followed(page.get(NEXT_LINK), answer)
            answer = self.get(link) if link else None
        return found

    def _remember(self, answer: Answer) -> None:
        self.headers.update(answer.headers)
        self._bytes_kept += len(answer.body)
        if self._bytes_kept <= _MOST_BYTES_KEPT and not is_transient(answer.status):
            self.answers[answer.method, answer.url] = answer  # of a retry with a new token, too


def page_of(answer: Answer | None) -> Page:
    """Read a page of rows, with its members in SAC's order; empty if the answer is not a page.

    A count that is no number, and a link that is no text, are left out.
    """
    if answer is None or answer.status != HTTPStatus.OK:
        return {}
    try:
        page: Page = json.loads(answer.body, parse_float=Number, parse_int=Number)
        rows = page["value"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return {}
    if decimal_digits(page.get(COUNT)) is None:
        page.pop(COUNT, None)
    if not isinstance(page.get(NEXT_LINK), str):
        page.pop(NEXT_LINK, None)
    return page


def _followed(link: object, page: Answer) -> str | None:
    """Return the URL of a page's link; None if it leads to another server."""
    try:
        url = absolute_link(link, page.url)
    except (TypeError, ValueError):
        return None
    return url if is_same_server(url, page.url) else None
