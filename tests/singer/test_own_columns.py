"""Columns of SAC that have the name of one that the tap adds: neither is lost in silence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet

from tests.conftest import discover, read_messages, select, sync
from tests.helpers.batches import batch_config, files, records_of
from tests.helpers.stand_in import Model, StandIn, edmx
from tests.helpers.tracking import TrackingStandIn, changed, deleted, delta, log_based

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.conftest import Messages, RunCli, Serve

STREAM = "sales_fact_data"
MARK, VERSION = "_sdc_deleted_at", "_sdc_table_version"
TYPES = {"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"}


def sales_with(column: str, type_name: str, *values: str) -> Model:
    """Make a model whose facts have one more column, with values as JSON text."""
    rows = [
        f'{{"Version":"a","Date":"{number}","AMOUNT":1.5,"{column}":{value}}}'
        for number, value in enumerate(values)
    ]
    document = edmx(FactData={**TYPES, column: type_name})
    return Model("C4SALES", "Sales", document, {"FactData": rows})


def catalog_of(config: dict[str, Any], column: str, **metadata: Any) -> dict[str, Any]:
    """Make the catalog that selects providers and facts, and says more of a column."""
    found = discover(config)
    (said,) = [
        item["metadata"]
        for item in found[STREAM]["metadata"]
        if item["breadcrumb"] == ["properties", column]
    ]
    said.update(metadata)
    return select(found, STREAM, "providers")


def deselected(config: dict[str, Any], column: str) -> dict[str, Any]:
    return catalog_of(config, column, selected=False)


@pytest.mark.parametrize("type_name", ["Edm.String", "Edm.DateTimeOffset", "Edm.Decimal"])
@pytest.mark.parametrize("metadata", [None, {}, {"selected": True}, {"selected": None}])
@pytest.mark.parametrize("option", [[], ["--check"]])
def test_column_with_the_name_of_the_mark_fails_its_stream_alone(
    serve: Serve,
    run_cli: RunCli,
    tmp_path: Path,
    type_name: str,
    metadata: dict[str, Any] | None,
    option: list[str],
) -> None:
    tenant = StandIn(sales_with(MARK, type_name, "null"))
    config = log_based(serve, tenant)
    if metadata is not None:
        path = tmp_path / "catalog.json"
        path.write_text(json.dumps(catalog_of(config, MARK, **metadata)))
        option = [*option, "--catalog", str(path)]
    result = run_cli(config, *option)
    assert result.returncode == 1
    assert (
        f"SAC's column {MARK} of {STREAM} has the name of a column that the tap adds to LOG_BASED "
        "streams: deselect it, or replicate the stream FULL_TABLE."
    ) in result.stdout + result.stderr
    assert not tenant.reads("/FactData")
    if "--check" in option:
        assert result.stdout.splitlines()[-1].startswith(f"FAILED  rows: SAC's column {MARK}")
    else:
        messages = read_messages(result.stdout)
        assert len(messages.records("providers")) == 1
        assert not messages.records(STREAM)


def test_batch_files_fail_with_the_same_message(
    serve: Serve, tmp_path: Path, run_cli: RunCli
) -> None:
    config = log_based(serve, StandIn(sales_with(MARK, "Edm.String", "null")))
    result = run_cli({**config, **batch_config(tmp_path, "jsonl", None, 9)})
    assert result.returncode == 1
    assert f"SAC's column {MARK} of {STREAM} has the name" in result.stderr
    assert not files(read_messages(result.stdout), STREAM)


def tracking(*values: str) -> TrackingStandIn:
    tenant = TrackingStandIn()
    tenant.models = (sales_with(MARK, "Edm.String", *values),)
    tenant.deltas["A"] = delta(
        changed('{"Version":"a","Date":"0","AMOUNT":2.5}'),
        deleted("FactData(Version='a',Date='1')"),
    )
    return tenant


def test_deletion_mark_can_have_the_name_of_a_deselected_column(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = tracking('"then"', '"then"')
    config = log_based(serve, tenant)
    catalog = deselected(config, MARK)
    first = sync(config, catalog)
    assert [record[MARK] for record in first.records(STREAM)] == [None, None]
    assert all("$select=Version,Date,AMOUNT" in read for read in tenant.reads("/FactData"))
    second = sync(config, catalog, first.state)
    update, deletion = second.records(STREAM)
    assert (update["AMOUNT"], update[MARK]) == ("2.5", None)
    assert (deletion["Date"], deletion["AMOUNT"]) == ("1", None)
    assert deletion[MARK].startswith("20")
    assert "does not have" not in caplog.text


def test_column_that_the_catalog_does_not_have_is_reported(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = {**serve(tracking('"then"')), "default_replication_method": "FULL_TABLE"}
    catalog = catalog_of(config, MARK)
    for item in catalog["streams"]:
        item["schema"]["properties"].pop(MARK, None)
        if item["tap_stream_id"] == STREAM:
            item["replication_method"] = "LOG_BASED"
    (record,) = sync(config, catalog).records(STREAM)
    assert record[MARK] is None
    assert f"lacks these columns of {STREAM}, so they are not read: {MARK}" in caplog.text


@pytest.mark.parametrize("batches", [False, True])
def test_column_of_a_full_table_is_passed_on_under_any_name(
    serve: Serve, tmp_path: Path, *, batches: bool
) -> None:
    config = serve(StandIn(sales_with(MARK, "Edm.String", '"then"', "null")))
    settings = batch_config(tmp_path, "jsonl", None, 9) if batches else {}
    messages = sync({**config, **settings})
    records = records_of(messages, STREAM) if batches else messages.records(STREAM)
    assert [record[MARK] for record in records] == ["then", None]
    assert messages.schema(STREAM)["schema"]["properties"][MARK] == {"type": ["string", "null"]}


def test_column_of_a_full_table_can_be_renamed(serve: Serve) -> None:
    config = serve(StandIn(sales_with(MARK, "Edm.String", '"then"')))
    stream_map = {"deleted_in_sac": MARK, MARK: None}
    (record,) = sync({**config, "stream_maps": {STREAM: stream_map}}).records(STREAM)
    assert record == {"Version": "a", "Date": "0", "AMOUNT": "1.5", "deleted_in_sac": "then"}


def test_key_column_with_the_name_of_the_mark_needs_full_table(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    config = log_based(serve, StandIn(sales_with(MARK, "Edm.String*", '"then"')))
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(deselected(config, MARK)))
    for arguments in ((), ("--catalog", str(path))):
        result = run_cli(config, *arguments)
        assert result.returncode == 1
        assert "adds to LOG_BASED streams: replicate the stream FULL_TABLE." in result.stderr
    result = run_cli({**config, "default_replication_method": "FULL_TABLE"})
    assert result.returncode == 0
    assert read_messages(result.stdout).records(STREAM)[0][MARK] == "then"


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    "maps",
    [
        {},
        {STREAM: {"AMOUNT": "AMOUNT"}},
        {STREAM: {"__else__": None, "Version": "Version", "Date": "Date", VERSION: "AMOUNT"}},
    ],
)
def test_column_with_the_name_of_the_version_fails_its_stream_alone(
    serve: Serve, run_cli: RunCli, tmp_path: Path, format_: str, maps: dict[str, Any]
) -> None:
    tenant = StandIn(sales_with(VERSION, "Edm.String", '"v"'))
    config = {**serve(tenant), **batch_config(tmp_path, format_, None, 9), "stream_maps": maps}
    result = run_cli(config)
    assert result.returncode == 1
    assert f"{STREAM} has a column {VERSION}, which batch files need" in result.stderr
    messages = read_messages(result.stdout)
    assert files(messages, "providers")
    assert not files(messages, STREAM)


def values_in_files(messages: Messages, format_: str, column: str) -> Sequence[Any]:
    if format_ == "jsonl":
        return [record.get(column) for record in records_of(messages, STREAM)]
    (path,) = files(messages, STREAM)
    values: list[Any] = parquet.read_table(path)[column].to_pylist()
    return values


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_ways_out_that_are_suggested_for_the_version_work(
    serve: Serve, tmp_path: Path, format_: str
) -> None:
    tenant = StandIn(sales_with(VERSION, "Edm.String", '"v"', '"w"'))
    config = {**serve(tenant), **batch_config(tmp_path, format_, None, 9)}

    without = sync(config, deselected(config, VERSION))
    version = without.of(STREAM)[-1]["version"]
    assert values_in_files(without, format_, VERSION) == [version] * 2

    stream_map = {"version_in_sac": VERSION, VERSION: None}
    renamed = sync({**config, "stream_maps": {STREAM: stream_map}})
    version = renamed.of(STREAM)[-1]["version"]
    assert values_in_files(renamed, format_, VERSION) == [version] * 2
    assert values_in_files(renamed, format_, "version_in_sac") == ["v", "w"]

    unversioned = sync({**config, "emit_activate_version_messages": False})
    assert values_in_files(unversioned, format_, VERSION) == ["v", "w"]


def test_version_of_sac_is_a_column_as_any_other_beside_records(serve: Serve) -> None:
    messages = sync(serve(StandIn(sales_with(VERSION, "Edm.String", '"v"'))))
    (message,) = [item for item in messages.of(STREAM) if item["type"] == "RECORD"]
    assert message["record"][VERSION] == "v"
    assert isinstance(message["version"], int)
