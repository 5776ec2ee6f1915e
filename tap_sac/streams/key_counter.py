"""How many different keys a read has: exactly, and with little memory."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections import Counter
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from tap_sac.streams.page_spool import no_room_error

if TYPE_CHECKING:
    from collections.abc import Iterator

# About 20 MB. A read in slices has two counters.
_MOST_IN_MEMORY = 250_000
_HASH_BYTES = 8
# Of 20 million hashes, each part has some 300,000: as much memory as above, one part at a time.
_PARTS = 64
_SHIFT = 8 * _HASH_BYTES - _PARTS.bit_length() + 1


class KeyCounter:
    """Counts different keys by their hashes, which go into a temporary file when they are many.

    The file is split by ranges of hashes, so that one range at a time is enough to count them.
    """

    def __init__(self) -> None:
        """Be empty; there is no file yet."""
        # The last ones: what they are, and the order in which they came.
        self._recent: set[int] = set()
        self._in_order: list[int] = []
        self._file: IO[bytes] | None = None
        # Where the hashes of each part are: position and bytes.
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(_PARTS)]

    def close(self) -> None:
        """Forget all keys."""
        self._recent, self._in_order = set(), []
        self._places = [[] for _ in range(_PARTS)]
        if self._file:
            self._file.close()
            self._file = None

    def add(self, hashes: list[int], *, finds: bool = True) -> set[int]:
        """Count keys.

        Args:
            hashes: Their hashes.
            finds: Whether to find those that came before.

        Returns:
            Those that came before. Only recent ones are looked at, which is quick.

        Raises:
            SACError: If there is no room for the temporary file.
        """
        recent = self._recent
        size = len(recent)
        recent.update(hashes)
        again: set[int] = set()
        if finds and len(recent) - size < len(hashes):
            again = {*self._in_order}.intersection(hashes)
            again.update(item for item, times in Counter(hashes).items() if times > 1)
        self._in_order += hashes
        if len(self._in_order) >= _MOST_IN_MEMORY:
            self._spill()
        return again

    def count(self) -> int:
        """Return how many are different.

        Raises:
            SACError: If the temporary file cannot be read.
        """
        if self._file is None:
            return len(self._recent)
        self._spill()
        return sum(len(self._part(number)) for number in range(_PARTS))

    def knows(self, number: int) -> bool:
        """Return whether a hash is one of those that were added."""
        return number in self._recent or number in self._part(number >> _SHIFT)

    def _spill(self) -> None:
        """Move what is in memory to the file."""
        parts: list[list[int]] = [[] for _ in range(_PARTS)]
        appends = [part.append for part in parts]
        for number in self._in_order:  # In this order, they are next to each other in memory.
            appends[number >> _SHIFT](number)
        self._recent, self._in_order = set(), []
        with _file_errors():
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  (`close` closes it)
            end = self._file.seek(0, os.SEEK_END)
            for places, part in zip(self._places, parts, strict=True):
                size = self._file.write(array("q", part).tobytes())
                places.append((end, size))
                end += size

    def _part(self, number: int) -> set[int]:
        found: set[int] = set()
        if self._file:
            with _file_errors():
                for position, size in self._places[number]:
                    self._file.seek(position)
                    found.update(array("q", self._file.read(size)))
        return found


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise no_room_error(error) from None
