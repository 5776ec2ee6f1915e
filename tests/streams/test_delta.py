"""Change tracking: whatever happens between and during runs, the table equals the model."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import re
import sys
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tap_sac.demo.service import (
    CLIENT_ID,
    CLIENT_SECRET,
    SALES_MODEL,
    TOKEN_PATH,
    Request,
    Response,
    SampleService,
    _subscription_row,
)
from tap_sac.sac.errors import DeltaLostError, SACError
from tap_sac.sac.export.delta import Bookmark, DeltaQuery, EntityIds, was_read
from tap_sac.streams.base import SACStream
from tap_sac.tap import TapSAC
from tests.conftest import discover, examples, read_messages, select, sync
from tests.helpers.relay import Relay, cut, reset
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, error_response, sales, sales_row
from tests.helpers.tracking import (
    LINK,
    ROWS,
    TrackingStandIn,
    changed,
    deleted,
    delta,
    log_based,
    with_link,
)

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from tap_sac.demo.company import Row
    from tap_sac.demo.tracking import Key, TrackedRows
    from tests.conftest import Messages, Serve
    from tests.helpers.relay import Spoil

STREAM = "sales_planning_fact_data"
MOST_MESSAGES = 12
ALL_MESSAGES = sys.maxsize
KEY = ("Version", "Date", "Product", "XX_REGION", "Currency")
MEASURES = ("QUANTITY", "REVENUE", "LOYALTY_POINTS")

ALL_PRODUCTS = {STREAM: "startswith(Product,'P')"}

TableKey = tuple[str, ...]


@dataclass
class Table:
    """What a target makes of messages: upserts by key, versions, marks of deletion."""

    rows: dict[TableKey, dict[str, Any]] = field(default_factory=dict)
    versions: dict[TableKey, int | None] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)

    def load(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            if message["type"] == "STATE":
                self.state = message["value"]
            elif message.get("stream") != STREAM:
                continue
            elif message["type"] == "RECORD":
                record = message["record"]
                key = tuple(record[name] for name in KEY)
                self.rows[key] = record
                self.versions[key] = message.get("version")
            elif message["type"] == "ACTIVATE_VERSION":
                for key, version in self.versions.items():
                    if version is None or version < message["version"]:
                        self.rows[key] = {**self.rows[key], "_sdc_deleted_at": "by version"}

    @property
    def living(self) -> dict[TableKey, tuple[Decimal, ...]]:
        return {
            key: tuple(Decimal(row[name]) for name in MEASURES)
            for key, row in self.rows.items()
            if row.get("_sdc_deleted_at") is None
        }


def model_rows(facts: TrackedRows) -> dict[TableKey, tuple[Any, ...]]:
    return {
        tuple(str(row[name]) for name in KEY): tuple(row[name] for name in MEASURES)
        for row in facts.rows
        if row is not None
    }


@dataclass
class Pipeline:
    """The sample tenant, made small, and a table that the tap is piped into."""

    service: SampleService
    config: dict[str, Any]
    table: Table = field(default_factory=Table)

    @property
    def facts(self) -> TrackedRows:
        return self.service.facts(SALES_MODEL)

    def run(self, *, catalog: dict[str, Any] | None = None, **changes: Any) -> Messages:
        messages = sync({**self.config, **changes}, catalog, self.table.state)
        self.table.load(messages)
        return messages

    def check(self) -> None:
        assert self.table.living == model_rows(self.facts)

    def row(self, number: int, **measures: str) -> Row:
        changed = {name: Decimal(value) for name, value in measures.items()}
        row = self.facts.rows[number]
        assert row is not None
        return {**row, **changed}

    def bookmark(self) -> dict[str, Any]:
        bookmark: dict[str, Any] = self.table.state["bookmarks"][STREAM]
        return bookmark


def small(service: SampleService) -> SampleService:
    service.limit(SALES_MODEL, 12)
    return service


@pytest.fixture
def pipeline(serve: Serve) -> Pipeline:
    service = small(SampleService())
    config = {
        **serve(service),
        "models": ["Sales Planning"],
        "default_replication_method": "LOG_BASED",
        "page_size": 5,
    }
    return Pipeline(service, config)


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


def test_state_of_an_earlier_version_is_taken_over_without_a_full_read(pipeline: Pipeline) -> None:
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


def test_empty_delta_moves_the_link(pipeline: Pipeline) -> None:
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


def test_run_that_died_before_its_bookmark_was_stored_loses_nothing(
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


def test_back_to_full_table_deletes_the_chain(pipeline: Pipeline) -> None:
    pipeline.run()
    assert pipeline.service.subscriptions
    messages = pipeline.run(default_replication_method="FULL_TABLE")
    assert not pipeline.service.subscriptions
    assert "delta_link" not in pipeline.bookmark()
    assert "_sdc_deleted_at" not in messages.schema(STREAM)["schema"]["properties"]
    pipeline.check()


@pytest.mark.parametrize("followed", [1, 2])
@pytest.mark.parametrize(
    "changes", [{"default_replication_method": "FULL_TABLE"}, {"filters": ALL_PRODUCTS}]
)
def test_chain_is_deleted_however_often_it_was_followed(
    pipeline: Pipeline, changes: dict[str, Any], followed: int
) -> None:
    pipeline.run()
    for number in range(followed):
        pipeline.facts.put(pipeline.row(number, REVENUE="5.0000000"))
        assert len(pipeline.run().records(STREAM)) == 1
    chain = set(pipeline.service.subscriptions)
    assert len(chain) == followed + 1
    pipeline.run(**changes)
    assert chain.isdisjoint(pipeline.service.subscriptions)


def test_subscriptions_of_others_are_never_touched(pipeline: Pipeline) -> None:
    sync(pipeline.config)
    others = set(pipeline.service.subscriptions)
    pipeline.run()
    pipeline.run(filters=ALL_PRODUCTS)
    pipeline.run(default_replication_method="FULL_TABLE")
    assert set(pipeline.service.subscriptions) == others


def test_dry_run_leaves_no_subscription_behind(pipeline: Pipeline) -> None:
    TapSAC(config=dict(pipeline.config)).run_connection_test()
    assert not pipeline.service.subscriptions


def test_chain_of_a_run_that_fails_on_its_last_page_is_deleted(pipeline: Pipeline) -> None:
    pipeline.facts.rows[-1] = {**pipeline.row(-1), "REVENUE": "no number"}
    with pytest.raises(SACError, match="REVENUE"):
        pipeline.run()
    assert not pipeline.service.subscriptions


def test_facts_without_a_key_are_read_in_whole(
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
def test_method_that_sac_does_not_have_for_a_stream_is_read_in_whole(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    catalog = select(discover(pipeline.config), "sales_planning_product_master")
    for entry in catalog["streams"]:
        entry["replication_method"] = method
    messages = pipeline.run(catalog=catalog)
    assert len(messages.records("sales_planning_product_master")) == 14
    assert f"cannot be replicated {method}" in caplog.text


def test_mark_of_deletion_cannot_be_deselected(pipeline: Pipeline) -> None:
    entry = discover(pipeline.config)[STREAM]
    (mark,) = [
        item
        for item in entry["metadata"]
        if item["breadcrumb"] == ["properties", "_sdc_deleted_at"]
    ]
    assert mark["metadata"]["inclusion"] == "automatic"
    assert entry["replication_method"] == "LOG_BASED"


def test_stream_whose_catalog_has_no_key_is_read_in_whole(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = log_based(serve, TrackingStandIn(*ROWS))
    catalog = discover(config)
    catalog["sales_fact_data"]["key_properties"] = []
    messages = sync(config, select(catalog, "sales_fact_data"))
    assert messages.of("sales_fact_data")[-1]["type"] == "ACTIVATE_VERSION"
    assert "delta_link" not in messages.state["bookmarks"]["sales_fact_data"]
    assert "no key for sales_fact_data, so the whole table is read" in caplog.text


def test_full_read_without_versions_says_what_it_cannot_do(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.run(emit_activate_version_messages=False)
    pipeline.service.expire()
    pipeline.run(emit_activate_version_messages=False)
    assert "again, which cannot remove what was deleted in SAC since the last run" in caplog.text
    assert "under a new version" not in caplog.text


def test_tenant_that_lists_no_subscriptions_needs_no_other_settings(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    service = small(VagueService("same", lists_subscriptions=False))
    config = {**serve(service), "models": ["Sales Planning"]}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    pipeline.run()
    pipeline.run()
    assert f"SAC does not list the subscriptions of {STREAM}: 404 Not Found" in caplog.text
    assert "tenant_url" not in caplog.text


@pytest.mark.parametrize("before", [False, True])
def test_no_version_is_written_where_activate_version_is_off(
    pipeline: Pipeline, *, before: bool
) -> None:
    pipeline.run(emit_activate_version_messages=before)
    pipeline.facts.put(pipeline.row(0, REVENUE="1.0000000"))
    messages = pipeline.run(emit_activate_version_messages=False)
    assert [item.get("version") for item in messages.of(STREAM)] == [None, None]
    pipeline.check()


@pytest.mark.parametrize("spelling", ["@odata.deltaLink", "@odata.deltalink", "@deltaLink"])
@pytest.mark.parametrize("first_link", ["0b7e2f34-5d0c", "first-0b7e2f34-5d0c", "anything"])
def test_links_are_opaque_and_spelled_in_any_way(
    serve: Serve, spelling: str, first_link: str
) -> None:
    tenant = TrackingStandIn(*ROWS, first_link=first_link, spelling=spelling)
    tenant.deltas[first_link] = delta(
        changed(sales_row(1, "5.5")), deleted("FactData(Version='public.Actual',Date='000002')")
    )
    config = log_based(serve, tenant)
    first = sync(config)
    assert tenant.prefer == ["odata.track-changes"] * 2
    second = sync(config, state=first.state)
    update, deletion = second.records("sales_fact_data")
    assert update == {
        "Version": "public.Actual",
        "Date": "000001",
        "AMOUNT": "5.5",
        "_sdc_deleted_at": None,
    }
    assert deletion["Date"] == "000002"
    assert deletion["_sdc_deleted_at"]
    bookmark = second.state["bookmarks"]["sales_fact_data"]
    assert bookmark["delta_link"].endswith("deltaid=B")


@pytest.mark.parametrize(
    "answer",
    [
        delta(*ROWS, context="$metadata#FactData"),
        Response(200, f'{{"value":[{ROWS[0]}]}}'.encode(), JSON),
        with_link(f'{{"value":[{ROWS[0]}]}}'.encode(), "@odata.deltaLink", "B"),
        delta(ROWS[0], link=None),
        delta(deleted("FactData(Day='1')")),
        delta(deleted("nonsense")),
        Response(204, b""),
        error_response(400, "unknown"),
        error_response(404, "gone"),
        error_response(410, "gone"),
        error_response(422, "gone"),
    ],
    ids=[
        "full",
        "no-context",
        "no-context-but-a-link",
        "no-link",
        "other-key",
        "no-key",
        "204",
        "400",
        "404",
        "410",
        "422",
    ],
)
def test_answer_that_is_no_delta_leads_to_a_full_read(serve: Serve, answer: Response) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = answer
    config = log_based(serve, tenant)
    first = sync(config)
    second = sync(config, state=first.state).of("sales_fact_data")
    version = second[-1]["version"]
    assert second[-1]["type"] == "ACTIVATE_VERSION"
    assert version > first.of("sales_fact_data")[-1]["version"]
    reloaded = [item for item in second if item["type"] == "RECORD" and item["version"] == version]
    assert [item["record"]["Date"] for item in reloaded] == ["000000", "000001", "000002"]


def test_full_data_on_the_second_page_of_changes_is_no_delta(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(changed(ROWS[0]), link="A2", spelling="@odata.nextLink")
    tenant.deltas["A2"] = delta(ROWS[1], context="$metadata#FactData")
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state).of("sales_fact_data")
    assert messages[-1]["type"] == "ACTIVATE_VERSION"


@pytest.mark.parametrize("name", ["@odata.context", "@context"])
def test_changes_on_many_pages_are_read_whatever_the_context_is_called(
    serve: Serve, name: str
) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(changed(ROWS[0]), link="A2", spelling="@odata.nextLink")
    tenant.deltas["A2"] = delta(changed(ROWS[1]))
    for key, response in tenant.deltas.items():
        body = response.body.replace(b"@odata.context", name.encode(), 1)
        tenant.deltas[key] = replace(response, body=body)
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state)
    assert [record["Date"] for record in messages.records("sales_fact_data")] == [
        "000000",
        "000001",
    ]


@pytest.mark.parametrize("before", [[], [error_response(504, "gateway", **{"Retry-After": "0"})]])
def test_link_of_which_an_answer_was_taken_is_not_followed_again_after_a_refusal(
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


SUBSCRIPTION = {"SubscriptionID": "A", "EndTime": "2026-11-02T05:12:44.123Z"}
FOLLOWER = {"SubscriptionID": "B", "PreviousSubscriptionID": "A"}


@pytest.mark.parametrize(
    ("is_followed", "subscriptions", "expected"),
    [
        (False, [], False),
        (True, [], True),
        (True, [FOLLOWER], True),
        (False, [FOLLOWER], True),
        (False, [{"SubscriptionID": "A"}], False),
        (True, [{"SubscriptionID": "A"}], False),
        (True, [{"SubscriptionID": "A"}, FOLLOWER], True),
        (False, [{"SubscriptionID": "A"}, FOLLOWER], True),
        (False, [SUBSCRIPTION], True),
        (True, [SUBSCRIPTION], True),
        (False, [SUBSCRIPTION, FOLLOWER], True),
    ],
)
def test_link_counts_as_read_only_by_what_sac_lists_or_the_tap_did(
    subscriptions: list[dict[str, str]], *, is_followed: bool, expected: bool
) -> None:
    query = DeltaQuery([], [], None)
    bookmark = Bookmark(f"https://x{LINK}first-A", None, query, is_followed)
    assert was_read(bookmark, subscriptions) == expected


@pytest.mark.parametrize("is_followed", [False, True])
def test_link_of_another_form_is_none_of_the_listed_subscriptions(*, is_followed: bool) -> None:
    link = "https://x/FactData?$deltatoken=A"
    bookmark = Bookmark(link, None, DeltaQuery([], [], None), is_followed)
    first = {"SubscriptionID": "A"}
    assert was_read(bookmark, [first, FOLLOWER]) == is_followed


@pytest.mark.parametrize("status", [401, 403])
def test_refused_client_is_no_lost_delta(serve: Serve, status: int) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = error_response(status, "no [3401]")
    config = log_based(serve, tenant)
    state = sync(config).state
    with pytest.raises(SACError, match=r"\[3401\]"):
        sync(config, state=state)


def test_second_page_that_is_a_delta_is_refused(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.fault = lambda request: delta(ROWS[0]) if "$skiptoken=2" in request.target else None
    with pytest.raises(SACError, match="changes only"):
        sync(log_based(serve, tenant))


def test_delta_link_to_another_host_is_refused(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    page = b'{"value":[],"@odata.deltaLink":"https://elsewhere.example/x"}'
    tenant.fault = lambda request: Response(200, page) if "/FactData" in request.target else None
    with pytest.raises(SACError, match=r"another server, https://elsewhere\.example"):
        sync(log_based(serve, tenant))


@pytest.mark.parametrize("spoil", [reset, cut])
def test_changes_whose_answer_breaks_off_are_not_lost(
    serve: Serve, waits: list[float], spoil: Spoil
) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.link_form = "root-relative"
    answers = [delta(changed(ROWS[0])), delta()]
    tenant.fault = lambda request: answers.pop(0) if "deltaid=A" in request.target else None
    config = log_based(serve, tenant)
    with Relay(config["tenant_url"], b"deltaid=A", spoil) as relay:
        config |= {"tenant_url": relay.url}
        messages = sync(config, state=sync(config).state).of("sales_fact_data")
        relay.shutdown()
    assert waits
    assert not answers
    assert messages[-1]["type"] == "ACTIVATE_VERSION"


def test_first_answer_that_is_a_delta_is_refused(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.fault = lambda request: (
        delta(ROWS[0]) if "/FactData" in request.target and "$count" not in request.target else None
    )
    with pytest.raises(SACError, match="changes only"):
        sync(log_based(serve, tenant))


def test_tenant_that_gives_no_delta_link_is_read_in_whole_each_time(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = log_based(serve, StandIn(sales(*ROWS)))
    first = sync(config)
    assert "delta_link" not in first.state["bookmarks"]["sales_fact_data"]
    assert len(sync(config, state=first.state).records("sales_fact_data")) == 3
    assert "SAC gave no delta link for sales_fact_data" in caplog.text


def test_dry_run_misses_no_delta_link_of_an_empty_table(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    TapSAC(config=log_based(serve, StandIn(sales()))).run_connection_test()
    assert "sales_fact_data" in caplog.text
    assert "delta link" not in caplog.text


def test_tenant_that_no_longer_gives_delta_links_has_lost_one_only_once(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = TrackingStandIn(*ROWS)
    config = log_based(serve, tenant)
    first = sync(config).state
    tenant.deltas["A"] = error_response(404, "gone")
    tenant.first_link = None
    second = sync(config, state=first).state
    bookmark = second["bookmarks"]["sales_fact_data"]
    assert bookmark.keys() == {"version", "filter"}
    bookmark["version"] += 10**9
    config |= {"on_delta_lost": "fail", "filters": {"sales_fact_data": "Date ge '000001'"}}
    third = sync(config, state=copy.deepcopy(second))
    assert third.of("sales_fact_data")[-1]["version"] == bookmark["version"] + 1
    assert "since the last completed read, from none to Date ge '000001'" in caplog.text


@pytest.mark.parametrize(
    "link",
    [
        "https://elsewhere.example" + LINK + "A",
        "http://127.0.0.1:1" + LINK + "A",
        "{origin}/api/v1/scim/Users?deltaid=A",
        "{origin}/api/v1/dataexport/providers/sac/C4OTHER/FactData?deltaid=A",
    ],
)
def test_state_of_a_stranger_cannot_make_the_tap_call_elsewhere(serve: Serve, link: str) -> None:
    tenant = TrackingStandIn(*ROWS)
    config = log_based(serve, tenant)
    state = sync(config).state
    bookmark = state["bookmarks"]["sales_fact_data"]
    bookmark["delta_link"] = link.replace("{origin}", config["tenant_url"])
    messages = sync(config, state=state)
    assert len(messages.records("sales_fact_data")) == 3
    assert not any("deltaid=A" in target for target in tenant.targets)


@pytest.mark.parametrize(
    "bookmark",
    [
        {"delta_link": 5},
        {"delta_link": "x", "version": "new", "question": {}},
        {"delta_link": "x", "version": None, "question": []},
        {"delta_link": "%", "version": 1, "question": {"key": 1}},
        {"delta_link": "http://[", "version": 1, "question": {}},
        {"delta_link": "x", "version": 10**4000, "question": {}},
    ],
)
def test_damaged_bookmark_leads_to_a_full_read(serve: Serve, bookmark: dict[str, Any]) -> None:
    state = {"bookmarks": {"sales_fact_data": bookmark}}
    messages = sync(log_based(serve, TrackingStandIn(*ROWS)), state=state)
    assert len(messages.records("sales_fact_data")) == 3


@pytest.mark.parametrize("version", ["new", -1, 1.5, True, 2**63])
def test_bookmark_with_a_strange_version_leads_to_a_full_read(
    pipeline: Pipeline, version: object
) -> None:
    pipeline.run()
    pipeline.bookmark()["version"] = version
    messages = pipeline.run().of(STREAM)
    assert len(messages) == len(["SCHEMA", *["RECORD"] * 12, "ACTIVATE_VERSION"])
    assert {item["version"] for item in messages[1:]} == {pipeline.bookmark()["version"]}
    assert 1 < pipeline.bookmark()["version"] < 2**63


def test_failed_clean_up_is_a_warning(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    pipeline.run()
    pipeline.service.refuse(r"/Subscriptions\(", error_response(500, "broken"))
    pipeline.run(filters=ALL_PRODUCTS)
    assert "is no longer needed, but could not be deleted" in caplog.text
    pipeline.check()


def test_csrf_token_is_fetched_again_when_sac_asks_for_it(pipeline: Pipeline) -> None:
    pipeline.run()
    refusal = error_response(403, "x", **{"x-csrf-token": "Required"})
    pipeline.service.refuse(r"/Subscriptions\(", refusal, times=1)
    pipeline.run(default_replication_method="FULL_TABLE")
    assert not pipeline.service.subscriptions


@pytest.mark.parametrize(
    "answer",
    [
        Response(200, b""),
        Response(200, b"<html>Sign in"),
        error_response(404, "not valid [1305]"),
        error_response(403, "no"),
        error_response(500, "broken"),
        Response(302, b"", {"Location": "/login"}),
        Response(200, b"", {"x-csrf-token": "a b"}),
    ],
)
def test_csrf_token_is_fetched_with_the_namespaces_where_its_endpoint_gives_none(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, answer: Response
) -> None:
    pipeline.run()
    service, namespaces = pipeline.service, pipeline.service._namespaces  # noqa: SLF001

    def with_token(request: Request) -> Response:
        response = namespaces(request)
        if request.headers.get("x-csrf-token") != "fetch":
            return response
        given = service._access.give_csrf_token()  # noqa: SLF001
        return replace(response, headers={**response.headers, **given.headers})

    monkeypatch.setattr(service, "_namespaces", with_token)
    service.refuse("/csrf$", answer)
    pipeline.run(default_replication_method="FULL_TABLE")
    assert not service.subscriptions


def test_tenant_that_gives_no_csrf_token_is_told(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.run()
    pipeline.service.refuse("/csrf$", Response(200, b""))
    pipeline.run(default_replication_method="FULL_TABLE")
    assert "could not be deleted: SAC returned no CSRF token" in caplog.text


AUDIT = "workforce_planning_audit_data"
AUDIT_EDMX = edmx(AuditData={"Audit_Time": "Edm.DateTimeOffset"})


def audit_run(config: dict[str, Any], state: dict[str, Any] | None = None) -> Messages:
    config = {**config, "models": ["Workforce Planning"]}
    return sync(config, select(discover(config), AUDIT), state)


def test_audit_data_is_read_from_the_bookmark_on(serve: Serve) -> None:
    config = serve(SampleService())
    first = audit_run(config)
    records = first.records(AUDIT)
    assert len(records) == 300
    assert "ACTIVATE_VERSION" not in {item["type"] for item in first}
    bookmark = first.state["bookmarks"][AUDIT]
    assert bookmark["replication_key_value"] == max(item["Audit_Time"] for item in records)
    again = audit_run(config, first.state).records(AUDIT)
    assert again
    assert {item["Audit_Time"] for item in again} == {bookmark["replication_key_value"]}


def test_audit_bookmark_is_not_ahead_of_rows_that_are_still_to_come(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SACStream, "STATE_MSG_FREQUENCY", 1)
    rows = [f'{{"Audit_Time":"2026-11-0{day}T00:00:00.000Z"}}' for day in (3, 1, 2)]
    config = serve(StandIn(Model("C4SALES", "Sales", AUDIT_EDMX, {"AuditData": rows})))
    messages = sync(config, select(discover(config), "sales_audit_data"))
    types = [item["type"] for item in messages]
    last_row = len(types) - 1 - types[::-1].index("RECORD")
    assert "STATE" in types[:last_row]
    for message in messages[:last_row]:
        if message["type"] == "STATE":
            bookmark = message["value"]["bookmarks"].get("sales_audit_data", {})
            assert "replication_key_value" not in bookmark
    bookmark = messages.state["bookmarks"]["sales_audit_data"]
    assert bookmark["replication_key_value"] == "2026-11-03T00:00:00.000Z"


@pytest.mark.parametrize("start_date", ["2026-11-10", "2026-11-10T01:00:00+01:00"])
def test_audit_data_begins_at_start_date(serve: Serve, start_date: str) -> None:
    config = {**serve(SampleService()), "start_date": start_date}
    times = {item["Audit_Time"] for item in audit_run(config).records(AUDIT)}
    assert min(times) >= "2026-11-10T00:00:00"
    assert len(times) < 300


@pytest.mark.parametrize("is_quoted", [False, True])
def test_time_in_the_filter_is_written_as_the_tenant_wants_it(
    serve: Serve, *, is_quoted: bool
) -> None:
    rows = ['{"Audit_Time":"2026-11-02T05:12:44.123Z"}']
    tenant = StandIn(Model("C4SALES", "Sales", AUDIT_EDMX, {"AuditData": rows}))
    tenant.fault = lambda request: (
        error_response(400, "literal")
        if "AuditData" in request.target and ("'" in request.target) != is_quoted
        else None
    )
    config = {**serve(tenant), "start_date": "2026-11-01", "filters": {"*": "1 eq 1"}}
    catalog = select(discover(config), "sales_audit_data")
    assert len(sync(config, catalog).records("sales_audit_data")) == 1
    time = "2026-11-01T00:00:00.000Z"
    literal = f"'{time}'" if is_quoted else time
    wanted = quote(f"(1 eq 1) and Audit_Time ge {literal}", safe="'():")
    assert tenant.targets[-1].endswith(f"AuditData?$filter={wanted}&$count=true")


@pytest.mark.parametrize(
    "bookmark",
    ["2026-11-02T05:12:44.1239999Z", "2026-11-02T06:12:44+01:00", "2026-11-02 05:12:44.5"],
)
def test_bookmark_of_audit_data_is_sent_as_sac_wrote_it(serve: Serve, bookmark: str) -> None:
    tenant = StandIn(Model("C4SALES", "Sales", AUDIT_EDMX, {"AuditData": []}))
    config = {**serve(tenant), "start_date": "2020-01-01"}
    catalog = select(discover(config), "sales_audit_data")
    state = {
        "bookmarks": {
            "sales_audit_data": {
                "replication_key": "Audit_Time",
                "replication_key_value": bookmark,
            }
        }
    }
    sync(config, catalog, state)
    assert f"Audit_Time%20ge%20{quote(bookmark, safe=':')}" in tenant.targets[-1]


def test_audit_data_before_the_bookmark_can_be_read_again(serve: Serve) -> None:
    tenant = StandIn(Model("C4SALES", "Sales", AUDIT_EDMX, {"AuditData": []}))
    config = {**serve(tenant), "start_date": "2026-11-01", "audit_overlap": 90}
    catalog = select(discover(config), "sales_audit_data")
    sync(config, catalog)
    assert "ge%202026-11-01T00:00:00.000Z" in tenant.targets[-1]
    bookmark = {"replication_key": "Audit_Time", "replication_key_value": "2026-11-02T05:00:10Z"}
    sync(config, catalog, {"bookmarks": {"sales_audit_data": bookmark}})
    assert "ge%202026-11-02T04:58:40.000Z" in tenant.targets[-1]


@pytest.mark.parametrize("time", ['"nonsense"', "null", '""'])
@pytest.mark.parametrize("type_name", ["Edm.DateTimeOffset", "Edm.String"])
def test_audit_time_that_is_none_is_no_bookmark(serve: Serve, time: str, type_name: str) -> None:
    document = edmx(AuditData={"Audit_Time": type_name})
    model = Model("C4SALES", "Sales", document, {"AuditData": [f'{{"Audit_Time":{time}}}']})
    config = serve(StandIn(model))
    catalog = select(discover(config), "sales_audit_data")
    if time != "null" and type_name != "Edm.String":
        with pytest.raises(SACError, match=r"Audit_Time of AuditData holds '.*DateTimeOffset"):
            sync(config, copy.deepcopy(catalog))
        for entry in catalog["streams"]:
            entry["schema"]["properties"].get("Audit_Time", {}).pop("format", None)
    with pytest.raises(SACError, match=r"no time in Audit_Time.*FULL_TABLE"):
        sync(config, catalog)


def test_tenant_that_filters_no_times_is_told(serve: Serve) -> None:
    tenant = StandIn(Model("C4SALES", "Sales", AUDIT_EDMX, {"AuditData": []}))
    tenant.fault = lambda request: (
        error_response(400, "literal") if "$filter" in request.target else None
    )
    config = {**serve(tenant), "start_date": "2026-11-01"}
    with pytest.raises(SACError, match=r"literal.*each form of a filter on Audit_Time.*FULL_TABLE"):
        sync(config, select(discover(config), "sales_audit_data"))


@pytest.mark.parametrize("filters", [{}, {"*": "1 eq 1"}])
@pytest.mark.parametrize("status", [400, 403])
def test_data_audit_that_is_off_is_told(serve: Serve, status: int, filters: dict[str, str]) -> None:
    tenant = StandIn(Model("C4SALES", "Sales", AUDIT_EDMX, {"AuditData": []}))
    tenant.fault = lambda request: (
        error_response(status, "off [3905]") if "AuditData" in request.target else None
    )
    config = {**serve(tenant), "start_date": "2026-11-01", "filters": filters}
    with pytest.raises(SACError, match=r"\[3905\].*Switch it on in the model preferences"):
        sync(config, select(discover(config), "sales_audit_data"))


def test_other_forms_of_a_time_are_not_tried_where_the_client_is_refused(serve: Serve) -> None:
    tenant = StandIn(Model("C4SALES", "Sales", AUDIT_EDMX, {"AuditData": []}))
    tenant.fault = lambda request: (
        error_response(403, "no [3401]") if "$filter" in request.target else None
    )
    config = {**serve(tenant), "start_date": "2026-11-01"}
    with pytest.raises(SACError, match=r"\[3401\]"):
        sync(config, select(discover(config), "sales_audit_data"))
    assert any("ge%202026-11-01" in target for target in tenant.targets)
    assert not any("ge%20'" in target for target in tenant.targets)


NAMES = st.lists(
    st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8),
    unique=True,
    min_size=1,
    max_size=4,
)
VALUES = st.text(st.characters(codec="utf-8"), max_size=12)


def read_id(entity_id: str, key: dict[str, str], *changed: dict[str, Any]) -> dict[str, Any]:
    """Read the id of a deleted entity, in an answer with these changed rows."""
    ids = EntityIds(key)
    for row in changed:
        ids.learn(row)
    return ids.read(entity_id)


AB = {"A": "Edm.String", "B": "Edm.String"}


@given(
    data=st.data(),
    names=NAMES,
    encoding=st.sampled_from([None, "()=,'", ""]),
    prefix=st.sampled_from(["", "https://a.example/b/c/"]),
)
def test_key_of_a_deleted_entity_survives_its_id(
    data: st.DataObject, names: list[str], encoding: str | None, prefix: str
) -> None:
    key = {name: data.draw(VALUES) for name in names}
    other = {name: data.draw(VALUES) for name in names}

    def id_of(values: dict[str, str]) -> str:
        literals = [
            f"{name}='{value.replace(chr(39), chr(39) * 2)}'" for name, value in values.items()
        ]
        entity_id = f"FactData({','.join(literals)})"
        return prefix + (entity_id if encoding is None else quote(entity_id, safe=encoding))

    types = dict.fromkeys(names, "Edm.String")
    changed = {"@odata.id": id_of(other), **other}
    try:
        found = read_id(id_of(key), types, changed)
    except DeltaLostError:  # Nothing in the changed row told how ids are written.
        assert "%" in id_of(key)
        return
    assert found == key


@pytest.mark.parametrize(
    ("entity_id", "expected"),
    [
        ("FactData(A='O''Neil',B='x')", {"A": "O'Neil", "B": "x"}),
        ("FactData(A='a,b',B='c)d(e=f')", {"A": "a,b", "B": "c)d(e=f"}),
        ("FactData(A='O%27Neil',B='x y')", {"A": "O%27Neil", "B": "x y"}),
        ("FactData(A='50%',B='é %41')", {"A": "50%", "B": "é %41"}),
        ("FactData(A=%27x%27,B=%27y%20z%27)", {"A": "x", "B": "y z"}),
        ("FactData(B=12, A='x')", {"A": "x", "B": "12"}),
        ("https://h/p/FactData(A='',B='#')", {"A": "", "B": "#"}),
        ("FactData(A=null,B='null')", {"A": None, "B": "null"}),
    ],
)
def test_ids_of_deleted_entities(entity_id: str, expected: dict[str, str]) -> None:
    assert read_id(entity_id, AB) == expected


GUID = "21ec2020-3aea-1069-a2dd-08002b30309d"


@pytest.mark.parametrize(
    ("edm_type", "literal", "expected"),
    [
        ("Edm.Boolean", "true", True),
        ("Edm.Int32", "12", 12),
        ("Edm.Int64", "-9007199254740993", -9007199254740993),
        ("Edm.Decimal", "1.50", Decimal("1.5")),
        ("Edm.Date", "2026-11-02", "2026-11-02"),
        ("Edm.DateTimeOffset", "2026-11-02T05:12:44.123Z", "2026-11-02T05:12:44.123Z"),
        (
            "Edm.Guid",
            "21ec2020-3aea-1069-a2dd-08002b30309d",
            "21ec2020-3aea-1069-a2dd-08002b30309d",
        ),
        ("Edm.String", "202401", "202401"),
        ("Edm.Boolean", "maybe", None),
        ("Edm.Int32", "twelve", None),
        ("Edm.Decimal", "INF", None),
        ("Edm.String", "true", None),
        ("Edm.String", "Actual", None),
    ],
)
def test_literals_are_read_by_the_type_of_their_column(
    edm_type: str, literal: str, expected: object
) -> None:
    key = {"A": edm_type, "B": "Edm.String"}
    if expected is None:
        with pytest.raises(DeltaLostError):
            read_id(f"F(A={literal},B='x')", key)
    else:
        assert read_id(f"F(A={literal},B='x')", key) == {"A": expected, "B": "x"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"@odata.id": "F(A='a%20b',B='x')", "A": "a b", "B": "x"}, {"A": "50%", "B": "y"}),
        ({"@odata.id": "F(A='a%20b',B='x')", "A": "a%20b", "B": "x"}, {"A": "50%25", "B": "y"}),
        ({"@odata.id": "F(A='a b',B='x')", "A": "a b", "B": "x"}, {"A": "50%25", "B": "y"}),
        ({"@odata.id": "F(A='a',B='x')", "A": "a", "B": "x"}, None),
        ({"A": "a", "B": "x"}, None),
    ],
)
def test_changed_rows_show_whether_ids_are_encoded(
    changed: dict[str, Any], expected: dict[str, str] | None
) -> None:
    if expected:
        assert read_id("F(A='50%25',B='y')", AB, changed) == expected
    else:
        with pytest.raises(DeltaLostError, match="may be percent-encoded or not"):
            read_id("F(A='50%25',B='y')", AB, changed)


@pytest.mark.parametrize("broken", ["F(A='%zz',B='y')", "F(A='%ff',B='y')", "F(A='%',B='y')"])
def test_percent_signs_are_decoded_strictly(broken: str) -> None:
    encoded = {"@odata.id": "F(A='a%20b',B='x')", "A": "a b", "B": "x"}
    with pytest.raises(DeltaLostError, match="cannot be understood"):
        read_id(broken, AB, encoded)


def test_id_with_a_single_key_may_leave_out_its_name() -> None:
    assert read_id("S('a''b')", {"ID": "Edm.String"}) == {"ID": "a'b"}
    assert read_id("S(ID='a')", {"ID": "Edm.String"}) == {"ID": "a"}


@given(st.text(max_size=40))
@example("FactData(A='x',A='y')")
@example("FactData(A='x'")
@example("FactData(A='x',)")
@example("FactData(A='x',B='y',A='z')")
@example("FactData(A='x',B='y',C='z')")
def test_id_that_is_no_key_is_a_lost_delta(entity_id: str) -> None:
    with pytest.raises(DeltaLostError):
        read_id(entity_id, AB)


def test_deletion_carries_every_column(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(deleted("FactData(Version='public.Actual',Date='000002')"))
    config = log_based(serve, tenant)
    (record,) = sync(config, state=sync(config).state).records("sales_fact_data")
    assert list(record) == ["Version", "Date", "AMOUNT", "_sdc_deleted_at"]
    assert record["AMOUNT"] is None


@pytest.mark.parametrize("name", ["id", "@id", "@odata.id"])
@pytest.mark.parametrize(
    "mark",
    [
        {"@odata.context": "#FactData/$deletedEntity"},
        {"@context": "#FactData/$deletedEntity"},
        {"@removed": {"reason": "deleted"}},
        {"@odata.removed": {"reason": "changed"}},
    ],
)
def test_deletion_is_understood_in_each_form_of_odata(
    serve: Serve, mark: dict[str, Any], name: str
) -> None:
    tenant = TrackingStandIn(*ROWS)
    entity_id = "FactData(Version='public.Actual',Date='000002')"
    tenant.deltas["A"] = delta(json.dumps({**mark, name: entity_id}))
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state)
    (record,) = messages.records("sales_fact_data")
    assert record["Date"] == "000002"
    assert record["_sdc_deleted_at"]


@pytest.mark.parametrize(
    "rows",
    [
        [changed(ROWS[0]), changed('{"Version":"public.Actual","Date":"000001"}')],
        [changed('{"Version":"public.Actual","Date":"000001"}'), changed(ROWS[0])],
        [changed(ROWS[0]), deleted("FactData(Version='a',Date=null)")],
        [changed(ROWS[0]), deleted("FactData(Version='50%25',Date='x')")],
    ],
    ids=["lacks a column", "lacked a column", "no value", "ambiguous"],
)
def test_changes_that_cannot_be_trusted_are_lost(serve: Serve, rows: list[str]) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(*rows)
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state)
    assert messages.of("sales_fact_data")[-1]["type"] == "ACTIVATE_VERSION"
    assert [record["Date"] for record in messages.records("sales_fact_data")][-3:] == [
        "000000",
        "000001",
        "000002",
    ]


PARTIAL = '{"Version":"public.Actual","Date":"000001"}'


@pytest.mark.parametrize("rows", [(ROWS[0], PARTIAL), (PARTIAL, ROWS[0])])
def test_column_that_is_missing_on_another_page_is_not_null(
    serve: Serve, rows: tuple[str, str]
) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(changed(rows[0]), link="A2", spelling="@odata.nextLink")
    tenant.deltas["A2"] = delta(changed(rows[1]))
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state).of("sales_fact_data")
    assert messages[-1]["type"] == "ACTIVATE_VERSION"


@pytest.mark.parametrize(("text", "date"), [("a b", "50%"), ("a%20b", "50%25")])
@pytest.mark.parametrize("order", ["before it", "after it", "on the page before"])
def test_changed_rows_of_an_answer_show_which_row_was_deleted(
    serve: Serve, order: str, text: str, date: str
) -> None:
    update = json.dumps(
        {
            "@odata.id": "FactData(Version='public.Actual',Date='a%20b')",
            "Version": "public.Actual",
            "Date": text,
            "AMOUNT": 1,
        }
    )
    deletion = deleted("FactData(Version='public.Actual',Date='50%25')")
    tenant = TrackingStandIn(*ROWS)
    if order == "on the page before":
        tenant.deltas["A"] = delta(update, link="A2", spelling="@odata.nextLink")
        tenant.deltas["A2"] = delta(deletion)
    else:
        rows = [update, deletion] if order == "before it" else [deletion, update]
        tenant.deltas["A"] = delta(*rows)
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state)
    assert "ACTIVATE_VERSION" not in {item["type"] for item in messages.of("sales_fact_data")}
    (gone,) = [item for item in messages.records("sales_fact_data") if item["_sdc_deleted_at"]]
    assert gone["Date"] == date


def test_rows_that_all_lack_a_column_have_null_there(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(changed('{"Version":"public.Actual","Date":"000001"}'))
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state)
    (record,) = messages.records("sales_fact_data")
    assert record["AMOUNT"] is None
    assert "ACTIVATE_VERSION" not in {item["type"] for item in messages.of("sales_fact_data")}


def test_columns_in_another_order_are_the_same_question(pipeline: Pipeline) -> None:
    pipeline.run()
    question = pipeline.bookmark()["question"]
    question["columns"].reverse()
    question["key"].reverse()
    messages = pipeline.run()
    assert messages.records(STREAM) == []
    assert "ACTIVATE_VERSION" not in {item["type"] for item in messages.of(STREAM)}


def test_key_of_the_catalog_that_is_bigger_than_sacs_stops_the_run(pipeline: Pipeline) -> None:
    catalog = select(discover(pipeline.config), STREAM)
    for entry in catalog["streams"]:
        if entry["tap_stream_id"] == STREAM:
            entry["key_properties"] = [*KEY, "REVENUE"]
    with pytest.raises(SACError, match=r"not that of the catalog \(REVENUE\)"):
        pipeline.run(catalog=catalog)


@pytest.mark.parametrize("method", ["LOG_BASED", "FULL_TABLE"])
@pytest.mark.parametrize("signature", [None, "", "0" * 64, 5, "ø"])
def test_subscription_that_the_state_does_not_prove_to_be_ours_stays(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, signature: object, method: str
) -> None:
    pipeline.run()
    (subscription,) = pipeline.service.subscriptions
    pipeline.bookmark()["signature"] = signature
    pipeline.run(default_replication_method=method, filters=ALL_PRODUCTS)
    assert subscription in pipeline.service.subscriptions
    assert f"The subscription {subscription} of {STREAM} is no longer needed, but" in caplog.text
    pipeline.check()


@pytest.mark.parametrize("control", ["\n", "\r", "\x1b[2J"])
def test_state_of_a_stranger_cannot_forge_the_log(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, control: str
) -> None:
    pipeline.run()
    pipeline.bookmark()["delta_link"] += quote(f"{control}forged")
    pipeline.run(default_replication_method="FULL_TABLE")
    (message,) = (text for text in caplog.messages if "forged" in text)
    assert "is no longer needed, but" in message
    assert control not in message


@pytest.mark.parametrize(
    "changes", [{"default_replication_method": "FULL_TABLE"}, {"filters": ALL_PRODUCTS}]
)
def test_state_cannot_delete_the_chain_of_another_stream(
    pipeline: Pipeline, changes: dict[str, Any]
) -> None:
    other = f"{STREAM}_aggregation"
    pipeline.run(catalog=select(discover(pipeline.config), STREAM, other))
    theirs = pipeline.table.state["bookmarks"][other]
    (subscription,) = parse_qs(urlsplit(theirs["delta_link"]).query)["deltaid"]
    ours = pipeline.bookmark()
    link = ours["delta_link"].partition("?")[0]
    ours |= {"delta_link": f"{link}?deltaid={subscription}", "signature": theirs["signature"]}
    pipeline.run(**changes)
    assert subscription in pipeline.service.subscriptions


def test_chain_of_others_does_not_become_ours_by_following_it(pipeline: Pipeline) -> None:
    pipeline.run()
    pipeline.bookmark()["signature"] = None
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))
    assert len(pipeline.run().records(STREAM)) == 1
    assert pipeline.bookmark()["signature"] is None
    before = set(pipeline.service.subscriptions)
    pipeline.run(default_replication_method="FULL_TABLE")
    assert set(pipeline.service.subscriptions) == before


def test_recreated_client_deletes_no_subscription_of_the_old_one(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    service = small(SampleService())

    def any_secret(request: Request) -> Response:
        if request.target == TOKEN_PATH:
            form = quote_plus(CLIENT_ID), quote_plus(CLIENT_SECRET)
            body = "grant_type=client_credentials&client_id={}&client_secret={}".format(*form)
            request = replace(request, headers={}, body=body.encode())
        return service(request)

    config = {**serve(any_secret), "models": ["Sales Planning"]}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    pipeline.run()
    (subscription,) = service.subscriptions
    pipeline.run(client_secret="another", default_replication_method="FULL_TABLE")
    assert subscription in service.subscriptions
    assert "does not prove that this tap opened it" in caplog.text


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("expire"), st.just(0), st.just(0)),
        st.tuples(st.just("run"), st.integers(0, 40), st.just(0)),
    ),
    max_size=14,
)


class VagueService(SampleService):
    """The sample tenant, in the variants of what SAC does not document."""

    def __init__(self, answer_again: str, *, lists_subscriptions: bool) -> None:
        super().__init__()
        self.answer_again = answer_again
        self.lists_subscriptions = lists_subscriptions

    @override
    def _list_subscriptions(self, request: Request, *model: str) -> Response:
        if self.lists_subscriptions:
            return super()._list_subscriptions(request, *model)
        return error_response(404, "not offered")

    @override
    def _changes_since(self, request: Request, table: Any, options: dict[str, str]) -> Response:
        subscription = self.subscriptions.get(options["deltaid"])
        following = subscription.next if subscription else None
        if following and self.answer_again != "same" and "$skiptoken" not in options:
            if self.answer_again == "error":
                return error_response(400, "read before")
            if self.answer_again == "newer":
                options = {**options, "deltaid": following.id}
                return super()._changes_since(request, table, options)
            return delta(link="none")
        return super()._changes_since(request, table, options)


def test_first_run_that_is_killed_between_any_two_messages_loses_nothing(
    pipeline: Pipeline,
) -> None:
    catalog = select(discover(pipeline.config), STREAM)
    messages = list(sync(pipeline.config, catalog))
    facts = pipeline.facts
    for killed_after in range(len(messages) + 1):
        pipeline.table = Table()
        pipeline.table.load(sync(pipeline.config, catalog)[:killed_after])
        gone = next(row for row in facts.rows if row is not None)
        facts.delete(facts.key_of(gone))
        pipeline.run(catalog=catalog)
        pipeline.check()
        facts.put(gone)


class Killed(BaseException):
    """The end of a process."""


class DyingOutput(io.StringIO):
    """Ends the process that writes to it, after so many lines."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._lines = lines

    @override
    def write(self, text: str) -> int:
        if self.getvalue().count("\n") == self._lines:
            raise Killed
        return super().write(text)


def killed_sync(
    config: dict[str, Any],
    catalog: dict[str, Any] | None,
    state: dict[str, Any],
    killed_after: int,
) -> Messages:
    output = DyingOutput(killed_after)
    with contextlib.suppress(Killed, SACError), contextlib.redirect_stdout(output):
        TapSAC(config=dict(config), catalog=catalog, state=copy.deepcopy(state)).sync_all()
    return read_messages(output.getvalue())


@pytest.mark.parametrize(("state_frequency", "page_size"), [(1, 100), (10_000, 3)])
@pytest.mark.parametrize("lists_subscriptions", [True, False])
@pytest.mark.parametrize("answer_again", ["same", "empty", "error", "newer"])
def test_delta_run_that_is_killed_between_any_two_messages_loses_nothing(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    answer_again: str,
    state_frequency: int,
    page_size: int,
    *,
    lists_subscriptions: bool,
) -> None:
    monkeypatch.setattr(SACStream, "STATE_MSG_FREQUENCY", state_frequency)
    service = small(VagueService(answer_again, lists_subscriptions=lists_subscriptions))
    config = {**serve(service), "models": ["Sales Planning"], "page_size": page_size}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    catalog = select(discover(pipeline.config), STREAM)
    facts = pipeline.facts
    pipeline.run(catalog=catalog)
    for killed_after in range(MOST_MESSAGES):
        first, second, *_ = (row for row in facts.rows if row is not None)
        facts.put({**first, "REVENUE": Decimal(f"{killed_after}.0000000")})
        facts.put({**first, "Date": f"20{30 + killed_after}01"})
        facts.delete(facts.key_of(second))
        if lists_subscriptions:  # Even what was written may be lost on its way to the table.
            messages = sync(pipeline.config, catalog, pipeline.table.state)[:killed_after]
        else:
            messages = killed_sync(pipeline.config, catalog, pipeline.table.state, killed_after)
        pipeline.table.load(messages)
        if len(messages) < killed_after:
            return
        facts.put({**first, "Date": f"20{50 + killed_after}01"})
        pipeline.run(catalog=catalog)
        pipeline.check()
        facts.put(second)
    pytest.fail("a run with three changes wrote more messages than it can have")


@pytest.mark.parametrize("tries", [1, 8])
@pytest.mark.parametrize("is_late", [True, False])
@pytest.mark.parametrize("lists_subscriptions", [True, False])
@pytest.mark.parametrize("answer_again", ["same", "empty", "error"])
def test_changes_whose_answer_is_lost_on_its_way_are_not_lost(
    serve: Serve, answer_again: str, *, lists_subscriptions: bool, is_late: bool, tries: int
) -> None:
    service = small(VagueService(answer_again, lists_subscriptions=lists_subscriptions))
    lost: list[Request] = []
    unfinished: list[Request] = []

    def application(request: Request) -> Response:
        if "deltaid" not in request.target:
            return service(request)
        if lost:
            for earlier in unfinished:  # SAC was still at it when the request was repeated.
                service(earlier)
            unfinished.clear()
            return service(request)
        lost.append(request)
        if is_late:
            unfinished.append(request)
        else:
            service(request)
        return Response(504, b"<html>gateway</html>", {"Retry-After": "0"})

    config = {**serve(application), "models": ["Sales Planning"], "backoff_max_tries": tries}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    pipeline.run()
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))
    pipeline.facts.delete(pipeline.facts.key_of(pipeline.row(1)))
    if tries == 1:
        messages = killed_sync(pipeline.config, None, pipeline.table.state, ALL_MESSAGES)
        pipeline.table.load(messages)
    pipeline.run()
    assert lost
    pipeline.check()


def test_changes_that_sac_counts_as_read_are_not_asked_for_again(serve: Serve) -> None:
    service = small(VagueService("newer", lists_subscriptions=True))
    lost: list[Request] = []

    def application(request: Request) -> Response:
        answer = service(request)
        if "deltaid" in request.target and not lost:
            lost.append(request)
            facts = service.facts(SALES_MODEL)
            # The next answer would have this, and nothing of what was lost.
            facts.put({**(facts.rows[2] or {}), "REVENUE": Decimal("6.0000000")})
            return Response(504, b"<html>gateway</html>", {"Retry-After": "0"})
        return answer

    config = {**serve(application), "models": ["Sales Planning"]}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    pipeline.run()
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))
    pipeline.facts.delete(pipeline.facts.key_of(pipeline.row(1)))
    pipeline.run()
    assert lost
    pipeline.check()


def change_behind(faults: list[Response], pipeline: Pipeline, serve: Serve) -> None:
    """Read the table, change a fact, and have these answers ready for its delta link."""

    def application(request: Request) -> Response:
        is_spoiled = "deltaid" in request.target and faults
        return faults.pop() if is_spoiled else pipeline.service(request)

    pipeline.config |= serve(application)
    pipeline.run()
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))


def test_overload_after_which_sac_lists_no_changes_as_read_goes_on_from_the_same_link(
    pipeline: Pipeline, serve: Serve
) -> None:
    faults = [error_response(503, "overload", **{"Retry-After": "0"})]
    change_behind(faults, pipeline, serve)
    state = pipeline.table.state
    messages = killed_sync(pipeline.config | {"backoff_max_tries": 1}, None, state, ALL_MESSAGES)
    pipeline.table.load(messages)
    assert not faults
    assert len(pipeline.run().records(STREAM)) == 1
    pipeline.check()


@pytest.mark.parametrize("status", [401, 403, 429])
def test_link_that_was_refused_is_followed_by_the_next_run(serve: Serve, status: int) -> None:
    service = small(VagueService("error", lists_subscriptions=False))
    is_refused = False

    def application(request: Request) -> Response:
        if is_refused and "deltaid" in request.target:
            return error_response(status, "no", **{"Retry-After": "0"})
        return service(request)

    config = {**serve(application), "models": ["Sales Planning"]}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    pipeline.run()
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))
    is_refused = True
    messages = killed_sync(pipeline.config, None, pipeline.table.state, ALL_MESSAGES)
    pipeline.table.load(messages)
    is_refused = False
    assert len(pipeline.run().records(STREAM)) == 1
    pipeline.check()


def test_delta_that_was_not_read_is_asked_for_again(pipeline: Pipeline, serve: Serve) -> None:
    faults = [error_response(429, "slow down", **{"Retry-After": "0"})]
    change_behind(faults, pipeline, serve)
    assert len(pipeline.run().records(STREAM)) == 1
    assert not faults
    pipeline.check()


def test_login_page_is_no_lost_delta(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = Response(302, b"", {"Location": "https://login.example/"})
    config = log_based(serve, tenant)
    state = sync(config).state
    with pytest.raises(SACError, match=r"leads to https://login\.example"):
        sync(config, state=state)


@pytest.mark.parametrize("link", ["https://evil.example/FactData?deltaid={}", "?deltaid={}", None])
@pytest.mark.parametrize("method", ["LOG_BASED", "FULL_TABLE"])
def test_state_of_a_stranger_cannot_delete_a_subscription(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, link: str | None, method: str
) -> None:
    pipeline.run()
    (others,) = pipeline.service.subscriptions
    if link:
        pipeline.bookmark()["delta_link"] = link.format(others)
    else:  # Somebody has opened it under a name, and not the tap.
        monkeypatch.setattr(
            "tap_sac.demo.service._subscription_row",
            lambda item, request: {**_subscription_row(item, request), "ExternalID": "nightly"},
        )
    pipeline.run(default_replication_method=method, filters=ALL_PRODUCTS)
    assert others in pipeline.service.subscriptions


@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operations=OPERATIONS,
    answer_again=st.sampled_from(["same", "empty", "error"]),
    lists_subscriptions=st.booleans(),
)
def test_any_sequence_of_changes_and_killed_runs_loses_nothing(
    *,
    serve: Serve,
    operations: list[tuple[str, int, int]],
    answer_again: str,
    lists_subscriptions: bool,
) -> None:
    service = small(VagueService(answer_again, lists_subscriptions=lists_subscriptions))
    config = {**serve(service), "models": ["Sales Planning"], "page_size": 3}
    pipeline = Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})
    catalog = select(discover(pipeline.config), STREAM)
    facts = service.facts(SALES_MODEL)
    template = pipeline.row(0)
    for operation, number, value in operations:
        row = {**template, "Date": f"20300{number}", "REVENUE": Decimal(f"{value}.0000000")}
        if operation == "put":
            facts.put(row)
        elif operation == "delete" and facts.key_of(row) in live_keys(facts):
            facts.delete(facts.key_of(row))
        elif operation == "expire":
            service.expire()
        elif operation == "run":
            state = pipeline.table.state
            pipeline.table.load(killed_sync(pipeline.config, catalog, state, number))
    pipeline.run(catalog=catalog)
    pipeline.check()


def live_keys(facts: TrackedRows) -> set[Key]:
    return {facts.key_of(row) for row in facts.rows if row is not None}
