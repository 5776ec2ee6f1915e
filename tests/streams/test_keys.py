"""A read is proven by its keys: a number of rows that is right does not say which rows came."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.service import SALES_MODEL, Response, SampleService
from tests.helpers.disorder import TABLES, DisorderlyStandIn, ids, load, member, overlapping
from tests.helpers.stand_in import error_response
from tests.helpers.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tap_sac.demo.service import Request
    from tests.conftest import Serve

GONE = 20
NOT_AHEAD = {"max_parallel_requests": 1}  # No page is read before the turn of its table.


def wanted(tenant: DisorderlyStandIn) -> list[Any]:
    return sorted(json.loads(row)["ID"] for row in tenant.rows)


def begun(serve: Serve, tenant: DisorderlyStandIn, table: str) -> tuple[dict[str, Any], Target]:
    """Load a table in order, with a row that is gone from SAC afterwards."""
    config, target = serve(tenant), Target()
    arrange, tenant.arrange = tenant.arrange, list
    tenant.rows.append(member(table, GONE))
    assert not load(config, target)
    assert ids(target, tenant.stream) == wanted(tenant)
    tenant.rows.pop()
    tenant.arrange = arrange
    tenant.requests.clear()
    return config, target


@pytest.mark.parametrize("table", TABLES)
def test_pages_that_overlap_are_read_once_more_in_order(serve: Serve, table: str) -> None:
    tenant = DisorderlyStandIn(table)
    config, target = begun(serve, tenant, table)
    assert not load(config, target)
    assert ids(target, tenant.stream) == wanted(tenant)
    key = ",".join(name for name, type_ in TABLES[table][2].items() if type_.endswith("*"))
    assert [options.get("$orderby") for options in tenant.first_pages()] == [None, key]
    assert len(tenant.questions()) == 1


def test_table_that_needed_an_order_is_read_in_order_next_time(serve: Serve) -> None:
    tenant = DisorderlyStandIn()
    config, target = begun(serve, tenant, "facts")
    assert not load(config, target)
    tenant.requests.clear()
    for _ in range(2):
        assert not load(config, target)
    assert [options.get("$orderby") for options in tenant.first_pages()] == ["ID", "ID"]
    assert ids(target, tenant.stream) == wanted(tenant)
    assert not tenant.questions()


def test_paths_of_a_second_read_are_counted_again(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = DisorderlyStandIn("hierarchy", rows=5)
    parent = "P" * 3_990
    tenant.rows = [row.replace('""', f'"{parent}"').replace("M", "M" * 10) for row in tenant.rows]
    tenant.rows.append(json.dumps({"ID": parent, "H_PARENTID": ""}))
    target = Target()
    assert not load(serve(tenant), target)
    assert len(tenant.first_pages()) == 2
    assert [row["H_PATH"] for row in target.rows(tenant.stream)].count(None) == 5
    (warning,) = {item for item in caplog.messages if item.startswith("H_PATH")}
    assert "null in 5 rows" in warning


@pytest.mark.parametrize("is_in_order", [True, False])
def test_refused_order_only_matters_if_rows_are_still_repeated(
    serve: Serve, *, is_in_order: bool
) -> None:
    tenant = DisorderlyStandIn()
    config, target = begun(serve, tenant, "facts")
    assert not load(config, target)
    tenant.rows.pop(0)
    tenant.refuses_order = True
    tenant.arrange = list if is_in_order else overlapping
    before = ids(target, tenant.stream)
    failure = load(config, target)
    if is_in_order:
        assert not failure
        assert ids(target, tenant.stream) == wanted(tenant)
        assert "in_order" not in target.state["bookmarks"][tenant.stream]
    else:
        assert "400 Bad Request, 'no'" in failure
        assert ids(target, tenant.stream) == before


def test_filter_that_sac_refuses_is_not_taken_for_a_refused_order(serve: Serve) -> None:
    tenant = DisorderlyStandIn()
    config, target = begun(serve, tenant, "facts")
    assert not load(config, target)
    tenant.fault = lambda request: (
        error_response(400, "no") if "$filter" in request.options else None
    )
    failure = load({**config, "filters": {tenant.stream: "X eq 4"}}, target)
    assert "to the filter 'X eq 4'" in failure


def test_second_read_comes_with_files_too(serve: Serve, tmp_path: Path) -> None:
    tenant = DisorderlyStandIn()
    config = serve(tenant) | {
        "batch_config": {
            "encoding": {"format": "jsonl", "compression": "none"},
            "storage": {"root": tmp_path.as_uri()},
        }
    }
    assert not load(config, Target())
    rows = [
        json.loads(line) for path in tmp_path.iterdir() for line in path.read_text().splitlines()
    ]
    first, second = sorted({row["_sdc_table_version"] for row in rows})
    assert second == first + 1
    written = [row["ID"] for row in rows if row["_sdc_table_version"] == second]
    assert sorted(written) == wanted(tenant)


@pytest.mark.parametrize("table", ["facts", "hierarchy"])
@pytest.mark.parametrize("more", [1, 5])
def test_rows_that_are_sent_twice_are_harmless_if_none_is_missing(
    serve: Serve, table: str, more: int
) -> None:
    tenant = DisorderlyStandIn(table)
    tenant.arrange = lambda rows: [*rows, *rows[:more]]
    config, target = begun(serve, tenant, table)
    assert not load(config, target)
    assert ids(target, tenant.stream) == wanted(tenant)
    assert len(tenant.first_pages()) == len(tenant.questions()) == 1


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("trouble", ["as before", "refused", "not implemented"])
def test_order_that_does_not_help_fails_the_stream(serve: Serve, table: str, trouble: str) -> None:
    tenant = DisorderlyStandIn(table)
    config, target = begun(serve, tenant, table)
    before = target.state["bookmarks"][tenant.stream]
    if trouble == "as before":
        tenant.arrange_ordered = overlapping
    else:
        status = 400 if trouble == "refused" else 501
        tenant.fault = lambda request: (
            error_response(status, "no") if "$orderby" in request.options else None
        )
    failure = load(config, target)
    assert tenant.stream in failure
    assert "in key order" in failure
    assert set(ids(target, tenant.stream)) > set(wanted(tenant))  # Nothing is deleted.
    assert target.state["bookmarks"][tenant.stream] == before


@pytest.mark.parametrize("trouble", ["as before", "refused"])
def test_order_that_does_not_help_can_be_a_warning(serve: Serve, trouble: str) -> None:
    tenant = DisorderlyStandIn()
    config, target = begun(serve, tenant, "facts")
    tenant.arrange_ordered = overlapping
    tenant.refuses_order = trouble == "refused"
    assert not load({**config, "verify_counts": "warn"}, target)
    assert set(ids(target, tenant.stream)) > set(wanted(tenant))


@pytest.mark.parametrize("table", ["facts", "numbered", "dated", "timed", "precise", "two"])
@pytest.mark.parametrize("distance", [0, 4])
def test_several_facts_of_a_key_fail_the_stream_early(
    serve: Serve, table: str, distance: int
) -> None:
    tenant = DisorderlyStandIn(table)
    tenant.arrange = tenant.arrange_ordered = list
    tenant.rows.insert(4 + distance, tenant.rows[3].replace('"X": 3', '"X": 7'))
    failure = load({**serve(tenant), "use_singer_decimal": bool(distance)}, Target())
    assert "SAC stores several facts of t_fact_data under one key" in failure
    assert len(tenant.first_pages()) == len(tenant.questions()) == 1


@pytest.mark.parametrize("table", ["master", "hierarchy", "public"])
def test_member_stored_twice_is_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture, table: str
) -> None:
    tenant = DisorderlyStandIn(table)
    config, target = begun(serve, tenant, table)
    tenant.arrange = list
    tenant.rows.insert(6, tenant.rows[3])
    assert not load(config, target)
    assert ids(target, tenant.stream) == sorted({*wanted(tenant)})
    assert len(tenant.first_pages()) == len(tenant.questions()) == 1
    told = f"SAC has several rows of {tenant.stream} under one key (ID='M003'; 1 extra row)"
    assert told in caplog.text


@pytest.mark.parametrize("table", ["master", "hierarchy", "public"])
@pytest.mark.parametrize(("members", "times"), [(1, 2), (3, 3), (30, 2)])
def test_member_stored_twice_does_not_hide_a_missing_row(
    serve: Serve, caplog: pytest.LogCaptureFixture, table: str, members: int, times: int
) -> None:
    tenant = DisorderlyStandIn(table)
    config, target = begun(serve, tenant, table)
    tenant.rows += [member(table, number) for number in range(30, 30 + members)] * times
    tenant.arrange = lambda rows: [*rows[9:], *overlapping(rows[:9])]
    assert not load(config, target)
    assert ids(target, tenant.stream) == sorted({*wanted(tenant)})
    assert len(tenant.first_pages()) == len(tenant.questions()) == 2
    assert f"under one key (ID='M030'; {members * (times - 1)} extra row" in caplog.text


@pytest.mark.parametrize("overlaps", [False, True])
def test_few_of_many_members_that_the_table_has_twice_are_asked_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, *, overlaps: bool
) -> None:
    monkeypatch.setattr("tap_sac.streams.watched_keys._MOST_REPEATED", 3)
    tenant = DisorderlyStandIn("master")
    config, target = begun(serve, tenant, "master")
    tenant.rows += [member("master", number) for number in range(30, 35)] * 2
    tenant.arrange = overlapping if overlaps else list
    assert not load(config, target)
    assert ids(target, tenant.stream) == sorted({*wanted(tenant)})
    assert len(tenant.first_pages()) == len(tenant.questions()) == 1 + overlaps
    assert max(question.count("ID eq") for question in tenant.questions()) == 3


def test_rows_of_members_that_come_again_may_come_in_pages(serve: Serve) -> None:
    tenant = DisorderlyStandIn("master")
    config, target = begun(serve, tenant, "master")
    tenant.rows += [member("master", number) for number in range(30, 35)] * 2
    tenant.arrange = list

    def fault(request: Request) -> Response | None:
        if "$filter" not in request.options:
            return None
        answer = tenant.page(request, ())
        members, start = json.loads(answer.body), int(request.options.get("$skiptoken", "0"))
        link = request.target.partition("&$skiptoken")[0] + f"&$skiptoken={start + 4}"
        members |= {"value": members["value"][start : start + 4], "@odata.nextLink": link}
        return replace(answer, body=json.dumps(members).encode())

    tenant.fault = fault
    assert not load(config, target)
    assert ids(target, tenant.stream) == sorted({*wanted(tenant)})
    assert len(tenant.first_pages()) == 1


def test_member_sent_more_often_than_stored_is_harmless(serve: Serve) -> None:
    tenant = DisorderlyStandIn("master")
    config, target = begun(serve, tenant, "master")
    tenant.rows.insert(6, tenant.rows[3])
    tenant.arrange = lambda rows: [*rows, *rows[:3], rows[3]]
    assert not load(config, target)
    assert ids(target, tenant.stream) == sorted({*wanted(tenant)})
    assert len(tenant.first_pages()) == 1


@pytest.mark.parametrize("is_missing", [False, True])
def test_member_that_may_be_listed_twice_is_harmless(serve: Serve, *, is_missing: bool) -> None:
    """SAC does not answer which members it lists twice."""
    tenant = DisorderlyStandIn("master")
    config, target = begun(serve, tenant, "master")
    tenant.fault = lambda request: (
        error_response(400, "no") if "$filter" in request.options else None
    )
    tenant.arrange = tenant.arrange_ordered = overlapping if is_missing else list
    tenant.rows[4] = tenant.rows[3]
    before = {*ids(target, tenant.stream)}
    assert not load(config, target)
    assert {*ids(target, tenant.stream)} == before


def test_numbers_that_are_written_differently_are_one_key(serve: Serve) -> None:
    tenant = DisorderlyStandIn("precise")
    config, target = begun(serve, tenant, "precise")
    tenant.arrange = lambda rows: (
        overlapping(rows)[:3] + [row.replace(".5,", ".50,") for row in overlapping(rows)[3:]]
    )
    assert not load(config, target)
    assert ids(target, tenant.stream) == sorted(json.loads(row)["ID"] for row in tenant.rows)
    assert len(tenant.first_pages()) == 2


@pytest.mark.parametrize("answer", ["refused", "not filtered", "broken"])
def test_question_without_an_answer_does_not_excuse_missing_rows(serve: Serve, answer: str) -> None:
    tenant = DisorderlyStandIn()
    config, target = begun(serve, tenant, "facts")
    if answer == "not filtered":
        tenant.can_filter = False
    else:
        response = error_response(400, "no")
        tenant.fault = lambda request: response if "$top" in request.options else None
    assert not load(config, target)
    assert ids(target, tenant.stream) == wanted(tenant)


@pytest.mark.parametrize("is_missing", [False, True])
def test_key_that_is_repeated_without_a_count_deletes_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture, *, is_missing: bool
) -> None:
    tenant = DisorderlyStandIn()
    if not is_missing:
        tenant.arrange = lambda rows: [*rows, rows[-1]]
    config, target = begun(serve, tenant, "facts")
    tenant.counts = False
    assert not load(config, target)
    assert set(ids(target, tenant.stream)) > set(wanted(tenant))
    assert len(tenant.first_pages()) == len(tenant.questions()) == 1
    assert "rows were sent twice, so others may be missing" in caplog.text


def test_several_facts_fail_the_stream_without_a_count(serve: Serve) -> None:
    tenant = DisorderlyStandIn()
    tenant.counts = False
    tenant.arrange = list
    tenant.rows.append(tenant.rows[3])
    assert "SAC stores several facts" in load(serve(tenant), Target())


def test_keys_are_not_watched_if_verify_counts_is_off(serve: Serve) -> None:
    tenant = DisorderlyStandIn()
    config, target = begun(serve, tenant, "facts")
    assert not load({**config, "verify_counts": "off"}, target)
    assert len(tenant.first_pages()) == 1
    assert not tenant.questions()


@pytest.mark.parametrize("table", TABLES)
def test_healthy_read_requests_only_its_pages(serve: Serve, table: str) -> None:
    tenant = DisorderlyStandIn(table)
    tenant.arrange = list
    config, target = begun(serve, tenant, table)
    assert not load(config, target)
    asked = [item for item in tenant.requests if item.path.endswith(f"/{tenant.set_name}")]
    assert len(asked) == 5
    assert ids(target, tenant.stream) == wanted(tenant)


@pytest.mark.parametrize(
    "forget", [lambda rows: rows[2:], lambda rows: rows[4:]], ids=["twice", "never"]
)
def test_link_without_the_filter_keeps_no_wrong_row(
    serve: Serve, caplog: pytest.LogCaptureFixture, forget: Callable[[list[str]], list[str]]
) -> None:
    tenant = DisorderlyStandIn()
    config, target = begun(serve, tenant, "facts")
    every_row = [*tenant.rows]
    tenant.arrange = lambda rows: [*rows[:2], *forget(every_row)] if len(rows) > 2 else rows
    config["filters"] = {tenant.stream: "X lt 4"}
    assert not load(config, target)
    assert ids(target, tenant.stream) == ["M000", "M001", "M002", "M003"]
    told = "rows that do not belong to it stay in the target"
    assert told not in caplog.text
    assert not load({**config, "emit_activate_version_messages": False}, Target())
    assert told in caplog.text


@pytest.mark.parametrize("are_there", [False, True])
def test_rows_that_the_filter_leaves_out_fail_the_stream_unless_they_are_gone(
    serve: Serve, *, are_there: bool
) -> None:
    tenant = DisorderlyStandIn()
    others = tenant.rows[4:] if are_there else [member("facts", GONE)]
    tenant.arrange = tenant.arrange_ordered = lambda rows: [*rows[1:], *others, *rows[:1]]
    failure = load({**serve(tenant), "filters": {tenant.stream: "X lt 4"}}, Target())
    told = f"{tenant.stream} but sent 9, and the filter excludes some of them"
    assert told in failure if are_there else not failure


def test_count_of_no_rows_does_not_excuse_missing_rows(serve: Serve) -> None:
    tenant = DisorderlyStandIn()
    config, target = begun(serve, tenant, "facts")
    none = Response(200, b'{"@odata.count":0,"value":[]}')
    tenant.fault = lambda request: none if request.options.get("$top") == "0" else None
    assert not load(config, target)
    assert ids(target, tenant.stream) == wanted(tenant)


def test_opening_is_read_once_more_without_tracking_and_keeps_its_link(serve: Serve) -> None:
    service = SampleService()
    service.limit(SALES_MODEL, 2_500)
    pages: list[tuple[bool, bool]] = []

    def tenant(request: Request) -> Response:
        answer = service(request)
        options = request.options
        is_read = request.path.endswith(f"{SALES_MODEL[1]}/FactData") and "$top" not in options
        if not is_read:
            return answer
        pages.append(("$orderby" in options, "prefer" in request.headers))
        members = json.loads(answer.body, parse_float=str)
        if "$orderby" not in options and "$skiptoken" in options:
            members["value"][0] = members["value"][1]
        return replace(answer, body=json.dumps(members).encode())

    config = {
        **serve(tenant),
        "models": ["Sales Planning"],
        "default_replication_method": "LOG_BASED",
        "page_size": 1_000,
    }
    target = Target()
    assert not load(config, target)
    assert len(target.rows("sales_planning_fact_data")) == 2_500
    assert pages == [(False, True)] * 3 + [(True, False)] * 3
    opened = [item for item in service.subscriptions.values() if item.set_name == "FactData"]
    assert len(opened) == 1
    state = target.state["bookmarks"]["sales_planning_fact_data"]
    assert state["delta_link"].endswith(opened[0].id)
    pages.clear()
    assert not load(config, target)  # Its changes are read.
    assert len(target.rows("sales_planning_fact_data")) == 2_500
    assert not [is_ordered for is_ordered, _ in pages if is_ordered]


@pytest.mark.parametrize("table", ["facts", "two", "master", "hierarchy", "public"])
@pytest.mark.parametrize("cycle", [2, 4, 9])
def test_pages_without_an_end_are_stopped(serve: Serve, table: str, cycle: int) -> None:
    tenant = DisorderlyStandIn(table)
    config, target = begun(serve, tenant, table)
    endless = [tenant.rows[number % cycle] for number in range(1_000)]
    tenant.arrange = tenant.arrange_ordered = lambda _: endless
    failure = load({**config, **NOT_AHEAD}, target)
    assert tenant.stream in failure or "the same rows of" in failure
    assert len(tenant.requests) < 30
    assert set(ids(target, tenant.stream)) > set(wanted(tenant))


@pytest.mark.parametrize("table", ["facts", "hierarchy"])
@pytest.mark.parametrize("page_size", [1, 2])
@pytest.mark.parametrize("count", [None, 3])
def test_pages_without_an_end_are_stopped_whatever_sac_counts(
    serve: Serve, table: str, page_size: int, count: int | None
) -> None:
    tenant = DisorderlyStandIn(table, rows=count or 4)
    tenant.counts = count is not None
    endless = [member(table, number % 4) for number in range(2_000)]
    tenant.arrange = tenant.arrange_ordered = lambda _: endless
    failure = load({**serve(tenant), **NOT_AHEAD, "page_size": page_size}, Target())
    assert f"SAC's pages of {tenant.stream} do not end" in failure
    assert len(tenant.requests) < 150


@pytest.mark.parametrize("table", ["facts", "hierarchy"])
@pytest.mark.parametrize("counts", [True, False])
def test_pages_that_repeat_half_of_the_one_before_have_an_end(
    serve: Serve, table: str, *, counts: bool
) -> None:
    tenant = DisorderlyStandIn(table)
    tenant.counts = counts
    tenant.arrange = lambda rows: [item for row in rows for item in (row, row)][1:-1]
    target = Target()
    assert not load(serve(tenant), target)
    assert ids(target, tenant.stream) == wanted(tenant)


@pytest.mark.parametrize("table", ["facts", "hierarchy"])
def test_many_new_rows_are_not_taken_for_pages_without_an_end(serve: Serve, table: str) -> None:
    tenant = DisorderlyStandIn(table)
    config, target = begun(serve, tenant, table)
    tenant.arrange = lambda rows: [*rows, *(member(table, number) for number in range(50, 70))]
    assert not load(config, target)
    assert len(ids(target, tenant.stream)) == 9 + 20 + 1


@pytest.mark.parametrize(
    ("counts", "told"), [(False, "SAC keeps sending the same rows"), (True, "do not end")]
)
def test_pages_without_a_key_and_an_end_are_stopped(
    serve: Serve, told: str, *, counts: bool
) -> None:
    tenant = DisorderlyStandIn()
    tenant.models[0].edmx = tenant.models[0].edmx.replace('<PropertyRef Name="ID"/>', "")
    tenant.counts = counts
    tenant.arrange = lambda rows: rows[: 4 if counts else 2] * 100
    assert told in load({**serve(tenant), **NOT_AHEAD}, Target())
    assert len(tenant.requests) < 30


def test_opening_with_several_facts_leaves_no_subscription(serve: Serve) -> None:
    service = SampleService(Behaviour(facts_per_key=3))
    service.limit(SALES_MODEL, 30)

    def tenant(request: Request) -> Response:
        is_sum = request.path.endswith("/FactDataAggregation")
        return error_response(404, "no") if is_sum else service(request)

    config = {"models": ["Sales Planning"], "default_replication_method": "LOG_BASED"}
    failure = load({**serve(tenant), **config, "page_size": 20}, Target())
    assert "SAC stores several facts of sales_planning_fact_data" in failure
    assert not [item for item in service.subscriptions.values() if item.set_name == "FactData"]
