"""Levels and paths of members in their hierarchies, in columns that people can query."""

from __future__ import annotations

import itertools
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from tap_sac.sac.errors import ResponseError, SACError
from tap_sac.sac.export.hierarchies import LONGEST_PATH, Members, hierarchies_of
from tap_sac.sac.odata.model import OwnColumn
from tap_sac.safety.text import log_safe, plural
from tap_sac.streams.page_spool import PageSpool
from tap_sac.streams.proof import no_end_error

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator, Sequence

    from tap_sac.sac.export.hierarchies import Hierarchy, Trouble
    from tap_sac.sac.odata.model import EntitySet
    from tap_sac.sac.odata.pages import Page

    # The columns that the tap adds, each with its part of a `Place`.
    Wanted = dict[Hierarchy, list[tuple[str, int]]]

# The parts of a `Place`, and the columns that have them.
_PARTS = (("LEVEL", "Edm.Int32"), ("PATH", "Edm.String"))


class Paths:
    """Two columns for each parent-child hierarchy of a dimension: where its members stand in it.

    No member has a path before all members are known, so the rows wait until the last one has come
    (`PageSpool`). One read is enough then, and rows and paths are of the same moment.

    Attributes:
        columns: The columns, each with its hierarchy and its part of a `Place`.
    """

    def __init__(self, entity_set: EntitySet, *, name: str, logger: logging.Logger) -> None:
        """Find the hierarchies."""
        self.columns: dict[OwnColumn, tuple[Hierarchy, int]] = {}
        self._conflicts: list[str] = []
        self._entity_set = entity_set
        self._name = name
        self._logger = logger
        # Warehouses may not tell upper from lower case.
        of_sac = {column.name.casefold() for column in entity_set.properties}
        for hierarchy in hierarchies_of(entity_set):
            for part, (suffix, type_name) in enumerate(_PARTS):
                column = OwnColumn(f"{hierarchy.name}_{suffix}", type_name, is_deselectable=True)
                if column.name.casefold() in of_sac:
                    self._conflicts.append(column.name)
                else:
                    self.columns[column] = (hierarchy, part)

    def warn_of_conflicts(self) -> None:
        """Warn of columns that SAC has already."""
        if self._conflicts:
            self._logger.warning(
                "The tap does not add %s to %s, because SAC has columns of the same name.",
                ", ".join(self._conflicts),
                self._name,
            )

    def needed_columns(self, columns: Sequence[str], own: Sequence[OwnColumn]) -> list[str]:
        """Return the columns to ask for: parents, too, whether records have them or not."""
        needed = {*columns, *(self.columns[item][0].parent for item in own)}
        return [item.name for item in self._entity_set.properties if item.name in needed]

    def add(
        self, pages: Iterable[Page], own: Sequence[OwnColumn], *, is_filtered: bool
    ) -> Iterator[Page]:
        """Read all pages, and return them with levels and paths in their rows.

        A filter may have left out parents.

        Raises:
            DataError: If pages repeat their rows under ever new links.
        """
        wanted: Wanted = {}
        for column in own:
            hierarchy, part = self.columns[column]
            wanted.setdefault(hierarchy, []).append((column.name, part))
        members = Members(self._entity_set.key[0], wanted)
        count, rows = None, 0
        with closing(PageSpool()) as spool:
            for page in _first_page_apart(pages):
                count = page.count if count is None else count
                self._check_end(page, count, rows, members)
                rows += len(page.items)
                for row in page.rows:
                    members.add(row)
                spool.add(page)
            for hierarchy, trouble in members.settle().items():
                names = [name for name, _ in wanted[hierarchy]]
                self._warn(hierarchy, names, trouble, is_filtered=is_filtered)
            placed = _Placed(members, wanted)
            number = itertools.count()
            for page in spool:
                yield replace(page, items=[*map(placed.row, page.items, number)])
        for name, number_of_rows in placed.too_long.items():
            self._warn_of_length(name, number_of_rows)

    def _check_end(self, page: Page, count: int | None, rows: int, members: Members) -> None:
        """See that there is an end, as `Proof` does, which gets no page before the last one."""
        size = len(page.items)
        if count is None or not (size and page.next_url) or rows < count + size:
            return
        if (number := len(members)) <= count:
            raise no_end_error(self._name, count, rows, number)

    def _warn(
        self, hierarchy: Hierarchy, columns: list[str], trouble: Trouble, *, is_filtered: bool
    ) -> None:
        """Name members that have no place in a hierarchy, and thus null in some columns."""
        empty = " and ".join(columns)
        if trouble.moved:
            self._logger.warning(
                "Rows of %s give %s several parents in the hierarchy %s: only the last row of each "
                "has %s. List each member once in SAC.",
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
            ", or let the filter keep them" if is_filtered and trouble.orphans else "",
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
    """Re-raise later refusals: only that of the first page may mean that a table is not served.

    Raises:
        ResponseError: If SAC refuses the first page.
        SACError: If it refuses another one.
    """
    is_first = True
    try:
        for page in pages:
            yield page
            is_first = False
    except ResponseError as error:
        raise (error if is_first else SACError(str(error))) from None


class _Placed:
    """Puts levels and paths into rows.

    Attributes:
        too_long: In how many rows a path is null because of its length, by column.
    """

    def __init__(self, members: Members, wanted: Wanted) -> None:
        self._members = members
        self._wanted = wanted
        self.too_long: Counter[str] = Counter()

    def row(self, row: msgspec.Raw, number: int) -> msgspec.Raw:
        """Put them into the JSON text of a row, which has this number."""
        found: dict[str, Any] = {}
        for hierarchy, columns in self._wanted.items():
            if place := self._members.place(number, hierarchy):
                found |= {name: place[part] for name, part in columns}
        if not found:
            return row
        if None in found.values():
            self.too_long.update(name for name, value in found.items() if value is None)
        return msgspec.Raw(bytes(row).rstrip()[:-1] + b"," + msgspec.json.encode(found)[1:])


def _shown(names: list[str], count: int) -> str:
    more = f" and {count - len(names):,} more" if count > len(names) else ""
    return ", ".join(map(log_safe, names)) + more
