"""The only stream class: it implements the SDK's interface, and picks the read of each run."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from singer_sdk.singerlib.catalog import (
    REPLICATION_FULL_TABLE,
    REPLICATION_INCREMENTAL,
    REPLICATION_LOG_BASED,
)
from typing_extensions import override

from tap_sac.sac.errors import DataError, SACError, UnknownEntitySetError
from tap_sac.sac.export.subscriptions import Subscriptions
from tap_sac.singer.map_columns import check_names
from tap_sac.singer.maps import MappedDeletions, check_single_table, defined
from tap_sac.singer.page_stream import PageStream
from tap_sac.singer.schema import DELETED_AT
from tap_sac.singer.shared_tables import Writer
from tap_sac.streams.audit import FutureRows, check_bookmark
from tap_sac.streams.catalog_columns import CatalogColumns
from tap_sac.streams.paths import Paths
from tap_sac.streams.progress import RequestMeter
from tap_sac.streams.reading import Outcome, Verdict
from tap_sac.streams.source import Source, in_order
from tap_sac.streams.state import StreamState

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.singerlib import Catalog, CatalogEntry

    from tap_sac.read_ahead import ReadAhead
    from tap_sac.sac.export.kinds import Kind
    from tap_sac.sac.http.answer import Answer
    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.records import Records
    from tap_sac.singer.shared_tables import SharedTables
    from tap_sac.streams.providers import ProvidersSource
    from tap_sac.streams.reading import Changes


class SACStream(PageStream):
    """A table of the tenant.

    Attributes:
        kind: What is known about entity sets of this kind.
        partition_by: The column whose values make the slices; None to read in one go.
        found: The result of this run; None before, or if nothing was read.
        was_withheld: Whether this run deleted nothing because the user has changed.
        dropped_key: The columns of SAC's key that the catalog deselects.
    """

    def __init__(
        self,
        tap: Tap,
        source: Source | ProvidersSource,
        *,
        read: Callable[[SACStream], Iterator[Records]],
        read_ahead: ReadAhead[Page],
        shared_tables: SharedTables,
        partition_by: str | None = None,
    ) -> None:
        """Create the stream of an entity set, or of the list of providers."""
        self.kind: Kind = source.kind
        self.partition_by = partition_by
        self.found: Outcome | Changes | None = None
        self.was_withheld = False
        self.dropped_key: tuple[str, ...] = ()
        self.read_ahead = read_ahead
        self._read = read
        self._requests = RequestMeter(source.name, endpoint=source.entity_set.name)
        self._source = replace(source, on_response=self._measure)
        self.is_trackable = isinstance(source, Source) and source.is_trackable
        self.paths: Paths | None = None
        self.has_optional_key = self.kind.is_aggregation
        self.offers_methods = self.is_trackable and not self.kind.is_additive
        self.shared_tables = shared_tables
        super().__init__(tap, name=source.name, entity_set=source.entity_set)
        self.selected_by_default = self.kind.is_selected
        if self.kind.is_additive:
            self.primary_keys = ()  # Differences add up, so targets must append them.
            self._replicate(REPLICATION_LOG_BASED if self.is_trackable else REPLICATION_FULL_TABLE)
        elif self.is_trackable:
            self._replicate(tap.config["default_replication_method"])
        elif isinstance(source, Source) and source.replication_key:
            self.replication_key = source.replication_key
        if self.kind.is_hierarchy:
            self.paths = Paths(source.entity_set, name=self.name, logger=self.logger)
            self.own(*self.paths.columns)

    @property
    def source(self) -> Source | ProvidersSource:
        """The source of the rows; a dry run does not count them."""
        if isinstance(self._source, Source) and self.is_dry_run:
            return replace(self._source, is_counted=False)
        return self._source

    @cached_property
    def subscriptions(self) -> Subscriptions:
        """SAC's subscriptions to the changes of the entity set."""
        source = self.entity_set_source
        return Subscriptions(
            source.client, source.provider, source.entity_set.name, stream=self.name
        )

    @property
    def is_uncounted(self) -> bool:
        """Whether this run's rows were not counted, although SAC counts rows of this kind."""
        is_whole = isinstance(self.found, Outcome) and self.found.verdict is Verdict.NOT_COUNTED
        return is_whole and self.kind.is_counted

    @property
    def is_log_based(self) -> bool:
        """Whether only changes are read after the first run."""
        return self.replication_method == REPLICATION_LOG_BASED

    @property
    def has_key(self) -> bool:
        """Whether targets deduplicate by key, also with stream maps."""
        return bool(self.primary_keys) and all(key for _, key in self.tables)

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        """Apply the catalog; unsupported replication methods become FULL_TABLE, with a warning."""
        super().apply_catalog(catalog)
        method = self.forced_replication_method
        entry = catalog.get_stream(self.name)
        if self.kind.is_additive:
            if entry:
                self.primary_keys = entry.key_properties = ()
            self._replicate(self.replication_method)
            return
        if method and method not in self._replication_methods:
            self._replicate_in_full(f"it does not support {method}")
        if self.has_optional_key and entry and self.selected:
            self._narrow_key(entry)
        if self.is_trackable:
            if self.is_log_based and not self.primary_keys:
                has_key = bool(self.entity_set.key)
                why = "the catalog has no key" if has_key else "all dimensions are deselected"
                self._replicate_in_full(f"{why}, and LOG_BASED needs a key")
            self._replicate(self.replication_method)
        elif isinstance(self._source, Source) and method == REPLICATION_INCREMENTAL:
            self.replication_key = self._source.replication_key

    @cached_property
    def columns(self) -> list[str]:
        """The columns to request, once `CatalogColumns` has checked them."""
        return CatalogColumns(self).check(needs_select=self.kind.needs_select)

    def writer(self, state: Mapping[str, Any]) -> Writer:
        """Describe by its state which target tables have its rows, and when older ones may go."""
        obstacle = None
        if self.replication_method != REPLICATION_FULL_TABLE:
            method = self.replication_method
            obstacle = f"is {method}: make it FULL_TABLE, or give it a table of its own"
        version = StreamState.read(state).next_version(self.started_at)
        return Writer(self.name, [name for name, _ in self.tables], version, obstacle)

    def check_maps(self) -> None:
        """Raise a `SACError` if stream maps fail on rows, or on deleted ones, or in batch files."""
        maps = [*defined(self.name, self.stream_maps, self.config.get("stream_maps") or {})]
        selected = (*self.selection.sac_columns, *self.selection.own_columns)
        check_names(self.name, maps, {column.name for column in selected}, self.logger)
        if DELETED_AT in self.entity_set.own_columns:
            self.mapped_deletions = MappedDeletions(
                self.name, maps, self.entity_set, self.schema, needs_key=bool(self.primary_keys)
            )
            self.mapped_deletions.check_settings()
            self.mapped_deletions.warn(self.logger)
        if self.get_batch_config(self.config):
            check_single_table(self.name, self.stream_maps)

    @override
    def check_bookmark(self) -> None:
        check_bookmark(self.name, self.stream_state, self.logger)

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        records = super().get_records(context)
        return self.future_rows.without_known(records) if self.is_incremental else records

    @cached_property
    def future_rows(self) -> FutureRows:
        """The audit rows with a time in the future."""
        known = StreamState.read(self.stream_state).future_rows
        return FutureRows(self.name, known, self.started_at)

    @property
    def skip_reason(self) -> str | None:
        """Why no rows are requested, and what to do; None if they are.

        SAC has differences only for subscribers (SAP Help, "FactDataDifference").
        """
        if not self.kind.is_additive:
            return None
        if not self.is_trackable:
            return "it has only changes, which SAC does not track here: deselect it"
        if not self.is_log_based:
            return f"it has only changes, and is {self.replication_method}: make it LOG_BASED"
        return "its first read would open a subscription" if self.is_dry_run else None

    @override
    def read(self) -> Generator[Records, None, None]:
        if why := self.skip_reason:
            self.logger.warning("Skipping the stream %s, because %s.", self.name, why)
            return
        with self._requests.logged():
            try:
                if self.paths:
                    self.paths.warn_of_conflicts()
                yield from self._read(self)
            except UnknownEntitySetError as error:
                self.logger.warning("Skipping the stream %s: %s", self.name, error)
            except DataError:  # The other streams continue, with their pages read ahead.
                self.read_ahead.drop(self.name)
                raise
            except BaseException:  # Even if the consumer stops early.
                self.read_ahead.close()
                raise

    def pages_ahead(self) -> Iterator[Page] | None:
        """Start reading before the turn of this stream; None if that must not happen.

        If SAC tracks changes, each request has effects that the state must record.
        """
        is_full = self.replication_method == REPLICATION_FULL_TABLE
        if self.is_dry_run or not is_full or self.partition_by is not None:
            return None
        if self.skip_reason or self.verifies_totals:  # Totals are requested before the first row.
            return None
        try:
            query = self.query
        except SACError:  # It is raised again at this stream's turn.
            return None
        return self.source.table(query).pages()

    @property
    def query(self) -> dict[str, str]:
        """The query options that request the columns, and the parents that paths need."""
        columns = self.columns
        if self.paths:
            columns = self.paths.needed_columns(columns, self.selection.own_columns)
        query = self.source.query(columns)
        needs_order = StreamState.read(self.stream_state).needs_order and not self.is_log_based
        return in_order(query, self.source.key) if needs_order else query

    @property
    def entity_set_source(self) -> Source:
        """The source, if it is an entity set of a model and not the list of providers."""
        source = self.source
        if not isinstance(source, Source):
            msg = f"{self.name} is not an entity set of a model"
            raise TypeError(msg)
        return source

    @property
    def verifies_totals(self) -> bool:
        """Whether to compare the sums of measures with SAC's own."""
        is_of_facts = self.kind.aggregated_in is not None
        return is_of_facts and bool(self.config["verify_totals"]) and not self.is_dry_run

    def _measure(self, answer: Answer) -> None:
        """Count a request for the usual metrics of taps."""
        self._requests.add(answer.seconds)
        self.logger.debug(
            "%s: SAC answered %s after %.3f seconds", self.name, answer.status, answer.seconds
        )

    @property
    def _replication_methods(self) -> set[str]:
        methods = {REPLICATION_FULL_TABLE}
        if self.is_trackable:
            methods.add(REPLICATION_LOG_BASED)
        elif self.kind.replication_key:
            methods.add(REPLICATION_INCREMENTAL)
        return methods

    def _replicate(self, method: str) -> None:
        """Set the replication method; LOG_BASED streams get the column that marks deleted rows."""
        self.forced_replication_method = method
        self.own(*([DELETED_AT] if self.is_log_based else []))

    def _replicate_in_full(self, why: str) -> None:
        self.logger.warning("All rows of %s are read, because %s.", self.name, why)
        self.forced_replication_method = REPLICATION_FULL_TABLE

    def _narrow_key(self, entry: CatalogEntry) -> None:
        """Remove deselected columns from the key, also in SCHEMA messages."""
        sac_key, catalog_key = self.entity_set.key, tuple(self.primary_keys)
        key = self.selection.selected_key(sac_key)
        self.dropped_key = tuple(name for name in sac_key if name not in key)
        if (primary_keys := self.selection.selected_key(catalog_key)) != catalog_key:
            self.primary_keys = entry.key_properties = primary_keys
        self.entity_set = replace(self.entity_set, key=key)
        self._source = self.entity_set_source.with_key(key)
