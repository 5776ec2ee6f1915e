"""Records -> chunks: few enough to be written at once, and none in two batches."""

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


AT_ONCE = 1000  # records, so that they stay in the caches of a processor


class Chunk(NamedTuple):
    """Some of the records that were read together.

    A batch is what goes into one file, or is written before a STATE.

    Attributes:
        records: The records that were read together.
        start: The first record of the chunk.
        stop: The record after its last.
        time_extracted: When they were read.
        number: How many batches were full before it.
        ends_batch: Whether a batch ends with it: its last record fills the batch, or it has no
            record and is the end of a slice.
    """

    records: Records
    start: int
    stop: int
    time_extracted: datetime
    number: int
    ends_batch: bool

    @property
    def size(self) -> int:
        """How many records it has."""
        return self.stop - self.start

    def lines(self) -> bytes:
        """Write its records as JSON, each with a newline at its end."""
        return self.records.lines(self.start, self.stop)

    def columns(self) -> Columns | bytes:
        """Return its records by column, or as lines where values need conversion."""
        return self.records.columns(self.start, self.stop)


def divide(reads: Iterable[Records], batch_size: int) -> Generator[Chunk, None, None]:
    """Divide records into chunks; a batch ends when it is full, and at the end of a slice."""
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
    """Gather records that come one by one, and take none of the next batch before it begins."""
    source = iter(records)
    left = batch_size
    while some := MadeRecords(islice(source, min(left, AT_ONCE))):
        yield some
        left = left - len(some) or batch_size


def mapped_records(
    reads: Generator[Records, None, None], make: Callable[[Record], Iterable[RecordMessage]]
) -> Generator[Records, None, None]:
    """Apply stream maps and flattening to records, not to too many at a time.

    A map that drops a record makes no message of it.
    """
    with closing(reads):  # Not only when the frames of a failure are gone.
        for records in reads:
            if records is END_OF_SLICE:
                yield records
            mapped = (message.record for record in records for message in make(record))
            while some := MadeRecords(islice(mapped, AT_ONCE)):
                yield some


def with_version(lines: bytes, version: int | None) -> bytes:
    """Add the version, if there is one, to records that are written as JSON lines."""
    if version is None:
        return lines
    comma = b"" if lines.startswith(b"{}\n") else b","
    end = b'%b"%b":%d}\n' % (comma, TABLE_VERSION.name.encode(), version)
    # A newline only follows a record. (bytes.replace takes twice as long.)
    return end.join(lines.split(b"}\n"))
