"""Writes conditions for a ``$filter`` (OData URL Conventions 4.0, 5.1.1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tap_sac.sac.odata.model import INTEGERS, NUMBERS

if TYPE_CHECKING:
    from collections.abc import Collection
    from decimal import Decimal

    from tap_sac.sac.odata.model import Property

# A value of a column; unassigned members are the text ``#``.
Value = str | int | None

_TEXT = "Edm.String"
_DATE = "Edm.Date"
_BARE_TEXTS = {
    _DATE: re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    "Edm.Decimal": re.compile(r"-?[0-9]+(\.[0-9]+)?"),
    "Edm.DateTimeOffset": re.compile(r"[0-9T:.Z+-]+"),
    "Edm.Guid": re.compile(r"[0-9A-Fa-f-]+"),
}


def can_be_compared(column: Property) -> bool:
    """Return whether a filter can compare the column with single values."""
    return column.type in {_TEXT, _DATE, *INTEGERS}


def equals(column: Property, value: Value | Decimal) -> str:
    """Write that a column equals a value, before percent-encoding.

    Texts are in single quotes, which are doubled inside; an empty text is not null.

    Raises:
        ValueError: If the value does not have the column's type.
    """
    return f"{column.name} eq {_literal(column, value)}"


def differs(column: Property, values: Collection[Value]) -> str:
    """Write that a column has none of several values, before percent-encoding.

    In OData, null differs from any value (URL Conventions 4.0, 5.1.1.1.2), but not in SQL, so the
    condition includes null explicitly.

    Raises:
        ValueError: If a value does not have the column's type.
    """
    literals = [_literal(column, value) for value in values if value is not None]
    others = " and ".join(f"{column.name} ne {literal}" for literal in sorted(literals))
    if None not in values:
        return f"({column.name} eq null or {others})"
    return f"{column.name} ne null and {others}" if others else f"{column.name} ne null"


def _literal(column: Property, value: Value | Decimal) -> str:
    # unseen: how SAC interprets null, dates, times, GUIDs and booleans, written as in OData
    if value is None:
        return "null"
    if isinstance(value, str):
        if column.type == _TEXT:
            return "'" + value.replace("'", "''") + "'"
        if (literal := _BARE_TEXTS.get(column.type)) and literal.fullmatch(value):
            return value
    elif isinstance(value, bool):
        if column.type == "Edm.Boolean":
            return str(value).lower()
    elif column.type in (NUMBERS if isinstance(value, int) else NUMBERS - INTEGERS):
        return str(value)
    msg = f"{value!r} is not a value of {column.name} ({column.type})"
    raise ValueError(msg)


def both(odata_filter: str | None, condition: str) -> str:
    """Combine a filter, if any, with a condition."""
    return f"({odata_filter}) and {condition}" if odata_filter else condition
