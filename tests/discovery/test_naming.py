"""Stream names: readable, unique, and independent of order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sac.discovery.naming import model_of, model_prefixes, snake_case, stream_names
from tap_sac.sac.odata.model import Provider

if TYPE_CHECKING:
    from random import Random


def named(*models: tuple[str, str], by_id: bool = False) -> dict[str, str]:
    """Name models, given as pairs of id and name; returns prefixes by id."""
    providers = [Provider("sac", model_id, name) for model_id, name in models]
    prefixes = model_prefixes(providers, by_id=by_id)
    return {provider.provider_id: prefix for provider, prefix in prefixes.items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Sales Planning", "sales_planning"),
        ("CostCenterMasterWithHierarchy", "cost_center_master_with_hierarchy"),
        ("XX_COSTCENTERMaster", "xx_costcenter_master"),
        ("FactData", "fact_data"),
        ("CostCenter___Distinct", "cost_center_distinct"),
        ("P&L (EUR) - 2026!", "p_l_eur_2026"),
        ("Größe Übersicht", "grosse_ubersicht"),
        ("SAP_FI_IFP", "sap_fi_ifp"),
        ("SHORT10K", "short10k"),
        ("SHORT10KMaster", "short10k_master"),
        ("Budget2026EUR", "budget2026_eur"),
        ("Q1Sales", "q1_sales"),
        ("C4K2M9", "c4k2m9"),
        ("Smørrebrød Łódź", "smorrebrod_lodz"),
        ("予算", ""),
    ],
)
def test_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


def test_models_of_one_name_all_get_their_ids() -> None:
    assert named(("C4BUDGETA", "Budget"), ("C4BUDGETB", "budget!"), ("C4X", "Sales")) == {
        "C4BUDGETA": "budget_c4budgeta",
        "C4BUDGETB": "budget_c4budgetb",
        "C4X": "sales",
    }


def test_name_without_ascii_falls_back_to_the_id() -> None:
    assert named(("C4K2M9", "予算"), ("C4K2M8", "")) == {"C4K2M9": "c4k2m9", "C4K2M8": "c4k2m8"}


def test_ids_instead_of_names() -> None:
    assert named(("C4K2M9", "Sales"), by_id=True) == {"C4K2M9": "c4k2m9"}


def test_set_that_looks_like_another_models_gets_its_own_models_id() -> None:
    one, other = Provider("sac", "C4A", "Sales"), Provider("sac", "C4B", "Sales Planning")
    prefixes = model_prefixes([one, other], by_id=False)
    sets = [(one, "PlanningCostCenterMaster"), (other, "CostCenterMaster"), (one, "FactData")]
    assert list(stream_names(prefixes, sets).values()) == [
        "sales_c4a_planning_cost_center_master",
        "sales_planning_cost_center_master",
        "sales_fact_data",
    ]


def test_equal_names_of_sets_get_a_hash_appended() -> None:
    model = Provider("sac", "C4PLAN", "Plan")
    prefixes = model_prefixes([model], by_id=False)
    sets = ["CostcenterMaster", "COSTCENTERMaster", "FactData"]
    names = stream_names(prefixes, [(model, name) for name in sets])
    *alike, facts = names.values()
    assert facts == "plan_fact_data"
    assert len(set(alike)) == 2
    assert all(re.fullmatch(r"plan_costcenter_master_[0-9a-f]{6}", name) for name in alike)


WORDS = st.sampled_from(
    ["Sales", "sales", "Planning", "C4A", "c4b", "ä", "予算", "", "_", "FactData"]
)
NAMES = st.lists(WORDS, max_size=3).map(" ".join)
IDS = st.sampled_from(["C4A", "c4a", "C4B", "sales", "Planning", "予", "C4A_FactData"])
PROVIDERS = st.lists(
    st.builds(Provider, st.sampled_from(["sac", "x"]), IDS, NAMES),
    unique_by=lambda provider: (provider.namespace_id, provider.provider_id),
    max_size=8,
)
SETS = st.lists(
    st.sampled_from(
        ["FactData", "PlanningFactData", "C4aFactData", "Fact_Data", "予算Master", "予"]
    ),
    unique=True,
)


@given(providers=PROVIDERS, sets=SETS, by_id=st.booleans(), random=st.randoms())
def test_names_are_unique_lead_back_to_their_model_and_do_not_depend_on_order(
    *, providers: list[Provider], sets: list[str], by_id: bool, random: Random
) -> None:
    prefixes = model_prefixes(providers, by_id=by_id)
    names = stream_names(prefixes, [(item, name) for item in providers for name in sets])
    assert len(set(names.values())) == len(names)
    models = {prefix: provider for provider, prefix in prefixes.items()}
    assert len(models) == len(providers)
    for (provider, _), name in names.items():
        assert model_of(models, name) == provider
        assert name.isascii()
        assert name == name.lower()
        assert "-" not in name
        assert name != "providers"
    random.shuffle(providers)
    random.shuffle(sets)
    assert model_prefixes(providers, by_id=by_id) == prefixes
    pairs = [(item, name) for name in sets for item in providers]
    assert stream_names(prefixes, pairs) == names


@given(PROVIDERS, SETS)
def test_names_do_not_depend_on_which_models_are_read(
    providers: list[Provider], sets: list[str]
) -> None:
    prefixes = model_prefixes(providers, by_id=False)
    names = stream_names(prefixes, [(item, name) for item in providers for name in sets])
    for provider in providers:
        alone = stream_names(prefixes, [(provider, name) for name in sets])
        assert alone == {key: name for key, name in names.items() if key[0] == provider}
