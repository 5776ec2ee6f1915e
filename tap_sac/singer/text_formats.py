"""Checks dates and times by the formats of JSON Schema.

A target that does not validate passes such a text on to its database, whose error names neither the
row nor the column. So the tap checks first.

The formats are those of OData ABNF Construction Rules 4.0, 7, except for values that PostgreSQL or
Python cannot store: years before 0001 or after 9999, and offsets of 16 hours and more.
"""

from __future__ import annotations

import re

# The days that every month has come first, because most dates match them.
_DATE = (
    r"(?!0000)(?:\d\d\d\d-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,12})?"
_OFFSET = r"(?:Z|[+-](?:0\d|1[0-5]):[0-5]\d)"


class WrongFormatError(ValueError):
    """A text does not have the format of its column."""


class TextFormat:
    """A format that texts can have."""

    def __init__(self, pattern: str) -> None:
        """Compile the pattern of the format."""
        self._match = re.compile(pattern, re.ASCII).fullmatch
        self._match_json = re.compile(rf'(?:(?:"{pattern}"|null),)*'.encode()).fullmatch

    def check(self, text: str) -> str:
        """Return the text, or raise a `WrongFormatError` if it does not have this format."""
        if not self._match(text):
            raise WrongFormatError
        return text

    def fits(self, values: bytes) -> bool:
        """Return whether comma-separated JSON texts, or null, have this format."""
        return self._match_json(values + b",") is not None


DATE = TextFormat(_DATE)
DATE_TIME = TextFormat(f"{_DATE}T{_TIME}{_OFFSET}")
