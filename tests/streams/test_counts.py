"""Reads are compared with the rows that SAC counts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.service import SALES_MODEL, Request, Response, SampleService
from tests.conftest import discover, read_messages, select, sync
from tests.helpers.counts import (
    FACTS,
    ROWS,
    SALES,
    counting,
    options,
    sales_config,
    without_link,
)
from tests.helpers.runs import is_activated, run
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, error_response, sales

if TYPE_CHECKING:
    from tests.conftest import RunCli, Serve


@pytest.mark.parametrize(
    "behaviour",
    [Behaviour(page_cap=1000), Behaviour(page_cap=700, pagesize_lifts_cap=True)],
    ids=["always", "unless pagesize is sent"],
)
@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_pages_capped_without_a_link_lose_no_row(
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


def test_cap_with_a_deselected_column_loses_no_row(serve: Serve) -> None:
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


def test_disproved_read_can_be_a_warning(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = without_link(3, tenant)
    messages, failure = run({**serve(tenant), "verify_counts": "warn"})
    assert not failure
    assert not is_activated(messages, FACTS)
    assert "SAC counts 9 rows of sales_fact_data but sent 6" in caplog.text


def test_nothing_is_counted_if_verify_counts_is_off(
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


def test_log_has_the_rows_read_and_counted_of_each_stream(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    sync(serve(StandIn(sales(*ROWS))))
    assert "sales_fact_data: 9 rows read, 9 counted by SAC, 5 pages." in caplog.text
    assert "could not be verified" not in caplog.text


def test_tenant_that_does_not_count_is_logged_once(
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
    assert asked
    if answer.status != 429:  # Which takes time, but no try.
        assert len(asked) <= 4
        assert len(waits) <= 4


@pytest.mark.usefixtures("waits")
def test_count_is_requested_with_the_read_again_after_an_outage(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))
    outages = [error_response(503, "busy")]
    tenant.fault = lambda request: outages.pop() if "$count" in request.target and outages else None
    run(serve(tenant))
    counts = [target for target in tenant.targets if "$count" in target]
    assert len(counts) == 2
    assert counts[0] == counts[1]


@pytest.mark.usefixtures("waits")
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


@pytest.mark.parametrize("counts", [(9, 9), (7, 12), (12, 7), (7, 9), (12, 9)])
def test_any_number_between_two_counts_is_accepted(
    serve: Serve, caplog: pytest.LogCaptureFixture, counts: tuple[int, int]
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = counting(tenant, *counts)
    messages, failure = run(serve(tenant))
    assert not failure
    assert is_activated(messages, FACTS)
    assert "not proven" not in caplog.text
    assert "SAC counts" not in caplog.text


@pytest.mark.parametrize(
    ("on_pages", "asked_anew", "is_proven"),
    [
        ([9, 9, 9, 9, 9], 9, True),
        ([9, 2, 30, 2, 9], 9, True),
        ([8, 8, 8, 8, 9], 8, True),
        ([8, 9, 8, 8, 8], 8, False),
        ([8, 8, 8, 10, 8], 8, False),
        ([10, 10, 10, 10, 9], 9, True),
        ([10, 10, 10, 10, 9], 8, True),
        ([10, 10, 10, 10, 9], 10, False),
        ([10, 9, 8, 8, 8], 11, False),
        ([10, 7, 7, 7, 10], 10, False),
    ],
)
def test_read_is_proven_between_the_counts_of_first_and_last_page(
    serve: Serve, on_pages: list[int], asked_anew: int, *, is_proven: bool
) -> None:
    tenant = StandIn(sales(*ROWS))

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target:
            return None
        page = int(options(request).get("$skiptoken", "0")) // 2
        count = asked_anew if "$top" in request.target else on_pages[page]
        answer = tenant.page(request, tenant.models[0].sets["FactData"])
        members = {**json.loads(answer.body, parse_float=str), "@odata.count": count}
        return replace(answer, body=json.dumps(members).encode())

    tenant.fault = fault
    messages, failure = run(serve(tenant))
    assert not failure
    assert len(messages.records(FACTS)) == 9
    assert is_activated(messages, FACTS) is is_proven
