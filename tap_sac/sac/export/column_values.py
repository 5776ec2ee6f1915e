"""The distinct values of a column: which set lists them, and what they are.

``<column>___Distinct`` is documented for currency tables alone, for several columns at once, and
with a column that was not asked for. FactDataAggregation with one dimension and one measure has a
row for each value in the facts (seen on live tenants), and the masters have all members.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tap_sac.sac.errors import SACError
from tap_sac.sac.export.kinds import AGGREGATION, VERSION, master_of
from tap_sac.sac.export.tables import CountedTable, CountsWith
from tap_sac.sac.odata.conditions import Value, equals
from tap_sac.sac.odata.filters import names_in_filter
from tap_sac.sac.odata.model import NUMBERS
from tap_sac.sac.urls import with_query

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_sac.sac.export.client import ResponseObserver, SACClient
    from tap_sac.sac.odata.model import EntitySet, Property, Provider

logger = logging.getLogger(__name__)

# Longer lists are not read to their end.
MOST_VALUES = 1_000
_DISTINCT = "___Distinct"
_MEMBER = re.compile(r"(___|\.)ID$")  # suffix of a dimension's column in MasterData
_PUBLIC = "public."

_Source = Callable[[], "set[Value] | None"]


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
        self._dimension = _MEMBER.sub("", column.name)
        self._filter = odata_filter
        self._is_counted = is_counted
        self._on_response = on_response
        self._siblings = siblings
        # Those that have not refused; the first one has answered, or is asked first.
        self._sources = self._make_sources()

    def find(self) -> set[Value] | None:
        """Return the values, or more than `MOST_VALUES`; None if SAC does not list them.

        There may be more than the table has, and fewer where SAC leaves some out. What refuses is
        not asked again.
        """
        while self._sources:
            values = self._sources[0]()
            if values is not None:
                return values
            self._sources.pop(0)
        return None

    def _make_sources(self) -> list[_Source]:
        listed = [name for name in self._siblings if self._is_distinct(name)]
        sources: list[_Source] = [partial(self._distinct_values, name) for name in listed]
        aggregation = self._siblings.get(AGGREGATION)
        if aggregation and self._dimension in aggregation.key:
            columns = (item for item in aggregation.properties if item.name not in aggregation.key)
            measures = [item.name for item in columns if item.type in NUMBERS]
            select = {"$select": ",".join([self._dimension, *measures[:1]])}
            # SAC may not aggregate with a filter, and cannot with one of measures.
            if self._filter and not names_in_filter(self._filter) & {*measures}:
                filtered = {**select, "$filter": self._filter}
                sources.append(partial(self._values_of_facts, filtered))
            sources.append(partial(self._values_of_facts, select))
        if master := master_of(self._dimension, self._siblings):
            sources.append(partial(self._members, self._siblings[master]))
        if not listed:  # unseen: whether models serve such sets
            sources.append(partial(self._distinct_values, f"{self._dimension}{_DISTINCT}"))
        return sources

    def _is_distinct(self, name: str) -> bool:
        """Return whether a set lists the values of the column, alone or joined with others."""
        columns = f"___{name.removesuffix(_DISTINCT)}___"
        names = (f"___{item}___" for item in (self._column.name, self._dimension))
        return name.endswith(_DISTINCT) and any(item in columns for item in names)

    def _distinct_values(self, name: str) -> set[Value] | None:
        return self._values(name, {self._column.name, self._dimension})

    def _values_of_facts(self, options: Mapping[str, str]) -> set[Value] | None:
        return self._values(AGGREGATION, {self._dimension}, options)

    def _members(self, master: EntitySet) -> set[Value] | None:
        """Return the members of a dimension, as facts may have them; None if they are too many.

        The members of dates have a key of their own. Whether the ID of a version has the prefix
        that it has in facts is not documented, so that both may be values.
        """
        columns = {*master.key} if len(master.key) == 1 else {"ID"}
        is_version = self._dimension == VERSION
        values = self._values(master.name, columns | {"VERSION"} if is_version else columns)
        if values and is_version:
            texts = [value for value in values if isinstance(value, str)]
            values |= {f"{_PUBLIC}{text}" for text in texts if not text.startswith(_PUBLIC)}
        return None if values is None or len(values) > MOST_VALUES else values

    def _values(
        self, set_name: str, columns: set[str], options: Mapping[str, str] | None = None
    ) -> set[Value] | None:
        """Read the values of some columns of a set; None if SAC refuses, or none has a value."""
        url = self._client.entity_set_url(self._provider, set_name)
        pages = self._client.pages(with_query(url, options or {}), self._on_response)
        if self._is_counted:
            pages = CountedTable(
                self._client,
                url,
                options or {},
                order=[self._dimension],
                counts_with=CountsWith.ITS_SELECT if options else CountsWith.THE_READ,
                on_response=self._on_response,
            ).pages()
        values: set[Value] = set()
        try:
            for page in pages:
                for row in page.rows:  # They omit nulls.
                    found = [row[name] for name in columns if name in row]
                    values.update(map(self._checked, found or [None]))
                if len(values) > MOST_VALUES:
                    break
        except (SACError, ValueError) as error:
            logger.debug(
                "%s does not list the values of %s: %s", set_name, self._column.name, error
            )
            return None
        return None if values == {None} else values

    def _checked(self, value: Value) -> Value:
        """Return a value that fits the column.

        Raises:
            ValueError: If it does not.
        """
        equals(self._column, value)
        return value
