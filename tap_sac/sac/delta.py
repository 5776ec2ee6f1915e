"""Change tracking: what an answer to a delta link says, and what must be kept to ask again.

SAP Help, "SAP Analytics Cloud REST API", describes changes as rows with all columns, and deleted
entities as ``{"@odata.context": "#FactData/$deletedEntity", "id": "FactData(Date='202401')"}``,
which is the form of OData JSON Format 4.0, 14.2.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import parse_qs, unquote, urlsplit

from tap_sac.sac.errors import DeltaLostError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KEY_VALUE = re.compile(r"\s*(?P<name>[^\s=',()]+)\s*=\s*(?P<value>'(?:[^']|'')*'|[^',()\s]+)\s*")
_ONLY_VALUE = re.compile(r"\s*(?P<value>'(?:[^']|'')*'|[^',()=\s]+)\s*")
_UNENCODED = re.compile(r"[^!-~]|%(?![0-9A-Fa-f]{2})")
_FIRST = "first-"
_LAST_VERSION = 2**63 - 1
# Names in states that older runs have written: they stay as they are.
_STATE_KEYS = ("delta_link", "version", "question", "is_followed")


@dataclass(frozen=True)
class DeltaQuery:
    """What a chain of changes is about: another query needs another chain.

    Attributes:
        key: The key columns.
        columns: The columns that are read.
        filter: The ``$filter`` that is sent.
    """

    key: list[str]
    columns: list[str]
    filter: str | None

    def difference(self, other: DeltaQuery) -> str | None:
        """Say what another query asks differently; None if nothing."""
        for name, label in (("key", "key"), ("columns", "selected columns"), ("filter", "filter")):
            before, after = getattr(self, name), getattr(other, name)
            if before != after:
                return f"the {label} changed from {before} to {after}"
        return None


@dataclass(frozen=True)
class Bookmark:
    """What a LOG_BASED stream keeps between two runs, in its state.

    Attributes:
        delta_link: Where the changes since the last read are: opaque.
        version: The version that the records in the target have; None without ACTIVATE_VERSION.
        query: What the last full read asked for.
        may_be_spent: Whether a run has begun to follow the link, so that SAC may count it as read.
    """

    delta_link: str
    version: int | None
    query: DeltaQuery
    may_be_spent: bool = False

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Bookmark | None:
        """Read a stream's state; None if it has no delta link, or was tampered with."""
        link, version, query, may_be_spent = map(state.get, _STATE_KEYS)
        if not (
            isinstance(link, str)
            and _is_url(link)
            and (version is None or is_version(version))
            and isinstance(query, dict)
        ):
            return None
        asked: dict[str, Any] = {field.name: query.get(field.name) for field in fields(DeltaQuery)}
        return cls(link, version, DeltaQuery(**asked), may_be_spent is True)

    def to_state(self) -> dict[str, Any]:
        """Return what the state of the stream gets."""
        values = (self.delta_link, self.version, asdict(self.query), self.may_be_spent)
        return dict(zip(_STATE_KEYS, values, strict=True))

    @staticmethod
    def remove_from(state: dict[str, Any]) -> None:
        """Take a bookmark out of the state of a stream."""
        for name in _STATE_KEYS:
            state.pop(name, None)

    @property
    def subscription_id(self) -> str | None:
        """The subscription that the link stands for; ``first-<id>`` is seen for new ones."""
        values = parse_qs(urlsplit(self.delta_link).query).get("deltaid", [])
        return values[0].removeprefix(_FIRST) if values else None


def is_version(value: object) -> TypeGuard[int]:
    """Return whether a value of a state can be a version."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LAST_VERSION


def _is_url(text: str) -> bool:
    try:
        urlsplit(text)
    except ValueError:
        return False
    return True


def was_read(bookmark: Bookmark, subscriptions: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the changes behind a link have been read, or may have been.

    They have if SAC lists its subscription as ended, with another one following it in the chain.
    If SAC does not list either, they may have been if a run began to follow the link.

    Args:
        bookmark: The link.
        subscriptions: As SAC lists them.
    """
    own_id = bookmark.subscription_id
    own = [item for item in subscriptions if item.get("SubscriptionID") == own_id]
    if not own:
        return bookmark.may_be_spent
    followers = {item.get("PreviousSubscriptionID") for item in subscriptions}
    return bool(own[0].get("EndTime")) and (bookmark.may_be_spent or own_id in followers)


def is_delta(context: str | None) -> bool:
    """Return whether a page with this context has changes, not full data."""
    return context is not None and context.endswith("$delta")


def deleted_id(row: Mapping[str, Any]) -> str | None:
    """Return the id of a deleted entity, or None for a row that is new or changed.

    Besides SAC's form, that of OData 4.01 is understood (``@removed``).
    """
    context = str(row.get("@odata.context") or row.get("@context") or "")
    if not context.endswith("$deletedEntity") and not {"@removed", "@odata.removed"} & row.keys():
        return None
    found = (row.get(name) for name in ("id", "@odata.id", "@id"))
    return next((value for value in found if isinstance(value, str)), "")


def read_key(entity_id: str, key: tuple[str, ...]) -> dict[str, str]:
    """Take the key columns out of an id such as ``FactData(Version='a',Date='202401')``.

    Quotes inside a literal are doubled; commas, parentheses and anything else stand for
    themselves. Whether the whole is percent-encoded is not documented: it counts as encoded if it
    reads as such.

    Args:
        entity_id: The id, with or without a URL before it.
        key: The columns that the key has.

    Raises:
        DeltaLostError: If the id does not name exactly these columns.
    """
    is_encoded = "%" in entity_id and not _UNENCODED.search(entity_id)
    if is_encoded and (values := _parse_predicate(unquote(entity_id), key)):
        return values
    if values := _parse_predicate(entity_id, key):
        return {name: unquote(value) for name, value in values.items()} if is_encoded else values
    msg = f"the id of a deleted entity cannot be understood ({entity_id[:200]!r})"
    raise DeltaLostError(msg)


def _parse_predicate(text: str, key: tuple[str, ...]) -> dict[str, str] | None:
    """Read ``Name(A='a',B=1)`` or, where the key has one column, ``Name('a')``."""
    start = _predicate_start(text)
    if start < 0 or not text.endswith(")"):
        return None
    end = len(text) - 1
    if len(key) == 1 and (only := _ONLY_VALUE.fullmatch(text, start, end)):
        return {key[0]: _literal(only["value"])}
    values: dict[str, str] = {}
    position = start
    while match := _KEY_VALUE.match(text, position, end):
        if match["name"] in values:
            return None
        values[match["name"]] = _literal(match["value"])
        position = match.end()
        if position == end:
            return values if values.keys() == set(key) else None
        if text[position] != ",":
            return None
        position += 1
    return None


def _predicate_start(text: str) -> int:
    """Find where the predicate begins: behind the first parenthesis of the last path segment."""
    path_end = min((position for position in map(text.find, "('") if position >= 0), default=-1)
    return path_end + 1 if path_end >= 0 and text[path_end] == "(" else -1


def _literal(text: str) -> str:
    return text[1:-1].replace("''", "'") if text.startswith("'") else text
