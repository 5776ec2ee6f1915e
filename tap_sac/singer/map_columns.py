"""Checks columns and names in stream maps: misspellings add columns, or fail on each row."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import SACError
from tap_sac.safety.text import did_you_mean, folded
from tap_sac.singer.maps import applied, names_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from logging import Logger

    from tap_sac.singer.maps import DefinedMap

_NEARNESS = 0.5
_NEARNESS_OF_OPERATIONS = 0.85
_OPERATIONS = ("__alias__", "__else__", "__filter__", "__key_properties__", "__source__")
# What expressions may read besides columns and functions.
_NAMES = {"_", "record", "config", "fake", "__stream_name__", "__original_stream_name__"}


def check_columns(
    config: Mapping[str, Any], tables: Mapping[str, Collection[str]], logger: Logger
) -> None:
    """Check the columns of stream maps: a misspelling would add a column, or remove nothing.

    Raises:
        SACError: If one differs from a column of SAC only by case, blanks or normal form, or looks
            like an operation such as ``__filter__``.
    """
    for name, definition in config.items():
        fitting = [stream for stream in tables if applied(stream, {name: definition})]
        for column in definition if isinstance(definition, dict) and fitting else ():
            if column.startswith("__"):
                _check_operation(name, column)
                continue
            lacking = [stream for stream in fitting if column not in tables[stream]]
            for stream in lacking:
                _check_spelling(stream, column, definition, tables[stream])
            if len(lacking) == len(fitting) and definition[column] in {None, "__NULL__"}:
                hint = did_you_mean(column, tables[lacking[0]], cutoff=_NEARNESS)
                logger.warning(
                    "The stream map %r removes the column %r, which its streams do not have%s",
                    name,
                    column,
                    f": {hint}" if hint else ".",
                )


def check_names(
    stream: str, maps: Iterable[DefinedMap], columns: Collection[str], logger: Logger
) -> None:
    """Check the names in expressions: an unknown name would fail on each row.

    Raises:
        SACError: If a map of this stream alone reads an unknown name, or a map misspells a column.
    """
    for pattern, stream_map, definition in maps:
        is_of_this_alone = stream in {pattern, definition.get("__source__")}
        known = {*columns, *getattr(stream_map, "functions", ()), *_NAMES}
        for place, text in definition.items():
            is_expression = place == "__filter__" or not place.startswith("__")
            if not is_expression or text in {None, "__NULL__"}:
                continue
            own = {"self"} if place in columns else set()
            for name in sorted(names_in(text, ()) - known - own):
                alike = _alike(name, columns)
                msg = (
                    f"The stream map of {stream} reads {name!r} for {place}, which is not a column "
                    f"of its rows: {f'did you mean {alike[0]}?' if alike else 'correct it.'}"
                )
                if is_of_this_alone or alike:
                    raise SACError(msg)
                logger.warning("%s", msg)


def _check_operation(name: str, word: str) -> None:
    if word in _OPERATIONS:
        return
    if hint := did_you_mean(word.lower(), _OPERATIONS, cutoff=_NEARNESS_OF_OPERATIONS):
        msg = f"The stream map {name!r} has {word!r}, which would be a new column: {hint}"
        raise SACError(msg)


def _alike(name: str, columns: Collection[str]) -> list[str]:
    return [other for other in columns if folded(other) == folded(name)]


def _check_spelling(
    stream: str, column: str, definition: Mapping[str, Any], known: Collection[str]
) -> None:
    """Refuse a column that looks like one of SAC's, unless the map names that one, too."""
    alike = _alike(column, known)
    leaves_out_others = definition.get("__else__", "") in {None, "__NULL__"}
    if not alike or leaves_out_others or any(name in definition for name in alike):
        return
    same = unicodedata.normalize("NFC", column) == unicodedata.normalize("NFC", alike[0])
    shown, right = map(ascii if same else repr, (column, alike[0]))
    msg = (
        f"The stream map of {stream} names the column {shown}, which SAC spells {right}: correct "
        "it in the setting stream_maps."
    )
    raise SACError(msg)
