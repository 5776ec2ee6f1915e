"""Watches the keys of changed rows: SAC may have several facts under one of them."""

from __future__ import annotations

from itertools import compress, islice
from operator import not_
from typing import TYPE_CHECKING

from tap_sac.sac.errors import DeltaLostError
from tap_sac.sac.odata.pages import read_rows
from tap_sac.safety.text import plural
from tap_sac.singer.keys import key_values
from tap_sac.streams.endless import EndWatch
from tap_sac.streams.key_counter import KeyCounter
from tap_sac.streams.proof import several_facts
from tap_sac.streams.watched_keys import count_rows, rows_of_keys, shown_key

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection

    from tap_sac.singer.keys import Key
    from tap_sac.streams.reading import Reading

# The maximum numbers of keys to look up in SAC: repeated ones, and changed ones.
_MOST_REPEATED = 20
_MOST_CHANGED = 1_000


class ChangedKeys:
    """Watches the keys of changed and deleted rows.

    A target keeps the last row of a key. That is right if a row was changed several times, but
    wrong if SAC has several rows with that key.
    """

    def __init__(self, reading: Reading) -> None:
        """Start before the first row."""
        self._reading = reading
        self._table = reading.source.table(reading.query)
        self._counter = KeyCounter()
        self._end = EndWatch(reading.name)
        self._rows = 0
        # The first repeated keys, and whether the last row of each is a deletion.
        self._repeated: dict[Key, bool] = {}
        # The first keys of deleted and of changed rows.
        self._deleted: list[Key] = []
        self._changed: list[Key] = []

    def close(self) -> None:
        """Discard all keys."""
        self._counter.close()

    @property
    def has_repeated(self) -> bool:
        """Whether a repeated key is known."""
        return bool(self._repeated)

    def add(self, keys: list[Key], are_deleted: list[bool]) -> None:
        """Watch the keys of a page; raise a `DeltaLostError` if the pages have no end."""
        again = self._counter.add(list(map(hash, keys)))
        self._rows += len(keys)
        counter = self._counter
        problem = self._end.problem(
            self._rows, len(keys), None, counter.count, is_quick=counter.is_in_memory
        )
        if problem:
            raise DeltaLostError(problem)
        room = _MOST_CHANGED - len(self._changed)
        self._changed += islice(compress(keys, map(not_, are_deleted)), room)
        self._deleted += islice(compress(keys, are_deleted), _MOST_CHANGED - len(self._deleted))
        if not (again or self._repeated):
            return
        for key, is_deleted in zip(keys, are_deleted, strict=True):
            has_room = len(self._repeated) < _MOST_REPEATED
            if key in self._repeated or (has_room and hash(key) in again):
                self._repeated[key] = is_deleted

    def check(self, extra_facts: int, missing: Collection[str]) -> None:
        """Check, after the last page, that no key has several facts, and no row lacks a value.

        Args:
            extra_facts: How many more facts than keys SAC counted when the chain was opened.
            missing: The columns that no changed row has.

        Raises:
            DeltaLostError: If one has, or SAC does not show which row of a key is the latest.
        """
        if self._repeated:
            self._check_repeated()
        elif self._counter.count() < self._rows:
            msg = "a key was sent twice, too far apart to identify it"
            raise DeltaLostError(msg)
        if self._changed and missing:
            self._check_missing(missing)
        if self._changed:
            self._check_counts(extra_facts)

    def _check_missing(self, columns: Collection[str]) -> None:
        """Check with some rows that the columns are null; by OData, they would be unchanged."""
        keys = [*dict.fromkeys(self._changed[:_MOST_REPEATED])]
        found = rows_of_keys(self._reading, self._table, keys) or []
        for row in read_rows(found, "SAC's response"):
            if there := sorted(name for name in columns if row.get(name) is not None):
                msg = f"changed rows lack the column {there[0]}, which SAC has"
                raise DeltaLostError(msg)

    def _check_repeated(self) -> None:
        found = self._ask([*self._repeated])
        for key, is_deleted in self._repeated.items():
            is_mixed = is_deleted or key in self._deleted
            if found is None or (is_mixed and is_deleted == bool(found[key])):
                shown = shown_key(key_values(self._reading.source.key, key))
                msg = f"a key was sent twice ({shown}), and SAC does not show which row is newer"
                raise DeltaLostError(msg)

    def _check_counts(self, extra_facts: int) -> None:
        """Look up the changed keys if the surplus of facts over keys has grown since then."""
        reading = self._reading
        count = self._table.count()
        extra = reading.extra_facts(count)
        if count is None or extra <= extra_facts or self._table.count() != count:
            return
        keys = [*dict.fromkeys(self._changed)]
        found = self._ask(keys)
        reading.logger.warning(
            "SAC counts %s of %s but %s, and shows %s: run with --full-refresh to look for several "
            "facts under one key.",
            plural(count, "fact"),
            reading.name,
            plural(count - extra, "key"),
            "no rows of the changed keys"
            if found is None
            else f"none with two facts among {plural(len(keys), 'changed key')}",
        )

    def _ask(self, keys: list[Key]) -> Counter[Key] | None:
        """Ask how many rows keys have, which must not be several; None if SAC does not answer."""
        reading = self._reading
        found = count_rows(reading, self._table, keys)
        for key, rows in (found or {}).items():
            if rows > 1:
                values = key_values(reading.source.key, key)
                raise DeltaLostError(several_facts(reading.name, values))
        return found
