"""Makes records of the changes behind a delta link."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import DeltaLostError
from tap_sac.sac.export.delta import deleted_id
from tap_sac.sac.odata.entity_ids import EntityIds
from tap_sac.singer.schema import DELETED_AT
from tap_sac.streams.changed_keys import ChangedKeys
from tap_sac.streams.reading import Changes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from singer_sdk.helpers.types import Record

    from tap_sac.sac.odata.model import EntitySet
    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.keys import Key
    from tap_sac.streams.reading import Reading


class ChangeRecords:
    """Makes records of the changes behind a delta link, page by page.

    Attributes:
        found: The number of changes so far, and how many of them are deletions.
    """

    def __init__(
        self, reading: Reading, entity_set: EntitySet, *, aggregated: Collection[str] = ()
    ) -> None:
        """Start with no changes."""
        self.found = Changes(0, 0)
        columns = reading.columns
        types = {item.name: item.type for item in entity_set.properties}
        self._ids = EntityIds({name: types[name] for name in entity_set.key})
        self._nulls = dict.fromkeys([*columns, *(item.name for item in entity_set.own_columns)])
        self._columns = set(columns)
        self._values = self._columns - set(entity_set.key)
        self._complete: set[str] = set()
        self._missing: set[str] = set()
        self._maker = reading.make(None, None)
        self._aggregated = aggregated
        is_watched = aggregated or (reading.has_key and reading.source.is_counted)
        self._keys = ChangedKeys(reading) if is_watched else None

    def close(self) -> None:
        """Discard the keys."""
        if self._keys:
            self._keys.close()

    def check_keys(self, extra_facts: int) -> None:
        """Check the keys after the last page, like `ChangedKeys.check`."""
        if self._keys:
            self._keys.check(extra_facts, self._missing)

    def records(self, page: Page) -> Iterator[Record]:
        """Make records of new and changed rows as they are, and marked records of deleted rows.

        Raises:
            DeltaLostError: If a row lacks a column that others have, or has only its key; if it is
                unclear which row was deleted; or if rows are not aggregated as expected.
        """
        rows = page.rows
        deleted = [*map(deleted_id, rows)]
        deletions = len(rows) - deleted.count(None)
        self.found = Changes(self.found.rows + len(rows), self.found.deletions + deletions)
        for row, entity_id in zip(rows, deleted, strict=True):
            if entity_id is None:
                self._ids.learn(row)
                if not row.keys().isdisjoint(self._aggregated):
                    raise self._not_aggregated_error()
                self._compare_columns(row)
        keys: list[Key] = []
        for row, entity_id in zip(rows, deleted, strict=True):
            if entity_id is None:
                (record,) = self._maker.records([row])
            else:
                record = self._deletion(entity_id)
            if self._keys:
                keys += self._maker.read_keys([record])
            yield record
        if self._keys:
            self._keys.add(keys, [entity_id is not None for entity_id in deleted])
            if self._aggregated and self._keys.has_repeated:
                raise self._not_aggregated_error()

    def _compare_columns(self, row: Mapping[str, Any]) -> None:
        """Check that all changed rows have the same columns: a missing value need not be null."""
        if self._values and self._values.isdisjoint(row):
            # By OData, nothing else changed; other services omit nulls.
            msg = "a changed row has only its key columns"
            raise DeltaLostError(msg)
        present = self._columns & row.keys()
        self._complete |= present
        self._missing |= self._columns - present
        if partly := sorted(self._complete & self._missing):
            msg = f"a changed row lacks the column {partly[0]}, which other rows have"
            raise DeltaLostError(msg)

    def _not_aggregated_error(self) -> DeltaLostError:
        """Report changes that SAC has not aggregated like the table.

        Whether it does is not documented. Changes of single facts have other dimensions, too, or
        several rows for one key.
        """
        names = ", ".join(self._aggregated)
        return DeltaLostError(f"SAC sent changes that are not aggregated over {names}")

    def _deletion(self, entity_id: str) -> Record:
        """Make the record of a deleted row: its key, and nulls in all other columns."""
        key = self._ids.read(entity_id)
        if None in key.values():
            msg = (
                f"the id of a deleted entity has no value for {[*key][[*key.values()].index(None)]}"
            )
            raise DeltaLostError(msg)
        deleted_at = datetime.now(timezone.utc).isoformat()
        return {**self._nulls, **self._maker.key_record(key), DELETED_AT.name: deleted_at}
