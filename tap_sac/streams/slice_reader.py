"""Reads slices, and checks that each has its own rows, and all of them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tap_sac.sac.errors import ResponseError
from tap_sac.sac.odata.pages import read_rows
from tap_sac.safety.text import log_safe
from tap_sac.streams.proof import Proof, Retry
from tap_sac.streams.slices import SliceError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping

    from tap_sac.read_ahead import ReadAhead
    from tap_sac.sac.export.kinds import Kind
    from tap_sac.sac.export.tables import Table
    from tap_sac.sac.odata.model import Property
    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.keys import Key, Keys
    from tap_sac.streams.reading import Reading
    from tap_sac.streams.slices import Slice
    from tap_sac.streams.source import Source


@dataclass(frozen=True)
class Slicing:
    """How a table is read in slices.

    Attributes:
        column: The column whose values make the slices.
        source: The entity set.
        query: A text of everything that determines the rows and their output.
        started_at: When the run started, in milliseconds since 1970.
        read_ahead: Makes a reader of several slices at a time.
    """

    column: Property
    source: Source
    query: str
    started_at: int
    read_ahead: Callable[[Mapping[Slice, Callable[[], Iterator[Page]]]], ReadAhead[Page]]


def obstacle_to_slices(kind: Kind, columns: Collection[str], column: str) -> str | None:
    """Return why a table cannot be read in slices; None if it can."""
    if kind.is_hierarchy:
        return "levels and paths of a hierarchy need all members"
    if kind.needs_select and column not in columns:
        return "SAC aggregates over a column that is deselected"
    return None


class SliceReader:
    """Reads slices one after the other, and proves each of them.

    Attributes:
        watch: Watches the rows and keys of all slices.
    """

    def __init__(self, reading: Reading, table: Table, column: str) -> None:
        """Prepare to read the slices of a table by a column."""
        self._answers: dict[Key, bool | None] = {}
        self.watch = Proof(reading, table, answers=self._answers)
        self._proof: Proof | None = None
        self._reading = reading
        self._column = column
        # If the column is not in the key, rows may move between slices during the read.
        self._retry = Retry.NEVER
        if column in reading.source.key:
            self._retry = Retry.DONE if reading.is_in_order else Retry.POSSIBLE

    def pages(self, item: Slice, ahead: ReadAhead[Page]) -> Iterator[Page]:
        """Read a slice, and compare it with SAC's count after its last page.

        Raises:
            SliceError: If SAC refuses it, or returns rows of another slice.
            DataError: If it is proven to be incomplete, or a key has several facts.
            SACError: If SAC refuses a later page, or the client.
        """
        needs_order = yield from self._prove(item, ahead.read(item, item.pages), self._retry)
        if needs_order:
            yield from self._prove(item, item.pages_in_order(), Retry.DONE)
            if item.is_proven:
                self._reading.save(replace(self._reading.state(), needs_order=True))

    @property
    def on_keys(self) -> Callable[[Keys], None] | None:
        """The function that gets the keys of all records; None if they are not watched."""
        return self._observe if self.watch.keys else None

    def _observe(self, keys: Keys) -> None:
        """Watch the keys of some records, before they are written."""
        self.watch.observe(keys)
        if self._proof:
            self._proof.observe(keys)

    def _prove(
        self, item: Slice, pages: Iterable[Page], retry: Retry
    ) -> Generator[Page, None, bool]:
        """Read the pages of a slice; return whether it must be read again in key order."""
        reading, label = self._reading, f"{self._reading.name} ({item})"
        proof = Proof(reading, item.table, label, retry=retry, answers=self._answers)
        is_first = True
        with closing(proof):
            self._proof = proof
            try:
                for page in pages:
                    self._check_value(item, page)
                    is_first = False
                    proof.add(page)
                    self.watch.add(replace(page, count=None))
                    yield page
            except ResponseError as error:
                if not is_first or error.is_denied:
                    raise
                msg = f"SAC answered {error.reason} to the slice {item}"
                raise SliceError(msg) from None
            if not item.is_unchanged:
                item.verify(proof)
        return proof.needs_order

    def _check_value(self, item: Slice, page: Page) -> None:
        """Check by two rows that a page is of its slice: SAC ignores unknown options."""
        name = self._column
        if name not in self._reading.columns:
            return
        for row in read_rows([*page.items[:1], *page.items[-1:]], page.source):
            if not item.has(row.get(name)):
                msg = f"SAC answered the slice {item} with rows of {row.get(name)!r}"
                raise SliceError(log_safe(msg))
