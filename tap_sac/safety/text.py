"""Makes texts from outside safe for log lines, parses them, and suggests corrections."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timedelta, timezone
from difflib import get_close_matches
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tap_sac.safety.masks import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable

_DIGITS = re.compile(r"[0-9]{1,15}")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
_CREDENTIALS = re.compile(r"\b(Bearer|Basic)\s+\S+", re.IGNORECASE)
_LONGEST_MESSAGE = 300
_MOST_READ = 4_000  # Enough for a message, even if most of it is white space or masked.
_MOST_NEAR_MISSES = 3


def log_safe(text: str, *secrets: str) -> str:
    """Make a server's text safe for a log line: one line, of limited length, without credentials.

    It masks the given secrets, all known ones, and texts that look like a token or the user part of
    a URL.
    """
    text = excerpt(text.lstrip(), _MOST_READ, *secrets)
    text = "".join(char if char.isprintable() else " " for char in text)
    text = _USER_INFO.sub("***@", _CREDENTIALS.sub(r"\1 ***", " ".join(text.split())))
    return excerpt(text, _LONGEST_MESSAGE)


def plural(count: int, noun: str) -> str:
    """Write a number of things, such as ``1 row`` and ``1,000 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def none_of(count: int, noun: str) -> str:
    """Write the subject of a failure of all things, such as ``None of the 3 models can``."""
    return f"The only {noun} cannot" if count == 1 else f"None of the {plural(count, noun)} can"


def decimal_digits(text: object) -> int | None:
    """Parse a number of digits, with or without quotes; None if it is something else."""
    return int(str(text)) if _DIGITS.fullmatch(str(text)) else None


def folded(name: str) -> str:
    """Normalize a name: case, spaces and Unicode form, which people overlook."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(char for char in text if char.isprintable() and not char.isspace())


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, without credentials."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an invalid URL"
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else "another page"


def utc_text(time: str, *, seconds_earlier: int = 0) -> str:
    """Format a time like SAC: in UTC, with milliseconds and a Z.

    The input is ISO 8601; without an offset, it is UTC.

    Raises:
        ValueError: If it is not a time.
        OverflowError: If it exceeds the range of dates.
    """
    moment = datetime.fromisoformat(time)
    moment = moment.replace(tzinfo=moment.tzinfo or timezone.utc).astimezone(timezone.utc)
    moment -= timedelta(seconds=seconds_earlier)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def did_you_mean(text: str, labels: Iterable[str], *, cutoff: float) -> str | None:
    """Suggest labels that are spelled similarly, as a question; None if there are none.

    The cutoff ranges from 0 for everything to 1 for exact matches.
    """
    near = get_close_matches(text, list(labels), n=_MOST_NEAR_MISSES, cutoff=cutoff)
    return f"did you mean {', '.join(map(log_safe, near))}?" if near else None
