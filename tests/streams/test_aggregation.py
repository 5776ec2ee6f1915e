"""Dimensions of FactDataAggregation that are deselected: SAC aggregates over them."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet

from tap_sac.demo.service import SALES_MODEL, SampleService
from tap_sac.demo.sums import aggregate
from tap_sac.sac.errors import SACError
from tests.conftest import discover, sync
from tests.helpers.batches import batch_config, files
from tests.helpers.selection import metadata_of, without
from tests.helpers.stand_in import Model, StandIn, edmx
from tests.helpers.tracking import TrackingStandIn, changed, deleted, delta

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from tap_sac.demo.behaviour import Behaviour
    from tap_sac.demo.service import Request, Response
    from tap_sac.demo.tracking import TrackedRows
    from tests.conftest import Messages, Serve

STREAM = "sales_planning_fact_data_aggregation"
KEY = ("Version", "Date", "Product", "XX_REGION", "Currency")
MEASURES = ("QUANTITY", "REVENUE", "LOYALTY_POINTS")

Values = tuple[Any, ...]


def sums(facts: TrackedRows, *dimensions: str) -> dict[Values, Values]:
    """Add the facts up as SAC does."""
    present = (row for row in facts.rows if row is not None)
    return {
        key: tuple(row[name] for name in MEASURES)
        for key, row in aggregate(present, dimensions, MEASURES).items()
    }


def sums_in(records: Collection[dict[str, Any]], *dimensions: str) -> dict[Values, Values]:
    found = {
        tuple(record[name] for name in dimensions): tuple(
            Decimal(record[name]) for name in MEASURES
        )
        for record in records
    }
    assert len(found) == len(records)
    return found


class Tenant:
    """The sample tenant, with few facts, and what requests it gets."""

    def __init__(self, serve: Serve, picture: Behaviour, **settings: Any) -> None:
        self.service = SampleService(picture)
        self.service.limit(SALES_MODEL, 400)
        self.targets: list[str] = []
        config = {**serve(self._answer), "models": ["Sales Planning"], "page_size": 50}
        self.config = {**config, **settings}

    def _answer(self, request: Request) -> Response:
        if "/FactDataAggregation" in request.target:
            self.targets.append(request.target.partition("?")[2])
        return self.service(request)

    @property
    def facts(self) -> TrackedRows:
        return self.service.facts(SALES_MODEL)


def test_dimensions_of_the_aggregation_alone_can_be_deselected() -> None:
    found = discover({"demo": True, "models": ["Sales Planning"]})
    for column in KEY:
        metadata = metadata_of(found[STREAM], column)
        assert (metadata["inclusion"], metadata["selected-by-default"]) == ("available", True)
        for other in ("sales_planning_fact_data", "sales_planning_fact_data_difference"):
            metadata = metadata_of(found[other], column)
            assert metadata["inclusion"] == "automatic"
            assert "selected-by-default" not in metadata
    assert list(found[STREAM]["key_properties"]) == list(KEY)


# A catalog of an earlier version calls them automatic.
@pytest.mark.parametrize("metadata", [{}, {"inclusion": "automatic"}])
def test_sac_aggregates_over_what_is_deselected(
    serve: Serve, picture: Behaviour, caplog: pytest.LogCaptureFixture, metadata: dict[str, Any]
) -> None:
    caplog.set_level("INFO")
    tenant = Tenant(serve, picture)
    catalog = without(tenant.config, "Product", "XX_REGION", "Currency", **metadata)
    messages = sync(tenant.config, catalog)
    expected = sums(tenant.facts, "Version", "Date")
    assert sums_in(messages.records(STREAM), "Version", "Date") == expected
    schema = messages.schema(STREAM)
    assert schema["key_properties"] == ["Version", "Date"]
    assert list(schema["schema"]["properties"]) == ["Version", "Date", *MEASURES]
    assert all(set(item) == {"Version", "Date", *MEASURES} for item in messages.records(STREAM))
    assert messages.of(STREAM)[-1]["type"] == "ACTIVATE_VERSION"
    select_option = f"$select=Version,Date,{','.join(MEASURES)}&"
    assert tenant.targets
    assert all(f"{target}&".count(select_option) for target in tenant.targets)
    assert f"{STREAM}: {len(expected)} rows read, {len(expected)} counted by SAC" in caplog.text
    assert not [item for item in caplog.records if item.levelname == "WARNING"]


def test_filter_may_name_a_dimension_that_is_deselected(serve: Serve, picture: Behaviour) -> None:
    tenant = Tenant(serve, picture, filters={STREAM: "Product eq 'P-001'"})
    messages = sync(tenant.config, without(tenant.config, *KEY[1:]))
    of_product = SampleService().facts(SALES_MODEL)
    of_product.rows = [
        row if row and row["Product"] == "P-001" else None for row in tenant.facts.rows
    ]
    assert sums_in(messages.records(STREAM), "Version") == sums(of_product, "Version")


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_without_dimensions_there_is_one_row_and_no_key(
    serve: Serve, picture: Behaviour, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    tenant = Tenant(serve, picture, default_replication_method=method)
    catalog = without(tenant.config, *KEY)
    for _ in range(2):
        messages = sync(tenant.config, catalog)
        assert sums_in(messages.records(STREAM)) == sums(tenant.facts)
        assert messages.schema(STREAM)["key_properties"] == []
        assert messages.of(STREAM)[-1]["type"] == "ACTIVATE_VERSION"
    assert not tenant.service.subscriptions
    told = f"All rows of {STREAM} are read, because all dimensions are deselected"
    assert (told in caplog.text) is (method == "LOG_BASED")


def test_measures_can_be_deselected_but_not_everything(serve: Serve, picture: Behaviour) -> None:
    tenant = Tenant(serve, picture)
    messages = sync(tenant.config, without(tenant.config, *KEY[1:], *MEASURES))
    assert messages.records(STREAM) == [{"Version": "public.Actual"}]
    with pytest.raises(SACError, match=f"No column of {STREAM} is selected, but SAC requires"):
        sync(tenant.config, without(tenant.config, *KEY, *MEASURES))


def test_key_removed_in_the_catalog_stays_removed(serve: Serve, picture: Behaviour) -> None:
    tenant = Tenant(serve, picture)
    catalog = without(tenant.config, *KEY[2:])
    catalog["streams"] = [
        {**entry, "key_properties": []} if entry["tap_stream_id"] == STREAM else entry
        for entry in catalog["streams"]
    ]
    messages = sync(tenant.config, catalog)
    assert messages.schema(STREAM)["key_properties"] == []
    assert len(messages.records(STREAM)) == len(sums(tenant.facts, "Version", "Date"))


def test_dimension_that_the_catalog_does_not_have_still_stops_the_run(
    serve: Serve, picture: Behaviour
) -> None:
    tenant = Tenant(serve, picture)
    catalog = without(tenant.config, "Product")
    for entry in catalog["streams"]:
        entry["schema"]["properties"].pop("Currency", None)
        entry["key_properties"] = [name for name in KEY if name != "Currency"]
        entry["metadata"] = [
            item for item in entry["metadata"] if item["breadcrumb"][1:] != ["Currency"]
        ]
    with pytest.raises(SACError, match=rf"key of {STREAM} in SAC differs .*\(Currency\)"):
        sync(tenant.config, catalog)


def test_removed_dimension_is_harmless_if_deselected(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    columns = {"Version": "Edm.String*", "Gone": "Edm.String*", "AMOUNT": "Edm.Decimal"}
    model = Model("C4SALES", "Sales", edmx(FactDataAggregation=columns))
    model.sets["FactDataAggregation"] = ['{"Version":"a","AMOUNT":9}']
    config = serve(StandIn(model))
    catalog = without(config, "Gone", stream=AGGREGATION)
    del columns["Gone"]
    model.edmx = edmx(FactDataAggregation=columns)
    messages = sync(config, catalog)
    assert messages.records(AGGREGATION) == [{"Version": "a", "AMOUNT": 9}]
    assert messages.schema(AGGREGATION)["key_properties"] == ["Version"]
    assert f"SAC no longer has these columns of {AGGREGATION}: Gone." in caplog.text


def test_parquet_and_renamed_streams_have_what_is_left(
    serve: Serve, picture: Behaviour, tmp_path: Path
) -> None:
    tenant = Tenant(serve, picture)
    catalog = without(tenant.config, *KEY[2:], "LOYALTY_POINTS")  # Its sums have too many digits.
    maps = {"stream_maps": {STREAM: {"__alias__": "by_month"}}}
    config = {**tenant.config, **batch_config(tmp_path, "parquet", None, 1000), **maps}
    messages = sync(config, catalog)
    assert messages.schema("by_month")["key_properties"] == ["Version", "Date"]
    (path,) = files(messages, "by_month")
    table = parquet.read_table(path)
    assert table.column_names == ["Version", "Date", *MEASURES[:2], "_sdc_table_version"]
    rows = {
        (row["Version"], row["Date"]): (row["QUANTITY"], row["REVENUE"])
        for row in table.to_pylist()
    }
    expected = sums(tenant.facts, "Version", "Date")
    assert rows == {key: values[:2] for key, values in expected.items()}


def load(table: dict[Values, dict[str, Any]], messages: Messages, *key: str) -> None:
    """Do with messages what a target does: upserts, marks of deletion, versions."""
    for message in messages.of(STREAM):
        if message["type"] == "RECORD":
            record = message["record"]
            table[tuple(record[name] for name in key)] = {**record, "version": message["version"]}
        elif message["type"] == "ACTIVATE_VERSION":
            for values in [*table]:
                if table[values]["version"] < message["version"]:
                    del table[values]


def living(table: dict[Values, dict[str, Any]], *key: str) -> dict[Values, Values]:
    rows = [row for row in table.values() if row["_sdc_deleted_at"] is None]
    return sums_in(rows, *key)


def test_changes_of_sums_arrive(serve: Serve, picture: Behaviour) -> None:
    tenant = Tenant(serve, picture, default_replication_method="LOG_BASED")
    catalog = without(tenant.config, "Date", "XX_REGION", "Currency")
    key = ("Version", "Product")
    table: dict[Values, dict[str, Any]] = {}
    first = sync(tenant.config, catalog)
    load(table, first, *key)
    assert living(table, *key) == sums(tenant.facts, *key)
    assert first.schema(STREAM)["key_properties"] == list(key)

    facts = tenant.facts
    rows = [row for row in facts.rows if row is not None]
    facts.put({**rows[0], "REVENUE": Decimal("123456789012345678901234.1234567")})
    facts.put({**rows[1], "Product": "P-NEW"})
    gone = [row for row in rows if row["Product"] == "P-010"]
    for row in gone:
        facts.delete(facts.key_of(row))
    second = sync(tenant.config, catalog, first.state)
    load(table, second, *key)
    assert living(table, *key) == sums(facts, *key)
    changes = second.records(STREAM)
    assert len(changes) == 3
    assert all(set(item) == {*key, *MEASURES, "_sdc_deleted_at"} for item in changes)
    assert [item["Product"] for item in changes if item["_sdc_deleted_at"]] == ["P-010"]
    assert "ACTIVATE_VERSION" not in {item["type"] for item in second.of(STREAM)}


def test_another_selection_of_dimensions_is_another_chain(
    serve: Serve, picture: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = Tenant(serve, picture, default_replication_method="LOG_BASED")
    first = sync(tenant.config, without(tenant.config, "Date", "XX_REGION", "Currency"))
    (chain,) = tenant.service.subscriptions
    second = sync(tenant.config, without(tenant.config, "XX_REGION", "Currency"), first.state)
    key = ("Version", "Date", "Product")
    assert sums_in(second.records(STREAM), *key) == sums(tenant.facts, *key)
    versions = [item.of(STREAM)[-1]["version"] for item in (first, second)]
    assert versions[0] < versions[1]
    assert chain not in tenant.service.subscriptions
    assert len(tenant.service.subscriptions) == 1
    (line,) = [item.getMessage() for item in caplog.records if "again" in item.getMessage()]
    assert line == (
        f"Reading the whole table of {STREAM} again under a new version, because the key changed "
        "from ['Version', 'Product'] to ['Version', 'Date', 'Product'], which needs a new table in "
        "the target."
    )
    third = sync(tenant.config, without(tenant.config, "XX_REGION", "Currency"), second.state)
    assert third.records(STREAM) == []


def test_another_key_is_reported_because_targets_would_mix_the_rows(
    serve: Serve, picture: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = Tenant(serve, picture)
    logged = {**tenant.config, "default_replication_method": "LOG_BASED"}
    by_month = without(tenant.config, *KEY[2:])
    told = f"The key of {STREAM} has changed since the last completed read, from "
    first = sync(tenant.config, by_month)
    state = sync(tenant.config, by_month, first.state).state
    assert told not in caplog.text
    state = sync(tenant.config, without(tenant.config, *KEY), state).state
    assert f"{told}Version, Date to none: load the stream into a new table" in caplog.text
    caplog.clear()
    # To change tracking and back: its bookmark has the key too.
    state = sync(logged, without(logged, *KEY[2:]), state).state
    assert f"{told}none to Version, Date: " in caplog.text
    caplog.clear()
    sync(tenant.config, by_month, copy.deepcopy(state))
    assert told not in caplog.text
    sync(tenant.config, without(tenant.config, *KEY[1:]), state)
    assert f"{told}Version, Date to Version: " in caplog.text


AGGREGATION = "sales_fact_data_aggregation"
COLUMNS = {"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"}


@pytest.mark.parametrize(
    "changes",
    [
        # Changes of facts, with a dimension that SAC should have aggregated over.
        [changed('{"Version":"a","Date":"1","AMOUNT":1.5}')],
        # The same without it: nothing says which of them is the sum.
        [changed('{"Version":"a","AMOUNT":1.5}'), changed('{"Version":"a","AMOUNT":2.5}')],
    ],
)
def test_changes_that_are_not_aggregated_are_not_taken_for_sums(
    serve: Serve, caplog: pytest.LogCaptureFixture, changes: list[str]
) -> None:
    tenant = TrackingStandIn()
    rows = ['{"Version":"a","AMOUNT":9}', '{"Version":"b","AMOUNT":8}']
    tenant.models = (
        Model("C4SALES", "Sales", edmx(FactDataAggregation=COLUMNS), {"FactDataAggregation": rows}),
    )
    config = {**serve(tenant), "default_replication_method": "LOG_BASED"}
    catalog = without(config, "Date", stream=AGGREGATION)
    first = sync(config, catalog)
    state = first.state
    bookmark = state["bookmarks"][AGGREGATION]
    bookmark["delta_link"] = bookmark["delta_link"].replace("FactData?", "FactDataAggregation?")
    context = "$metadata#FactDataAggregation/$delta"
    tenant.deltas["A"] = delta(
        *changes, deleted("FactDataAggregation(Version='b')"), context=context
    )
    second = sync(config, catalog, state)
    assert "because SAC sent changes that are not aggregated over Date" in caplog.text
    assert [item["AMOUNT"] for item in second.records(AGGREGATION)][-2:] == [9, 8]
    assert second.of(AGGREGATION)[-1]["type"] == "ACTIVATE_VERSION"


def test_changes_of_sums_and_deletions_are_taken(serve: Serve) -> None:
    tenant = TrackingStandIn()
    rows = ['{"Version":"a","AMOUNT":9}', '{"Version":"b","AMOUNT":8}']
    document = edmx(FactDataAggregation=COLUMNS)
    tenant.models = (Model("C4SALES", "Sales", document, {"FactDataAggregation": rows}),)
    config = {**serve(tenant), "default_replication_method": "LOG_BASED"}
    catalog = without(config, "Date", stream=AGGREGATION)
    state = sync(config, catalog).state
    bookmark = state["bookmarks"][AGGREGATION]
    bookmark["delta_link"] = bookmark["delta_link"].replace("FactData?", "FactDataAggregation?")
    tenant.deltas["A"] = delta(
        changed('{"Version":"a","AMOUNT":1.5}'),
        deleted("FactDataAggregation(Version='b')"),
        deleted("FactDataAggregation(Version='c')"),
        context="$metadata#FactDataAggregation/$delta",
    )
    records = sync(config, catalog, state).records(AGGREGATION)
    assert [(item["Version"], item["AMOUNT"]) for item in records] == [
        ("a", "1.5"),
        ("b", None),
        ("c", None),
    ]


def test_stand_in_is_asked_for_what_is_left(serve: Serve) -> None:
    tenant = StandIn(
        Model(
            "C4SALES",
            "Sales",
            edmx(FactDataAggregation=COLUMNS),
            {"FactDataAggregation": ['{"Date":"1","AMOUNT":9}']},
        )
    )
    config = serve(tenant)
    (record,) = sync(config, without(config, "Version", stream=AGGREGATION)).records(AGGREGATION)
    assert record == {"Date": "1", "AMOUNT": 9}
