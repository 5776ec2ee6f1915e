"""A run that ends well has read everything, once: what SAC counts, and what its rows prove."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.service import SALES_MODEL, Request, Response, SampleService
from tests.conftest import discover, read_messages, select, sync
from tests.helpers.runs import is_activated, run
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Messages, RunCli, Serve

SALES = "sales_planning_fact_data"
FACTS = "sales_fact_data"
ROWS = [sales_row(number) for number in range(9)]


def dates(messages: Messages) -> list[str]:
    return [record["Date"] for record in messages.records(FACTS)]


def options(request: Request) -> dict[str, str]:
    query = parse_qs(urlsplit(request.target).query, keep_blank_values=True)
    return {name: values[0] for name, values in query.items()}


def sales_config(serve: Serve, service: SampleService, **settings: Any) -> dict[str, Any]:
    return {**serve(service), "models": ["Sales Planning"], **settings}


@pytest.mark.parametrize(
    "behaviour",
    [Behaviour(page_cap=1000), Behaviour(page_cap=700, pagesize_lifts_cap=True)],
    ids=["always", "unless pagesize is sent"],
)
@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_answers_that_are_capped_without_a_link_cost_no_row(
    serve: Serve, caplog: pytest.LogCaptureFixture, behaviour: Behaviour, method: str
) -> None:
    service = SampleService(behaviour)
    service.limit(SALES_MODEL, 2_500)
    config = sales_config(serve, service, default_replication_method=method)
    messages, failure = run(config)
    if method == "LOG_BASED":  # What is tracked must not be asked for twice.
        assert "SAC counts 2,500 rows of sales_planning_fact_data but sent" in failure + caplog.text
        assert not is_activated(messages, SALES)
        assert "delta_link" not in messages.state["bookmarks"].get(SALES, {})
        assert not [item for item in service.subscriptions.values() if item.set_name == "FactData"]
        return
    assert not failure
    records = messages.records(SALES)
    key = messages.schema(SALES)["key_properties"]
    assert len(records) == len({tuple(record[name] for name in key) for record in records}) == 2_500
    assert is_activated(messages, SALES)


def test_cap_with_a_deselected_column_costs_no_row(serve: Serve) -> None:
    service = SampleService(Behaviour(page_cap=1000))
    service.limit(SALES_MODEL, 2_500)
    config = sales_config(serve, service)
    catalog = discover(config)
    entry = next(
        item for item in catalog[SALES]["metadata"] if item["breadcrumb"][1:] == ["QUANTITY"]
    )
    entry["metadata"]["selected"] = False
    messages, failure = run(config, catalog=select(catalog, SALES))
    assert not failure
    assert len(messages.records(SALES)) == 2_500


def without_link(page: int, tenant: StandIn) -> Callable[[Request], Response | None]:
    """Leave out the link to the next page on one page, counted from 1."""

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target or "$top" in request.target:
            return None
        start = int(options(request).get("$skiptoken", "0"))
        if start != 2 * (page - 1):
            return None
        answer = tenant.page(request, tenant.models[0].sets["FactData"])
        members = json.loads(answer.body, parse_float=str)
        members.pop("@odata.nextLink")
        return Response(200, json.dumps(members).encode(), JSON)

    return fault


@pytest.mark.parametrize("measure", ["Edm.Decimal", "Edm.Double", "Edm.Int64", "Edm.Byte"])
def test_pages_by_number_are_in_the_order_of_every_measure(serve: Serve, measure: str) -> None:
    """Several facts of one key would change places from page to page otherwise."""
    document = edmx(FactData={"Version": "Edm.String*", "AMOUNT": measure})
    rows = [f'{{"Version":"A","AMOUNT":{number}}}' for number in range(9)]
    tenant = StandIn(Model("C4SALES", "Sales", document, {"FactData": rows}))
    tenant.fault = without_link(1, tenant)
    run(serve(tenant))
    pages = [item for item in tenant.reads("/FactData") if "$skip=" in item]
    assert pages
    assert all("$orderby=Version,AMOUNT&" in f"{item}&" for item in pages)


def test_read_that_is_cut_later_fails_by_name_and_the_others_go_on(serve: Serve) -> None:
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


def test_what_is_disproved_can_be_a_warning(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = without_link(3, tenant)
    messages, failure = run({**serve(tenant), "verify_counts": "warn"})
    assert not failure
    assert not is_activated(messages, FACTS)
    assert "SAC counts 9 rows of sales_fact_data but sent 6" in caplog.text


def test_nothing_is_counted_where_that_is_off(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = without_link(3, tenant)
    messages, failure = run({**serve(tenant), "verify_counts": "off"})
    assert not failure
    assert len(messages.records(FACTS)) == 6
    assert not any("$count" in target or "$top" in target for target in tenant.targets)
    lines = [text for text in caplog.messages if "could not be verified" in text]
    assert lines == [
        "The reads of sales_fact_data could not be verified, because verify_counts is off."
    ]


def test_log_tells_for_each_stream_how_many_rows_were_read_and_counted(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    sync(serve(StandIn(sales(*ROWS))))
    assert "sales_fact_data: 9 rows read, 9 counted by SAC, 5 pages." in caplog.text
    assert "could not be verified" not in caplog.text


def test_tenant_that_does_not_count_is_one_line(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = StandIn(sales(*ROWS), sales(*ROWS, model_id="C4Z", name="Zoo"))
    tenant.counts = False
    messages, failure = run(serve(tenant))
    assert not failure
    assert is_activated(messages, FACTS)
    assert "sales_fact_data: 9 rows read, not counted by SAC, 5 pages." in caplog.text
    (line,) = [text for text in caplog.messages if "could not be verified" in text]
    assert line.startswith("The reads of sales_fact_data, zoo_fact_data could not be verified")
    assert line.endswith("because SAC does not count their rows.")
    assert len(tenant.reads("C4SALES/FactData")) == 5
    counts = [target for target in tenant.targets if "C4SALES/FactData?$count=true&" in target]
    assert len(counts) == 1


@pytest.mark.parametrize(
    "answer",
    [
        error_response(400, "no"),
        error_response(403, "no"),
        error_response(404, "no [3707]"),
        error_response(429, "slow down", **{"Retry-After": "0"}),
        error_response(500, "SQL [1205]"),
        error_response(503, "busy", **{"Retry-After": "0"}),
        Response(200, b"<html>", JSON),
        Response(200, b'{"value":[', JSON),
        Response(200, b'{"value":[],"value":[]}', JSON),
    ],
    ids=["400", "403", "404", "429", "500", "503", "html", "cut", "twice"],
)
@pytest.mark.parametrize("tries", [1, 4])
def test_request_for_a_count_never_ends_a_read(
    serve: Serve, waits: list[float], answer: Response, tries: int
) -> None:
    tenant = StandIn(sales(*ROWS))
    asked: list[str] = []

    def fault(request: Request) -> Response | None:
        if "$count" not in request.target:
            return None
        asked.append(request.target)
        return answer

    tenant.fault = fault
    messages, failure = run({**serve(tenant), "backoff_max_tries": tries})
    assert not failure
    assert len(messages.records(FACTS)) == 9
    assert is_activated(messages, FACTS)
    assert 0 < len(asked) <= 4
    assert len(waits) <= 2


def test_server_that_hangs_at_a_count_is_given_up(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = lambda request: (
        Response(200, b"", {"Content-Length": "5", "Connection": "close"})
        if "$count" in request.target
        else None
    )
    result = run_cli(serve(tenant), log_level="INFO")
    assert result.returncode == 0, result.stderr
    assert len(read_messages(result.stdout).records(FACTS)) == 9


def counting(tenant: StandIn, *counts: int) -> Callable[[Request], Response | None]:
    """Answer requests for a count with these, one after the other; the last one for ever."""
    left = list(counts)

    def fault(request: Request) -> Response | None:
        if "$count" not in request.target or "/FactData" not in request.target:
            return None
        answer = tenant.page(request, tenant.models[0].sets["FactData"])
        count = left.pop(0) if len(left) > 1 else left[0]
        return replace(
            answer, body=answer.body.replace(b'"@odata.count":9', b'"@odata.count":%d' % count)
        )

    return fault


@pytest.mark.parametrize("counts", [(9, 9), (7, 12), (12, 7), (7, 9), (12, 9)])
def test_any_number_between_two_counts_is_right(
    serve: Serve, caplog: pytest.LogCaptureFixture, counts: tuple[int, int]
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = counting(tenant, *counts)
    messages, failure = run(serve(tenant))
    assert not failure
    assert is_activated(messages, FACTS)
    assert "not proven" not in caplog.text
    assert "SAC counts" not in caplog.text


# A probe behind the last row: a row, none, or no answer.


UNPROVEN = (
    "SAC counts {} rows of sales_fact_data but sent {}, and it shows none after the last one: the "
    "read may be incomplete, so nothing is deleted from the target."
)
NO_ANSWER = (
    "SAC counts 9 rows of sales_fact_data but sent 6, and does not answer whether more rows follow"
)
REFUSALS = {
    "400": error_response(400, "no"),
    "403": error_response(403, "no"),
    "429": error_response(429, "slow down", **{"Retry-After": "0"}),
    "500": error_response(500, "no [1205]"),
    "501": error_response(501, "not implemented"),
    "503": error_response(503, "busy", **{"Retry-After": "0"}),
    "html": Response(200, b"<html>", {"Content-Type": "text/html"}),
    "broken": Response(200, b'{"value":[', JSON),
}


def empty_page() -> Response:
    return Response(200, b'{"value":[]}', JSON)


def cut_after_6(
    tenant: StandIn, probe: Callable[[Request], Response | None]
) -> Callable[[Request], Response | None]:
    """Cut the read after 6 of 9 rows, and answer requests for rows at a position by `probe`."""
    cut = without_link(3, tenant)

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target:
            return None
        if "$top=1" in request.target:
            return probe(request)
        return cut(request)

    return fault


def in_reverse(tenant: StandIn) -> Callable[[Request], Response | None]:
    """Ignore ``$orderby``: the row at a position is one of those that came."""
    rows = ROWS[:6][::-1]
    return lambda request: tenant.page(request, [*rows, rows[0]])


def assert_nothing_is_deleted(messages: Messages) -> None:
    assert len(messages.records(FACTS)) == 6
    assert not is_activated(messages, FACTS)
    assert messages.state["bookmarks"].get(FACTS, {}) == {}


def test_count_that_is_not_one_of_rows_deletes_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = counting(tenant, 4000)
    messages, failure = run(serve(tenant))
    assert not failure
    assert not is_activated(messages, FACTS)
    assert messages.state["bookmarks"].get(FACTS, {}) == {}
    assert UNPROVEN.format("4,000", "9") in caplog.text


@pytest.mark.parametrize("way", ["empty", "skip ignored", "order ignored"])
@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_probe_that_shows_no_missing_row_deletes_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture, way: str, method: str
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.skips = way != "skip ignored"
    probes = {
        "empty": lambda _: empty_page(),
        "skip ignored": lambda _: None,
        "order ignored": in_reverse(tenant),
    }
    tenant.fault = cut_after_6(tenant, probes[way])
    messages, failure = run({**serve(tenant), "default_replication_method": method})
    assert not failure
    assert_nothing_is_deleted(messages)
    assert UNPROVEN.format("9", "6") in caplog.text


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
@pytest.mark.usefixtures("waits")
def test_probe_without_an_answer_fails_the_stream(serve: Serve, refusal: str, method: str) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = cut_after_6(tenant, lambda _: REFUSALS[refusal])
    config = {**serve(tenant), "default_replication_method": method, "backoff_max_tries": 2}
    messages, failure = run(config)
    assert NO_ANSWER in failure
    assert_nothing_is_deleted(messages)


@pytest.mark.parametrize("refusal", ["503", "broken"])
def test_probe_is_tried_as_often_as_any_request(
    serve: Serve, waits: list[float], refusal: str
) -> None:
    tenant = StandIn(sales(*ROWS))
    left = [REFUSALS[refusal]] * 3
    tenant.fault = cut_after_6(tenant, lambda _: left.pop() if left else None)
    _, failure = run({**serve(tenant), "backoff_max_tries": 4})
    assert "and more rows follow the last one: the read was truncated" in failure
    assert len(waits) == 3


@pytest.mark.parametrize("refusal", ["400", "500", "501"])
def test_probe_is_tried_without_an_order_at_last(serve: Serve, refusal: str) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = cut_after_6(
        tenant, lambda request: REFUSALS[refusal] if "$orderby" in request.target else None
    )
    _, failure = run({**serve(tenant), "backoff_max_tries": 2})
    assert "and more rows follow the last one: the read was truncated" in failure


@pytest.mark.parametrize("probe", ["a row", "no answer"])
def test_nothing_is_deleted_where_disproof_is_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture, probe: str
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = cut_after_6(tenant, lambda _: REFUSALS["400"] if probe == "no answer" else None)
    messages, failure = run({**serve(tenant), "verify_counts": "warn"})
    assert not failure
    assert_nothing_is_deleted(messages)
    assert "verify_counts is warn, so nothing is deleted" in caplog.text


def test_unproven_read_leaves_the_last_completed_one_in_the_state(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))
    config = serve(tenant)
    before = sync(config).state["bookmarks"][FACTS]
    tenant.fault = cut_after_6(tenant, lambda _: empty_page())
    messages, failure = run(config, state={"bookmarks": {FACTS: before}})
    assert not failure
    assert messages.state["bookmarks"][FACTS] == before


@pytest.mark.parametrize("form", ["records", "files"])
@pytest.mark.parametrize("probe", ["none", "no answer"])
@pytest.mark.usefixtures("waits")
def test_bookmark_of_audit_data_moves_only_with_a_proven_read(
    serve: Serve, tmp_path: Path, probe: str, form: str
) -> None:
    columns = edmx(AuditData={"Audit_Time": "Edm.DateTimeOffset"})
    rows = [f'{{"Audit_Time":"2026-11-0{day}T00:00:00.000Z"}}' for day in range(1, 8)]
    tenant = StandIn(Model("C4A", "A", columns, {"AuditData": rows[:1]}))
    config = serve(tenant)
    catalog = select(discover(config), "a_audit_data")
    if form == "files":
        config["batch_config"] = {
            "encoding": {"format": "jsonl", "compression": "gzip"},
            "storage": {"root": tmp_path.as_uri()},
        }
    state = sync(config, catalog).state
    before = state["bookmarks"]["a_audit_data"]["replication_key_value"]
    tenant.models[0].sets["AuditData"] = rows

    def fault(request: Request) -> Response | None:
        if "$top=1" in request.target:
            return empty_page() if probe == "none" else REFUSALS["501"]
        if "$skiptoken=4" not in request.target:
            return None
        answer = tenant.page(request, rows)
        members = json.loads(answer.body)
        members.pop("@odata.nextLink")
        return Response(200, json.dumps(members).encode(), JSON)

    tenant.fault = fault
    messages, failure = run(config, catalog=catalog, state=state)
    assert bool(failure) is (probe == "no answer")
    after = messages.state["bookmarks"]["a_audit_data"]
    assert after["replication_key_value"] == before
    tenant.fault = lambda _: None
    repaired = sync(config, catalog, messages.state).state["bookmarks"]["a_audit_data"]
    assert repaired["replication_key_value"] == "2026-11-07T00:00:00.000Z"


@pytest.mark.parametrize("probe", ["a row", "none", "no answer"])
@pytest.mark.usefixtures("waits")
def test_chain_of_an_opening_that_is_not_proven_is_deleted(serve: Serve, probe: str) -> None:
    service = SampleService(Behaviour(page_cap=1000))
    service.limit(SALES_MODEL, 2_500)
    answers = {"a row": None, "none": empty_page(), "no answer": REFUSALS["501"]}

    def tenant(request: Request) -> Response:
        is_probe = "/FactData?" in request.target and "$top=1&" in request.target
        return (answers[probe] if is_probe else None) or service(request)

    config = {
        **serve(tenant),
        "models": ["Sales Planning"],
        "default_replication_method": "LOG_BASED",
    }
    messages, failure = run(config)
    assert bool(failure) is (probe != "none")
    assert not is_activated(messages, SALES)
    assert "delta_link" not in messages.state["bookmarks"].get(SALES, {})
    assert not [item for item in service.subscriptions.values() if item.set_name == "FactData"]


@pytest.mark.parametrize(("has_key", "place"), [(True, ""), (False, "catalog"), (False, "map")])
def test_rows_that_come_twice(
    serve: Serve, caplog: pytest.LogCaptureFixture, place: str, *, has_key: bool
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = counting(tenant, 5)
    config = serve(tenant)
    catalog = discover(config)
    if place == "catalog":
        catalog[FACTS]["key_properties"] = []
    elif place == "map":
        config["stream_maps"] = {FACTS: {"__key_properties__": []}}
    messages, failure = run(config, catalog=select(catalog, FACTS))
    assert bool(failure) is not has_key
    assert not is_activated(messages, FACTS)
    told = "SAC counts 5 rows of sales_fact_data but sent 9, "
    assert told in (caplog.text if has_key else failure)


@pytest.mark.parametrize(
    "body",
    [
        '{"value":[ROW],"value":[]}',
        '{"value":[],"value":[ROW]}',
        '{"value": [ ROW ], "value": [ ROW ]}',
        '{"@odata.nextLink":"FactData?x=1","value":[ROW],"@odata.nextLink":null}',
        '{"@odata.count":1,"value":[ROW],"@odata.count":2}',
    ],
)
def test_member_that_comes_twice_is_a_broken_page(serve: Serve, body: str) -> None:
    tenant = StandIn(sales(*ROWS))
    page = Response(200, body.replace("ROW", ROWS[0]).encode(), JSON)
    tenant.fault = lambda request: page if "/FactData" in request.target else None
    messages, failure = run(serve(tenant))
    assert "more than once" in failure
    assert not is_activated(messages, FACTS)


@pytest.mark.parametrize("empty", ['"@odata.nextLink":""', '"@odata.nextLink":null'])
@pytest.mark.parametrize("order", [1, -1])
def test_empty_link_beside_a_filled_one_is_not_the_end(
    serve: Serve, empty: str, order: int
) -> None:
    tenant = StandIn(sales(*ROWS))
    path = "/api/v1/dataexport/providers/sac/C4SALES/FactData?$skiptoken=2"
    links = ",".join([empty, f'"@odata.nextlink":"{path}"'][::order])
    body = f'{{"value":[{",".join(ROWS[:2])}],{links}}}'.encode()
    tenant.fault = lambda request: (
        Response(200, body, JSON)
        if "/FactData" in request.target and "$skiptoken" not in request.target
        else None
    )
    messages, failure = run({**serve(tenant), "verify_counts": "off"})
    assert not failure
    assert dates(messages) == [f"{number:06}" for number in range(9)]


def test_count_in_a_later_page_counts(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.counts = False

    def fault(request: Request) -> Response | None:
        if "$skiptoken=2" not in request.target:
            return None
        answer = tenant.page(request, ROWS)
        return replace(answer, body=b'{"@odata.count":"9",' + answer.body[1:])

    tenant.fault = fault
    _, failure = run(serve(tenant))
    assert not failure
    assert "sales_fact_data: 9 rows read, 9 counted by SAC, 5 pages." in caplog.text


# Several facts under one key.


def several_facts(serve: Serve, **settings: Any) -> tuple[SampleService, dict[str, Any]]:
    service = SampleService(Behaviour(facts_per_key=3))
    service.limit(SALES_MODEL, 30)
    return service, sales_config(serve, service, **settings)


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_several_facts_of_a_key_fail_the_stream_with_the_ways_out(
    serve: Serve, method: str
) -> None:
    service, config = several_facts(serve, default_replication_method=method)
    messages, failure = run(config)
    assert "SAC stores several facts of sales_planning_fact_data under one key" in failure
    assert "Version='public.Actual'" in failure
    assert "..._fact_data_aggregation" in failure
    assert "table-key-properties" in failure
    assert not is_activated(messages, SALES)
    assert not messages.records(SALES)
    assert not [item for item in service.subscriptions.values() if item.set_name == "FactData"]


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_sums_of_sac_are_the_way_out(serve: Serve, method: str) -> None:
    service, config = several_facts(serve, default_replication_method=method)
    name = "sales_planning_fact_data_aggregation"
    catalog = select(discover(config), name)
    messages, failure = run(config, catalog=catalog)
    assert not failure
    written = sorted(
        (*(record[name] for name in messages.schema(name)["key_properties"]), record["REVENUE"])
        for record in messages.records(name)
    )
    facts = [row for row in service.facts(SALES_MODEL).rows if row]
    key = messages.schema(name)["key_properties"]
    assert written == sorted((*(row[name] for name in key), str(row["REVENUE"])) for row in facts)


@pytest.mark.parametrize("place", ["catalog", "map"])
def test_target_that_appends_is_the_other_way_out(serve: Serve, place: str) -> None:
    _, config = several_facts(serve)
    catalog = discover(config)
    if place == "catalog":
        catalog[SALES]["key_properties"] = []
    else:
        config["stream_maps"] = {SALES: {"__key_properties__": []}}
    messages, failure = run(config, catalog=select(catalog, SALES))
    assert not failure
    assert len(messages.records(SALES)) == 90


def test_counts_that_differ_without_a_key_that_repeats_are_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    model = sales(*ROWS)
    columns = {"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"}
    model.edmx = edmx(FactData=columns, FactDataAggregation=columns)
    model.sets = {"FactData": ROWS, "FactDataAggregation": ROWS[:4]}
    messages, failure = run(serve(StandIn(model)))
    assert not failure
    assert len(messages.records(FACTS)) == 9
    assert "SAC counts 9 facts of sales_fact_data and 4 keys" in caplog.text


@pytest.mark.parametrize(
    ("odata_filter", "asks"), [("AMOUNT gt 5", False), ("Date ne 'AMOUNT'", True)]
)
def test_keys_are_not_counted_where_the_filter_names_a_measure(
    serve: Serve, odata_filter: str, *, asks: bool
) -> None:
    model = sales(*ROWS)
    columns = {"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"}
    model.edmx = edmx(FactData=columns, FactDataAggregation=columns)
    model.sets = {"FactData": ROWS, "FactDataAggregation": ROWS}
    tenant = StandIn(model)
    _, failure = run({**serve(tenant), "filters": {FACTS: odata_filter}})
    assert not failure
    assert any("/FactDataAggregation" in target for target in tenant.targets) is asks


def test_keys_are_not_watched_without_a_suspicion(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tap_sac.streams.proof.KeyWatch", None)
    service = SampleService()
    service.limit(SALES_MODEL, 30)
    _, failure = run(sales_config(serve, service))
    assert not failure


# What is activated.


@pytest.mark.parametrize(
    ("rows", "counts", "odata_filter", "activates"),
    [
        ([], True, None, True),
        ([], False, None, False),
        (ROWS, True, "Date eq 'x'", False),
        ([], True, "Date eq 'x'", True),
    ],
    ids=["counted as empty", "not counted", "filter finds nothing", "empty behind the filter"],
)
def test_empty_read_empties_a_table_only_if_sac_counts_it_as_empty(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    rows: list[str],
    odata_filter: str | None,
    *,
    counts: bool,
    activates: bool,
) -> None:
    tenant = StandIn(sales(*rows))
    tenant.counts = counts
    tenant.fault = lambda request: tenant.page(request, []) if "$filter" in request.target else None
    filters = {"filters": {FACTS: odata_filter}} if odata_filter else {}
    messages, failure = run({**serve(tenant), **filters})
    assert not failure
    assert is_activated(messages, FACTS) is activates
    assert ("is empty" in caplog.text) is not activates


def test_filter_that_changed_is_told_before_the_read(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = serve(StandIn(sales(*ROWS)))
    state = sync(config).state
    assert state["bookmarks"][FACTS]["filter"] is None
    changed = {**config, "filters": {FACTS: "Date ge '000003'"}}
    messages, _ = run(changed, state=state)
    warning = "has changed since the last completed read, from none to Date ge '000003'"
    assert sum(warning in text for text in caplog.messages) == 1
    after_warning = caplog.text.partition(warning)[2]
    assert "sales_fact_data: 9 rows read" in after_warning
    caplog.clear()
    run(changed, state=messages.state)
    assert "has changed since" not in caplog.text
    run({**config, "emit_activate_version_messages": False}, state=messages.state)
    assert "has changed since" not in caplog.text


@pytest.mark.parametrize(
    ("earlier", "method"),
    [("FULL_TABLE", "FULL_TABLE"), ("FULL_TABLE", "LOG_BASED"), ("LOG_BASED", "FULL_TABLE")],
)
def test_filter_that_changed_with_the_method_is_told_once(
    serve: Serve, caplog: pytest.LogCaptureFixture, earlier: str, method: str
) -> None:
    service = SampleService()
    service.limit(SALES_MODEL, 5)
    config = sales_config(serve, service, default_replication_method=earlier)
    config["filters"] = {SALES: "startswith(Product,'P')"}
    state = sync(config).state
    config["default_replication_method"] = method
    run(config, state=copy.deepcopy(state))
    assert "The filter" not in caplog.text
    del config["filters"]
    messages, _ = run(config, state=state)
    warning = "since the last completed read, from startswith(Product,'P') to none: the target"
    assert sum(warning in text for text in caplog.messages) == 1
    caplog.clear()
    run(config, state=messages.state)
    assert "The filter" not in caplog.text


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
@pytest.mark.parametrize("earlier", ["FULL_TABLE", "LOG_BASED"])
def test_version_is_above_the_last_one_whatever_the_clock_says(
    serve: Serve, earlier: str, method: str
) -> None:
    service = SampleService()
    service.limit(SALES_MODEL, 5)
    config = sales_config(serve, service, default_replication_method=earlier)
    state = sync(config).state
    config["default_replication_method"] = method
    state["bookmarks"][SALES]["version"] += 10**9
    last = state["bookmarks"][SALES]["version"]
    service.expire()
    messages, _ = run(config, state=state)
    activated = [
        item["version"] for item in messages.of(SALES) if item["type"] == "ACTIVATE_VERSION"
    ]
    assert activated == [last + 1]
    assert messages.state["bookmarks"][SALES]["version"] == last + 1


@pytest.mark.parametrize("version", [-1, "5", 2**70, None, True])
def test_version_of_a_strange_state_is_ignored(serve: Serve, version: object) -> None:
    state = {"bookmarks": {FACTS: {"version": version, "filter": None}}}
    messages, failure = run(serve(StandIn(sales(*ROWS))), state=state)
    assert not failure
    assert 0 < messages.of(FACTS)[-1]["version"] < 2**62


def test_providers_are_not_activated_where_a_namespace_could_not_be_read(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    public = sales(*ROWS, model_id="PUBLIC", name="Public")
    public.namespace = "sac_public_dimensions"
    tenant = StandIn(sales(*ROWS), public)
    assert is_activated(sync(serve(tenant)), "providers")
    tenant.fault = lambda request: (
        error_response(404, "no") if "'sac_public_dimensions'" in request.target else None
    )
    messages, failure = run(serve(tenant))
    assert not failure
    assert messages.records("providers")
    assert not is_activated(messages, "providers")
    assert "Rows of providers that are gone from SAC stay" in caplog.text


# One failure does not spoil the others.


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


def test_refused_sign_in_ends_the_run(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS, name="A", model_id="C4A"), sales(*ROWS, name="Z"))
    tenant.fault = lambda request: (
        error_response(401, "no") if "C4A/FactData" in request.target else None
    )
    messages, failure = run(serve(tenant))
    assert "401" in failure
    assert "z_fact_data" not in messages.streams


def test_change_tracking_is_what_the_metadata_says(serve: Serve) -> None:
    supported = (
        '<Annotations Target="{target}"><Annotation Term="Capabilities.ChangeTracking"><Record>'
        '<PropertyValue Property="Supported" Bool="{value}"/></Record></Annotation></Annotations>'
    )
    for target in ("sac.FactData", "sac.Container/FactData"):
        for value, method in (("true", "LOG_BASED"), ("false", "FULL_TABLE")):
            model = sales(*ROWS)
            annotation = supported.format(target=target, value=value)
            model.edmx = model.edmx.replace("</Schema>", f"{annotation}</Schema>")
            config = {**serve(StandIn(model)), "default_replication_method": "LOG_BASED"}
            assert discover(config)[FACTS]["replication_method"] == method
