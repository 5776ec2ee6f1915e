"""The inputs and results of all reads of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from tap_sac.safety.text import plural
from tap_sac.streams.source import Source, in_order

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator

    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.keys import Keys
    from tap_sac.singer.records import RecordMaker
    from tap_sac.singer.sums import Sums
    from tap_sac.streams.providers import ProvidersSource
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
        """Whether the target may delete rows after the read, and the bookmark may move."""
        return self in {Verdict.PROVEN, Verdict.NOT_COUNTED}


@dataclass(frozen=True)
class Reading:
    """What a read needs from its stream.

    Attributes:
        source: Asks SAC.
        columns: The selected columns of SAC.
        query: The query options that request them.
        version: The version of a new read; None without versions.
        has_key: Whether targets deduplicate by key.
        fails: Whether a disproved read fails the stream, instead of being a warning.
        make: Makes a `RecordMaker`, given what adds up numbers and what gets keys.
        take: Reads pages ahead, and logs the progress.
        totals: Compares totals with SAC's own; None if that is off or impossible.
        save: Stores a state, and writes a STATE message at once.
        state: Returns the state of the stream.
        begin_version: Sets the version of the records that follow.
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
        """The query options that request the rows in key order."""
        return in_order(self.query, self.source.key)

    @property
    def is_in_order(self) -> bool:
        """Whether the rows are requested in key order, because an earlier read needed it."""
        return "$orderby" in self.query

    def extra_facts(self, count: int | None) -> int:
        """Ask for the number of keys; return how many more facts there are, or 0 if unknown."""
        source = self.source
        if not (self.has_key and count and isinstance(source, Source) and source.is_counted):
            return 0
        keys = source.count_keys()
        return 0 if keys is None else max(0, count - keys)

    def warn_of_repeated_keys(self, count: int | None) -> int:
        """Return `extra_facts`; warn if SAC seems to store several facts under one key."""
        extra = self.extra_facts(count)
        if count and extra:
            self.logger.warning(
                "SAC counts %s of %s but %s: if a key has several facts, a target keeps only one.",
                plural(count, "fact"),
                self.name,
                plural(count - extra, "key"),
            )
        return extra

    def discard_unfinished(self) -> None:
        """Prevent later runs from resuming an earlier read, once rows of a newer version exist."""
        state = self.state()
        if state.unfinished:
            self.save(state.slicing(None))


@dataclass(frozen=True)
class Outcome:
    """The result of a read.

    Attributes:
        verdict: What SAC's counts say about it.
        rows: The number of rows.
        version: The version of its rows; None without versions.
        may_delete: Whether the target may delete rows that were not read.
        rows_of_earlier_run: How many of the rows an earlier run read.
    """

    verdict: Verdict
    rows: int
    version: int | None
    may_delete: bool
    rows_of_earlier_run: int = 0


@dataclass(frozen=True)
class Changes:
    """The result of a read of changes.

    Attributes:
        rows: How many rows are new, changed or deleted.
        deletions: How many of them are deleted.
    """

    rows: int
    deletions: int

    def text(self, verb: str = "") -> str:
        """Describe the number of changes and deletions."""
        kind = "a deletion" if self.deletions == 1 else "deletions"
        deletions = f", {self.deletions:,} of them {kind}" if self.deletions else ""
        return f"{plural(self.rows, 'change')}{verb}{deletions}"
