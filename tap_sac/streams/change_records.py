"""The records of an answer to a delta link."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import DeltaLostError
from tap_sac.sac.export.delta import deleted_id
from tap_sac.sac.odata.entity_ids import EntityIds
from tap_sac.singer.schema import DELETED_AT
from tap_sac.streams.key_watch import KeyWatch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from singer_sdk.helpers.types import Record

    from tap_sac.sac.odata.model import EntitySet
    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.records import RecordMaker


class ChangeRecords:
    """Makes records of the answer to a delta link, page by page."""

    def __init__(
        self,
        entity_set: EntitySet,
        columns: list[str],
        maker: RecordMaker,
        *,
        aggregated: Collection[str] = (),
    ) -> None:
        """Begin an answer."""
        types = {item.name: item.type for item in entity_set.properties}
        self._ids = EntityIds({name: types[name] for name in entity_set.key})
        self._nulls = dict.fromkeys([*columns, *(item.name for item in entity_set.own_columns)])
        self._columns = set(columns)
        self._complete: set[str] = set()
        self._missing: set[str] = set()
        self._maker = maker
        self._aggregated = aggregated
        self._key_watch = KeyWatch(entity_set.key) if aggregated else None

    def records(self, page: Page) -> Iterator[Record]:
        """Make records of new and changed rows as they are, and of deleted ones with a mark.

        Raises:
            DeltaLostError: If a row lacks a column that others have, nobody can know which row was
                deleted, or rows are not aggregated as they should be.
        """
        rows = page.rows
        self._check_aggregated(page, rows)
        for row in rows:
            if deleted_id(row) is None:
                self._ids.learn(row)
                self._compare_columns(row)
        for row in rows:
            entity_id = deleted_id(row)
            if entity_id is None:
                yield from self._maker.records([row])
            else:
                yield self._deletion(entity_id)

    def _compare_columns(self, row: Mapping[str, Any]) -> None:
        """See that all changed rows have the same columns: one that is missing is not null."""
        present = self._columns & row.keys()
        self._complete |= present
        self._missing |= self._columns - present
        if partly := sorted(self._complete & self._missing):
            msg = f"a changed row lacks the column {partly[0]}, which other rows have"
            raise DeltaLostError(msg)

    def _check_aggregated(self, page: Page, rows: list[dict[str, Any]]) -> None:
        """See that SAC has aggregated the changes like the table, which nobody documents.

        Changes of single facts would have other dimensions too, or come more than once for a key.
        """
        if self._key_watch is None:
            return
        changed = [
            (item, row)
            for item, row in zip(page.items, rows, strict=True)
            if deleted_id(row) is None
        ]
        is_single = any(not row.keys().isdisjoint(self._aggregated) for _, row in changed)
        if is_single or self._key_watch.has_repeated([item for item, _ in changed]):
            names = ", ".join(self._aggregated)
            msg = f"SAC sent changes that are not aggregated over {names}"
            raise DeltaLostError(msg)

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
