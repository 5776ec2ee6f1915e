"""The tap does not wait for what it could have asked for: over a real socket, with real threads."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import signal
import struct
import subprocess
import termios
import threading
from dataclasses import replace
from datetime import datetime, timezone
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
from typing_extensions import override

from tap_sac.singer.messages import MessageWriter
from tap_sac.tap import TapSAC
from tests.cli import tap_command
from tests.conftest import discover, read_messages, select, sync
from tests.stand_in import Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tap_sac.demo.service import Request, Response
    from tests.conftest import RunCli, Serve

PATIENCE = 30


class Output(io.StringIO):
    """Standard output that tells a test of each record, before it is taken."""

    def __init__(self, on_record: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._on_record = on_record

    @override
    def write(self, text: str) -> int:
        for message in read_messages(text):
            if message["type"] == "RECORD":
                self._on_record(message)
        return super().write(text)


class Gauge:
    """Lets requests for data pass only when so many of them are there at once."""

    def __init__(self, expected: int) -> None:
        self._barrier = threading.Barrier(expected, timeout=PATIENCE)
        self._lock = threading.Lock()
        self._under_way = 0
        self.most = 0

    def __call__(self) -> None:
        with self._lock:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        try:
            self._barrier.wait()
        finally:
            with self._lock:
                self._under_way -= 1


def many_sets(count: int) -> StandIn:
    names = [f"D{number:02}Master" for number in range(count)]
    model = Model("C4M", "M", edmx(**{name: {"ID": "Edm.String*"} for name in names}))
    model.sets |= {name: [f'{{"ID":"{name}"}}'] for name in names}
    return StandIn(model)


def test_next_page_is_requested_while_one_is_written(serve: Serve) -> None:
    tenant = StandIn(sales(*(sales_row(number) for number in range(6))))
    settings = serve(tenant)
    is_requested = threading.Event()

    def fault(request: Request) -> None:
        if "$skiptoken=2" in request.target:
            is_requested.set()

    tenant.fault = fault

    def on_record(message: dict[str, Any]) -> None:
        if message["stream"] == "sales_fact_data":
            assert is_requested.wait(PATIENCE)

    with contextlib.redirect_stdout(Output(on_record)) as output:
        TapSAC(config=settings).sync_all()
    assert len(read_messages(output.getvalue()).records("sales_fact_data")) == 6


def test_slow_target_holds_the_reader_back(serve: Serve) -> None:
    pages = 40
    tenant = StandIn(sales(*(sales_row(number) for number in range(2 * pages))))
    settings = serve(tenant)
    written = 0
    ahead = []

    def on_record(message: dict[str, Any]) -> None:
        nonlocal written
        if message["stream"] == "sales_fact_data":
            if written == 0:
                for _ in range(5 * pages):  # The time in which a reader could read it all.
                    requests.get(settings["tenant_url"], timeout=PATIENCE)
            written += 1
            requested = sum("FactData" in target for target in tenant.targets)
            ahead.append(requested - written / 2)

    with contextlib.redirect_stdout(Output(on_record)):
        TapSAC(config=settings).sync_all()
    assert max(ahead) <= 3.5
    assert written == 2 * pages


@pytest.mark.parametrize("parallel", [1, 4])
def test_small_streams_are_read_at_once_and_written_in_order(serve: Serve, parallel: int) -> None:
    tenant = many_sets(20)
    config = {**serve(tenant), "max_parallel_requests": parallel}
    gauge = Gauge(parallel)

    def fault(request: Request) -> None:
        if "Master" in request.target:
            gauge()

    tenant.fault = fault
    messages = sync(config)
    assert gauge.most == parallel
    records = [item["stream"] for item in messages if item["type"] == "RECORD"]
    assert records == [*(f"m_d{number:02}_master" for number in range(20)), "providers"]


def test_models_are_discovered_at_once(serve: Serve) -> None:
    models = [
        Model(f"C4{number:02}", f"M{number:02}", edmx(S={"ID": "Edm.String*"}))
        for number in range(8)
    ]
    tenant = StandIn(*models)
    gauge = Gauge(4)

    def fault(request: Request) -> None:
        if "$metadata" in request.target:
            gauge()

    tenant.fault = fault
    assert len(discover(serve(tenant))) == 9
    assert gauge.most == 4


def test_changes_are_not_read_before_their_turn(serve: Serve) -> None:
    tenant = StandIn(sales(sales_row(1), name="A", model_id="C4A"), sales(sales_row(1), name="B"))
    settings = {**serve(tenant), "default_replication_method": "LOG_BASED"}
    seen = {}

    def on_record(message: dict[str, Any]) -> None:
        seen[message["stream"]] = tenant.reads("FactData")

    with contextlib.redirect_stdout(Output(on_record)):
        TapSAC(config=settings).sync_all()
    assert seen["a_fact_data"] == ["/providers/sac/C4A/FactData"]


def test_failure_does_not_wait_for_other_requests(serve: Serve, run_process: RunCli) -> None:
    tenant = many_sets(3)
    settings = serve(tenant)
    is_over = threading.Event()
    waited_in_vain = []

    def fault(request: Request) -> Response | None:
        if "D00Master" in request.target:
            return error_response(403, "no")
        if "D01Master" in request.target and not is_over.wait(PATIENCE):
            waited_in_vain.append(request.target)
        return None

    tenant.fault = fault
    try:
        result = run_process(settings)
        assert not waited_in_vain
    finally:
        is_over.set()
    assert result.returncode == 1
    assert "403" in result.stderr
    assert read_messages(result.stdout).streams == ["m_d00_master"]


def test_nothing_is_asked_for_after_a_signal(serve: Serve, tmp_path: Path) -> None:
    rows = [sales_row(count) for count in range(20_000)]
    tenant = StandIn(sales(*rows))

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target:
            return None
        page = tenant.page(request, rows)
        link = f'"@odata.deltaLink":"{request.base_url}{urlsplit(request.target).path}?deltaid=A"'
        return replace(page, body=page.body[:-1] + f",{link}}}".encode())

    tenant.fault = fault
    config = {**serve(tenant), "default_replication_method": "LOG_BASED", "page_size": len(rows)}
    command = tap_command(tmp_path, config)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout
        while '"RECORD","stream":"sales_fact_data"' not in process.stdout.readline():
            pass
        process.terminate()
        output = process.stdout.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert output.endswith("\n")
    assert not any("/Subscriptions" in target for target in tenant.targets)


def waiting(pipe: IO[str]) -> int:
    """Tell how many bytes nobody has read yet."""
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return int(count)


def test_second_signal_does_not_wait_for_a_reader(serve: Serve, tmp_path: Path) -> None:
    rows = [sales_row(count) for count in range(20_000)]
    command = tap_command(tmp_path, {**serve(StandIn(sales(*rows))), "page_size": 5_000})
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        while waiting(process.stdout) < fcntl.fcntl(process.stdout, fcntl.F_GETPIPE_SZ) - 8192:
            assert process.poll() is None
        log = iter(process.stderr.readline, "")
        process.send_signal(signal.SIGTERM)
        assert any("Stopped by signal" in line for line in log)
        # One that comes before the tap is back in its write is handled after that: again then.
        for _ in range(PATIENCE):
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
                break
        assert any("Stopped by signal" in line for line in log)
    assert process.returncode == 128 + signal.SIGTERM


def test_signal_at_the_beginning_of_a_line_leaves_a_whole_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    writer = MessageWriter()
    path = tmp_path / "output"
    signals = [signal.SIGTERM]
    write = os.write

    def write_a_little(file_descriptor: int, data: memoryview) -> int:
        if signals:
            writer.stop(signals.pop())
            return write(file_descriptor, data[:5])
        return write(file_descriptor, data)

    with path.open("w") as output, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", output)
        patch.setattr("os.write", write_a_little)
        with pytest.raises(SystemExit):
            writer.write_records(
                "s", b'{"A":1}\n{"A":2}\n', version=1, time_extracted=datetime.now(timezone.utc)
            )
    (message,) = read_messages(path.read_text())
    assert message["record"] == {"A": 1}


IS_HANGUP_IGNORED = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # under nohup


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGINT,
        pytest.param(signal.SIGHUP, marks=pytest.mark.skipif(IS_HANGUP_IGNORED, reason="nohup")),
    ],
)
@pytest.mark.parametrize("stream_maps", [{}, {"sales_fact_data": {"__filter__": "1 == 1"}}])
def test_signal_while_the_target_reads_slowly_leaves_whole_lines(
    serve: Serve, tmp_path: Path, number: signal.Signals, stream_maps: dict[str, Any]
) -> None:
    rows = [sales_row(count) for count in range(20_000)]
    tenant = StandIn(sales(*rows))
    config = {**serve(tenant), "page_size": 5_000, "stream_maps": stream_maps}
    catalog = tmp_path / "catalog.json"
    catalog.write_text(json.dumps(select(discover(config), "sales_fact_data")))
    with subprocess.Popen(  # noqa: S603
        tap_command(tmp_path, config, "--catalog", str(catalog)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        first = ""
        while '"RECORD"' not in first:
            first += process.stdout.readline()
        process.send_signal(number)
        # The tap says so when it has understood; until then the pipe is full and nobody reads.
        log = iter(process.stderr.readline, "")
        assert any("Stopped by signal" in line for line in log)
        output = first + process.stdout.read()
        process.wait(PATIENCE)
    assert process.returncode == 128 + number
    assert output.endswith("\n")
    messages = read_messages(output)
    assert 0 < len(messages.records("sales_fact_data")) < len(rows)
    assert "ACTIVATE_VERSION" not in {message["type"] for message in messages}
