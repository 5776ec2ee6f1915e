"""A read in slices that failed goes on with the rest; its state never runs ahead of its rows."""

from __future__ import annotations

import copy
import itertools
import json
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import discover, read_messages, select
from tests.helpers.batches import batch_config, records_of
from tests.helpers.cli import read_until, started, tap_command
from tests.helpers.runs import is_activated, run
from tests.helpers.slicing import (
    FACTS,
    SLICED,
    SlicingStandIn,
    at_slice,
    fact,
    is_of_facts,
    versions,
    warnings,
)
from tests.helpers.stand_in import error_response

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tap_sac.demo.service import Request
    from tests.conftest import Messages, Serve

SIZES = {"A": 3, "B": 5, "C": 2, "D": 4, "E": 4}
DAY = 24 * 60 * 60 * 1000


def refusing(version: str, *, skiptoken: str | None = "2") -> Callable[..., Any]:
    """Refuse the client on a page of a slice, which ends the run."""
    return at_slice(version, lambda _: error_response(403, "no"), skiptoken=skiptoken)


def failed_run(
    tenant: SlicingStandIn, config: dict[str, Any], **inputs: Any
) -> tuple[Messages, dict[str, Any]]:
    """Run until four of five slices are done, and a part of the last; returns the state, too."""
    tenant.fault = refusing("E")
    messages, failure = run(config, **inputs)
    assert "SAC answered 403" in failure
    assert not is_activated(messages, FACTS)
    tenant.fault = lambda _: None
    tenant.requests.clear()
    return messages, messages.state


def version_of(messages: Messages) -> int:
    (version,) = {item["version"] for item in messages.of(FACTS) if "version" in item}
    return int(version)


def test_run_that_failed_continues_with_the_rest_under_the_same_version(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0, 3)
    monkeypatch.setattr("tap_sac.streams.progress.monotonic", lambda: next(clock))
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED}
    first, state = failed_run(tenant, config)
    assert versions(first) == [*"AAABBBBBCCDDDDEE"]
    assert " of 18 rows (78%) so far" in caplog.text
    messages, failure = run(config, state=state)
    assert not failure
    assert versions(messages) == [*"EEEE"]
    assert version_of(messages) == version_of(first)
    assert messages.of(FACTS)[-1]["type"] == "ACTIVATE_VERSION"
    assert tenant.asked() == ["Version eq 'E'"]
    assert sorted(filter(None, tenant.asked(counts=True))) == [
        f"Version eq '{version}'" for version in "ABCD"
    ]
    bookmark = messages.state["bookmarks"][FACTS]
    del bookmark["types"]
    expected = {"version": version_of(messages), "filter": None, "slices": None}
    assert bookmark == {**expected, "tenant": bookmark["tenant"]}
    assert ", after 4 slices" in caplog.text
    assert " 4 of 4 rows (100%) so far" in caplog.text
    assert "4 rows read after 14 of an earlier run, 18 counted by SAC" in caplog.text
    assert "seconds: 5 rows; 1 counted and proven, 1 not counted." in caplog.text  # 1 provider


def test_slice_whose_count_has_changed_is_read_again(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED}
    first, state = failed_run(tenant, config)
    tenant.rows.append(fact("B", 99))
    tenant.rows.remove(fact("D", 1))
    messages, failure = run(config, state=state)
    assert not failure
    assert versions(messages) == [*"BBBBBBDDDEEEE"]
    assert version_of(messages) == version_of(first)
    assert is_activated(messages, FACTS)


def test_run_that_fails_again_continues_from_there(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED}
    tenant.fault = refusing("B")
    first, failure = run(config)
    assert failure
    tenant.fault = refusing("D")
    second, failure = run(config, state=first.state)
    assert failure
    assert versions(second) == [*"BBBBBCCDD"]
    tenant.fault = lambda _: None
    third, failure = run(config, state=second.state)
    assert not failure
    assert versions(third) == [*"DDDDEEEE"]
    assert version_of(first) == version_of(second) == version_of(third)
    assert is_activated(third, FACTS)


def test_slice_that_cannot_be_trusted_is_what_the_next_run_reads(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED}
    row = tenant.rows.index(fact("C", 1))
    tenant.rows[row] = fact("C", 1, '"no number"')
    first, failure = run(config)
    assert "sales_fact_data: The column AMOUNT of FactData holds 'no number'" in failure
    tenant.rows[row] = fact("C", 1)
    messages, failure = run(config, state=first.state)
    assert not failure
    assert versions(messages) == [*"CCDDDDEEEE"]
    assert version_of(messages) == version_of(first)


def bookmark_of(state: dict[str, Any]) -> dict[str, Any]:
    bookmark: dict[str, Any] = state["bookmarks"][FACTS]
    return bookmark


def made_older(state: dict[str, Any], milliseconds: int) -> None:
    bookmark_of(state)["slices"]["started_at"] -= milliseconds


def spoiled(state: dict[str, Any], **parts: Any) -> None:
    bookmark_of(state)["slices"] |= parts


@pytest.mark.parametrize(
    ("settings", "edit", "told"),
    [
        ({}, lambda state: made_older(state, DAY + 60_000), "within the last 24 hours"),
        ({}, lambda state: made_older(state, -60_000), "within the last 24 hours"),
        ({"filters": {FACTS: "Date ge '0'"}}, None, "partition_by have changed"),
        ({"partition_by": {FACTS: "Date"}}, None, "partition_by have changed"),
        ({"stream_maps": {FACTS: {"X": "Date"}}}, None, "its output (types, stream maps,"),
        ({"stream_maps": {"*_fact_data": {"AMOUNT": None}}}, None, "its output (types,"),
        ({"stream_maps": {"sales_f*": {"__filter__": "Date > '0'"}}}, None, "its output (types,"),
        ({"flattening_enabled": True, "flattening_max_depth": 1}, None, "its output (types,"),
        ({"use_singer_decimal": True}, None, "its output (types,"),
        ({}, lambda state: spoiled(state, version=None), "emit_activate_version_messages has"),
        ({}, lambda state: spoiled(state, done={"a": 1}), ""),
        ({}, lambda state: spoiled(state, done=[["a"]]), ""),
        ({}, lambda state: spoiled(state, done=[["a", "b"]]), ""),
        ({}, lambda state: spoiled(state, question=5), ""),
        ({}, lambda state: spoiled(state, started_at="yesterday"), ""),
        ({}, lambda state: spoiled(state, version=-5), ""),
        ({}, lambda state: bookmark_of(state).update(slices=[1]), ""),
    ],
)
def test_another_read_starts_over(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    settings: dict[str, Any],
    edit: Callable[[dict[str, Any]], None] | None,
    told: str,
) -> None:
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED}
    first, state = failed_run(tenant, config)
    if edit:
        edit(state)
    messages, failure = run({**config, **settings}, state=state)
    assert not failure
    assert len(messages.records(FACTS)) == 18
    assert version_of(messages) > version_of(first)
    assert is_activated(messages, FACTS)
    assert told in caplog.text
    assert "resuming the read" not in caplog.text


@pytest.mark.parametrize(
    "stream_maps",
    [{FACTS: {"__alias__": "facts"}}, {"facts": {"__source__": FACTS}}],
)
def test_table_of_another_name_starts_over(serve: Serve, stream_maps: dict[str, Any]) -> None:
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED}
    _, state = failed_run(tenant, config)
    messages, failure = run({**config, "stream_maps": stream_maps}, state=state)
    assert not failure
    assert len(messages.records("facts")) == 18
    assert is_activated(messages, "facts")


def test_files_in_another_place_start_over(serve: Serve, tmp_path: Path) -> None:
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED, **batch_config(tmp_path / "a", "jsonl", None, 9)}
    _, state = failed_run(tenant, config)
    other = batch_config(tmp_path / "b", "jsonl", None, 9)
    messages, failure = run({**config, **other}, state=state)
    assert not failure
    assert len(records_of(messages, FACTS)) == 18


@pytest.mark.parametrize(
    "other",
    [
        {"stream_maps": {"providers": {"X": "ProviderID"}}},
        {"batch_config": None},
        {"max_parallel_requests": 2, "page_size": 3, "request_timeout": 7},
    ],
)
def test_irrelevant_changes_do_not_prevent_resuming(serve: Serve, other: dict[str, Any]) -> None:
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED}
    _, state = failed_run(tenant, config)
    messages, failure = run({**config, **other}, state=state)
    assert not failure
    assert versions(messages) == [*"EEEE"]


def test_day_is_not_over_after_23_hours(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED}
    _, state = failed_run(tenant, config)
    made_older(state, DAY - 3_600_000)
    messages, failure = run(config, state=state)
    assert not failure
    assert versions(messages) == [*"EEEE"]


def test_run_without_versions_continues_too(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED, "emit_activate_version_messages": False}
    first, state = failed_run(tenant, config)
    messages, failure = run(config, state=state)
    assert not failure
    assert versions(messages) == [*"EEEE"]
    assert not any("version" in item for item in [*first, *messages])
    again, failure = run(config, state=messages.state)
    assert not failure
    assert len(again.records(FACTS)) == 18


def test_other_columns_start_over(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED}
    first, state = failed_run(tenant, config)
    catalog = select(discover(config), FACTS)
    for entry in catalog["streams"]:
        for item in entry["metadata"]:
            if item["breadcrumb"][1:] == ["AMOUNT"]:
                item["metadata"]["selected"] = False
    messages, failure = run(config, catalog=catalog, state=state)
    assert not failure
    assert len(messages.records(FACTS)) == 18
    assert version_of(messages) > version_of(first)


def test_rows_without_a_key_start_over(serve: Serve) -> None:
    """Those of the slice that broke off would come twice under one version."""
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED}
    catalog = discover(config)
    catalog[FACTS]["key_properties"] = []
    chosen = select(catalog, FACTS)
    tenant.fault = refusing("E")
    first, failure = run(config, catalog=copy.deepcopy(chosen))
    assert failure
    assert not any("slices" in json.dumps(item) for item in first if item["type"] == "STATE")
    _, state = failed_run(tenant, config)
    messages, failure = run(config, catalog=chosen, state=state)
    assert not failure
    assert len(messages.records(FACTS)) == 18
    assert version_of(messages) > bookmark_of(state)["slices"]["version"]


@pytest.mark.parametrize("key", [[], None])
def test_rows_without_a_key_after_a_map_start_over(serve: Serve, key: list[str] | None) -> None:
    tenant = SlicingStandIn(SIZES)
    maps = {"stream_maps": {FACTS: {"__key_properties__": key}}}
    config = {**serve(tenant), **SLICED, **maps}
    first, state = failed_run(tenant, config)
    assert not any("slices" in json.dumps(item) for item in first if item["type"] == "STATE")
    messages, failure = run(config, state=state)
    assert not failure
    assert len(messages.records(FACTS)) == 18
    assert version_of(messages) > version_of(first)


@pytest.mark.parametrize("partition_by", [{FACTS: "Version"}, {}], ids=["slices", "one go"])
def test_no_run_resumes_a_read_that_another_one_has_replaced(
    serve: Serve, partition_by: dict[str, str]
) -> None:
    """Rows of the later version would stay in the target, as no filter or deletion is mirrored."""
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED}
    _, state = failed_run(tenant, config)
    tenant.fault = lambda request: (
        error_response(403, "no")
        if is_of_facts(request) and "skiptoken" in request.target
        else None
    )
    other = {**config, "partition_by": partition_by, "filters": {FACTS: "Date ge '000000'"}}
    second, failure = run(other, state=state)
    assert failure
    assert second.records(FACTS)
    tenant.fault = lambda _: None
    third, failure = run(config, state=second.state)
    assert not failure
    assert len(third.records(FACTS)) == 18
    assert version_of(third) > version_of(second)


def test_merged_state_of_a_complete_read_is_not_resumed(serve: Serve) -> None:
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED}
    _, unfinished = failed_run(tenant, config)
    done, failure = run(config, state=unfinished)
    assert not failure
    state = done.state
    bookmark_of(state)["slices"] = bookmark_of(unfinished)["slices"]
    messages, failure = run(config, state=state)
    assert not failure
    assert len(messages.records(FACTS)) == 18
    assert version_of(messages) > version_of(done)


def test_totals_of_a_part_are_not_compared(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    tenant = SlicingStandIn(SIZES)
    tenant.models[0].edmx = tenant.models[0].edmx.replace(
        "</Schema>",
        '<EntityType Name="FactDataAggregation"><Key><PropertyRef Name="Version"/></Key>'
        '<Property Name="Version" Type="Edm.String"/></EntityType></Schema>',
    )
    config = {**serve(tenant), **SLICED, "verify_totals": True}
    _, state = failed_run(tenant, config)
    messages, failure = run(config, state=state)
    assert not failure
    assert versions(messages) == [*"EEEE"]
    assert warnings(caplog, "because an earlier run read some of the rows")


def done_slices(state: dict[str, Any]) -> int:
    slices = state.get("bookmarks", {}).get(FACTS, {}).get("slices")
    return len(slices["done"]) if slices else 0


@pytest.mark.parametrize(
    "stream_maps", [{}, {FACTS: {"__filter__": "1 == 1"}}], ids=["fast", "SDK"]
)
def test_state_never_has_a_slice_whose_rows_are_not_written(
    serve: Serve, stream_maps: dict[str, Any]
) -> None:
    config = {**serve(SlicingStandIn(SIZES)), **SLICED, "stream_maps": stream_maps}
    messages, failure = run(config)
    assert not failure
    sizes, rows, seen = [*SIZES.values()], 0, []
    for message in messages:
        rows += message["type"] == "RECORD" and message["stream"] == FACTS
        if message["type"] == "STATE" and (done := done_slices(message["value"])):
            assert rows == sum(sizes[:done])
            seen.append(done)
    assert sorted(set(seen)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "stream_maps", [{}, {FACTS: {"__filter__": "1 == 1"}}], ids=["fast", "map"]
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_state_never_has_a_slice_whose_files_are_not_named(
    serve: Serve, tmp_path: Path, format_: str, size: int, stream_maps: dict[str, Any]
) -> None:
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED, **batch_config(tmp_path, format_, None, size)}
    config["stream_maps"] = stream_maps
    first, state = failed_run(tenant, config)
    sizes = [-(-rows // size) for rows in SIZES.values()]
    files, seen = 0, []
    for message in first:
        files += message["type"] == "BATCH" and message["stream"] == FACTS
        if message["type"] == "STATE" and (done := done_slices(message["value"])):
            assert files >= sum(sizes[:done])
            seen.append(done)
    assert sorted(set(seen)) == [1, 2, 3, 4]
    messages, failure = run(config, state=state)
    assert not failure
    assert messages.of(FACTS)[-1]["type"] == "ACTIVATE_VERSION"
    assert sum(item["type"] == "BATCH" for item in messages.of(FACTS)) == sizes[-1]
    if format_ == "jsonl":
        written = [*records_of(first, FACTS), *records_of(messages, FACTS)]
        assert {(row["Version"], row["Date"]) for row in written} == {
            (version, f"{number:06}") for version, rows in SIZES.items() for number in range(rows)
        }
        assert len({row["_sdc_table_version"] for row in written}) == 1


def test_signal_leaves_a_state_to_continue_from(serve: Serve, tmp_path: Path) -> None:
    tenant = SlicingStandIn(SIZES)
    config = {**serve(tenant), **SLICED}
    catalog = tmp_path / "catalog.json"
    catalog.write_text(json.dumps(select(discover(config), FACTS)))
    ended = threading.Event()

    def wait(_: Request) -> None:
        ended.wait(30)

    tenant.fault = at_slice("D", wait)
    command = tap_command(tmp_path, config, "--catalog", str(catalog))
    with started(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        output = line = ""
        while not line or done_slices(json.loads(line.splitlines()[-1])["value"]) < 3:
            line = read_until('"STATE"', process.stdout)
            output += line
        process.send_signal(signal.SIGTERM)
        output += process.stdout.read()
    ended.set()
    assert process.returncode == 128 + signal.SIGTERM
    first = read_messages(output)
    tenant.fault = lambda _: None
    messages, failure = run(config, state=first.state)
    assert not failure
    assert versions(messages) == [*"DDDDEEEE"]
    assert version_of(messages) == version_of(first)
    assert is_activated(messages, FACTS)
