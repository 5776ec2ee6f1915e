"""What every read of a stream gets, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from tap_sac.safety.text import plural
from tap_sac.streams.source import in_order

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator

    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.keys import Keys
    from tap_sac.singer.records import RecordMaker
    from tap_sac.singer.sums import Sums
    from tap_sac.streams.providers import ProvidersSource
    from tap_sac.streams.source import Source
    from tap_sac.streams.state import StreamState
    from tap_sac.streams.totals import Totals


class Verdict(Enum):
    """What SAC's counts say about the rows of a read."""

    PROVEN = auto()
    NOT_COUNTED = auto()
    UNPROVEN = auto()
    DISPROVED = auto()

    @property
    def is_complete(self) -> bool:
        """Whether the read may delete from the target, and move a bookmark."""
        return self in {Verdict.PROVEN, Verdict.NOT_COUNTED}


@dataclass(frozen=True)
class Reading:
    """What a read needs of its stream.

    Attributes:
        source: Asks SAC.
        columns: SAC's columns that records have.
        query: The query options that ask for them.
        version: The version of a new read; None without versions.
        has_key: Whether targets replace a row that comes again.
        fails: Whether a read that is disproved fails the stream, instead of being a warning.
        make: Makes what turns rows into records, with what takes their numbers and their keys.
        take: Takes pages while the next one is being read, and logs the progress.
        totals: Compares totals with SAC's own, if that is asked for and possible.
        save: Stores a state, and writes it at once.
        state: Returns the state of the stream.
        begin_version: Gives the records that follow this version.
    """

    name: str
    logger: logging.Logger
    source: Source | ProvidersSource
    columns: list[str]
    query: dict[str, str]
    version: int | None
    has_key: bool
    fails: bool
    make: Callable[[Sums | None, Callable[[Keys], None] | None], RecordMaker]
    take: Callable[[Callable[[], Iterator[Page]]], Iterator[Page]]
    totals: Totals | None
    save: Callable[[StreamState], None]
    state: Callable[[], StreamState]
    begin_version: Callable[[int], None]

    @property
    def ordered_query(self) -> dict[str, str]:
        """The query options that ask for the rows in the order of their keys."""
        return in_order(self.query, self.source.key)

    @property
    def is_in_order(self) -> bool:
        """Whether the rows are asked for in the order of their keys, as an earlier read needed."""
        return "$orderby" in self.query

    def extra_facts(self, count: int | None) -> int:
        """Ask how many keys there are; return how many fewer than facts, or 0 if not known."""
        if not (self.has_key and count and self.source.is_counted):
            return 0
        keys = self.source.count_keys()
        return 0 if keys is None else max(0, count - keys)

    def suspects_repeated_keys(self, count: int | None) -> int:
        """Return as `extra_facts`, and warn if SAC seems to store several facts under one key."""
        extra = self.extra_facts(count)
        if count and extra:
            self.logger.warning(
                "SAC counts %s of %s and %s: if a key has several facts, a target would keep one.",
                plural(count, "fact"),
                self.name,
                plural(count - extra, "key"),
            )
        return extra

    def discard_unfinished(self) -> None:
        """Let no run resume an earlier read, once rows of a later version are written."""
        state = self.state()
        if state.unfinished:
            self.save(state.slicing(None))


@dataclass(frozen=True)
class Outcome:
    """What a read has found.

    Attributes:
        verdict: What SAC's counts say about it.
        rows: How many rows it had.
        version: The version of its rows; None without versions.
        may_delete: Whether rows that did not come may be deleted from the target.
        rows_before: How many of the rows an earlier run has read.
    """

    verdict: Verdict
    rows: int
    version: int | None
    may_delete: bool
    rows_before: int = 0


@dataclass(frozen=True)
class Changes:
    """What a read of changes has found.

    Attributes:
        rows: How many rows are new, changed or deleted.
        deletions: How many of them are deleted.
    """

    rows: int
    deletions: int

    def text(self, verb: str = "") -> str:
        """Write how many there are, and how many of them are deletions."""
        kind = "a deletion" if self.deletions == 1 else "deletions"
        deletions = f", {self.deletions:,} of them {kind}" if self.deletions else ""
        return f"{plural(self.rows, 'change')}{verb}{deletions}"
