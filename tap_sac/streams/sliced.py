"""A full read in slices: several at a time, written in order, and resumed by the next run."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from operator import eq
from typing import TYPE_CHECKING

from tap_sac.sac.errors import DataError, ResponseError
from tap_sac.sac.export.column_values import MOST_VALUES
from tap_sac.sac.failures import Failure
from tap_sac.sac.odata.conditions import both, differs, equals
from tap_sac.sac.odata.pages import read_rows
from tap_sac.safety.text import log_safe, plural
from tap_sac.singer.records import END_OF_SLICE, PageRecords
from tap_sac.streams.full import FullRead
from tap_sac.streams.progress import Progress
from tap_sac.streams.proof import Proof
from tap_sac.streams.reading import Outcome, Verdict
from tap_sac.streams.slices import Slice, SliceError, Slices
from tap_sac.streams.state import UnfinishedRead, digest
from tap_sac.streams.totals import warn_uncompared

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence

    from tap_sac.read_ahead import ReadAhead
    from tap_sac.sac.export.kinds import Kind
    from tap_sac.sac.odata.conditions import Value
    from tap_sac.sac.odata.model import Property
    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.records import RecordMaker, Records
    from tap_sac.streams.reading import Reading
    from tap_sac.streams.source import Source

# How often the values are asked for again, as long as new ones come up.
_MOST_ROUNDS = 5


@dataclass(frozen=True)
class Slicing:
    """How a table is read in slices.

    Attributes:
        column: The column whose values make the slices.
        source: What has the column.
        query: All that decides on the rows and their output, in a text.
        started_at: When the run started, in milliseconds since 1970.
        read_ahead: Makes what reads several slices at a time.
    """

    column: Property
    source: Source
    query: str
    started_at: int
    read_ahead: Callable[[Mapping[Slice, Callable[[], Iterator[Page]]]], ReadAhead[Page]]


def hindrance_to_slices(kind: Kind, columns: Collection[str], column: str) -> str | None:
    """Say why a table cannot be read in slices; None if it can."""
    if kind.is_hierarchy:
        return "a place in a hierarchy is not known before all members are"
    if kind.needs_select and column not in columns:
        return "SAC adds up rows over a column that is deselected"
    return None


class SlicedRead:
    """A read of all rows of a table in slices; in one go, where that cannot be.

    Attributes:
        version: The version of its rows; None without versions.
    """

    def __init__(self, reading: Reading, slicing: Slicing) -> None:
        """Prepare a read, and resume that of an earlier run if it asks for the same."""
        self.version = reading.version
        self._reading = reading
        self._slicing = slicing
        self._column = slicing.column
        self._values = slicing.source.column_values(slicing.column)
        self._known: set[Value] = set()
        self._query_hash = digest(slicing.query)
        self._started_at = slicing.started_at
        self._is_resumed = False
        self._done: dict[str, int] = {}
        self._is_fixed = slicing.column.name in reading.source.key
        self._table = reading.source.table(reading.query)
        self._watch = Proof(reading, self._table)
        self._slices = Slices(reading, self._table, self._watch, is_fixed=self._is_fixed)
        self._pages = self._rows = 0
        self._resume()

    def records(self) -> Generator[Records, None, Outcome]:
        """Read the records, slice by slice, and `END_OF_SLICE` after each slice.

        Raises:
            UnknownEntitySetError: If SAC does not serve the entity set.
            DataError: If the read is disproved, or a row does not fit.
            SACError: If SAC refuses.
        """
        reading = self._reading
        values = self._values.find()
        if values and len(values) <= MOST_VALUES:
            try:
                return (yield from self._sliced(values))
            except SliceError as error:
                if self._rows and not reading.has_key:
                    msg = f"{error}, and without a key, rows would come twice in one go"
                    raise DataError(msg, Failure.PARTIAL_SLICES) from None
                hindrance = str(error)
        elif values:
            hindrance = f"{self._column.name} has more than {MOST_VALUES:,} values"
        else:
            hindrance = f"SAC lists no values of {self._column.name}"
        reading.logger.warning("The table of %s is read in one go: %s.", reading.name, hindrance)
        whole = FullRead(replace(reading, version=self.version), table=self._table)
        return (yield from whole.records())

    def _resume(self) -> None:
        """Continue the read of an earlier run, if it asks for the same.

        The rows of a slice that was not complete come again, so there must be a key. Nor may rows
        move from a slice that is left to one that is done.
        """
        reading = self._reading
        state = reading.state()
        earlier = state.unfinished
        if earlier is None or not self._can_resume or state.has_completed(earlier.version):
            return
        hindrance = earlier.hindrance(
            self._query_hash, self._started_at, has_versions=reading.version is not None
        )
        if hindrance:
            reading.logger.info(
                "%s: all slices are read, and not only those that an earlier run left, because %s.",
                reading.name,
                hindrance,
            )
            return
        self._is_resumed = True
        self.version = earlier.version
        self._started_at = earlier.started_at
        self._done = dict(earlier.done)
        begin = datetime.fromtimestamp(earlier.started_at / 1000, timezone.utc)
        reading.logger.info(
            "%s: resuming the read that began at %s, after %s.",
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
        maker = reading.make(reading.totals.begin() if reading.totals else None)
        slices.count_whole()
        if reading.suspects_repeated_keys(slices.counts[0] if slices.counts else None):
            self._watch.watch_keys()
        yield from self._read_values(values, maker)
        yield from self._read_new(maker)
        slices.count_whole()
        if slices.lack_rows:
            yield from self._read_rest(maker)
            slices.count_whole()
        verdict = self._judge()
        if reading.totals and slices.rows_of_earlier_run:
            why = "an earlier run read a part of it: the next full read compares them"
            warn_uncompared(reading.name, reading.logger, why)
        elif reading.totals:
            reading.totals.settle(reading.name, reading.logger, fails=reading.fails)
        return Outcome(verdict, slices.rows, self.version, verdict is Verdict.PROVEN)

    def _read_values(self, values: Collection[Value], maker: RecordMaker) -> Iterator[Records]:
        """Read the slices of some values, in the order of those."""
        self._known.update(values)
        return self._read(
            [
                self._slice(equals(self._column, value), partial(eq, value))
                for value in sorted(values, key=_order)
            ],
            maker,
        )

    def _read_rest(self, maker: RecordMaker) -> Iterator[Records]:
        """Read the rows that no slice has: the list of values may be truncated.

        Raises:
            SliceError: If SAC counts such rows, and their condition is too long.
        """
        known = [*self._known]
        rest = self._slice(differs(self._column, known), lambda value: value not in known)
        if self._slicing.source.has_room_for(self._filtered(rest.condition)):
            yield from self._read([rest], maker)
        elif self._slices.counts:
            msg = f"SAC does not list all values of {self._column.name}"
            raise SliceError(msg)

    def _read(self, slices: Sequence[Slice], maker: RecordMaker) -> Iterator[Records]:
        """Read some slices, and keep what is done."""
        self._slices.read += slices
        progress = Progress(self._reading.name, self._reading.logger)
        ahead = self._slicing.read_ahead({item: item.pages for item in slices})
        with closing(ahead):
            for item in slices:
                for page in self._pages_of(item, ahead):
                    self._rows += len(page.items)
                    self._pages += 1
                    yield PageRecords(page, maker)
                    progress.add(len(page.items), page.server_milliseconds)
                yield END_OF_SLICE
                self._save(item)

    def _read_new(self, maker: RecordMaker) -> Iterator[Records]:
        """Read the slices of values that were not there before, until there are no new ones."""
        for _ in range(_MOST_ROUNDS):
            new = (self._values.find() or set()) - self._known
            if not new or len(self._known) + len(new) > MOST_VALUES:
                return
            self._reading.logger.info(
                "%s: SAC lists %s of %s that are new.",
                self._reading.name,
                plural(len(new), "value"),
                self._column.name,
            )
            yield from self._read_values(new, maker)

    def _slice(self, condition: str, has: Callable[[object], bool]) -> Slice:
        query = self._filtered(condition)
        known_rows = self._done.get(digest(condition))
        return Slice(condition, has, lambda: self._slicing.source.table(query), known_rows)

    def _filtered(self, condition: str) -> dict[str, str]:
        query = self._reading.query
        return {**query, "$filter": both(query.get("$filter"), condition)}

    def _pages_of(self, item: Slice, ahead: ReadAhead[Page]) -> Iterator[Page]:
        """Read a slice, and compare it with SAC's count after its last page.

        Raises:
            SliceError: If SAC refuses it, or answers with rows of another one.
            DataError: If it is proven not to be whole, or a key has several facts.
            SACError: If SAC refuses a later page, or the client.
        """
        reading = self._reading
        proof = Proof(reading, item.table, f"{reading.name} ({item})")
        is_first = True
        try:
            for page in ahead.read(item, item.pages):
                self._check_value(item, page)
                is_first = False
                proof.add(page)
                self._watch.add(replace(page, count=None))
                yield page
        except ResponseError as error:
            if not is_first or error.is_denied:
                raise
            msg = f"SAC answered {error.reason} to the slice {item}"
            raise SliceError(msg) from None
        if not item.is_unchanged:
            item.settle(proof)

    def _check_value(self, item: Slice, page: Page) -> None:
        """See by two rows that a page is of its slice: SAC ignores what it does not know.

        Raises:
            SliceError: If it is of another one.
        """
        name = self._column.name
        if name not in self._reading.columns:
            return
        for row in read_rows([*page.items[:1], *page.items[-1:]], page.source):
            if not item.has(row.get(name)):
                msg = f"SAC answered to the slice {item} with rows of {row.get(name)!r}"
                raise SliceError(log_safe(msg))

    def _save(self, item: Slice) -> None:
        """Save which slices are done, so that another run can resume the read."""
        self._done.pop(item.id, None)
        if item.is_proven:
            self._done[item.id] = item.rows
        if self._done and self._can_resume:
            done = dict(self._done)
            unfinished = UnfinishedRead(self.version, self._query_hash, self._started_at, done)
            self._reading.save(self._reading.state().slicing(unfinished))

    def _judge(self) -> Verdict:
        """Return whether the slices are proven to be the whole table, and log it.

        Raises:
            DataError: As `Slices.judge` does.
        """
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
        if verdict is Verdict.PROVEN:
            return verdict
        stay = ", so rows that are gone from SAC stay in the target"
        reading.logger.warning(
            "The slices of %s by %s are not proven to be the whole table%s: %s.",
            reading.name,
            self._column.name,
            "" if self.version is None else stay,
            doubt,
        )
        return verdict


def _order(value: Value) -> tuple[bool, Value]:
    """Sort nulls first, and values of one type as usual."""
    return value is not None, value
