"""Members with their hierarchies, which get a level and a path that people can query."""

from __future__ import annotations

import sys
from array import array
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from tap_sac.sac.errors import ResponseError, SACError
from tap_sac.sac.export.hierarchies import Members, hierarchies_of
from tap_sac.sac.odata.model import OwnColumn
from tap_sac.safety.text import log_safe
from tap_sac.singer.records import RecordMaker
from tap_sac.streams.entity_set import EntitySetStream
from tap_sac.streams.page_spool import PageSpool

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from singer_sdk import Tap

    from tap_sac.sac.export.hierarchies import Hierarchy, Trouble
    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.records import Records
    from tap_sac.singer.sums import Sums

    # The columns of our own, each with what it has of a `Place`.
    Wanted = dict[Hierarchy, list[tuple[str, int]]]

# The parts of a `Place`, and the columns that have them.
_PARTS = (("LEVEL", "Edm.Int32"), ("PATH", "Edm.String"))


class HierarchyStream(EntitySetStream):
    """Members of a dimension; for each parent-child hierarchy, where they stand in it.

    No member has a path before all members are known, so the rows wait until the last one has come
    (`PageSpool`). One read is enough then, and rows and paths are of the same moment.
    """

    def __init__(self, tap: Tap, **parts: Any) -> None:
        """Make a stream with two more columns for each hierarchy.

        Args:
            tap: The tap that it belongs to.
            parts: As of `EntitySetStream`.
        """
        super().__init__(tap, **parts)
        # Warehouses may not tell upper from lower case.
        of_sac = {column.name.casefold() for column in self.entity_set.properties}
        self._left_to_sac: list[str] = []
        self._columns: dict[OwnColumn, tuple[Hierarchy, int]] = {}
        for hierarchy in hierarchies_of(self.entity_set):
            for part, (name, type_name) in enumerate(_PARTS):
                column = OwnColumn(f"{hierarchy.name}_{name}", type_name, is_deselectable=True)
                if column.name.casefold() in of_sac:
                    self._left_to_sac.append(column.name)
                else:
                    self._columns[column] = (hierarchy, part)
        self.own(*self._columns)

    @override
    def query(self, columns: list[str]) -> dict[str, str]:
        """Return the query options; parents are asked for, whether records have them or not."""
        needed = {*columns, *(self._columns[item][0].parent for item in self.selection.own_columns)}
        in_order = [item.name for item in self.entity_set.properties if item.name in needed]
        return super().query(in_order)

    @override
    def record_maker(self, columns: list[str], *, sums: Sums | None = None) -> RecordMaker:
        """Make what turns rows into records; rows have the columns of our own by then."""
        own = self.selection.own_columns
        rows = replace(
            self.entity_set, properties=(*self.entity_set.properties, *own), own_columns=()
        )
        names = [*columns, *(column.name for column in own)]
        return RecordMaker(rows, self.effective_schema, names, sums=sums)

    @override
    def read_served(self, columns: list[str]) -> Iterator[Records]:
        if self._left_to_sac:
            self.logger.warning(
                "The tap does not add %s to %s, because SAC has columns of the same name.",
                ", ".join(self._left_to_sac),
                self.name,
            )
        yield from super().read_served(columns)

    @override
    def take(self, pages: Callable[[], Iterator[Page]]) -> Iterator[Page]:
        """Take all pages, and give them back with levels and paths in their rows."""
        wanted: Wanted = {}
        for column in self.selection.own_columns:
            hierarchy, part = self._columns[column]
            wanted.setdefault(hierarchy, []).append((column.name, part))
        if self.is_dry_run or not wanted:
            yield from super().take(pages)
            return
        members = Members(self.entity_set.key[0], wanted)
        numbers = array("i")
        with closing(PageSpool()) as spool:
            for page in _first_page_apart(super().take(pages)):
                numbers.extend(map(members.add, page.rows))
                spool.add(page)
            for hierarchy, trouble in members.settle().items():
                self._report(hierarchy, [name for name, _ in wanted[hierarchy]], trouble)
            rest = iter(numbers)
            for page in spool:
                rows = zip(page.items, islice(rest, len(page.items)), strict=True)
                yield replace(page, items=[_placed(*row, members, wanted) for row in rows])

    def _report(self, hierarchy: Hierarchy, columns: list[str], trouble: Trouble) -> None:
        """Name members that have no place in a hierarchy, and thus null in some columns."""
        what = []
        if trouble.orphans:
            names = [f"{member} below {parent}" for member, parent in trouble.orphans.items()]
            shown = _shown(names, trouble.orphan_count)
            what.append(f"{shown}, whose parents are not in the table")
        if trouble.cycle:
            shown = _shown(trouble.cycle, trouble.cycle_count)
            what.append(f"{shown}, which are their own ancestors")
        self.logger.warning(
            "The hierarchy %s of %s is broken at %s: there and below, %s null (rows: %s). Correct "
            "the parents in SAC%s.",
            log_safe(hierarchy.name),
            self.name,
            ", and at ".join(what),
            " and ".join(columns) + (" are" if len(columns) > 1 else " is"),
            f"{trouble.count:,}",
            ", or let the filter keep them" if self.filter and trouble.orphans else "",
        )


def _first_page_apart(pages: Iterable[Page]) -> Iterator[Page]:
    """Let the refusal of the first page alone look like one: it may be one of the table.

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


def _placed(row: msgspec.Raw, number: int, members: Members, wanted: Wanted) -> msgspec.Raw:
    """Put levels and paths into the JSON text of a row."""
    found: dict[str, Any] = {}
    for hierarchy, columns in wanted.items():
        if place := members.place(number, hierarchy):
            found |= {name: place[part] for name, part in columns}
    if not found:
        return row
    return msgspec.Raw(bytes(row).rstrip()[:-1] + b"," + msgspec.json.encode(found)[1:])


def _shown(names: list[str], count: int) -> str:
    more = f" and {count - len(names):,} more" if count > len(names) else ""
    return ", ".join(map(log_safe, names)) + more
