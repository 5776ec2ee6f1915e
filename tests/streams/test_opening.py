"""Full reads that start change tracking."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING

import pytest

from tap_sac.demo.service import (
    Response,
)
from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import discover, select, sync
from tests.helpers.pipeline import (
    KEY,
    STREAM,
    Pipeline,
)
from tests.helpers.stand_in import Model, StandIn, edmx, error_response, sales
from tests.helpers.tracking import (
    ROWS,
    TrackingStandIn,
    delta,
    log_based,
)

if TYPE_CHECKING:
    from tests.conftest import Serve


def test_dry_run_leaves_no_subscription_behind(pipeline: Pipeline) -> None:
    TapSAC(config=dict(pipeline.config)).run_connection_test()
    assert not pipeline.service.subscriptions


def test_chain_of_a_run_that_fails_on_its_last_page_is_deleted(pipeline: Pipeline) -> None:
    pipeline.facts.rows[-1] = {**pipeline.row(-1), "REVENUE": "no number"}
    with pytest.raises(SACError, match="REVENUE"):
        pipeline.run()
    assert not pipeline.service.subscriptions


def test_facts_without_a_key_are_read_in_full(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.models[0].edmx = re.sub("<Key>.*</Key>", "", tenant.models[0].edmx)
    messages = sync(log_based(serve, tenant))
    assert messages.of("sales_fact_data")[-1]["type"] == "ACTIVATE_VERSION"
    assert set(tenant.prefer) == {None}
    assert "delta link" not in caplog.text


def test_method_is_chosen_per_stream_by_catalog_metadata(pipeline: Pipeline) -> None:
    pipeline.config["default_replication_method"] = "FULL_TABLE"
    catalog = select(discover(pipeline.config), STREAM)
    entry = next(item for item in catalog["streams"] if item["tap_stream_id"] == STREAM)
    root = next(item for item in entry["metadata"] if not item["breadcrumb"])
    root["metadata"]["replication-method"] = "LOG_BASED"
    messages = pipeline.run(catalog=catalog)
    assert "_sdc_deleted_at" in messages.schema(STREAM)["schema"]["properties"]
    pipeline.facts.delete(pipeline.facts.key_of(pipeline.row(0)))
    assert len(pipeline.run(catalog=catalog).records(STREAM)) == 1
    pipeline.check()


@pytest.mark.parametrize("method", ["LOG_BASED", "INCREMENTAL"])
def test_unsupported_method_falls_back_to_a_full_read(
    serve: Serve, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    document, rows = edmx(AMaster={"ID": "Edm.String*"}), ['{"ID":"1"}', '{"ID":"2"}']
    config = serve(StandIn(Model("C4M", "M", document, {"AMaster": rows})))
    catalog = select(discover(config), "m_a_master")
    for entry in catalog["streams"]:
        entry["replication_method"] = method
    assert len(sync(config, catalog).records("m_a_master")) == 2
    assert f"it does not support {method}" in caplog.text


def test_deletion_mark_cannot_be_deselected(pipeline: Pipeline) -> None:
    entry = discover(pipeline.config)[STREAM]
    (mark,) = [
        item
        for item in entry["metadata"]
        if item["breadcrumb"] == ["properties", "_sdc_deleted_at"]
    ]
    assert mark["metadata"]["inclusion"] == "automatic"
    assert entry["replication_method"] == "LOG_BASED"


def test_stream_without_a_key_in_the_catalog_is_read_in_full(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = log_based(serve, TrackingStandIn(*ROWS))
    catalog = discover(config)
    catalog["sales_fact_data"]["key_properties"] = []
    messages = sync(config, select(catalog, "sales_fact_data"))
    assert messages.of("sales_fact_data")[-1]["type"] == "ACTIVATE_VERSION"
    assert "delta_link" not in messages.state["bookmarks"]["sales_fact_data"]
    assert "All rows of sales_fact_data are read, because the catalog has no key" in caplog.text


def test_second_page_that_is_a_delta_is_rejected(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.fault = lambda request: delta(ROWS[0]) if "$skiptoken=2" in request.target else None
    with pytest.raises(SACError, match="changes only"):
        sync(log_based(serve, tenant))


def test_delta_link_to_another_host_is_rejected(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    page = b'{"value":[],"@odata.deltaLink":"https://elsewhere.example/x"}'
    tenant.fault = lambda request: Response(200, page) if "/FactData" in request.target else None
    with pytest.raises(SACError, match=r"another server, https://elsewhere\.example"):
        sync(log_based(serve, tenant))


def test_first_page_that_is_a_delta_is_rejected(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.fault = lambda request: (
        delta(ROWS[0]) if "/FactData" in request.target and "$count" not in request.target else None
    )
    with pytest.raises(SACError, match="changes only"):
        sync(log_based(serve, tenant))


def test_tenant_without_delta_links_is_read_in_full_each_time(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = log_based(serve, StandIn(sales(*ROWS)))
    first = sync(config)
    assert "delta_link" not in first.state["bookmarks"]["sales_fact_data"]
    assert len(sync(config, state=first.state).records("sales_fact_data")) == 3
    assert "SAC returned no delta link for sales_fact_data" in caplog.text


def test_dry_run_of_an_empty_table_does_not_warn_of_a_missing_delta_link(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    TapSAC(config=log_based(serve, StandIn(sales()))).run_connection_test()
    assert "sales_fact_data" in caplog.text
    assert "delta link" not in caplog.text


def test_tenant_that_stops_sending_delta_links_loses_changes_only_once(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = TrackingStandIn(*ROWS)
    config = log_based(serve, tenant)
    first = sync(config).state
    tenant.deltas["A"] = error_response(404, "gone")
    tenant.first_link = None
    second = sync(config, state=first).state
    bookmark = second["bookmarks"]["sales_fact_data"]
    assert bookmark.keys() == {"version", "filter", "types", "tenant"}
    bookmark["version"] += 10**9
    config |= {"on_delta_lost": "fail", "filters": {"sales_fact_data": "Date ge '000001'"}}
    third = sync(config, state=copy.deepcopy(second))
    assert third.of("sales_fact_data")[-1]["version"] == bookmark["version"] + 1
    assert "since the last completed read, from none to Date ge '000001'" in caplog.text


def test_catalog_key_with_an_extra_column_stops_the_run(pipeline: Pipeline) -> None:
    catalog = select(discover(pipeline.config), STREAM)
    for entry in catalog["streams"]:
        if entry["tap_stream_id"] == STREAM:
            entry["key_properties"] = [*KEY, "REVENUE"]
    with pytest.raises(SACError, match=r"differs from that of the catalog \(REVENUE\)"):
        pipeline.run(catalog=catalog)
