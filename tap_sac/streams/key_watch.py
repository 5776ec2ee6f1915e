"""Whether SAC stores several facts under one key.

Imports, data actions and manual entry may each add a fact of their own to a cell, so a key may
have many facts, which add up. FactDataAggregation over all dimensions has one row for each key.
A target that replaces rows by their key would keep one of several facts, and totals would be
wrong.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_MOST_KEYS = 1_000_000
_HASH_BYTES = 16
_NULL = msgspec.Raw(b"null")


class KeyWatch:
    """Remembers the keys of the first million rows, to see one that comes again."""

    def __init__(self, key: Sequence[str]) -> None:
        """Remember nothing yet."""
        self._key = key
        fields = [(f"key_{number}", msgspec.Raw, _NULL) for number in range(len(key))]
        names = {f"key_{number}": name for number, name in enumerate(key)}
        row = msgspec.defstruct("Key", fields, rename=names, frozen=True, gc=False)
        self._decoder: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]
        self._hashes: set[int] = set()

    @property
    def is_full(self) -> bool:
        """Whether it has seen as many keys as it remembers."""
        return len(self._hashes) >= _MOST_KEYS

    def first_repeated(self, items: Iterable[msgspec.Raw]) -> dict[str, Any] | None:
        """Look at rows, and return the first key that came before; None if none did."""
        for number, values in self._hashed(items):
            if self.is_full:
                return None
            if number in self._hashes:
                return dict(zip(self._key, map(json.loads, values), strict=True))
            self._hashes.add(number)
        return None

    def _hashed(self, items: Iterable[msgspec.Raw]) -> Iterator[tuple[int, list[bytes]]]:
        """Return the hash of each row's key, with the JSON texts of its values."""
        for row in self._decoder.decode(b"[" + b",".join(items) + b"]"):
            values = [bytes(value) for value in msgspec.structs.astuple(row)]
            digest = blake2b(b",".join(values), digest_size=_HASH_BYTES).digest()
            yield int.from_bytes(digest, "big"), values
