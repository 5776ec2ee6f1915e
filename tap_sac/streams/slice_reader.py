"""The pages of slices: whether they are of their slice, and have all its keys."""

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


class SliceReader:
    """Reads slices one after the other, and proves each one.

    Attributes:
        watch: Has seen the rows and keys of all slices.
    """

    def __init__(self, reading: Reading, table: Table, column: str) -> None:
        """Prepare to read the slices of a table by a column."""
        self._answers: dict[Key, bool | None] = {}
        self.watch = Proof(reading, table, answers=self._answers)
        self._proof: Proof | None = None
        self._reading = reading
        self._column = column
        # Between slices by another column, rows may move while they are read.
        self._retry = Retry.NEVER
        if column in reading.source.key:
            self._retry = Retry.DONE if reading.is_in_order else Retry.POSSIBLE

    def pages(self, item: Slice, ahead: ReadAhead[Page]) -> Iterator[Page]:
        """Read a slice, and compare it with SAC's count after its last page.

        Raises:
            SliceError: If SAC refuses it, or answers with rows of another one.
            DataError: If it is proven not to be whole, or a key has several facts.
            SACError: If SAC refuses a later page, or the client.
        """
        needs_order = yield from self._prove(item, ahead.read(item, item.pages), self._retry)
        if needs_order:
            yield from self._prove(item, item.pages_in_order(), Retry.DONE)
            if item.is_proven:
                self._reading.save(replace(self._reading.state(), needs_order=True))

    @property
    def on_keys(self) -> Callable[[Keys], None] | None:
        """What sees the keys of all records; None if they are not watched."""
        return self._see if self.watch.keys else None

    def _see(self, keys: Keys) -> None:
        """Watch the keys of some records, before anybody has them."""
        self.watch.see(keys)
        if self._proof:
            self._proof.see(keys)

    def _prove(
        self, item: Slice, pages: Iterable[Page], retry: Retry
    ) -> Generator[Page, None, bool]:
        """Read pages of a slice; return whether it has to be read again, in order."""
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
                item.settle(proof)
        return proof.needs_order

    def _check_value(self, item: Slice, page: Page) -> None:
        """See by two rows that a page is of its slice: SAC ignores what it does not know."""
        name = self._column
        if name not in self._reading.columns:
            return
        for row in read_rows([*page.items[:1], *page.items[-1:]], page.source):
            if not item.has(row.get(name)):
                msg = f"SAC answered to the slice {item} with rows of {row.get(name)!r}"
                raise SliceError(log_safe(msg))
