"""Whether the totals of the facts that were read are SAC's own, to the last digit.

FactDataAggregation with measures alone adds up all facts. That this is a sum is not said anywhere:
a measure may be an average, or the last value of a period. So SAC is asked for each total alone,
and per value of Version and of each date dimension: parts that do not add up to the whole belong to
a measure that is not a sum, which is not compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from tap_sac.sac.causes import WRONG_TOTAL
from tap_sac.sac.errors import DataError, SACError
from tap_sac.sac.urls import with_query
from tap_sac.singer.sums import EXACT, exact_sum

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence

    from tap_sac.sac.client import ResponseObserver, SACClient
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
    """Compares the sums of a read with what SAC adds up itself."""

    def __init__(
        self,
        client: SACClient,
        url: str,
        odata_filter: str | None,
        *,
        parts: Sequence[str],
        on_response: ResponseObserver,
    ) -> None:
        """Keep what to ask; nothing is requested yet.

        Args:
            client: Asks SAC.
            url: FactDataAggregation.
            odata_filter: The ``$filter`` of the read.
            parts: The dimensions to ask by: Version, and those of dates.
            on_response: Is given each answer.
        """
        self._client = client
        self._url = url
        self._filter = odata_filter
        self._parts = parts
        self._on_response = on_response

    def ask(self, measures: Sequence[str]) -> SACTotals | None:
        """Ask SAC for the totals, alone and by parts; None if it does not say.

        Args:
            measures: Which.
        """
        try:
            return [
                self._ask_by(part, measures) for part in [None, *(part for part in self._parts)]
            ]
        except (SACError, ArithmeticError, TypeError, InvalidOperation):
            return None

    def _ask_by(self, part: str | None, measures: Sequence[str]) -> dict[str, Decimal]:
        options = {"$select": ",".join([part, *measures] if part else measures)}
        if self._filter:
            options["$filter"] = self._filter
        url = with_query(self._url, options)
        rows = [row for page in self._client.pages(url, self._on_response) for row in page.rows]
        return {
            name: exact_sum(Decimal(str(row[name])) for row in rows if row.get(name) is not None)
            for name in measures
        }

    def compare(
        self,
        stream: str,
        logger: logging.Logger,
        *,
        sums: Sums,
        before: SACTotals | None,
        after: SACTotals | None,
    ) -> None:
        """Log a table of the totals.

        Args:
            stream: What messages call the table.
            logger: Takes the table.
            sums: Those of the records that were made.
            before: What SAC said before the read.
            after: What SAC said after it.

        Raises:
            DataError: If a total is another one than SAC's, which agree with each other.
        """
        results = [_result(name, ours, before, after) for name, ours in sums.totals.items()]
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
            if result.verdict == _DIFFERENT and result.of_sac is not None:
                difference = EXACT.subtract(result.ours, result.of_sac)
                msg = (
                    f"The total of {result.measure} in the rows read of {stream} is "
                    f"{result.ours:f}, while SAC's is {result.of_sac:f} (difference "
                    f"{difference:f})"
                )
                raise DataError(msg, WRONG_TOTAL)


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
