"""One run of a stream: which read it needs, and what follows from what the read found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from singer_sdk.singerlib.catalog import REPLICATION_INCREMENTAL, REPLICATION_LOG_BASED

from tap_sac.sac.errors import DeltaLostError, SACError
from tap_sac.streams.changes import ChangesRead, OpeningRead
from tap_sac.streams.full import FullRead, may_delete, warn_of_changes
from tap_sac.streams.permissions import check_writable
from tap_sac.streams.proof import Verdict
from tap_sac.streams.sliced import SlicedRead, hindrance_to_slices
from tap_sac.streams.state import LastRead
from tap_sac.streams.totals import warn_uncompared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tap_sac.sac.export.tables import Table
    from tap_sac.singer.records import Records
    from tap_sac.streams.changes import Tracking
    from tap_sac.streams.permissions import Permissions
    from tap_sac.streams.reading import Outcome, Reading
    from tap_sac.streams.sliced import Slicing
    from tap_sac.streams.source import Source
    from tap_sac.streams.state import StreamState


class Output(Protocol):
    """What a run says to whoever writes its records.

    Attributes:
        version: The version that records carry from now on.
        may_advance: Whether a bookmark may move to the rows of the run.
        is_verified: Whether SAC counted the rows.
        was_withheld: Whether nothing is deleted because the user has changed.
    """

    version: int | None
    may_advance: bool
    is_verified: bool | None
    was_withheld: bool

    def activate(self, version: int) -> None:
        """Let targets drop the rows of older versions, once they have all rows of this one."""

    def complete(self, state: dict[str, Any]) -> None:
        """Accept the state that follows from a complete read."""


@dataclass(frozen=True)
class Run:
    """One run of a stream.

    Attributes:
        output: Where versions, states and verdicts go.
        reading: Returns what a read needs of the stream; with or without totals to compare.
        table: Returns the rows of a query, from the bookmark on if there is one.
        method: The replication method.
        permissions: The permissions behind the read.
        has_versions: Whether records carry a version that is activated at the end.
        chosen_key: The key, where the catalog decides on it.
        is_sum: Whether rows are sums.
        is_dry_run: Whether it ends after the first records.
        verifies_totals: Whether totals are to be compared.
        fails_if_lost: Whether lost changes stop the run, instead of a full read.
        tracking: How SAC tracks changes; None if it cannot.
        slicing: How the table is read in slices; None for one go.
    """

    output: Output
    reading: Callable[..., Reading[Any]]
    table: Callable[[Mapping[str, str]], Table]
    method: str
    permissions: Permissions
    has_versions: bool
    chosen_key: list[str] | None
    is_sum: bool
    is_dry_run: bool
    verifies_totals: bool
    fails_if_lost: bool
    tracking: Tracking | None
    slicing: Slicing | None

    @property
    def is_withheld(self) -> bool:
        """Whether nothing may be deleted, and the state must stay: the user has changed."""
        return self.has_versions and self.permissions.have_changed

    def records(self) -> Iterator[Records]:
        """Read the records, and say after the last one what follows.

        Raises:
            UnknownEntitySetError: If SAC does not serve the entity set.
            DataError: If the read is disproved, or a row does not fit.
            SACError: If SAC refuses.
        """
        if self.is_withheld:
            reading = self.reading(totals=False)
            check_writable(reading.name, is_sum=self.is_sum, has_key=reading.has_key)
        elif self.tracking and self.method == REPLICATION_LOG_BASED:
            yield from self._tracked(self.tracking)
            return
        elif self.tracking:
            self._stop_tracking(self.tracking)
        reading = self.reading()
        self._warn_of_changes(reading)
        read = self._pick(reading)
        self.output.version = read.version
        outcome = yield from read.records()
        self._settle(reading, outcome)
        is_incremental = self.method == REPLICATION_INCREMENTAL
        if outcome.verdict.is_complete and not is_incremental and not self.is_withheld:
            self._complete(reading.state().completed(self._last_read(reading, outcome)), outcome)

    def _tracked(self, tracking: Tracking) -> Iterator[Records]:
        """Read what has changed; or all rows, where the changes cannot be had."""
        reading: Reading[Source] = self.reading(totals=False)
        bookmark = reading.state().bookmark
        if bookmark:
            changes = ChangesRead(reading, tracking, bookmark)
            try:
                changes.check()
                self.output.version = bookmark.version if self.has_versions else None
                after = yield from changes.records()
            except DeltaLostError as error:
                self._report_lost(reading, error)
                tracking.subscriptions.delete_chain(bookmark.link)
            else:
                if self.verifies_totals:
                    why = "this run read changes only: run with --full-refresh to compare them"
                    warn_uncompared(reading.name, reading.logger, why)
                self.output.complete(reading.state().tracking(after).write())
                return
        yield from self._open(tracking)

    def _open(self, tracking: Tracking) -> Iterator[Records]:
        """Read all rows, and store the link to the changes after that."""
        reading: Reading[Source] = self.reading()
        self._warn_of_changes(reading)
        if self.slicing:  # A chain of each slice would miss the facts of a value that comes later.
            _warn_unsliced(
                reading,
                self.slicing,
                "SAC would track the changes of each slice alone, and of no value that comes later",
            )
        opening = OpeningRead(reading, tracking, is_dry_run=self.is_dry_run)
        self.output.version = reading.version
        outcome, bookmark = yield from opening.records()
        self._settle(reading, outcome)
        if bookmark:
            self._complete(reading.state().tracking(bookmark), outcome)
        elif outcome.verdict.is_complete:
            self._complete(reading.state().completed(self._last_read(reading, outcome)), outcome)

    def _pick(self, reading: Reading[Any]) -> FullRead[Any] | SlicedRead:
        if self.slicing is None or self.is_dry_run:
            return FullRead(reading, table=self.table(reading.query))
        hindrance = hindrance_to_slices(reading.source, reading.columns, self.slicing.column.name)
        if self.method == REPLICATION_INCREMENTAL:
            hindrance = "an INCREMENTAL read has only the rows since the last one"
        elif self.is_withheld:
            hindrance = "a different user is signed in than in the last run"
        if hindrance is None:
            return SlicedRead(cast("Reading[Source]", reading), self.slicing)
        _warn_unsliced(reading, self.slicing, hindrance)
        return FullRead(reading, table=self.table(reading.query))

    def _settle(self, reading: Reading[Any], outcome: Outcome) -> None:
        """Let targets delete old rows if the read allows it, or leave the bookmark if not."""
        is_counted = outcome.verdict is not Verdict.NOT_COUNTED
        self.output.is_verified = is_counted or not reading.source.kind.is_counted
        self.output.may_advance = outcome.verdict.is_complete
        if not outcome.may_delete or outcome.version is None:
            return
        if self.is_withheld:
            self.output.was_withheld = True
        elif may_delete(reading, outcome.rows, self.permissions):
            self.output.activate(outcome.version)

    def _complete(self, state: StreamState, outcome: Outcome) -> None:
        self.output.complete(self.permissions.after(state, outcome.rows).write())

    def _last_read(self, reading: Reading[Any], outcome: Outcome) -> LastRead:
        return LastRead(outcome.version, reading.source.filter, self.chosen_key)

    def _stop_tracking(self, tracking: Tracking) -> None:
        """Delete the chain of a stream that is no longer LOG_BASED."""
        reading = self.reading(totals=False)
        state = reading.state()
        if bookmark := state.bookmark:
            tracking.subscriptions.delete_chain(bookmark.link)
            key = None if self.chosen_key is None else bookmark.query.key
            last = LastRead(bookmark.version, bookmark.query.filter, key)
            reading.save(state.completed(last))

    def _warn_of_changes(self, reading: Reading[Any]) -> None:
        deletes = self.has_versions and not self.is_withheld
        warn_of_changes(reading, reading.state().last, self.chosen_key, deletes=deletes)

    def _report_lost(self, reading: Reading[Any], error: DeltaLostError) -> None:
        """Log why the table is read again, or stop.

        Raises:
            SACError: If lost changes stop the run.
        """
        if self.fails_if_lost:
            msg = (
                f"The changes of {reading.name} since the last run are lost, because {error}: set "
                "on_delta_lost to full_refresh, or remove the state of the stream, to read the "
                "whole table again."
            )
            raise SACError(msg)
        reading.logger.warning(
            "Reading the whole table of %s again%s, because %s.",
            reading.name,
            " under a new version"
            if self.has_versions
            else ", which cannot remove what was deleted in SAC since the last run",
            error,
        )


def _warn_unsliced(reading: Reading[Any], slicing: Slicing, why: str) -> None:
    reading.logger.warning(
        "%s is read in one go, although partition_by names %s, because %s.",
        reading.name,
        slicing.column.name,
        why,
    )
