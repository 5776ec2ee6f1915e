"""Counts the different keys of a read exactly, with little memory."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections import Counter
from itertools import accumulate
from typing import IO

from tap_sac.streams.page_spool import file_errors

# About 13 MB; a read in slices has two counters. At 157,287, a set doubles its table.
_MOST_IN_MEMORY = 150_000
# Few enough to stay in the processor's caches while they are distributed.
_AT_ONCE = 10_000
_HASH_BYTES = 8
# With 20 million hashes, a part in memory is about as large as `_MOST_IN_MEMORY`.
_PARTS = 128
_SHIFT = 8 * _HASH_BYTES - _PARTS.bit_length() + 1


class KeyCounter:
    """Counts different keys by their hashes, and moves large numbers to a temporary file.

    The file is split by ranges of hashes, so they can be counted one range at a time.
    """

    def __init__(self) -> None:
        """Start empty, without a file."""
        # The most recent hashes, as a set and in their order.
        self._recent: set[int] = set()
        self._in_order: list[int] = []
        self._file: IO[bytes] | None = None
        # The positions of the parts in the file, for each spill.
        self._bounds: list[array[int]] = []

    def close(self) -> None:
        """Discard all keys."""
        self._recent, self._in_order, self._bounds = set(), [], []
        if self._file:
            self._file.close()
            self._file = None

    def add(self, hashes: list[int], *, finds: bool = True) -> dict[int, int]:
        """Count keys.

        Args:
            hashes: Their hashes.
            finds: Whether to find repeated ones.

        Returns:
            The repeated hashes, compared only with recent ones, which is quick, and how often each
            was added.

        Raises:
            SACError: If the temporary file cannot be written.
        """
        recent = self._recent
        size = len(recent)
        recent.update(hashes)
        again: dict[int, int] = {}
        if finds and len(recent) - size < len(hashes):
            before = Counter({*self._in_order}.intersection(hashes))
            again = {item: times for item, times in (Counter(hashes) + before).items() if times > 1}
        self._in_order += hashes
        if len(self._in_order) >= _MOST_IN_MEMORY:
            self._spill()
        return again

    @property
    def is_in_memory(self) -> bool:
        """Whether there is no file yet, so that `count` is quick."""
        return self._file is None

    def count(self) -> int:
        """Return the number of different hashes."""
        if self._file is None:
            return len(self._recent)
        self._spill()
        return sum(len(self._part(number)) for number in range(_PARTS))

    def knows(self, number: int) -> bool:
        """Return whether a hash was added."""
        return number in self._recent or number in self._part(number >> _SHIFT)

    def _spill(self) -> None:
        """Move the hashes in memory to the file."""
        parts = [array("q") for _ in range(_PARTS)]
        for start in range(0, len(self._in_order), _AT_ONCE):
            some: list[list[int]] = [[] for _ in parts]
            for number in self._in_order[start : start + _AT_ONCE]:
                some[number >> _SHIFT].append(number)
            for part, found in zip(parts, some, strict=True):
                part.fromlist(found)
        self._recent, self._in_order = set(), []
        with file_errors():
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  (`close` closes it)
            end = self._file.seek(0, os.SEEK_END)
            self._file.write(b"".join(parts))
        sizes = (len(part) * _HASH_BYTES for part in parts)
        self._bounds.append(array("q", accumulate(sizes, initial=end)))

    def _part(self, number: int) -> set[int]:
        found: set[int] = set()
        if self._file:
            place = number % _PARTS  # Half of the ranges are negative.
            with file_errors():
                for bounds in self._bounds:
                    begin, end = bounds[place : place + 2]
                    self._file.seek(begin)
                    found.update(array("q", self._file.read(end - begin)))
        return found
