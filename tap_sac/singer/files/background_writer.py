"""Writing in a thread, while what is written next is being made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

_Piece = TypeVar("_Piece")


@contextmanager
def writing_behind(write: Callable[[_Piece], object]) -> Iterator[Callable[[_Piece], None]]:
    """Give a function that passes a piece on to another one, in a thread of its own.

    It waits for the piece before, so no more than one is under way, and raises what writing that
    one raised. At the end, all is written.

    This pays where writing is long enough and leaves Python's lock alone, as compression does.
    """
    under_way: list[Future[object]] = []

    def wait() -> None:
        while under_way:
            under_way.pop().result()

    def write_next(piece: _Piece) -> None:
        wait()
        under_way.append(executor.submit(write, piece))

    with ThreadPoolExecutor(1, thread_name_prefix="writer") as executor:
        yield write_next
        wait()
