"""Reads all rows of a table in one go."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from tap_sac.sac.errors import ResponseError, SACError
from tap_sac.sac.export.delta import is_delta
from tap_sac.sac.failures import Failure
from tap_sac.safety.text import plural
from tap_sac.singer.records import END_OF_SLICE, PageRecords
from tap_sac.streams.proof import Proof, Retry
from tap_sac.streams.reading import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Generator

    from tap_sac.sac.export.tables import Table
    from tap_sac.singer.records import Records
    from tap_sac.streams.permissions import Permissions
    from tap_sac.streams.reading import Reading
    from tap_sac.streams.state import LastRead


# Failures that may mean that SAC cannot sort.
_REFUSED_ORDER = {Failure.BAD_REQUEST, Failure.UNPREPARED, Failure.UNEXPECTED_STATUS}
# The maximum number of rows to check for several facts per key before a subscription is opened.
_MOST_ROWS_LOOKED_AT = 1_000_000


class FullRead:
    """A read of all rows of a table.

    Attributes:
        version: The version of its rows; None without versions.
        delta_link: The link to the changes after the read, if SAC has sent one so far.
    """

    def __init__(
        self,
        reading: Reading,
        *,
        table: Table | None = None,
        tracks_changes: bool = False,
    ) -> None:
        """Prepare a read of a table, or of the rows of the query; nothing is requested yet.

        If SAC shall track the changes after it, `prove_keys` comes first.
        """
        self.version = reading.version
        self.delta_link: str | None = None
        self._reading = reading
        self._table = table or reading.source.table(reading.query, track_changes=tracks_changes)
        self._tracks_changes = tracks_changes

    def prove_keys(self) -> int:
        """Check that no key has several facts, before a subscription is opened.

        Otherwise, each failing run would write rows. The rows are read only if the counts of facts
        and keys differ, and are discarded.

        Returns:
            How many more facts than keys SAC counts; 0 if rows are written meanwhile.

        Raises:
            DataError: If a key has several.
        """
        reading = self._reading
        count = self._table.count()
        extra = reading.warn_of_repeated_keys(count)
        if not extra:
            return 0
        if self._table.count() != count:
            extra = 0
        table = reading.source.table(reading.query)
        with closing(Proof(reading, table)) as proof:
            maker = reading.make(None, proof.on_keys)
            for page in table.pages():
                proof.add(page)
                PageRecords(page, maker).lines(0, len(page.items))
                if proof.rows >= _MOST_ROWS_LOOKED_AT:
                    break
        return extra

    def records(self) -> Generator[Records, None, Outcome]:
        """Read the records, and if necessary again in key order.

        The rows of the first read keep their own version, so that the target removes them with
        older rows: some of them may not belong there.

        Raises:
            UnknownEntitySetError: If SAC does not serve the entity set.
            DataError: If the read is disproved, or a row does not fit.
            SACError: If SAC refuses.
        """
        reading = self._reading
        reading.discard_unfinished()
        retry = Retry.DONE if reading.is_in_order else Retry.POSSIBLE
        proof = Proof(reading, self._table, retry=retry, fails_late=self._tracks_changes)
        with closing(proof):
            try:
                outcome = yield from self._read(self._table, proof)
            except ResponseError as error:
                if proof.pages:
                    raise
                if not (reading.is_in_order and error.failure in _REFUSED_ORDER):
                    raise reading.source.refusal(error, reading.query) from None
                return (yield from self._without_order().records())
        return (yield from self._in_order(proof)) if proof.needs_order else outcome

    def _without_order(self) -> FullRead:
        """Return the read without the order of an earlier read, which SAC refuses now."""
        reading = self._reading
        reading.save(replace(reading.state(), needs_order=False))
        query = {name: text for name, text in reading.query.items() if name != "$orderby"}
        return FullRead(replace(reading, query=query, version=self.version))

    def _in_order(self, before: Proof) -> Generator[Records, None, Outcome]:
        """Read the records again in key order."""
        reading = self._reading
        yield END_OF_SLICE
        if self.version is not None:
            self.version += 1
            reading.begin_version(self.version)
        # Without the header, because SAC already tracks the changes since the first read.
        table = reading.source.table(reading.ordered_query)
        with closing(Proof(reading, table, retry=Retry.DONE)) as proof:
            try:
                outcome = yield from self._read(table, proof)
            except ResponseError as error:
                if proof.pages:
                    raise
                if error.failure not in _REFUSED_ORDER:
                    raise reading.source.refusal(error, reading.query) from None
                msg = f"SAC answered {error.reason} to the read of {reading.name} in key order"
                return Outcome(before.judge_last(msg), 0, self.version, may_delete=False)
        if outcome.verdict is Verdict.PROVEN:
            reading.save(replace(reading.state(), needs_order=True))
        return outcome

    def _read(self, table: Table, proof: Proof) -> Generator[Records, None, Outcome]:
        reading = self._reading
        maker = reading.make(reading.totals.begin() if reading.totals else None, proof.on_keys)
        for page in reading.take(table.pages):
            if is_delta(page.context):
                msg = f"SAC answered a full read of {reading.name} with changes only"
                raise SACError(msg, Failure.BROKEN_PROTOCOL)
            self.delta_link = page.delta_url or self.delta_link
            proof.add(page)
            yield PageRecords(page, maker)
        verdict = proof.verify()
        if reading.totals and not proof.needs_order:
            reading.totals.compare(reading.logger, fails=reading.fails)
        return Outcome(verdict, proof.rows, self.version, verdict.is_complete)


def may_delete(reading: Reading, rows: int, permissions: Permissions) -> bool:
    """Return whether the target may delete rows that were not read; log why not.

    An empty read alone proves nothing, nor does SAC's count for a single user.
    """
    name, logger = reading.name, reading.logger
    if not reading.source.is_complete:
        logger.warning(
            "Rows of %s that are no longer in SAC stay in the target, because the read is "
            "incomplete.",
            name,
        )
        return False
    if rows:
        permissions.warn_of_fewer_rows(rows, stream=name, logger=logger)
        return True
    is_counted = reading.source.is_counted and not permissions.are_of_user
    table = reading.source.table(reading.query)
    count = table.count(is_filtered=False) if is_counted else None
    if count == 0:
        return True
    logger.warning(
        "The read of %s is empty%s, so rows from earlier runs stay in the target.",
        name,
        "" if count is None else f", but SAC counts {plural(count, 'row')} without the filter",
    )
    return False


def warn_of_changes(
    reading: Reading, last: LastRead | None, key: list[str] | None, *, deletes: bool
) -> None:
    """Warn if the key or the filter has changed since the last completed read."""
    if last is None:
        return
    if last.key is not None and {*last.key} != {*(key or [])}:
        reading.logger.warning(
            "The key of %s has changed since the last completed read, from %s to %s: load the "
            "stream into a new table, because targets would mix rows with both keys.",
            reading.name,
            ", ".join(last.key) or "none",
            ", ".join(key or []) or "none",
        )
    if last.filter != reading.source.filter and deletes:
        reading.logger.warning(
            "The filter of %s has changed since the last completed read, from %s to %s: the "
            "target will mark or delete rows outside the new one. Set "
            "emit_activate_version_messages to false to keep them.",
            reading.name,
            last.filter or "none",
            reading.source.filter or "none",
        )
