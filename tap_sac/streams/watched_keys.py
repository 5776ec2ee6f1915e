"""The keys of a read: how many are different, and the first one that came again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_sac.sac.odata.conditions import equals
from tap_sac.singer.keys import Key, key_values
from tap_sac.streams.key_counter import KeyCounter

if TYPE_CHECKING:
    import msgspec

    from tap_sac.sac.export.tables import Table
    from tap_sac.streams.reading import Reading

_MOST_ROWS = 20_000_000


class WatchedKeys:
    """Watches the keys of the records of a read.

    Attributes:
        rows: How many records had a key.
        repeated: The first key that came again; None if none is known.
        is_over: Whether there are more rows than it counts.
    """

    def __init__(self, reading: Reading, table: Table, answers: dict[Key, bool | None]) -> None:
        """Begin before the first record.

        Args:
            reading: The read.
            table: Where SAC is asked for the rows of a key.
            answers: What SAC has said about keys, which is asked once.
        """
        self.rows = 0
        self.repeated: Key | None = None
        self.is_over = False
        self._reading = reading
        self._table = table
        self._answers = answers
        self._counter = KeyCounter()

    def close(self) -> None:
        """Forget all keys."""
        self._counter.close()

    def add(self, keys: list[Key]) -> None:
        """Watch the keys of some records.

        Raises:
            SACError: If there is no room for a temporary file.
        """
        self.rows += len(keys)
        if self.is_over:
            return
        hashes = list(map(hash, keys))
        again = self._counter.add(hashes, finds=self.repeated is None)
        if again:
            pairs = zip(keys, hashes, strict=True)
            self.repeated = next(key for key, number in pairs if number in again)
        if self.rows > _MOST_ROWS:
            self.is_over = True
            self._counter.close()
            self._reading.logger.info(
                "%s has more than %s rows, so their keys are not compared.",
                self._reading.name,
                f"{_MOST_ROWS:,}",
            )

    def count(self) -> int:
        """Return how many different keys came."""
        return self._counter.count()

    def knows(self, row: msgspec.Raw) -> bool:
        """Return whether the key of a row is one of those that came."""
        return not self.is_over and self._counter.knows(hash(self._keys_of([row])[0]))

    @property
    def repeated_values(self) -> dict[str, Any]:
        """The values of the first key that came again, by column."""
        return {} if self.repeated is None else self._values(self.repeated)

    @property
    def are_several(self) -> bool | None:
        """Whether SAC has several rows of the first key that came again; None if unknown."""
        key = self.repeated
        if key is None:
            return None
        if key not in self._answers:
            self._answers[key] = self._ask(key)
        return self._answers[key]

    def _ask(self, key: Key) -> bool | None:
        columns = {item.name: item for item in self._reading.source.entity_set.properties}
        try:
            values = self._values(key).items()
            condition = " and ".join(equals(columns[name], value) for name, value in values)
        except ValueError:  # Of a type that has no literal that is known.
            return None
        rows = self._table.first_two(condition)
        if rows is None:
            return None
        found = self._keys_of(rows)
        return len(found) > 1 if all(item == key for item in found) else None

    def _values(self, key: Key) -> dict[str, Any]:
        return key_values(self._reading.source.key, key)

    def _keys_of(self, rows: list[msgspec.Raw]) -> list[Key]:
        found: list[Key] = []
        self._reading.make(None, found.extend).lines(rows, "SAC's answer")
        return found
