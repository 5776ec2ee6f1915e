"""The slices of a table, one for each value of a column, and whether they make the whole table.

The list of values may be truncated or out of date, and SAC may filter differently than we expect.
So the rows of the slices are compared with SAC's count of the whole table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from tap_sac.sac.errors import DataError, SACError
from tap_sac.sac.failures import Failure
from tap_sac.safety.masks import excerpt
from tap_sac.safety.text import log_safe, plural
from tap_sac.streams.reading import Verdict
from tap_sac.streams.source import in_order
from tap_sac.streams.state import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tap_sac.sac.export.tables import Table
    from tap_sac.sac.odata.pages import Page
    from tap_sac.streams.proof import Proof
    from tap_sac.streams.reading import Reading
    from tap_sac.streams.source import Source


_LONGEST_CONDITION_SHOWN = 200


class SliceError(SACError):
    """A table cannot be read in slices, but perhaps in one go."""


class Slice:
    """The rows with one value in the slice column, or with none of the values of other slices.

    Attributes:
        condition: The ``$filter`` that selects them.
        has: Returns whether rows with a value belong to it.
        table: Counts them.
        known_rows: How many an earlier run read and proved; None if it did not.
        is_unchanged: Whether SAC still counts as many, so that they are not read again.
        rows: How many there are, after the read.
        is_proven: Whether SAC counts as many as were read.
    """

    def __init__(
        self,
        source: Source,
        query: Mapping[str, str],
        condition: str,
        has: Callable[[object], bool],
        known_rows: int | None,
    ) -> None:
        """Prepare a slice, for which the query has the condition; nothing is requested yet."""
        self.condition = condition
        self.has = has
        self.table = source.table(query)
        self.known_rows = known_rows
        self.is_unchanged = False
        self.rows = 0
        self.is_proven = False
        self._source = source
        self._query = query

    @override
    def __str__(self) -> str:
        return excerpt(log_safe(self.condition), _LONGEST_CONDITION_SHOWN)

    @property
    def id(self) -> str:
        """The name of the slice in the state."""
        return digest(self.condition)

    def pages(self) -> Iterator[Page]:
        """Read the pages from the first one on; none if an earlier run read all rows."""
        if self.known_rows is not None and self.table.count() == self.known_rows:
            self.is_unchanged, self.rows, self.is_proven = True, self.known_rows, True
            return
        yield from self._source.table(self._query).pages()

    def pages_in_order(self) -> Iterator[Page]:
        """Read the pages once more, in the order of the keys."""
        return self._source.table(in_order(self._query, self._source.key)).pages()

    def settle(self, proof: Proof) -> None:
        """Compare the rows that came with SAC's count, after the last one.

        Raises:
            DataError: As `Proof.settle` does.
        """
        self.is_proven = proof.settle() is Verdict.PROVEN
        self.rows = proof.number


class Slices:
    """Compares slices with SAC's counts of the whole table.

    Attributes:
        read: Those that are read, or are about to be.
        counts: What SAC has counted in the whole table, at different times.
    """

    def __init__(self, reading: Reading, table: Table, proof: Proof, *, is_fixed: bool) -> None:
        """Begin without slices; the proof sees the rows of all of them.

        Rows cannot move between slices that are fixed, because the key has the column.
        """
        self.read: list[Slice] = []
        self.counts: list[int] = []
        self._table = table
        self._reading = reading
        self._proof = proof
        self._is_fixed = is_fixed

    @property
    def rows(self) -> int:
        """How many rows they have."""
        return sum(item.rows for item in self.read)

    @property
    def rows_of_earlier_run(self) -> int:
        """How many of them an earlier run has read."""
        return sum(item.rows for item in self.read if item.is_unchanged)

    @property
    def lack_rows(self) -> bool:
        """Whether SAC counts more rows than they have, or does not count."""
        return not self.counts or self.rows < min(self.counts)

    def count_whole(self) -> None:
        """Ask SAC how many rows the whole table has by now."""
        count = self._table.count()
        self.counts += [] if count is None else [count]

    def judge(self, uncounted: str) -> tuple[Verdict, str]:
        """Return whether they are proven to be the whole table, and why not.

        People write during a long read, so all are counted again where the counts differ. Where
        rows can move, one may have moved to a slice that was read before, and no sum tells.

        Args:
            uncounted: Why SAC has not counted the table, if it has not.

        Raises:
            DataError: If rows came twice without a key.
            SliceError: If they lack rows, or may lack rows that SAC does not show.
        """
        if not self.counts:
            return Verdict.NOT_COUNTED, uncounted
        rows, counts = self.rows, self.counts
        if not _agrees(rows, counts):
            rows, counts = self._counted_again()
        if _agrees(rows, counts):
            changed = 0 if self._is_fixed else self._count_changed()
            if not changed:
                return Verdict.PROVEN, ""
            why = f"{changed:,} of them have changed, so rows may have moved from one to another"
            return Verdict.UNPROVEN, why
        counted = plural(counts[-1], "row")
        why = f"SAC counts {counted} of {self._reading.name}, and {rows:,} in its slices"
        if rows < min(counts) and self._proof.has_more_rows(rows) is not False:
            raise SliceError(why)
        if rows > max(counts) and not self._reading.has_key:
            error = DataError(f"{why}, so some rows came twice", Failure.ROWS_TWICE)
            return self._proof.disprove(error), why
        return Verdict.UNPROVEN, why

    def _counted_again(self) -> tuple[int, list[int]]:
        """Count the proven slices and the whole at about the same time."""
        again = [item.table.count() if item.is_proven else item.rows for item in self.read]
        before = self.counts[-1]
        self.count_whole()
        if None in again:
            return self.rows, self.counts
        return sum(count or 0 for count in again), [before, self.counts[-1]]

    def _count_changed(self) -> int:
        return sum(item.table.count() != item.rows for item in self.read)


def _agrees(rows: int, counts: list[int]) -> bool:
    return min(counts) <= rows <= max(counts)
