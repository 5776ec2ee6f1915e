"""FactDataDifference: rows that add up, for subscribers alone."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.service import SALES_MODEL, SampleService
from tap_sac.singer.sums import exact_sum
from tap_sac.tap import TapSAC
from tests.conftest import discover, select
from tests.helpers.pipeline import KEY, MEASURES, TableKey, model_rows
from tests.helpers.runs import is_activated, run
from tests.helpers.slicing import warnings

if TYPE_CHECKING:
    from pathlib import Path

    from tap_sac.demo.behaviour import Behaviour
    from tap_sac.demo.service import Request, Response
    from tests.conftest import Messages, RunCli, Serve

STREAM = "sales_planning_fact_data_difference"


class Tenant:
    """The sample tenant with few facts, a table that rows are appended to, and what was asked."""

    def __init__(self, serve: Serve, picture: Behaviour, **settings: Any) -> None:
        self.service = SampleService(picture)
        self.service.limit(SALES_MODEL, 30)
        self.asked: list[str] = []
        self.config = {**serve(self._answer), "models": ["Sales Planning"], **settings}
        self.rows: list[tuple[int | None, dict[str, Any]]] = []
        self.state: dict[str, Any] = {}

    def _answer(self, request: Request) -> Response:
        if "FactDataDifference" in request.target:
            self.asked.append(request.target)
        return self.service(request)

    def catalog(self, **changes: Any) -> dict[str, Any]:
        catalog = select(discover(self.config), STREAM)
        for entry in catalog["streams"]:
            if entry["tap_stream_id"] == STREAM:
                entry.update(changes)
                if key := changes.get("key_properties"):
                    (root,) = (item for item in entry["metadata"] if not item["breadcrumb"])
                    root["metadata"]["table-key-properties"] = key
        return catalog

    def run(self, catalog: dict[str, Any] | None = None) -> tuple[Messages, str]:
        """Run the tap, and do with its messages what a target without a key does."""
        messages, failure = run(
            self.config, catalog=catalog or self.catalog(), state=self.state or None
        )
        for item in messages.of(STREAM):
            if item["type"] == "RECORD":
                self.rows.append((item.get("version"), item["record"]))
            elif item["type"] == "ACTIVATE_VERSION":
                self.rows = [row for row in self.rows if row[0] == item["version"]]
        self.state = messages.state
        return messages, failure

    @property
    def sums(self) -> dict[TableKey, tuple[Any, ...]]:
        """What the rows of the table add up to, without what adds up to nothing."""
        found: dict[TableKey, list[dict[str, Any]]] = defaultdict(list)
        for _, row in self.rows:
            found[tuple(row[name] for name in KEY)].append(row)
        sums = {
            key: tuple(exact_sum(Decimal(row[name] or 0) for row in rows) for name in MEASURES)
            for key, rows in found.items()
        }
        return {key: totals for key, totals in sums.items() if any(totals)}

    def check(self) -> None:
        assert self.sums == model_rows(self.service.facts(SALES_MODEL))


@pytest.mark.parametrize("default", ["FULL_TABLE", "LOG_BASED"])
def test_rows_of_all_runs_add_up_to_the_facts(
    serve: Serve, caplog: pytest.LogCaptureFixture, picture: Behaviour, default: str
) -> None:
    tenant = Tenant(serve, picture, default_replication_method=default)
    first, failure = tenant.run()
    assert not failure
    assert len(tenant.rows) == 30
    assert first.schema(STREAM)["key_properties"] == []
    assert is_activated(first, STREAM)
    tenant.check()
    for _ in range(2):
        tenant.service.change()
        messages, failure = tenant.run()
        assert not failure
        assert len(messages.records(STREAM)) == 3
        assert not is_activated(messages, STREAM)
        tenant.check()
    assert not warnings(caplog, "again")


def test_differences_never_have_a_key(serve: Serve, picture: Behaviour) -> None:
    tenant = Tenant(serve, picture)
    entry = discover(tenant.config)[STREAM]
    assert entry["replication_method"] == "LOG_BASED"
    assert list(entry["key_properties"]) == []
    roots = [item["metadata"] for item in entry["metadata"] if not item["breadcrumb"]]
    assert not roots[0].get("table-key-properties")
    messages, failure = tenant.run(tenant.catalog(key_properties=[*KEY]))
    assert not failure
    assert messages.schema(STREAM)["key_properties"] == []


@pytest.mark.parametrize("method", ["FULL_TABLE", "INCREMENTAL"])
def test_other_methods_send_no_requests(
    serve: Serve, caplog: pytest.LogCaptureFixture, picture: Behaviour, method: str
) -> None:
    tenant = Tenant(serve, picture)
    catalog = tenant.catalog(replication_method=method, key_properties=[*KEY])
    for entry in catalog["streams"]:  # One whose rows are read while others are.
        if entry["tap_stream_id"] == "sales_planning_fact_data":
            (root,) = (item for item in entry["metadata"] if not item["breadcrumb"])
            root["metadata"]["selected"] = True
    messages, failure = tenant.run(catalog)
    assert not failure
    assert len(messages.records("sales_planning_fact_data")) == 30
    assert not tenant.asked
    assert not messages.records(STREAM)
    assert not is_activated(messages, STREAM)
    (line,) = warnings(caplog, STREAM)
    assert line == (
        f"Skipping the stream {STREAM}, because it has only changes, and is {method}: make it "
        "LOG_BASED."
    )


def test_nothing_is_requested_if_sac_does_not_track_changes(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tap_sac.demo.edmx.TRACKABLE", {"FactData"})
    tenant = Tenant(serve, SampleService().behaviour)
    for method in ("FULL_TABLE", "LOG_BASED"):
        _, failure = tenant.run(tenant.catalog(replication_method=method))
        assert not failure
    assert not tenant.asked
    (line,) = {*warnings(caplog, STREAM)}
    assert line == (
        f"Skipping the stream {STREAM}, because it has only changes, which SAC does not track "
        "here: deselect it."
    )


def test_trying_them_opens_no_subscription(
    serve: Serve, picture: Behaviour, run_cli: RunCli, tmp_path: Path
) -> None:
    tenant = Tenant(serve, picture)
    TapSAC(config=tenant.config, catalog=tenant.catalog()).run_connection_test()
    catalog = tmp_path / "differences.json"
    catalog.write_text(json.dumps(tenant.catalog()))
    result = run_cli(tenant.config, "--check", "--catalog", str(catalog))
    assert result.returncode == 0
    assert (
        f"{STREAM} cannot be tested without opening a subscription" in result.stderr + result.stdout
    )
    assert not tenant.asked
    assert not tenant.service.subscriptions


@pytest.mark.parametrize("has_versions", [True, False])
def test_lost_differences_are_not_added_to_earlier_rows(
    serve: Serve, picture: Behaviour, *, has_versions: bool
) -> None:
    tenant = Tenant(serve, picture, emit_activate_version_messages=has_versions)
    tenant.run()
    tenant.service.change()
    tenant.service.expire()
    _, failure = tenant.run()
    assert bool(failure) is not has_versions
    if has_versions:
        tenant.check()
    else:
        assert f"{STREAM}: The differences of {STREAM} since the last run are lost" in failure
        assert len(tenant.rows) == 30
