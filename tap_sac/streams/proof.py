"""Whether a read has all rows of its table, by what SAC counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_sac.sac.errors import DataError
from tap_sac.sac.failures import Failure
from tap_sac.safety.text import plural
from tap_sac.streams.key_watch import KeyWatch
from tap_sac.streams.reading import Verdict

if TYPE_CHECKING:
    import msgspec

    from tap_sac.sac.export.tables import Table
    from tap_sac.sac.odata.pages import Page
    from tap_sac.streams.reading import Reading


# So few that they can be compared with a row that SAC shows, without hashing keys on the way.
_MOST_ROWS_KEPT = 10_000


class Proof:
    """Counts the rows of a read, and compares them with SAC's own counts.

    People write while we read, so any number between two of SAC's counts is right. The first and
    the last page tell how many rows there were at the start and at the end. A lower count at the
    end would also excuse rows that are missing, so SAC is asked anew instead.

    Attributes:
        rows: How many came.
    """

    def __init__(
        self,
        reading: Reading,
        table: Table,
        label: str | None = None,
    ) -> None:
        """Begin before the first row.

        Args:
            reading: The read.
            table: The rows to read.
            label: What messages call them, instead of the stream.
        """
        self.rows = 0
        self._counts: list[int] = []
        self._last_count: int | None = None
        self._pages = 0
        self._reading = reading
        self._table = table
        self._label = label or reading.name
        self._key_watch: KeyWatch | None = None
        self._first_items: list[msgspec.Raw] = []

    def watch_keys(self) -> None:
        """See from now on that no key comes twice."""
        self._key_watch = KeyWatch(self._reading.source.key)

    @property
    def watches_keys(self) -> bool:
        """Whether it still looks for a key that comes twice."""
        return self._key_watch is not None and not self._key_watch.is_full

    def add(self, page: Page) -> None:
        """Count a page, before anybody writes its rows.

        Raises:
            DataError: If a key comes again that is watched for.
        """
        self.rows += len(page.items)
        self._pages += 1
        if self.rows <= _MOST_ROWS_KEPT:
            self._first_items += page.items
        if page.count is not None:
            self._counts = self._counts or [page.count]
            self._last_count = page.count
        if self._key_watch and (key := self._key_watch.first_repeated(page.items)):
            self._key_watch = None
            self.disprove(several_facts_error(self._label, key))

    def settle(self) -> Verdict:
        """Compare the counts, after the last row, and log them.

        Raises:
            DataError: If the read is truncated or has rows twice, or SAC does not answer whether
                it is truncated.
        """
        if self._last_count is not None and self._last_count > self._counts[0]:
            self._counts.append(self._last_count)
        if self._counts and not self.is_proven:
            again = self._table.count()
            self._counts += [] if again is None else [again]
        counted = f"{self._counts[-1]:,} counted by SAC" if self._counts else "not counted by SAC"
        self._reading.logger.info(
            "%s: %s read, %s, %s.",
            self._label,
            plural(self.rows, "row"),
            counted,
            plural(self._pages, "page"),
        )
        if not self._counts:
            return Verdict.NOT_COUNTED
        return Verdict.PROVEN if self.is_proven else self._judge()

    @property
    def is_proven(self) -> bool:
        """Whether SAC counts as many rows as came."""
        return bool(self._counts) and min(self._counts) <= self.rows <= max(self._counts)

    def _judge(self) -> Verdict:
        what = (
            f"SAC counts {plural(self._counts[-1], 'row')} of {self._label} but sent {self.rows:,}"
        )
        if self.rows > max(self._counts):
            if not self._reading.has_key:
                return self.disprove(DataError(f"{what}, so some came twice", Failure.ROWS_TWICE))
            why = "some rows came twice, and others may be missing"
        else:
            has_more = self.has_more_rows(self.rows)
            if has_more is None:
                msg = f"{what}, and does not answer whether more rows follow"
                self.disprove(DataError(msg, Failure.NO_ROW_AT_POSITION))
                return Verdict.UNPROVEN
            if has_more:
                msg = f"{what}, and more rows follow the last one: the read was truncated"
                return self.disprove(DataError(msg, Failure.CUT_READ))
            why = "it shows none after the last one"
        self._reading.logger.warning(
            "%s, and %s: the read may be incomplete, so nothing is deleted from the target.",
            what,
            why,
        )
        return Verdict.UNPROVEN

    def has_more_rows(self, rows: int) -> bool | None:
        """Ask whether the table has a row behind those that came; None if SAC does not answer.

        A row that is known to have come shows nothing: SAC may ignore ``$skip`` or ``$orderby``.
        """
        found = self._table.row_at(rows)
        if found is None:
            return None
        if found.row is None or found.is_first:
            return False
        watch = self._key_watch or KeyWatch(self._reading.source.key)
        return not (self._reading.source.key and watch.knows(found.row, self._first_items))

    def disprove(self, error: DataError) -> Verdict:
        """Fail the stream, or warn if that is what the settings say.

        Raises:
            DataError: This one, if it fails the stream.
        """
        if self._reading.fails:
            raise error
        self._reading.logger.warning("%s (verify_counts is warn, so nothing is deleted.)", error)
        return Verdict.DISPROVED


def several_facts_error(stream: str, key: dict[str, object]) -> DataError:
    """Say that a key has several facts, and what to do."""
    shown = ", ".join(f"{name}={value!r}" for name, value in key.items())
    what = f"SAC stores several facts of {stream} under one key ({shown})"
    return DataError(what, Failure.SEVERAL_FACTS)
