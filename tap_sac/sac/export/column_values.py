"""The distinct values of a column: which set lists them, and what they are.

``<column>___Distinct`` is documented for currency tables alone, for several columns at once, and
with a column that was not asked for. FactDataAggregation with one dimension and one measure has a
row for each value in the facts (seen on live tenants), and the masters have all members.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tap_sac.sac.errors import ResponseError, SACError
from tap_sac.sac.export.kinds import AGGREGATION, VERSION, master_of
from tap_sac.sac.export.tables import CountedTable, CountsWith
from tap_sac.sac.failures import Failure
from tap_sac.sac.odata.conditions import Value, equals
from tap_sac.sac.odata.filters import names_in_filter
from tap_sac.sac.odata.model import NUMBERS
from tap_sac.sac.urls import with_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_sac.sac.export.client import ResponseObserver, SACClient
    from tap_sac.sac.odata.model import EntitySet, Property, Provider
    from tap_sac.sac.odata.pages import Page

logger = logging.getLogger(__name__)

# Longer lists are not read to their end.
MOST_VALUES = 1_000
_DISTINCT = "___Distinct"
_MEMBER = re.compile(r"(___|\.)ID$")  # suffix of a dimension's column in MasterData
_PUBLIC = "public."


@dataclass(frozen=True)
class _Source:
    """An entity set that may list the values of a column.

    Attributes:
        set_name: The entity set.
        columns: Its columns that have them.
        options: The query options.
        has_members: Whether they are members of a dimension, with facts or without.
    """

    set_name: str
    columns: frozenset[str]
    options: Mapping[str, str] = field(default_factory=dict)
    has_members: bool = False


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
            values = self._values(self._sources[0])
            if values is not None:
                return values
        return None

    def _make_sources(self) -> list[_Source]:
        own = frozenset({self._column.name, self._dimension})
        listed = [_Source(name, own) for name in self._siblings if self._is_distinct(name)]
        sources = [*listed]
        aggregation = self._siblings.get(AGGREGATION)
        if aggregation and self._dimension in aggregation.key:
            columns = (item for item in aggregation.properties if item.name not in aggregation.key)
            measures = [item.name for item in columns if item.type in NUMBERS]
            select = {"$select": ",".join([self._dimension, *measures[:1]])}
            of_facts = _Source(AGGREGATION, frozenset({self._dimension}), select)
            # SAC may not aggregate with a filter, and cannot with one of measures.
            if self._filter and not names_in_filter(self._filter) & {*measures}:
                sources.append(replace(of_facts, options={**select, "$filter": self._filter}))
            sources.append(of_facts)
        if name := master_of(self._dimension, self._siblings):
            # The members of dates have a key of their own.
            key = self._siblings[name].key if len(self._siblings[name].key) == 1 else ("ID",)
            of_version = {"VERSION"} if self._dimension == VERSION else set()
            sources.append(_Source(name, frozenset({*key, *of_version}), has_members=True))
        if not listed:  # unseen: whether models serve such sets
            sources.append(_Source(f"{self._dimension}{_DISTINCT}", own))
        return sources

    def _is_distinct(self, name: str) -> bool:
        """Return whether a set lists the values of the column, alone or joined with others."""
        columns = f"___{name.removesuffix(_DISTINCT)}___"
        names = (f"___{item}___" for item in (self._column.name, self._dimension))
        return name.endswith(_DISTINCT) and any(item in columns for item in names)

    def _values(self, source: _Source) -> set[Value] | None:
        """Read the values that a source lists; None, and never again, if it does not."""
        values: set[Value] = set()
        try:
            for page in self._pages(source):
                for row in page.rows:  # They omit nulls.
                    found = [row[name] for name in source.columns if name in row]
                    values.update(map(self._checked, found or [None]))
                if len(values) > MOST_VALUES:
                    break
        except (SACError, ValueError) as error:
            logger.debug("%s lists no values of %s: %s", source.set_name, self._column.name, error)
            self._drop(source, error)
            return None
        if source.has_members and self._dimension == VERSION:
            # Whether the ID of a version has the prefix that it has in facts is not documented.
            texts = [value for value in values if isinstance(value, str)]
            values |= {f"{_PUBLIC}{text}" for text in texts if not text.startswith(_PUBLIC)}
        if values == {None} or (source.has_members and len(values) > MOST_VALUES):
            self._sources.remove(source)
            return None
        return values

    def _drop(self, source: _Source, error: Exception) -> None:
        """Drop a source that refuses, and the same one with other options unless these are why."""
        is_query = isinstance(error, ResponseError) and (
            error.failure is Failure.BAD_REQUEST or error.is_unprepared
        )
        self._sources = [
            item
            for item in self._sources
            if item != source and (is_query or item.set_name != source.set_name)
        ]

    def _pages(self, source: _Source) -> Iterator[Page]:
        url = self._client.entity_set_url(self._provider, source.set_name)
        if not self._is_counted:
            return self._client.pages(with_query(url, source.options), self._on_response)
        return CountedTable(
            self._client,
            url,
            source.options,
            order=[self._dimension],
            counts_with=CountsWith.ITS_SELECT if source.options else CountsWith.THE_READ,
            on_response=self._on_response,
        ).pages()

    def _checked(self, value: Value) -> Value:
        """Return a value, or raise a ValueError if it does not fit the column."""
        equals(self._column, value)
        return value
