"""Watches the keys of a read: how many are different, and the first repeated one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tap_sac.sac.odata.conditions import both, equals
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


class WatchedKeys:
    """Watches the keys of the records of a read.

    Attributes:
        rows: The number of records with a key.
        repeated: The first repeated key; None if none is known.
        is_over: Whether there are too many rows to watch.
    """

    def __init__(self, reading: Reading, table: Table, answers: dict[Key, bool | None]) -> None:
        """Start before the first record.

        Args:
            reading: The read.
            table: Used to look up the rows of a key.
            answers: SAC's answers about keys, each requested once.
        """
        self.rows = 0
        self.repeated: Key | None = None
        self.is_over = False
        self._reading = reading
        self._table = table
        self._answers = answers
        self._counter = KeyCounter()

    def close(self) -> None:
        """Discard all keys."""
        self._counter.close()

    def add(self, keys: Keys) -> None:
        """Watch the keys of some records."""
        self.rows += len(keys.hashes)
        if self.is_over:
            return
        if again := self._counter.add(keys.hashes, finds=self.repeated is None):
            pairs = zip(keys, keys.hashes, strict=True)
            self.repeated = next(key for key, number in pairs if number in again)
        if self.rows > _MOST_ROWS:
            self.is_over = True
            self._counter.close()
            self._reading.logger.info(
                "%s has more than %s rows, so their keys are not compared.",
                self._reading.name,
                f"{_MOST_ROWS:,}",
            )
            self._reading.suspects_repeated_keys(self._table.count())

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
    def repeated_values(self) -> dict[str, Any]:
        """The values of the first repeated key, by column."""
        return {} if self.repeated is None else key_values(self._reading.source.key, self.repeated)

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


def count_rows(reading: Reading, table: Table, keys: list[Key]) -> Counter[Key] | None:
    """Look up the rows of keys in SAC, several keys per request.

    Returns:
        The number of rows of each key; if a key has several, the counts end with it. None if SAC
        does not answer.
    """
    found: Counter[Key] = Counter()
    try:
        for condition, asked in _conditions(reading, keys):
            # One more row than keys is enough to show that a key has several.
            rows = table.first_rows(len(asked) + 1, condition)
            if rows is None:
                return None
            found.update(_keys_of(reading, rows))
            if not found.keys() <= {*keys}:  # SAC ignored the filter.
                return None
            if max(found.values(), default=0) > 1:
                break
    except ValueError:  # A key has a type without a known literal.
        return None
    return found


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
