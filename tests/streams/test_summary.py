"""The sentence at the end of a run, and the same in the structured log."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.sac.errors import SACError
from tap_sac.streams.reading import Changes
from tests.conftest import sync
from tests.helpers.batches import batch_config
from tests.helpers.counts import FACTS, ROWS, counting, without_link
from tests.helpers.runs import killed_sync, run
from tests.helpers.stand_in import StandIn, error_response, sales, sales_row
from tests.helpers.tracking import TrackingStandIn, changed, deleted, delta, log_based

if TYPE_CHECKING:
    from pathlib import Path

    from tap_sac.demo.service import Request, Response
    from tests.conftest import Serve

NOTHING = dict.fromkeys(
    [
        *("tables", "rows", "changes", "deletions", "files"),
        *("proven", "not_counted", "unproven", "updated", "failed", "not_read", "skipped_models"),
    ],
    0,
)


def ending(caplog: pytest.LogCaptureFixture) -> tuple[str, dict[str, Any]]:
    """Return the sentence without the seconds, and its numbers."""
    (record,) = [item for item in caplog.records if hasattr(item, "tables")]
    assert record.name == "tap-sac"
    assert record.seconds > 0  # type: ignore[attr-defined]
    sentence, number = re.subn(r" in [\d.]+ seconds", "", record.getMessage())
    assert number == 1
    return sentence, {name: vars(record)[name] for name in NOTHING}


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_tables_are_reported_by_how_they_ended(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    models = [sales(*ROWS, model_id=f"C4{name}", name=name) for name in ("Cut", "Good", "Live")]
    tenant = StandIn(*models)
    cut = without_link(3, tenant)

    def fault(request: Request) -> Response | None:
        if "C4Live" in request.target:
            return error_response(412, "A live-connection model has no data.")
        return cut(request) if "C4Cut" in request.target else None

    tenant.fault = fault
    run(serve(tenant))
    sentence, numbers = ending(caplog)
    assert sentence == (
        "Read 2 tables: 12 rows; 1 counted and proven, 1 not counted, 1 failed; 1 model skipped."
    )
    told = {"tables": 2, "proven": 1, "not_counted": 1, "failed": 1, "skipped_models": 1}
    assert numbers == {**NOTHING, **told, "rows": 12}


def test_table_that_may_be_incomplete_is_not_proven(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = counting(tenant, 10)
    sync(serve(tenant))
    assert "; 1 not counted, 1 not proven." in ending(caplog)[0]


def test_changes_and_deletions_are_told_apart(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = TrackingStandIn(*ROWS)
    config = log_based(serve, tenant)
    first = sync(config)
    gone = [f"FactData(Version='public.Actual',Date='00000{number}')" for number in (0, 1)]
    tenant.deltas["A"] = delta(*map(changed, map(sales_row, (2, 3))), *map(deleted, gone), link="B")
    caplog.clear()
    sync(config, state=first.state)
    sentence, numbers = ending(caplog)
    assert sentence == (
        "Read 2 tables: 1 row, 4 changes, 2 of them deletions; 1 not counted, 1 updated by changes."
    )
    told = {"tables": 2, "rows": 1, "changes": 4, "deletions": 2, "not_counted": 1, "updated": 1}
    assert numbers == {**NOTHING, **told}
    assert "sales_fact_data: 4 changes read, 2 of them deletions, 1 page." in caplog.messages
    assert Changes(3, 1).text() == "3 changes, 1 of them a deletion"


def test_files_are_counted(serve: Serve, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    sync({**serve(StandIn(sales(*ROWS))), **batch_config(tmp_path, "jsonl", None, 4)})
    assert ending(caplog)[0].startswith("Read 2 tables: 10 rows, 4 files; ")
    assert len([*tmp_path.iterdir()]) == 4


def test_stopped_run_logs_what_it_has_not_read(
    serve: Serve, caplog: pytest.LogCaptureFixture, waits: list[float]
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = lambda request: (
        error_response(401, "no") if "FactData" in request.target else None
    )
    with pytest.raises(SACError, match="401"):
        sync(serve(tenant))
    assert waits
    assert ending(caplog)[0] == "Read 1 table: 1 row; 1 not counted, 1 not read."


def test_table_whose_last_message_is_not_written_is_not_read(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = serve(StandIn(sales(*ROWS)))
    kinds = [(item["type"], item.get("stream")) for item in sync(config)]
    caplog.clear()
    killed_sync(config, None, {}, kinds.index(("ACTIVATE_VERSION", FACTS)))
    assert ending(caplog)[0] == "Read 1 table: 1 row; 1 not counted, 1 not read."
