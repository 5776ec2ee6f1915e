"""Whether a key comes twice among the raw rows of an answer to a delta link."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MOST_KEYS = 1_000_000
_HASH_BYTES = 16
_NULL = msgspec.Raw(b"null")


class KeyWatch:
    """Remembers the keys of the first million rows, to see one that comes again."""

    def __init__(self, key: Sequence[str]) -> None:
        """Remember nothing yet."""
        fields = [(f"key_{number}", msgspec.Raw, _NULL) for number in range(len(key))]
        names = {f"key_{number}": name for number, name in enumerate(key)}
        row = msgspec.defstruct("Key", fields, rename=names, frozen=True, gc=False)
        self._decoder: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]
        self._hashes: set[bytes] = set()

    def has_repeated(self, items: Iterable[msgspec.Raw]) -> bool:
        """Look at rows, and return whether the key of one came before."""
        for row in self._decoder.decode(b"[" + b",".join(items) + b"]"):
            if len(self._hashes) >= _MOST_KEYS:
                return False
            values = b",".join(map(bytes, msgspec.structs.astuple(row)))
            digest = blake2b(values, digest_size=_HASH_BYTES).digest()
            if digest in self._hashes:
                return True
            self._hashes.add(digest)
        return False
