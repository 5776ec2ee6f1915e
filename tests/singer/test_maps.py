"""Stream maps and deleted rows: what a map does to them is known before anything is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.service import SampleService
from tap_sac.sac.errors import SACError
from tests.conftest import discover, select, sync
from tests.helpers.batches import records_of
from tests.helpers.stand_in import sales_row
from tests.helpers.tracking import TrackingStandIn, changed, deleted, delta, log_based

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serve

STREAM = "sales_fact_data"
ROWS = [sales_row(number, f"{number}.0000000") for number in range(3)]
KEPT = {name: name for name in ("Version", "Date", "AMOUNT", "_sdc_deleted_at")}
DELETION = deleted("FactData(Version='public.Actual',Date='000002')")


def mapped(serve: Serve, stream_map: dict[str, Any], **settings: Any) -> dict[str, Any]:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(changed(ROWS[0]), DELETION)
    return {**log_based(serve, tenant), "stream_maps": {STREAM: stream_map}, **settings}


@pytest.mark.parametrize(
    ("stream_map", "told"),
    [
        ({"CENTS": "AMOUNT * 100"}, r"fails on deleted rows.*None if _sdc_deleted_at is not None"),
        ({"AMOUNT": "float(AMOUNT)"}, "fails on deleted rows"),
        ({"__filter__": "AMOUNT > 5"}, r"fails on deleted rows.*_sdc_deleted_at is not None or"),
        (
            {"__filter__": "AMOUNT is not None"},
            r"drops .* '_sdc_deleted_at is not None or \(AMOUNT",
        ),
        ({"__filter__": "_sdc_deleted_at is None"}, "drops deleted rows"),
        (
            {"__else__": None, "Version": "Version", "Date": "Date"},
            r"leaves out _sdc_deleted_at \(by __else__\)",
        ),
        ({"__key_properties__": []}, "takes away the key .*, by which targets find changed rows"),
        ({"__key_properties__": None}, "takes away the key .*or replicate the stream FULL_TABLE"),
        ({"__key_properties__": ["Date", "AMOUNT"]}, "makes AMOUNT a part of the key"),
        ({"_sdc_deleted_at": "'never'"}, "sets _sdc_deleted_at"),
        ({"_sdc_deleted_at": None}, "sets _sdc_deleted_at"),
    ],
)
@pytest.mark.parametrize("place", [STREAM, "sales_*"])
def test_map_that_would_lose_deletions_is_refused_before_anything_is_read(
    serve: Serve, stream_map: dict[str, Any], told: str, place: str
) -> None:
    config = mapped(serve, stream_map)
    config["stream_maps"] = {place: stream_map}
    with pytest.raises(SACError, match=rf"The stream map of {STREAM} .*{told}"):
        sync(config)


@pytest.mark.parametrize(
    "stream_map",
    [
        {"CENTS": "None if _sdc_deleted_at is not None else AMOUNT * 100"},
        {"__filter__": "_sdc_deleted_at is not None or AMOUNT >= 0"},
        {"__filter__": "Version == 'public.Actual'"},
        {"__else__": None, **KEPT},
        {"__alias__": STREAM, "TEXT": "Date"},
        {"__key_properties__": ["ID"], "ID": "Version + Date"},
        {"AMOUNT": None},
    ],
)
@pytest.mark.parametrize("is_batch", [False, True])
def test_deletion_passes_through_a_map_that_allows_for_it(
    serve: Serve, tmp_path: Path, stream_map: dict[str, Any], *, is_batch: bool
) -> None:
    batch = {
        "batch_config": {
            "encoding": {"format": "jsonl", "compression": "gzip"},
            "storage": {"root": tmp_path.as_uri()},
        }
    }
    config = mapped(serve, stream_map, **(batch if is_batch else {}))
    messages = sync(config, state=sync(config).state)
    records = messages.records(STREAM)
    if is_batch:
        records = records_of(messages, STREAM)
    update, deletion = records
    assert update["_sdc_deleted_at"] is None
    assert deletion["Date"] == "000002"
    assert deletion["_sdc_deleted_at"]


def test_map_on_a_catalog_that_is_older_than_the_mark_keeps_it(serve: Serve) -> None:
    config = mapped(serve, {"TEXT": "Date"})
    full_table = {**config, "default_replication_method": "FULL_TABLE"}
    catalog = select(discover(full_table), STREAM)
    for entry in catalog["streams"]:
        assert "_sdc_deleted_at" not in entry["schema"]["properties"]
        if entry["tap_stream_id"] == STREAM:
            entry["replication_method"] = "LOG_BASED"
    first = sync(config, catalog)
    assert "_sdc_deleted_at" in first.schema(STREAM)["schema"]["properties"]
    update, deletion = sync(config, catalog, first.state).records(STREAM)
    assert update["_sdc_deleted_at"] is None
    assert deletion["_sdc_deleted_at"]


def test_maps_of_streams_without_deletions_are_nobodys_business(serve: Serve) -> None:
    config = mapped(serve, {"CENTS": "AMOUNT * 100"})
    records = sync({**config, "default_replication_method": "FULL_TABLE"}).records(STREAM)
    assert [record["CENTS"] for record in records] == ["0E-7", "100.0000000", "200.0000000"]


@pytest.mark.parametrize("place", ["catalog", "map"])
def test_rows_that_add_up_need_no_key(serve: Serve, place: str) -> None:
    stream = "sales_planning_fact_data_difference"
    config = {**serve(SampleService()), "models": ["Sales Planning"]}
    config["default_replication_method"] = "LOG_BASED"
    config["stream_maps"] = {stream: {"TEXT": "Date"}}
    catalog = discover(config)
    if place == "catalog":
        catalog[stream]["key_properties"] = []
    else:
        config["stream_maps"][stream]["__key_properties__"] = []
    messages = sync(config, select(catalog, stream))
    assert messages.schema(stream)["key_properties"] == []
    assert "delta_link" in messages.state["bookmarks"][stream]


@pytest.mark.parametrize("place", ["sales_planning_fact_data_aggregation", "*_fact_data*", "*"])
def test_map_of_streams_that_are_not_selected_ends_no_run(serve: Serve, place: str) -> None:
    config = {**serve(SampleService()), "models": ["Sales Planning"]}
    plain = discover(config)
    config["stream_maps"] = {place: {"__filter__": "1 == 1"}}
    assert discover(config) == plain
    for catalog in (None, select(plain, "sales_planning_xx_region_master")):
        assert sync(config, catalog).records("sales_planning_xx_region_master")


@pytest.mark.parametrize(
    "stream_map", [{"__alias__": "sales"}, {"__key_properties__": ["ID"], "ID": "Version + Date"}]
)
def test_table_of_another_name_or_key_gets_all_rows(
    serve: Serve, caplog: pytest.LogCaptureFixture, stream_map: dict[str, Any]
) -> None:
    tenant = TrackingStandIn(*ROWS)
    config = log_based(serve, tenant)
    first = sync(config)
    own = {"stream_maps": {STREAM: stream_map}}
    second = sync({**config, **own}, state=first.state)
    assert len(second.records(stream_map.get("__alias__", STREAM))) == len(ROWS)
    assert "stream_maps gives its table another name or key" in caplog.text


@pytest.mark.parametrize("is_older", [False, True])
def test_other_maps_and_older_states_go_on(serve: Serve, *, is_older: bool) -> None:
    config = mapped(serve, {"TEXT": "Date"})
    state = sync({**config, "stream_maps": {}}).state
    if is_older:
        del state["bookmarks"][STREAM]["question"]["tables"]
    assert len(sync(config, state=state).records(STREAM)) == 2
