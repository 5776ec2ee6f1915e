"""Query options: which rows and columns of an entity set a request selects, and how many.

The behavior follows SAP Help, "Data Export Service" (2022), and notes about live tenants. Unknown
options, such as ``$apply`` and ``$deltatoken``, are ignored, but ``$pagesize`` is refused. The
texts of the refusals are made up.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tap_sac.demo.odata_filter import FilterError, InListError, Predicate, parse_filter
from tap_sac.demo.sums import aggregate
from tap_sac.demo.tables import AGGREGATION, FACTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tap_sac.demo.behaviour import Behaviour
    from tap_sac.demo.tables import Row, Table, Value


class QueryError(ValueError):
    """SAC refuses the query options.

    Attributes:
        status: The HTTP status of the refusal.
    """

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        """Store the reason and the status."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Page:
    """The contents of a response.

    Attributes:
        rows: The rows, with the selected columns.
        next: The position where the next page starts; None after the last one.
        count: The number of all rows, if requested.
    """

    rows: list[Row]
    next: int | None
    count: int | None


class Query:
    """The query options of a request for a table.

    Attributes:
        dimensions: The key columns that identify a row in the response.
        is_aggregation: Whether facts are summed over the other dimensions.
        page_size: The maximum rows per page, by the request or the tenant.
    """

    def __init__(self, table: Table, options: Mapping[str, str], behaviour: Behaviour) -> None:
        """Parse the options.

        Raises:
            QueryError: If SAC refuses them.
        """
        if "$pagesize" in options:
            msg = "The query option $pagesize is not valid."
            raise QueryError(msg)
        self.is_aggregation = table.name == AGGREGATION
        names = [column.name for column in table.columns]
        self._selected = _selected(table, names, options.get("$select"))
        is_narrow = not set(names) <= set(self._selected)
        self.dimensions = table.key
        if self.is_aggregation:
            self.dimensions = [name for name in self._selected if name in table.key]
        self._measures = [name for name in self._selected if name not in table.key]
        self.keeps: Predicate = lambda _: True
        if "$filter" in options:
            self.keeps = predicate(options["$filter"], names)
        orderable = self._selected if self.is_aggregation else names
        self._order = _order(options.get("$orderby", ""), orderable)
        self._counts = (
            behaviour.counts
            and options.get("$count") == "true"
            and (self.is_aggregation or not is_narrow)
        )
        self._position = position(options)
        self._skip = _number(options, "$skip", 0)
        if behaviour.ignores_skip or "$skiptoken" in options:
            self._skip = 0
        self.page_size = _number(options, "pagesize", behaviour.page_size, at_least=1)
        self._limit, self._is_cut = self._limits(options, behaviour)

    def _limits(self, options: Mapping[str, str], behaviour: Behaviour) -> tuple[int, bool]:
        """Return the maximum rows of a response, and whether it then ends without a link.

        With ``$top``, it does. That a ``$top`` above the page size is served in one response is a
        guess.
        """
        limit, is_cut = self.page_size, False
        if "$top" in options:
            limit, is_cut = _number(options, "$top", 0), True
        if behaviour.page_cap and not (behaviour.pagesize_lifts_cap and "pagesize" in options):
            asked = limit if {"$top", "pagesize"} & options.keys() else behaviour.page_cap
            limit, is_cut = min(asked, behaviour.page_cap), True
        return limit, is_cut

    def page(self, rows: Iterable[Row | None]) -> Page:
        """Return the requested page.

        Args:
            rows: All rows, or all facts of an aggregation. Deleted rows are None, so that the
                others keep their positions during paging.
        """
        kept = [row if row is not None and self.keeps(row) else None for row in rows]
        if self.is_aggregation:
            kept = [*self.aggregate(kept).values()]
        if self._order:
            kept = self._sorted(row for row in kept if row is not None)
        positions = [number for number, row in enumerate(kept) if row is not None]
        begin = bisect_left(positions, self._position) + self._skip
        end = begin + self._limit
        has_more = end < len(positions) and not self._is_cut
        return Page(
            rows=[self.project(kept[number] or {}) for number in positions[begin:end]],
            next=positions[end] if has_more else None,
            count=len(positions) if self._counts else None,
        )

    def aggregate(self, facts: Iterable[Row | None]) -> dict[tuple[Value, ...], Row]:
        """Sum facts over the dimensions that are not selected.

        That filters apply before, even those on measures, is a guess.
        """
        present = (fact for fact in facts if fact is not None)
        return aggregate(present, self.dimensions, self._measures)

    def project(self, row: Row) -> Row:
        """Return the row with the selected columns only."""
        return {name: row[name] for name in self._selected if name in row}

    def _sorted(self, rows: Iterable[Row]) -> list[Row | None]:
        """Sort rows; nulls come first (OData Protocol 4.0, 11.2.5.2)."""
        ordered = list(rows)
        for name, is_descending in reversed(self._order):
            ordered.sort(key=partial(_sort_key, name), reverse=is_descending)
        return [*ordered]


def _sort_key(name: str, row: Row) -> tuple[bool, Any]:
    value = row.get(name)
    return value is not None, value


def predicate(expression: str, columns: Collection[str]) -> Predicate:
    """Parse a ``$filter``.

    Raises:
        QueryError: If SAC refuses it; for an ``in`` list, with a server error.
    """
    try:
        return parse_filter(expression, columns)
    except InListError:
        msg = "SQL Statement cannot be prepared. [1205]"
        raise QueryError(msg, HTTPStatus.INTERNAL_SERVER_ERROR) from None
    except FilterError as error:
        msg = f"The $filter is malformed: {error}."
        raise QueryError(msg) from None


def position(options: Mapping[str, str]) -> int:
    """Return the position where a page starts.

    Raises:
        QueryError: If the link to the page was changed.
    """
    text = options.get("$skiptoken", "0").partition("!")[0]
    if not text.isdecimal():
        msg = "The $skiptoken is malformed."
        raise QueryError(msg)
    return int(text)


def _selected(table: Table, names: Sequence[str], text: str | None) -> list[str]:
    if not text:
        if table.name == AGGREGATION:
            msg = f"{AGGREGATION} needs a $select."
            raise QueryError(msg)
        return list(names)
    selected = list(dict.fromkeys(text.split(",")))
    if unknown := [name for name in selected if name not in names]:
        msg = f"There is no column {unknown[0]!r}."
        raise QueryError(msg)
    if table.name == FACTS and not set(table.key) <= set(selected):
        msg = "$select lacks key columns. [1402]"
        raise QueryError(msg)
    return selected


def _order(text: str, names: Sequence[str]) -> list[tuple[str, bool]]:
    """Parse ``$orderby`` into columns and whether they are descending."""
    order = []
    for item in text.split(",") if text else []:
        name, _, direction = item.strip().partition(" ")
        if name not in names or direction.strip() not in {"", "asc", "desc"}:
            msg = f"The $orderby is malformed: {item!r}."
            raise QueryError(msg)
        order.append((name, direction.strip() == "desc"))
    return order


def _number(options: Mapping[str, str], name: str, default: int, *, at_least: int = 0) -> int:
    text = options.get(name)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < at_least:
        msg = f"{name} must be a number of at least {at_least}."
        raise QueryError(msg)
    return int(text)
