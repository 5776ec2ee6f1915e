"""Everything that can go wrong on the way: the rows are right, or the run fails by name.

The tap meets each fault over a real socket.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shlex
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tap_sac.demo.service import TOKEN_PATH, Request, Response
from tests.conftest import Messages, read_messages
from tests.helpers.cli import started, tap_command
from tests.helpers.relay import Relay, cut, reset
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import RunCli, Serve
    from tests.helpers.relay import RelayHandler, Spoil

ROWS = [sales_row(number) for number in range(6)]
WHOLE = json.dumps({"value": [json.loads(row) for row in ROWS[2:4]]}).encode()
CLOSE = {**JSON, "Connection": "close"}


def second_page(
    answers: Callable[[Request], Response | None],
) -> Callable[[Request], Response | None]:
    return lambda request: answers(request) if "$skiptoken=2" in request.target else None


def times(count: int, response: Response) -> Callable[[Request], Response | None]:
    left = [response] * count
    return lambda _: left.pop() if left else None


def assert_whole_lines(output: str) -> Messages:
    assert not output or output.endswith("\n")
    return read_messages(output)


PASSING = {
    "cut, with the length of the whole": Response(
        200, WHOLE[:40], {**CLOSE, "Content-Length": str(len(WHOLE))}
    ),
    "cut, with the length of the cut": Response(200, WHOLE[:40], CLOSE),
    "cut inside a chunk": Response(
        200, b"100\r\n" + WHOLE[:40], {**CLOSE, "Transfer-Encoding": "chunked"}
    ),
    "cut between chunks": Response(
        200, b"28\r\n" + WHOLE[:40] + b"\r\n", {**CLOSE, "Transfer-Encoding": "chunked"}
    ),
    "gzip that ends early": Response(
        200, gzip.compress(WHOLE)[:-12], {**CLOSE, "Content-Encoding": "gzip"}
    ),
    "gzip that is none": Response(200, WHOLE, {**CLOSE, "Content-Encoding": "gzip"}),
    "nothing at all": Response(200, b"", CLOSE),
    "page of an overloaded gateway": Response(503, b"<html>busy</html>", {"Retry-After": "0"}),
    "request that took too long": Response(408, b"", {"Retry-After": "0"}),
    "too many requests": error_response(429, "slow down", **{"Retry-After": "0"}),
}


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_fault_that_passes_costs_no_row(serve: Serve, run_cli: RunCli, fault: Response) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = second_page(times(1, fault))
    result = run_cli({**serve(tenant), "max_parallel_requests": 1})
    assert result.returncode == 0, result.stderr
    records = assert_whole_lines(result.stdout).records("sales_fact_data")
    assert [record["Date"] for record in records] == [f"{number:06}" for number in range(6)]
    assert "Retrying" in result.stderr


def run_behind_relay(
    serve: Serve, run_cli: RunCli, spoiled: bytes, spoil: Spoil
) -> subprocess.CompletedProcess[str]:
    settings = serve(StandIn(sales(*ROWS), link_form="root-relative"))
    with Relay(settings["tenant_url"], spoiled, spoil) as relay:
        urls = {"tenant_url": relay.url, "token_url": f"{relay.url}{TOKEN_PATH}"}
        result = run_cli({**settings, **urls})
        relay.shutdown()
    assert result.returncode == 0, result.stderr
    records = assert_whole_lines(result.stdout).records("sales_fact_data")
    assert [record["Date"] for record in records] == [f"{number:06}" for number in range(6)]
    return result


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("spoiled", [b"$skiptoken=2", b"$metadata", b"/oauth/token"])
def test_connection_that_is_reset_costs_no_row(
    serve: Serve, run_cli: RunCli, spoiled: bytes
) -> None:
    assert "Retrying" in run_behind_relay(serve, run_cli, spoiled, reset).stderr


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("spoiled", [b"$skiptoken=2", b"$metadata", b"/oauth/token"])
def test_answer_that_is_cut_without_a_length_costs_no_row(
    serve: Serve, run_cli: RunCli, spoiled: bytes
) -> None:
    assert "Retrying" in run_behind_relay(serve, run_cli, spoiled, cut).stderr


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("spoiled", [b"$skiptoken=2", b"/oauth/token"])
def test_connection_with_an_interim_answer_is_not_used_again(
    serve: Serve, run_cli: RunCli, spoiled: bytes
) -> None:
    more_requests = []

    def interim(handler: RelayHandler, answer: bytes) -> None:
        handler.request.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        # The answer comes late, when the next request may already have been sent.
        more_requests.append(handler.rfile.readline())
        with contextlib.suppress(OSError):
            handler.request.sendall(answer)

    assert "answered 103" in run_behind_relay(serve, run_cli, spoiled, interim).stderr
    assert more_requests == [b""]


def page(text: str) -> Response:
    return Response(200, text.encode("utf-8", "surrogatepass"), JSON)


def link(url: str) -> Response:
    return page(json.dumps({"value": [], "@odata.nextLink": url}))


LASTING = {
    "valid JSON that is no page": (page('{"rows": []}'), "is not a page of rows"),
    "value that is no list": (page('{"value": {}}'), "is not a page of rows"),
    "row that is no object": (page('{"value": [1]}'), "is not a page of rows"),
    "text for a decimal": (
        page('{"value":[{"Version":"a","Date":"b","AMOUNT":"many"}]}'),
        "The column AMOUNT of FactData holds 'many'",
    ),
    "NaN": (page('{"value":[{"Version":"a","Date":"b","AMOUNT":NaN}]}'), "NaN is not valid JSON"),
    "half a surrogate pair": (
        page('{"value":[{"Version":"\\ud800","Date":"b"}]}'),
        "half of a surrogate pair",
    ),
    "error that is empty": (page('{"value":[],"error":[]}'), "ends with the error"),
    "link that is false": (
        page('{"value":[],"@odata.nextLink":false}'),
        "nextLink that is not a link",
    ),
    "link that is false, after a context": (
        page('{"@odata.context":"$metadata#FactData","value":[],"@odata.nextLink":false}'),
        "nextLink that is not a link",
    ),
    "UTF-16": (Response(200, '{"value":[]}'.encode("utf-16"), JSON), "damaged"),
    "endless numbers": (
        page(f'{{"@des.entitiesInPage":"{"9" * 5000}","value":[{{"Version":"a"}}]}}'),
        "no value in its key column Date",
    ),
    "redirection to no address": (
        Response(302, b"", {"Location": "http://[::1/x"}),
        "redirects to an invalid address",
    ),
    "error that is nested too deeply": (
        Response(400, b'{"error":' + b"[" * 100_000, JSON),
        "SAC answered 400",
    ),
    "error in an unknown encoding": (
        Response(400, b"no", {"Content-Type": "text/plain; charset=idna"}),
        "SAC answered 400 Bad Request, 'no'",
    ),
    "Retry-After out of range": (
        Response(503, b"", {"Retry-After": "Mon, 01 Jan 2026 00:00:00 +9999999999999"}),
        "SAC answered 503",
    ),
    "bytes that are no UTF-8": (
        Response(200, b'{"value":[{"Version":"\xff","Date":"b"}]}', JSON),
        "is not valid JSON",
    ),
    "key that disappears": (page('{"value":[{"Version":"a"}]}'), "no value in its key column Date"),
    "login page": (
        Response(302, b"", {"Location": "https://login.example/saml"}),
        "a redirect to https://login.example",
    ),
    "web page": (
        Response(200, b"<html>Sign in</html>", JSON),
        "returned a web page instead of data",
    ),
    "encoding that nobody asked for": (
        Response(200, b"\x8b\x07\x80\x00\xff", {"Content-Encoding": "br"}),
        "has an encoding not requested, 'br': a proxy or firewall is in the way",
    ),
    "gzip that is none": (
        Response(200, WHOLE, {"Content-Encoding": "gzip"}),
        "is not in its encoding 'gzip': a proxy or firewall is in the way",
    ),
    "refusal in an encoding that nobody asked for": (
        Response(403, b"\x8b\x07\x80\x00\xff", {"Content-Encoding": "zstd"}),
        "with 403 Forbidden, \"The body has an encoding not requested, 'zstd'\"",
    ),
    "link to another host": (link("https://evil.example/x"), "links to another server"),
    "link to a page already read": (
        link("/api/v1/dataexport/providers/sac/C4SALES/FactData"),
        "form a loop",
    ),
    "link to itself": (
        link("/api/v1/dataexport/providers/sac/C4SALES/FactData?$skiptoken=2"),
        "form a loop",
    ),
    "refusal": (error_response(403, "no"), "403"),
    "storm of 429": (error_response(429, "slow down", **{"Retry-After": "0"}), "429"),
}


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize(("fault", "told"), LASTING.values(), ids=LASTING.keys())
def test_fault_that_lasts_ends_the_run_by_name(
    serve: Serve, run_cli: RunCli, fault: Response, told: str
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = second_page(lambda _: fault)
    result = run_cli({**serve(tenant), "max_parallel_requests": 1, "backoff_max_tries": 2})
    assert result.returncode == 1
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    messages = assert_whole_lines(result.stdout)
    records = messages.records("sales_fact_data")
    assert [record["Date"] for record in records] == ["000000", "000001"]
    types = {message["type"] for message in messages.of("sales_fact_data")}
    assert types == {"SCHEMA", "RECORD"}


def test_byte_order_mark_is_not_damage(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(sales(*ROWS))

    def fault(request: Request) -> Response | None:
        if "FactData" not in request.target:
            return None
        return replace(answer := tenant.page(request, ROWS), body=b"\xef\xbb\xbf" + answer.body)

    tenant.fault = fault
    result = run_cli(serve(tenant))
    assert result.returncode == 0, result.stderr
    assert len(assert_whole_lines(result.stdout).records("sales_fact_data")) == 6


def test_facts_that_are_not_there_end_the_run(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(sales(*ROWS))
    nothing = Response(404, b"")
    tenant.fault = lambda request: nothing if "FactData" in request.target else None
    result = run_cli(serve(tenant))
    assert result.returncode == 1
    assert "404 Not Found to GET /api/v1/dataexport/providers/sac/C4SALES/FactData" in result.stderr
    assert not assert_whole_lines(result.stdout).records("sales_fact_data")


@pytest.mark.parametrize("path", ["$skiptoken=2", "$metadata", "/oauth/token"])
def test_server_that_hangs_is_given_up(serve: Serve, run_cli: RunCli, path: str) -> None:
    tenant = StandIn(sales(*ROWS))
    is_over = threading.Event()

    def application(request: Request) -> Response:
        if path in request.target:
            is_over.wait(60)
        return tenant(request)

    settings = {**serve(application), "request_timeout": 1, "backoff_max_tries": 1}
    try:
        result = run_cli(settings)
    finally:
        is_over.set()
    assert result.returncode == 1
    assert "No response from http://127.0.0.1" in result.stderr
    assert "timed out" in result.stderr


def test_column_that_appears_and_disappears_between_pages(serve: Serve, run_cli: RunCli) -> None:
    def rows(number: int, *members: str) -> str:
        return f'{{"Version":"public.Actual","Date":"{number:06}"{"".join(members)}}}'

    path = "/api/v1/dataexport/providers/sac/C4SALES/FactData?$skiptoken="
    pages = {
        "2": (rows(2, ',"AMOUNT":1.0', ',"NEW":"x"'), rows(3), "4"),
        "4": (rows(4, ',"NEW":1e400'), rows(5, ',"NEWER":{}', ',"@odata.id":"y"'), "6"),
        "6": (rows(6, ',"AMOUNT":2.0'), rows(7), ""),
    }

    def fault(request: Request) -> Response | None:
        if "$skiptoken=" not in request.target:
            return None
        first, second, following = pages[request.target.rpartition("=")[2]]
        link = f',"@odata.nextLink":"{path}{following}"' if following else ""
        return page(f'{{"value":[{first},{second}]{link}}}')

    tenant = StandIn(sales(*ROWS))
    tenant.fault = fault
    result = run_cli(serve(tenant))
    assert result.returncode == 0, result.stderr
    records = read_messages(result.stdout).records("sales_fact_data")
    assert [record["Date"] for record in records] == [f"{number:06}" for number in range(8)]
    amounts = ["1.0000000", "1.0000000", "1.0", None, None, None, "2.0", None]
    assert [record["AMOUNT"] for record in records] == amounts
    assert all(record.keys() == {"Version", "Date", "AMOUNT"} for record in records)
    for name in ("NEW", "NEWER"):
        text = f"columns of FactData that are not in $metadata: {name}\n"
        assert result.stderr.count(text) == 1


DOCUMENT = edmx(FactData={"Version": "Edm.String*", "AMOUNT": "Edm.Decimal"})
BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    + DOCUMENT.replace("FactData", "&b;")
)
BAD_METADATA = {
    "a DTD": ("<!DOCTYPE x>" + DOCUMENT, "DTD"),
    "an entity bomb": (BOMB, "DTD"),
    "a truncated end": (DOCUMENT[:-20], "is truncated"),
    "an end that is missing": (DOCUMENT.partition("</Schema>")[0], "cannot be read"),
    "an unknown encoding": ("<?xml version='1.0' encoding='bogus'?>" + DOCUMENT, "cannot be read"),
    "nothing": ("", "cannot be read"),
    "text": ("Service is starting", "cannot be read"),
}


@pytest.mark.parametrize(("document", "told"), BAD_METADATA.values(), ids=BAD_METADATA.keys())
def test_bad_metadata_ends_the_run_by_name(
    serve: Serve, run_cli: RunCli, document: str, told: str
) -> None:
    settings = {**serve(StandIn(Model("C4X", "X", document))), "backoff_max_tries": 1}
    result = run_cli(settings)
    assert result.returncode == 1
    assert told in result.stderr
    assert "C4X" in result.stderr
    assert "Traceback" not in result.stderr


def test_metadata_of_50_megabytes_is_read(serve: Serve, run_cli: RunCli) -> None:
    padding = f"<Annotation Term='x'><String>{'x' * 1000}</String></Annotation>" * 50_000
    document = DOCUMENT.replace("</Schema>", f"{padding}</Schema>")
    result = run_cli(serve(StandIn(Model("C4X", "X", document))), "--discover")
    assert result.returncode == 0, result.stderr[-500:]
    (stream,) = (
        item for item in json.loads(result.stdout)["streams"] if item["stream"] == "x_fact_data"
    )
    assert stream["schema"]["properties"].keys() == {"Version", "AMOUNT"}


def test_types_that_are_unknown_are_text(serve: Serve, run_cli: RunCli) -> None:
    document = edmx(FactData={"Version": "Edm.String*", "X": "sac.Nothing"})
    tenant = StandIn(Model("C4X", "X", document, {"FactData": ['{"Version":"a","X":{"y":1.50}}']}))
    result = run_cli(serve(tenant))
    (record,) = read_messages(result.stdout).records("x_fact_data")
    assert record == {"Version": "a", "X": '{"y":1.50}'}


def test_target_that_dies_ends_the_tap(serve: Serve, tmp_path: Path) -> None:
    tenant = StandIn(sales(*(sales_row(number) for number in range(20_000))))
    config = {**serve(tenant), "page_size": 5_000}
    reading, writing = os.pipe()
    command = tap_command(tmp_path, config)
    with started(command, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        os.read(reading, 1000)
        os.close(reading)
        _, log = process.communicate()
    assert process.returncode == 1
    assert "program reading the output exited before the tap finished" in log
    assert "Traceback" not in log


def test_closed_output_ends_the_tap(serve: Serve, tmp_path: Path) -> None:
    command = shlex.join(tap_command(tmp_path, serve(StandIn(sales(*ROWS)))))
    result = subprocess.run(  # noqa: S603
        ["/bin/bash", "-c", f"exec {command} >&-"], stderr=subprocess.PIPE, check=False, timeout=60
    )
    assert result.returncode == 1
    assert b"Standard output is closed" in result.stderr
    assert b"Traceback" not in result.stderr


def test_pipe_that_does_not_block_loses_nothing(serve: Serve, tmp_path: Path) -> None:
    rows = 20_000
    tenant = StandIn(sales(*(sales_row(number) for number in range(rows))))
    config = {**serve(tenant), "page_size": 5_000}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    log = tmp_path / "log"
    with (
        log.open("wb") as stderr,
        started(tap_command(tmp_path, config), stdout=writing, stderr=stderr) as process,
    ):
        os.close(writing)
        with open(reading, "rb") as pipe:  # noqa: PTH123  (a file descriptor)
            output = pipe.read().decode()
    assert process.returncode == 0, log.read_text()
    assert len(assert_whole_lines(output).records("sales_fact_data")) == rows


@pytest.mark.parametrize("option", [[], ["--discover"], ["--check"]])
def test_full_disk_behind_the_output_ends_the_tap(
    serve: Serve, tmp_path: Path, option: list[str]
) -> None:
    command = tap_command(tmp_path, serve(StandIn(sales(*ROWS))), *option)
    with (
        Path("/dev/full").open("wb") as full,
        started(command, stdout=full, stderr=subprocess.PIPE) as process,
    ):
        _, log = process.communicate()
    assert process.returncode == 1
    assert "No space left on device" in log
    assert "Traceback" not in log


def test_full_disk_behind_batch_files_ends_the_tap(serve: Serve, tmp_path: Path) -> None:
    config = {
        **serve(StandIn(sales(*(sales_row(number) for number in range(20_000))))),
        "page_size": 1_000,
        "batch_config": {
            "encoding": {"format": "jsonl", "compression": "none"},
            "storage": {"root": tmp_path.as_uri()},
            "batch_size": 5_000,
        },
    }
    tap = shlex.join(tap_command(tmp_path, config))
    # Coverage could not write what it measured, either.
    command = f"unset COVERAGE_PROCESS_CONFIG; ulimit -f 100; exec {tap}"
    result = subprocess.run(  # noqa: S603  (files above 100 kB stand for a disk that is full)
        ["/bin/bash", "-c", command], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 1
    assert "cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
    messages = assert_whole_lines(result.stdout)
    assert "sales_fact_data" not in {item["stream"] for item in messages if item["type"] == "BATCH"}
