"""How many different keys a read has: exactly, and with little memory."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections import Counter
from itertools import accumulate
from typing import IO

from tap_sac.streams.page_spool import file_errors

# About 13 MB; a read in slices has two counters. With 157,287, a set doubles its table.
_MOST_IN_MEMORY = 150_000
# So few that they stay in the caches of a processor while they are divided.
_AT_ONCE = 10_000
_HASH_BYTES = 8
# Of 20 million hashes, each part has about as many as there are in memory, one part at a time.
_PARTS = 128
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
        # Between which positions the parts are, for each time that hashes went into the file.
        self._bounds: list[array[int]] = []

    def close(self) -> None:
        """Forget all keys."""
        self._recent, self._in_order, self._bounds = set(), [], []
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
            place = number % _PARTS  # Half of the ranges are below zero.
            with file_errors():
                for bounds in self._bounds:
                    begin, end = bounds[place : place + 2]
                    self._file.seek(begin)
                    found.update(array("q", self._file.read(end - begin)))
        return found
