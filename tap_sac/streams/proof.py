"""Whether a read has all rows of its table, by what SAC counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_sac.sac.errors import DataError
from tap_sac.sac.failures import CUT_READ, ROWS_TWICE, SEVERAL_FACTS
from tap_sac.streams.key_watch import KeyWatch

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence

    from tap_sac.sac.export.tables import Table
    from tap_sac.sac.odata.pages import Page


class Proof:
    """Counts the rows of a read, and compares them with SAC's own counts.

    People write while we read, so any number between two of SAC's counts is right.

    Attributes:
        rows: How many came.
        counts: What SAC has counted, at different times.
    """

    def __init__(
        self, stream: str, table: Table, logger: logging.Logger, *, fails: bool, has_key: bool
    ) -> None:
        """Begin before the first row.

        Args:
            stream: What messages call the table.
            table: What is read.
            logger: Is told what cannot be proven.
            fails: Whether what is disproved fails the stream, instead of being a warning.
            has_key: Whether rows that come twice replace each other.
        """
        self.rows = 0
        self.counts: list[int] = []
        self._pages = 0
        self._stream = stream
        self._table = table
        self._logger = logger
        self._fails = fails
        self._has_key = has_key
        self._key_watch: KeyWatch | None = None

    def watch_keys(self, key: Sequence[str]) -> None:
        """See from now on that no key comes twice."""
        self._key_watch = KeyWatch(key)

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
        if page.count is not None:
            self.counts.append(page.count)
        if self._key_watch and (key := self._key_watch.first_repeated(page.items)):
            self._key_watch = None
            self._disprove(several_facts_error(self._stream, key))

    def settle(self) -> None:
        """Compare the counts, after the last row, and log them.

        Raises:
            DataError: If the read is proven to be cut short, or to have rows twice.
        """
        if self.counts and not self._agrees:
            again = self._table.count()
            self.counts += [] if again is None else [again]
        counted = f"{self.counts[-1]:,} counted by SAC" if self.counts else "not counted by SAC"
        self._logger.info(
            "%s: %s rows read, %s, %s pages.",
            self._stream,
            f"{self.rows:,}",
            counted,
            f"{self._pages:,}",
        )
        if self.counts and not self._agrees:
            self._judge()

    @property
    def is_proven(self) -> bool:
        """Whether SAC counts as many rows as came."""
        return bool(self.counts) and self._agrees

    @property
    def _agrees(self) -> bool:
        return min(self.counts) <= self.rows <= max(self.counts)

    def _judge(self) -> None:
        count = self.counts[-1]
        if self.rows > max(self.counts):
            what = f"SAC counts {count:,} rows of {self._stream} and sent {self.rows:,}"
            if self._has_key:
                self._logger.warning("%s, so rows came twice; the key takes care of them.", what)
            else:
                self._disprove(DataError(f"{what}, so rows came twice", ROWS_TWICE))
        elif self._table.has_row_at(self.rows):
            what = (
                f"SAC counts {count:,} rows of {self._stream} and sent {self.rows:,}, although "
                "there are more behind the last one: the read was cut short"
            )
            self._disprove(DataError(what, CUT_READ))
        else:
            self._logger.warning(
                "SAC counts %s rows of %s and sent %s, and shows none behind the last one: it is "
                "not proven that the read is complete.",
                f"{count:,}",
                self._stream,
                f"{self.rows:,}",
            )

    def _disprove(self, error: DataError) -> None:
        if self._fails:
            raise error
        self._logger.warning("%s (verify_counts is warn.)", error)


def several_facts_error(stream: str, key: dict[str, object]) -> DataError:
    """Say that a key has several facts, and what to do."""
    shown = ", ".join(f"{name}={value!r}" for name, value in key.items())
    what = f"SAC stores several facts of {stream} under one key ({shown})"
    return DataError(what, SEVERAL_FACTS)
