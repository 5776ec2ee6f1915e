"""Reads the keys of deleted entities from their IDs (OData URL Conventions 4.0, 4.3.1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

from tap_sac.sac.errors import DeltaLostError
from tap_sac.sac.odata.decimals import ExactDecimal
from tap_sac.sac.odata.model import NUMBERS
from tap_sac.safety.masks import excerpt

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_KEY_VALUE = re.compile(r"\s*(?P<name>[^\s=',()]+)\s*=\s*(?P<value>'(?:[^']|'')*'|[^',()\s]+)\s*")
_ONLY_VALUE = re.compile(r"\s*(?P<value>'(?:[^']|'')*'|[^',()=\s]+)\s*")
_UNENCODED = re.compile(r"[^!-~]|%(?![0-9A-Fa-f]{2})")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DIGITS = re.compile(r"[0-9]+")
# Types whose literals have no quotes.
_BARE_TEXTS = {"Edm.Date", "Edm.DateTimeOffset", "Edm.Guid", "Edm.TimeOfDay"}
_LONGEST_ID_SHOWN = 200


class EntityIds:
    """Reads the keys of deleted entities from their IDs, in the encoding that the response shows.

    An ID is ``FactData(Version='public.Actual',Date='202401')``, perhaps after a URL, with literals
    of OData URL Conventions 4.0, 5.1.1.6. Whether SAC percent-encodes them is not documented. The
    IDs of changed rows can be compared with their columns. If an ID stays ambiguous, the delta is
    lost: the tap does not guess.
    """

    def __init__(self, key: Mapping[str, str]) -> None:
        """Start a response, with the Edm type of each key column."""
        self._key = key
        self._is_encoded: bool | None = None

    def learn(self, row: Mapping[str, Any]) -> None:
        """Learn from a changed row how IDs are encoded."""
        entity_id = next((row[name] for name in ("@odata.id", "@id") if name in row), None)
        if self._is_encoded is not None or not isinstance(entity_id, str):
            return
        key = {name: row.get(name) for name in self._key}
        fits = [form for form in (False, True) if self._read(entity_id, is_encoded=form) == key]
        if len(fits) == 1:
            self._is_encoded = fits[0]

    def read(self, entity_id: str) -> dict[str, Any]:
        """Read the key from the ID of a deleted entity.

        Raises:
            DeltaLostError: If it does not have exactly the key columns, or is ambiguous.
        """
        shown = excerpt(repr(entity_id), _LONGEST_ID_SHOWN)
        forms = (False, True) if self._is_encoded is None else (self._is_encoded,)
        found = [key for form in forms if (key := self._read(entity_id, is_encoded=form))]
        if not found:
            msg = f"the id of a deleted entity cannot be parsed ({shown})"
            raise DeltaLostError(msg)
        if any(key != found[0] for key in found):
            msg = f"the id of a deleted entity is ambiguous: it may be percent-encoded ({shown})"
            raise DeltaLostError(msg)
        return found[0]

    def _read(self, entity_id: str, *, is_encoded: bool) -> dict[str, Any] | None:
        """Read an ID in one encoding; None if it cannot have that encoding."""
        literals: dict[str, str] | None = None
        try:
            if not is_encoded:
                literals = _parse_predicate(entity_id, self._key)
            elif not _UNENCODED.search(entity_id):
                literals = _parse_predicate(unquote(entity_id, errors="strict"), self._key)
                if literals is None and (literals := _parse_predicate(entity_id, self._key)):
                    literals = {
                        name: unquote(text, errors="strict") for name, text in literals.items()
                    }
            if literals is None:
                return None
            return {name: _value(text, self._key[name]) for name, text in literals.items()}
        except ValueError:  # Also of an encoding.
            return None


def _parse_predicate(text: str, key: Collection[str]) -> dict[str, str] | None:
    """Split ``Name(A='a',B=1)``, or ``Name('a')`` for a single key column, into literals."""
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
    """Find the start of the predicate: after the first parenthesis of the last path segment."""
    path_end = min((position for position in map(text.find, "('") if position >= 0), default=-1)
    return path_end + 1 if path_end >= 0 and text[path_end] == "(" else -1


def _value(literal: str, edm_type: str) -> Any:  # noqa: ANN401  (of a key)
    """Read the literal of a key column; raises a ValueError if it does not have the type."""
    if literal == "null":
        return None
    is_text = literal.startswith("'")
    text = literal[1:-1].replace("''", "'") if is_text else literal
    if edm_type == "Edm.Boolean":
        return {"true": True, "false": False}[text] if text in {"true", "false"} else _refuse()
    if edm_type in NUMBERS:
        return ExactDecimal(text) if _NUMBER.fullmatch(text) else _refuse()
    if edm_type in _BARE_TEXTS or is_text or _DIGITS.fullmatch(text):
        return text  # SAC also writes months as numbers.
    return _refuse()


def _refuse() -> NoReturn:
    raise ValueError
