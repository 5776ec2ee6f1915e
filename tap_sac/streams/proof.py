"""Compares a read with SAC's counts, to prove that it has all rows of its table."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from tap_sac.sac.errors import DataError
from tap_sac.sac.failures import Failure
from tap_sac.safety.text import plural
from tap_sac.streams.endless import EndWatch
from tap_sac.streams.reading import Verdict
from tap_sac.streams.watched_keys import WatchedKeys, shown_key

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from tap_sac.sac.export.tables import Table
    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.keys import Key, Keys
    from tap_sac.streams.reading import Reading


# The maximum number of suspicious rows to look up in SAC.
_MOST_ROWS_ASKED_FOR = 20


class Retry(Enum):
    """Whether a read with repeated rows can be repeated in key order."""

    NEVER = auto()
    POSSIBLE = auto()
    DONE = auto()


class Proof:
    """Counts the rows of a read and their different keys, and compares them with SAC's counts.

    Rows may be written during the read, so any number between two of SAC's counts is right. The
    first and the last page have the counts at the start and at the end. A lower count at the end
    could also hide missing rows, so SAC is asked for another count instead.

    If targets deduplicate by key, the different keys are counted, because pages may overlap: one
    row is sent twice, and another one is missing.

    Attributes:
        pages: The number of pages.
        number: The number to compare, after `verify`: different keys, if they are watched.
        needs_order: Whether the table must be read again in key order.
    """

    def __init__(
        self,
        reading: Reading,
        table: Table,
        label: str | None = None,
        *,
        retry: Retry = Retry.NEVER,
        fails_late: bool = False,
        answers: dict[Key, bool | None] | None = None,
    ) -> None:
        """Start before the first row.

        Args:
            reading: The read.
            table: The rows to read.
            label: The name for messages, instead of the stream's.
            retry: Whether the read can be repeated in key order.
            fails_late: Whether several facts of a key fail the read only after its last page.
            answers: SAC's answers about repeated keys in this read.
        """
        self.rows = self.number = 0
        self.needs_order = False
        self._counts: list[int] = []
        self._last_count: int | None = None
        self.pages = 0
        self._last_rows: list[msgspec.Raw] = []
        self._reading = reading
        self._table = table
        self._label = label or reading.name
        self._end = EndWatch(self._label)
        self._retry = retry
        self._fails_late = fails_late
        self._has_shifted = self._is_disproved = False
        self.keys: WatchedKeys | None = None
        if reading.source.is_counted and reading.source.key:
            self.keys = WatchedKeys(reading, table, {} if answers is None else answers)

    def close(self) -> None:
        """Discard the keys."""
        if self.keys:
            self.keys.close()

    def add(self, page: Page) -> None:
        """Count a page, before its rows are written; raise a `DataError` if pages have no end."""
        if page.next_url:
            self._check_end(len(page.items))
        self.rows += len(page.items)
        self.pages += 1
        self._has_shifted = self._has_shifted or page.has_shifted
        if self._is_filtered:  # Copies: rows keep their page in memory.
            self._last_rows += [row.copy() for row in page.items[-_MOST_ROWS_ASKED_FOR:]]
            del self._last_rows[:-_MOST_ROWS_ASKED_FOR]
        if page.count is not None:
            self._counts = self._counts or [page.count]
            self._last_count = page.count

    def _check_end(self, size: int) -> None:
        """Check that the pages end, if there are more of them."""
        keys, count = self._judged_keys, max(self._counts, default=None)
        is_quick = keys is None or keys.are_in_memory
        count_keys = keys.count if keys else None
        problem = self._end.problem(self.rows, size, count, count_keys, is_quick=is_quick)
        if problem:
            raise DataError(problem, Failure.BROKEN_PROTOCOL)

    @property
    def on_keys(self) -> Callable[[Keys], None] | None:
        """The function that gets the keys of all records; None if they are not watched."""
        return self.observe if self.keys else None

    def observe(self, keys: Keys) -> None:
        """Watch the keys of records before they are written; a `DataError` for several facts."""
        if self.keys is None:
            return
        self.keys.add(keys)
        if self.keys.repeated is not None and self._judges_keys and not self._fails_late:
            self._check_facts(self.keys)

    def verify(self) -> Verdict:
        """Compare and log the counts after the last row.

        Raises:
            DataError: If the read is truncated or has repeated rows, or SAC does not show whether
                it is truncated.
        """
        if self._last_count is not None and self._last_count > self._counts[0]:
            self._counts.append(self._last_count)
        self.number = self.count_keys()
        if self._counts and not self.is_proven:
            again = self._table.count()
            # unseen: a count of 0 with $top=0, which would hide any missing row
            self._counts += [again] if again or (again == 0 and not self.number) else []
        counted = f"{self._counts[-1]:,} counted by SAC" if self._counts else "not counted by SAC"
        self._reading.logger.info(
            "%s: %s read, %s, %s.",
            self._label,
            plural(self.rows, "row"),
            counted,
            plural(self.pages, "page"),
        )
        if self._is_disproved:
            return Verdict.DISPROVED
        if self._counts and not self.is_proven:
            return self._judge()
        doubt = self._doubt
        if doubt:
            self._warn(f"{self._label}: {doubt}")
            return Verdict.UNPROVEN
        return Verdict.PROVEN if self._counts else Verdict.NOT_COUNTED

    @property
    def is_proven(self) -> bool:
        """Whether SAC counts as many rows as were read."""
        return bool(self._counts) and min(self._counts) <= self.number <= max(self._counts)

    @property
    def _judges_keys(self) -> bool:
        """Whether a repeated key matters; it does not if rows with the same key add up."""
        kind = self._reading.source.kind
        return self._reading.has_key and not (kind.is_additive or kind.replication_key)

    @property
    def _judged_keys(self) -> WatchedKeys | None:
        return self.keys if self._judges_keys and self.keys and not self.keys.is_over else None

    @property
    def _is_filtered(self) -> bool:
        return self._judges_keys and self._reading.source.filter is not None

    @property
    def _doubt(self) -> str | None:
        if self._has_shifted:
            return "rows were written during paging by row number, so some may be missing"
        if not self._counts and self.number < self.rows:
            return "rows were sent twice, so others may be missing, and SAC does not count them"
        return None

    def count_keys(self) -> int:
        """Count the rows that a target will have after deduplication, if the keys are known.

        Raises:
            DataError: If a key has several facts.
        """
        keys = self._judged_keys
        if keys is None:
            return self.rows
        number = keys.count()
        if number < keys.rows:
            self._check_facts(keys)
            if not self._reading.source.kind.has_dimensions:
                number += keys.count_listed(number, self._label)
        return number

    def _check_facts(self, keys: WatchedKeys) -> None:
        """Disprove the read if a key has several facts."""
        is_of_facts = self._reading.source.kind.has_dimensions
        if is_of_facts and keys.are_several and not self._is_disproved:
            self._is_disproved = True
            what = several_facts(self._label, keys.repeated_values)
            self.disprove(DataError(what, Failure.SEVERAL_FACTS))

    def _judge(self) -> Verdict:
        what = (
            f"SAC counts {plural(self._counts[-1], 'row')} of {self._label} but sent {self.rows:,}"
        )
        if self.number < self.rows:
            what += f", with {plural(self.number, 'different key')}"
        if self._is_out_of_order:
            return self._judge_order(what)
        if self.number > max(self._counts):
            if not self._reading.has_key:
                msg = f"{what}, so some were sent twice"
                return self.disprove(DataError(msg, Failure.ROWS_TWICE))
            if self._is_filtered and self.keys and self.keys.are_filtered(self._last_rows):
                msg = f"{what}, and the filter excludes some of them"
                return self.disprove(DataError(msg, Failure.BROKEN_PROTOCOL))
            why = "some were deleted meanwhile, or do not belong to it"
        elif self._has_shifted or self._last_count == self.number:
            # A row after the last one could be new, so it would prove nothing.
            why = "rows may have been written meanwhile"
        else:
            has_more = self.has_more_rows(self.rows)
            if has_more is None:
                msg = f"{what}, and does not answer whether more rows follow"
                self.disprove(DataError(msg, Failure.NO_ROW_AT_POSITION))
                return Verdict.UNPROVEN
            if has_more:
                msg = f"{what}, and more rows follow the last one: the read was truncated"
                return self.disprove(DataError(msg, Failure.CUT_READ))
            why = "no row follows the last one"
        self._warn(f"{what}, and {why}")
        return Verdict.UNPROVEN

    @property
    def _is_out_of_order(self) -> bool:
        """Whether rows are repeated or do not belong, so a read in key order may be complete."""
        came_twice = self.number < self.rows
        if self.number < min(self._counts):
            return came_twice
        return self._retry is Retry.POSSIBLE and (came_twice or self._is_filtered)

    def _judge_order(self, what: str) -> Verdict:
        if self._retry is Retry.DONE:
            return self.judge_last(f"{what}, even in key order")
        self.needs_order = self._retry is Retry.POSSIBLE
        if self.needs_order:
            stay = "; without ACTIVATE_VERSION, rows that do not belong to it stay in the target"
            is_for_good = self._reading.version is None and self.number > max(self._counts)
            self._reading.logger.warning(
                "%s, so the table is read again in key order%s.", what, stay if is_for_good else ""
            )
        else:
            self._warn(what)
        return Verdict.UNPROVEN

    def judge_last(self, what: str) -> Verdict:
        """Judge repeated rows if no other read can get the missing ones.

        Members that SAC lists twice look the same, if they are too far apart to identify, or SAC
        does not answer.

        Raises:
            DataError: If the settings say that the stream fails.
        """
        is_untold = self.keys is not None and not self.keys.is_answered
        is_of_members = not self._reading.source.kind.has_dimensions
        if is_untold and is_of_members and self.rows in {*self._counts}:
            self._warn(what)
            return Verdict.UNPROVEN
        return self.disprove(DataError(what, Failure.ROWS_TWICE))

    def _warn(self, what: str) -> None:
        self._reading.logger.warning(
            "%s: the read may be incomplete, so nothing is deleted from the target.", what
        )

    def has_more_rows(self, rows: int) -> bool | None:
        """Return whether SAC has a row after the last one; None if SAC does not answer.

        A row that was already read proves nothing: SAC may ignore ``$skip`` or ``$orderby``.
        """
        found = self._table.row_at(rows)
        if not found:
            return None if found is None else False
        return not (self.keys and self.keys.knows(found[0]))

    def disprove(self, error: DataError) -> Verdict:
        """Raise `error`, which fails the stream, or only warn, as the settings say."""
        if self._reading.fails:
            raise error
        self._reading.logger.warning("%s (verify_counts is warn, so nothing is deleted.)", error)
        return Verdict.DISPROVED


def several_facts(stream: str, key: dict[str, object]) -> str:
    """Describe that a key has several facts."""
    return f"SAC stores several facts of {stream} under one key ({shown_key(key)})"
