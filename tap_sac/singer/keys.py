"""The keys of records, in a form that can be compared and hashed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tap_sac.sac.odata.decimals import ENCODER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# Texts are themselves, and other values their JSON: Python hashes -1 and -2 alike, but not b"-1"
# and b"-2". A key of one column is no tuple.
Key = str | bytes | tuple[str | bytes, ...]


def key_reader(get: Callable[[Any], Any], are_texts: Sequence[bool]) -> Callable[[Any], Key]:
    """Return a function that reads the key of a record, or of the struct that stands for it.

    Args:
        get: Gets the values of the key columns: a tuple, or the value if there is only one.
        are_texts: Which of the columns hold texts that need no format.
    """
    if all(are_texts):
        return get
    if len(are_texts) == 1:
        return lambda row: _as_json(get(row))
    return lambda row: tuple(
        value if is_text else _as_json(value)
        for value, is_text in zip(get(row), are_texts, strict=True)
    )


def key_values(names: Iterable[str], key: Key) -> dict[str, Any]:
    """Return the values of a key, by column."""
    values = key if isinstance(key, tuple) else (key,)
    return {
        name: msgspec.json.decode(value) if isinstance(value, bytes) else value
        for name, value in zip(names, values, strict=True)
    }


def _as_json(value: object) -> bytes:
    return bytes(value) if isinstance(value, msgspec.Raw) else ENCODER.encode(value)
