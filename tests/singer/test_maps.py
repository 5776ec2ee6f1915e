"""Stream maps and deleted rows: no deletion is lost in a map."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.service import SampleService
from tap_sac.sac.errors import SACError
from tests.conftest import discover, read_messages, select, sync
from tests.helpers.batches import records_of
from tests.helpers.pipeline import STREAM as PIPED
from tests.helpers.pipeline import Pipeline, small
from tests.helpers.runs import run
from tests.helpers.stand_in import sales_row
from tests.helpers.target import Target
from tests.helpers.tracking import TrackingStandIn, changed, deleted, delta, log_based

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import RunCli, Serve

STREAM = "sales_fact_data"
ROWS = [sales_row(number, f"{number}.0000000") for number in range(3)]
DELETION = deleted("FactData(Version='public.Actual',Date='000002')")


def mapped(serve: Serve, stream_map: dict[str, Any], **settings: Any) -> dict[str, Any]:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(changed(ROWS[0]), DELETION)
    return {**log_based(serve, tenant), "stream_maps": {STREAM: stream_map}, **settings}


@pytest.mark.parametrize(
    ("stream_map", "told"),
    [
        ({"_sdc_deleted_at": "'never'"}, "sets _sdc_deleted_at"),
        ({"_sdc_deleted_at": None}, "sets _sdc_deleted_at"),
        ({"__key_properties__": []}, "removes the key .*, which targets need to update rows"),
        ({"__key_properties__": None}, "removes the key .*or replicate the stream FULL_TABLE"),
    ],
)
@pytest.mark.parametrize("place", [STREAM, "sales_*"])
def test_map_without_mark_or_key_is_refused_before_anything_is_read(
    serve: Serve, stream_map: dict[str, Any], told: str, place: str
) -> None:
    config = mapped(serve, stream_map)
    config["stream_maps"] = {place: stream_map}
    with pytest.raises(SACError, match=rf"The stream map of {STREAM} .*{told}"):
        sync(config)


LOSSY: list[tuple[dict[str, Any], str]] = [
    ({"CENTS": "AMOUNT * 100"}, r"fails on a deleted row.*None if _sdc_deleted_at else"),
    ({"AMOUNT": "self + 1"}, "fails on a deleted row"),
    ({"__filter__": "AMOUNT >= 0"}, r"fails on a deleted row.*_sdc_deleted_at or"),
    ({"__filter__": "AMOUNT is not None"}, r"drops .* '_sdc_deleted_at or \(AMOUNT"),
    ({"__filter__": "_sdc_deleted_at is None"}, "drops a deleted row"),
    ({"__filter__": "record['AMOUNT'] == 2"}, "drops a deleted row"),
    ({"__filter__": "AMOUNT == 2"}, "drops a deleted row"),
    ({"__filter__": "bool(AMOUNT) or Date == '000000' or Date == '000001'"}, "drops a deleted"),
    ({"__key_properties__": ["Date", "AMOUNT"]}, r"different key \(Date, AMOUNT\)"),
    ({"__key_properties__": ["ID"], "ID": "Date + str(AMOUNT)"}, r"different key \(ID\)"),
    (
        {"__key_properties__": ["ID"], "ID": "Date + ('A' if (AMOUNT or 0) < 2 else 'B')"},
        "different key",
    ),
    ({"Date": "Date if AMOUNT != 2.5 else Date + 'x'"}, r"different key \(Version, Date\)"),
    ({"Date": "Date if AMOUNT is not None else None"}, r"different key \(Version, Date\)"),
]


@pytest.mark.parametrize(
    ("stream_map", "told", "place"),
    [
        *((*lossy, STREAM) for lossy in LOSSY),
        *((*lossy, place) for lossy in LOSSY[::3] for place in ("sales_*", "again")),
    ],
)
def test_deletion_that_a_map_would_lose_fails_the_stream_and_the_next_run_mends_the_table(
    serve: Serve, stream_map: dict[str, Any], told: str, place: str
) -> None:
    tenant = TrackingStandIn(*ROWS)
    source = {"__source__": STREAM} if place == "again" else {}
    config = log_based(serve, tenant)
    lossy = {**config, "stream_maps": {place: {**source, **stream_map}}}
    target = Target()
    target.load(sync(lossy))
    tenant.models[0].sets["FactData"] = ROWS[:2]
    tenant.deltas["A"] = delta(DELETION)
    messages, failure = run(lossy, state=target.state)
    told_why = re.search(rf"The stream map of {STREAM} .*{told}.*", failure)
    assert told_why
    assert "The next run reads the whole table" in failure
    # Without the words of Python, and of the map.
    own = re.sub(r" \(\w+Error: .*?\)|(?<=_sdc_deleted_at or )\(.*\)", "", told_why[0])
    assert len(own.split()) <= 35
    target.load(messages)
    target = Target() if "__key_properties__" in stream_map else target
    target.load(sync(config, state=target.state))
    assert sorted(row["Date"] for row in target.rows(STREAM)) == ["000000", "000001"]


@pytest.mark.parametrize(
    ("stream_map", "is_warned_about"),
    [
        ({"__filter__": "AMOUNT is not None"}, True),
        ({"CENTS": "AMOUNT * 100"}, True),
        ({"YEAR": "int(Date[:4])"}, False),
        ({"__filter__": "int(Date) >= 0"}, False),
        ({"__else__": None, "Version": "Version", "Date": "Date"}, False),
    ],
)
def test_map_that_may_lose_deletions_is_warned_about_before_the_first_row(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    stream_map: dict[str, Any],
    *,
    is_warned_about: bool,
) -> None:
    sync(mapped(serve, stream_map))
    warnings = [text for text in caplog.messages if "will fail at the first deleted row" in text]
    assert len(warnings) == is_warned_about


def test_link_of_a_deletion_that_fails_is_spent_and_the_table_is_read_again(serve: Serve) -> None:
    service = small(SampleService())
    config = {
        **serve(service),
        "models": ["Sales Planning"],
        "default_replication_method": "LOG_BASED",
        "stream_maps": {PIPED: {"__filter__": "QUANTITY is not None"}},
    }
    pipeline = Pipeline(service, config)
    pipeline.run()
    gone = pipeline.facts.rows[3]
    assert gone
    pipeline.facts.delete(pipeline.facts.key_of(gone))
    messages, failure = run(config, state=copy.deepcopy(pipeline.table.state))
    assert "drops a deleted row" in failure
    pipeline.table.load(messages)
    repaired = "_sdc_deleted_at or (QUANTITY is not None)"
    messages = pipeline.run(stream_maps={PIPED: {"__filter__": repaired}})
    assert len(messages.records(PIPED)) == len(pipeline.facts.rows) - 1
    pipeline.check()


@pytest.mark.parametrize(
    "stream_map",
    [
        {"CENTS": "None if _sdc_deleted_at else AMOUNT * 100"},
        {"__filter__": "_sdc_deleted_at or AMOUNT >= 0"},
        {"__filter__": "Version == 'public.Actual'"},
        {"__filter__": "int(Date[3:]) < 5"},
        {"YEAR": "int(Date[:4])"},
        {"__else__": None, "Version": "Version", "Date": "Date"},
        {"__else__": None, "Version": "Version", "Date": "Date", "AMOUNT": "AMOUNT"},
        {"__alias__": STREAM, "TEXT": "Date"},
        {"__key_properties__": ["ID"], "ID": "Version + Date"},
        {"__key_properties__": ["ID"], "ID": "md5(Version + record['Date']) + '-000002'"},
        {"Date": "self"},
        {"AMOUNT": None},
        {"CENTS": "(AMOUNT or 0) * 100"},
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
    assert "000002" in {deletion.get("Date"), deletion.get("ID", "")[-6:]}
    assert deletion["_sdc_deleted_at"]


@pytest.mark.parametrize(
    "rule",
    [
        "Date != '000002'",
        "record['Date'] != '000002'",
        "record.get('Date') != '000002'",
        "int(Date) < 2",
    ],
)
def test_deletion_of_a_row_that_a_filter_by_key_never_let_through_is_dropped(
    serve: Serve, rule: str
) -> None:
    config = mapped(serve, {"__filter__": rule})
    target = Target()
    target.load(sync(config))
    messages = sync(config, state=target.state)
    assert len(messages.records(STREAM)) == 1
    target.load(messages)
    assert sorted(row["Date"] for row in target.rows(STREAM)) == ["000000", "000001"]


@pytest.mark.parametrize(
    "expression", ["AMOUNT + 'x'", "int(Version)", "1 / (AMOUNT - AMOUNT)", "record['NEW']"]
)
@pytest.mark.parametrize("name", ["X", "__filter__"])
def test_expression_that_fails_on_a_row_is_one_line_and_fails_its_stream_alone(
    serve: Serve, run_cli: RunCli, expression: str, name: str
) -> None:
    config = {**serve(TrackingStandIn(*ROWS)), "stream_maps": {STREAM: {name: expression}}}
    result = run_cli(config)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert re.search(rf"The stream map of {STREAM} fails on a row \(\w+: .*\): ", result.stderr)
    messages = read_messages(result.stdout)
    assert messages.records("providers")
    assert not [item for item in messages.of(STREAM) if item["type"] == "ACTIVATE_VERSION"]


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


def test_maps_of_streams_without_deletions_are_not_checked(serve: Serve) -> None:
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
    assert "stream_maps changed the target table's name or key" in caplog.text


@pytest.mark.parametrize("is_older", [False, True])
def test_other_maps_and_older_states_continue(serve: Serve, *, is_older: bool) -> None:
    config = mapped(serve, {"TEXT": "Date"})
    state = sync({**config, "stream_maps": {}}).state
    if is_older:
        del state["bookmarks"][STREAM]["question"]["tables"]
    assert len(sync(config, state=state).records(STREAM)) == 2
