"""Failures of one stream, after which the others go on, and failures that end the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import discover, read_messages, select, sync
from tests.helpers.counts import (
    FACTS,
    ROWS,
    without_link,
)
from tests.helpers.runs import is_activated, run
from tests.helpers.stand_in import Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from tests.conftest import RunCli, Serve


def test_read_that_is_cut_later_fails_by_name_and_the_others_continue(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS), sales(*ROWS, model_id="C4Z", name="Zoo"))
    tenant.fault = lambda request: (
        without_link(3, tenant)(request) if "C4SALES" in request.target else None
    )
    messages, failure = run(serve(tenant))
    assert "1 of 3 streams failed; the others were read." in failure
    assert "SAC counts 9 rows of sales_fact_data but sent 6" in failure
    assert "Lower page_size" in failure
    assert not is_activated(messages, FACTS)
    assert messages.state["bookmarks"].get(FACTS, {}) == {}
    assert is_activated(messages, "zoo_fact_data")
    assert len(messages.records("zoo_fact_data")) == 9


def test_command_ends_with_exit_code_1_and_a_sentence(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = without_link(3, tenant)
    result = run_cli(serve(tenant))
    assert result.returncode == 1
    assert "1 of 2 streams failed; the others were read. sales_fact_data: SAC" in result.stderr
    assert "Traceback" not in result.stderr
    assert is_activated(read_messages(result.stdout), "providers")


def test_audit_data_that_fails_keeps_its_bookmark(serve: Serve) -> None:
    times = ["2026-11-01T00:00:00.000Z", "2026-11-03T00:00:00.000Z"]
    columns = edmx(AuditData={"Audit_Time": "Edm.DateTimeOffset"})
    rows = [f'{{"Audit_Time":"{time}"}}' for time in times]
    tenant = StandIn(Model("C4A", "A", columns, {"AuditData": rows}), sales(*ROWS, name="Z"))
    config = serve(tenant)
    catalog = select(discover(config), "a_audit_data", "z_fact_data")
    state = sync(config, catalog).state
    before = state["bookmarks"]["a_audit_data"]
    tenant.models[0].sets["AuditData"] = [
        '{"Audit_Time":"2026-11-09T00:00:00.000Z"}',
        '{"Audit_Time":null}',
    ]
    messages, failure = run(config, catalog=catalog, state=state)
    assert "a_audit_data" in failure
    assert len(messages.records("z_fact_data")) == 9
    assert is_activated(messages, "z_fact_data")
    after = messages.state["bookmarks"]["a_audit_data"]
    assert after["replication_key_value"] == before["replication_key_value"]


def test_value_that_does_not_fit_fails_its_stream_alone(serve: Serve) -> None:
    bad = sales(*ROWS[:3], sales_row(4, '"many"'), name="A", model_id="C4A")
    tenant = StandIn(bad, sales(*ROWS, name="Z", model_id="C4Z"))
    messages, failure = run(serve(tenant))
    assert "1 of 3 streams failed" in failure
    assert "a_fact_data: The column AMOUNT of FactData holds 'many'" in failure
    assert not is_activated(messages, "a_fact_data")
    assert is_activated(messages, "z_fact_data")


@pytest.mark.usefixtures("waits")
def test_refused_sign_in_ends_the_run(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS, name="A", model_id="C4A"), sales(*ROWS, name="Z"))
    tenant.fault = lambda request: (
        error_response(401, "no") if "C4A/FactData" in request.target else None
    )
    messages, failure = run(serve(tenant))
    assert "401" in failure
    assert "z_fact_data" not in messages.streams
