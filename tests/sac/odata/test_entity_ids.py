"""The ids of deleted entities."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tap_sac.sac.errors import DeltaLostError
from tap_sac.sac.odata.entity_ids import EntityIds

NAMES = st.lists(
    st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8),
    unique=True,
    min_size=1,
    max_size=4,
)


VALUES = st.text(st.characters(codec="utf-8"), max_size=12)


def read_id(entity_id: str, key: dict[str, str], *changed: dict[str, Any]) -> dict[str, Any]:
    """Read the id of a deleted entity, in an answer with these changed rows."""
    ids = EntityIds(key)
    for row in changed:
        ids.learn(row)
    return ids.read(entity_id)


AB = {"A": "Edm.String", "B": "Edm.String"}


@given(
    data=st.data(),
    names=NAMES,
    encoding=st.sampled_from([None, "()=,'", ""]),
    prefix=st.sampled_from(["", "https://a.example/b/c/"]),
)
def test_key_of_a_deleted_entity_survives_its_id(
    data: st.DataObject, names: list[str], encoding: str | None, prefix: str
) -> None:
    key = {name: data.draw(VALUES) for name in names}
    other = {name: data.draw(VALUES) for name in names}

    def id_of(values: dict[str, str]) -> str:
        literals = [
            f"{name}='{value.replace(chr(39), chr(39) * 2)}'" for name, value in values.items()
        ]
        entity_id = f"FactData({','.join(literals)})"
        return prefix + (entity_id if encoding is None else quote(entity_id, safe=encoding))

    types = dict.fromkeys(names, "Edm.String")
    changed = {"@odata.id": id_of(other), **other}
    try:
        found = read_id(id_of(key), types, changed)
    except DeltaLostError:  # Nothing in the changed row told how ids are written.
        assert "%" in id_of(key)
        return
    assert found == key


@pytest.mark.parametrize(
    ("entity_id", "expected"),
    [
        ("FactData(A='O''Neil',B='x')", {"A": "O'Neil", "B": "x"}),
        ("FactData(A='a,b',B='c)d(e=f')", {"A": "a,b", "B": "c)d(e=f"}),
        ("FactData(A='O%27Neil',B='x y')", {"A": "O%27Neil", "B": "x y"}),
        ("FactData(A='50%',B='é %41')", {"A": "50%", "B": "é %41"}),
        ("FactData(A=%27x%27,B=%27y%20z%27)", {"A": "x", "B": "y z"}),
        ("FactData(B=12, A='x')", {"A": "x", "B": "12"}),
        ("https://h/p/FactData(A='',B='#')", {"A": "", "B": "#"}),
        ("FactData(A=null,B='null')", {"A": None, "B": "null"}),
    ],
)
def test_ids_of_deleted_entities(entity_id: str, expected: dict[str, str]) -> None:
    assert read_id(entity_id, AB) == expected


GUID = "21ec2020-3aea-1069-a2dd-08002b30309d"


@pytest.mark.parametrize(
    ("edm_type", "literal", "expected"),
    [
        ("Edm.Boolean", "true", True),
        ("Edm.Int32", "12", 12),
        ("Edm.Int64", "-9007199254740993", -9007199254740993),
        ("Edm.Decimal", "1.50", Decimal("1.5")),
        ("Edm.Date", "2026-11-02", "2026-11-02"),
        ("Edm.DateTimeOffset", "2026-11-02T05:12:44.123Z", "2026-11-02T05:12:44.123Z"),
        (
            "Edm.Guid",
            "21ec2020-3aea-1069-a2dd-08002b30309d",
            "21ec2020-3aea-1069-a2dd-08002b30309d",
        ),
        ("Edm.String", "202401", "202401"),
        ("Edm.Boolean", "maybe", None),
        ("Edm.Int32", "twelve", None),
        ("Edm.Decimal", "INF", None),
        ("Edm.String", "true", None),
        ("Edm.String", "Actual", None),
    ],
)
def test_literals_are_read_by_the_type_of_their_column(
    edm_type: str, literal: str, expected: object
) -> None:
    key = {"A": edm_type, "B": "Edm.String"}
    if expected is None:
        with pytest.raises(DeltaLostError):
            read_id(f"F(A={literal},B='x')", key)
    else:
        assert read_id(f"F(A={literal},B='x')", key) == {"A": expected, "B": "x"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"@odata.id": "F(A='a%20b',B='x')", "A": "a b", "B": "x"}, {"A": "50%", "B": "y"}),
        ({"@odata.id": "F(A='a%20b',B='x')", "A": "a%20b", "B": "x"}, {"A": "50%25", "B": "y"}),
        ({"@odata.id": "F(A='a b',B='x')", "A": "a b", "B": "x"}, {"A": "50%25", "B": "y"}),
        ({"@odata.id": "F(A='a',B='x')", "A": "a", "B": "x"}, None),
        ({"A": "a", "B": "x"}, None),
    ],
)
def test_changed_rows_show_whether_ids_are_encoded(
    changed: dict[str, Any], expected: dict[str, str] | None
) -> None:
    if expected:
        assert read_id("F(A='50%25',B='y')", AB, changed) == expected
    else:
        with pytest.raises(DeltaLostError, match="it may be percent-encoded"):
            read_id("F(A='50%25',B='y')", AB, changed)


@pytest.mark.parametrize("broken", ["F(A='%zz',B='y')", "F(A='%ff',B='y')", "F(A='%',B='y')"])
def test_percent_signs_are_decoded_strictly(broken: str) -> None:
    encoded = {"@odata.id": "F(A='a%20b',B='x')", "A": "a b", "B": "x"}
    with pytest.raises(DeltaLostError, match="cannot be parsed"):
        read_id(broken, AB, encoded)


def test_id_with_a_single_key_may_leave_out_its_name() -> None:
    assert read_id("S('a''b')", {"ID": "Edm.String"}) == {"ID": "a'b"}
    assert read_id("S(ID='a')", {"ID": "Edm.String"}) == {"ID": "a"}


@given(st.text(max_size=40))
@example("FactData(A='x',A='y')")
@example("FactData(A='x'")
@example("FactData(A='x',)")
@example("FactData(A='x',B='y',A='z')")
@example("FactData(A='x',B='y',C='z')")
def test_id_that_does_not_match_the_key_means_lost_changes(entity_id: str) -> None:
    with pytest.raises(DeltaLostError):
        read_id(entity_id, AB)
