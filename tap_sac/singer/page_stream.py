"""A stream of pages on the Singer SDK: records one by one, many at a time, or into files.

This is one of the two modules that use private names of the SDK (the other is `command_line`);
tests/project/test_sdk.py lists them.
"""

from __future__ import annotations

import abc
import math
import sys
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from singer_sdk import Stream
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.mapper import RemoveRecordTransform, SameRecordTransform
from singer_sdk.singerlib.catalog import REPLICATION_INCREMENTAL, Metadata

from tap_sac.sac.errors import DataError, SACError
from tap_sac.singer.files.batches import file_format, write_files
from tap_sac.singer.files.chunks import divide, gather
from tap_sac.singer.maps import applied, check_deletions
from tap_sac.singer.messages import MessageWriter
from tap_sac.singer.records import END_OF_PART, MadeRecords
from tap_sac.singer.schema import (
    DELETED_AT,
    TABLE_VERSION,
    add_decimal_facets,
    json_schema,
    with_own_columns,
)
from tap_sac.singer.sdk_logs import quiet

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from singer_sdk import Tap, metrics
    from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.singerlib import Catalog, MetadataMapping, RecordMessage, SchemaMessage

    from tap_sac.sac.odata.model import EntitySet, OwnColumn, Property
    from tap_sac.singer.files.chunks import Portion
    from tap_sac.singer.records import Records

_OPTIONS_OF_MAPS = ("stream_map_", "flattening_", "faker_")
_WRITTEN_AT_ONCE = 1000  # so that they stay in the caches of a processor


class SDKStream(Stream, abc.ABC):
    """A stream of an entity set: what others use instead of private names of the SDK.

    Attributes:
        entity_set: The columns and the key, with the columns of our own.
        failure: Why its data could not be trusted, after a sync.
    """

    # The records already fit the schema, without the SDK's detour over float.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE

    # Whether the user chooses among several replication methods.
    offers_methods = False

    # Whether key columns can be deselected: rows are then those of what is left of the key.
    has_optional_key = False

    def __init__(self, tap: Tap, *, name: str, entity_set: EntitySet) -> None:
        """Make a stream of an entity set.

        Args:
            tap: The tap that it belongs to.
            name: The stream name.
            entity_set: Its columns and key.
        """
        self.entity_set = entity_set
        self.failure: DataError | None = None
        # Columns of SAC's key that the catalog deselects.
        self.dropped_key: tuple[str, ...] = ()
        self._completed_state: dict[str, Any] | None = None
        self._version_to_activate: int | None = None
        super().__init__(tap, schema=self._json_schema(tap.config), name=name)
        quiet(self.logger)
        self.primary_keys = entity_set.key

    @property
    def has_versions(self) -> bool:
        """Whether records carry a version that is activated at the end."""
        return bool(
            self.config["emit_activate_version_messages"]
            and self.replication_method != REPLICATION_INCREMENTAL
        )

    @property
    def version(self) -> int | None:
        """The version that records carry from now on; None where there are no versions."""
        return self._stream_version

    @version.setter
    def version(self, value: int | None) -> None:
        self._stream_version = value

    @property
    def started_at(self) -> int:
        """When the tap started, in milliseconds since 1970."""
        return self._tap.initialized_at

    @property
    def is_dry_run(self) -> bool:
        """Whether the SDK reads a record only to see that it can (``--test``)."""
        return self.ABORT_AT_RECORD_COUNT is not None

    @property
    def has_key(self) -> bool:
        """Whether a row that comes again replaces the one before, also where stream maps apply."""
        return bool(self.primary_keys) and all(key for _, key in self.tables)

    @property
    def tables(self) -> list[tuple[str, list[str]]]:
        """The tables that stream maps make of it, each with its key."""
        return [
            (item.stream_alias, sorted(item.transformed_key_properties or ()))
            for item in self.stream_maps
            if not isinstance(item, RemoveRecordTransform)
        ]

    @property
    def selected_columns(self) -> list[Property]:
        """SAC's columns that the catalog has and selects, in their order."""
        own = {column.name for column in self.entity_set.own_columns}
        known = self.effective_schema["properties"].keys() - own
        return [
            column
            for column in self.entity_set.properties
            if column.name in known and self.mask["properties", column.name]
        ]

    @property
    def own_columns(self) -> list[OwnColumn]:
        """The columns of our own that records have, in their order."""
        known = self.effective_schema["properties"]
        return [
            column
            for column in self.entity_set.own_columns
            if not column.is_deselectable
            or (column.name in known and self.mask["properties", column.name])
        ]

    def own(self, *columns: OwnColumn) -> None:
        """Add columns that SAC does not have, in place of those added before."""
        self.entity_set = replace(self.entity_set, own_columns=columns)
        self._schema = self._json_schema(self.config)

    def narrow_key(self, catalog: Catalog) -> None:
        """Leave columns that a catalog deselects out of the key, also of SCHEMA messages."""
        entry = catalog.get_stream(self.name)
        if entry is None or not self.selected:
            return
        of_sac, of_catalog = (
            [name for name in key if self.mask["properties", name]]
            for key in (self.entity_set.key, self.primary_keys)
        )
        self.dropped_key = tuple(name for name in self.entity_set.key if name not in of_sac)
        self.entity_set = replace(self.entity_set, key=tuple(of_sac))
        if of_catalog != [*self.primary_keys]:
            self.primary_keys = entry.key_properties = of_catalog

    def check_own_columns(self) -> None:
        """See that no column of our own takes the place of one that is wanted of SAC.

        Raises:
            DataError: If one does.
        """
        of_sac = {column.name for column in self.entity_set.properties}
        for column in self._mandatory_columns:
            name = column.name
            is_key = name in self.entity_set.key
            # The mask does not say so, because a column of our own is always selected.
            is_deselected = self.metadata["properties", name].selected is False and not is_key
            is_wanted = name in self.effective_schema["properties"] and not is_deselected
            if name in of_sac and is_wanted:
                msg = (
                    f"SAC's column {name} of {self.name} has the name of a column that the tap "
                    f"adds to {self.replication_method} streams: "
                    f"{'' if is_key else 'deselect it, or '}replicate the stream FULL_TABLE."
                )
                raise DataError(msg)

    def activate(self, version: int) -> None:
        """Let targets drop the rows of older versions, as soon as they have those of this one.

        The last record comes before the file that it is in has been closed and named.
        """
        if self.get_batch_config(self.config):
            self._version_to_activate = version
        else:
            self._write_activate_version_message(version)

    def complete(self, state: dict[str, Any]) -> None:
        """Accept the state that follows from a complete read.

        It replaces `stream_state` when the last message, or the last batch file, is written: until
        then the read can still fail, and nothing of it shows in the state.

        Args:
            state: The new state of the stream.
        """
        self._completed_state = state

    def mark_state_changed(self) -> None:
        """Have the state written with the next STATE, although no record was."""
        self.state_manager.is_flushed = False

    def write_state(self) -> None:
        """Write a STATE now, if anything has changed since the last one."""
        self._write_state_message()

    def begin_incremental(self) -> None:
        """Find the bookmark to start from, as the SDK does before it reads records."""
        self._write_starting_replication_value(None)

    def check_bookmark(self) -> None:
        """See that the state is one to go on from, before `begin_incremental` relies on it.

        Raises:
            SACError: If it is not.
        """

    def complete_schema(self, schema: dict[str, Any]) -> None:
        """Put back what a schema of this stream lost in the SDK's schema objects."""
        add_decimal_facets(schema, self.entity_set.properties)

    @property
    @override
    def emit_activate_version_messages(self) -> bool:
        """False for the SDK, which would write ACTIVATE_VERSION before the first row.

        A run that dies half-way would then have emptied the table. `activate` writes it.
        """
        return False

    @property
    @override
    def metadata(self) -> MetadataMapping:
        """The catalog's metadata, in which it is for us to say what can be deselected."""
        is_new = self._metadata is None
        metadata = super().metadata
        if is_new:
            for column in self._mandatory_columns:
                automatic = Metadata.InclusionType.AUTOMATIC
                metadata["properties", column.name].inclusion = automatic
            for name in self.entity_set.key if self.has_optional_key else ():
                of_column = metadata["properties", name]
                of_column.inclusion = Metadata.InclusionType.AVAILABLE
                if of_column.selected_by_default is None:
                    of_column.selected_by_default = True
            if self.offers_methods:
                metadata.root.forced_replication_method = None
        return metadata

    @property
    def _mandatory_columns(self) -> list[OwnColumn]:
        """The columns of our own that cannot be deselected."""
        return [item for item in self.entity_set.own_columns if not item.is_deselectable]

    def _json_schema(self, config: Any) -> dict[str, Any]:  # noqa: ANN401
        return json_schema(self.entity_set, use_singer_decimal=config["use_singer_decimal"])


class PageStream(SDKStream, abc.ABC):
    """A stream that comes in pages: one by one for the SDK, many at a time, or into files."""

    @property
    def needs_key(self) -> bool:
        """Whether targets find the rows that have changed by their key."""
        return bool(self.primary_keys)

    @property
    def form(self) -> dict[str, Any]:
        """What decides on the form of rows in a target, and on the table or files they go to."""
        batch_config = self.config.get("batch_config") or {}
        storage = batch_config.get("storage") or {}
        columns = self.effective_schema["properties"]
        return {
            "maps": applied(self.name, self.config.get("stream_maps") or {}),
            "options": {
                name: value
                for name, value in self.config.items()
                if name.startswith(_OPTIONS_OF_MAPS)
            },
            "types": {
                name: [column.get("type"), column.get("format")] for name, column in columns.items()
            },
            "files": [batch_config.get("encoding"), storage.get("root"), storage.get("prefix")],
        }

    @abc.abstractmethod
    def read(self) -> Iterator[Records]:
        """Read the records, some at a time, and `END_OF_PART` where they shall be written first.

        Raises:
            SACError: If they cannot be had.
        """

    def check_maps(self) -> None:
        """See that stream maps go together with batch files, and let deleted rows pass.

        Raises:
            SACError: If they do not.
        """
        if DELETED_AT in self.entity_set.own_columns:
            check_deletions(
                self.name,
                self.stream_maps,
                self.config.get("stream_maps") or {},
                entity_set=self.entity_set,
                schema=self.schema,
                needs_key=self.needs_key,
            )
        if len(self.stream_maps) > 1 and self.get_batch_config(self.config):
            others = ", ".join(stream_map.stream_alias for stream_map in self.stream_maps[1:])
            msg = (
                f"The setting stream_maps makes further streams of {self.name} with __source__ "
                f"({others}), which batch_config cannot write: remove them from stream_maps, or "
                "unset batch_config."
            )
            raise SACError(msg)

    @override
    def get_record_counter(
        self, *, endpoint: str | None = None, log_interval: float = math.inf
    ) -> metrics.Counter:
        """Count records, for one METRIC at the end of the stream; the log tells how far it is."""
        return super().get_record_counter(endpoint=endpoint, log_interval=log_interval)

    @override
    def get_batch_counter(self) -> metrics.Counter:
        """Count batches, for one METRIC at the end of the stream."""
        counter = super().get_batch_counter()
        counter.log_interval = math.inf
        return counter

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Read the records one by one.

        Raises:
            SACError: As `read` does.
        """
        for records in self.read():
            yield from records

    @override
    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        """Write many records at a time to the files that BATCH messages name.

        Raises:
            SACError: As `read` does, or if the format needs a package that is not installed.
        """
        self._check_table_version()
        encoding = batch_config.encoding
        is_gzip = encoding.compression == "gzip"
        format_ = file_format(
            encoding.format,
            self._columns_of_files,
            has_others=not self._is_unmapped,
            is_gzip=is_gzip,
        )
        size = self.config["batch_config"].get("batch_size") or format_.usual_size
        portions = self._portions_of_files(size or batch_config.batch_size)
        with (
            closing(portions),
            closing(
                write_files(
                    portions,
                    batch_config.storage,
                    f"{self.tap_name}--{self.name}-{uuid4()}",
                    format_,
                    is_gzip=is_gzip,
                    version=lambda: self.version,
                )
            ) as urls,
        ):
            for url in urls:
                yield encoding, [url]

    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[Record, Any, Any]:
        """Write many records at a time, unless something needs to see each of them."""
        with self._failing_alone():
            if self._passes_records_on:
                self._sync_pages()
            else:
                yield from super()._sync_records(context)

    @override
    def _generate_record_messages(self, record: Record) -> Generator[RecordMessage, None, None]:
        """Give records back the columns that SCHEMA has whatever a map does."""
        own = {column.name: record.get(column.name) for column in self._mandatory_columns}
        for message in super()._generate_record_messages(record):
            message.record = {**message.record, **own}
            yield message

    @override
    def _sync_batches(self, batch_config: BatchConfig, context: Context | None = None) -> None:
        """Write ACTIVATE_VERSION and the final STATE after the last BATCH message, in this order.

        If the run died between the two, no other run would write ACTIVATE_VERSION.
        """
        with self._failing_alone(), self.get_batch_counter() as counter:
            for encoding, manifest in self.get_batches(batch_config, context):
                counter.increment()
                self._write_batch_message(encoding=encoding, manifest=manifest)
                self._write_state_message()
            if self._version_to_activate is not None:
                self._write_activate_version_message(self._version_to_activate)
            self._store_completed_state()
            self._write_state_message()

    @override
    def _finalize_state(self, state: dict[str, Any] | None = None) -> None:
        """Move the bookmark after the last record; `_sync_batches` does so after the last file."""
        if not self.get_batch_config(self.config):
            self._store_completed_state()

    def _store_completed_state(self) -> None:
        state = self.stream_state
        if self._completed_state is not None:
            state.clear()
            state.update(self._completed_state)
        super()._finalize_state(state)

    @override
    def finalize_state_progress_markers(self, state: dict[str, Any] | None = None) -> None:
        """Let the bookmark of a stream that has failed stay where it was."""
        if self.failure is None:
            super().finalize_state_progress_markers(state)

    @contextmanager
    def _failing_alone(self) -> Iterator[None]:
        """Keep a failure of this stream's data to itself, so that the others go on."""
        try:
            yield
        except DataError as error:
            self.failure = error
            self.logger.warning("Going on without %s, which failed: %s", self.name, error)

    @override
    def _generate_schema_messages(self) -> Generator[SchemaMessage, None, None]:
        """Complete the schemas; the catalog may be older than columns that are always there."""
        for message in super()._generate_schema_messages():
            self.complete_schema(message.schema)
            message.schema = with_own_columns(message.schema, self._mandatory_columns)
            yield message

    @override
    def _write_starting_replication_value(self, context: Context | None) -> None:
        """Find where to start, where that is a question; the SDK would write null elsewhere."""
        if self.replication_method == REPLICATION_INCREMENTAL:
            self.check_bookmark()
            super()._write_starting_replication_value(context)

    @property
    def _is_unmapped(self) -> bool:
        """Whether no stream map or flattening changes the records."""
        stream_map = self.stream_maps[0]
        return (
            len(self.stream_maps) == 1
            and type(stream_map) is SameRecordTransform
            and not stream_map.flattening_enabled
        )

    @property
    def _passes_records_on(self) -> bool:
        """Whether the SDK would write the records as they are."""
        return (
            isinstance(self._tap.message_writer, MessageWriter)
            and self._is_unmapped
            and self.replication_method != REPLICATION_INCREMENTAL
            and not self.is_dry_run
        )

    def _sync_pages(self) -> None:
        """Write the messages that the SDK would write for the records, in the same order."""
        writer = cast("MessageWriter", self._tap.message_writer)
        alias = self.stream_maps[0].stream_alias
        portions = self._portions(self.read(), self.STATE_MSG_FREQUENCY, at_once=_WRITTEN_AT_ONCE)
        with closing(portions):
            for portion in portions:
                if not portion.size:
                    continue
                writer.write_records(
                    alias,
                    portion.lines(),
                    version=self.version,
                    time_extracted=portion.time_extracted,
                )
                if portion.ends_period:
                    self._write_state_message()
        self._store_completed_state()
        self._write_state_message()

    def _check_table_version(self) -> None:
        """See that records in files have room for their version.

        Raises:
            DataError: If they have a column of that name.
        """
        columns = self.stream_maps[0].transformed_schema["properties"]
        if self.has_versions and TABLE_VERSION.name in columns:
            msg = (
                f"The column {TABLE_VERSION.name} of {self.name} has the name of the column that "
                "batch files keep the version of a row in: deselect it, give it another name with "
                "the setting stream_maps, or set emit_activate_version_messages to false."
            )
            raise DataError(msg)

    @property
    def _columns_of_files(self) -> list[Property]:
        """The columns of batch files that have the types of `$metadata`."""
        columns = [*self.selected_columns, *self.own_columns]
        if self.has_versions:
            columns.append(TABLE_VERSION)
        if self._is_unmapped:
            return columns
        # The raw_schema of a stream map is no help: it changes together with the other.
        before = deepcopy(self.effective_schema)
        after = deepcopy(self.stream_maps[0].transformed_schema)
        for schema in (before, after):
            self.complete_schema(schema)
        return [
            column
            for column in columns
            if before["properties"].get(column.name) == after["properties"].get(column.name)
        ]

    def _portions_of_files(self, size: int) -> Generator[Portion, None, None]:
        """Read what files of this size have."""
        if self.replication_method != REPLICATION_INCREMENTAL:
            reads = self.read() if self._is_unmapped else self._read_mapped()
            return self._portions(reads, size, at_once=_WRITTEN_AT_ONCE)
        # The bookmark is that of the last record that the SDK has seen: no file may end before it.
        records = super()._sync_records(write_messages=False)
        mapped = (item for record in records for item in self._mapped(record))
        reads = gather(mapped, period=size, at_once=_WRITTEN_AT_ONCE)
        return divide(reads, period=size, at_once=_WRITTEN_AT_ONCE)

    def _read_mapped(self) -> Iterator[Records]:
        """Read what stream maps and flattening make of the records, not too many at a time."""
        for records in self.read():
            if records is END_OF_PART:
                yield records
            mapped = (item for record in records for item in self._mapped(record))
            while some := MadeRecords(islice(mapped, _WRITTEN_AT_ONCE)):
                yield some

    def _mapped(self, record: Record) -> Iterator[Record]:
        """Make what RECORD messages would have of a record: nothing if a map removes it."""
        for message in self._generate_record_messages(record):
            yield message.record

    def _portions(
        self, reads: Iterable[Records], period: int, *, at_once: int
    ) -> Generator[Portion, None, None]:
        """Count the records that come, and divide them (`divide`)."""
        with self.get_record_counter() as counter, self.get_sync_timer():
            for portion in divide(reads, period=period, at_once=at_once):
                self.mark_state_changed()
                yield portion
                counter.increment(portion.size)
