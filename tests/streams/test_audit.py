"""Audit data: INCREMENTAL by the time of the change."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tap_sac.demo.service import (
    SampleService,
)
from tap_sac.sac.errors import SACError
from tap_sac.streams.stream import SACStream
from tests.conftest import discover, select, sync
from tests.helpers.stand_in import Model, StandIn, edmx, error_response

if TYPE_CHECKING:
    from tests.conftest import Messages, Serve


AUDIT = "workforce_planning_audit_data"


AUDIT_EDMX = edmx(AuditData={"Audit_Time": "Edm.DateTimeOffset"})


def audit_run(config: dict[str, Any], state: dict[str, Any] | None = None) -> Messages:
    config = {**config, "models": ["Workforce Planning"]}
    return sync(config, select(discover(config), AUDIT), state)


def test_audit_data_resumes_at_the_bookmark(serve: Serve) -> None:
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


def test_audit_bookmark_is_never_ahead_of_the_rows(
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


def test_row_with_a_future_time_is_written_once(serve: Serve) -> None:
    rows = [f'{{"Audit_Time":"20{year}-11-02T05:12:44.123Z"}}' for year in (97, 98, 98)]
    model = Model("C4SALES", "Sales", AUDIT_EDMX, {"AuditData": rows})
    config = serve(StandIn(model))
    catalog = select(discover(config), "sales_audit_data")

    def run(state: dict[str, Any] | None) -> tuple[list[str], dict[str, Any]]:
        messages = sync(config, catalog, state)
        times = [record["Audit_Time"][:4] for record in messages.records("sales_audit_data")]
        return times, messages.state

    times, state = run(None)
    assert times == ["2097", "2098", "2098"]
    times, state = run(state)
    assert times == []
    late = ["2020-11-03T05:12:44.123Z", "2098-11-02T05:12:44.123Z", "2099-11-02T05:12:44.123Z"]
    model.sets["AuditData"] = [*rows, *(f'{{"Audit_Time":"{time}"}}' for time in late)]
    times, state = run(state)
    assert times == ["2020", "2098", "2099"]
    assert state["bookmarks"]["sales_audit_data"]["replication_key_value"] < "2097"
    times, _ = run(state)
    assert times == ["2020"]


@pytest.mark.parametrize("start_date", ["2026-11-10", "2026-11-10T01:00:00+01:00"])
def test_audit_data_begins_at_start_date(serve: Serve, start_date: str) -> None:
    config = {**serve(SampleService()), "start_date": start_date}
    times = {item["Audit_Time"] for item in audit_run(config).records(AUDIT)}
    assert min(times) >= "2026-11-10T00:00:00"
    assert len(times) < 300


@pytest.mark.parametrize("is_quoted", [False, True])
def test_time_filter_uses_the_literal_that_the_tenant_accepts(
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
def test_audit_bookmark_is_sent_as_sac_wrote_it(serve: Serve, bookmark: str) -> None:
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


def test_audit_overlap_reads_data_before_the_bookmark_again(serve: Serve) -> None:
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
def test_invalid_audit_time_is_rejected(serve: Serve, time: str, type_name: str) -> None:
    document = edmx(AuditData={"Audit_Time": type_name})
    model = Model("C4SALES", "Sales", document, {"AuditData": [f'{{"Audit_Time":{time}}}']})
    config = serve(StandIn(model))
    catalog = select(discover(config), "sales_audit_data")
    if time != "null" and type_name != "Edm.String":
        with pytest.raises(SACError, match=r"Audit_Time of AuditData holds '.*DateTimeOffset"):
            sync(config, copy.deepcopy(catalog))
        for entry in catalog["streams"]:
            entry["schema"]["properties"].get("Audit_Time", {}).pop("format", None)
    with pytest.raises(SACError, match=r"no valid time in Audit_Time.*FULL_TABLE"):
        sync(config, catalog)


def test_tenant_that_cannot_filter_by_time_is_reported(serve: Serve) -> None:
    tenant = StandIn(Model("C4SALES", "Sales", AUDIT_EDMX, {"AuditData": []}))
    tenant.fault = lambda request: (
        error_response(400, "literal") if "$filter" in request.target else None
    )
    config = {**serve(tenant), "start_date": "2026-11-01"}
    with pytest.raises(
        SACError, match=r"literal.*every format of a filter on Audit_Time.*FULL_TABLE"
    ):
        sync(config, select(discover(config), "sales_audit_data"))


@pytest.mark.parametrize("filters", [{}, {"*": "1 eq 1"}])
@pytest.mark.parametrize("status", [400, 403])
def test_data_audit_off_is_reported(serve: Serve, status: int, filters: dict[str, str]) -> None:
    tenant = StandIn(Model("C4SALES", "Sales", AUDIT_EDMX, {"AuditData": []}))
    tenant.fault = lambda request: (
        error_response(status, "off [3905]") if "AuditData" in request.target else None
    )
    config = {**serve(tenant), "start_date": "2026-11-01", "filters": filters}
    with pytest.raises(SACError, match=r"\[3905\].*Turn it on in the model preferences"):
        sync(config, select(discover(config), "sales_audit_data"))


def test_other_time_literals_are_not_tried_if_the_client_is_denied(serve: Serve) -> None:
    tenant = StandIn(Model("C4SALES", "Sales", AUDIT_EDMX, {"AuditData": []}))
    tenant.fault = lambda request: (
        error_response(403, "no [3401]") if "$filter" in request.target else None
    )
    config = {**serve(tenant), "start_date": "2026-11-01"}
    with pytest.raises(SACError, match=r"\[3401\]"):
        sync(config, select(discover(config), "sales_audit_data"))
    assert any("ge%202026-11-01" in target for target in tenant.targets)
    assert not any("ge%20'" in target for target in tenant.targets)
