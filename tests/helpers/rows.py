"""Rows with values of every kind, and what the tap writes of them."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import re
from typing import Any

from hypothesis import strategies as st

from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.helpers.stand_in import Model, StandIn, edmx

texts = st.text(st.characters(codec="utf-8"), max_size=5).map(json.dumps)
decimals = st.decimals(allow_nan=False, allow_infinity=False).map(str)
values = st.one_of(
    st.just("null"),
    st.sampled_from(["-0", "0.0000000", "1E5", "true", '"7.50"', '"NaN"', "[]", "1.0", '"-0"']),
    st.sampled_from(["1.50000000", "-0.12345678", "0.000000000", "15E-8", '"1.1234567001"']),
    texts,
    st.integers().map(str),
    decimals,
)
# Mostly zeros: behind the seventh digit, they make the difference.
long_decimals = st.from_regex(r"-?(0|[1-9]0)\.0{5}[0-2]{2}0{0,4}[01]?", fullmatch=True)
day_like = st.from_regex(r'"(2024|2023|1900|0000)-(02|04)-(0[01]|28|29|30|31)"', fullmatch=True)
time_like = st.from_regex(
    r'"(2024-02-29|2023-02-29|0000-01-01|0001-01-01|9999-12-31)[T t](23|24):59(:(59|60))?'
    r'(\.[09]{1,13})?(Z|z|[+-](14|15|16):00|)"',
    fullmatch=True,
)
TWISTS = {
    "ID": st.just('"k"') | values,
    "TEXT": texts | values,
    "AMOUNT": decimals | values,
    "NUMBER": decimals | values,
    "COUNT": st.integers().map(str) | values,
    "FLAG": st.sampled_from(["true", "false", "null"]) | values,
    "DAY": st.dates().map(lambda day: f'"{day}"') | day_like | values,
    "AT": time_like | values,
    "BYTE": st.integers(-1, 256).map(str) | values,
    "RATE": st.sampled_from([308 * "9", 309 * "9", "1e308", "1e309"]) | values,
}
usual_rows = st.fixed_dictionaries(
    {
        "ID": st.just('"k"'),
        "NUMBER": st.sampled_from(["1", "-2.0", "0.0000000"]) | st.just("null"),
        "AMOUNT": st.sampled_from(["1.50", "-0.1", "null"]) | long_decimals,
        "TEXT": texts,
    },
    optional={
        "COUNT": st.sampled_from(["1", "null"]),
        "DAY": st.sampled_from(['"2024-02-29"', "null"]),
        "AT": st.sampled_from(
            ['"2026-11-02T05:12:44.123Z"', '"2026-11-02T05:12:44+01:00"', "null"]
        ),
        "BYTE": st.sampled_from(["0", "255", "null"]),
        "RATE": st.sampled_from(["0.1", "null"]),
    },
)
unusual_rows = st.fixed_dictionaries({}, optional={**TWISTS, "NEW": values, "@odata.id": texts})


COLUMNS = {
    "ID": "Edm.String*",
    "NUMBER": "Edm.Decimal*",
    "TEXT": "Edm.String",
    "AMOUNT": "Edm.Decimal",
    "COUNT": "Edm.Int64",
    "FLAG": "Edm.Boolean",
    "DAY": "Edm.Date",
    "AT": "Edm.DateTimeOffset",
    "BYTE": "Edm.Byte",
    "RATE": "Edm.Double",
}


def row_text(row: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}:{value}" for name, value in row.items()) + "}"


def one_column(type_name: str, *values: str) -> StandIn:
    """Serve a set with a key and one more column, whose values are JSON text."""
    columns = {"ID": "Edm.String*", "X": type_name}
    rows = [f'{{"ID":"{number}","X":{value}}}' for number, value in enumerate(values)]
    return StandIn(Model("C4T", "T", edmx(S=columns), {"S": rows}))


def outcome(config: dict[str, Any], state: dict[str, Any] | None = None) -> list[str] | str:
    """Return the lines of a run, but for their times, or why it failed."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            TapSAC(config=config, state=copy.deepcopy(state)).sync_all()
        except SACError as error:
            return re.sub(r"127.0.0.1:\d+", "host", str(error))
    changing = r'"(version|time_extracted|_sdc_deleted_at)":("[^"]*"|\d+)'
    return [re.sub(changing, "", line) for line in output.getvalue().split("\n")]
