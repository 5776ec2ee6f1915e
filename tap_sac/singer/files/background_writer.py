"""Writing in a thread, while the next item is being made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

_Item = TypeVar("_Item")


@contextmanager
def writing_behind(write: Callable[[_Item], object]) -> Iterator[Callable[[_Item], None]]:
    """Yield a function that writes an item in a thread.

    It waits for the item before, so at most one is being written, and raises what writing that one
    raised. On exit, everything is written.

    This pays where writing takes long and releases Python's lock, as compression does.
    """
    under_way: list[Future[object]] = []

    def wait() -> None:
        while under_way:
            under_way.pop().result()

    def write_next(item: _Item) -> None:
        wait()
        under_way.append(executor.submit(write, item))

    with ThreadPoolExecutor(1, thread_name_prefix="writer") as executor:
        yield write_next
        wait()
