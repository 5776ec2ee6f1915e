"""The entity sets of a model: how their rows are asked for, counted and added up."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from singer_sdk.singerlib.catalog import REPLICATION_INCREMENTAL

from tap_sac.sac.errors import DataError, ResponseError, SACError, UnknownEntitySetError
from tap_sac.sac.export.column_values import ColumnValues
from tap_sac.sac.export.kinds import VERSION, is_date_master
from tap_sac.sac.export.tables import CountedTable, CountsWith, UncountedTable
from tap_sac.sac.failures import Failure
from tap_sac.sac.odata.model import NUMBERS
from tap_sac.sac.urls import with_query
from tap_sac.singer.fingerprint import output_fingerprint
from tap_sac.singer.records import PageRecords
from tap_sac.streams.sliced import SlicedRead
from tap_sac.streams.totals import (
    Totals,
    hindrance_to_totals,
    measures_in_filter,
    numeric_measures,
    warn_uncompared,
)
from tap_sac.streams.whole import FullTableStream

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from singer_sdk import Tap
    from singer_sdk.singerlib import Catalog, CatalogEntry

    from tap_sac.sac.export.tables import Table
    from tap_sac.sac.odata.model import EntitySet, Provider
    from tap_sac.sac.odata.pages import Page
    from tap_sac.streams.whole import WholeRead

# Gateways refuse longer ones, some of them from 8 KB on.
_LONGEST_URL = 6_000


class EntitySetStream(FullTableStream):
    """An entity set of a model: facts, master data, hierarchies, audit data."""

    def __init__(
        self,
        tap: Tap,
        *,
        provider: Provider,
        entity_set: EntitySet,
        siblings: Mapping[str, EntitySet],
        partition_by: str | None = None,
        **parts: Any,
    ) -> None:
        """Make a stream of an entity set of a provider.

        Args:
            tap: The tap that it belongs to.
            provider: The model.
            entity_set: Its columns and key.
            siblings: All entity sets of the model, by name.
            partition_by: The column by whose values it is read in slices; None for one go.
            parts: The rest, as of `SACStream`.
        """
        self.provider = provider
        self.partition_by = partition_by
        self._siblings = siblings
        super().__init__(tap, entity_set=entity_set, **parts)
        self.selected_by_default = self.kind.is_selected
        self.has_optional_key = self.kind.is_aggregation

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        """Apply the catalog; SAC aggregates over the dimensions that it deselects."""
        super().apply_catalog(catalog)
        entry = catalog.get_stream(self.name)
        if self.has_optional_key and entry and self.selected:
            self._narrow_key(entry)

    def _narrow_key(self, entry: CatalogEntry) -> None:
        """Leave columns that the catalog deselects out of the key, also of SCHEMA messages."""
        sac_key, catalog_key = self.entity_set.key, tuple(self.primary_keys)
        key = self.selection.selected_key(sac_key)
        self.dropped_key = tuple(name for name in sac_key if name not in key)
        if (primary_keys := self.selection.selected_key(catalog_key)) != catalog_key:
            self.primary_keys = entry.key_properties = primary_keys
        self.entity_set = replace(self.entity_set, key=key)

    def read_first_page(self) -> int:
        """Ask for what a sync would ask for first, and count the records; nothing is written.

        Raises:
            UnknownEntitySetError: If SAC does not serve the entity set.
            SACError: As `read` does.
        """
        columns = self.columns
        self.begin_incremental()
        query = self.query(columns)
        try:
            page = next(iter(self.table(query).pages()))
        except ResponseError as error:
            raise self.refusal(error, query) from None
        self.suspects_repeated_keys(page.count)
        return sum(1 for _ in PageRecords(page, self.record_maker(columns)))

    @property
    def url(self) -> str:
        """Where the rows are."""
        return self.client.entity_set_url(self.provider, self.entity_set.name)

    @override
    def query(self, columns: list[str]) -> dict[str, str]:
        options = super().query(columns)
        is_long = len(with_query(self.url, options)) > _LONGEST_URL
        if is_long and not self.kind.needs_select:
            options.pop("$select", None)  # All columns come then, and the records leave some out.
        return options

    @override
    def begin_read(self, columns: list[str]) -> WholeRead:
        if self.partition_by is None or self.is_dry_run:
            return super().begin_read(columns)
        if hindrance := self._hindrance_to_slices(columns):
            self.warn_unsliced(hindrance)
            return super().begin_read(columns)
        column = next(item for item in self.entity_set.properties if item.name == self.partition_by)
        values = ColumnValues(
            self.client,
            self.provider,
            self._siblings,
            column,
            odata_filter=self.filter,
            is_counted=self.verifies,
            on_response=self.measure,
        )
        person = self.client.user
        place = [self.client.origin, self.provider.namespace_id, self.provider.provider_id]
        place += [person.fingerprint or ""] if person else []
        asked = [self.entity_set.name, self.entity_set.key, sorted(columns), self.filter]
        # Half a table in another form, or in another place, would be none of either.
        form = output_fingerprint(self.name, self.config, self.effective_schema)
        question = json.dumps([*place, *asked, column.name, form], sort_keys=True)
        return SlicedRead(self, columns, column, values, question=question)

    def _hindrance_to_slices(self, columns: list[str]) -> str | None:
        if self.replication_method == REPLICATION_INCREMENTAL:
            return "an INCREMENTAL read has only the rows since the last one"
        if self.kind.is_hierarchy:
            return "a place in a hierarchy is not known before all members are"
        if self.is_withheld:
            return "somebody else has signed in than the last time, so its state is not kept"
        if self.kind.needs_select and self.partition_by not in columns:
            return "SAC adds up rows over a column that is deselected"
        return None

    def warn_unsliced(self, why: str) -> None:
        """Say that the setting partition_by does not apply, and why."""
        self.logger.warning(
            "%s is read in one go, although partition_by names %s, because %s.",
            self.name,
            self.partition_by,
            why,
        )

    @override
    def pages_ahead(self) -> Iterator[Page] | None:
        """Begin to read before the turn of this stream, unless it is read in slices then."""
        return super().pages_ahead() if self.partition_by is None else None

    @override
    def table(self, query: Mapping[str, str], *, track_changes: bool = False) -> Table:
        if not self.verifies:
            url = with_query(self.url, query)
            pages = self.client.pages(url, self.measure, track_changes=track_changes)
            return UncountedTable(pages)
        counts_with = CountsWith.THE_READ
        if self.kind.needs_select:
            counts_with = CountsWith.ITS_SELECT
        elif "$select" in query:
            counts_with = CountsWith.NO_SELECT
        return CountedTable(
            self.client,
            self.url,
            query,
            order=self._order(query),
            counts_with=counts_with,
            track_changes=track_changes,
            on_response=self.measure,
        )

    @override
    def refusal(self, error: ResponseError, query: Mapping[str, str]) -> SACError:
        """Say what SAC cannot prepare: the table, or what is asked of it. Waiting does not help."""
        if not error.is_unprepared:
            return super().refusal(error, query)
        if query and not self._is_unprepared_altogether():
            asked = f"the filter {self.filter!r}" if self.filter else "the columns or page_size"
            what = f"SAC answered {error.reason} to {asked} of the stream {self.name}"
            return SACError(what, Failure.BAD_FILTER if self.filter else Failure.BAD_REQUEST)
        what = f"SAC answered {error.reason}, and cannot export {self.name}"
        if self.kind.is_optional:
            return UnknownEntitySetError(what, Failure.NOT_EXPORTABLE)
        return DataError(what, Failure.NOT_EXPORTABLE)

    @override
    def suspects_repeated_keys(self, count: int | None) -> bool:
        has_sums = self.kind.aggregated_in in self._siblings
        if not (has_sums and self.has_key and count and self.verifies):
            return False
        keys = self._count_keys()
        if keys is None or keys >= count:
            return False
        self.logger.warning(
            "SAC counts %s facts of %s and %s keys: if a key comes twice, the stream fails, "
            "because a target would keep one of its facts.",
            f"{count:,}",
            self.name,
            f"{keys:,}",
        )
        return True

    def hindrance_to_totals(self, columns: list[str]) -> str | None:
        """Say why totals of these columns cannot be compared with SAC's own; None if they can."""
        return hindrance_to_totals(self.entity_set, self._siblings, columns, self.filter)

    @override
    def totals(self, columns: list[str]) -> Totals | None:
        if not self.verifies_totals:
            return None
        if hindrance := self.hindrance_to_totals(columns):
            warn_uncompared(self.name, self.logger, hindrance)
            return None
        url = self.client.entity_set_url(self.provider, self.kind.aggregated_in or "")
        return Totals(
            lambda options: self.client.pages(with_query(url, options), self.measure),
            numeric_measures(self.entity_set, columns),
            self.filter,
            parts=[name for name in self.entity_set.key if self._is_of_time(name)],
        )

    def _is_unprepared_altogether(self) -> bool:
        """Return whether SAC cannot prepare the table without any option of ours, either."""
        select = {"$select": ",".join(self.columns)} if self.kind.needs_select else {}
        try:
            next(iter(self.client.pages(with_query(self.url, select), self.measure)))
        except ResponseError as error:
            return error.is_unprepared
        return False

    def _is_of_time(self, dimension: str) -> bool:
        """Return whether a dimension is Version or a date, over which measures may not add up."""
        master = self._siblings.get(f"{dimension}Master")
        return dimension == VERSION or (master is not None and is_date_master(master))

    def _count_keys(self) -> int | None:
        """Ask how many keys have facts; None if SAC does not say, or cannot for this filter."""
        if measures_in_filter(self.entity_set, self.filter):
            return None
        columns = [item.name for item in self.entity_set.properties]
        options = {"$select": ",".join(columns)}
        if self.filter:
            options["$filter"] = self.filter
        aggregation = CountedTable(
            self.client,
            self.client.entity_set_url(self.provider, self.kind.aggregated_in or ""),
            options,
            order=self.entity_set.key,
            counts_with=CountsWith.ITS_SELECT,
            on_response=self.measure,
        )
        return aggregation.count()

    def _order(self, query: Mapping[str, str]) -> list[str]:
        """Return the columns that tell rows apart: the key and all numbers, or all columns."""
        asked = query["$select"].split(",") if "$select" in query else None
        columns = [
            item
            for item in self.entity_set.properties
            if (asked is None or item.name in asked) and not item.is_collection
        ]
        key = [item.name for item in columns if item.name in self.entity_set.key]
        if not key:
            return [item.name for item in columns]
        numbers = [item.name for item in columns if item.type in NUMBERS]
        return [*key, *(name for name in numbers if name not in key)]
