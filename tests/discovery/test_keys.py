"""The keys of sets that are made of facts, whatever ``$metadata`` says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import discover
from tests.helpers.stand_in import Model, StandIn, edmx

if TYPE_CHECKING:
    from tests.conftest import Serve

FACTS = {"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"}


def entry(serve: Serve, stream: str, **sets: dict[str, str]) -> dict[str, Any]:
    """Discover a stream of a model with these sets."""
    config = serve(StandIn(Model("C4A", "A", edmx(**sets))))
    found: dict[str, Any] = discover(config)[f"a_{stream}"]
    return found


def keyed(*key: str, **columns: str) -> dict[str, str]:
    """Write columns, those of the key with a star."""
    types = {name: type_.rstrip("*") for name, type_ in {**FACTS, **columns}.items()}
    return {name: f"{type_}*" if name in key else type_ for name, type_ in types.items()}


def without_date(*key: str) -> dict[str, str]:
    return {name: type_ for name, type_ in keyed(*key).items() if name != "Date"}


@pytest.mark.parametrize(
    ("sums", "key"),
    [
        (keyed(), ["Version", "Date"]),
        (keyed("Date", "Version"), ["Version", "Date"]),
        (keyed("Version"), ["Version", "Date"]),
        (keyed("AMOUNT"), ["Version", "Date"]),
        (keyed("Version", "AMOUNT", Text="Edm.Decimal"), ["Version", "Date"]),
        (without_date(), ["Version"]),
        (keyed("Region", Region="Edm.String"), ["Version", "Date", "Region"]),
    ],
)
def test_sums_have_the_key_of_facts(serve: Serve, sums: dict[str, str], key: list[str]) -> None:
    found = entry(
        serve,
        "fact_data_aggregation",
        FactData=FACTS,
        FactDataAggregation=sums,
    )
    assert list(found["key_properties"]) == key
    properties = found["schema"]["properties"]
    assert all(properties[name]["type"] == "string" for name in key)
    assert "null" in properties["AMOUNT"]["type"]


@pytest.mark.parametrize("key", [[], ["Version"]])
def test_sums_of_a_model_whose_facts_have_no_key_have_their_own(
    serve: Serve, key: list[str]
) -> None:
    for sets in ({}, {"FactData": keyed()}):
        found = entry(
            serve,
            "fact_data_aggregation",
            FactDataAggregation=keyed(*key),
            **sets,
        )
        assert list(found["key_properties"]) == key


@pytest.mark.parametrize("key", [[], ["Version"], ["Version", "Date"]])
@pytest.mark.parametrize("sets", [{}, {"FactData": FACTS}, {"FactData": keyed()}])
def test_differences_have_none(
    serve: Serve, key: list[str], sets: dict[str, dict[str, str]]
) -> None:
    found = entry(
        serve,
        "fact_data_difference",
        FactDataDifference=keyed(*key),
        **sets,
    )
    assert list(found["key_properties"]) == []
    assert found["replication_method"] == "LOG_BASED"


def test_dimensions_of_differences_cannot_be_deselected(serve: Serve) -> None:
    found = entry(
        serve,
        "fact_data_difference",
        FactData=FACTS,
        FactDataDifference=keyed(),
    )
    inclusions = {
        item["breadcrumb"][1]: item["metadata"]["inclusion"]
        for item in found["metadata"]
        if item["breadcrumb"]
    }
    assert (inclusions["Version"], inclusions["Date"]) == ("automatic", "automatic")
    assert inclusions["AMOUNT"] == "available"
