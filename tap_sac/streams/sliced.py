"""Reads a table in slices: several at a time, written in order, and resumable."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from operator import eq
from typing import TYPE_CHECKING

from tap_sac.sac.errors import DataError
from tap_sac.sac.failures import Failure
from tap_sac.sac.odata.conditions import both, differs, equals
from tap_sac.safety.text import plural
from tap_sac.singer.records import END_OF_SLICE, PageRecords
from tap_sac.streams.column_values import MOST_VALUES, ColumnValues
from tap_sac.streams.full import FullRead
from tap_sac.streams.progress import Progress
from tap_sac.streams.reading import Outcome, Verdict
from tap_sac.streams.slice_reader import SliceReader
from tap_sac.streams.slices import Slice, SliceError, Slices
from tap_sac.streams.state import UnfinishedRead, digest
from tap_sac.streams.totals import warn_uncompared

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator, Sequence

    from tap_sac.sac.odata.conditions import Value
    from tap_sac.singer.records import RecordMaker, Records
    from tap_sac.streams.reading import Reading
    from tap_sac.streams.slice_reader import Slicing

# The maximum number of times to ask for new values.
_MOST_ROUNDS = 5


class SlicedRead:
    """A read of all rows of a table in slices, or in one go if slices are impossible.

    Attributes:
        version: The version of its rows; None without versions.
    """

    def __init__(self, reading: Reading, slicing: Slicing) -> None:
        """Prepare a read, or resume that of an earlier run if its query is the same."""
        self.version = reading.version
        self._reading = reading
        self._slicing = slicing
        self._column = slicing.column
        self._values = ColumnValues(slicing.source, slicing.column)
        self._known: set[Value] = set()
        self._query_hash = digest(slicing.query)
        self._started_at = slicing.started_at
        self._is_resumed = False
        self._done: dict[str, int] = {}
        self._is_fixed = slicing.column.name in reading.source.key
        self._table = reading.source.table(reading.query)
        self._reader = SliceReader(reading, self._table, slicing.column.name)
        self._watch = self._reader.watch
        self._slices = Slices(reading, self._table, self._watch, is_fixed=self._is_fixed)
        self._pages = self._rows = 0
        self._progress = Progress(reading.name, reading.logger)
        self._resume()

    def records(self) -> Generator[Records, None, Outcome]:
        """Read the records like `FullRead`, slice by slice, with `END_OF_SLICE` after each."""
        reading = self._reading
        values = self._values.find()
        if values and len(values) <= MOST_VALUES:
            try:
                with closing(self._watch):
                    return (yield from self._sliced(values))
            except SliceError as error:
                if self._rows and not reading.has_key:
                    msg = f"{error}, and without a key, a read in one go would duplicate rows"
                    raise DataError(msg, Failure.PARTIAL_SLICES) from None
                obstacle = str(error)
        elif values:
            obstacle = f"{self._column.name} has more than {MOST_VALUES:,} values"
        else:
            obstacle = f"SAC lists no values of {self._column.name}"
        reading.logger.warning("The table of %s is read in one go: %s.", reading.name, obstacle)
        whole = FullRead(replace(reading, version=self.version), table=self._table)
        return (yield from whole.records())

    def _resume(self) -> None:
        """Resume the read of an earlier run, if its query is the same.

        An incomplete slice is read again, so there must be a key. And rows must not be able to move
        from an unread slice to a finished one.
        """
        reading = self._reading
        state = reading.state()
        earlier = state.unfinished
        if earlier is None or not self._can_resume or state.has_completed(earlier.version):
            return
        obstacle = earlier.obstacle(
            self._query_hash, self._started_at, has_versions=reading.version is not None
        )
        if obstacle:
            reading.logger.info(
                "%s: reading all slices instead of resuming an earlier read, because %s.",
                reading.name,
                obstacle,
            )
            return
        self._is_resumed = True
        self.version = earlier.version
        self._started_at = earlier.started_at
        self._done = dict(earlier.done)
        begin = datetime.fromtimestamp(earlier.started_at / 1000, timezone.utc)
        reading.logger.info(
            "%s: resuming the read that started at %s, after %s.",
            reading.name,
            begin.isoformat(timespec="seconds"),
            plural(len(self._done), "slice"),
        )

    @property
    def _can_resume(self) -> bool:
        return self._reading.has_key and self._is_fixed

    def _sliced(self, values: Collection[Value]) -> Generator[Records, None, Outcome]:
        reading, slices = self._reading, self._slices
        if not self._is_resumed:
            reading.discard_unfinished()
        sums = reading.totals.begin() if reading.totals else None
        maker = reading.make(sums, self._reader.on_keys)
        slices.count_whole()
        whole = slices.counts[0] if slices.counts else 0
        self._progress.expected = max(0, whole - sum(self._done.values()))
        yield from self._read_values(values, maker)
        yield from self._read_new(maker)
        slices.count_whole()
        if slices.are_incomplete:
            yield from self._read_rest(maker)
            slices.count_whole()
        verdict = self._judge()
        if reading.totals and slices.rows_of_earlier_run:
            why = "an earlier run read some of the rows: the next full read compares them"
            warn_uncompared(reading.name, reading.logger, why)
        elif reading.totals:
            reading.totals.compare(reading.logger, fails=reading.fails)
        return Outcome(
            verdict,
            slices.rows,
            self.version,
            verdict is Verdict.PROVEN,
            rows_of_earlier_run=slices.rows_of_earlier_run,
        )

    def _read_values(self, values: Collection[Value], maker: RecordMaker) -> Iterator[Records]:
        """Read the slices of some values, in the order of the values."""
        self._known.update(values)
        return self._read(
            [
                self._slice(equals(self._column, value), partial(eq, value))
                for value in sorted(values, key=_order)
            ],
            maker,
        )

    def _read_rest(self, maker: RecordMaker) -> Iterator[Records]:
        """Read the rows that are in no slice: the list of values may be truncated."""
        known = [*self._known]
        rest = self._slice(differs(self._column, known), lambda value: value not in known)
        if self._slicing.source.has_room_for(self._filtered(rest.condition)):
            yield from self._read([rest], maker)
        elif self._slices.counts:
            msg = f"SAC does not list all values of {self._column.name}"
            raise SliceError(msg)

    def _read(self, slices: Sequence[Slice], maker: RecordMaker) -> Iterator[Records]:
        """Read some slices, and save which ones are done."""
        self._slices.read += slices
        ahead = self._slicing.read_ahead({item: item.pages for item in slices})
        with closing(ahead):
            for item in slices:
                for page in self._reader.pages(item, ahead):
                    self._rows += len(page.items)
                    self._pages += 1
                    yield PageRecords(page, maker)
                    self._progress.add(page)
                yield END_OF_SLICE
                self._save(item)

    def _read_new(self, maker: RecordMaker) -> Iterator[Records]:
        """Read the slices of new values, until there are none."""
        for _ in range(_MOST_ROUNDS):
            new = (self._values.find() or set()) - self._known
            if not new or len(self._known) + len(new) > MOST_VALUES:
                return
            self._reading.logger.info(
                "%s: SAC lists %s of %s.",
                self._reading.name,
                plural(len(new), "new value"),
                self._column.name,
            )
            yield from self._read_values(new, maker)

    def _slice(self, condition: str, has: Callable[[object], bool]) -> Slice:
        known_rows = self._done.get(digest(condition))
        query = self._filtered(condition)
        return Slice(self._slicing.source, query, condition, has, known_rows)

    def _filtered(self, condition: str) -> dict[str, str]:
        query = self._reading.query
        return {**query, "$filter": both(query.get("$filter"), condition)}

    def _save(self, item: Slice) -> None:
        """Save that a slice is done, so that another run can resume the read."""
        self._done.pop(item.id, None)
        if item.is_proven:
            self._done[item.id] = item.rows
        if self._done and self._can_resume:
            done = dict(self._done)
            unfinished = UnfinishedRead(self.version, self._query_hash, self._started_at, done)
            self._reading.save(self._reading.state().slicing(unfinished))

    def _judge(self) -> Verdict:
        """Return whether the slices are proven to be the whole table, and log the result."""
        reading, slices = self._reading, self._slices
        earlier = slices.rows_of_earlier_run
        reading.logger.info(
            "%s: %s read%s, %s, %s, %s by %s.",
            reading.name,
            plural(self._rows, "row"),
            f" after {earlier:,} of an earlier run" if earlier else "",
            f"{slices.counts[-1]:,} counted by SAC" if slices.counts else "not counted by SAC",
            plural(self._pages, "page"),
            plural(len(slices.read), "slice"),
            self._column.name,
        )
        uncounted = "SAC does not count it" if reading.source.is_counted else "verify_counts is off"
        verdict, doubt = slices.judge(uncounted)
        if verdict is Verdict.PROVEN and self._has_repeated_keys:
            verdict = Verdict.UNPROVEN
            doubt = "keys were sent twice, so rows may have moved between slices"
        if verdict is Verdict.PROVEN:
            return verdict
        stay = ", so rows that are no longer in SAC stay in the target"
        reading.logger.warning(
            "The slices of %s by %s are not proven to be the whole table%s: %s.",
            reading.name,
            self._column.name,
            "" if self.version is None else stay,
            doubt,
        )
        return verdict

    @property
    def _has_repeated_keys(self) -> bool:
        """Whether a key is in two slices; each slice is checked for repeated keys on its own."""
        once = sum(item.rows for item in self._slices.read if not item.is_unchanged)
        return self._watch.count_keys() < (once if self._is_fixed else self._watch.rows)


def _order(value: Value) -> tuple[bool, Value]:
    """Sort nulls first, and values of one type as usual."""
    return value is not None, value
