"""Target tables with several streams: which version their records have, and when to activate it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tap_sac.safety.text import folded, log_safe, plural
from tap_sac.singer.maps import applied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from logging import Logger

_NAMING = ("__source__", "__alias__")  # the entries of a map that name its table


@dataclass(frozen=True)
class Writer:
    """A stream that has rows in target tables.

    Attributes:
        stream: The stream name.
        tables: Its tables, after stream maps.
        version: The lowest version of a new read.
        obstacle: Why no run can tell which of its rows were deleted, and what to do; else None.
    """

    stream: str
    tables: Sequence[str]
    version: int = 0
    obstacle: str | None = None


class SharedTables:
    """The target tables to which stream maps send several streams.

    Activating a version removes all rows with other versions, of all streams. So the streams of a
    table share a version, which is activated after the last stream, if all were read completely.
    """

    def __init__(self, writers: Callable[[], Iterable[Writer]]) -> None:
        """Store the function that finds the writers; it is called for the first stream."""
        self._find_writers = writers
        self._proven: dict[str, int] = {}

    def version(self, stream: str, version: int) -> int:
        """Return the shared version of a new read of a stream; alone, it would have this one."""
        groups = self._groups.values()
        others = {item.stream for group in groups if stream in _names(group) for item in group}
        if not others:
            return version
        start = max(item.version for group in groups for item in group)
        # A repeated read has a later version.
        return max(version, start, *(self._proven.get(name, 0) for name in others))

    def activate(self, stream: str, tables: Sequence[str], version: int) -> list[str]:
        """Return the tables whose older rows may be removed, now that this stream is proven."""
        self._proven[stream] = version
        ready = []
        for table in tables:
            group = self._groups.get(folded(table))
            if group is None:
                ready.append(table)
            elif self._obstacle(group) is None:
                names = (name for item in group for name in item.tables)
                ready += [name for name in names if folded(name) == folded(table)]
        return [*dict.fromkeys(ready)]

    def warn(self, logger: Logger) -> None:
        """Warn, after the last stream, of tables that were read but keep rows deleted in SAC."""
        for table, group in self._groups.items():
            obstacle = self._obstacle(group)
            if obstacle and not self._proven.keys().isdisjoint(_names(group)):
                logger.warning(
                    "Rows no longer in SAC stay in the table %s of %s, because %s.",
                    log_safe(next(name for name in group[0].tables if folded(name) == table)),
                    plural(len(group), "stream"),
                    obstacle,
                )

    @cached_property
    def _groups(self) -> dict[str, list[Writer]]:
        """The streams of each table that has several; databases may be case-insensitive."""
        groups: dict[str, list[Writer]] = {}
        for writer in self._find_writers():
            for table in {*map(folded, writer.tables)}:
                groups.setdefault(table, []).append(writer)
        return {table: group for table, group in groups.items() if len(group) > 1}

    def _obstacle(self, group: Iterable[Writer]) -> str | None:
        for item in group:
            if item.obstacle:
                return f"{log_safe(item.stream)} {item.obstacle}"
        if unread := [item.stream for item in group if item.stream not in self._proven]:
            return f"{log_safe(unread[0])} was not read completely: a later run removes them"
        if len({self._proven[item.stream] for item in group}) > 1:
            return "a repeated or resumed read has another version: a later run removes them"
        return None


def _names(group: Iterable[Writer]) -> list[str]:
    return [item.stream for item in group]


def table_names(
    stream: str, config: Mapping[str, Any], make_mapper: Callable[[dict[str, Any], Logger], Any]
) -> list[str]:
    """Return the tables of a stream that is not read, by its name and stream maps alone.

    Args:
        stream: The stream name.
        config: The setting ``stream_maps``.
        make_mapper: Makes an SDK mapper, which evaluates aliases, from settings and a logger.
    """
    found = applied(stream, config)
    maps = {
        name: {part: definition[part] for part in _NAMING if part in definition}
        for name, definition in found.items()
        if isinstance(definition, dict)
    }
    own = [found[name] for name in found if "__source__" not in maps.get(name, ())]
    mapper = make_mapper({"stream_maps": maps}, logging.getLogger(__name__))
    try:
        mapper.register_raw_stream_schema(stream, {"properties": {}}, None)
    except Exception:  # noqa: BLE001  (of whatever an expression does with a name that is gone)
        return [stream]
    is_removed = bool(own) and not isinstance(own[-1], dict)
    return [item.stream_alias for item in mapper.stream_maps[stream]][is_removed:]
