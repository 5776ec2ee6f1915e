"""Divides records into chunks: small enough to be written at once, and each in one batch."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from tap_sac.singer.records import END_OF_SLICE, MadeRecords
from tap_sac.singer.schema import TABLE_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from singer_sdk.singerlib import RecordMessage

    from tap_sac.singer.records import Record, Records
    from tap_sac.singer.rows import Columns


AT_ONCE = 1000  # records, which fit into the processor's caches


class Chunk(NamedTuple):
    """Some consecutive records that were read together.

    A batch is written into one file, or before a STATE.

    Attributes:
        records: The records that were read together.
        start: The first record of the chunk.
        stop: The record after its last.
        time_extracted: When the records were read.
        number: The number of batches before this one.
        ends_batch: Whether the batch ends with this chunk: it fills the batch, or it is empty and
            marks the end of a slice.
    """

    records: Records
    start: int
    stop: int
    time_extracted: datetime
    number: int
    ends_batch: bool

    @property
    def size(self) -> int:
        """The number of records."""
        return self.stop - self.start

    def lines(self) -> bytes:
        """Write the records as JSON, each with a final newline."""
        return self.records.lines(self.start, self.stop)

    def columns(self) -> Columns | bytes:
        """Return the records by column, or as lines if a value needs conversion."""
        return self.records.columns(self.start, self.stop)


def divide(reads: Iterable[Records], batch_size: int) -> Generator[Chunk, None, None]:
    """Divide records into chunks; batches end when they are full, and at the end of a slice."""
    number = in_batch = 0
    for records in reads:
        now = datetime.now(timezone.utc)
        if records is END_OF_SLICE:
            yield Chunk(records, 0, 0, now, number, ends_batch=True)
            number, in_batch = number + bool(in_batch), 0
        start = 0
        while start < len(records):
            stop = min(len(records), start + AT_ONCE, start + batch_size - in_batch)
            in_batch += stop - start
            ends_batch = in_batch == batch_size
            yield Chunk(records, start, stop, now, number, ends_batch)
            if ends_batch:
                number, in_batch = number + 1, 0
            start = stop


def gather(records: Iterable[Record], batch_size: int) -> Iterator[Records]:
    """Gather single records, without taking any of the next batch before it starts."""
    source = iter(records)
    left = batch_size
    while some := MadeRecords(islice(source, min(left, AT_ONCE))):
        yield some
        left = left - len(some) or batch_size


def mapped_records(
    reads: Generator[Records, None, None], make: Callable[[Record], Iterable[RecordMessage]]
) -> Generator[Records, None, None]:
    """Apply stream maps and flattening to records, a limited number at a time.

    A map that drops a record makes no message of it.
    """
    with closing(reads):  # Freed now, not when the frames of a failure are freed.
        for records in reads:
            if records is END_OF_SLICE:
                yield records
            mapped = (message.record for record in records for message in make(record))
            while some := MadeRecords(islice(mapped, AT_ONCE)):
                yield some


def with_version(lines: bytes, version: int | None) -> bytes:
    """Add the version, if any, to records that are JSON lines."""
    if version is None:
        return lines
    comma = b"" if lines.startswith(b"{}\n") else b","
    end = b'%b"%b":%d}\n' % (comma, TABLE_VERSION.name.encode(), version)
    # Newlines only follow records. (bytes.replace takes twice as long.)
    return end.join(lines.split(b"}\n"))
