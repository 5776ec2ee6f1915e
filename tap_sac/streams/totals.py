"""Whether the totals of the facts that were read are SAC's own, to the last digit.

FactDataAggregation with measures alone adds up all facts. That this is a sum is not said anywhere:
a measure may be an average, or the last value of a period. So SAC is asked for each total alone,
and per value of Version and of each date dimension: parts that do not add up to the whole belong to
a measure that is not a sum, which is not compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from tap_sac.sac.errors import DataError, SACError
from tap_sac.sac.failures import Failure
from tap_sac.singer.sums import EXACT, exact_sum

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.sums import Sums

_SAME = "the same"
_DIFFERENT = "different"

# For each way of asking, the total of each measure.
SACTotals = list[dict[str, Decimal]]


@dataclass(frozen=True)
class _Result:
    measure: str
    ours: Decimal
    of_sac: Decimal | None
    verdict: str


class Totals:
    """Compares the sums of a read with what SAC adds up itself.

    Attributes:
        sums: Take the numbers of the records.
    """

    def __init__(
        self,
        ask: Callable[[Mapping[str, str]], Iterator[Page]],
        sums: Sums,
        odata_filter: str | None,
        *,
        parts: Sequence[str],
    ) -> None:
        """Keep what to ask; nothing is requested yet.

        Args:
            ask: Reads the pages of FactDataAggregation, with query options.
            sums: Those of the measures to compare.
            odata_filter: The ``$filter`` of the read.
            parts: The dimensions to ask by: Version, and those of dates.
        """
        self.sums = sums
        self._ask = ask
        self._filter = odata_filter
        self._parts = parts
        self._before: SACTotals | None = None

    def begin(self) -> None:
        """Ask SAC for the totals, before the first row is read."""
        self._before = self._all_totals()

    def settle(self, stream: str, logger: logging.Logger, *, fails: bool) -> None:
        """Ask SAC again after the last row, and log a table of the totals.

        Args:
            stream: What messages call the table.
            logger: Takes the table.
            fails: Whether a total that is disproved fails the stream, instead of being a warning.

        Raises:
            DataError: If a total is another one than SAC's, which agree with each other.
        """
        after = self._all_totals()
        ours = self.sums.totals
        results = [_result(name, ours[name], self._before, after) for name in ours]
        width = max((len(result.measure) for result in results), default=0)
        logger.info("Totals of %s (measure, rows read, SAC, verdict):", stream)
        for result in results:
            logger.info(
                "  %s  %s  %s  %s",
                result.measure.ljust(width),
                f"{result.ours:f}",
                "-" if result.of_sac is None else f"{result.of_sac:f}",
                result.verdict,
            )
        for result in results:
            if result.verdict != _DIFFERENT or result.of_sac is None:
                continue
            difference = EXACT.subtract(result.ours, result.of_sac)
            msg = (
                f"The total of {result.measure} in the rows read of {stream} is {result.ours:f}, "
                f"while SAC's is {result.of_sac:f} (difference {difference:f})"
            )
            error = DataError(msg, Failure.WRONG_TOTAL)
            if fails:
                raise error
            logger.warning("%s (verify_counts is warn.)", error)

    def _all_totals(self) -> SACTotals | None:
        """Ask for the totals, alone and by each part; None if SAC does not say."""
        try:
            return [self._totals_by([]), *(self._totals_by([part]) for part in self._parts)]
        except (SACError, ArithmeticError, TypeError):
            return None

    def _totals_by(self, part: list[str]) -> dict[str, Decimal]:
        measures = self.sums.columns
        options = {"$select": ",".join([*part, *measures])}
        if self._filter:
            options["$filter"] = self._filter
        rows = [row for page in self._ask(options) for row in page.rows]
        return {
            name: exact_sum(Decimal(str(row[name])) for row in rows if row.get(name) is not None)
            for name in measures
        }


def _result(
    measure: str, ours: Decimal, before: SACTotals | None, after: SACTotals | None
) -> _Result:
    if before is None or after is None:
        return _Result(measure, ours, None, "not compared: SAC gives no totals")
    early, late = ([form[measure] for form in totals] for totals in (before, after))
    of_sac = late[0]
    if len(set(early)) > 1 or len(set(late)) > 1:
        verdict = "not compared: its parts do not add up, so it is not a sum"
    elif early != late:
        verdict = "not compared: it changed while it was read"
    else:
        verdict = _SAME if ours == of_sac else _DIFFERENT
    return _Result(measure, ours, of_sac, verdict)
