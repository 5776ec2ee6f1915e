"""A signal ends a run between two lines, and a second one at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tap_sac.singer.messages import MessageWriter
from tests.conftest import discover, read_messages, select
from tests.helpers.cli import read_until, started, tap_command
from tests.helpers.gauge import PATIENCE
from tests.helpers.stand_in import StandIn, error_response, sales, sales_row

if TYPE_CHECKING:
    from pathlib import Path

    from tap_sac.demo.service import Request, Response
    from tests.conftest import Serve


def test_no_request_follows_a_signal(serve: Serve, tmp_path: Path) -> None:
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
    with started(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        read_until('"RECORD","stream":"sales_fact_data"', process.stdout)
        process.terminate()
        output = process.stdout.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert output.endswith("\n")
    assert not any("/Subscriptions" in target for target in tenant.targets)


def test_second_signal_does_not_wait_for_a_reader(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The write stands for one into a full pipe that nobody reads: only a signal ends it."""
    writer = MessageWriter()
    handled = []

    def write_for_ever(_: int, data: memoryview) -> int:
        writer.stop(signal.SIGTERM)
        handled.append(bytes(data))
        writer.stop(signal.SIGTERM)
        pytest.fail("the second signal was waited for")

    with (tmp_path / "output").open("w") as output, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", output)
        patch.setattr("os.write", write_for_ever)
        with pytest.raises(SystemExit) as end:
            writer.write_line("a line")
    assert handled == [b"a line\n"]
    assert end.value.code == 128 + signal.SIGTERM


def test_signal_at_the_start_of_a_line_completes_it(
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


# The main thread does not see the signal, which another one gets, as if it came too early for its
# wait: after Python has looked for signals for the last time.
MISSES_SIGNALS = """
import runpy, signal, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
runpy.run_module("tap_sac", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("path", ["/FactData", "/Providers"])
def test_signal_just_before_a_wait_ends_it(serve: Serve, tmp_path: Path, path: str) -> None:
    """The main thread waits for a reader, or for the time."""
    tenant = StandIn(sales(sales_row(1)))
    slow_down = error_response(429, "slow down", **{"Retry-After": "900"})
    tenant.fault = lambda request: slow_down if path in request.target else None
    python, _, _, *arguments = tap_command(tmp_path, serve(tenant))
    with started([python, "-c", MISSES_SIGNALS, *arguments], stderr=subprocess.PIPE) as process:
        read_until("Retrying in 900.0 seconds", process.stderr)
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM


# The signal comes while the main thread writes a line to the log.
INTERRUPTS_A_LINE = """
import io, runpy, signal, sys
signals = [signal.SIGTERM]
class Log(io.FileIO):
    def write(self, data):
        if signals and b"Retrying in" in bytes(data):
            signal.raise_signal(signals.pop())
        return super().write(data)
sys.stderr = io.TextIOWrapper(io.BufferedWriter(Log(2, "w", closefd=False)), write_through=True)
runpy.run_module("tap_sac", run_name="__main__", alter_sys=True)
"""


def test_signal_amid_a_line_of_the_log_ends_the_run(serve: Serve, tmp_path: Path) -> None:
    tenant = StandIn(sales(sales_row(1)))
    slow_down = error_response(429, "slow down", **{"Retry-After": "900"})
    tenant.fault = lambda request: slow_down if "/Providers" in request.target else None
    python, _, _, *arguments = tap_command(tmp_path, serve(tenant))
    with started([python, "-c", INTERRUPTS_A_LINE, *arguments], stderr=subprocess.PIPE) as process:
        _, log = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "Stopped by signal" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "tap-sac v"),
        (["--login", "--redirect-uri", "http://127.0.0.1:0/callback"], "five minutes"),
        (["--login", "--redirect-uri", "https://acme.example/callback"], "paste it here"),
    ],
)
def test_signal_just_before_any_other_wait_ends_it(
    serve: Serve, tmp_path: Path, arguments: list[str], told: str
) -> None:
    """The main thread waits for an answer, for a browser, or for a user."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def application(_: Request) -> Response:
        is_asked.set()
        may_answer.wait(PATIENCE)
        return error_response(503, "too late")

    python, _, _, *options = tap_command(tmp_path, serve(application), *arguments)
    options += ["--no-browser"] if arguments else []
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started([python, "-c", MISSES_SIGNALS, *options], **pipes) as process:
        read_until(told, process.stderr)
        assert arguments or is_asked.wait(PATIENCE)
        process.terminate()
    may_answer.set()
    assert process.returncode == 128 + signal.SIGTERM


def test_signal_is_repeated_if_the_line_is_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The write stands for one into a full pipe that nobody reads."""
    writer = MessageWriter()
    is_sent = threading.Event()

    def write_for_ever(_: int, __: memoryview) -> int:
        writer.stop(signal.SIGTERM)
        assert is_sent.wait(PATIENCE)
        writer.stop(signal.SIGTERM)
        pytest.fail("the second signal was waited for")

    with (tmp_path / "output").open("w") as output, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", output)
        patch.setattr("tap_sac.singer.messages.SECONDS_FOR_A_LINE", 0)
        patch.setattr("os.kill", lambda *_: is_sent.set())
        patch.setattr("os.write", write_for_ever)
        with pytest.raises(SystemExit):
            writer.write_line("a line")


IS_HANGUP_IGNORED = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # under nohup


MAP = {"sales_fact_data": {"__filter__": "1 == 1"}}


@pytest.mark.parametrize(
    ("number", "stream_maps"),
    [
        (signal.SIGTERM, {}),
        (signal.SIGTERM, MAP),
        (signal.SIGINT, {}),
        pytest.param(
            signal.SIGHUP, {}, marks=pytest.mark.skipif(IS_HANGUP_IGNORED, reason="nohup")
        ),
    ],
)
def test_signal_with_a_slow_target_completes_the_line(
    serve: Serve, tmp_path: Path, number: signal.Signals, stream_maps: dict[str, Any]
) -> None:
    rows = [sales_row(count) for count in range(20_000)]
    tenant = StandIn(sales(*rows))
    config = {**serve(tenant), "page_size": 5_000, "stream_maps": stream_maps}
    catalog = tmp_path / "catalog.json"
    catalog.write_text(json.dumps(select(discover(config), "sales_fact_data")))
    command = tap_command(tmp_path, config, "--catalog", str(catalog))
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        first = read_until('"RECORD"', process.stdout)
        process.send_signal(number)
        # The tap says so when it has understood; until then the pipe is full and nobody reads.
        log = iter(process.stderr.readline, "")
        assert any("Stopped by signal" in line for line in log)
        output = first + process.stdout.read()
    assert process.returncode == 128 + number
    assert output.endswith("\n")
    messages = read_messages(output)
    assert 0 < len(messages.records("sales_fact_data")) < len(rows)
    assert "ACTIVATE_VERSION" not in {message["type"] for message in messages}
