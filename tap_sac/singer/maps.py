"""Stream maps: which ones apply to a stream, and whether deleted rows of LOG_BASED pass them.

A deleted row has its key, the deletion mark, and null in all other columns. If a map drops it,
fails on it or changes its key, the row stays in the target.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tap_sac.sac.errors import DataError, SACError
from tap_sac.safety.text import log_safe
from tap_sac.singer.schema import DELETED_AT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from logging import Logger

    from tap_sac.sac.odata.model import EntitySet

_Message = TypeVar("_Message")

_MARK = "2026-01-01T00:00:00+00:00"
# Sample values of a key, by format or type; an expression that works with SAC's may fail on one.
_SAMPLES: tuple[dict[str, object], ...] = (
    {
        "boolean": True,
        "integer": 987_654_321,
        "number": 987_654_321,
        "string": "#",
        "date": "2026-01-01",
        "date-time": _MARK,
        "x-singer.decimal": "987654321",
    },
    {
        "boolean": False,
        "integer": -987_654_321,
        "number": -987_654_321,
        "string": "202601",
        "date": "1999-12-31",
        "date-time": "1999-12-31T23:59:59Z",
        "x-singer.decimal": "-987654321",
    },
)


class StreamMap(Protocol):
    """A stream map of the SDK."""

    stream_alias: str
    transformed_key_properties: Sequence[str] | None

    def transform(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Return the transformed record; None if it is dropped."""


DefinedMap = tuple[str, StreamMap, dict[str, Any]]


@dataclass(frozen=True)
class MappedDeletions:
    """Checks what stream maps do to the deleted rows of a stream.

    Attributes:
        maps: The maps that change records (`defined`).
        entity_set: Its columns and key.
        needs_key: Whether targets deduplicate by key.
    """

    stream: str
    maps: Sequence[DefinedMap]
    entity_set: EntitySet
    schema: Mapping[str, Any]
    needs_key: bool

    def check_settings(self) -> None:
        """Raise a `SACError` if a map sets or removes the deletion mark, or removes the key."""
        for _, stream_map, definition in self.maps:
            if definition.get(DELETED_AT.name, DELETED_AT.name) != DELETED_AT.name:
                msg = (
                    f"The stream map of {self.stream} sets {DELETED_AT.name}, which marks deleted "
                    "rows: remove it from the setting stream_maps."
                )
                raise SACError(msg)
            if self.needs_key and not stream_map.transformed_key_properties:
                msg = (
                    f"The stream map of {self.stream} removes the key (__key_properties__), which "
                    "targets need to update rows: build it from SAC's key columns, or replicate "
                    "the stream FULL_TABLE."
                )
                raise SACError(msg)

    def warn(self, logger: Logger) -> None:
        """Warn of a map that fails on, drops or re-keys any deleted row, tried with sample rows."""
        problems = []
        for samples in _SAMPLES:
            properties = self.schema["properties"]
            key = {name: _sample(properties[name], samples) for name in self.entity_set.key}
            nulls: dict[str, Any] = {column.name: None for column in self.entity_set.properties}
            problems.append(self._problem({**nulls, **key, DELETED_AT.name: _MARK}))
        if all(problems):
            logger.warning(
                "%s will fail at the first deleted row: its stream map %s.",
                self.stream,
                problems[0],
            )

    def check(self, deletion: Mapping[str, Any]) -> None:
        """Raise a `DataError` if the maps do not pass a deleted row on, under its own key."""
        if deletion.get(DELETED_AT.name) is None:
            return
        if problem := self._problem(deletion):
            msg = f"The stream map of {self.stream} {problem}. The next run reads the whole table."
            raise DataError(msg)

    def _problem(self, deletion: Mapping[str, Any]) -> str | None:
        for _, stream_map, definition in self.maps:
            try:
                mapped = stream_map.transform(dict(deletion))
            except Exception as error:  # noqa: BLE001  (of whatever an expression does)
                return (
                    f"fails on a deleted row ({_reason(error)}): write 'None if {DELETED_AT.name} "
                    f"else ...' in expressions, '{DELETED_AT.name} or ...' in filters"
                )
            rule = definition.get("__filter__")
            if mapped is None:
                if not rule or self._reads_only_key(rule):
                    continue
                return (
                    "drops a deleted row, which would stay in the target: write its filter as "
                    f"'{DELETED_AT.name} or ({rule})'"
                )
            names = stream_map.transformed_key_properties or ()
            if self.needs_key and not all(self._has_value(name, definition) for name in names):
                return (
                    f"gives a deleted row a different key ({', '.join(names)}): build "
                    "__key_properties__ from SAC's key columns alone, or replicate the stream "
                    "FULL_TABLE"
                )
        return None

    def _has_value(self, name: str, definition: Mapping[str, Any]) -> bool:
        """Return whether a key column has the same value in a deleted row as before."""
        expression = definition.get(name)
        if isinstance(expression, str):
            return self._reads_only_key(expression, of=name)
        return name in self.entity_set.key

    def _reads_only_key(self, expression: str, *, of: str = "") -> bool:
        """Return whether the expression of a column or filter reads only SAC's key columns."""
        key = {*self.entity_set.key}
        lacking = {column.name for column in self.entity_set.properties} - key
        lacking |= {DELETED_AT.name, "record", "_", "fake"} | (set() if of in key else {"self"})
        return lacking.isdisjoint(names_in(expression, key))


def defined(
    stream: str, stream_maps: Sequence[StreamMap], config: Mapping[str, Any]
) -> Iterator[DefinedMap]:
    """Return the maps that change records, each with its name in the setting and definition."""
    definitions = [*applied(stream, config).items()]
    own = [item for item in definitions if not _has_source(item[1])][-1:] or [("", None)]
    others = [item for item in definitions if _has_source(item[1])]
    for stream_map, (name, definition) in zip(stream_maps, [*own, *others], strict=True):
        if isinstance(definition, dict):
            yield name, stream_map, definition


def check_single_table(stream: str, stream_maps: Sequence[StreamMap]) -> None:
    """Raise a `SACError` if stream maps copy a stream: batch files have one table."""
    if others := ", ".join(stream_map.stream_alias for stream_map in stream_maps[1:]):
        msg = (
            f"The setting stream_maps copies {stream} into further streams ({others}), which "
            "batch_config cannot write: remove their __source__, or unset batch_config."
        )
        raise SACError(msg)


def applied(stream: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the maps that the SDK applies to a stream, by its name, a glob or `__source__`.

    This copies a rule of the SDK's mapper; tests/project/test_sdk.py compares both.
    """
    found = {}
    for name, definition in config.items():
        source = definition["__source__"] if _has_source(definition) else name
        if source == stream or fnmatch(stream, source):
            found[name] = definition
    return found


def mapped(stream: str, messages: Iterable[_Message]) -> list[_Message]:
    """Make the messages of a record by the stream maps, or raise a `DataError` if they fail."""
    try:
        return [*messages]
    except Exception as error:  # noqa: BLE001  (of whatever an expression does)
        msg = (
            f"The stream map of {stream} fails on a row ({_reason(error)}): correct the expression "
            "in the setting stream_maps."
        )
        raise DataError(msg) from None


def _reason(error: Exception) -> str:
    """Return why an expression failed, without the SDK's wrapping error."""
    cause = error.__cause__ or error
    return log_safe(f"{type(cause).__name__}: {cause}")


def _has_source(definition: object) -> bool:
    return isinstance(definition, dict) and "__source__" in definition


def names_in(expression: str, key: Collection[str]) -> set[str]:
    """Return the names that an expression reads, but for key columns read from the record."""
    nodes = [*ast.walk(ast.parse(expression))]
    of_key = [_record_of(node, key) for node in nodes]
    names = [node for node in nodes if isinstance(node, ast.Name) and node not in of_key]
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)}  # by a comprehension
    return {node.id for node in names} - made


def _record_of(node: ast.AST, key: Collection[str]) -> ast.Name | None:
    """Find the name in `record['KEY']` or `record.get('KEY')`, if that is a key column."""
    match node:
        case (
            ast.Subscript(value=ast.Name() as name, slice=ast.Constant(value=column))
            | ast.Call(
                func=ast.Attribute(value=ast.Name() as name, attr="get"),
                args=[ast.Constant(value=column), *_],
            )
        ):
            return name if column in key else None
    return None


def _sample(schema: Mapping[str, Any], samples: Mapping[str, object]) -> object:
    types = schema.get("type", "string")
    kinds = [schema.get("format"), *([types] if isinstance(types, str) else types), "string"]
    return next(samples[kind] for kind in kinds if kind in samples)
