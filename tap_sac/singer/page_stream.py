"""The seam to the Singer SDK's streams: writes records singly, in bulk, or into files.

One of the two modules that use private names of the SDK (the other is `command_line`);
tests/project/test_sdk.py lists them.
"""

from __future__ import annotations

import abc
from contextlib import closing, contextmanager
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from singer_sdk import Stream
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.singerlib import ActivateVersionMessage
from singer_sdk.singerlib.catalog import REPLICATION_INCREMENTAL
from typing_extensions import override

from tap_sac.sac.errors import DataError
from tap_sac.singer.columns import (
    ColumnSelection,
    mandatory_columns,
    set_inclusion,
    typed_columns,
    version_column,
)
from tap_sac.singer.files.batches import check_storage, file_format, write_files
from tap_sac.singer.files.chunks import divide, gather, mapped_records
from tap_sac.singer.maps import mapped
from tap_sac.singer.messages import MessageWriter
from tap_sac.singer.schema import add_decimal_facets, json_schema, sent_types, with_own_columns
from tap_sac.singer.sdk_logs import quiet

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from singer_sdk import Tap
    from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.singerlib import MetadataMapping, RecordMessage, SchemaMessage

    from tap_sac.sac.odata.model import EntitySet, OwnColumn
    from tap_sac.singer.files.chunks import Chunk
    from tap_sac.singer.maps import MappedDeletions
    from tap_sac.singer.records import Records
    from tap_sac.singer.shared_tables import SharedTables

    Reads = Generator[Records, None, None]


class PageStream(Stream, abc.ABC):
    """A stream of an entity set, with everything that the tap's streams use of the SDK.

    Subclasses implement `read`. A `DataError` fails this stream alone; other errors stop the run.

    Attributes:
        entity_set: The columns and the key, with the columns that the tap adds.
        started_at: When the tap started, in milliseconds since 1970.
        failure: The error of a sync whose data cannot be trusted; else None.
        is_written: Whether all messages of this run are written.
        files: The number of batch files written.
        may_advance: Whether the bookmark may move to the rows of this run.
        version_to_activate: The version that is complete, so targets drop rows with older ones.
        completed_state: The state after a complete read, which applies once everything is written.
        mapped_deletions: Checks what stream maps do to deleted rows; None if there are none.
        shared_tables: The target tables with rows of several streams.
    """

    # The records already fit the schema; the SDK would convert them through float.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE
    # The SDK would write ACTIVATE_VERSION before the first row, so a run that is killed half-way
    # would have emptied the table. `activate` writes it.
    emit_activate_version_messages = False
    offers_methods = False  # whether the user can choose a replication method
    has_optional_key = False  # whether key columns can be deselected, which reduces the key
    shared_tables: SharedTables

    def __init__(self, tap: Tap, *, name: str, entity_set: EntitySet) -> None:
        """Create the stream of an entity set."""
        self.entity_set = entity_set
        self.started_at = tap.initialized_at
        self.failure: DataError | None = None
        self.is_written = False
        self.files = 0
        self.may_advance = True
        self.mapped_deletions: MappedDeletions | None = None
        self.version_to_activate: int | None = None
        self.completed_state: dict[str, Any] | None = None
        schema = json_schema(entity_set, use_singer_decimal=tap.config["use_singer_decimal"])
        super().__init__(tap, schema=schema, name=name)
        quiet(self.logger.name)
        self.primary_keys = entity_set.key

    @abc.abstractmethod
    def read(self) -> Reads:
        """Yield the records, some at a time, and `END_OF_SLICE` to have all of them written first.

        Raises:
            DataError: If the data cannot be trusted.
            SACError: If the records cannot be read.
        """

    def check_bookmark(self) -> None:
        """Raise a `SACError` if an INCREMENTAL read cannot start from the state."""

    @property
    def is_dry_run(self) -> bool:
        """Whether the SDK only checks that it can read a record (``--test``)."""
        return self.ABORT_AT_RECORD_COUNT is not None

    @property
    def has_versions(self) -> bool:
        """Whether records have a version that is activated at the end."""
        return bool(self.config["emit_activate_version_messages"]) and not self.is_incremental

    @property
    def is_incremental(self) -> bool:
        """Whether rows are read from a bookmark on."""
        return self.replication_method == REPLICATION_INCREMENTAL

    @property
    def tables(self) -> list[tuple[str, list[str]]]:
        """The target tables that stream maps make of this stream, each with its key."""
        messages = self._generate_schema_messages()
        return [(item.stream, sorted(item.key_properties or ())) for item in messages]

    @property
    def sent_types(self) -> dict[str, str]:
        """The column types in SCHEMA messages."""
        return sent_types(self.name, self._generate_schema_messages())

    @property
    def selection(self) -> ColumnSelection:
        """The columns that the catalog selects."""
        return ColumnSelection(self.entity_set, self.effective_schema["properties"], self.mask)

    def own(self, *columns: OwnColumn) -> None:
        """Set the columns that the tap adds to SAC's."""
        self.entity_set = replace(self.entity_set, own_columns=columns)
        is_exact = self.config["use_singer_decimal"]
        self._schema = json_schema(self.entity_set, use_singer_decimal=is_exact)

    def begin_version(self, version: int | None) -> None:
        """Set the version of the records that follow; None without versions."""
        self._stream_version = version

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state, and write it at once, unless this is a dry run."""
        self.stream_state.clear()
        self.stream_state.update(state)
        self.state_manager.is_flushed = False  # Even if no record was written.
        if not self.is_dry_run:
            self._write_state_message()

    def begin_incremental(self) -> None:
        """Find the bookmark to start from, like the SDK before it reads records."""
        self._write_starting_replication_value(None)

    @property
    @override
    def metadata(self) -> MetadataMapping:
        """The catalog's metadata, with our own rules for what can be deselected."""
        is_new, metadata = self._metadata is None, super().metadata
        if is_new:
            set_inclusion(metadata, self.entity_set, has_optional_key=self.has_optional_key)
            if self.offers_methods:
                metadata.root.forced_replication_method = None
        return metadata

    @override
    def generate_child_contexts(
        self, record: Record, context: Context | None
    ) -> Iterable[Context | None]:
        return ()  # No stream has children, for which the SDK would apply the filter of a map.

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        for records in self.read():
            yield from records

    def check_batches(self) -> None:
        """Raise a `SACError` if the settings ask for batch files that cannot be written."""
        if config := self.get_batch_config(self.config):
            file_format(config.encoding, [], has_others=False)
            check_storage(config.storage, lambda: config.storage._root_path)  # noqa: SLF001

    @override
    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        schema = self.stream_maps[0].transformed_schema
        columns = typed_columns(self.selection, self.effective_schema, schema)
        if self.has_versions:
            columns.append(version_column(self.name, schema["properties"]))
        encoding = batch_config.encoding
        kind = file_format(encoding, columns, has_others=not self._is_unmapped)
        # The SDK has added defaults to `batch_config`.
        size = self.config["batch_config"].get("batch_size") or kind.usual_size
        chunks = self._batch_chunks(size or batch_config.batch_size)
        name = f"{self.tap_name}--{self.name}"
        urls = write_files(chunks, batch_config.storage, name, kind, lambda: self._stream_version)
        with closing(chunks), closing(urls):
            for url in urls:
                yield encoding, [url]

    def _batch_chunks(self, size: int) -> Generator[Chunk, None, None]:
        """Read the records for files of this size."""
        if self.is_incremental:
            # A file must not end before the last record that the SDK has seen, which is the
            # bookmark.
            each = super()._sync_records(write_messages=False)
            make = self._generate_record_messages
            mapped = (message.record for record in each for message in make(record))
            return divide(gather(mapped, size), size)
        reads = self.read()
        if not self._is_unmapped:
            reads = mapped_records(reads, self._generate_record_messages)
        return self._chunks(reads, size)

    def _chunks(self, reads: Reads, size: int) -> Generator[Chunk, None, None]:
        """Divide the records into chunks, and count them."""
        with closing(reads), self.get_record_counter() as counter, self.get_sync_timer():
            for chunk in divide(reads, size):
                self.state_manager.is_flushed = False
                yield chunk
                counter.increment(chunk.size)

    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[Record, Any, Any]:
        """Write many records at a time, unless each needs processing."""
        if not write_messages:
            yield from super()._sync_records(context, write_messages=False)
            return
        writer = self._tap.message_writer
        needs_each = not self._is_unmapped or self.is_incremental or self.is_dry_run
        with self._failing_alone():
            if needs_each or not isinstance(writer, MessageWriter):
                yield from super()._sync_records(context)
                return
            name = self.stream_maps[0].stream_alias
            with closing(self._chunks(self.read(), self.STATE_MSG_FREQUENCY)) as chunks:
                for chunk in filter(attrgetter("size"), chunks):
                    writer.write_records(
                        name, chunk.lines(), self._stream_version, chunk.time_extracted
                    )
                    if chunk.ends_batch:
                        self._write_state_message()
            self._finish()
            self._write_state_message()

    @override
    def _sync_batches(self, batch_config: BatchConfig, context: Context | None = None) -> None:
        with self._failing_alone(), self.get_batch_counter() as counter:
            for encoding, manifest in self.get_batches(batch_config, context):
                counter.increment()
                self._write_batch_message(encoding=encoding, manifest=manifest)
                self.files += 1
                self._write_state_message()
            self._finish()
            self._write_state_message()

    @contextmanager
    def _failing_alone(self) -> Iterator[None]:
        """Record a failure of this stream's data, so that the others continue."""
        try:
            yield
        except DataError as error:
            self.failure = error
            self.logger.warning("%s failed; continuing with the others: %s", self.name, error)

    @override
    def _finalize_state(self, state: dict[str, Any] | None = None) -> None:
        """Finish after the last record; with files, `_sync_batches` finishes."""
        if not self.get_batch_config(self.config):
            self._finish()

    def _finish(self) -> None:
        """Write ACTIVATE_VERSION before the final STATE, after which no run would write it."""
        if self.version_to_activate is not None:
            version, tables = self.version_to_activate, [name for name, _ in self.tables]
            for table in self.shared_tables.activate(self.name, tables, version):
                self._tap.write_message(ActivateVersionMessage(stream=table, version=version))
        state = self.stream_state
        if self.completed_state is not None:
            state.clear()
            state.update(self.completed_state)
        self.version_to_activate = self.completed_state = None  # The SDK finalizes twice.
        if self.may_advance:
            super()._finalize_state(state)
        self.is_written = True

    @override
    def finalize_state_progress_markers(self, state: dict[str, Any] | None = None) -> None:
        """Keep the old bookmark if the stream failed, or its rows may be incomplete."""
        if self.failure is None and self.may_advance:
            super().finalize_state_progress_markers(state)

    @override
    def _generate_record_messages(self, record: Record) -> Generator[RecordMessage, None, None]:
        """Restore the columns that SCHEMA always has, whatever a map does."""
        own = {item.name: record.get(item.name) for item in mandatory_columns(self.entity_set)}
        if self.mapped_deletions:
            self.mapped_deletions.check(record)
        messages = super()._generate_record_messages(record)
        for message in messages if self._is_unmapped else mapped(self.name, messages):
            message.record = {**message.record, **own}
            yield message

    @override
    def _generate_schema_messages(self) -> Generator[SchemaMessage, None, None]:
        """Complete the schemas: an old catalog may lack columns that are always there."""
        for message in super()._generate_schema_messages():
            add_decimal_facets(message.schema, self.entity_set.properties)
            message.schema = with_own_columns(message.schema, mandatory_columns(self.entity_set))
            yield message

    @override
    def _write_starting_replication_value(self, context: Context | None) -> None:
        """Find where an INCREMENTAL read starts; for other methods, the SDK would write null."""
        if self.is_incremental:
            self.check_bookmark()
            super()._write_starting_replication_value(context)

    @property
    def _is_unmapped(self) -> bool:
        """Whether no stream map or flattening changes the records."""
        first, *others = self.stream_maps
        return type(first) is SameRecordTransform and not (others or first.flattening_enabled)
