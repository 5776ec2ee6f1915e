"""The setting `filters`, compared with ``$metadata`` before anything is read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tap_sac.sac.errors import SACError
from tap_sac.sac.odata.odata_filter import read_filter
from tap_sac.safety.text import did_you_mean, log_safe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from tap_sac.sac.odata.model import EntitySet, Property
    from tap_sac.sac.odata.odata_filter import ColumnKind

_NEARNESS_OF_COLUMNS = 0.6
_MOST_COLUMNS = 10
_NUMBERS = {
    f"Edm.{name}"
    for name in ("Byte", "Decimal", "Double", "Int16", "Int32", "Int64", "SByte", "Single")
}


def look_at_filter(
    pattern: str, text: str, tables: Mapping[str, EntitySet], siblings: Collection[EntitySet]
) -> list[str]:
    """Say what SAC will not take in a filter; nothing about one that is not understood.

    Args:
        pattern: What the setting has it for: a stream name, or a glob.
        text: The ``$filter`` expression.
        tables: The entity sets that it filters, by stream name; empty if their columns are not
            known.
        siblings: All entity sets of their models.

    Returns:
        Warnings, a sentence each.

    Raises:
        SACError: If `pattern` is the name of a stream, and no entity set of its model has a column
            that the filter names.
    """
    everywhere = {item.name for entity_set in siblings for item in entity_set.properties}
    columns = _kinds(tables.values()) if tables else None
    reading = read_filter(text, columns, everywhere)
    if reading is None:
        return []
    subject = f"The filter {text!r} of {pattern!r} in the setting filters"
    gone = [name for name in reading.unknown if name not in everywhere]
    if gone and pattern in tables:
        told = ", ".join(f"{name} ({_hint(name, columns or ())})" for name in gone)
        msg = f"{subject} names what no entity set of the model has: {told}."
        raise SACError(msg)
    warnings = [
        f"{subject} names {name}, which is not a column of {_of_tables(tables)}: "
        f"{_hint(name, columns or (), siblings)}"
        for name in reading.unknown
    ]
    warnings += _lacking(subject, reading.columns, tables)
    if reading.slips:
        corrected = f" Write it as {reading.corrected!r}." if reading.corrected else ""
        warnings.append(f"{subject} is not what SAC takes: {'; '.join(reading.slips)}.{corrected}")
    return warnings


def _kinds(entity_sets: Collection[EntitySet]) -> dict[str, ColumnKind]:
    """Return what columns hold; ``other`` if tables do not agree on it."""
    kinds: dict[str, ColumnKind] = {}
    for entity_set in entity_sets:
        for column in entity_set.properties:
            kind = _kind(column)
            kinds[column.name] = kind if kinds.get(column.name, kind) == kind else "other"
    return kinds


def _kind(column: Property) -> ColumnKind:
    if column.is_collection:
        return "other"
    return (
        "text" if column.type == "Edm.String" else "number" if column.type in _NUMBERS else "other"
    )


def _lacking(
    subject: str, columns: Collection[str], tables: Mapping[str, EntitySet]
) -> Iterator[str]:
    """Name the columns that only some of several tables have."""
    having = Counter(item.name for table in tables.values() for item in table.properties)
    for column in columns:
        if lacking := len(tables) - having[column] if tables else 0:
            example = next(
                name
                for name, table in tables.items()
                if column not in {item.name for item in table.properties}
            )
            yield (
                f"{subject} names {column}, which is missing from {lacking} of the {len(tables)} "
                f"streams that it fits, such as {example}: SAC may refuse to filter by it."
            )


def _of_tables(tables: Mapping[str, EntitySet]) -> str:
    return (
        next(iter(tables)) if len(tables) == 1 else f"any of the {len(tables)} streams that it fits"
    )


def _hint(name: str, columns: Collection[str], siblings: Collection[EntitySet] = ()) -> str:
    """Say what else may be meant: a column that is spelled alike, or the same of another table."""
    if owners := [
        entity_set.name
        for entity_set in siblings
        if name in {item.name for item in entity_set.properties}
    ]:
        return f"it is one of {', '.join(dict.fromkeys(owners[:_MOST_COLUMNS]))}"
    same = [column for column in columns if column.casefold() == name.casefold()]
    if hint := did_you_mean(name, same or columns, cutoff=0 if same else _NEARNESS_OF_COLUMNS):
        return hint
    shown = [log_safe(column) for column in columns][:_MOST_COLUMNS]
    return f"there are {', '.join(shown)}{', ...' if len(columns) > _MOST_COLUMNS else ''}"
