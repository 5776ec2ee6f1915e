"""An HTTP response that was read completely."""

from __future__ import annotations

import email.utils
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_RETRY_AFTER = 900.0


@dataclass(frozen=True)
class Answer:
    """The response to one request.

    Attributes:
        method, url: The method and the URL of the request.
        reason: The reason phrase; may be empty.
        headers: The headers, with lower-case names.
        body: The decompressed body; of an error, only the part that `transport.exchange` reads.
        seconds: The time until the headers arrived.
    """

    method: str
    url: str
    status: int
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0

    @property
    def request_line(self) -> str:
        """The method and the path of the request, for messages."""
        return f"{self.method} {urlsplit(self.url).path}"

    @property
    def is_markup(self) -> bool:
        """Whether the body starts like HTML or XML."""
        return self.body.lstrip()[:1] == b"<"

    @property
    def retry_after(self) -> float | None:
        """The seconds of Retry-After (RFC 9110, 10.2.3), 15 minutes at most."""
        value = self.headers.get("retry-after", "").strip()
        if value.isdecimal():
            return min(float(value), _LONGEST_RETRY_AFTER)
        date = _date(value)
        if date is None:
            return None
        # The clocks of the server and this machine may differ.
        now = _date(self.headers.get("date", "")) or datetime.now(timezone.utc)
        return min(max(0.0, (date - now).total_seconds()), _LONGEST_RETRY_AFTER)


def _date(text: str) -> datetime | None:
    """Parse an HTTP date (RFC 9110, 5.6.7); None if it is invalid."""
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date.replace(tzinfo=date.tzinfo or timezone.utc)
