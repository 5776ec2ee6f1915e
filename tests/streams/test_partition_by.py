"""The setting `partition_by`: what is said of it before anything is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sac.demo.odata_filter import parse_filter
from tap_sac.sac.errors import SACError
from tap_sac.sac.odata.conditions import both, equals
from tap_sac.sac.odata.model import Property
from tap_sac.sac.urls import with_query
from tests.conftest import discover, select
from tests.helpers.runs import run
from tests.helpers.slicing import FACTS, SLICED, SlicingStandIn
from tests.helpers.stand_in import Model, StandIn, edmx

if TYPE_CHECKING:
    from tests.conftest import RunCli, Serve

DOCUMENT = edmx(
    FactData={"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"},
    ProductMaster={"ID": "Edm.String*", "Colour": "Edm.String"},
    RegionMaster={"ID": "Edm.String*", "Level": "Edm.Int32"},
)


def settings(serve: Serve, **partition_by: str) -> dict[str, Any]:
    return {**serve(StandIn(Model("C4A", "A", DOCUMENT))), "partition_by": partition_by}


@pytest.mark.parametrize(
    ("pattern", "column", "told"),
    [
        ("a_fact_data", "Versoin", "'a_fact_data', which does not exist: did you mean Version?"),
        ("a_fact_data", "Days", "which does not exist: Version, Date can make slices."),
        ("a_fact_data", "AMOUNT", "which has no values to compare: Version, Date can make"),
        ("a_fact_dat", "Version", "partition_by has 'a_fact_dat', which matches no stream: did"),
        ("b_*", "Version", "partition_by has 'b_*', which matches no stream"),
        ("providers", "ProviderID", "'providers', which cannot be read in slices: remove"),
    ],
)
def test_setting_that_cannot_be_followed_is_an_error(
    serve: Serve, pattern: str, column: str, told: str
) -> None:
    with pytest.raises(SACError) as caught:
        discover(settings(serve, **{pattern: column}))
    assert told in str(caught.value)


def test_error_of_the_setting_is_a_sentence(serve: Serve, run_cli: RunCli) -> None:
    result = run_cli(settings(serve, a_fact_data="Versoin"), "--check")
    assert result.returncode == 1
    assert "did you mean Version?" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_column_that_some_streams_lack_is_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = settings(serve, **{"*": "Colour", "a_region_master": "Level"})
    catalog = discover(config)
    (told,) = [item.getMessage() for item in caplog.records if "in slices" in item.getMessage()]
    assert told == (
        "The setting partition_by names 'Colour' for '*', which does not exist in 1 of 2 matching "
        "streams, such as a_fact_data: these are not read in slices."
    )
    caplog.clear()
    _, failure = run(config, catalog=select(catalog, "a_region_master"))
    assert not failure
    assert "in 1 of 2 matching streams" not in caplog.text


def test_name_of_a_stream_counts_before_globs(serve: Serve) -> None:
    tenant = SlicingStandIn({"A": 1, "B": 1})
    partition_by = {"sales_*": "AMOUNT", "*_fact_data": "AMOUNT", **SLICED["partition_by"]}
    messages, failure = run({**serve(tenant), "partition_by": partition_by})
    assert not failure
    assert len(messages.records(FACTS)) == 2
    assert sorted(tenant.asked()) == ["Version eq 'A'", "Version eq 'B'"]


TEXT = Property("Version", "Edm.String")


@given(st.none() | st.text(st.characters(codec="utf-8")))
def test_condition_selects_the_value_alone(value: str | None) -> None:
    condition = equals(TEXT, value)
    keeps = parse_filter(f"Date eq '1' or ({condition})", ["Version", "Date"])
    assert keeps({"Version": value})
    assert not keeps({"Version": f"{value or ''}x"})
    assert value is None or not keeps({"Version": None})
    url = with_query("https://acme.example/FactData", {"$filter": condition})
    assert url.isascii()


@pytest.mark.parametrize(
    ("column_type", "value", "expected"),
    [
        ("Edm.String", "it's #1", "C eq 'it''s #1'"),
        ("Edm.String", "", "C eq ''"),
        ("Edm.String", None, "C eq null"),
        ("Edm.Int32", -5, "C eq -5"),
        ("Edm.Date", "2026-01-31", "C eq 2026-01-31"),
    ],
)
def test_condition_is_written_as_odata_has_it(
    column_type: str, value: str | int | None, expected: str
) -> None:
    assert equals(Property("C", column_type), value) == expected


@pytest.mark.parametrize(
    ("column_type", "value"),
    [("Edm.String", 5), ("Edm.Int32", "5"), ("Edm.Int32", True), ("Edm.Date", "x or 1 eq 1")],
)
def test_value_of_another_type_is_not_a_condition(column_type: str, value: str | int) -> None:
    with pytest.raises(ValueError, match="is not a value of C"):
        equals(Property("C", column_type), value)


def test_filter_of_the_user_is_put_in_parentheses() -> None:
    assert both("A eq 'a' or B eq 'b'", "C eq null") == "(A eq 'a' or B eq 'b') and C eq null"
    assert both(None, "C eq null") == "C eq null"
