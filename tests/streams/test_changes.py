"""Following delta links: after each run, the table equals the model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.service import (
    SALES_MODEL,
    Response,
)
from tap_sac.sac.errors import SACError
from tests.conftest import discover, select, sync
from tests.helpers.pipeline import (
    ALL_PRODUCTS,
    KEY,
    MEASURES,
    STREAM,
    Pipeline,
)
from tests.helpers.runs import ALL_MESSAGES, killed_sync
from tests.helpers.stand_in import error_response
from tests.helpers.tracking import (
    ROWS,
    TrackingStandIn,
    changed,
    delta,
    log_based,
)

if TYPE_CHECKING:
    from tests.conftest import Serve


def test_initial_update_insert_delete_and_reinsert(pipeline: Pipeline) -> None:
    first = pipeline.run()
    types = [item["type"] for item in first.of(STREAM)]
    assert types == ["SCHEMA", *["RECORD"] * 12, "ACTIVATE_VERSION"]
    assert first.schema(STREAM)["schema"]["properties"]["_sdc_deleted_at"] == {
        "type": ["string", "null"],
        "format": "date-time",
    }
    pipeline.check()

    facts = pipeline.facts
    facts.put(pipeline.row(0, REVENUE="123456789012345678901234.1234567"))
    facts.put({**pipeline.row(1), "Date": "202712"})
    deleted = pipeline.row(2)
    facts.delete(facts.key_of(deleted))
    changes = pipeline.run().records(STREAM)
    assert len(changes) == 3
    assert set(pipeline.table.versions.values()) == {first.of(STREAM)[-1]["version"]}
    gone = [record for record in changes if record["_sdc_deleted_at"]]
    assert [set(record) for record in gone] == [{*KEY, *MEASURES, "_sdc_deleted_at"}]
    pipeline.check()

    facts.put(deleted)
    facts.delete(facts.key_of(pipeline.row(3)))
    facts.put({**pipeline.row(4), "Date": "202801"})
    facts.delete(facts.key_of({**pipeline.row(4), "Date": "202801"}))
    pipeline.run()
    pipeline.check()


def test_state_of_an_earlier_version_is_accepted(pipeline: Pipeline) -> None:
    version = pipeline.run().of(STREAM)[-1]["version"]
    root = f"{pipeline.config['tenant_url']}/api/v1/dataexport/providers/sac/{SALES_MODEL[1]}"
    (subscription,) = pipeline.service.subscriptions
    # As version 0.1.0 wrote it before the first release.
    pipeline.table.state = json.loads(
        f"""{{"bookmarks":{{"providers":{{}},"{STREAM}":{{
        "delta_link":"{root}/FactData?deltaid={subscription}","version":{version},
        "question":{{"key":["Version","Date","Product","XX_REGION","Currency"],
        "columns":["Version","Date","Product","XX_REGION","Currency","QUANTITY","REVENUE",
        "LOYALTY_POINTS"],"filter":null}},"is_followed":false}}}}}}"""
    )
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))
    messages = pipeline.run()
    assert len(messages.records(STREAM)) == 1
    assert "ACTIVATE_VERSION" not in {item["type"] for item in messages.of(STREAM)}
    pipeline.check()


def test_empty_delta_advances_the_link(pipeline: Pipeline) -> None:
    pipeline.run()
    before = pipeline.bookmark()
    messages = pipeline.run()
    assert messages.records(STREAM) == []
    assert pipeline.bookmark()["delta_link"] != before["delta_link"]
    assert pipeline.bookmark()["version"] == before["version"]
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))
    pipeline.run()
    pipeline.check()


def test_delta_is_followed_through_all_its_pages(pipeline: Pipeline) -> None:
    pipeline.run()
    for number in range(11):
        pipeline.facts.put(pipeline.row(number, QUANTITY=f"{number}.5000000"))
    assert len(pipeline.run().records(STREAM)) == 11
    pipeline.check()


def test_lost_chain_reloads_under_a_new_version(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.run()
    before = pipeline.bookmark()
    pipeline.facts.delete(pipeline.facts.key_of(pipeline.row(0)))
    pipeline.service.expire()
    messages = pipeline.run()
    assert len(messages.records(STREAM)) == 11
    assert messages.of(STREAM)[-1] == {
        "type": "ACTIVATE_VERSION",
        "stream": STREAM,
        "version": pipeline.bookmark()["version"],
    }
    assert pipeline.bookmark()["version"] > before["version"]
    pipeline.check()
    assert "again under a new version, because SAC answered 404" in caplog.text


def test_lost_chain_can_stop_the_run(pipeline: Pipeline) -> None:
    pipeline.run()
    before = pipeline.bookmark()
    pipeline.service.expire()
    with pytest.raises(SACError, match=r"404.*set on_delta_lost to full_refresh"):
        pipeline.run(on_delta_lost="fail")
    assert pipeline.bookmark() == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"filters": ALL_PRODUCTS}, "the filter changed from None to"),
        ({"page_size": 7}, None),
    ],
)
def test_another_filter_reloads_and_deletes_the_old_chain(
    pipeline: Pipeline,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    reason: str | None,
) -> None:
    pipeline.run()
    (first,) = pipeline.service.subscriptions
    messages = pipeline.run(**changes)
    assert (reason in caplog.text) if reason else ("under a new version" not in caplog.text)
    assert bool(messages.records(STREAM)) == bool(reason)
    chains = {item.chain_id for item in pipeline.service.subscriptions.values()}
    assert len(chains) == 1
    assert (first in pipeline.service.subscriptions) == (reason is None)
    pipeline.check()


def test_another_selection_of_columns_reloads(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = discover(pipeline.config)
    pipeline.run(catalog=select(catalog, STREAM))
    column = ["properties", "LOYALTY_POINTS"]
    entry = next(item for item in catalog[STREAM]["metadata"] if item["breadcrumb"] == column)
    entry["metadata"]["selected"] = False
    messages = pipeline.run(catalog=select(catalog, STREAM))
    assert len(messages.records(STREAM)) == 12
    assert "the selected columns changed" in caplog.text


def test_run_that_died_before_its_bookmark_was_saved_loses_nothing(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.run()
    stored = pipeline.table.state
    pipeline.facts.delete(pipeline.facts.key_of(pipeline.row(0)))
    pipeline.facts.put(pipeline.row(1, REVENUE="9.0000000"))
    sync(pipeline.config, state=stored)
    pipeline.run()
    assert "an earlier run read these changes" in caplog.text
    pipeline.check()


def test_full_read_without_versions_warns_that_it_cannot_remove_rows(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.run(emit_activate_version_messages=False)
    pipeline.service.expire()
    pipeline.run(emit_activate_version_messages=False)
    assert "again, without removing what was deleted in SAC since the last run" in caplog.text
    assert "under a new version" not in caplog.text


@pytest.mark.parametrize("before", [False, True])
def test_no_version_is_written_if_activate_version_is_off(
    pipeline: Pipeline, *, before: bool
) -> None:
    pipeline.run(emit_activate_version_messages=before)
    pipeline.facts.put(pipeline.row(0, REVENUE="1.0000000"))
    messages = pipeline.run(emit_activate_version_messages=False)
    assert [item.get("version") for item in messages.of(STREAM)] == [None, None]
    pipeline.check()


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("before", [[], [error_response(504, "gateway", **{"Retry-After": "0"})]])
def test_link_that_was_answered_is_not_followed_again_after_an_error(
    serve: Serve, before: list[Response]
) -> None:
    tenant = TrackingStandIn(*ROWS)
    refusal = error_response(403, "no [3401]")
    tenant.deltas["A"] = delta(changed(ROWS[0]), link="A2", spelling="@odata.nextLink")
    tenant.deltas["A2"] = refusal
    answers = [*before, refusal] if before else []
    tenant.fault = lambda request: (
        answers.pop(0) if answers and request.target.endswith("deltaid=A") else None
    )
    config = log_based(serve, tenant)
    state = sync(config).state
    messages = killed_sync(config, None, state, ALL_MESSAGES)
    assert messages.state["bookmarks"]["sales_fact_data"]["is_followed"] is True


@pytest.mark.parametrize("status", [401, 403])
def test_denied_client_has_lost_no_changes(serve: Serve, status: int) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = error_response(status, "no [3401]")
    config = log_based(serve, tenant)
    state = sync(config).state
    with pytest.raises(SACError, match=r"\[3401\]"):
        sync(config, state=state)


def test_columns_in_another_order_are_the_same_query(pipeline: Pipeline) -> None:
    pipeline.run()
    question = pipeline.bookmark()["question"]
    question["columns"].reverse()
    question["key"].reverse()
    messages = pipeline.run()
    assert messages.records(STREAM) == []
    assert "ACTIVATE_VERSION" not in {item["type"] for item in messages.of(STREAM)}


def test_login_page_means_no_lost_changes(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = Response(302, b"", {"Location": "https://login.example/"})
    config = log_based(serve, tenant)
    state = sync(config).state
    with pytest.raises(SACError, match=r"redirect to https://login\.example"):
        sync(config, state=state)
