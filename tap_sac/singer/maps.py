"""Checks of stream maps before anything is read: with a sample of a deleted row, and batch files.

A deleted row has its key and the deletion mark, and null in every other column. A map that drops
it, fails on it or removes the mark would leave the row in the target.
"""

from __future__ import annotations

import ast
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, Protocol

from tap_sac.sac.errors import SACError
from tap_sac.safety.text import log_safe
from tap_sac.singer.schema import DELETED_AT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tap_sac.sac.odata.model import EntitySet

_MARK = "2026-01-01T00:00:00+00:00"
_SAMPLES = {"boolean": True, "integer": 1, "number": 1}


class StreamMap(Protocol):
    """A stream map of the SDK."""

    stream_alias: str
    transformed_key_properties: Sequence[str] | None

    def transform(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Return what becomes of a record; None if it is dropped."""


def check_deletions(
    stream: str,
    stream_maps: Sequence[StreamMap],
    config: Mapping[str, Any],
    *,
    entity_set: EntitySet,
    schema: Mapping[str, Any],
    needs_key: bool,
) -> None:
    """Check that deleted rows pass through the stream maps of a stream.

    Args:
        stream: Its name.
        stream_maps: What the SDK made of the setting for it.
        config: The setting ``stream_maps``.
        entity_set: Its columns and key.
        schema: Their JSON Schema.
        needs_key: Whether targets find rows by a key.

    Raises:
        SACError: If a map would lose them.
    """
    definitions = [item for item in applied(stream, config).values() if isinstance(item, dict)]
    for definition in definitions:
        if definition.get(DELETED_AT.name, DELETED_AT.name) != DELETED_AT.name:
            msg = (
                f"The stream map of {stream} sets {DELETED_AT.name}, which marks deleted rows: "
                "remove it from the setting stream_maps."
            )
            raise SACError(msg)
    if not definitions:
        return
    deletion = {column.name: None for column in entity_set.properties}
    key = {name: _sample(schema["properties"][name]) for name in entity_set.key}
    for stream_map in stream_maps:
        try:
            mapped = stream_map.transform({**deletion, **key, DELETED_AT.name: _MARK})
        except Exception as error:  # noqa: BLE001  (of whatever an expression does)
            reason = log_safe(f"{type(error).__name__}: {error.__cause__ or error}")
            msg = (
                f"The stream map of {stream} fails on deleted rows, whose measures are null "
                f"({reason}): let its filter begin with '{DELETED_AT.name} is not None or', and "
                f"write expressions like 'None if {DELETED_AT.name} is not None else AMOUNT * "
                "1000'."
            )
            raise SACError(msg) from None
        if mapped is None:
            _check_dropped(stream, definitions, set(entity_set.key))
        elif mapped.get(DELETED_AT.name) != _MARK:
            msg = (
                f"The stream map of {stream} leaves out {DELETED_AT.name} (by __else__), which "
                f"marks deleted rows: add '{DELETED_AT.name}: {DELETED_AT.name}' to it."
            )
            raise SACError(msg)
        elif needs_key:
            _check_key(stream, stream_map.transformed_key_properties, mapped)


def check_single_table(stream: str, stream_maps: Sequence[StreamMap]) -> None:
    """Check that stream maps make no further stream, which batch files have no place for.

    Args:
        stream: The name of the stream.
        stream_maps: What the SDK makes of the setting for it.

    Raises:
        SACError: If they do.
    """
    if others := ", ".join(stream_map.stream_alias for stream_map in stream_maps[1:]):
        msg = (
            f"The setting stream_maps makes further streams of {stream} with __source__ "
            f"({others}), which batch_config cannot write: remove them from stream_maps, or "
            "unset batch_config."
        )
        raise SACError(msg)


def _check_key(stream: str, names: Sequence[str] | None, deletion: Mapping[str, Any]) -> None:
    """Refuse a map without a key, or with one that deleted rows do not have."""
    lacking = [name for name in names or () if deletion.get(name) is None]
    if names and not lacking:
        return
    what = f"makes {lacking[0]} a part of" if lacking else "takes away"
    why = "which deleted rows do not have" if lacking else "by which targets find changed rows"
    msg = (
        f"The stream map of {stream} {what} the key (__key_properties__), {why}: make the key of "
        "SAC's key columns, or replicate the stream FULL_TABLE."
    )
    raise SACError(msg)


def applied(stream: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the maps that the SDK applies to a stream, by its name, a glob or as their source.

    A copy of a rule in the SDK's mapper, with which tests/project/test_sdk.py compares it.
    """
    found = {}
    for name, definition in config.items():
        source = definition.get("__source__", name) if isinstance(definition, dict) else name
        if source == stream or fnmatch(stream, source):
            found[name] = definition
    return found


def _check_dropped(stream: str, definitions: list[dict[str, Any]], key: set[str]) -> None:
    """Refuse a filter that drops deleted rows, unless it goes by the key, which they have."""
    for definition in definitions:
        rule = definition.get("__filter__")
        if rule and not _names(rule) <= key:
            msg = (
                f"The stream map of {stream} drops deleted rows, so that they would stay in the "
                f"target: write its filter as '{DELETED_AT.name} is not None or ({rule})'."
            )
            raise SACError(msg)


def _names(expression: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Name)}


def _sample(schema: Mapping[str, Any]) -> object:
    types = schema["type"]
    name = types if isinstance(types, str) else next(item for item in types if item != "null")
    return _SAMPLES.get(name, "#")
