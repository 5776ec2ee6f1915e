"""Reading ahead of the writer: the next page, and the tables behind it."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import cached_property
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

_Item = TypeVar("_Item")


class ReadAhead(Generic[_Item]):
    """Reads several tables at a time, each in its own order, ahead of their turn.

    A table has a thread of its own while it is read, which is never more than two items ahead of
    its consumer: so memory does not grow with the tables. The threads are daemons, because an
    answer may take minutes, and a process that has failed must not wait for it.
    """

    def __init__(
        self, parallel: int, plan: Callable[[], Mapping[Any, Callable[[], Iterable[_Item] | None]]]
    ) -> None:
        """Make a reader, which begins with the first table that is asked for.

        Args:
            parallel: How many tables are read at once, with the one whose turn it is.
            plan: Says then which tables there are, in the order in which they will be asked for,
                and how to begin to read each; what gives None is not read before its turn.
        """
        self._parallel = parallel
        self._plan = plan
        self._readers: dict[Hashable, _Reader[_Item]] = {}

    @cached_property
    def _planned(self) -> dict[Hashable, Callable[[], Iterable[_Item] | None]]:
        return dict(self._plan())

    def read(self, name: Hashable, items: Callable[[], Iterable[_Item]]) -> Iterator[_Item]:
        """Read a table, whose turn it is now.

        Args:
            name: Its name in the plan, if it is there.
            items: Begins to read it, unless that has happened ahead.

        Raises:
            Exception: Whatever reading the table raises, after the items before it.
        """
        self._planned.pop(name, None)
        reader = self._readers.pop(name, None) or _Reader(items())
        self._readers[name] = reader
        self._begin_next()
        try:
            yield from reader
        finally:
            reader.close()
            self._readers.pop(name, None)

    def close(self) -> None:
        """Give up what has been read ahead."""
        self._planned.clear()
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _begin_next(self) -> None:
        for name, begin in list(self._planned.items()):
            if len(self._readers) >= self._parallel:
                return
            del self._planned[name]
            if (items := begin()) is not None:
                self._readers[name] = _Reader(items)


class _Reader(Generic[_Item]):
    """A thread that reads a table."""

    def __init__(self, items: Iterable[_Item]) -> None:
        self._items = items
        self._queue: Queue[_Item | _End] = Queue(maxsize=1)
        self._is_closed = False
        threading.Thread(target=self._run, name="tap-sac reader", daemon=True).start()

    def __iter__(self) -> Iterator[_Item]:
        while not isinstance(item := self._queue.get(), _End):
            yield item
        if item.error:
            raise item.error

    def close(self) -> None:
        """Let the thread end after the request that is under way."""
        self._is_closed = True
        with suppress(Empty):
            self._queue.get_nowait()

    def _run(self) -> None:
        error = None
        try:
            for item in self._items:
                self._queue.put(item)
                if self._is_closed:
                    return
        except BaseException as caught:  # noqa: BLE001  (raised again where the items are taken)
            error = caught
        self._queue.put(_End(error))


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error
