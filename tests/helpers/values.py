"""Values at the limits of their types, as JSON has them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

GUID = "21ec2020-3aea-1069-a2dd-08002b30309d"
# As JSON has them. tests/end_to_end/test_pipelines.py loads all of them into PostgreSQL.
KEPT = {
    "Edm.Date": ['"0001-01-01"', '"1900-02-28"', '"2000-02-29"', '"2024-02-29"', '"9999-12-31"'],
    "Edm.DateTimeOffset": [
        '"0001-01-01T00:00:00Z"',
        '"0001-01-01T00:00:00+14:00"',
        '"2024-02-29T23:59:59.123456789012Z"',
        '"2026-11-02T05:12:44.1-12:00"',
        '"2026-11-02T05:12:44+15:59"',
        '"9999-12-31T23:59:59.999999999999Z"',
        '"9999-12-31T23:59:59-14:00"',
    ],
    "Edm.TimeOfDay": ['"00:00:00"', '"07:59:59.9"', '"23:59:59.999999999999"'],
    "Edm.Guid": [f'"{GUID}"', f'"{GUID.upper()}"', f'"{GUID.replace("2", "0")}"'],
    "Edm.Byte": ["0", "255"],
    "Edm.SByte": ["-128", "127"],
    "Edm.Int16": ["-32768", "32767"],
    "Edm.Int32": ["-2147483648", "2147483647"],
    "Edm.Int64": ["-9223372036854775808", "9223372036854775807"],
    "Edm.Double": [308 * "9", "1.7976931348623157e308", "-5e-324"],
    "Edm.Single": ["3.4028235e38", "1.17549435e-38"],
    "Edm.Decimal": ["-999999999999999999999999.9999999", "0.0000001"],
    "Edm.Boolean": ["true", "false"],
    "Edm.Binary": ['"T0RhdGE="', '"T0RhdGE"'],
    "Edm.Duration": ['"P12DT23H59M59.999999999999S"', '"-PT0S"'],
    "Edm.String": ['""', '"2024-02-30"', '"\\ud83d\\ude00"', json.dumps(10_000 * "x")],
}
RESPELLED: dict[str, dict[str, Any]] = {"Edm.Byte": {'"255"': 255, "255.0": 255}}
# JSON of any kind.
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
