"""A full read in slices: several at a time, written in order, and taken up by the next run."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from tap_sac.sac.errors import DataError, ResponseError, SACError
from tap_sac.sac.export.column_values import MOST_VALUES
from tap_sac.sac.failures import Failure
from tap_sac.sac.odata.conditions import both, equals
from tap_sac.safety.text import log_safe
from tap_sac.singer.records import END_OF_SLICE, PageRecords
from tap_sac.streams.progress import Progress
from tap_sac.streams.proof import Verdict
from tap_sac.streams.slices import Slice, Slices
from tap_sac.streams.totals import warn_uncompared
from tap_sac.streams.unfinished import UnfinishedRead, digest
from tap_sac.streams.whole import WholeRead

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from tap_sac.read_ahead import ReadAhead
    from tap_sac.sac.export.column_values import ColumnValues
    from tap_sac.sac.odata.conditions import Value
    from tap_sac.sac.odata.model import Property
    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.records import RecordMaker, Records
    from tap_sac.streams.whole import FullTableStream

# How often the values are asked for again, as long as new ones come up.
_MOST_ROUNDS = 5


class _SliceError(SACError):
    """SAC does not give a slice what was asked for."""


class SlicedRead(WholeRead):
    """A read of all rows of a table in slices; of the whole in one go, where that cannot be."""

    def __init__(
        self,
        stream: FullTableStream,
        columns: list[str],
        column: Property,
        values: ColumnValues,
        *,
        question: str,
    ) -> None:
        """Prepare a read; nothing is asked for yet.

        Args:
            stream: Whose table it is.
            columns: Those to ask for.
            column: The one whose values make the slices.
            values: Finds them.
            question: What is asked for, in a text that changes with it.
        """
        super().__init__(stream, columns)
        self._column = column
        self._values = values
        self._question = digest(question)
        self._started_at = stream.started_at
        self._goes_on = False
        self._done: dict[str, int] = {}
        self._is_fixed = column.name in stream.entity_set.key
        self._watch = stream.proof(self._table)
        self._slices = Slices(
            stream.name,
            self._table,
            self._watch,
            has_key=stream.has_key,
            is_fixed=self._is_fixed,
        )
        self._pages = self._rows = 0
        self._go_on_with_earlier()

    @override
    def records(self) -> Iterator[Records]:
        stream = self._stream
        values = self._values.find()
        if values and len(values) <= MOST_VALUES:
            try:
                yield from self._sliced(values)
            except _SliceError as error:
                if self._rows and not stream.has_key:
                    msg = f"{error}, and without a key, rows would come twice in one go"
                    raise DataError(msg, Failure.PARTIAL_SLICES) from None
                hindrance = str(error)
            else:
                return
        elif values:
            hindrance = f"{self._column.name} has more than {MOST_VALUES:,} values"
        else:
            hindrance = f"SAC lists no values of {self._column.name}"
        stream.logger.warning("The table of %s is read in one go: %s.", stream.name, hindrance)
        yield from super().records()

    def _go_on_with_earlier(self) -> None:
        """Take up the read of an earlier run, if it asks for the same.

        The rows of a slice that was not complete come again, so there must be a key. Nor may rows
        move from a slice that is left to one that is done.
        """
        stream = self._stream
        earlier = UnfinishedRead.from_state(stream.stream_state)
        if earlier is None or not self._can_go_on or stream.has_completed(earlier.version):
            return
        told = earlier.hindrance(
            self._question, stream.started_at, has_versions=stream.has_versions
        )
        if told:
            stream.logger.info(
                "%s: all slices are read, and not only those that an earlier run left, because %s.",
                stream.name,
                told,
            )
            return
        self._goes_on = True
        self.version = earlier.version
        self._started_at = earlier.started_at
        self._done = dict(earlier.done)
        begin = datetime.fromtimestamp(earlier.started_at / 1000, timezone.utc)
        stream.logger.info(
            "%s: going on with the read that began at %s, of which %s slices are done.",
            stream.name,
            begin.isoformat(timespec="seconds"),
            f"{len(self._done):,}",
        )

    @property
    def _can_go_on(self) -> bool:
        return self._stream.has_key and self._is_fixed

    def _sliced(self, values: Collection[Value]) -> Iterator[Records]:
        stream = self._stream
        if not self._goes_on:
            stream.forget_unfinished()
        stream.version = self.version
        sums = self._totals.begin() if self._totals else None
        maker = stream.record_maker(self._columns, sums=sums)
        slices = self._slices
        slices.count_whole()
        if stream.suspects_repeated_keys(slices.counts[0] if slices.counts else None):
            self._watch.watch_keys()
        yield from self._read(values, maker)
        yield from self._read_new(self._values.find, maker)
        slices.count_whole()
        if slices.lack_rows:  # A list of values may have been cut short.
            yield from self._read_new(self._values.find_all, maker)
            slices.count_whole()
        self.verdict = self._judge()
        if self._totals and slices.rows_of_earlier_run:
            why = "an earlier run read a part of it: the next full read compares them"
            warn_uncompared(stream.name, stream.logger, why)
        elif self._totals:
            self._totals.settle(stream.name, stream.logger, fails=stream.fails)
        stream.note_counts(has_counts=bool(slices.counts))
        self.rows = slices.rows
        self.finish(may_activate=self.verdict is Verdict.PROVEN)

    def _read(self, values: Collection[Value], maker: RecordMaker) -> Iterator[Records]:
        """Read the slices of some values, in the order of those, and keep what is done."""
        slices = [self._slice(value) for value in sorted(values, key=_order)]
        self._slices.read += slices
        progress = Progress(self._stream.name, self._stream.logger)
        ahead = self._stream.parts_ahead({item: item.pages for item in slices})
        try:
            for item in slices:
                for page in self._pages_of(item, ahead):
                    self._rows += len(page.items)
                    self._pages += 1
                    yield PageRecords(page, maker)
                    progress.add(len(page.items), page.server_milliseconds)
                yield END_OF_SLICE
                self._keep(item)
        finally:
            ahead.close()

    def _read_new(
        self, find: Callable[[], set[Value] | None], maker: RecordMaker
    ) -> Iterator[Records]:
        """Read the slices of values that were not there before, until there are no new ones."""
        for _ in range(_MOST_ROUNDS):
            known = self._slices.values
            new = (find() or set()) - known
            if not new or len(known) + len(new) > MOST_VALUES:
                return
            self._stream.logger.info(
                "%s: SAC lists %s more values of %s.",
                self._stream.name,
                f"{len(new):,}",
                self._column.name,
            )
            yield from self._read(new, maker)

    def _slice(self, value: Value) -> Slice:
        stream = self._stream
        condition = equals(self._column, value)
        query = {**self._query, "$filter": both(self._query.get("$filter"), condition)}
        known_rows = self._done.get(digest(condition))
        return Slice(value, condition, lambda: stream.table(query), known_rows)

    def _pages_of(self, item: Slice, ahead: ReadAhead[Page]) -> Iterator[Page]:
        """Read a slice, and compare it with SAC's count after its last page.

        Raises:
            _SliceError: If SAC refuses it, or answers with rows of another one.
            DataError: If it is proven not to be whole, or a key has several facts.
            SACError: If SAC refuses a later page, or the client.
        """
        stream = self._stream
        proof = stream.proof(item.table, f"{stream.name} ({item})")
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
            raise _SliceError(msg) from None
        if not item.is_unchanged:
            item.settle(proof)

    def _check_value(self, item: Slice, page: Page) -> None:
        """See by two rows that a page is of its slice: SAC ignores what it does not know.

        Raises:
            _SliceError: If it is of another one.
        """
        name = self._column.name
        if name not in self._columns:
            return
        for row in replace(page, items=[*page.items[:1], *page.items[-1:]]).rows:
            if row.get(name) != item.value:
                msg = f"SAC answered to the slice {item} with rows of {row.get(name)!r}"
                raise _SliceError(log_safe(msg))

    def _keep(self, item: Slice) -> None:
        """Put a slice that is done into the state, and write that, so that another run goes on."""
        stream = self._stream
        self._done.pop(item.id, None)
        if item.is_proven:
            self._done[item.id] = item.rows
        if self._done and self._can_go_on:
            unfinished = UnfinishedRead(self.version, self._question, self._started_at, self._done)
            unfinished.put_into(stream.stream_state)
            stream.mark_state_changed()
            stream.write_state()

    def _judge(self) -> Verdict:
        """Return whether the slices are proven to be the whole table, and log it.

        Raises:
            DataError: As `Slices.judge` does.
        """
        stream, slices = self._stream, self._slices
        earlier = slices.rows_of_earlier_run
        stream.logger.info(
            "%s: %s rows read%s, %s, %s pages, %s slices by %s.",
            stream.name,
            f"{self._rows:,}",
            f" after {earlier:,} of an earlier run" if earlier else "",
            f"{slices.counts[-1]:,} counted by SAC" if slices.counts else "not counted by SAC",
            f"{self._pages:,}",
            f"{len(slices.read):,}",
            self._column.name,
        )
        uncounted = "SAC does not count it" if stream.verifies else "verify_counts is off"
        verdict, doubt = slices.judge(uncounted)
        if verdict is Verdict.PROVEN:
            return verdict
        stream.logger.warning(
            "The slices of %s by %s are not proven to be the whole table%s: %s.",
            stream.name,
            self._column.name,
            ", so rows that are gone from SAC stay in the target" if stream.has_versions else "",
            doubt,
        )
        return verdict


def _order(value: Value) -> tuple[bool, Value]:
    """Sort nulls first, and values of one type as usual."""
    return value is not None, value
