"""Audit data: INCREMENTAL on the time of the change."""

from __future__ import annotations

import json
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from singer_sdk.singerlib.catalog import REPLICATION_FULL_TABLE, REPLICATION_INCREMENTAL

from tap_sac.sac.errors import DataError, ResponseError, SACError
from tap_sac.sac.export.kinds import AUDIT_TIME
from tap_sac.sac.failures import Failure
from tap_sac.sac.odata.conditions import both
from tap_sac.safety.text import utc_text
from tap_sac.streams.entity_set import EntitySetStream

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.singerlib import Catalog

    from tap_sac.sac.export.tables import RowAt, Table
    from tap_sac.sac.odata.pages import Page


class AuditDataStream(EntitySetStream):
    """Who changed what."""

    replication_methods = (REPLICATION_FULL_TABLE, REPLICATION_INCREMENTAL)

    def __init__(self, tap: Tap, **parts: Any) -> None:
        """Make a stream with a replication key, if the entity set has the column for it.

        Args:
            tap: The tap that it belongs to.
            parts: As of `EntitySetStream`.
        """
        super().__init__(tap, **parts)
        times = [item for item in self.entity_set.properties if item.name == AUDIT_TIME]
        if times:
            self.replication_key = AUDIT_TIME
        self._has_time = bool(times)
        # How SAC wants times in filters is not documented: as OData has it, or as text.
        self._is_text = bool(times) and times[0].type == "Edm.String"

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        """Apply the catalog, which may lack the replication key that INCREMENTAL needs."""
        super().apply_catalog(catalog)
        if self._has_time and self.forced_replication_method == REPLICATION_INCREMENTAL:
            self.replication_key = AUDIT_TIME

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Read the rows, and refuse times that the bookmark could not go on from.

        Raises:
            SACError: As `read` does.
            DataError: If a row has no time.
        """
        for record in super().get_records(context):
            if self._is_incremental and not _is_time(record.get(AUDIT_TIME)):
                msg = (
                    f"A row of {self.name} has no time in {AUDIT_TIME}, from which the next run "
                    "could go on: replicate the stream FULL_TABLE."
                )
                raise DataError(msg)
            yield record

    @override
    def refusal(self, error: ResponseError, query: Mapping[str, str]) -> SACError:
        is_plain = not self.filter and not self.config.get("page_size")
        if is_plain and self._is_incremental and error.failure is Failure.BAD_REQUEST:
            msg = (
                f"SAC answered {error.reason} to each form of a filter on {AUDIT_TIME} of "
                f"{self.name}: replicate the stream FULL_TABLE."
            )
            return SACError(msg)
        return super().refusal(error, query)

    @override
    def check_bookmark(self) -> None:
        value = self.stream_state.get("replication_key_value")
        older = self.stream_state.get(AUDIT_TIME)
        if value is None and older is not None:
            time = older if _is_time(older) else "..."
            bookmark = {"replication_key": AUDIT_TIME, "replication_key_value": time}
            self.logger.warning(
                "The bookmark of %s is ignored, because it is in Singer's older form, with the "
                "time under %s: to continue from it, write %s instead.",
                self.name,
                AUDIT_TIME,
                json.dumps(bookmark),
            )
        if value is not None and not _is_time(value):
            msg = (
                f"The state of {self.name} does not hold a time in replication_key_value: remove "
                "the state of this stream, to read it from start_date on."
            )
            raise SACError(msg)

    @override
    def table(self, query: Mapping[str, str], *, track_changes: bool = False) -> Table:
        """Return the rows from the bookmark or start_date on, with the boundary itself."""
        start = self.get_starting_replication_key_value(None)
        if not self._is_incremental or start is None:
            return super().table(query)
        quotes = ["'"] if self._is_text else ["", "'"]
        make = super().table
        time = self._start_text(start)
        return _TimedTable([make(_since(time, quote, query)) for quote in quotes])

    @property
    def _is_incremental(self) -> bool:
        return self.replication_method == REPLICATION_INCREMENTAL

    def _start_text(self, start: str) -> str:
        """Write the time to start from: SAC's own text, unless it is that of a setting.

        An overlap reads again what SAC may have written late, with an earlier time.
        """
        overlap = self.config["audit_overlap"]
        is_of_sac = start == self.stream_state.get("replication_key_value")
        if is_of_sac and not overlap:
            return start
        return utc_text(start, seconds_earlier=overlap if is_of_sac else 0)


def _since(time: str, quote: str, query: Mapping[str, str]) -> dict[str, str]:
    condition = f"{AUDIT_TIME} ge {quote}{time}{quote}"
    return {**query, "$filter": both(query.get("$filter"), condition)}


class _TimedTable:
    """Rows after a time, which SAC takes in one of several forms."""

    def __init__(self, forms: list[Table]) -> None:
        self._table, *self._others = forms

    def pages(self) -> Iterator[Page]:
        pages = iter(self._table.pages())
        try:
            first = next(pages)
        except ResponseError as error:
            if error.status != HTTPStatus.BAD_REQUEST or not self._others:
                raise
            self._table, *self._others = self._others
            yield from self.pages()
        else:
            yield first
            yield from pages

    def count(self, *, is_filtered: bool = True) -> int | None:
        return self._table.count(is_filtered=is_filtered)

    def row_at(self, position: int) -> RowAt | None:
        return self._table.row_at(position)


def _is_time(value: Any) -> bool:  # noqa: ANN401  (of a state or a row)
    try:
        utc_text(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
