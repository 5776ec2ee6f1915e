"""Finds the distinct values of a column in the entity sets that list them.

``<column>___Distinct`` is documented only for currency tables, for several columns at once, and
with an additional column in the rows. FactDataAggregation with one dimension and one measure has a
row per value in the facts (seen on live tenants), and the masters have all members.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tap_sac.sac.errors import ResponseError, SACError
from tap_sac.sac.export.kinds import AGGREGATION, VERSION, master_of
from tap_sac.sac.failures import Failure
from tap_sac.sac.odata.conditions import Value, equals
from tap_sac.sac.odata.filters import names_in_filter
from tap_sac.sac.odata.model import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_sac.sac.odata.model import Property
    from tap_sac.streams.source import Source

logger = logging.getLogger(__name__)

# Longer lists are not read completely.
MOST_VALUES = 1_000
_DISTINCT = "___Distinct"
_MEMBER = re.compile(r"(___|\.)ID$")  # the suffix of a dimension's column in MasterData
_PUBLIC = "public."


@dataclass(frozen=True)
class _List:
    """An entity set that may list the values of a column.

    Attributes:
        columns: Its columns with the values.
        has_members: Whether it has all members of a dimension, also those without facts.
    """

    set_name: str
    columns: frozenset[str]
    options: Mapping[str, str] = field(default_factory=dict)
    has_members: bool = False


class ColumnValues:
    """Finds the distinct values of one column."""

    def __init__(self, source: Source, column: Property) -> None:
        """Store the source and the column, which filters can compare; nothing is requested yet."""
        self._source = source
        self._column = column
        self._dimension = _MEMBER.sub("", column.name)
        # The lists that SAC has not refused, starting with the one to ask first.
        self._lists = self._make_lists()

    def find(self) -> set[Value] | None:
        """Return the values, perhaps more than `MOST_VALUES`; None if SAC does not list them.

        There may be more values than the table has, or fewer if SAC omits some. Refused lists are
        not requested again.
        """
        while self._lists:
            values = self._values(self._lists[0])
            if values is not None:
                return values
        return None

    def _make_lists(self) -> list[_List]:
        siblings, odata_filter = self._source.siblings, self._source.filter
        own = frozenset({self._column.name, self._dimension})
        distinct = [_List(name, own) for name in siblings if self._is_distinct(name)]
        lists = [*distinct]
        aggregation = siblings.get(AGGREGATION)
        if aggregation and self._dimension in aggregation.key:
            columns = (item for item in aggregation.properties if item.name not in aggregation.key)
            measures = [item.name for item in columns if item.type in NUMBERS]
            select = {"$select": ",".join([self._dimension, *measures[:1]])}
            of_facts = _List(AGGREGATION, frozenset({self._dimension}), select)
            # SAC may refuse to aggregate with a filter, and cannot with one on measures.
            if odata_filter and not names_in_filter(odata_filter) & {*measures}:
                lists.append(replace(of_facts, options={**select, "$filter": odata_filter}))
            lists.append(of_facts)
        if name := master_of(self._dimension, siblings):
            # Date members have a key of their own.
            key = siblings[name].key if len(siblings[name].key) == 1 else ("ID",)
            of_version = {"VERSION"} if self._dimension == VERSION else set()
            lists.append(_List(name, frozenset({*key, *of_version}), has_members=True))
        if not distinct:  # unseen: whether models serve such sets
            lists.append(_List(f"{self._dimension}{_DISTINCT}", own))
        return lists

    def _is_distinct(self, name: str) -> bool:
        """Return whether a set lists the values of the column, alone or with other columns."""
        columns = f"___{name.removesuffix(_DISTINCT)}___"
        names = (f"___{item}___" for item in (self._column.name, self._dimension))
        return name.endswith(_DISTINCT) and any(item in columns for item in names)

    def _values(self, of: _List) -> set[Value] | None:
        """Read the values of a list; if SAC refuses, drop the list and return None."""
        values: set[Value] = set()
        try:
            for page in self._source.list_of(of.set_name, of.options, self._dimension).pages():
                for row in page.rows:  # Rows omit nulls.
                    found = [row[name] for name in of.columns if name in row]
                    values.update(map(self._checked, found or [None]))
                if len(values) > MOST_VALUES:
                    break
        except (SACError, ValueError) as error:
            logger.debug("%s lists no values of %s: %s", of.set_name, self._column.name, error)
            self._drop(of, error)
            return None
        if of.has_members and self._dimension == VERSION:
            # Whether the ID of a version has the same prefix as in facts is not documented.
            texts = [value for value in values if isinstance(value, str)]
            values |= {f"{_PUBLIC}{text}" for text in texts if not text.startswith(_PUBLIC)}
        if values == {None} or (of.has_members and len(values) > MOST_VALUES):
            self._lists.remove(of)
            return None
        return values

    def _drop(self, refused: _List, error: Exception) -> None:
        """Drop a list that SAC refuses, with its variants if the options are not the cause."""
        is_query = isinstance(error, ResponseError) and (
            error.failure is Failure.BAD_REQUEST or error.is_unprepared
        )
        self._lists = [
            item
            for item in self._lists
            if item != refused and (is_query or item.set_name != refused.set_name)
        ]

    def _checked(self, value: Value) -> Value:
        """Return a value, or raise a ValueError if it does not fit the column."""
        equals(self._column, value)
        return value
