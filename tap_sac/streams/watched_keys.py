"""Watches the keys of a read: how many are different, and the first repeated one."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tap_sac.sac.odata.conditions import both, equals
from tap_sac.safety.text import plural
from tap_sac.singer.keys import key_values
from tap_sac.streams.key_counter import KeyCounter
from tap_sac.streams.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    import msgspec

    from tap_sac.sac.export.tables import Table
    from tap_sac.singer.keys import Key, Keys
    from tap_sac.streams.reading import Reading

_MOST_ROWS = 20_000_000
# The maximum numbers of repeated members to look up in SAC, and of their rows.
_MOST_REPEATED = 200
_MOST_ROWS_ASKED_FOR = 1_000


class WatchedKeys:
    """Watches the keys of the records of a read.

    Attributes:
        rows: The number of records with a key.
        is_over: Whether there are too many rows to watch.
        is_answered: Whether SAC has answered which of the repeated rows it has.
    """

    def __init__(self, reading: Reading, table: Table, answers: dict[Key, bool | None]) -> None:
        """Start before the first record.

        Args:
            reading: The read.
            table: Used to look up the rows of a key.
            answers: SAC's answers about keys of facts, each requested once.
        """
        self.rows = 0
        self.is_over = self.is_answered = False
        self._reading = reading
        self._table = table
        self._answers = answers
        self._counter = KeyCounter()
        # The first repeated keys, and how often they were sent; of facts, one is enough.
        self._repeated: dict[Key, int] = {}
        self._hashes: set[int] = set()
        self._most = 1 if reading.source.kind.has_dimensions else _MOST_REPEATED

    def close(self) -> None:
        """Discard all keys."""
        self._counter.close()

    def add(self, keys: Keys) -> None:
        """Watch the keys of some records."""
        self.rows += len(keys.hashes)
        if self.is_over:
            return
        again = self._counter.add(keys.hashes, finds=len(self._repeated) < self._most)
        if again or (self._hashes and not self._hashes.isdisjoint(keys.hashes)):
            self._note(keys, again)
        if self.rows > _MOST_ROWS:
            self.is_over = True
            self._counter.close()
            self._reading.logger.info(
                "%s has more than %s rows, so their keys are not compared.",
                self._reading.name,
                f"{_MOST_ROWS:,}",
            )
            self._reading.warn_of_repeated_keys(self._table.count())

    def _note(self, keys: Keys, again: dict[int, int]) -> None:
        new: dict[Key, int] = {}
        for key, number in zip(keys, keys.hashes, strict=True):
            if key in self._repeated:
                self._repeated[key] += 1
            elif number in again and (key in new or len(self._repeated) + len(new) < self._most):
                new[key] = again[number]
        self._repeated |= new
        self._hashes.update(map(hash, new))

    @property
    def are_in_memory(self) -> bool:
        """Whether `count` is quick."""
        return self._counter.is_in_memory

    def count(self) -> int:
        """Return the number of different keys."""
        return self._counter.count()

    def knows(self, row: msgspec.Raw) -> bool:
        """Return whether the key of a row was added before."""
        return not self.is_over and self._counter.knows(hash(_keys_of(self._reading, [row])[0]))

    def are_filtered(self, rows: list[msgspec.Raw]) -> bool:
        """Ask SAC whether the filter excludes existing rows that were sent all the same."""
        reading, keys = self._reading, _keys_of(self._reading, rows)
        plain = {name: text for name, text in reading.query.items() if name != "$filter"}
        kept = count_rows(reading, self._table, keys)
        there = count_rows(reading, reading.source.table(plain), keys)
        if kept is None or there is None or max(kept.values(), default=0) > 1:
            return False
        return not there.keys() <= kept.keys()

    @property
    def repeated(self) -> Key | None:
        """The first repeated key; None if none is known."""
        return next(iter(self._repeated), None)

    @property
    def repeated_values(self) -> dict[str, Any]:
        """The values of the first repeated key, by column."""
        key = self.repeated
        return {} if key is None else key_values(self._reading.source.key, key)

    @property
    def are_several(self) -> bool | None:
        """Whether SAC has several rows with the first repeated key; None if unknown."""
        key = self.repeated
        if key is None:
            return None
        if key not in self._answers:
            found = count_rows(self._reading, self._table, [key])
            self._answers[key] = None if found is None else found[key] > 1
        return self._answers[key]

    def count_listed(self, number: int, label: str) -> int:
        """Return how many rows SAC itself has beyond one per key, and warn of them.

        If SAC has all rows of the first repeated keys, the other keys are assumed to be alike.

        Args:
            number: The number of different keys.
            label: The name of the rows for messages.
        """
        sums = zip(self._repeated, accumulate(self._repeated.values()), strict=True)
        asked = [key for key, rows in sums if rows <= _MOST_ROWS_ASKED_FOR] or [*self._repeated][:1]
        more = sum(self._repeated[key] - 1 for key in asked)
        found = count_rows(self._reading, self._table, asked, more) if asked else None
        self.is_answered = found is not None
        listed = {key: rows - 1 for key, rows in (found or {}).items()}
        rows = sum(listed.values())
        if not rows:
            return 0
        if rows == more and (len(asked) < len(self._repeated) or len(asked) == self._most):
            rows = self.rows - number
        key = next(key for key in listed if listed[key])
        self._reading.logger.warning(
            "SAC has several rows of %s under one key (%s; %s): a target keeps only one per key.",
            label,
            shown_key(key_values(self._reading.source.key, key)),
            plural(rows, "extra row"),
        )
        return rows


def shown_key(key: dict[str, object]) -> str:
    """Write a key for a message."""
    texts = (str(value) if isinstance(value, Decimal) else repr(value) for value in key.values())
    return ", ".join(map("{}={}".format, key, texts))


def count_rows(
    reading: Reading, table: Table, keys: list[Key], more: int = 1
) -> Counter[Key] | None:
    """Look up how many rows keys have, as `rows_of_keys` does; None if SAC does not answer."""
    rows = rows_of_keys(reading, table, keys, more)
    return None if rows is None else Counter(_keys_of(reading, rows))


def rows_of_keys(
    reading: Reading, table: Table, keys: list[Key], more: int = 1
) -> list[msgspec.Raw] | None:
    """Look up the rows of keys in SAC, several keys per request.

    Args:
        reading: The read.
        table: Used to look them up.
        keys: The keys.
        more: How many more rows than keys to request: one shows that a key has several.

    Returns:
        The rows that SAC sent; None if it does not answer.
    """
    rows: list[msgspec.Raw] = []
    try:
        for condition, asked in _conditions(reading, keys):
            found = table.first_rows(len(asked) + more, condition)
            if found is None:
                return None
            rows += found
    except ValueError:  # A key has a type without a known literal.
        return None
    is_heeded = {*_keys_of(reading, rows)} <= {*keys}
    return rows if is_heeded else None


def _conditions(reading: Reading, keys: list[Key]) -> Iterator[tuple[str, list[Key]]]:
    """Write conditions that match the rows of all keys, short enough for a URL."""
    source = reading.source
    columns = {item.name: item for item in source.entity_set.properties}
    each = [
        " and ".join(
            equals(columns[name], value) for name, value in key_values(source.key, key).items()
        )
        for key in keys
    ]
    condition = each[0] if len(each) == 1 else f"(({') or ('.join(each)}))"
    asked = {**reading.query, "$filter": both(source.filter, condition), "$top": str(len(keys) + 1)}
    half = len(keys) // 2
    if half and isinstance(source, Source) and not source.has_room_for(asked):
        yield from _conditions(reading, keys[:half])
        yield from _conditions(reading, keys[half:])
    else:
        yield condition, keys


def _keys_of(reading: Reading, rows: list[msgspec.Raw]) -> list[Key]:
    found: list[Key] = []
    reading.make(None, found.extend).lines(rows, "SAC's response")
    return found
