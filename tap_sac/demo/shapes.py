"""Makes models with the shapes in a report, and made-up members and figures."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tap_sac.demo.tables import AUDIT, FACTS, MASTER_DATA, TRACKABLE, Column, Model, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tap_sac.demo.tables import Row, Value

Shape = dict[str, Any]

_MASTER = re.compile(r"(.+?)Master(?:WithHierarchy)?")
_INTEGERS = ("Byte", "SByte", "Int16", "Int32", "Int64")
_FEW = 20  # the number of rows of sets whose count is unknown


def model_of(shape: Shape, rows: int, kinds: Collection[str]) -> Model:
    """Make a model with the shape in a report.

    Args:
        shape: The shape in the report.
        rows: The number of facts.
        kinds: The values of its measures: nulls, numbers, or both in turn.
    """
    sets = {item["name"]: item for item in shape.get("sets", ())}
    facts_set = sets.get(FACTS, {})
    key = facts_set.get("key", [])
    members = max(2, math.ceil(rows ** (1 / max(1, len(key)))))
    facts: list[Row] = [{} for _ in range(rows if facts_set else 0)]
    for place, text in enumerate(facts_set.get("columns", ())):
        name = text.split()[0]
        for number, row in enumerate(facts):
            is_null = "nulls" in kinds and (place + number) % len(kinds) == 0
            row[name] = None if is_null else _value(text, number)
            if name in key:
                row[name] = _member(name, number // members ** key.index(name) % members)
    tables = tuple(_table(item, key, members, facts) for item in sets.values())
    return Model(shape["name"], shape["name"], "", shape["namespace_id"], tables)


def _member(dimension: str, number: int) -> str:
    if dimension == "Version":
        return f"public.V{number}"
    return f"{2000 + number // 12}{number % 12 + 1:02}" if dimension == "Date" else f"M{number}"


def _table(item: Shape, key: Sequence[str], members: int, facts: list[Row]) -> Table:
    name, texts = item["name"], item.get("columns", [])
    of_facts = name in TRACKABLE
    keys = key if of_facts else item.get("key", [])
    named = [text.split()[:2] for text in texts]
    columns = tuple(Column(name, kind, is_key=name in keys) for name, kind in named)
    if of_facts or name == MASTER_DATA:
        widen = None if of_facts else lambda fact: _widened(fact, columns)
        return Table(name, columns, facts, is_made_of_facts=True, widen=widen)
    match = _MASTER.fullmatch(name)
    dimension = match[1] if match else ""
    known: list[Row] = facts[:_FEW]
    if name != AUDIT:
        places = range(members if match else _FEW)
        known = [{key: _member(dimension, place) for key in keys} for place in places]
    rows = [_row(row, texts, place, dimension) for place, row in enumerate(known)]
    return Table(name, columns, rows, dimension=dimension or None)


def _widened(fact: Row, columns: Iterable[Column]) -> Row:
    """Make a row of MasterData, whose columns are named after dimensions and attributes."""
    row: Row = {}
    for column in columns:
        dimension, _, attribute = re.sub(r"___|\.", "\0", column.name, count=1).partition("\0")
        value = fact.get(dimension)
        row[column.name] = value if attribute in {"", "ID"} else f"{value} {attribute}"
    return row


def _row(known: Row, texts: Iterable[str], place: int, dimension: str) -> Row:
    """Complete a row; the first member is the root, and the parent of all others."""
    row: Row = {}
    for text in texts:
        name = text.split()[0]
        if name.endswith("_PARENTID"):
            row |= {name: _member(dimension, 0)} if place else {}
        else:
            is_known = name in known and text.split()[1] == "Edm.String"
            row[name] = known[name] if is_known else _value(text, place)
    return row


def _value(text: str, number: int) -> Value:
    """Make a value with the type and scale of a column; decimals end with zeros."""
    name, kind, *words = text.split()
    kind = kind.removeprefix("Edm.")
    if kind in {"Decimal", "Double", "Single"}:
        scale = next((int(word[6:]) for word in words if re.fullmatch(r"Scale=\d+", word)), 1)
        return Decimal(2 * number + 1).quantize(Decimal(1).scaleb(-scale))
    if kind in {*_INTEGERS, "Boolean"}:
        return number % 100 if kind in _INTEGERS else number % 2 == 1
    day = f"2026-11-{number % 28 + 1:02}"
    return {"Date": day, "DateTimeOffset": f"{day}T05:00:00.000Z"}.get(kind, f"{name} {number}")
