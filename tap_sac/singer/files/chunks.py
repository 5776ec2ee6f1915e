"""Records that come together, divided: into what is written at once, and at the end of periods."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from tap_sac.singer.records import END_OF_PART, MadeRecords

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from tap_sac.singer.records import Record, Records
    from tap_sac.singer.rows import Columns


AT_ONCE = 1000  # records, so that they stay in the caches of a processor


class Portion(NamedTuple):
    """Some of the records that came together.

    Attributes:
        records: Those that came.
        start: The first of the portion.
        stop: The one behind its last.
        time_extracted: When they came.
        number: How many periods were full before it.
        ends_period: Whether a period ends with it: its last record fills it, or it has no record
            and is the end of a part.
    """

    records: Records
    start: int
    stop: int
    time_extracted: datetime
    number: int
    ends_period: bool

    @property
    def size(self) -> int:
        """How many records it has."""
        return self.stop - self.start

    def lines(self) -> bytes:
        """Write its records as JSON, each with a newline at its end."""
        return self.records.lines(self.start, self.stop)

    def columns(self) -> Columns | bytes:
        """Give its records by column, or as lines where values need conversion."""
        return self.records.columns(self.start, self.stop)


def divide(reads: Iterable[Records], *, period: int) -> Generator[Portion, None, None]:
    """Divide records, also at each end of a period; a period ends with a part, too.

    Args:
        reads: The records, some at a time.
        period: How many records make a period.
    """
    number = in_period = 0
    for records in reads:
        now = datetime.now(timezone.utc)
        if records is END_OF_PART:
            yield Portion(records, 0, 0, now, number, ends_period=True)
            number, in_period = number + bool(in_period), 0
        start = 0
        while start < len(records):
            stop = min(len(records), start + AT_ONCE, start + period - in_period)
            in_period += stop - start
            ends_period = in_period == period
            yield Portion(records, start, stop, now, number, ends_period)
            if ends_period:
                number, in_period = number + 1, 0
            start = stop


def gather(records: Iterable[Record], *, period: int) -> Iterator[Records]:
    """Gather records that come one by one, and take none of the next period before it begins.

    Args:
        records: The records.
        period: How many records make a period.
    """
    source = iter(records)
    left = period
    while some := MadeRecords(islice(source, min(left, AT_ONCE))):
        yield some
        left = left - len(some) or period
