"""Several facts of one key, of which targets would keep only one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.service import SALES_MODEL, SampleService
from tests.conftest import discover, select
from tests.helpers.counts import (
    FACTS,
    ROWS,
    SALES,
    sales_config,
)
from tests.helpers.runs import is_activated, run
from tests.helpers.stand_in import StandIn, edmx, sales

if TYPE_CHECKING:
    from tests.conftest import Serve


def several_facts(serve: Serve, **settings: Any) -> tuple[SampleService, dict[str, Any]]:
    service = SampleService(Behaviour(facts_per_key=3))
    service.limit(SALES_MODEL, 30)
    return service, sales_config(serve, service, **settings)


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_several_facts_of_a_key_fail_the_stream(serve: Serve, method: str) -> None:
    service, config = several_facts(serve, default_replication_method=method)
    messages, failure = run(config)
    assert "SAC stores several facts of sales_planning_fact_data under one key" in failure
    assert "Version='public.Actual'" in failure
    assert "..._fact_data_aggregation" in failure
    assert "table-key-properties" in failure
    assert not is_activated(messages, SALES)
    assert not messages.records(SALES)
    assert not [item for item in service.subscriptions.values() if item.set_name == "FactData"]


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_aggregation_accepts_several_facts_of_a_key(serve: Serve, method: str) -> None:
    service, config = several_facts(serve, default_replication_method=method)
    name = "sales_planning_fact_data_aggregation"
    catalog = select(discover(config), name)
    messages, failure = run(config, catalog=catalog)
    assert not failure
    written = sorted(
        (*(record[name] for name in messages.schema(name)["key_properties"]), record["REVENUE"])
        for record in messages.records(name)
    )
    facts = [row for row in service.facts(SALES_MODEL).rows if row]
    key = messages.schema(name)["key_properties"]
    assert written == sorted((*(row[name] for name in key), str(row["REVENUE"])) for row in facts)


@pytest.mark.parametrize("place", ["catalog", "map"])
def test_stream_without_a_key_accepts_several_facts_of_a_key(serve: Serve, place: str) -> None:
    _, config = several_facts(serve)
    catalog = discover(config)
    if place == "catalog":
        catalog[SALES]["key_properties"] = []
    else:
        config["stream_maps"] = {SALES: {"__key_properties__": []}}
    messages, failure = run(config, catalog=select(catalog, SALES))
    assert not failure
    assert len(messages.records(SALES)) == 90


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_counts_that_differ_are_a_warning_where_no_keys_are_compared(
    serve: Serve, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if method == "FULL_TABLE":
        monkeypatch.setattr("tap_sac.streams.watched_keys._MOST_ROWS", 8)
    model = sales(*ROWS)
    columns = {"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"}
    model.edmx = edmx(FactData=columns, FactDataAggregation=columns)
    model.sets = {"FactData": ROWS, "FactDataAggregation": ROWS[:4]}
    config = {**serve(StandIn(model)), "default_replication_method": method}
    messages, failure = run(config)
    assert not failure
    assert len(messages.records(FACTS)) == 9
    assert "SAC counts 9 facts of sales_fact_data but 4 keys" in caplog.text


@pytest.mark.parametrize(
    ("method", "odata_filter", "asks"),
    [
        ("LOG_BASED", "AMOUNT gt 5", False),
        ("LOG_BASED", "Date ne 'AMOUNT'", True),
        ("FULL_TABLE", "Date ne 'AMOUNT'", False),
    ],
)
def test_sac_counts_keys_before_it_tracks_changes_if_the_filter_names_no_measure(
    serve: Serve, method: str, odata_filter: str, *, asks: bool
) -> None:
    model = sales(*ROWS)
    columns = {"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"}
    model.edmx = edmx(FactData=columns, FactDataAggregation=columns)
    model.sets = {"FactData": ROWS, "FactDataAggregation": ROWS}
    tenant = StandIn(model)
    settings = {"default_replication_method": method, "filters": {FACTS: odata_filter}}
    _, failure = run({**serve(tenant), **settings})
    assert not failure
    assert any("/FactDataAggregation" in target for target in tenant.targets) is asks
