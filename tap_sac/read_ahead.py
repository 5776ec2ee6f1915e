"""Reads pages and tables before the writer needs them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from tap_sac.safety.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping

logger = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_Name = TypeVar("_Name", bound="Hashable")

# The bytes of one table that may be buffered before its turn. SAC needs two seconds for them, so
# reading a larger table again costs little; small tables, which mostly wait for responses, fit.
MOST_BYTES_OF_A_TABLE = 16 * 1024**2
# The same for all tables together.
MOST_BYTES = 256 * 1024**2


class Extent(NamedTuple):
    """How much of a table an item is.

    Attributes:
        size: The bytes that the item takes in memory.
        is_last: Whether no other item is known to follow.
        whole: About how many bytes all items will take; 0 if unknown.
    """

    size: int
    is_last: bool
    whole: int = 0


class ReadAhead(Generic[_Item]):
    """Reads several tables at a time, each in its own thread, ahead of their turn.

    A table is read without pauses: while paging by offset, a pause would miss rows that are
    inserted or deleted meanwhile, and links expire. Items that come before the table's turn are
    buffered. If they exceed the buffer, they are dropped, and the table is read again at its turn.
    Backpressure is per table: while a table is being consumed, at most two items are buffered.

    The threads are daemons, because a response may take minutes, and a process that has failed must
    not wait for it.
    """

    def __init__(
        self,
        parallel: int,
        plan: Callable[[], Mapping[Any, Callable[[], Iterable[_Item] | None]]],
        extent_of: Callable[[_Item], Extent] | None = None,
        *,
        are_slices: bool = False,
    ) -> None:
        """Make a reader, which starts with the first call of `read`.

        Args:
            parallel: How many tables are read or buffered at once, with the one being consumed.
            plan: Called then; returns the tables in the order in which they will be consumed, with
                functions that start reading them, or return None to wait for the table's turn.
            extent_of: Measures an item; None if all items are small.
            are_slices: Whether the tables are slices of one table (`of_slices`).
        """
        self._parallel = parallel
        self._plan = plan
        self._extent_of = extent_of
        self._are_slices = are_slices
        self._most_bytes_of_a_table = MOST_BYTES_OF_A_TABLE
        if are_slices:
            self._most_bytes_of_a_table = max(MOST_BYTES_OF_A_TABLE, MOST_BYTES // parallel)
        self._readers: dict[Hashable, _Reader[_Item]] = {}

    @cached_property
    def _planned(self) -> dict[Hashable, Callable[[], Iterable[_Item] | None]]:
        return dict(self._plan())

    def read(
        self, name: Hashable, items: Callable[[], Iterable[_Item]]
    ) -> Generator[_Item, None, None]:
        """Consume a table, and start it unless it was planned; closing the generator drops it.

        Raises:
            Exception: Whatever reading the table raises, after the items before it.
        """
        self._planned.pop(name, None)
        reader = self._readers.get(name)
        if reader is None or not reader.begin_turn():
            reader = self._begin(name, items(), is_turn=True)
        try:
            self._begin_next()
            for item in reader:
                yield item
                if self._are_slices:
                    self._begin_next()
        finally:
            reader.drop()
            if self._readers.get(name) is reader:
                del self._readers[name]

    def of_slices(self, plan: Mapping[Any, Callable[[], Iterable[_Item]]]) -> ReadAhead[_Item]:
        """Make a reader of the slices of one table, which are large and differ in size.

        Each has a larger buffer than a table, and finished slices do not count as being read: as
        many are read at once as there is room for, so a large slice does not block small ones.
        """
        return ReadAhead(self._parallel, lambda: plan, self._extent_of, are_slices=True)

    def drop(self, name: Hashable) -> None:
        """Drop one table, whether its reading has started or not."""
        self._planned.pop(name, None)
        if reader := self._readers.pop(name, None):
            reader.drop()

    def close(self) -> None:
        """Drop all tables."""
        self._planned.clear()
        for name in list(self._readers):
            self.drop(name)

    def _begin_next(self) -> None:
        for name, begin in list(self._planned.items()):
            readers = [reader for reader in self._readers.values() if not reader.is_dropped]
            reserved = sum(reader.reserved for reader in readers)
            counted = [item for item in readers if not (self._are_slices and item.is_finished)]
            if (
                len(counted) >= self._parallel
                or reserved + self._most_bytes_of_a_table > MOST_BYTES
            ):
                return
            del self._planned[name]
            if (items := begin()) is not None:
                self._begin(name, items, is_turn=False)

    def _begin(self, name: Hashable, items: Iterable[_Item], *, is_turn: bool) -> _Reader[_Item]:
        reader = _Reader(name, items, self._extent_of, self._most_bytes_of_a_table, is_turn=is_turn)
        self._readers[name] = reader
        return reader


def read_each(
    parallel: int, reads: Mapping[_Name, Callable[[], Iterable[_Item]]]
) -> Iterator[tuple[_Name, _Item]]:
    """Read several things at a time, and yield the items of each in turn.

    Raises:
        Exception: Whatever reading raises; the rest is dropped then.
    """
    read_ahead: ReadAhead[_Item] = ReadAhead(parallel, lambda: reads)
    try:
        for name, read in reads.items():
            for item in read_ahead.read(name, read):
                yield name, item
    finally:
        read_ahead.close()


class _Reader(Generic[_Item]):
    """A thread that reads a table.

    Attributes:
        is_dropped: Whether it was dropped, with its items.
        is_finished: Whether all has been read.
    """

    def __init__(
        self,
        name: Hashable,
        items: Iterable[_Item],
        extent_of: Callable[[_Item], Extent] | None,
        most_bytes: int,
        *,
        is_turn: bool,
    ) -> None:
        self.is_dropped = False
        self._name = name
        self._extent_of = extent_of
        self._most_bytes = most_bytes
        self._is_turn = is_turn
        self._changed = threading.Condition()
        self._items: deque[_Item] = deque()
        self._size = 0
        self.is_finished = False
        self._error: BaseException | None = None
        threading.Thread(
            target=self._run, args=(items,), name="tap-sac reader", daemon=True
        ).start()

    def __iter__(self) -> Iterator[_Item]:
        while True:
            with self._changed:
                wait_for(
                    self._changed,
                    lambda: self._items or self.is_finished or self.is_dropped,
                )
                if self.is_dropped:
                    msg = f"{self._name} was dropped while it was being read"
                    raise RuntimeError(msg)
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
        if self._error:
            raise self._error

    @property
    def reserved(self) -> int:
        """The bytes that it may buffer."""
        if self._extent_of is None:
            return 0
        return self._size if self.is_finished else self._most_bytes

    def begin_turn(self) -> bool:
        """Stop dropping items; returns False if some were dropped before."""
        with self._changed:
            self._is_turn = True
            return not self.is_dropped

    def drop(self) -> None:
        """Discard what was read; the thread ends after its current request."""
        with self._changed:
            self.is_dropped = True
            self._items.clear()
            self._changed.notify_all()

    def _run(self, items: Iterable[_Item]) -> None:
        try:
            with closing(_generator(items)) as iterator:
                for item in iterator:
                    self._buffer(item)
                    if self.is_dropped:
                        break
        except BaseException as caught:  # noqa: BLE001  (raised again where the items are taken)
            self._error = caught
        with self._changed:
            self.is_finished = True
            self._changed.notify_all()

    def _buffer(self, item: _Item) -> None:
        """Buffer an item; while the table is being consumed, wait until one item is left."""
        extent = self._extent_of(item) if self._extent_of else None
        with self._changed:
            if extent and not self._is_turn and not self._has_room(extent):
                logger.debug("%s is too large to be read ahead.", self._name)
                self.drop()
            if self.is_dropped:
                return
            self._items.append(item)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: not self._is_turn or len(self._items) <= 1 or self.is_dropped
            )

    def _has_room(self, extent: Extent) -> bool:
        """Estimate whether the whole table fits into the buffer."""
        self._size += extent.size
        # The next item is usually as large as this one.
        expected = self._size if extent.is_last else max(self._size + extent.size, extent.whole)
        return expected <= self._most_bytes


def _generator(items: Iterable[_Item]) -> Generator[_Item, None, None]:
    """Wrap an iterator in a generator, which closes it in the thread that runs both."""
    yield from items
