"""Texts of dates, times and ids, in the forms that the formats of JSON Schema promise.

A target that does not validate hands such a text to its database as it is, and a database that
refuses one names neither the row nor the column. So the tap has to see it before them.

The forms are those of OData ABNF Construction Rules 4.0, 7, without what PostgreSQL or Python (in
which targets read them) have no room for: years before 0001 or after 9999, and offsets of 16 hours
and more.
"""

from __future__ import annotations

import re
from datetime import datetime, time
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

# First the days that all months have, because nearly all dates are one of them.
_DATE = (
    r"(?!0000)(?:\d\d\d\d-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,12})?"
_OFFSET = r"(?:Z|[+-](?:0\d|1[0-5]):[0-5]\d)"
_GUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"

# Other spellings that mean one value only. None is known of SAC: that it may use one is a guess.
_OTHER_DATE = re.compile(
    r"(\d{4})(-?)(\d\d)\2(\d\d)(?:T00:00(?::00(?:\.0+)?)?(?:Z|[+-]00:00)?)?",
    re.ASCII | re.IGNORECASE,
)
_OTHER_TIME = re.compile(r"\d\d:\d\d", re.ASCII)
_OTHER_DATE_TIME = re.compile(
    r"([\d-]+)[T ](\d\d:\d\d)(:[\d.]+)?(?:(Z)|([+-]\d\d):?(\d\d))", re.ASCII | re.IGNORECASE
)
_OTHER_GUID = re.compile(
    r"(?P<brace>\{)?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})"
    r"(?(brace)\})",
    re.IGNORECASE,
)

_DIGITS = b"123456789"
_HEX_DIGITS = _DIGITS + b"abcdefABCDEF"


class WrongFormError(ValueError):
    """A text does not have the form that the format of its column promises."""


class Form:
    """A form that texts can have."""

    def __init__(
        self, pattern: str, respell: Callable[[str], str], glance: Glance | None = None
    ) -> None:
        """Keep what tells texts that have it from others.

        Args:
            pattern: What they match.
            respell: Turns another spelling into this one, or into something that does not match.
            glance: Sees many of them faster than the pattern, if they are alike.
        """
        self._match = re.compile(pattern, re.ASCII).fullmatch
        self._match_json = re.compile(rf'(?:(?:"{pattern}"|null),)*'.encode()).fullmatch
        self._respell = respell
        self._glance = glance

    def apply(self, text: str) -> str:
        """Return a text as it is if it has this form, or in this form if it is spelled otherwise.

        Raises:
            WrongFormError: If it means nothing of the kind.
        """
        if self._match(text):
            return text
        text = self._respell(text)
        if self._match(text):
            return text
        raise WrongFormError

    def is_of(self, values: bytes) -> bool:
        """Return whether texts have this form.

        Args:
            values: JSON of texts, or null, with commas between.
        """
        if self._glance and self._glance.accepts(values):
            return True
        return self._match_json(values + b",") is not None


class Glance:
    """A quick look at many texts of a form, which sees only some of those that have it."""

    def __init__(self, shape: bytes, digits: bytes, type_: Any = None) -> None:  # noqa: ANN401
        """Keep what is looked for.

        Args:
            shape: What the JSON of a text matches that has zeros for digits.
            digits: Which digits those are.
            type_: What msgspec reads these texts as, if the shape alone does not say all.
        """
        self._match = re.compile(shape).fullmatch
        self._zeros = bytes.maketrans(digits, b"0" * len(digits))
        self._decode = msgspec.json.Decoder(list[type_ | None]).decode if type_ else None

    def accepts(self, values: bytes) -> bool:
        """Return whether all texts, with commas and null between, have the form and one shape."""
        if self._decode is None and b"null" in values:  # Perhaps inside a text.
            return False
        shapes = (values + b",").replace(b"null,", b"").translate(self._zeros)
        shape = shapes[: shapes.find(b",")]
        if not self._match(shape):
            return False
        if (shape + b",") * (len(shapes) // (len(shape) + 1)) != shapes:
            return False
        try:
            return self._decode is None or bool(self._decode(b"[" + values + b"]"))
        except msgspec.DecodeError:
            return False


def _date(text: str) -> str:
    match = _OTHER_DATE.fullmatch(text)
    return f"{match[1]}-{match[3]}-{match[4]}" if match else ""


def _time(text: str) -> str:
    return f"{text}:00" if _OTHER_TIME.fullmatch(text) else ""


def _date_time(text: str) -> str:
    match = _OTHER_DATE_TIME.fullmatch(text)
    if not match:
        return ""
    date, minutes, seconds, utc, hours, rest = match.groups()
    return f"{date}T{minutes}{seconds or ':00'}{'Z' if utc else f'{hours}:{rest}'}"


def _guid(text: str) -> str:
    match = _OTHER_GUID.fullmatch(text)
    return "-".join(match.groups()[1:]) if match else ""


DATE = Form(_DATE, _date)
DATE_TIME = Form(
    f"{_DATE}T{_TIME}{_OFFSET}",
    _date_time,
    Glance(rb'"0000-00-00T00:00:00(?:\.0{1,12})?Z"', _DIGITS, datetime),
)
GUID = Form(_GUID, _guid, Glance(b'"0{8}-0{4}-0{4}-0{4}-0{12}"', _HEX_DIGITS))
TIME = Form(_TIME, _time, Glance(rb'"00:00:00(?:\.0{1,12})?"', _DIGITS, time))
