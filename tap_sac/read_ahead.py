"""Reading ahead of the writer: the next page, and the tables behind it."""

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

# What may be kept of one table until its turn. SAC needs two seconds for that much, so it costs
# little to read a larger table again; and small tables, which are all waiting for answers, fit.
MOST_BYTES_OF_A_TABLE = 16 * 1024**2
# The same of all tables, however many are read at once.
MOST_BYTES = 256 * 1024**2


class Extent(NamedTuple):
    """What an item says about the extent of its table.

    Attributes:
        size: The bytes that the item takes in memory.
        is_last: Whether no other item like it is known to follow.
        whole: About how many bytes all items will take; 0 if the item does not say.
    """

    size: int
    is_last: bool
    whole: int = 0


class ReadAhead(Generic[_Item]):
    """Reads several tables at a time, each in its own order, ahead of their turn.

    A table has a thread of its own while it is read. Where a source pages by offset, an item that
    waits misses what is inserted and deleted before the next one, and links expire. So a table is
    read without a break: what comes before its turn is kept, and thrown away when it is more than
    may be kept; then the table is read at its turn, from the start. Only its own consumer holds a
    table back: at its turn, nothing is asked for while two items wait to be taken.

    The threads are daemons, because an answer may take minutes, and a process that has failed must
    not wait for it.
    """

    def __init__(
        self,
        parallel: int,
        plan: Callable[[], Mapping[Any, Callable[[], Iterable[_Item] | None]]],
        extent_of: Callable[[_Item], Extent] | None = None,
        *,
        are_parts: bool = False,
    ) -> None:
        """Make a reader, which begins with the first table that is asked for.

        Args:
            parallel: How many tables are read or kept at once, with the one whose turn it is.
            plan: Says then which tables there are, in the order in which they will be asked for,
                and how to begin to read each; what gives None is not read before its turn.
            extent_of: Measures an item; None if all items are small.
            are_parts: Whether they are parts of one table (`of_parts`).
        """
        self._parallel = parallel
        self._plan = plan
        self._extent_of = extent_of
        self._are_parts = are_parts
        self._most_bytes_of_a_table = MOST_BYTES_OF_A_TABLE
        if are_parts:
            self._most_bytes_of_a_table = max(MOST_BYTES_OF_A_TABLE, MOST_BYTES // parallel)
        self._readers: dict[Hashable, _Reader[_Item]] = {}

    @cached_property
    def _planned(self) -> dict[Hashable, Callable[[], Iterable[_Item] | None]]:
        return dict(self._plan())

    def read(
        self, name: Hashable, items: Callable[[], Iterable[_Item]]
    ) -> Generator[_Item, None, None]:
        """Read a table, whose turn it is now; closing the generator gives it up.

        Args:
            name: Its name in the plan, if it is there.
            items: Begins to read it, unless that has happened ahead.

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
                if self._are_parts:
                    self._begin_next()
        finally:
            reader.drop()
            if self._readers.get(name) is reader:
                del self._readers[name]

    def of_parts(self, plan: Mapping[Any, Callable[[], Iterable[_Item]]]) -> ReadAhead[_Item]:
        """Make a reader of the parts of one table, which are large, and differ in size.

        More may be kept of each than of a table, and those that are kept count no longer: as many
        are read at once as there is room for. So a large part does not hold up small ones.
        """
        return ReadAhead(self._parallel, lambda: plan, self._extent_of, are_parts=True)

    def drop(self, name: Hashable) -> None:
        """Give up one table: what has been read of it, and what has not been begun."""
        self._planned.pop(name, None)
        if reader := self._readers.pop(name, None):
            reader.drop()

    def close(self) -> None:
        """Give up all tables."""
        self._planned.clear()
        for name in list(self._readers):
            self.drop(name)

    def _begin_next(self) -> None:
        for name, begin in list(self._planned.items()):
            readers = [reader for reader in self._readers.values() if not reader.is_dropped]
            reserved = sum(reader.reserved for reader in readers)
            counted = [item for item in readers if not (self._are_parts and item.is_finished)]
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
    """Read several things at a time, and give the items of each in turn.

    Raises:
        Exception: Whatever reading raises; the rest is given up then.
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
        is_dropped: Whether it was given up, and its items with it.
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
                    msg = f"{self._name} was given up while it was being read"
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
        """The bytes that it may come to keep."""
        if self._extent_of is None:
            return 0
        return self._size if self.is_finished else self._most_bytes

    def begin_turn(self) -> bool:
        """Throw nothing away from now on; return False if that has happened."""
        with self._changed:
            self._is_turn = True
            return not self.is_dropped

    def drop(self) -> None:
        """Let the thread end after the request that is under way."""
        with self._changed:
            self.is_dropped = True
            self._items.clear()
            self._changed.notify_all()

    def _run(self, items: Iterable[_Item]) -> None:
        try:
            with closing(_generator(items)) as iterator:
                for item in iterator:
                    self._keep(item)
                    if self.is_dropped:
                        break
        except BaseException as caught:  # noqa: BLE001  (raised again where the items are taken)
            self._error = caught
        with self._changed:
            self.is_finished = True
            self._changed.notify_all()

    def _keep(self, item: _Item) -> None:
        """Keep an item, and wait at the turn of the table until the consumer is close behind."""
        extent = self._extent_of(item) if self._extent_of else None
        with self._changed:
            if extent and not self._is_turn and not self._has_room(extent):
                logger.debug("%s is read at its turn: it is too large to be kept.", self._name)
                self.drop()
            if self.is_dropped:
                return
            self._items.append(item)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: not self._is_turn or len(self._items) <= 1 or self.is_dropped
            )

    def _has_room(self, extent: Extent) -> bool:
        """Return whether the table can be kept with an item, as far as can be known now."""
        self._size += extent.size
        # What follows is most often as large as what came.
        expected = self._size if extent.is_last else max(self._size + extent.size, extent.whole)
        return expected <= self._most_bytes


def _generator(items: Iterable[_Item]) -> Generator[_Item, None, None]:
    """Make a generator that closes another one, in the thread that runs both."""
    yield from items
