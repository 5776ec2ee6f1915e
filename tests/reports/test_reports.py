"""Each report of a tenant in this folder: the tap reads a tenant that answers like it.

They are made by ``tap-sac --report``; CONTRIBUTING.md says how one becomes a test. Those of before
anybody sent one are of sample tenants.
"""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.like import LikeReport
from tests.conftest import read_messages, select
from tests.helpers.reports import answers, flaws, read_report
from tests.helpers.target import Target

if TYPE_CHECKING:
    from tests.conftest import RunCli, Serve
    from tests.helpers.reports import Report

FILES = sorted(Path(__file__).parent.glob("*.json"))
# tox -e reports runs all of them.
MOST = None if os.environ.get("TAP_SAC_ALL_REPORTS") else 10


@pytest.fixture(params=FILES[:MOST], ids=lambda path: path.stem)
def report(request: pytest.FixtureRequest) -> Report:
    return read_report(request.param)


class Flow:
    """Runs of the tap on one table of a tenant, into one target."""

    def __init__(self, run_cli: RunCli, config: dict[str, Any], folder: Path, stream: str) -> None:
        self._run, self._config, self._folder, self._stream = run_cli, config, folder, stream
        self._target = Target()

    def discover(self) -> dict[str, Any]:
        found = self._run(self._config, "--discover")
        assert found.returncode == 0, found.stderr
        catalog = {item["tap_stream_id"]: item for item in json.loads(found.stdout)["streams"]}
        self._store("catalog.json", select(dict(catalog), self._stream))
        return catalog

    def read(self, **settings: Any) -> list[tuple[Any, ...]]:
        """Read once, from the last state; returns the rows of the table."""
        self._store("state.json", self._target.state)
        options = ("--catalog", "catalog.json", "--state", "state.json")
        paths = [text if text[0] == "-" else str(self._folder / text) for text in options]
        result = self._run({**self._config, **settings}, *paths)
        assert result.returncode == 0, result.stderr
        self._target.load(read_messages(result.stdout))
        return table(self._target.rows(self._stream))

    def begin(self) -> None:
        self._target = Target()

    def _store(self, name: str, value: object) -> None:
        (self._folder / name).write_text(json.dumps(value))


def table(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return rows that can be compared: null is as good as nothing, and no order counts."""
    pairs = (
        sorted((name, value) for name, value in row.items() if value is not None) for row in rows
    )
    return sorted(map(tuple, pairs), key=str)


def test_report_has_only_words_of_the_grammar(report: Report) -> None:
    assert list(flaws(report)) == []


def test_tenant_like_the_report_is_read(
    serve: Serve, run_cli: RunCli, tmp_path: Path, report: Report
) -> None:
    tenant, seen = LikeReport(report), answers(report)
    subject = next(
        it for it in report["models"]["list"] if it["name"] == report["models"]["subject"]
    )
    facts = tenant.service.facts((subject["namespace_id"], subject["name"]))
    # Of several facts under one key, a table keeps one: the sums are what can be loaded.
    is_several = seen["positions"].get("keys again") == "other figures"
    stream = f"{subject['name'].lower()}_fact_data{'_aggregation' if is_several else ''}"
    flow = Flow(run_cli, {**serve(tenant), "models": [subject["name"]]}, tmp_path, stream)
    catalog = flow.discover()
    assert catalog[stream]["key_properties"] == [*facts.key_columns]

    def expected() -> list[tuple[Any, ...]]:
        return table([row for row in facts.rows if row is not None])

    assert flow.read() == expected() != []
    assert flow.read() == expected()
    flow.begin()
    assert flow.read(partition_by={stream: facts.key_columns[0]}) == expected()
    if "FactData" in seen["$metadata"].get("tracked", ""):
        flow.begin()
        assert flow.read(default_replication_method="LOG_BASED") == expected()
        change(facts)
        assert flow.read(default_replication_method="LOG_BASED") == expected()


def change(facts: Any) -> None:  # noqa: ANN401  (TrackedRows)
    first, second = facts.rows[:2]
    measures = {name: Decimal("7.0000000") for name in first if name not in facts.key_columns}
    facts.put({**first, **measures})
    facts.delete(facts.key_of(second))
