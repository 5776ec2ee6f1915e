"""The two sinks for many records at a time: RECORD messages, and the files of BATCH messages."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

from tap_sac.sac.errors import DataError
from tap_sac.singer.files.chunks import AT_ONCE
from tap_sac.singer.records import END_OF_SLICE, MadeRecords
from tap_sac.singer.schema import TABLE_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable

    from singer_sdk.singerlib import RecordMessage

    from tap_sac.singer.files.chunks import Chunk
    from tap_sac.singer.messages import MessageWriter
    from tap_sac.singer.records import Record, Records


def write_records(
    chunks: Generator[Chunk, None, None],
    writer: MessageWriter,
    stream: str,
    version: Callable[[], int | None],
    write_state: Callable[[], None],
) -> None:
    """Write the messages that the SDK would write for the records, in the same order.

    Args:
        chunks: The records.
        writer: Where they go.
        stream: The name of the stream in messages.
        version: Returns the version of the records, once the first one has come.
        write_state: Writes a STATE.
    """
    with closing(chunks):
        for chunk in chunks:
            if not chunk.size:
                continue
            writer.write_records(
                stream, chunk.lines(), version=version(), time_extracted=chunk.time_extracted
            )
            if chunk.ends_batch:
                write_state()


def mapped_records(
    reads: Generator[Records, None, None], make: Callable[[Record], Iterable[RecordMessage]]
) -> Generator[Records, None, None]:
    """Apply stream maps and flattening to records, not to too many at a time.

    Args:
        reads: The records, some at a time.
        make: Makes the messages of a record: none if a map drops it.
    """
    with closing(reads):  # Not only when the frames of a failure are gone.
        for records in reads:
            if records is END_OF_SLICE:
                yield records
            mapped = (message.record for record in records for message in make(record))
            while some := MadeRecords(islice(mapped, AT_ONCE)):
                yield some


def check_table_version(stream: str, columns: Collection[str]) -> None:
    """Check that records leave the name of the version column in batch files free.

    Args:
        stream: The name of the stream, for messages.
        columns: Names of the columns that records have.

    Raises:
        DataError: If they have a column of that name.
    """
    if TABLE_VERSION.name in columns:
        msg = (
            f"{stream} has a column {TABLE_VERSION.name}, which batch files need for the version "
            "of a row: deselect it, rename it with the setting stream_maps, or set "
            "emit_activate_version_messages to false."
        )
        raise DataError(msg)
