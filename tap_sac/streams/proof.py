"""Whether a read has all rows of its table, by what SAC counts."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from tap_sac.sac.errors import DataError
from tap_sac.sac.failures import Failure
from tap_sac.safety.text import plural
from tap_sac.streams.reading import Verdict
from tap_sac.streams.watched_keys import WatchedKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from tap_sac.sac.export.tables import Table
    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.keys import Key, Keys
    from tap_sac.streams.reading import Reading


# How many rows of a read SAC is asked for that may not belong to it.
_MOST_ROWS_ASKED_FOR = 20


class Retry(Enum):
    """Whether a read that has rows twice can be repeated in the order of its keys."""

    NEVER = auto()
    POSSIBLE = auto()
    DONE = auto()


class Proof:
    """Counts the rows of a read and their different keys, and compares them with SAC's counts.

    People write while we read, so any number between two of SAC's counts is right. The first and
    the last page tell how many rows there were at the start and at the end. A lower count at the
    end would also excuse rows that are missing, so SAC is asked anew instead.

    Where targets replace a row that comes again, different keys count, because pages may overlap,
    with one row twice and another one missing.

    Attributes:
        number: How many of them count, after `settle`: different keys, if those are watched.
        needs_order: Whether the table has to be read once more, in the order of its keys.
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
        """Begin before the first row.

        Args:
            reading: The read.
            table: The rows to read.
            label: What messages call them, instead of the stream.
            retry: Whether the read can be repeated in the order of its keys.
            fails_late: Whether several facts of a key may not fail the read before its last page.
            answers: What SAC has said about keys that came again in this read.
        """
        self.rows = self.number = 0
        self.needs_order = False
        self._counts: list[int] = []
        self._last_count: int | None = None
        self._pages = self._checked_end = 0
        self._last_rows: list[msgspec.Raw] = []
        self._reading = reading
        self._table = table
        self._label = label or reading.name
        self._retry = retry
        self._fails_late = fails_late
        self._has_shifted = self._is_disproved = False
        self.keys: WatchedKeys | None = None
        if reading.source.is_counted and reading.source.key:
            self.keys = WatchedKeys(reading, table, {} if answers is None else answers)

    def close(self) -> None:
        """Forget the keys."""
        if self.keys:
            self.keys.close()

    def add(self, page: Page) -> None:
        """Count a page, before anybody writes its rows.

        Raises:
            DataError: If pages repeat their rows under ever new links.
        """
        if self._counts and page.next_url:
            self._check_end(len(page.items))
        self.rows += len(page.items)
        self._pages += 1
        self._has_shifted = self._has_shifted or page.has_shifted
        if self._is_filtered:  # Copies, because rows hold their page in memory.
            self._last_rows += [row.copy() for row in page.items[-_MOST_ROWS_ASKED_FOR:]]
            del self._last_rows[:-_MOST_ROWS_ASKED_FOR]
        if page.count is not None:
            self._counts = self._counts or [page.count]
            self._last_count = page.count

    def _check_end(self, size: int) -> None:
        """See that there is an end, where more rows came than SAC counts, and others follow."""
        most = max(self._counts)
        keys = self.keys
        if not (size and keys and self._judges_keys) or keys.is_over:
            return
        if self.rows < max(most + size, self._checked_end):
            return
        self._checked_end = 2 * self.rows  # Keys in a file take a while.
        if (number := keys.count()) <= most:
            raise no_end_error(self._label, most, self.rows, number)

    @property
    def on_keys(self) -> Callable[[Keys], None] | None:
        """What sees the keys of all records; None if they are not watched."""
        return self.see if self.keys else None

    def see(self, keys: Keys) -> None:
        """Watch the keys of some records, before anybody has them.

        Raises:
            DataError: If a key has several facts.
        """
        if self.keys is None:
            return
        self.keys.add(keys)
        if self.keys.repeated is not None and self._judges_keys and not self._fails_late:
            self._check_facts(self.keys)

    def settle(self) -> Verdict:
        """Compare the counts, after the last row, and log them.

        Raises:
            DataError: If the read is truncated or has rows twice, or SAC does not answer whether
                it is truncated.
        """
        if self._last_count is not None and self._last_count > self._counts[0]:
            self._counts.append(self._last_count)
        self.number = self.count_keys()
        if self._counts and not self.is_proven:
            again = self._table.count()
            # unseen: a count of 0 with $top=0, which would excuse any row that is missing
            self._counts += [again] if again or (again == 0 and not self.number) else []
        counted = f"{self._counts[-1]:,} counted by SAC" if self._counts else "not counted by SAC"
        self._reading.logger.info(
            "%s: %s read, %s, %s.",
            self._label,
            plural(self.rows, "row"),
            counted,
            plural(self._pages, "page"),
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
        """Whether SAC counts as many rows as came."""
        return bool(self._counts) and min(self._counts) <= self.number <= max(self._counts)

    @property
    def _judges_keys(self) -> bool:
        """Whether a key that comes again says something: not where rows of a key add up."""
        kind = self._reading.source.kind
        return self._reading.has_key and not (kind.is_additive or kind.replication_key)

    @property
    def _is_filtered(self) -> bool:
        return self._judges_keys and self._reading.source.filter is not None

    @property
    def _doubt(self) -> str | None:
        if self._has_shifted:
            return "rows were written while it was paged by number, so rows may be missing"
        if not self._counts and self.number < self.rows:
            return "rows came twice, so others may be missing, and SAC does not count them"
        return None

    def count_keys(self) -> int:
        """Count the rows that a target will have, as far as the keys tell.

        Raises:
            DataError: If a key has several facts.
        """
        keys = self.keys
        if keys is None or keys.is_over or not self._judges_keys:
            return self.rows
        number = keys.count()
        if number == keys.rows or self._check_facts(keys) or not keys.are_several:
            return number
        self._reading.logger.warning(
            "SAC has several rows of %s under one key (%s; %s in all): a target keeps one of each.",
            self._label,
            shown_key(keys.repeated_values),
            plural(keys.rows - number, "row"),
        )
        return self.rows

    def _check_facts(self, keys: WatchedKeys) -> bool:
        """Disprove the read if a key has several facts; return whether it does."""
        if not (self._reading.source.kind.has_dimensions and keys.are_several):
            return False
        if not self._is_disproved:
            self._is_disproved = True
            what = several_facts(self._label, keys.repeated_values)
            self.disprove(DataError(what, Failure.SEVERAL_FACTS))
        return True

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
                return self.disprove(DataError(f"{what}, so some came twice", Failure.ROWS_TWICE))
            if self._is_filtered and self.keys and self.keys.are_filtered(self._last_rows):
                msg = f"{what}, and the filter leaves some of them out"
                return self.disprove(DataError(msg, Failure.BROKEN_PROTOCOL))
            why = "some are gone, or do not belong"
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
            why = "it shows none after the last one"
        self._warn(f"{what}, and {why}")
        return Verdict.UNPROVEN

    @property
    def _is_out_of_order(self) -> bool:
        """Whether rows came twice, or do not belong: another read, in order, may have the rest."""
        came_twice = self.number < self.rows
        if self.number < min(self._counts):
            return came_twice
        return self._retry is Retry.POSSIBLE and (came_twice or self._is_filtered)

    def _judge_order(self, what: str) -> Verdict:
        if self._retry is Retry.DONE:
            return self.judge_last(f"{what}, also in the order of its keys")
        self.needs_order = self._retry is Retry.POSSIBLE
        if self.needs_order:
            self._reading.logger.warning(
                "%s, so the table is read once more, in the order of its keys.", what
            )
        else:
            self._warn(what)
        return Verdict.UNPROVEN

    def judge_last(self, what: str) -> Verdict:
        """Judge rows that came twice, where no other read can have the rest.

        Members that SAC lists twice, too far apart for the tap to name one, look the same.

        Raises:
            DataError: If it fails the stream.
        """
        is_unnamed = self.keys is not None and self.keys.repeated is None
        is_of_members = not self._reading.source.kind.has_dimensions
        if is_unnamed and is_of_members and self.rows in {*self._counts}:
            self._warn(what)
            return Verdict.UNPROVEN
        return self.disprove(DataError(what, Failure.ROWS_TWICE))

    def _warn(self, what: str) -> None:
        self._reading.logger.warning(
            "%s: the read may be incomplete, so nothing is deleted from the target.", what
        )

    def has_more_rows(self, rows: int) -> bool | None:
        """Ask whether the table has a row behind those that came; None if SAC does not answer.

        A row that is known to have come shows nothing: SAC may ignore ``$skip`` or ``$orderby``.
        """
        found = self._table.row_at(rows)
        if not found:
            return None if found is None else False
        return not (self.keys and self.keys.knows(found[0]))

    def disprove(self, error: DataError) -> Verdict:
        """Fail the stream, or warn if that is what the settings say.

        Raises:
            DataError: This one, if it fails the stream.
        """
        if self._reading.fails:
            raise error
        self._reading.logger.warning("%s (verify_counts is warn, so nothing is deleted.)", error)
        return Verdict.DISPROVED


def shown_key(key: dict[str, object]) -> str:
    """Write a key for a message."""
    return ", ".join(f"{name}={value!r}" for name, value in key.items())


def no_end_error(label: str, count: int, rows: int, keys: int) -> DataError:
    """Say that pages repeat their rows under ever new links."""
    msg = (
        f"SAC's pages of {label} have no end: it counts {plural(count, 'row')}, and sent {rows:,} "
        f"with {plural(keys, 'different key')}"
    )
    return DataError(msg, Failure.ROWS_TWICE)


def several_facts(stream: str, key: dict[str, object]) -> str:
    """Say that a key has several facts."""
    return f"SAC stores several facts of {stream} under one key ({shown_key(key)})"
