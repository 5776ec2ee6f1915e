"""Reading pages: links, faults on the way, and what each request looks like."""

from __future__ import annotations

import email.utils
import gzip
import itertools
import json
import logging
import time
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tap_sac.demo.service import Request, Response
from tap_sac.sac.errors import SACError
from tap_sac.sac.odata.links import follow
from tap_sac.sac.odata.pages import Page
from tap_sac.tap import TapSAC
from tests.conftest import discover, select, sync
from tests.helpers.stand_in import JSON, LinkForm, StandIn, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Serve

ROWS = [sales_row(number) for number in range(17)]
EVERY_DATE = [f"{number:06}" for number in range(17)]


def dates(config: dict[str, Any]) -> list[str]:
    return [record["Date"] for record in sync(config).records("sales_fact_data")]


def fault_at(
    page: int, times: int, make: Callable[[], Response]
) -> Callable[[Request], Response | None]:
    """Fail the n-th page (from 1) some times."""
    left = times

    def fault(request: Request) -> Response | None:
        nonlocal left
        marker = f"$skiptoken={(page - 1) * 2}"
        if left and "/FactData" in request.target and request.target.endswith(marker):
            left -= 1
            return make()
        return None

    return fault


@pytest.mark.parametrize("link_first", [False, True])
@pytest.mark.parametrize("link_form", ["absolute", "root-relative", "service-relative"])
def test_every_form_of_next_link_is_followed(
    serve: Serve, link_form: LinkForm, *, link_first: bool
) -> None:
    tenant = StandIn(sales(*ROWS), link_form=link_form)
    tenant.link_first = link_first
    assert dates(serve(tenant)) == EVERY_DATE


def test_next_link_is_used_exactly_as_given(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))
    query = "?$skiptoken=a+b%20c%2C'%7E~!(*)%23%C3%A9&x=1;2:3/@"
    pages = iter([f'"@odata.count":0,"@odata.nextLink":"FactData{query}"', '"n":1'])
    tenant.fault = lambda request: (
        Response(200, f'{{"value":[],{next(pages)}}}'.encode(), JSON)
        if "/FactData" in request.target
        else None
    )
    sync(serve(tenant))
    assert tenant.reads("/FactData")[1:] == [f"/providers/sac/C4SALES/FactData{query}"]


def test_empty_page_with_next_link_continues(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))

    def fault(request: Request) -> Response | None:
        if request.target.endswith("/FactData?$count=true"):
            link = '"@odata.nextlink":"FactData?$skiptoken=0"'
            return Response(200, f'{{{link},"value":[]}}'.encode(), JSON)
        return None

    tenant.fault = fault
    assert dates(serve(tenant)) == EVERY_DATE


@pytest.mark.parametrize(
    "link",
    [
        "https://elsewhere.example/api/v1/dataexport/providers/sac/C4SALES/FactData?$skiptoken=2",
        "//elsewhere.example/FactData",
        "https://127.0.0.1{port}/FactData",
        "http://127.0.0.1:1/FactData",
        "http://127.0.0.1{port}@elsewhere.example/FactData",
        "http://elsewhere.example\\@127.0.0.1{port}/FactData",
        "ftp://127.0.0.1{port}/FactData",
    ],
)
def test_token_never_goes_to_another_server(serve: Serve, link: str) -> None:
    tenant = StandIn(sales(*ROWS))
    config = serve(tenant)
    link = link.replace("{port}", ":" + config["tenant_url"].rpartition(":")[2])
    page = json.dumps({"value": [], "@odata.nextLink": link}).encode()
    tenant.fault = lambda request: (
        Response(200, page, JSON) if "/FactData" in request.target else None
    )
    with pytest.raises(SACError, match=r"another server.*tenant_url"):
        sync(config)


def page(number: int, next_url: str | None) -> Page:
    rows = [msgspec.Raw(b"{}")] * number
    return Page(rows, next_url, None, None, None, 0, "a page")


def test_empty_pages_without_end_are_an_error() -> None:
    pages = follow("/1", lambda url: page(0, f"/{int(url[1:]) + 1}"))
    with pytest.raises(SACError, match="keeps sending empty pages"):
        list(itertools.islice(pages, 20_000))


def test_empty_pages_between_others_are_not_an_error() -> None:
    pages = follow("/1", lambda url: page(int(url[1:]) % 2, f"/{int(url[1:]) + 1}"))
    assert sum(len(item.items) for item in itertools.islice(pages, 25_000)) == 12_500


def test_namespace_of_the_models_that_is_refused_stops_the_run(serve: Serve) -> None:
    public = sales(*ROWS, model_id="PUBLIC", name="Public")
    public.namespace = "sac_public_dimensions"
    tenant = StandIn(sales(*ROWS), public)
    tenant.fault = lambda request: (
        error_response(403, "no [3401]") if "'sac'" in request.target else None
    )
    with pytest.raises(SACError, match="3401"):
        sync(serve(tenant))


def test_link_that_repeats_is_an_error(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = fault_at(
        page=3,
        times=1,
        make=lambda: Response(200, b'{"value":[],"@odata.nextLink":"FactData?$skiptoken=2"}', JSON),
    )
    tenant.link_form = "service-relative"
    with pytest.raises(SACError, match="form a loop"):
        sync(serve(tenant))


def test_links_take_little_memory(serve: Serve) -> None:
    settings = serve(StandIn(sales(*ROWS)))
    url = f"{settings['tenant_url']}/api/v1/dataexport/providers/sac/C4SALES/FactData?number="
    page = TapSAC(config=settings).client.page(f"{url}0")
    pages, length = 2_000, 4_000

    def read(page_url: str) -> Page:
        number = int(page_url.rpartition("=")[2]) + 1
        items = page.items[:: 1 if number % 2 else -1]
        next_url = f"{url}{number:0{length}}" if number < pages else None
        return replace(page, items=items, next_url=next_url)

    tracemalloc.start()
    try:
        assert sum(1 for _ in follow(f"{url}0", read)) == pages
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < pages * length / 10


CUT = Response(200, b'{"value":[{"Version":"pub', {"Content-Length": "900", "Connection": "close"})
CUT_UNNOTICED = Response(200, b'{"value":[{"Version":"pub', JSON)
TOO_FEW = Response(200, b'{"@des.entitiesInPage":"2","value":[{"Version":"a","Date":"b"}]}', JSON)
BUSY = error_response(503, "busy")
BUSY_HTML = Response(502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"})
LIMITED = error_response(429, "slow down")
NO_ANSWER = Response(200, b"", {"Content-Length": "5", "Connection": "close"})


@pytest.mark.parametrize(
    "answer",
    [CUT, CUT_UNNOTICED, TOO_FEW, BUSY, BUSY_HTML, LIMITED, NO_ANSWER],
    ids=["cut", "cut-unnoticed", "too-few", "503", "502-html", "429", "no-answer"],
)
def test_no_row_is_lost_or_doubled_when_page_7_fails_twice(
    serve: Serve, waits: list[float], answer: Response
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = fault_at(page=7, times=2, make=lambda: answer)
    assert dates(serve(tenant)) == EVERY_DATE
    assert len(waits) == 2
    assert waits[0] < waits[1]


@pytest.mark.parametrize("status", [429, 503, 504])
def test_retry_after_is_honoured(serve: Serve, waits: list[float], status: int) -> None:
    tenant = StandIn(sales(*ROWS))
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    answers = iter(
        [error_response(status, "x", **{"Retry-After": value}) for value in ("7", in_a_minute, "0")]
    )
    tenant.fault = fault_at(page=2, times=3, make=lambda: next(answers))
    assert dates(serve(tenant)) == EVERY_DATE
    assert waits[0] == 7
    assert 50 < waits[1] <= 60
    assert waits[2] >= 4


def test_tries_come_to_an_end(serve: Serve, waits: list[float]) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = fault_at(page=2, times=99, make=lambda: BUSY)
    with pytest.raises(SACError, match=r"503 .*'busy'.*correlation id 6f1c2f0e"):
        sync({**serve(tenant), "backoff_max_tries": 3})
    assert len(waits) == 2


def test_refusal_is_not_tried_again(serve: Serve, waits: list[float]) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = fault_at(page=2, times=99, make=lambda: error_response(400, "no [1402]"))
    with pytest.raises(SACError, match=r"\[1402\].*Run discovery again"):
        sync(serve(tenant))
    assert waits == []


def test_answer_that_is_not_a_page_is_an_error(serve: Serve, waits: list[float]) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = fault_at(page=2, times=99, make=lambda: Response(200, b'{"x":[]}', JSON))
    with pytest.raises(SACError, match="not a page of rows"):
        sync(serve(tenant))
    assert waits == []


def test_requests_are_as_sac_wants_them(serve: Serve) -> None:
    model = sales(*ROWS, model_id="C4 a/b#ü", name="Sales")
    tenant = StandIn(model)
    sync({**serve(tenant), "filters": {"sales_fact_data": "Version eq 'R&D + #1'"}})
    reads = [target for target in tenant.targets if "/FactData" in target]
    assert reads[0] == (
        "/providers/sac/C4%20a%2Fb%23%C3%BC/FactData"
        "?$filter=Version%20eq%20'R%26D%20%2B%20%231'&$count=true"
    )
    for request in tenant.requests:
        assert request.headers["x-sap-sac-custom-auth"] == "true"
        assert "gzip" in request.headers["accept-encoding"]
        assert "$top" not in request.target
        assert "$skip=" not in request.target
        assert "+" not in request.target
        assert request.headers["user-agent"].startswith("tap-sac/")
    assert tenant.requests[0].headers["accept"] == "application/json"


def test_page_size_is_requested(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))
    assert dates({**serve(tenant), "page_size": 5}) == EVERY_DATE
    reads = [target for target in tenant.targets if "/FactData" in target]
    assert reads[0].endswith("FactData?pagesize=5&$count=true")
    assert len(reads) == 4


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_namespace_that_is_listed_but_not_served_is_left_out(
    serve: Serve, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    public = sales(*ROWS, model_id="PUBLIC", name="Public")
    public.namespace = "sac_public_dimensions"
    tenant = StandIn(sales(*ROWS), public)
    tenant.fault = lambda request: (
        error_response(status, "no") if "'sac_public_dimensions'" in request.target else None
    )
    assert list(discover(serve(tenant))) == ["providers", "sales_fact_data"]
    assert "Skipping the namespace sac_public_dimensions" in caplog.text


def test_run_with_a_catalog_requests_only_selected_models(serve: Serve) -> None:
    tenant = StandIn(
        sales(*ROWS),
        sales(*ROWS, model_id="C4PLAN", name="Sales Planning"),
        sales(*ROWS, model_id="C4HR", name="HR"),
    )
    config = serve(tenant)
    catalog = select(discover(config), "sales_planning_fact_data")
    tenant.requests.clear()
    messages = sync(config, catalog)
    assert len(messages.records("sales_planning_fact_data")) == len(ROWS)
    assert messages.streams == ["sales_planning_fact_data"]
    asked = [target for target in tenant.targets if "/providers/" in target]
    assert asked
    assert all(target.startswith("/providers/sac/C4PLAN/") for target in asked)


@pytest.mark.parametrize("link", ['{"url":"x"}', "5", "true", '["x"]', '"http://[::1/x"'])
def test_link_that_is_not_a_link_is_not_the_end(serve: Serve, link: str) -> None:
    tenant = StandIn(sales(*ROWS))
    page = f'{{"value":[],"@odata.nextLink":{link}}}'.encode()
    tenant.fault = fault_at(page=3, times=1, make=lambda: Response(200, page, JSON))
    with pytest.raises(SACError, match="nextLink that is not a link"):
        sync(serve(tenant))


def test_page_that_breaks_off_with_an_error_is_not_the_end(
    serve: Serve, waits: list[float]
) -> None:
    tenant = StandIn(sales(*ROWS))
    page = f'{{"value":[{ROWS[4]}],"error":{{"code":"x","message":"Timeout [9001]"}}}}'.encode()
    tenant.fault = fault_at(page=3, times=2, make=lambda: Response(200, page, JSON))
    assert dates(serve(tenant)) == EVERY_DATE
    tenant.fault = fault_at(page=3, times=99, make=lambda: Response(200, page, JSON))
    with pytest.raises(SACError, match=r"ends with the error .*Timeout \[9001\]"):
        sync({**serve(tenant), "backoff_max_tries": 2})
    assert len(waits) == 3


@pytest.mark.parametrize(
    "link", ["Namespaces(NamespaceID='sac')/Providers?$skiptoken=1", "Providers?$skiptoken=1"]
)
def test_links_of_providers_may_be_relative_to_the_service_or_the_page(
    serve: Serve, link: str
) -> None:
    tenant = StandIn(sales(*ROWS), sales(*ROWS, model_id="C4B", name="B"))

    def fault(request: Request) -> Response | None:
        if not request.target.partition("?")[0].endswith("/Providers"):
            return None
        is_first = "skiptoken" not in request.target
        model = {"NamespaceID": "sac", "ProviderID": "C4SALES" if is_first else "C4B"}
        page = {"value": [{**model, "ProviderName": model["ProviderID"]}]}
        return Response(
            200, json.dumps({**page, "@odata.nextLink": link if is_first else None}).encode()
        )

    tenant.fault = fault
    assert list(discover(serve(tenant))) == ["c4b_fact_data", "c4sales_fact_data", "providers"]


def test_longest_wait_that_a_server_can_ask_for(serve: Serve, waits: list[float]) -> None:
    tenant = StandIn(sales(*ROWS))
    busy = error_response(429, "x", **{"Retry-After": "9" * 400})
    tenant.fault = fault_at(page=2, times=1, make=lambda: busy)
    assert dates(serve(tenant)) == EVERY_DATE
    assert waits == [900]


def test_number_beyond_all_numbers_is_an_error(serve: Serve) -> None:
    tenant = StandIn(sales(sales_row(1, "1.0e999999999999999999999")))
    with pytest.raises(SACError, match=r"damaged .*out of range"):
        sync(serve(tenant))


def test_packed_answers_are_requested_and_read(serve: Serve) -> None:
    tenant = StandIn(sales(*(sales_row(number) for number in range(3))))
    settings = serve(tenant)

    def fault(request: Request) -> Response | None:
        assert "gzip" in request.headers["accept-encoding"]
        if "FactData" not in request.target:
            return None
        body = gzip.compress(tenant.page(request, tenant.models[0].sets["FactData"]).body)
        return Response(200, body, {"Content-Type": "application/json", "Content-Encoding": "gzip"})

    tenant.fault = fault
    assert len(sync(settings).records("sales_fact_data")) == 3


def test_connections_are_kept(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "urllib3")
    tenant = StandIn(sales(*(sales_row(number) for number in range(40))))
    sync({**serve(tenant), "max_parallel_requests": 2})
    opened = [line for line in caplog.messages if "Starting new HTTP" in line]
    assert len(tenant.requests) > 20
    assert len(opened) <= 2


def test_long_reads_log_their_progress(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0, 2)
    monkeypatch.setattr("tap_sac.streams.progress.monotonic", lambda: next(clock))
    tenant = StandIn(sales(*(sales_row(number) for number in range(12))))
    settings = serve(tenant)

    def fault(request: Request) -> Response | None:
        if "FactData" not in request.target:
            return None
        response = tenant.page(request, tenant.models[0].sets["FactData"])
        body = response.body.replace(b"{", b'{"@des.processingTimeInMilliseconds":"97",', 1)
        return Response(200, body, response.headers)

    tenant.fault = fault
    sync(settings)
    lines = [line for line in caplog.messages if "so far" in line]
    told = [
        "6 of 12 rows (50%) so far, 1 per second, about 6 seconds left, 3 pages, 291",
        "12 of 12 rows (100%) so far, 1 per second, 6 pages, 582",
    ]
    assert lines == [f"sales_fact_data: {text} ms in SAC in total" for text in told]
