"""The values that a column has, as SAC lists them.

``<column>___Distinct`` lists the values of a column, on newer tenants. The shape of its rows is not
documented: that they have the column is a guess, and so is what it does with a ``$filter``, which
it is therefore not sent. FactDataAggregation with one dimension and one measure has a row for each
value that facts have; seen on live tenants.
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

# Of a list that is longer, no more is read.
MOST_VALUES = 1_000
_DISTINCT = "___Distinct"
_MEMBER = "___ID"  # what MasterData calls the column of a dimension


class ColumnValues:
    """Asks SAC which values a column has."""

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
        """Keep what to ask; nothing is requested yet.

        Args:
            client: Asks SAC.
            provider: The model.
            siblings: All entity sets of the model, by name.
            column: One that can be compared.
            odata_filter: That of the rows whose values are wanted: there may be more values than
                those, and fewer only where SAC leaves some out.
            is_counted: Whether SAC may be asked how many there are.
            on_response: Is given each answer.
        """
        self._client = client
        self._provider = provider
        self._column = column
        self._dimension = column.name.removesuffix(_MEMBER)
        self._filter = odata_filter
        self._is_counted = is_counted
        self._on_response = on_response
        aggregation = siblings.get(AGGREGATION)
        is_dimension = aggregation is not None and self._dimension in aggregation.key
        self._aggregation = aggregation if is_dimension else None
        sets = dict.fromkeys(f"{name}{_DISTINCT}" for name in (column.name, self._dimension))
        self._listed = [name for name in sets if name in siblings]
        # SAC documents such sets, but not that $metadata lists them.
        self._unlisted = [] if self._listed else [*sets][-1:]

    def find(self) -> set[Value] | None:
        """Ask for the values, or for more than `MOST_VALUES`; None if SAC does not say."""
        return next((values for values in self._answers() if values is not None), None)

    def find_all(self) -> set[Value]:
        """Ask in each way that there is, because any of the answers may be cut short."""
        return {value for values in self._answers() for value in values or ()}

    def _answers(self) -> Iterator[set[Value] | None]:
        yield from map(self._values_of_set, self._listed)
        if self._aggregation:
            yield self._values_of_facts(self._aggregation)
        yield from map(self._values_of_set, self._unlisted)

    def _values_of_set(self, name: str) -> set[Value] | None:
        return self._values(name, {}, CountsWith.THE_READ)

    def _values_of_facts(self, aggregation: EntitySet) -> set[Value] | None:
        """Ask for a row of each value; with the filter, unless SAC cannot aggregate with it."""
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
        """Take the value out of a row, which leaves out null.

        Raises:
            ValueError: If it is not one of the column.
        """
        names = [name for name in (self._column.name, self._dimension) if name in row]
        others = [name for name in row if "@" not in name]
        if not names and len(others) == 1:
            names = others
        value: Value = row[names[0]] if names else None
        equals(self._column, value)
        return value
