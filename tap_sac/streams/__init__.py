"""Streams: the list of providers, and the entity sets of each."""

from __future__ import annotations

import abc
import sys
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from singer_sdk import Stream, metrics
from singer_sdk.helpers._util import utc_now
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.singerlib.catalog import (
    REPLICATION_FULL_TABLE,
    REPLICATION_INCREMENTAL,
    REPLICATION_LOG_BASED,
    Metadata,
)

from tap_sac.sac.client import with_query
from tap_sac.sac.csdl import EntitySet, Property
from tap_sac.sac.delta import (
    Bookmark,
    DeltaLostError,
    Question,
    deleted_id,
    is_delta,
    read_key,
    was_read,
)
from tap_sac.sac.errors import (
    BROKEN_PROTOCOL,
    REFUSED_QUERY,
    ResponseError,
    SACError,
    TransientError,
    UnknownEntitySetError,
)
from tap_sac.singer.batches import FORMATS, batch_file
from tap_sac.singer.messages import MessageWriter
from tap_sac.singer.records import (
    DELETED_AT,
    MadeRecords,
    PageRecords,
    RecordMaker,
    add_decimal_facets,
    json_schema,
    with_deleted_at,
)
from tap_sac.streams.progress import Progress

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    import requests
    from singer_sdk import Tap
    from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.singerlib import Catalog, MetadataMapping, SchemaMessage

    from tap_sac.sac.client import Provider, SACClient
    from tap_sac.sac.pages import Page
    from tap_sac.sac.read_ahead import ReadAhead
    from tap_sac.singer.records import Records

PROVIDERS_STREAM_NAME = "providers"
_PROVIDERS_SET = "Providers"

_UNKNOWN_ENTITY_SET = 3707
_NOT_SERVED = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
_DIFFERENCES = "FactDataDifference"
_SETS_OF_EVERY_MODEL = {"FactData", _PROVIDERS_SET}
_REDUNDANT_SETS = {"MasterData", "FactDataAggregation", _DIFFERENCES, "AuditData"}
_SETS_THAT_NEED_SELECT = {"FactDataAggregation"}
_TRACKABLE_SETS = {"FactData", "FactDataAggregation", _DIFFERENCES}
_AUDIT_TIME = "Audit_Time"
_WRITTEN_AT_ONCE = 1000  # so that they stay in the caches of a processor
_BATCHED_AT_ONCE = 10_000

# What SAC's administration service says of each model.
_PROVIDERS = EntitySet(
    name=_PROVIDERS_SET,
    properties=tuple(
        Property(name, "Edm.String")
        for name in ("NamespaceID", "ProviderID", "ProviderName", "Description", "ServiceURL")
    ),
    key=("NamespaceID", "ProviderID"),
)


class SACStream(Stream, abc.ABC):
    """A table of the tenant, read in whole: FULL_TABLE."""

    # RecordMaker has already made the values fit the schema, without the SDK's detour over float.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE

    _replication_methods: tuple[str, ...] = (REPLICATION_FULL_TABLE,)

    def __init__(
        self,
        tap: Tap,
        *,
        name: str,
        entity_set: EntitySet,
        client: SACClient,
        read_ahead: ReadAhead[Page],
        odata_filter: str | None,
    ) -> None:
        """Make a stream of an entity set.

        Args:
            tap: The tap that it belongs to.
            name: The stream name.
            entity_set: Its columns and key.
            client: Reads the pages.
            read_ahead: Reads them before they are needed.
            odata_filter: A ``$filter`` expression that SAC evaluates.
        """
        self._entity_set = entity_set
        self._client = client
        self._filter = odata_filter
        self._read_ahead = read_ahead
        self._delta_link: str | None = None
        schema = json_schema(entity_set, use_singer_decimal=tap.config["use_singer_decimal"])
        super().__init__(tap, schema=schema, name=name)
        self.primary_keys = entity_set.key
        self._http_request_counter = metrics.http_request_counter(name, endpoint=entity_set.name)

    @property
    @override
    def emit_activate_version_messages(self) -> bool:
        """False for the SDK, which would write ACTIVATE_VERSION before the first row.

        A run that dies half-way would then have emptied the table. See `_read_whole`.
        """
        return False

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Read the selected columns of all rows, or of all that changed.

        Raises:
            SACError: If SAC refuses, or its rows do not fit the catalog.
        """
        for records in self._read_served():
            yield from records

    def pages_ahead(self) -> Iterator[Page] | None:
        """Begin to read before the turn of this stream; None if that must not happen.

        Where SAC tracks changes, each request has consequences that the state must know of.
        """
        is_dry_run = self.ABORT_AT_RECORD_COUNT is not None
        if is_dry_run or self.replication_method != REPLICATION_FULL_TABLE:
            return None
        try:
            columns = self._columns
        except SACError:  # It is raised again at the turn of this stream.
            return None
        return self._pages(self._query(columns), track_changes=False)

    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[Record, Any, Any]:
        """Write many records at a time, unless something needs to see each of them."""
        if write_messages and self._passes_records_on:
            self._sync_pages()
        else:
            yield from super()._sync_records(context, write_messages=write_messages)

    @property
    def _passes_records_on(self) -> bool:
        """Whether the SDK would write the records as they are."""
        stream_map = self.stream_maps[0]
        return (
            isinstance(self._tap.message_writer, MessageWriter)
            and len(self.stream_maps) == 1
            and type(stream_map) is SameRecordTransform
            and not stream_map.flattening_enabled
            and self.replication_method != REPLICATION_INCREMENTAL
            and self.ABORT_AT_RECORD_COUNT is None
        )

    def _sync_pages(self) -> None:
        """Write the messages that the SDK would write for the records, in the same order."""
        writer = cast("MessageWriter", self._tap.message_writer)
        alias = self.stream_maps[0].stream_alias
        count = 0
        with self.get_record_counter() as counter, self.get_sync_timer():
            for records in self._read_served():
                now = utc_now()
                for start, stop in _portions(
                    count, len(records), self.STATE_MSG_FREQUENCY, at_once=_WRITTEN_AT_ONCE
                ):
                    writer.write_records(
                        alias,
                        records.lines(start, stop),
                        version=self._stream_version,
                        time_extracted=now,
                    )
                    self.state_manager.is_flushed = False
                    counter.increment(stop - start)
                    if (count + stop) % self.STATE_MSG_FREQUENCY == 0:
                        self._write_state_message()
                count += len(records)
        self._finalize_state(self.stream_state)
        self._write_state_message()

    @override
    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        """Write many records at a time to the files that BATCH messages name.

        Raises:
            SACError: As of `get_records`, or if the format needs a package that is not there.
        """
        needs_single_records = self.replication_method == REPLICATION_INCREMENTAL
        if needs_single_records or batch_config.encoding.format not in FORMATS:
            yield from super().get_batches(batch_config, context)
            return
        size = batch_config.batch_size
        name = f"{self.tap_name}--{self.name}-{uuid4()}"
        columns = [item for item in self._entity_set.properties if item.name in self._columns]
        if DELETED_AT in self.schema["properties"]:
            columns.append(Property(DELETED_AT, "Edm.DateTimeOffset"))
        count = 0
        url = ""
        with self.get_record_counter() as counter, self.get_sync_timer(), ExitStack() as open_file:
            for records in self._read_served():
                for start, stop in _portions(count, len(records), size, at_once=_BATCHED_AT_ONCE):
                    if not url:
                        number = (count + start) // size + 1
                        url, write = open_file.enter_context(
                            batch_file(batch_config, f"{name}-{number}", columns)
                        )
                    write(records.lines(start, stop))
                    self.state_manager.is_flushed = False
                    counter.increment(stop - start)
                    if (count + stop) % size == 0:
                        open_file.close()
                        yield batch_config.encoding, [url]
                        url = ""
                count += len(records)
            if url:
                open_file.close()
                yield batch_config.encoding, [url]
        self._finalize_state(self.stream_state)

    def _read_served(self) -> Iterator[Records]:
        """Read what `_read` reads, or nothing if SAC does not serve this entity set."""
        with self._http_request_counter:
            try:
                yield from self._read(self._columns)
            except UnknownEntitySetError as error:
                self.logger.warning("Skipping the stream %s: %s", self.name, error)
            except BaseException:  # Also when the one who takes the records gives up.
                self._read_ahead.close()
                raise

    def _read(self, columns: list[str]) -> Iterator[Records]:
        """Make the records of this run, and after the last one what follows from it."""
        yield from self._read_whole(columns, version=self._new_version)

    def _read_whole(
        self, columns: list[str], *, version: int, track_changes: bool = False
    ) -> Iterator[Records]:
        """Read all rows, and after the last one make targets drop what was not among them.

        BATCH files carry no version: an ACTIVATE_VERSION after them would make targets drop all
        of their rows.
        """
        activates_version = self._activates_version
        self._stream_version = version if activates_version else None
        maker = self._record_maker(columns)
        self._delta_link = None
        is_first = True
        query = self._query(columns)
        try:
            for page in self._take(lambda: self._pages(query, track_changes=track_changes)):
                if is_delta(page.context):
                    msg = f"SAC answered the first read of {self.name} with changes only"
                    raise SACError(msg, BROKEN_PROTOCOL)
                is_first = False
                self._delta_link = page.delta_url
                yield PageRecords(page, maker)
        except ResponseError as error:
            raise (self._refusal(error, query) if is_first else error) from None
        if activates_version:
            self._write_activate_version_message(version)

    def _take(self, pages: Callable[[], Iterator[Page]]) -> Iterator[Page]:
        """Take pages while the next one is already being read, and tell how it goes."""
        progress = Progress(self.name, self.logger)
        for page in self._read_ahead.read(self.name, pages):
            yield page
            progress.add(len(page.items), page.server_milliseconds)

    @property
    def _new_version(self) -> int:
        """The time of this run, in milliseconds.

        The SDK has seconds: a run that is started again within the second in which another was
        killed would then keep that one's rows, also those that are gone by now.
        """
        return self._initialized_at

    @property
    def _activates_version(self) -> bool:
        return bool(
            self.config["emit_activate_version_messages"]
            and self.replication_method != REPLICATION_INCREMENTAL
            and not self.get_batch_config(self.config)
        )

    def _record_maker(self, columns: list[str]) -> RecordMaker:
        return RecordMaker(self._entity_set, self.effective_schema, columns)

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        """Apply the catalog; what SAC cannot do becomes FULL_TABLE, with a warning."""
        super().apply_catalog(catalog)
        method = self.forced_replication_method
        if method and method not in self._replication_methods:
            self.logger.warning(
                "The stream %s cannot be replicated %s, so it is read in whole.", self.name, method
            )
            self.forced_replication_method = REPLICATION_FULL_TABLE

    def add_decimal_facets(self, schema: dict[str, Any]) -> None:
        """Complete a schema of this stream that went through the SDK's schema objects."""
        add_decimal_facets(schema, self._entity_set.properties)

    @abc.abstractmethod
    def _pages(self, query: Mapping[str, str], *, track_changes: bool) -> Iterator[Page]:
        """Read the pages, with query options such as ``$filter``."""

    @override
    def _generate_schema_messages(self) -> Generator[SchemaMessage, None, None]:
        for message in super()._generate_schema_messages():
            self.add_decimal_facets(message.schema)
            yield message

    @cached_property
    def _columns(self) -> list[str]:
        """Choose the columns to request, and see that the catalog still fits SAC's key.

        Raises:
            SACError: If rows would be written under another key than SAC's.
        """
        offered = {column.name for column in self._entity_set.properties}
        known = self.effective_schema["properties"].keys() - {DELETED_AT}
        key, catalog_key = set(self._entity_set.key), set(self.primary_keys)
        key_changes = (key - known) | (catalog_key - offered)
        if catalog_key:  # None at all is a choice: such targets append.
            key_changes |= key - catalog_key
        if key_changes:
            msg = (
                f"The key of {self.name} in SAC has changed since the catalog was made, or is not "
                f"that of the catalog ({', '.join(sorted(key_changes))}), so rows would overwrite "
                "each other: run the discovery again (meltano run --refresh-catalog) and load "
                "into a new table."
            )
            raise SACError(msg)
        if new := sorted(offered - known):
            self.logger.warning(
                "Leaving out columns of %s that the catalog does not have: %s. Run the discovery "
                "again to load them.",
                self.name,
                ", ".join(new),
            )
        if gone := sorted(known - offered):
            self.logger.warning(
                "SAC no longer has these columns of %s: %s. Run the discovery again.",
                self.name,
                ", ".join(gone),
            )
        if stale := sorted(name for name in offered & known if not self._is_declared_alike(name)):
            self.logger.warning(
                "The catalog declares these columns of %s in another way than SAC and the settings "
                "do now: %s. Run the discovery again.",
                self.name,
                ", ".join(stale),
            )
        return [
            column.name
            for column in self._entity_set.properties
            if column.name in known and self.mask["properties", column.name]
        ]

    def _is_declared_alike(self, column: str) -> bool:
        declared, now = (
            _kind(schema["properties"][column]) for schema in (self.effective_schema, self.schema)
        )
        return declared == now

    def _query(self, columns: list[str]) -> dict[str, str]:
        options = {}
        everything = len(columns) == len(self._entity_set.properties)
        if not everything or self._entity_set.name in _SETS_THAT_NEED_SELECT:
            options["$select"] = ",".join(columns)
        if self._filter:
            options["$filter"] = self._filter
        if page_size := self.config.get("page_size"):
            options["pagesize"] = str(page_size)
        return options

    def _refusal(self, error: ResponseError, query: Mapping[str, str]) -> SACError:
        """Tell what the refusal of the first page means, which only the stream can know."""
        if self._is_not_served(error, query):
            return UnknownEntitySetError(str(error))
        if REFUSED_QUERY in error.causes and self._filter:
            msg = (
                f"SAC answered {error.reason} to the filter {self._filter!r} of the stream "
                f"{self.name}: correct it in the setting filters."
            )
            return SACError(msg)
        return error

    def _is_not_served(self, error: ResponseError, query: Mapping[str, str]) -> bool:
        """Tell an entity set that is described but not served from other refusals."""
        if error.number == _UNKNOWN_ENTITY_SET:
            return True
        if self._entity_set.name.endswith("MasterWithHierarchy") and (
            error.status == HTTPStatus.BAD_REQUEST and error.number is None
        ):
            return not query or self._is_refused_altogether()
        is_optional = self._entity_set.name not in _SETS_OF_EVERY_MODEL
        return is_optional and error.status in _NOT_SERVED

    def _is_refused_altogether(self) -> bool:
        """Tell a dimension without a hierarchy, for which SAC has a plain 400, from a bad query."""
        try:
            next(self._pages({}, track_changes=False))
        except ResponseError as error:
            return error.status == HTTPStatus.BAD_REQUEST
        return False

    def _measure(self, response: requests.Response) -> None:
        """Write the metrics that streams on the SDK's RESTStream write."""
        self._http_request_counter.increment()
        succeeded = response.status_code < HTTPStatus.BAD_REQUEST
        self._log_metric(
            metrics.Point(
                "timer",
                metric=metrics.Metric.HTTP_REQUEST_DURATION,
                value=response.elapsed.total_seconds(),
                tags={
                    metrics.Tag.STREAM: self.name,
                    metrics.Tag.ENDPOINT: self._entity_set.name,
                    metrics.Tag.HTTP_STATUS_CODE: response.status_code,
                    metrics.Tag.STATUS: (
                        metrics.Status.SUCCEEDED if succeeded else metrics.Status.FAILED
                    ),
                },
            ),
        )


class ProvidersStream(SACStream):
    """The models of the tenant, and the like."""

    def __init__(self, tap: Tap, **parts: Any) -> None:
        """Make the stream.

        Args:
            tap: The tap that it belongs to.
            parts: The rest, as of `SACStream`.
        """
        super().__init__(tap, name=PROVIDERS_STREAM_NAME, entity_set=_PROVIDERS, **parts)

    @override
    def _pages(self, query: Mapping[str, str], *, track_changes: bool) -> Iterator[Page]:
        return self._client.provider_pages(query, self._measure)


class EntitySetStream(SACStream):
    """An entity set of a model: facts, master data, hierarchies, audit data."""

    def __init__(
        self,
        tap: Tap,
        *,
        provider: Provider,
        entity_set: EntitySet,
        **parts: Any,
    ) -> None:
        """Make a stream of an entity set of a provider.

        Args:
            tap: The tap that it belongs to.
            provider: The model.
            entity_set: Its columns and key.
            parts: The rest, as of `SACStream`.
        """
        self._provider = provider
        self.selected_by_default = _is_selected_by_default(entity_set.name)
        super().__init__(tap, entity_set=entity_set, **parts)

    @property
    def entity_set_name(self) -> str:
        """What SAC calls the entity set."""
        return self._entity_set.name

    def read_first_page(self) -> int:
        """Ask for what a sync would ask for first, and count the records; nothing is written.

        Raises:
            UnknownEntitySetError: If SAC does not serve the entity set.
            SACError: As of `get_records`.
        """
        columns = self._columns
        self._write_starting_replication_value(None)
        query = self._query(columns)
        try:
            page = next(self._pages(query, track_changes=False))
        except ResponseError as error:
            raise self._refusal(error, query) from None
        return sum(1 for _ in PageRecords(page, self._record_maker(columns)))

    @property
    def _url(self) -> str:
        return self._client.entity_set_url(self._provider, self._entity_set.name)

    @override
    def _pages(self, query: Mapping[str, str], *, track_changes: bool) -> Iterator[Page]:
        url = with_query(self._url, query)
        return self._client.pages(url, self._measure, track_changes=track_changes)


class ChangeTrackedStream(EntitySetStream):
    """An entity set that SAC can track: LOG_BASED reads what changed since the last run.

    The first run reads the whole table and keeps a delta link in the state; the next ones follow
    it. When the changes cannot be had, or the question has changed, the whole table is read again
    under a new version.
    """

    _replication_methods = (REPLICATION_FULL_TABLE, REPLICATION_LOG_BASED)

    def __init__(self, tap: Tap, **parts: Any) -> None:
        """Make a stream that is LOG_BASED if the setting default_replication_method says so.

        Args:
            tap: The tap that it belongs to.
            parts: As of `EntitySetStream`.
        """
        super().__init__(tap, **parts)
        self._is_answer_lost = False
        self.forced_replication_method = tap.config["default_replication_method"]

    @property
    @override
    def schema(self) -> dict[str, Any]:
        schema = super().schema
        return with_deleted_at(schema) if self.is_log_based else schema

    @property
    @override
    def metadata(self) -> MetadataMapping:
        """The catalog's metadata: the user chooses the method, but cannot deselect the mark."""
        metadata = super().metadata
        metadata.root.forced_replication_method = None
        if self.is_log_based:
            metadata["properties", DELETED_AT].inclusion = Metadata.InclusionType.AUTOMATIC
        return metadata

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        """Apply the catalog; without a key, targets could not tell which row has changed.

        Differences are other than values: they add up, so that no row replaces another.
        """
        super().apply_catalog(catalog)
        adds_up = self._entity_set.name == _DIFFERENCES
        if self.is_log_based and not self.primary_keys and not adds_up:
            self.logger.warning(
                "The catalog has no key for %s, so it is read in whole instead of LOG_BASED.",
                self.name,
            )
            self.forced_replication_method = REPLICATION_FULL_TABLE

    @override
    def _generate_schema_messages(self) -> Generator[SchemaMessage, None, None]:
        for message in super()._generate_schema_messages():
            if self.is_log_based:  # The catalog may be of a time when it was not.
                message.schema = with_deleted_at(message.schema)
            yield message

    @property
    def is_log_based(self) -> bool:
        """Whether only changes are read, after the first time."""
        return self.replication_method == REPLICATION_LOG_BASED

    @override
    def _record_maker(self, columns: list[str]) -> RecordMaker:
        marks = [DELETED_AT] if self.is_log_based else []
        return RecordMaker(self._entity_set, self.effective_schema, columns, null_columns=marks)

    @override
    def _read(self, columns: list[str]) -> Iterator[Records]:
        bookmark = Bookmark.from_state(self.stream_state)
        if not self.is_log_based:
            if bookmark:
                self._delete_chain(bookmark)
                self._keep(None)
            yield from super()._read(columns)
            return
        question = Question(list(self._entity_set.key), columns, self._filter)
        if bookmark:
            try:
                yield from self._read_changes(bookmark, question)
            except DeltaLostError as error:
                self._report_lost(error)
                self._delete_chain(bookmark)
            else:
                return
        yield from self._open_chain(question, bookmark)

    def _open_chain(self, question: Question, lost: Bookmark | None) -> Iterator[Records]:
        """Read the whole table, and keep the link to what changes after that."""
        version = self._new_version
        if lost and lost.version is not None:
            version = max(version, lost.version + 1)
        # A dry run (--test) would leave a chain behind: it ends before it knows its id.
        is_dry_run = self.ABORT_AT_RECORD_COUNT is not None
        try:
            yield from self._read_whole(
                question.columns, version=version, track_changes=not is_dry_run
            )
        except BaseException:  # Also when the one who takes the records gives up.
            if self._delta_link:
                self._delete_chain(Bookmark(self._delta_link, version, question))
            raise
        if self._delta_link is None:
            if not is_dry_run:
                self.logger.warning(
                    "SAC gave no delta link for %s, so the next run will read all of it again.",
                    self.name,
                )
            self._keep(None)
            return
        bookmark = Bookmark(self._delta_link, self._stream_version, question)
        self.logger.info(
            "SAC tracks the changes of %s with the subscription %s.",
            self.name,
            bookmark.subscription_id,
        )
        self._keep(bookmark)

    def _read_changes(self, bookmark: Bookmark, question: Question) -> Iterator[Records]:
        """Follow the delta link.

        Raises:
            DeltaLostError: If the changes cannot be had, or are not those of the question.
        """
        self._check_bookmark(bookmark, question)
        self._is_answer_lost = False
        self._keep(replace(bookmark, is_followed=True))
        self._write_state_message()
        self._stream_version = bookmark.version if self._activates_version else None
        maker = self._record_maker(question.columns)
        delta_link = None
        is_first = True
        try:
            for page in self._take(lambda: self._follow(bookmark)):
                if (is_first or page.context) and not is_delta(page.context):
                    msg = "SAC answered its delta link with full data instead of changes"
                    raise DeltaLostError(msg)
                if not page.items and (page.is_repeated or (is_first and bookmark.is_followed)):
                    msg = "SAC gave no changes, and may have given them in an answer that was lost"
                    raise DeltaLostError(msg)
                is_first = False
                yield MadeRecords(self._changes(page, maker))
                delta_link = page.delta_url
        except (ResponseError, TransientError) as error:
            if error.is_refusal:
                if is_first and not self._is_answer_lost:  # Nothing has happened to the link.
                    self._keep(bookmark)
                    self._write_state_message()
                raise
            if isinstance(error, TransientError):
                raise
            msg = f"SAC answered {error.reason} to its delta link"
            raise DeltaLostError(msg) from None
        if delta_link is None:
            msg = "SAC gave no new delta link"
            raise DeltaLostError(msg)
        self._keep(Bookmark(delta_link, bookmark.version, question))

    def _follow(self, bookmark: Bookmark) -> Iterator[Page]:
        """Ask for the changes, and again only if SAC does not count them as read by now."""
        return self._client.pages(
            bookmark.delta_link,
            self._measure,
            before_retry=lambda: self._note_lost_answer(bookmark),
        )

    def _note_lost_answer(self, bookmark: Bookmark) -> None:
        self._is_answer_lost = True
        self._check_unread(bookmark, "these changes were read by a request whose answer was lost")

    def _changes(self, page: Page, maker: RecordMaker) -> Iterator[Record]:
        """Make records of new and changed rows as they are, and of deleted ones with a mark."""
        for row in page.rows:
            entity_id = deleted_id(row)
            if entity_id is None:
                yield from maker.records([row])
            else:
                key = read_key(entity_id, self._entity_set.key)
                deleted_at = datetime.now(timezone.utc).isoformat()
                yield {**maker.key_record(key), DELETED_AT: deleted_at}

    def _check_bookmark(self, bookmark: Bookmark, question: Question) -> None:
        """See that the delta link still answers the question, before following it.

        A link whose changes were read by a run that did not live to store its bookmark is
        closed; SAC does not say what it answers then, so it is not asked.

        Raises:
            DeltaLostError: If it does not.
        """
        if difference := bookmark.question.difference(question):
            raise DeltaLostError(difference)
        if not self._is_own(bookmark.delta_link):
            msg = "the delta link is one of another tenant or model"
            raise DeltaLostError(msg)
        self._check_unread(
            bookmark, "an earlier run read these changes, but its bookmark was not stored"
        )

    def _check_unread(self, bookmark: Bookmark, otherwise: str) -> None:
        """See that SAC does not count the changes as read, which it would not give again.

        Args:
            bookmark: The link to them.
            otherwise: What has happened if it does.

        Raises:
            DeltaLostError: If it does, or if that cannot be told.
        """
        try:
            subscriptions = self.subscriptions()
        except SACError as error:
            reason = error.reason if isinstance(error, ResponseError) else error
            self.logger.warning("SAC does not list the subscriptions of %s: %s", self.name, reason)
            subscriptions = []
        if was_read(bookmark, subscriptions):
            raise DeltaLostError(otherwise)

    def _is_own(self, link: str) -> bool:
        """Tell whether a link of a state leads to this entity set, and nowhere else."""
        path, own_path = (unquote(urlsplit(url).path) for url in (link, self._url))
        return self._client.serves(link) and path == own_path

    def _report_lost(self, error: DeltaLostError) -> None:
        """Log why the table is read again, or stop, as the setting on_delta_lost says.

        Raises:
            SACError: If it says ``fail``.
        """
        if self.config["on_delta_lost"] == "fail":
            msg = (
                f"The changes of {self.name} since the last run are lost, because {error}: set "
                "on_delta_lost to full_refresh, or remove the state of the stream, to read the "
                "whole table again."
            )
            raise SACError(msg)
        self.logger.warning(
            "Reading the whole table of %s again%s, because %s.",
            self.name,
            " under a new version"
            if self._activates_version
            else ", which cannot remove what was deleted in SAC since the last run",
            error,
        )

    def subscriptions(self) -> list[dict[str, Any]]:
        """List the subscriptions to this entity set.

        Raises:
            SACError: If SAC does not list them.
        """
        subscriptions = self._client.subscriptions(self._provider)
        name = self._entity_set.name
        return [item for item in subscriptions if item.get("EntitySetName") == name]

    def _delete_chain(self, bookmark: Bookmark) -> None:
        """Delete a chain that the tap opened and no longer needs, because it costs the tenant.

        A state may come from anywhere: what has an ExternalID, which somebody gave it, stays.
        """
        subscription_id = bookmark.subscription_id
        if subscription_id is None or not self._is_own(bookmark.delta_link):
            return
        try:
            found = (item for item in self.subscriptions() if not item.get("ExternalID"))
            if subscription_id not in {item.get("SubscriptionID") for item in found}:
                return
            self._client.delete_chain(self._provider, subscription_id)
        except SACError as error:
            self.logger.warning(
                "The subscription %s of %s is no longer needed, but could not be deleted: %s",
                subscription_id,
                self.name,
                error,
            )
        else:
            self.logger.info("Deleted the subscription %s of %s.", subscription_id, self.name)

    def _keep(self, bookmark: Bookmark | None) -> None:
        """Put a bookmark, or none, into the state that will be written next."""
        Bookmark.remove_from(self.stream_state)
        if bookmark:
            self.stream_state.update(bookmark.to_state())
        self.state_manager.is_flushed = False


class AuditDataStream(EntitySetStream):
    """Who changed what: INCREMENTAL on the time of the change."""

    _replication_methods = (REPLICATION_FULL_TABLE, REPLICATION_INCREMENTAL)

    def __init__(self, tap: Tap, **parts: Any) -> None:
        """Make a stream with a replication key, if the entity set has the column for it.

        Args:
            tap: The tap that it belongs to.
            parts: As of `EntitySetStream`.
        """
        super().__init__(tap, **parts)
        times = [item for item in self._entity_set.properties if item.name == _AUDIT_TIME]
        if times:
            self.replication_key = _AUDIT_TIME
        self._has_time = bool(times)
        # SAC does not say how it wants times in filters: as OData has it, or as text.
        self._quote = "'" if times and times[0].type == "Edm.String" else ""

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        """Apply the catalog, which may lack the replication key that INCREMENTAL needs."""
        super().apply_catalog(catalog)
        if self._has_time and self.forced_replication_method == REPLICATION_INCREMENTAL:
            self.replication_key = _AUDIT_TIME

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Read the rows, and refuse times that the bookmark could not go on from.

        Raises:
            SACError: As of `SACStream.get_records`, or if a row has no time.
        """
        is_incremental = self.replication_method == REPLICATION_INCREMENTAL
        for record in super().get_records(context):
            if is_incremental and not _is_time(record.get(_AUDIT_TIME)):
                msg = (
                    f"A row of {self.name} has no time in {_AUDIT_TIME}, after which the next run "
                    "could go on: replicate the stream FULL_TABLE."
                )
                raise SACError(msg)
            yield record

    @override
    def _refusal(self, error: ResponseError, query: Mapping[str, str]) -> SACError:
        is_plain = not self._filter and not self.config.get("page_size")
        is_incremental = self.replication_method == REPLICATION_INCREMENTAL
        if is_plain and is_incremental and REFUSED_QUERY in error.causes:
            msg = (
                f"SAC answered {error.reason} to each form of a filter on {_AUDIT_TIME} of "
                f"{self.name}: replicate the stream FULL_TABLE."
            )
            return SACError(msg)
        return super()._refusal(error, query)

    @override
    def _write_starting_replication_value(self, context: Context | None) -> None:
        value = self.stream_state.get("replication_key_value")
        if value is not None and not _is_time(value):
            msg = (
                f"The state of {self.name} holds no time in replication_key_value: remove the "
                "state of this stream, to read it from start_date on."
            )
            raise SACError(msg)
        super()._write_starting_replication_value(context)

    @override
    def _pages(self, query: Mapping[str, str], *, track_changes: bool) -> Iterator[Page]:
        """Read from the bookmark or start_date on, with the boundary itself."""
        start = self.get_starting_replication_key_value(None)
        if self.replication_method != REPLICATION_INCREMENTAL or start is None:
            yield from super()._pages(query, track_changes=track_changes)
            return
        pages = super()._pages(self._since(start, query), track_changes=track_changes)
        try:
            first = next(pages)
        except ResponseError as error:
            if error.status != HTTPStatus.BAD_REQUEST or self._quote:
                raise
            self._quote = "'"
            yield from super()._pages(self._since(start, query), track_changes=track_changes)
        else:
            yield first
            yield from pages

    def _since(self, start: str, query: Mapping[str, str]) -> dict[str, str]:
        parts = [f"({query['$filter']})"] if "$filter" in query else []
        time = utc_text(start)
        parts.append(f"{_AUDIT_TIME} ge {self._quote}{time}{self._quote}")
        return {**query, "$filter": " and ".join(parts)}


def entity_set_stream(tap: Tap, *, entity_set: EntitySet, **parts: Any) -> EntitySetStream:
    """Make the stream of an entity set, of the class for its way of replication.

    Args:
        tap: The tap that it belongs to.
        entity_set: Its columns and key.
        parts: The rest, as of `EntitySetStream`.
    """
    if entity_set.name in _TRACKABLE_SETS and entity_set.key:
        return ChangeTrackedStream(tap, entity_set=entity_set, **parts)
    if entity_set.name == "AuditData":
        return AuditDataStream(tap, entity_set=entity_set, **parts)
    return EntitySetStream(tap, entity_set=entity_set, **parts)


def _portions(count: int, length: int, period: int, *, at_once: int) -> Iterator[tuple[int, int]]:
    """Divide the records after the first `count`, also at each end of a period."""
    start = 0
    while start < length:
        stop = min(length, start + at_once, start + period - (count + start) % period)
        yield start, stop
        start = stop


def _kind(schema: Mapping[str, Any]) -> set[str | None]:
    """Reduce a column's schema to its types, in a list or alone, and its format."""
    types = schema.get("type", [])
    return {schema.get("format"), *([types] if isinstance(types, str) else types)}


def utc_text(time: str) -> str:
    """Write a time as SAC does: in UTC, with milliseconds and a Z.

    Raises:
        ValueError: If it is none.
        OverflowError: If it is out of the range of dates.
    """
    moment = datetime.fromisoformat(time)
    moment = moment.replace(tzinfo=moment.tzinfo or timezone.utc).astimezone(timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_time(value: Any) -> bool:  # noqa: ANN401  (of a state or a row)
    try:
        utc_text(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _is_selected_by_default(entity_set: str) -> bool:
    """Leave out what repeats other sets, or what only few need."""
    return entity_set not in _REDUNDANT_SETS and not entity_set.endswith("___Distinct")
