"""Audit data: INCREMENTAL on the time of the change."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tap_sac.sac.errors import DataError, ResponseError, SACError
from tap_sac.sac.export.kinds import AUDIT_TIME
from tap_sac.sac.export.tables import Table
from tap_sac.sac.failures import Failure
from tap_sac.sac.odata.conditions import both
from tap_sac.safety.text import utc_text
from tap_sac.streams.state import digest

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator, Mapping

    import msgspec

    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.records import Record
    from tap_sac.streams.source import Source

# States are passed to other programs, so they must stay small.
_MOST_FUTURE_ROWS = 1_000


def check_bookmark(name: str, state: Mapping[str, Any], logger: logging.Logger) -> None:
    """Raise a `SACError` if the bookmark, from which an INCREMENTAL read starts, is not a time."""
    value, older = state.get("replication_key_value"), state.get(AUDIT_TIME)
    if value is None and older is not None:
        time = older if _is_time(older) else "..."
        bookmark = {"replication_key": AUDIT_TIME, "replication_key_value": time}
        logger.warning(
            "The bookmark of %s is ignored, because it has Singer's older format, with the time "
            "under %s: to continue from it, write %s instead.",
            name,
            AUDIT_TIME,
            json.dumps(bookmark),
        )
    if value is not None and not _is_time(value):
        msg = (
            f"The state of {name} has no valid time in replication_key_value: remove the state of "
            "this stream to read it from start_date on."
        )
        raise SACError(msg)


class FutureRows:
    """Makes sure that rows with a time after the start of the run are written only once.

    The bookmark stays before such a time, because rows with earlier times will follow; so SAC sends
    these rows to every run until that time.

    Attributes:
        found: The digests of these rows, for the next run.
    """

    def __init__(self, name: str, known: Iterable[str], started_at: int) -> None:
        """Store the digests of rows that earlier runs wrote, and the start of this run."""
        self.found: list[str] = []
        self._name = name
        self._known = Counter(known)
        start = datetime.fromtimestamp(started_at / 1000, timezone.utc)
        self._start = utc_text(start.isoformat())

    def without_known(self, records: Iterable[Record]) -> Iterator[Record]:
        """Drop rows that earlier runs wrote, or raise a `DataError` if a record has no time."""
        for record in records:
            time = record.get(AUDIT_TIME)
            if not isinstance(time, str) or not _is_time(time):
                msg = (
                    f"A row of {self._name} has no valid time in {AUDIT_TIME}, which the next run "
                    "needs to continue: replicate the stream FULL_TABLE."
                )
                raise DataError(msg)
            if utc_text(time) > self._start:
                row = digest(json.dumps(record, sort_keys=True, default=str))
                if len(self.found) < _MOST_FUTURE_ROWS:
                    self.found.append(row)
                if self._known[row]:
                    self._known[row] -= 1
                    continue
            yield record


def start_text(start: str, state: Mapping[str, Any], overlap: int) -> str:
    """Return the time to start from: SAC's own text, or the normalized setting start_date.

    The overlap is in seconds before the bookmark, because SAC may write rows late, with an earlier
    time.
    """
    is_of_sac = start == state.get("replication_key_value")
    if is_of_sac and not overlap:
        return start
    return utc_text(start, seconds_earlier=overlap if is_of_sac else 0)


class TimedTable(Table):
    """The rows from a time on, inclusive.

    It is not documented whether SAC expects times in filters as OData literals or as text.
    """

    def __init__(self, source: Source, query: Mapping[str, str], time: str) -> None:
        """Prepare the table; nothing is requested yet."""
        types = {item.name: item.type for item in source.entity_set.properties}
        quotes = ["'"] if types[AUDIT_TIME] == "Edm.String" else ["", "'"]
        self._name = source.name
        self._is_ours = not (source.filter or source.page_size)
        conditions = (f"{AUDIT_TIME} ge {quote}{time}{quote}" for quote in quotes)
        self._table, *self._others = (
            source.table({**query, "$filter": both(query.get("$filter"), condition)})
            for condition in conditions
        )

    @override
    def pages(self) -> Iterator[Page]:
        """Read the pages, with the first format of the time that SAC accepts, if any."""
        pages = iter(self._table.pages())
        try:
            first = next(pages)
        except ResponseError as error:
            if error.status == HTTPStatus.BAD_REQUEST and self._others:
                self._table, *self._others = self._others
                yield from self.pages()
                return
            if self._is_ours and error.failure is Failure.BAD_REQUEST:
                msg = (
                    f"SAC answered {error.reason} to every format of a filter on {AUDIT_TIME} of "
                    f"{self._name}: replicate the stream FULL_TABLE."
                )
                raise SACError(msg) from None
            raise
        yield first
        yield from pages

    @override
    def count(self, *, is_filtered: bool = True) -> int | None:
        return self._table.count(is_filtered=is_filtered)

    @override
    def row_at(self, position: int) -> list[msgspec.Raw] | None:
        return self._table.row_at(position)

    @override
    def first_rows(self, number: int, condition: str) -> list[msgspec.Raw] | None:
        return self._table.first_rows(number, condition)


def _is_time(value: Any) -> bool:  # noqa: ANN401  (of a state or a row)
    try:
        utc_text(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
