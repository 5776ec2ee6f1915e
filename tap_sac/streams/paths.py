"""Adds the level and path of members in their hierarchies as columns."""

from __future__ import annotations

import itertools
from collections import Counter
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from tap_sac.sac.errors import DataError, ResponseError, SACError
from tap_sac.sac.export.hierarchies import LONGEST_PATH, Members, hierarchies_of
from tap_sac.sac.failures import Failure
from tap_sac.sac.odata.model import OwnColumn
from tap_sac.safety.text import log_safe, plural
from tap_sac.streams.endless import EndWatch
from tap_sac.streams.page_spool import PageSpool

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator, Sequence

    from tap_sac.sac.export.hierarchies import Hierarchy, Trouble
    from tap_sac.sac.odata.model import EntitySet
    from tap_sac.sac.odata.pages import Page

    # The columns to add, each with its index in a `Place`.
    Wanted = dict[Hierarchy, list[tuple[str, int]]]

# The parts of a `Place`: suffixes and types of their columns.
_PARTS = (("LEVEL", "Edm.Int32"), ("PATH", "Edm.String"))


class Paths:
    """Adds two columns for each parent-child hierarchy of a dimension: level and path.

    Paths need all members, so the rows are buffered until the last one is read (`PageSpool`). So
    one read is enough, and rows and paths are consistent.

    Attributes:
        columns: The columns, each with its hierarchy and its index in a `Place`.
    """

    def __init__(self, entity_set: EntitySet, *, name: str, logger: logging.Logger) -> None:
        """Find the hierarchies."""
        self.columns: dict[OwnColumn, tuple[Hierarchy, int]] = {}
        self._conflicts: list[str] = []
        # In how many rows a path is null because of its length, by column.
        self._too_long: Counter[str] = Counter()
        self._entity_set = entity_set
        self._name = name
        self._logger = logger
        # Warehouses may be case-insensitive.
        of_sac = {column.name.casefold() for column in entity_set.properties}
        for hierarchy in hierarchies_of(entity_set):
            for part, (suffix, type_name) in enumerate(_PARTS):
                column = OwnColumn(f"{hierarchy.name}_{suffix}", type_name, is_deselectable=True)
                if column.name.casefold() in of_sac:
                    self._conflicts.append(column.name)
                else:
                    self.columns[column] = (hierarchy, part)

    def warn_of_conflicts(self) -> None:
        """Warn of columns that SAC has itself."""
        if self._conflicts:
            self._logger.warning(
                "The tap does not add %s to %s, because SAC has columns with the same name.",
                ", ".join(self._conflicts),
                self._name,
            )

    def needed_columns(self, columns: Sequence[str], own: Sequence[OwnColumn]) -> list[str]:
        """Return the columns to request: the selected ones, and the parents that paths need."""
        needed = {*columns, *(self.columns[item][0].parent for item in own)}
        return [item.name for item in self._entity_set.properties if item.name in needed]

    def add(
        self, pages: Iterable[Page], own: Sequence[OwnColumn], *, is_filtered: bool
    ) -> Iterator[Page]:
        """Read all pages, and yield them with levels and paths in their rows.

        A filter may have left out parents.

        Raises:
            DataError: If the pages repeat their rows without end.
        """
        self._too_long.clear()  # Of an earlier read, if the table is read again in key order.
        wanted: Wanted = {}
        for column in own:
            hierarchy, part = self.columns[column]
            wanted.setdefault(hierarchy, []).append((column.name, part))
        members = Members(self._entity_set.key[0], wanted)
        count, rows, end = None, 0, EndWatch(self._name)
        with closing(PageSpool()) as spool:
            for page in _first_page_apart(pages):
                count = page.count if count is None else count
                size = len(page.items)
                problem = end.problem(rows, size, count, members.__len__)
                if problem and page.next_url:  # `Proof` gets no page before the last one.
                    raise DataError(problem, Failure.BROKEN_PROTOCOL)
                rows += size
                for row in page.rows:
                    members.add(row)
                spool.add(page)
            for hierarchy, trouble in members.set_levels().items():
                names = [name for name, _ in wanted[hierarchy]]
                self._warn(hierarchy, names, trouble, is_filtered=is_filtered)
            place = partial(self._placed, members, wanted)
            number = itertools.count()
            for page in spool:
                yield replace(page, items=[*map(place, page.items, number)])
        for name, number_of_rows in self._too_long.items():
            self._warn_of_length(name, number_of_rows)

    def _placed(
        self, members: Members, wanted: Wanted, row: msgspec.Raw, number: int
    ) -> msgspec.Raw:
        """Add level and path to the JSON text of the row with this number."""
        found: dict[str, Any] = {}
        for hierarchy, columns in wanted.items():
            if place := members.place(number, hierarchy):
                found |= {name: place[part] for name, part in columns}
        if not found:
            return row
        if None in found.values():
            self._too_long.update(name for name, value in found.items() if value is None)
        return msgspec.Raw(bytes(row).rstrip()[:-1] + b"," + msgspec.json.encode(found)[1:])

    def _warn(
        self, hierarchy: Hierarchy, columns: list[str], trouble: Trouble, *, is_filtered: bool
    ) -> None:
        """Warn of members that have no place in a hierarchy, so their columns are null."""
        empty = " and ".join(columns)
        if trouble.moved:
            self._logger.warning(
                "Rows of %s list several parents of %s in the hierarchy %s, so only the last row "
                "of each member has %s. List each member once in SAC.",
                self._name,
                _shown(trouble.moved, trouble.moved_count),
                log_safe(hierarchy.name),
                empty,
            )
        what = []
        if trouble.orphans:
            names = [f"{member} below {parent}" for member, parent in trouble.orphans.items()]
            shown = _shown(names, trouble.orphan_count)
            what.append(f"{shown}, whose parents are not in the table")
        if trouble.cycle:
            shown = _shown(trouble.cycle, trouble.cycle_count)
            what.append(f"{shown}, which are their own ancestors")
        if not what:
            return
        self._logger.warning(
            "The hierarchy %s of %s is broken at %s: there and below, %s null (rows: %s). Correct "
            "the parents in SAC%s.",
            log_safe(hierarchy.name),
            self._name,
            ", and at ".join(what),
            empty + (" are" if len(columns) > 1 else " is"),
            f"{trouble.count:,}",
            ", or include them in the filter" if is_filtered and trouble.orphans else "",
        )

    def _warn_of_length(self, column: str, rows: int) -> None:
        self._logger.warning(
            "%s of %s is null in %s, because the path would have more than %s characters: use "
            "level and parent instead.",
            column,
            self._name,
            plural(rows, "row"),
            f"{LONGEST_PATH:,}",
        )


def _first_page_apart(pages: Iterable[Page]) -> Iterator[Page]:
    """Convert refusals of later pages: only the first one can mean that a table is not served.

    Raises:
        ResponseError: If SAC refuses the first page.
        SACError: If SAC refuses a later page.
    """
    is_first = True
    try:
        for page in pages:
            yield page
            is_first = False
    except ResponseError as error:
        raise (error if is_first else SACError(str(error))) from None


def _shown(names: list[str], count: int) -> str:
    more = f" and {count - len(names):,} more" if count > len(names) else ""
    return ", ".join(map(log_safe, names)) + more
