"""The slices of a table, one per value of a column, and whether they are the whole table.

The list of values may be truncated or out of date, and SAC may filter differently than expected, so
the rows of the slices are compared with SAC's count of the whole table.
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
    """A table cannot be read in slices, but may be readable in one go."""


class Slice:
    """The rows with one value in the slice column, or with none of the other slices' values.

    Attributes:
        condition: The ``$filter`` that selects them.
        has: Returns whether rows with a given value belong to it.
        table: Counts its rows.
        known_rows: The number of rows that an earlier run read and proved; None if it did not.
        is_unchanged: Whether SAC still counts as many rows, so they are not read again.
        rows: The number of rows, after the read.
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
        """The ID of the slice in the state."""
        return digest(self.condition)

    def pages(self) -> Iterator[Page]:
        """Read the pages; there are none if an earlier run read all rows."""
        if self.known_rows is not None and self.table.count() == self.known_rows:
            self.is_unchanged, self.rows, self.is_proven = True, self.known_rows, True
            return
        yield from self._source.table(self._query).pages()

    def pages_in_order(self) -> Iterator[Page]:
        """Read the pages again in key order."""
        return self._source.table(in_order(self._query, self._source.key)).pages()

    def verify(self, proof: Proof) -> None:
        """Compare the rows with SAC's count, after the last page, like `Proof.verify`."""
        self.is_proven = proof.verify() is Verdict.PROVEN
        self.rows = proof.number


class Slices:
    """Compares slices with SAC's counts of the whole table.

    Attributes:
        read: The slices that are read or about to be read.
        counts: SAC's counts of the whole table, at different times.
    """

    def __init__(self, reading: Reading, table: Table, proof: Proof, *, is_fixed: bool) -> None:
        """Start without slices; the proof watches the rows of all of them.

        Rows cannot move between fixed slices, because the key has the column.
        """
        self.read: list[Slice] = []
        self.counts: list[int] = []
        self._table = table
        self._reading = reading
        self._proof = proof
        self._is_fixed = is_fixed

    @property
    def rows(self) -> int:
        """The number of rows in all slices."""
        return sum(item.rows for item in self.read)

    @property
    def rows_of_earlier_run(self) -> int:
        """The number of rows that an earlier run read."""
        return sum(item.rows for item in self.read if item.is_unchanged)

    @property
    def are_incomplete(self) -> bool:
        """Whether SAC counts more rows than the slices have, or does not count."""
        return not self.counts or self.rows < min(self.counts)

    def count_whole(self) -> None:
        """Ask SAC for the current count of the whole table."""
        count = self._table.count()
        self.counts += [] if count is None else [count]

    def judge(self, uncounted: str) -> tuple[Verdict, str]:
        """Return whether the slices are proven to be the whole table, and why not.

        Rows may be written during a long read, so all slices are counted again if the counts
        differ. If rows can move, one may have moved to a slice that was read before, which no sum
        can show.

        Args:
            uncounted: Why SAC has not counted the table, if so.

        Raises:
            DataError: If rows were sent twice and there is no key.
            SliceError: If the slices lack rows, or SAC does not show whether they do.
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
            why = f"{plural(changed, 'slice')} changed meanwhile, so rows may have moved"
            return Verdict.UNPROVEN, why
        counted = plural(counts[-1], "row")
        why = f"SAC counts {counted} of {self._reading.name}, but its slices have {rows:,}"
        if rows < min(counts) and self._proof.has_more_rows(rows) is not False:
            raise SliceError(why)
        if rows > max(counts) and not self._reading.has_key:
            error = DataError(f"{why}, so some were sent twice", Failure.ROWS_TWICE)
            return self._proof.disprove(error), why
        return Verdict.UNPROVEN, why

    def _counted_again(self) -> tuple[int, list[int]]:
        """Count the proven slices and the whole table at about the same time."""
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
