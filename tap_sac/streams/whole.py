"""A full read of a table, and the streams that are read so: FULL_TABLE."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from singer_sdk.singerlib.catalog import REPLICATION_INCREMENTAL

from tap_sac.sac.errors import DataError, ResponseError, SACError
from tap_sac.sac.export.delta import is_delta, is_version
from tap_sac.sac.failures import Failure
from tap_sac.singer.records import PageRecords
from tap_sac.streams.base import SACStream
from tap_sac.streams.person import Rights
from tap_sac.streams.proof import Proof, Verdict
from tap_sac.streams.unfinished import UnfinishedRead

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_sac.sac.export.tables import Table
    from tap_sac.singer.records import Records
    from tap_sac.streams.totals import Totals


@dataclass(frozen=True)
class LastRead:
    """What the state keeps of the last completed read of a table.

    Attributes:
        version: The version that its rows have in the target; None without versions.
        filter: The ``$filter`` that it was read with; None if it had none.
        key: Its key, where the catalog decides on that; else None.
    """

    version: int | None
    filter: str | None
    key: list[str] | None = None

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LastRead | None:
        """Read a stream's state; None if no read was completed, or somebody changed it."""
        version, odata_filter = state.get("version"), state.get("filter")
        if "filter" not in state or not (odata_filter is None or isinstance(odata_filter, str)):
            return None
        key = state.get("key")
        return cls(
            version if is_version(version) else None,
            odata_filter,
            [*map(str, key)] if isinstance(key, list) else None,
        )

    def to_state(self) -> dict[str, Any]:
        """Return what the state of the stream gets."""
        version = {} if self.version is None else {"version": self.version}
        key = {} if self.key is None else {"key": self.key}
        return {**version, "filter": self.filter, **key}


class WholeRead:
    """A read of all rows of a table, after which targets drop what was not among them.

    Attributes:
        version: The version that the rows carry; None where there are no versions.
        delta_link: Where the changes after this read will be, as far as SAC has said.
        rows: How many rows it had, after the last one.
        verdict: What SAC's counts say about it, after the last row.
    """

    def __init__(
        self, stream: FullTableStream, columns: list[str], *, track_changes: bool = False
    ) -> None:
        """Prepare a read; nothing is asked for yet.

        Args:
            stream: Whose table it is.
            columns: Those to ask for.
            track_changes: Whether SAC shall remember this read; `prove_keys` comes before that.
        """
        self.version = stream.new_version if stream.has_versions else None
        self.delta_link: str | None = None
        self.rows = 0
        self.verdict = Verdict.UNPROVEN
        self._stream = stream
        self._columns = columns
        self._query = stream.query(columns)
        self._table = stream.table(self._query, track_changes=track_changes)
        self._track_changes = track_changes
        self._totals = stream.totals(columns)

    def prove_keys(self) -> None:
        """See that no key has several facts, before SAC is asked to track changes.

        Each failing run would leave a subscription otherwise. The rows are read and thrown away,
        and only if the counts of facts and keys differ.

        Raises:
            DataError: If a key has several.
        """
        stream = self._stream
        if not stream.suspects_repeated_keys(self._table.count()):
            return
        table = stream.table(self._query)
        proof = stream.proof(table)
        proof.watch_keys()
        for page in table.pages():
            proof.add(page)
            if not proof.watches_keys:
                return

    def records(self) -> Iterator[Records]:
        """Read the records, and activate their version after the last one.

        Raises:
            UnknownEntitySetError: If SAC does not serve the entity set.
            DataError: If the read is proven not to be whole, or a row does not fit.
            SACError: If SAC refuses.
        """
        stream = self._stream
        stream.forget_unfinished()
        stream.version = self.version
        sums = self._totals.begin() if self._totals else None
        maker = stream.record_maker(self._columns, sums=sums)
        proof = stream.proof(self._table)
        is_first = True
        try:
            for page in stream.take(self._table.pages):
                if is_delta(page.context):
                    msg = f"SAC answered the first read of {stream.name} with changes only"
                    raise SACError(msg, Failure.BROKEN_PROTOCOL)
                if (
                    is_first
                    and not self._track_changes
                    and (stream.suspects_repeated_keys(page.count))
                ):
                    proof.watch_keys()
                is_first = False
                self.delta_link = page.delta_url
                proof.add(page)
                yield PageRecords(page, maker)
        except ResponseError as error:
            raise (stream.refusal(error, self._query) if is_first else error) from None
        self.verdict = proof.settle()
        if self._totals:
            self._totals.settle(stream.name, stream.logger, fails=stream.fails)
        stream.note_counts(has_counts=bool(proof.counts))
        self.rows = proof.rows
        self.finish(may_activate=self.verdict.is_complete)

    def finish(self, *, may_activate: bool) -> None:
        """Let targets drop older rows if the read allows it, or keep the bookmark if it does not.

        Args:
            may_activate: Whether rows that did not come may go from the target.
        """
        self._stream.may_advance = self.verdict.is_complete
        if may_activate and self.version is not None and self._may_activate(self.rows):
            self._stream.activate(self.version)

    def _may_activate(self, rows: int) -> bool:
        """Return whether older rows may go: an empty read proves nothing by itself.

        Nor does one with the rights of another person than the last time, or the count for one.
        """
        stream = self._stream
        if stream.is_withheld:
            stream.was_withheld = True
            return False
        if not stream.is_complete:
            stream.logger.warning(
                "Rows of %s that are gone from SAC stay in the target, because not all of it "
                "could be read.",
                stream.name,
            )
            return False
        if rows:
            stream.rights.warn_of_fewer(rows, stream=stream.name, logger=stream.logger)
            return True
        counts = stream.verifies and not stream.rights.are_of_person
        count = self._table.count(is_filtered=False) if counts else None
        if count == 0:
            return True
        stream.logger.warning(
            "The read of %s is empty%s, so rows from earlier runs stay in the target.",
            stream.name,
            "" if count is None else f", while SAC counts {count:,} rows without the filter",
        )
        return False


class FullTableStream(SACStream):
    """A table that is read whole in each run."""

    # Whether everything that belongs to the table could be read.
    is_complete = True
    # The columns of SAC's key that the catalog deselects.
    dropped_key: tuple[str, ...] = ()
    # Whether a read of this run was withheld.
    was_withheld = False

    @property
    def has_last_read(self) -> bool:
        """Whether the state knows of a completed read."""
        return LastRead.from_state(self.stream_state) is not None

    @cached_property
    def rights(self) -> Rights:
        """The rights behind the read of this run."""
        return Rights(self.client.user, self.stream_state, has_last=self.has_last_read)

    @property
    def is_withheld(self) -> bool:
        """Whether no row may go, and the state must stay: these are not the rights of before."""
        return self.has_versions and self.rights.are_others

    def check_withheld(self) -> None:
        """See that rows can be written beside those of another person's rights.

        Sums of what this person may see would take the place of the others, and no later change
        would put them right. Rows without a key would come twice.

        Raises:
            DataError: If they cannot.
        """
        is_sum = bool(self.dropped_key) or self.kind.is_additive
        if not self.is_withheld or not (is_sum or not self.has_key):
            return
        msg = (
            f"This run has signed in as somebody else than the last one, and rows of {self.name} "
            f"{'are sums, which rights change' if is_sum else 'have no key'}, so none was written: "
            "run with --full-refresh (or without --state) to let this person's rights decide, or "
            "sign in as before."
        )
        raise DataError(msg)

    @property
    def new_version(self) -> int:
        """The time of this run, in milliseconds, and above all versions in the state.

        The SDK has seconds: a run that is started again within the second in which another was
        killed would then keep that one's rows, also those that are gone by now. The clocks of
        two machines may differ.
        """
        last = self.stream_state.get("version")
        unfinished = UnfinishedRead.from_state(self.stream_state)
        versions = [last, unfinished.version if unfinished else None]
        return max(self.started_at, *(item + 1 for item in versions if is_version(item)), 0)

    def has_completed(self, version: int | None) -> bool:
        """Return whether a read of this version, or of a later one, was completed."""
        last = self.stream_state.get("version")
        return version is not None and is_version(last) and version <= last

    def forget_unfinished(self) -> None:
        """Let no run go on with an earlier read, once rows of a later version are written."""
        if not self.is_dry_run and UnfinishedRead.forget(self.stream_state):
            self.mark_state_changed()
            self.write_state()

    def begin_read(self, columns: list[str]) -> WholeRead:
        """Prepare a read of all rows.

        Args:
            columns: Those to ask for.
        """
        return WholeRead(self, columns)

    def proof(self, table: Table, label: str | None = None) -> Proof:
        """Begin to compare what is read of a table with SAC's own counts.

        Args:
            table: What is read.
            label: What messages call it, instead of the stream.
        """
        return Proof(
            label or self.name,
            table,
            self.logger,
            fails=self.fails,
            key=self.entity_set.key,
            has_key=self.has_key,
        )

    def suspects_repeated_keys(self, count: int | None) -> bool:  # noqa: ARG002
        """Return whether SAC seems to store several rows of one key.

        Args:
            count: How many rows there are, if SAC says so.
        """
        return False

    @property
    def fails(self) -> bool:
        """Whether what is disproved fails the stream, instead of being a warning."""
        return bool(self.config["verify_counts"] != "warn")

    def totals(self, columns: list[str]) -> Totals | None:  # noqa: ARG002
        """Prepare to compare totals with SAC's own; None, with a warning, if that cannot be.

        Args:
            columns: Those that are read.
        """
        return None

    def note_counts(self, *, has_counts: bool) -> None:
        """Remember whether the read could be compared with a count."""
        self.is_verified = has_counts or not self.kind.is_counted

    @override
    def read_served(self, columns: list[str]) -> Iterator[Records]:
        self.check_withheld()
        self.compare_with_last_read()
        whole = self.begin_read(columns)
        yield from whole.records()
        if (
            whole.verdict.is_complete
            and self.replication_method != REPLICATION_INCREMENTAL
            and not self.is_withheld
        ):
            state = dict(self.stream_state)
            self.put_last_read(LastRead(whole.version, self.filter, self.chosen_key), state)
            self.rights.keep(state, whole.rows)
            self.complete(state)

    def put_last_read(self, read: LastRead | None, state: dict[str, Any]) -> None:
        """Replace the last completed read in a state of this stream."""
        for name in ("version", "filter", "key"):
            state.pop(name, None)
        UnfinishedRead.forget(state)
        if read:
            state.update(read.to_state())

    @property
    def chosen_key(self) -> list[str] | None:
        """The key, where the catalog decides on it."""
        return [*self.entity_set.key] if self.has_optional_key else None

    def compare_with_last_read(self) -> None:
        """Warn of what rows of earlier runs do not go together with."""
        last = LastRead.from_state(self.stream_state)
        removes = self.has_versions and not self.is_withheld
        key = self.chosen_key or []
        if last and last.key is not None and {*last.key} != {*key}:
            self.logger.warning(
                "The key of %s has changed since the last completed read, from %s to %s: load it "
                "into a new table, because targets would mix the rows of both.",
                self.name,
                ", ".join(last.key) or "none",
                ", ".join(key) or "none",
            )
        if last and last.filter != self.filter and removes:
            self.logger.warning(
                "The filter of %s has changed since the last completed read, from %s to %s: the "
                "target will mark or delete rows outside of it. Set "
                "emit_activate_version_messages to false to keep them.",
                self.name,
                last.filter or "none",
                self.filter or "none",
            )
