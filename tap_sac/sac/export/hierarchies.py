"""Parent-child hierarchies: the level and path of each member.

``<Dim>MasterWithHierarchy`` has a column ``<hierarchy>_PARENTID`` per hierarchy, which is empty for
roots (seen on live tenants). Level-based hierarchies are ordinary columns.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableSequence, Sequence
    from typing import Any

    from tap_sac.sac.odata.model import EntitySet

_PARENT = "_PARENTID"
_MOST_NAMES = 5
_SEPARATOR = "/"
# More than anybody needs; without a limit, the paths of a long chain would fill memory and disk.
LONGEST_PATH = 4_000
_NO_PARENT = -1
# Placeholders for levels, which start at 1.
_UNKNOWN, _UNDER_WAY, _NO_MEMBER, _OUTSIDE, _BROKEN = 0, -1, -2, -3, -4


class Hierarchy(NamedTuple):
    """A parent-child hierarchy of a dimension, and the column with the parents of members."""

    name: str
    parent: str


class Place(NamedTuple):
    """The position of a member in a hierarchy.

    Attributes:
        level: 1 for a root, 2 for its children, and so on.
        path: The IDs from the root to the member; None if longer than `LONGEST_PATH`.
    """

    level: int
    path: str | None


# unseen: parents that are not members, members that are their own ancestors or have two parents
@dataclass
class Trouble:
    """Members with a parent but without a place in the hierarchy, or with several places.

    Attributes:
        orphans: Examples of members whose parent is missing, with that parent.
        orphan_count: The number of such members.
        cycle: Examples of members that are their own ancestors.
        cycle_count: The number of such members.
        count: The number of members without a place, including their descendants.
        moved: Examples of members to which a later row gives another parent.
        moved_count: The number of such members.
    """

    orphans: dict[str, str] = field(default_factory=dict)
    orphan_count: int = 0
    cycle: list[str] = field(default_factory=list)
    cycle_count: int = 0
    count: int = 0
    moved: list[str] = field(default_factory=list)
    moved_count: int = 0


def hierarchies_of(entity_set: EntitySet) -> list[Hierarchy]:
    """Find the parent-child hierarchies of a dimension; none if the key is not a single ID."""
    if len(entity_set.key) != 1:
        return []
    return [
        Hierarchy(column.name.removesuffix(_PARENT), column.name)
        for column in entity_set.properties
        if column.name.endswith(_PARENT) and column.name != _PARENT
    ]


class Members:
    """The members of a dimension and their parents."""

    def __init__(self, key: str, hierarchies: Iterable[Hierarchy]) -> None:
        """Start without members; the key is the column with the ID of a member."""
        self._key = key
        self._numbers: dict[str, int] = {}
        self._is_member = bytearray()
        self._parents = {hierarchy: array("i") for hierarchy in hierarchies}
        self._levels: dict[Hierarchy, MutableSequence[int]] = {}
        # For members that a later row gives another parent: that row.
        self._moved: dict[Hierarchy, dict[int, int]] = {item: {} for item in self._parents}
        self._rows = array("i")  # the member of each row
        # Escaped IDs for paths, by number.
        self._steps: list[str] = []

    def add(self, row: Mapping[str, Any]) -> int:
        """Add a row, and return its number for `place`.

        If a member has several rows, the last one counts, as in a target.
        """
        number = self._number(_text(row.get(self._key)))
        is_again = self._is_member[number]
        self._is_member[number] = True
        for hierarchy, parents in self._parents.items():
            name = _text(row.get(hierarchy.parent))
            parent = self._number(name) if name else _NO_PARENT
            if is_again and parent != parents[number]:
                self._moved[hierarchy][number] = len(self._rows)
            parents[number] = parent
        self._rows.append(number)
        return len(self._rows) - 1

    def __len__(self) -> int:
        """Return the number of different members."""
        return self._is_member.count(True)

    def set_levels(self) -> dict[Hierarchy, Trouble]:
        """Compute the level of each member, after the last `add`.

        Returns:
            The trouble of each hierarchy that has members without a place, or with several.
        """
        ids = list(self._numbers)
        self._steps = list(map(_escaped, ids))
        troubles = {}
        for hierarchy, parents in self._parents.items():
            levels, trouble = self._find_levels(parents, ids)
            self._levels[hierarchy] = levels
            moved = self._moved[hierarchy]
            trouble.moved_count = len(moved)
            trouble.moved = [ids[number] for number in islice(moved, _MOST_NAMES)]
            if trouble.count or moved:
                troubles[hierarchy] = trouble
        return troubles

    def place(self, row: int, hierarchy: Hierarchy) -> Place | None:
        """Return the place of the member in a row.

        It is None if the member has no place, or if a later row gives it another parent.
        """
        number = self._rows[row]
        level = self._levels[hierarchy][number]
        if level < 1 or row < self._moved[hierarchy].get(number, 0):
            return None
        if 2 * level > LONGEST_PATH + 1:  # IDs have a character or more, and separators.
            return Place(level, None)
        parents = self._parents[hierarchy]
        way = []
        while number != _NO_PARENT:
            way.append(self._steps[number])
            number = parents[number]
        way.reverse()
        path = _SEPARATOR.join(way)
        return Place(level, path if len(path) <= LONGEST_PATH else None)

    def _number(self, member: str) -> int:
        number = self._numbers.setdefault(member, len(self._numbers))
        if number == len(self._is_member):
            self._is_member.append(False)
            for parents in self._parents.values():
                parents.append(_NO_PARENT)
        return number

    def _find_levels(
        self, parents: Sequence[int], ids: Sequence[str]
    ) -> tuple[MutableSequence[int], Trouble]:
        """Climb from each member to an ancestor with a level, and set levels on the way down."""
        levels = self._first_levels(parents)
        trouble = Trouble()
        for start in range(len(levels)):
            way = []
            number = start
            while levels[number] == _UNKNOWN:
                levels[number] = _UNDER_WAY
                way.append(number)
                number = parents[number]
            if not way:
                continue
            level = levels[number]
            if level == _UNDER_WAY:
                cycle = way[way.index(number) :]
                trouble.cycle_count += len(cycle)
                room = _MOST_NAMES - len(trouble.cycle)
                trouble.cycle += [ids[item] for item in cycle[: max(0, room)]]
            elif level == _NO_MEMBER:
                trouble.orphan_count += 1
                if len(trouble.orphans) < _MOST_NAMES:
                    trouble.orphans[ids[way[-1]]] = ids[number]
            if level < 1:
                trouble.count += len(way)
            for item in reversed(way):
                level = level + 1 if level > 0 else _BROKEN
                levels[item] = level
        return levels, trouble

    def _first_levels(self, parents: Sequence[int]) -> MutableSequence[int]:
        """Mark roots, and members outside the hierarchy, without parents and children."""
        has_child = bytearray(len(parents))
        for parent in parents:
            if parent != _NO_PARENT:
                has_child[parent] = True
        levels = array("i", [_UNKNOWN]) * len(parents)
        for number, parent in enumerate(parents):
            if not self._is_member[number]:
                levels[number] = _NO_MEMBER
            elif parent == _NO_PARENT:
                levels[number] = 1 if has_child[number] else _OUTSIDE
        return levels


def _text(value: object) -> str:
    """Convert an ID to text; null becomes an empty text, which is not an ID."""
    return "" if value is None else str(value)


def _escaped(member: str) -> str:
    """Escape an ID for a path, so that different members have different paths."""
    return member.replace("%", "%25").replace(_SEPARATOR, "%2F")
