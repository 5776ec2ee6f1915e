"""The keys of records, as values that can be compared and hashed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from tap_sac.sac.odata.decimals import ENCODER, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable

# Texts stay as they are, and other values are their JSON, because Python hashes -1 and -2 alike,
# but not b"-1" and b"-2". A key of one column is not a tuple.
Key = str | bytes | tuple[str | bytes, ...]
KeyReader = Callable[[Sequence[Any]], Iterator[Key]]
# Targets compare numbers by value: 1.50 is 1.5.
_PADDED = re.compile(rb"(-?\d+)(?:\.0+|(\.\d*[1-9])0+)")


class Keys:
    """The keys of some records: hashed at once, and read again only if needed.

    Attributes:
        hashes: The hash of each key.
    """

    def __init__(self, records: Sequence[Any], read: KeyReader) -> None:
        """Hash the keys of records, or of their structs."""
        self._records = records
        self._read = read
        # Without a list of keys, whose tuples would slow the garbage collector down.
        self.hashes = list(map(hash, read(records)))

    def __iter__(self) -> Iterator[Key]:
        """Read the keys."""
        return self._read(self._records)


def key_reader(get: Callable[[Any], Any], are_texts: Sequence[bool]) -> KeyReader:
    """Return a function that reads the keys of records, or of their structs.

    Args:
        get: Gets the values of the key columns: a tuple, or the value if there is only one.
        are_texts: Which of the columns have texts without a format.
    """
    if all(are_texts):
        return partial(map, get)
    if len(are_texts) == 1:
        return lambda records: map(_as_json, map(get, records))
    return lambda records: (
        tuple(
            value if is_text else _as_json(value)
            for value, is_text in zip(values, are_texts, strict=True)
        )
        for values in map(get, records)
    )


def key_values(names: Iterable[str], key: Key) -> dict[str, Any]:
    """Return the values of a key, by column."""
    values = key if isinstance(key, tuple) else (key,)
    return {
        name: read_json(value) if isinstance(value, bytes) else value
        for name, value in zip(names, values, strict=True)
    }


def _as_json(value: object) -> bytes:
    text = bytes(value) if isinstance(value, msgspec.Raw) else ENCODER.encode(value)
    if text.endswith(b"0") and (padded := _PADDED.fullmatch(text)):
        return b"".join(part or b"" for part in padded.groups())
    return text
