"""Compares the names in a ``$filter`` expression with ``$metadata``, before rows are read.

For all other mistakes, SAC answers 400 (OData URL Conventions 4.0, 5.1.1).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from tap_sac.sac.errors import SACError
from tap_sac.safety.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tap_sac.sac.odata.model import EntitySet

_NEARNESS_OF_COLUMNS = 0.6
_TEXT = r"'(?:[^']|'')*'"
_VALUE = rf"(?:{_TEXT}|[^\s'(),]+)"
_IN_LIST = re.compile(
    rf"{_TEXT}|(?P<column>[^\s'(),]+)\s+in\s*\(\s*(?P<values>{_VALUE}(?:\s*,\s*{_VALUE})*)\s*\)"
)
_NAME = re.compile(r"[^\W\d]\w*")
_COLUMN = r"(?P<column>[^\W\d][\w.]*)"
_OPERATOR = r"(?:eq|ne|gt|ge|lt|le)"
_COMPARED = (
    re.compile(rf"(?<![^\s(]){_COLUMN}\s+(?:{_OPERATOR}|in)\b"),
    re.compile(rf"(?:''|\b(?:\d[\w.+-]*|null|true|false))\s+{_OPERATOR}\s+{_COLUMN}"),
    re.compile(rf"\b(?:contains|startswith|endswith)\s*\(\s*{_COLUMN}"),
)
_RESERVED = {
    *("eq", "ne", "gt", "ge", "lt", "le", "in", "and", "or", "not"),
    *("null", "true", "false", "INF", "NaN"),
}
# Not checked: calls and paths, such as year(Date), or Product/H1 for a node of a hierarchy.
_CALL = re.compile(
    r"\b(?!(?:and|or|not|in|contains|startswith|endswith)\b)\w+\(|\w''|[^\w\s(),.'+-]"
)
_PARENT = "_PARENTID"  # the suffix of the columns of hierarchies


def names_in_filter(text: str) -> set[str]:
    """Return the names in an expression: columns, but also operators and functions."""
    words = re.findall(r"[^\s'\"(),=<>!]+", re.sub(_TEXT, "''", text))
    return {*words, *(name for word in words for name in _NAME.findall(word))}


def check_filter(
    subject: str,
    text: str,
    tables: Mapping[str, EntitySet],
    siblings: Collection[EntitySet],
    *,
    is_strict: bool,
) -> list[str]:
    """Find unknown columns, and ``in`` lists, which SAC does not support.

    Args:
        subject: The name of the filter in messages.
        text: The ``$filter`` expression.
        tables: The filtered entity sets, by stream name; empty if their columns are unknown.
        siblings: All entity sets of the models.
        is_strict: Whether a column that no entity set of the model has is an error.

    Returns:
        Warnings, one sentence each.

    Raises:
        SACError: If there is such a column.
    """
    having = Counter(column.name for table in tables.values() for column in table.properties)
    related = {column.name for table in siblings for column in table.properties}
    names = _columns_in(text, related) if tables else []
    unknown = [name for name in names if having[name] < len(tables)]
    if is_strict and (gone := [name for name in unknown if name not in related]):
        hints = "; ".join(f"{name}{_hint(name, having, siblings)}" for name in gone)
        msg = f"{subject} names columns that no entity set of the model has: {hints}."
        raise SACError(msg)
    warnings = []
    for name in unknown:
        lacking = [
            stream
            for stream, table in tables.items()
            if name not in {column.name for column in table.properties}
        ]
        where = f"{lacking[0]}{f' and {len(lacking) - 1} other streams' if lacking[1:] else ''}"
        hint = _hint(name, having, siblings) if name not in having else ""
        warnings.append(f"{subject} names {name}, which is not a column of {where}{hint}.")
    if (corrected := _IN_LIST.sub(_as_comparisons, text)) != text:
        what = f"{subject} has an in list, which SAC does not support (HTTP 500 [1205])"
        warnings.append(f"{what}: write it as {corrected!r}.")
    return warnings


def _columns_in(text: str, known: Collection[str]) -> list[str]:
    """Find the columns in comparisons; none if the expression has other parts."""
    plain = re.sub(_TEXT, "''", text)
    if _CALL.search(plain) or plain.count("'") != plain.count("''") * 2:
        return []
    found = [match for pattern in _COMPARED for match in pattern.finditer(plain)]
    names = dict.fromkeys(match["column"] for match in sorted(found, key=re.Match.start))
    return [name for name in names if name not in _RESERVED and not _may_be_a_part(name, known)]


def _may_be_a_part(name: str, known: Collection[str]) -> bool:
    # unseen: filters by attributes of a dimension, or by nodes of a hierarchy
    return any(
        name.startswith((f"{column}.", f"{column}___"))
        or (column.endswith(_PARENT) and name.endswith(column.removesuffix(_PARENT)))
        for column in known
    )


def _hint(name: str, columns: Collection[str], siblings: Collection[EntitySet]) -> str:
    for table in siblings:
        if name in {column.name for column in table.properties}:
            return f", but of {table.name}"
    same = [column for column in columns if column.casefold() == name.casefold()]
    near = did_you_mean(name, same or columns, cutoff=0 if same else _NEARNESS_OF_COLUMNS)
    return f" ({near})" if near else ""


def _as_comparisons(match: re.Match[str]) -> str:
    if match["column"] is None:
        return match[0]
    values = re.findall(_VALUE, match["values"])
    comparisons = (f"{match['column']} eq {value}" for value in values)
    return f"({' or '.join(comparisons)})"
