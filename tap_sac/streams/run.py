"""One run of a stream: picks the read, and acts on its result."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from tap_sac.sac.errors import DataError, DeltaLostError, ResponseError, SACError
from tap_sac.singer.column_watch import ColumnWatch
from tap_sac.singer.records import PageRecords, RecordMaker
from tap_sac.singer.schema import changed_types
from tap_sac.streams.audit import TimedTable, start_text
from tap_sac.streams.changes import ChangesRead, OpeningRead
from tap_sac.streams.full import FullRead, may_delete, warn_of_changes
from tap_sac.streams.parts import slicing_of, take_pages, totals_of, tracking_of
from tap_sac.streams.permissions import Permissions, check_writable
from tap_sac.streams.reading import Reading
from tap_sac.streams.slice_reader import obstacle_to_slices
from tap_sac.streams.sliced import SlicedRead
from tap_sac.streams.source import Source
from tap_sac.streams.state import LastRead, StreamState
from tap_sac.streams.totals import warn_uncompared
from tap_sac.tenant import tenant_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_sac.sac.export.tables import Table
    from tap_sac.singer.keys import Keys
    from tap_sac.singer.records import Records
    from tap_sac.singer.sums import Sums
    from tap_sac.streams.changes import Tracking
    from tap_sac.streams.reading import Outcome
    from tap_sac.streams.slice_reader import Slicing
    from tap_sac.streams.stream import SACStream


def read_records(stream: SACStream) -> Iterator[Records]:
    """Read the records of a stream, like `Run.records`."""
    return Run(stream).records()


class Run:
    """One run of a stream."""

    def __init__(self, stream: SACStream) -> None:
        """Prepare a run; no rows are requested yet."""
        self._stream = stream
        self._watch: ColumnWatch | None = None
        # Before the state changes, it has the permissions of the last read.
        self._permissions = Permissions(stream.source.client.user, self._state)
        # Rows before another user's bookmark may be new to this user.
        self._starts_anew = stream.is_incremental and self._permissions.have_changed
        # The key, if the catalog may choose it.
        self._chosen_key = [*stream.entity_set.key] if stream.has_optional_key else None

    @property
    def _is_withheld(self) -> bool:
        """Whether the user has changed, so nothing may be deleted, and the state must stay."""
        return self._stream.has_versions and self._permissions.have_changed

    def records(self) -> Iterator[Records]:
        """Read the records like `FullRead`, then update the state and let the target delete."""
        self._warn_of_types()
        if self._is_withheld:
            reading = self._reading(totals=False)
            is_sum = bool(self._stream.dropped_key) or self._stream.kind.is_additive
            check_writable(reading.name, is_sum=is_sum, has_key=reading.has_key)
        elif self._stream.is_trackable:
            if self._stream.is_log_based:
                yield from self._tracked()
                return
            self._stop_tracking()
        reading = self._reading()
        self._warn_of_changes(reading)
        if self._starts_anew:
            self._permissions.warn_of_kept_bookmark(reading.name, reading.logger)
        read = self._pick(reading)
        self._stream.begin_version(read.version)
        outcome = yield from read.records()
        self._apply(reading, outcome)
        if not outcome.verdict.is_complete or self._is_withheld:
            return
        if self._stream.is_incremental:
            found = tuple(self._stream.future_rows.found)
            self._store(replace(reading.state(), future_rows=found))
        else:
            self._complete(reading.state().completed(self._last_read(reading, outcome)), outcome)

    @cached_property
    def _tracking(self) -> Tracking:
        return tracking_of(self._stream, has_changed_user=self._permissions.have_changed)

    @cached_property
    def _slicing(self) -> Slicing | None:
        return slicing_of(self._stream)

    def _tracked(self) -> Iterator[Records]:
        """Read the changes; or all rows, if the changes are lost."""
        reading = self._reading(totals=False)
        bookmark = reading.state().bookmark
        if bookmark:
            changes = ChangesRead(reading, self._tracking, bookmark)
            try:
                changes.check()
                self._stream.begin_version(bookmark.version if self._stream.has_versions else None)
                self._stream.found, after = yield from changes.records()
                self._check_columns(is_full=False)
            except DeltaLostError as error:
                self._report_lost(reading, error)
                self._tracking.subscriptions.delete_chain(bookmark.link)
            else:
                if self._stream.verifies_totals:
                    why = "this run read changes only: run with --full-refresh to compare them"
                    warn_uncompared(reading.name, reading.logger, why)
                self._store(reading.state().tracking(after))
                return
        yield from self._open()

    def _open(self) -> Iterator[Records]:
        """Read all rows, and store the link to the changes after them."""
        reading = self._reading()
        self._warn_of_changes(reading)
        if self._slicing:  # A subscription per slice would miss facts of new values.
            _warn_unsliced(
                reading,
                self._slicing,
                "SAC would track changes per slice, and miss new values",
            )
        opening = OpeningRead(reading, self._tracking, is_dry_run=self._stream.is_dry_run)
        self._stream.begin_version(reading.version)
        outcome, bookmark = yield from opening.records()
        self._apply(reading, outcome)
        if bookmark:
            self._complete(reading.state().tracking(bookmark), outcome)
        elif outcome.verdict.is_complete:
            self._complete(reading.state().completed(self._last_read(reading, outcome)), outcome)

    def _pick(self, reading: Reading) -> FullRead | SlicedRead:
        if self._slicing is None or self._stream.is_dry_run:
            return FullRead(reading, table=self._table)
        obstacle = obstacle_to_slices(
            reading.source.kind, reading.columns, self._slicing.column.name
        )
        if self._stream.is_incremental:
            obstacle = "an INCREMENTAL read has only the rows since the last one"
        elif self._is_withheld:
            obstacle = "a different user is signed in than in the last run"
        if obstacle is None:
            return SlicedRead(reading, self._slicing)
        _warn_unsliced(reading, self._slicing, obstacle)
        return FullRead(reading, table=self._table)

    def _apply(self, reading: Reading, outcome: Outcome) -> None:
        """Let targets delete old rows and the bookmark move, if the read allows it."""
        self._check_columns(is_full=not self._stream.is_incremental)
        self._stream.found = outcome
        self._stream.may_advance = outcome.verdict.is_complete and not self._starts_anew
        if self._stream.is_incremental and self._stream.may_advance:
            self._stream.stream_state.update(self._permissions.after(self._state, 0).write())
        if not outcome.may_delete or outcome.version is None:
            return
        if self._is_withheld:
            self._stream.was_withheld = True
        elif may_delete(reading, outcome.rows, self._permissions):
            self._stream.version_to_activate = outcome.version

    def _complete(self, state: StreamState, outcome: Outcome) -> None:
        self._store(self._permissions.after(state, outcome.rows))

    def _store(self, state: StreamState) -> None:
        state = replace(state, types=self._stream.sent_types)
        self._stream.completed_state = state.write()

    def _last_read(self, reading: Reading, outcome: Outcome) -> LastRead:
        return LastRead(outcome.version, reading.source.filter, self._chosen_key)

    def _stop_tracking(self) -> None:
        """Delete the subscription of a stream that is no longer LOG_BASED."""
        reading = self._reading(totals=False)
        state = reading.state()
        if bookmark := state.bookmark:
            self._tracking.subscriptions.delete_chain(bookmark.link)
            key = None if self._chosen_key is None else bookmark.query.key
            last = LastRead(bookmark.version, bookmark.query.filter, key)
            reading.save(state.completed(last))

    def _warn_of_changes(self, reading: Reading) -> None:
        deletes = self._stream.has_versions and not self._is_withheld
        warn_of_changes(reading, reading.state().last, self._chosen_key, deletes=deletes)

    def _check_columns(self, *, is_full: bool) -> None:
        if self._watch:
            self._watch.check(self._stream.name, is_full=is_full)

    def _warn_of_types(self) -> None:
        if changed := changed_types(self._state.types or {}, self._stream.sent_types):
            self._stream.logger.warning(
                "The types of these columns of %s have changed since the last completed read: %s. "
                "Change the table in the target, or load into a new one.",
                self._stream.name,
                ", ".join(changed),
            )

    def _report_lost(self, reading: Reading, error: DeltaLostError) -> None:
        """Log why the table is read again, or raise."""
        if self._stream.kind.is_additive and not self._stream.has_versions:
            msg = (
                f"The differences of {reading.name} since the last run are lost, because {error}: "
                "remove the state of the stream, and load it into a new table, because the old one "
                "would get its rows twice."
            )
            raise DataError(msg)
        if self._stream.config["on_delta_lost"] == "fail":
            msg = (
                f"The changes of {reading.name} since the last run are lost, because {error}: set "
                "on_delta_lost to full_refresh, or remove the stream's state, to read the whole "
                "table again."
            )
            raise SACError(msg)
        reading.logger.warning(
            "Reading the whole table of %s again%s, because %s.",
            reading.name,
            " under a new version"
            if self._stream.has_versions
            else ", without removing what was deleted in SAC since the last run",
            error,
        )

    def read_first_page(self) -> int:
        """Request the first page of a sync like `FullRead`, and count its unwritten records."""
        reading = self._reading(totals=False)
        self._stream.begin_incremental()
        try:
            page = next(iter(self._table.pages()))
        except ResponseError as error:
            raise reading.source.refusal(error, reading.query) from None
        reading.warn_of_repeated_keys(page.count)
        return sum(1 for _ in PageRecords(page, reading.make(None, None)))

    def _reading(self, *, totals: bool = True) -> Reading:
        stream = self._stream
        return Reading(
            name=stream.name,
            logger=stream.logger,
            source=stream.source,
            columns=stream.columns,
            query=stream.query,
            version=self._next_version if stream.has_versions else None,
            has_key=stream.has_key,
            fails=stream.config["verify_counts"] != "warn" and not stream.is_dry_run,
            make=self._record_maker,
            take=partial(take_pages, stream),
            totals=totals_of(stream) if totals else None,
            save=lambda state: stream.save(state.write()),
            state=lambda: self._state,
            begin_version=stream.begin_version,
        )

    @property
    def _next_version(self) -> int:
        version = self._state.next_version(self._stream.started_at)
        return self._stream.shared_tables.version(self._stream.name, version)

    @property
    def _table(self) -> Table:
        """The rows to read, starting at the bookmark or start_date if there is one."""
        stream = self._stream
        source = stream.source
        start = stream.get_starting_replication_key_value(None)
        if self._starts_anew:
            start = stream.config.get("start_date")
        if not self._stream.is_incremental or start is None or not isinstance(source, Source):
            return source.table(stream.query)
        time = start_text(start, stream.stream_state, stream.config["audit_overlap"])
        return TimedTable(source, stream.query, time)

    @property
    def _state(self) -> StreamState:
        stream = self._stream
        tenant = tenant_hash(stream.config, stream.source.client.origin)
        return replace(StreamState.read(stream.stream_state), tenant=tenant)

    def _record_maker(
        self, sums: Sums | None, on_keys: Callable[[Keys], None] | None
    ) -> RecordMaker:
        stream = self._stream
        rows, columns = stream.entity_set, stream.columns
        if stream.paths:  # By then, rows have the columns that the tap adds.
            own = stream.selection.own_columns
            rows = replace(rows, properties=(*rows.properties, *own), own_columns=())
            columns = [*columns, *(column.name for column in own)]
        self._watch = self._watch or ColumnWatch(rows, columns)
        return RecordMaker(
            rows,
            stream.effective_schema,
            columns,
            sums=sums,
            watch=self._watch,
            on_keys=on_keys,
        )


def _warn_unsliced(reading: Reading, slicing: Slicing, why: str) -> None:
    reading.logger.warning(
        "%s is read in one go, although partition_by names %s, because %s.",
        reading.name,
        slicing.column.name,
        why,
    )
