"""The distinct values of a column.

``<column>___Distinct`` lists them, on newer tenants. FactDataAggregation with one dimension and one
measure has a row for each value in the facts (seen on live tenants).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import SACError
from tap_sac.sac.export.kinds import AGGREGATION
from tap_sac.sac.export.tables import CountedTable, CountsWith
from tap_sac.sac.odata.conditions import Value, equals
from tap_sac.sac.odata.filters import names_in_filter
from tap_sac.sac.urls import with_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_sac.sac.export.client import ResponseObserver, SACClient
    from tap_sac.sac.odata.model import EntitySet, Property, Provider

logger = logging.getLogger(__name__)

# Longer lists are not read to their end.
MOST_VALUES = 1_000
# unseen: the rows of such sets, and their answer to a $filter, which is therefore not sent
_DISTINCT = "___Distinct"
_MEMBER, _DOTTED_MEMBER = "___ID", ".ID"  # suffixes of dimensions' columns in MasterData


class ColumnValues:
    """Finds the distinct values of one column."""

    def __init__(
        self,
        client: SACClient,
        provider: Provider,
        siblings: Mapping[str, EntitySet],
        column: Property,
        *,
        odata_filter: str | None,
        is_counted: bool,
        on_response: ResponseObserver | None = None,
    ) -> None:
        """Store the query; nothing is requested yet.

        Args:
            client: Requests the values.
            provider: The model.
            siblings: All entity sets of the model, by name.
            column: One that can be compared.
            odata_filter: The filter of the rows. There may be more values than these rows have,
                and fewer only if SAC leaves some out.
            is_counted: Whether to request SAC's count.
            on_response: Observes each answer.
        """
        self._client = client
        self._provider = provider
        self._column = column
        self._dimension = column.name.removesuffix(_MEMBER).removesuffix(_DOTTED_MEMBER)
        self._filter = odata_filter
        self._is_counted = is_counted
        self._on_response = on_response
        aggregation = siblings.get(AGGREGATION)
        is_dimension = aggregation is not None and self._dimension in aggregation.key
        self._aggregation = aggregation if is_dimension else None
        sets = dict.fromkeys(f"{name}{_DISTINCT}" for name in (column.name, self._dimension))
        self._listed = [name for name in sets if name in siblings]
        # unseen: whether $metadata lists such sets
        self._unlisted = [] if self._listed else [*sets][-1:]

    def find(self) -> set[Value] | None:
        """Return the values, or more than `MOST_VALUES`; None if SAC does not list them."""
        return next((values for values in self._answers() if values is not None), None)

    def find_all(self) -> set[Value]:
        """Combine all ways to list them, because any answer may be truncated."""
        return {value for values in self._answers() for value in values or ()}

    def _answers(self) -> Iterator[set[Value] | None]:
        yield from map(self._values_of_set, self._listed)
        if self._aggregation:
            yield self._values_of_facts(self._aggregation)
        yield from map(self._values_of_set, self._unlisted)

    def _values_of_set(self, name: str) -> set[Value] | None:
        return self._values(name, {}, CountsWith.THE_READ)

    def _values_of_facts(self, aggregation: EntitySet) -> set[Value] | None:
        """Read one row per value, filtered unless SAC cannot aggregate with the filter."""
        measures = [
            item.name for item in aggregation.properties if item.name not in aggregation.key
        ]
        options = {"$select": ",".join([self._dimension, *measures[:1]])}
        values = None
        if self._filter and not names_in_filter(self._filter) & {*measures}:
            filtered = {**options, "$filter": self._filter}
            values = self._values(AGGREGATION, filtered, CountsWith.ITS_SELECT)
        if values is None:
            values = self._values(AGGREGATION, options, CountsWith.ITS_SELECT)
        return values

    def _values(
        self, set_name: str, options: Mapping[str, str], counts_with: CountsWith
    ) -> set[Value] | None:
        url = self._client.entity_set_url(self._provider, set_name)
        if self._is_counted:
            table = CountedTable(
                self._client,
                url,
                options,
                order=[self._dimension],
                counts_with=counts_with,
                on_response=self._on_response,
            )
            pages = table.pages()
        else:
            pages = self._client.pages(with_query(url, options), self._on_response)
        values: set[Value] = set()
        try:
            for page in pages:
                values.update(map(self._value, page.rows))
                if len(values) > MOST_VALUES:
                    break
        except (SACError, ValueError) as error:
            logger.debug(
                "%s does not list the values of %s: %s", set_name, self._column.name, error
            )
            return None
        return values

    def _value(self, row: Mapping[str, Any]) -> Value:
        """Return the column's value. Rows omit nulls.

        Raises:
            ValueError: If it does not fit the column's type.
        """
        names = [name for name in (self._column.name, self._dimension) if name in row]
        others = [name for name in row if "@" not in name]
        if not names and len(others) == 1:
            names = others
        value: Value = row[names[0]] if names else None
        equals(self._column, value)
        return value
