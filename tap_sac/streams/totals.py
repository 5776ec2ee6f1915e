"""Compares the totals of the facts that were read with SAC's own, to the last digit.

FactDataAggregation with only measures aggregates all facts. Whether it sums them is not documented:
a measure may be an average, or the last value of a period. So SAC is asked for each total, and for
each measure by Version and by each date dimension. If these do not add up to the total, the measure
is not a sum, and is not compared. Only if a total differs is SAC also asked for it by the other
dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from tap_sac.sac.errors import DataError, ResponseError, SACError
from tap_sac.sac.export.kinds import VERSION, is_date_master, master_of
from tap_sac.sac.failures import Failure
from tap_sac.sac.odata.model import FLOATS, NUMBERS
from tap_sac.sac.urls import with_query
from tap_sac.singer.sums import EXACT, Sums, exact_sum
from tap_sac.streams.source import measures_in_filter

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Mapping, Sequence

    from tap_sac.sac.odata.model import EntitySet, Property
    from tap_sac.streams.source import Source

# The maximum number of values of a dimension to break a total down by.
_MOST_VALUES = 1_000
_CHECK_THEM = "compare them with a story in SAC"
# The totals of each measure, one for each way of asking.
SACTotals = list[dict[str, Decimal]]


def obstacle_to_totals(source: Source, columns: Collection[str]) -> str | None:
    """Return why totals of columns cannot be compared with SAC's own; None if they can.

    Returns:
        A clause that follows "because", with the next step.
    """
    entity_set = source.entity_set
    aggregation = source.kind.aggregated_in
    if aggregation not in source.siblings:
        return f"SAC has no {aggregation} of this model: {_CHECK_THEM}"
    if not entity_set.key:
        return (
            f"$metadata declares no key of {entity_set.name}, so its measures are unknown: "
            f"{_CHECK_THEM}"
        )
    if named := measures_in_filter(entity_set, source.filter):
        return (
            f"the filter names {', '.join(sorted(named))}, and SAC may apply that to the sums: "
            "filter by dimensions only"
        )
    measures = numeric_measures(entity_set, columns)
    if not measures:
        return "no numeric measure is selected: select one in the catalog"
    if all(measure.type in FLOATS for measure in measures):
        rounded = ", ".join(measure.name for measure in measures)
        return f"SAC rounds sums of floating-point numbers ({rounded}): {_CHECK_THEM}"
    return None


def numeric_measures(entity_set: EntitySet, columns: Collection[str]) -> list[Property]:
    """Return the numeric measures among some columns."""
    return [
        column
        for column in entity_set.properties
        if column.name in columns and column.name not in entity_set.key and column.type in NUMBERS
    ]


def warn_uncompared(stream: str, logger: logging.Logger, why: str) -> None:
    """Warn that no total of a stream is compared, although verify_totals is set."""
    logger.warning("The totals of %s are not compared, because %s.", stream, why)


@dataclass(frozen=True)
class _Result:
    """The result of one measure.

    Attributes:
        obstacle: Why it is not compared; None if it is.
    """

    measure: str
    ours: Decimal
    of_sac: Decimal | None
    obstacle: str | None = None

    @property
    def is_different(self) -> bool:
        return self.obstacle is None and self.ours != self.of_sac

    @property
    def verdict(self) -> str:
        if self.obstacle:
            return f"not compared: {self.obstacle}"
        return "different" if self.is_different else "the same"


class Totals:
    """Compares the sums of a read with SAC's own.

    Attributes:
        refusal: Why SAC returned no totals at the last request; None if it did.
    """

    def __init__(self, source: Source, columns: Collection[str]) -> None:
        """Prepare the requests; nothing is requested yet.

        SAC rounds sums of floating-point numbers, in any order, so they are not compared.
        """
        measures = numeric_measures(source.entity_set, columns)
        self.refusal: str | None = None
        self._source = source
        self._exact = [measure.name for measure in measures if measure.type not in FLOATS]
        self._rounded = [measure.name for measure in measures if measure.type in FLOATS]
        self._sums = Sums(self._exact)
        self._parts = [name for name in source.key if _is_of_time(name, source.siblings)]
        self._before: SACTotals | None = None

    def begin(self) -> Sums:
        """Request the totals, before the first row is read.

        Returns:
            The sums to which all records are added from now on.
        """
        self._before = self._all_totals()
        self._sums = Sums(self._exact)
        return self._sums

    def compare(self, logger: logging.Logger, *, fails: bool) -> None:
        """Request the totals again after the last row, log them, and warn of those not compared.

        Raises:
            DataError: If a total differs from SAC's, which did not change.
        """
        stream = self._source.name
        after = self._all_totals() if self._before else None
        ours = self._sums.totals
        results = [
            self._reconsidered(_result(name, ours[name], self._before, after)) for name in ours
        ]
        _log_table(stream, logger, results)
        self._warn_of_obstacles(logger, results)
        for result in results:
            if not result.is_different or result.of_sac is None:
                continue
            difference = EXACT.subtract(result.ours, result.of_sac)
            msg = (
                f"The total of {result.measure} in the rows of {stream} is {result.ours:f}, but "
                f"SAC's is {result.of_sac:f} (difference {difference:f})"
            )
            error = DataError(msg, Failure.WRONG_TOTAL)
            if fails:
                raise error
            logger.warning("%s (verify_counts is warn.)", error)

    def _warn_of_obstacles(self, logger: logging.Logger, results: Sequence[_Result]) -> None:
        stream = self._source.name
        if self.refusal:
            warn_uncompared(stream, logger, self.refusal)
            return
        obstacles = {item.measure: item.obstacle for item in results if item.obstacle}
        obstacles |= dict.fromkeys(self._rounded, "SAC rounds sums of floating-point numbers")
        if obstacles:
            logger.warning(
                "These totals of %s are not compared, so %s: %s.",
                stream,
                _CHECK_THEM,
                ", ".join(f"{name} ({why})" for name, why in obstacles.items()),
            )

    def _all_totals(self) -> SACTotals | None:
        """Request the totals, alone and by each time dimension; None if SAC has none."""
        self.refusal = None
        try:
            ways = [[], *([part] for part in self._parts)]
            return [self._totals_by(part, self._exact) for part in ways]
        except ResponseError as error:  # Its own next step is about facts, which can be read.
            self.refusal = f"SAC answered {error.reason} to the request for them: {_CHECK_THEM}"
        except SACError as error:
            self.refusal = f"SAC returned none: {str(error).rstrip('.')}"
        except (ArithmeticError, TypeError):
            self.refusal = f"SAC returned totals that are not numbers: {_CHECK_THEM}"
        return None

    def _reconsidered(self, result: _Result) -> _Result:
        """Mark a result that differs as not compared, if its measure does not add up."""
        if not result.is_different:
            return result
        for dimension in self._source.key:
            if dimension not in self._parts and not self._adds_up(result.measure, dimension):
                why = f"its values do not add up over {dimension}, so it is not a sum"
                return replace(result, obstacle=why)
        return result

    def _adds_up(self, measure: str, dimension: str) -> bool:
        """Return whether a measure adds up over a dimension; also True if SAC does not answer."""
        try:
            values = self._source.count_aggregated([dimension])
            if values is None or values > _MOST_VALUES:
                return True
            whole, parts = (self._totals_by(part, [measure]) for part in ([], [dimension]))
        except (SACError, ArithmeticError, TypeError):
            return True
        return whole == parts

    def _totals_by(self, part: list[str], measures: list[str]) -> dict[str, Decimal]:
        options = {"$select": ",".join([*part, *measures])}
        source = self._source
        if source.filter:
            options["$filter"] = source.filter
        url = source.client.entity_set_url(source.provider, source.kind.aggregated_in or "")
        pages = source.client.pages(with_query(url, options), source.on_response)
        rows = [row for page in pages for row in page.rows]
        return {
            name: exact_sum(Decimal(str(row[name])) for row in rows if row.get(name) is not None)
            for name in measures
        }


def _is_of_time(dimension: str, siblings: Mapping[str, EntitySet]) -> bool:
    """Return whether a dimension is Version or a date: measures may not add up over these."""
    master = master_of(dimension, siblings)
    return dimension == VERSION or (master is not None and is_date_master(siblings[master]))


def _log_table(stream: str, logger: logging.Logger, results: Sequence[_Result]) -> None:
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


def _result(
    measure: str, ours: Decimal, before: SACTotals | None, after: SACTotals | None
) -> _Result:
    if before is None or after is None:
        return _Result(measure, ours, None, "SAC returned no totals")
    early, late = ([form[measure] for form in totals] for totals in (before, after))
    if len(set(early)) > 1 or len(set(late)) > 1:
        return _Result(measure, ours, late[0], "its parts do not add up, so it is not a sum")
    if early != late:
        return _Result(measure, ours, late[0], "it changed while it was read")
    return _Result(measure, ours, late[0])
