"""Change tracking: what an answer to a delta link says, and what must be kept to ask again.

SAP Help, "SAP Analytics Cloud REST API", describes changes as rows with all columns, and deleted
entities as ``{"@odata.context": "#FactData/$deletedEntity", "id": "FactData(Date='202401')"}``,
which is the form of OData JSON Format 4.0, 14.2.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard
from urllib.parse import parse_qs, unquote, urlsplit

from tap_sac.sac.errors import DeltaLostError
from tap_sac.sac.odata.decimals import ExactDecimal
from tap_sac.safety.masks import has_control_characters, masked, reveals

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_KEY_VALUE = re.compile(r"\s*(?P<name>[^\s=',()]+)\s*=\s*(?P<value>'(?:[^']|'')*'|[^',()\s]+)\s*")
_ONLY_VALUE = re.compile(r"\s*(?P<value>'(?:[^']|'')*'|[^',()=\s]+)\s*")
_UNENCODED = re.compile(r"[^!-~]|%(?![0-9A-Fa-f]{2})")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DIGITS = re.compile(r"[0-9]+")
_NUMBERS = {
    *("Edm.Byte", "Edm.SByte", "Edm.Int16", "Edm.Int32", "Edm.Int64"),
    *("Edm.Decimal", "Edm.Double", "Edm.Single"),
}
# Types whose literals have no quotes.
_BARE_TEXTS = {"Edm.Date", "Edm.DateTimeOffset", "Edm.Guid", "Edm.TimeOfDay"}
_LONGEST_ID_SHOWN = 200
_FIRST = "first-"
_LAST_VERSION = 2**63 - 1
# Names in states that older runs have written: they stay as they are.
_STATE_KEYS = ("delta_link", "version", "question", "is_followed", "signature")


@dataclass(frozen=True)
class DeltaQuery:
    """What a chain of changes is about: another query needs another chain.

    Attributes:
        key: The key columns.
        columns: The columns that are read.
        filter: The ``$filter`` that is sent.
        tables: The tables that have the rows, each with its key; None in older states.
    """

    key: list[str]
    columns: list[str]
    filter: str | None
    tables: list[tuple[str, list[str]]] | None = None

    def difference(self, other: DeltaQuery) -> str | None:
        """Say what another query asks differently; None if nothing but the order of columns."""
        for name, label in (("key", "key"), ("columns", "selected columns"), ("filter", "filter")):
            before, after = getattr(self, name), getattr(other, name)
            if _unordered(before) != _unordered(after):
                hint = ", for which targets need a new table" if name == "key" else ""
                return f"the {label} changed from {before} to {after}{hint}"
        if self.tables and _unordered(self.tables) != _unordered(other.tables):
            return "stream_maps gives its table another name or key, so it lacks the earlier rows"
        return None


@dataclass(frozen=True)
class Bookmark:
    """What a LOG_BASED stream keeps between two runs, in its state.

    Attributes:
        delta_link: Where the changes since the last read are: opaque.
        version: The version that the records in the target have; None without ACTIVATE_VERSION.
        query: What the last full read asked for.
        may_be_spent: Whether a run has begun to follow the link, so that SAC may count it as read.
        signature: What proves that this tap opened the chain (`SACClient.sign`); None in states
            that nobody signed.
    """

    delta_link: str
    version: int | None
    query: DeltaQuery
    may_be_spent: bool = False
    signature: str | None = None

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Bookmark | None:
        """Read a stream's state; None if it has no delta link, or was tampered with."""
        link, version, query, may_be_spent, signature = map(state.get, _STATE_KEYS)
        if not (
            isinstance(link, str)
            and _is_url(link)
            and not has_control_characters(link)
            and not reveals(link)
            and (version is None or is_version(version))
            and isinstance(query, dict)
        ):
            return None
        asked: dict[str, Any] = {field.name: query.get(field.name) for field in fields(DeltaQuery)}
        signature = signature if isinstance(signature, str) else None
        return cls(link, version, DeltaQuery(**asked), may_be_spent is True, signature)

    def to_state(self) -> dict[str, Any]:
        """Return what the state of the stream gets."""
        query = asdict(self.query)
        values = (self.delta_link, self.version, query, self.may_be_spent, self.signature)
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

    They have if SAC lists its subscription as ended, or another one that follows it in the chain.
    If SAC lists neither, they may have been if a run began to follow the link.

    Args:
        bookmark: The link.
        subscriptions: As SAC lists them.
    """
    own_id = bookmark.subscription_id
    if own_id is None:  # Then a list, in which a first subscription follows none, says nothing.
        return bookmark.may_be_spent
    own = [item for item in subscriptions if item.get("SubscriptionID") == own_id]
    followers = {item.get("PreviousSubscriptionID") for item in subscriptions}
    if own_id in followers or any(item.get("EndTime") for item in own):
        return True
    return not own and bookmark.may_be_spent


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


class EntityIds:
    """Reads the keys of deleted entities out of their ids, in the form that an answer shows.

    An id is ``FactData(Version='public.Actual',Date='202401')``, with or without a URL before it;
    literals are those of OData URL Conventions 4.0, 5.1.1.6. Whether SAC percent-encodes them is
    not documented. The ids of changed rows, which have their columns beside them, tell; what stays
    ambiguous is a lost delta and not a guess.
    """

    def __init__(self, key: Mapping[str, str]) -> None:
        """Begin an answer.

        Args:
            key: The Edm type of each key column.
        """
        self._key = key
        self._is_encoded: bool | None = None

    def learn(self, row: Mapping[str, Any]) -> None:
        """Look at a changed row, whose id may show how ids are written."""
        entity_id = next((row[name] for name in ("@odata.id", "@id") if name in row), None)
        if self._is_encoded is not None or not isinstance(entity_id, str):
            return
        key = {name: row.get(name) for name in self._key}
        fits = [form for form in (False, True) if self._read(entity_id, is_encoded=form) == key]
        if len(fits) == 1:
            self._is_encoded = fits[0]

    def read(self, entity_id: str) -> dict[str, Any]:
        """Take the key out of the id of a deleted entity.

        Raises:
            DeltaLostError: If it does not name exactly the key columns, or may mean two things.
        """
        shown = repr(masked(entity_id)[:_LONGEST_ID_SHOWN])
        forms = (False, True) if self._is_encoded is None else (self._is_encoded,)
        found = [key for form in forms if (key := self._read(entity_id, is_encoded=form))]
        if not found:
            msg = f"the id of a deleted entity cannot be understood ({shown})"
            raise DeltaLostError(msg)
        if any(key != found[0] for key in found):
            msg = f"the id of a deleted entity may be percent-encoded or not ({shown})"
            raise DeltaLostError(msg)
        return found[0]

    def _read(self, entity_id: str, *, is_encoded: bool) -> dict[str, Any] | None:
        """Read an id in one form; None if it cannot be of that form."""
        literals: dict[str, str] | None = None
        if not is_encoded:
            literals = _parse_predicate(entity_id, self._key)
        elif not _UNENCODED.search(entity_id):
            try:
                literals = _parse_predicate(unquote(entity_id, errors="strict"), self._key)
                if literals is None and (literals := _parse_predicate(entity_id, self._key)):
                    literals = {
                        name: unquote(text, errors="strict") for name, text in literals.items()
                    }
            except UnicodeDecodeError:
                return None
        if literals is None:
            return None
        try:
            return {name: _value(text, self._key[name]) for name, text in literals.items()}
        except ValueError:
            return None


def _unordered(value: object) -> object:
    """Make lists alike that differ in order, and in what JSON makes of tuples."""
    return sorted(map(json.dumps, value)) if isinstance(value, list) else value


def _parse_predicate(text: str, key: Collection[str]) -> dict[str, str] | None:
    """Split ``Name(A='a',B=1)`` or, where the key has one column, ``Name('a')`` into literals."""
    start = _predicate_start(text)
    if start < 0 or not text.endswith(")"):
        return None
    end = len(text) - 1
    if len(key) == 1 and (only := _ONLY_VALUE.fullmatch(text, start, end)):
        return {next(iter(key)): only["value"]}
    literals: dict[str, str] = {}
    position = start
    while match := _KEY_VALUE.match(text, position, end):
        if match["name"] in literals:
            return None
        literals[match["name"]] = match["value"]
        position = match.end()
        if position == end:
            return literals if literals.keys() == set(key) else None
        if text[position] != ",":
            return None
        position += 1
    return None


def _predicate_start(text: str) -> int:
    """Find where the predicate begins: behind the first parenthesis of the last path segment."""
    path_end = min((position for position in map(text.find, "('") if position >= 0), default=-1)
    return path_end + 1 if path_end >= 0 and text[path_end] == "(" else -1


def _value(literal: str, edm_type: str) -> Any:  # noqa: ANN401  (of a key)
    """Read a literal of a key column.

    Raises:
        ValueError: If it is not one of its type.
    """
    if literal == "null":
        return None
    is_text = literal.startswith("'")
    text = _unquoted(literal) if is_text else literal
    if edm_type == "Edm.Boolean":
        return {"true": True, "false": False}[text] if text in {"true", "false"} else _refuse()
    if edm_type in _NUMBERS:
        return ExactDecimal(text) if _NUMBER.fullmatch(text) else _refuse()
    if edm_type in _BARE_TEXTS or is_text or _DIGITS.fullmatch(text):
        return text  # SAC writes months as numbers, too.
    return _refuse()


def _unquoted(literal: str) -> str:
    return literal[1:-1].replace("''", "'")


def _refuse() -> NoReturn:
    raise ValueError
