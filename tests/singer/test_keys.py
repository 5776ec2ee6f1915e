"""Keys are the same from rows read at once and one by one, wherever their columns are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from tap_sac.sac.odata.model import EntitySet, Property
from tap_sac.sac.odata.pages import read_rows
from tap_sac.singer.records import RecordMaker
from tap_sac.singer.schema import json_schema

if TYPE_CHECKING:
    from tap_sac.singer.keys import Keys

COLUMNS = (
    Property("A", "Edm.String"),
    Property("B", "Edm.String"),
    Property("C", "Edm.String"),
    Property("D", "Edm.String"),
    Property("X", "Edm.Decimal"),
    Property("N", "Edm.Int64"),
    Property("E", "Edm.String"),
    Property("DAY", "Edm.Date"),
)
ROWS = [
    {"A": a, "B": b, "C": c, "D": "d", "X": x, "N": n, "E": a, "DAY": f"2026-01-0{day}"}
    for a, b, c in [("a", "b", "c"), ("b", "a", "c"), ("ab", "", "c"), ("a", "b", "\u00e9\n")]
    for x, n in [(1.5, -1), (2.5, -2)]
    for day in (1, 2)
]


@pytest.mark.parametrize(
    "key", ["A", "N", "DAY", "A B", "B A", "A C B D", "A B D", "B E", "A B C X N E DAY", "X N"]
)
def test_rows_have_the_same_key_if_their_key_columns_are_the_same(key: str) -> None:
    names = tuple(key.split())
    entity_set = EntitySet("S", COLUMNS, names)
    schema = json_schema(entity_set, use_singer_decimal=False)
    columns = [column.name for column in COLUMNS]
    seen: list[Keys] = []
    maker = RecordMaker(entity_set, schema, columns, on_keys=seen.append)
    items = [msgspec.Raw(json.dumps(row).encode()) for row in ROWS]
    list(maker.records(read_rows(items, "SAC's answer")))
    one_by_one = [(key, *keys.hashes) for keys in seen for key in keys]
    seen.clear()
    maker.lines(items, "SAC's answer")
    maker.columns(items, "SAC's answer")
    assert len(seen) == 2
    for keys in seen:
        assert [*zip(keys, keys.hashes, strict=True)] == one_by_one
    values = {tuple(row[name] for name in names) for row in ROWS}
    assert len({*seen[0].hashes}) == len({*seen[0]}) == len(values)
