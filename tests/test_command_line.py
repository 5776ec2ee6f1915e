"""The tests run the tap in their own process: what it writes and leaves is that of a real one."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import read_messages
from tests.helpers.stand_in import StandIn, sales, sales_row

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.conftest import RunCli, Serve

BUG = {"stream_maps": {"sales_fact_data": {"X": "1/0"}}}


def written(result: subprocess.CompletedProcess[str]) -> tuple[int, str, list[str]]:
    """Return what does not change from run to run; of a stack trace, that there is one."""
    output = re.sub(r'"(version|time_extracted)":("[^"]*"|\d+)', "", result.stdout)
    log = re.sub(r"^  .*\n", "", result.stderr, flags=re.MULTILINE)
    log = re.sub(r"\b\d\S*[.:]\d\S*|\bpid\S+", "#", log.replace("python -m tap_sac", "tap-sac"))
    # The threads that read ahead log when they are at it.
    return result.returncode, output, sorted(log.splitlines())


def test_no_file_is_left_open_when_another_option_is_refused(
    run_cli: RunCli, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    state.write_text("{}")
    with pytest.MonkeyPatch.context() as patch:
        left_open: list[object] = []
        patch.setattr("sys.unraisablehook", left_open.append)
        result = run_cli({"demo": True}, "--state", str(state), "--catalog", "missing")
        gc.collect()
    assert result.returncode == 2
    assert "missing" in result.stderr
    assert not left_open


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [
        ({}, ()),
        ({}, ("--discover",)),
        ({"page_size": "many", "client_id": "\u00e4\ud800"}, ()),
        ({"models": ["Nonsense"]}, ("--check",)),
        ({}, ("--nonsense",)),
        (BUG, ()),
    ],
    ids=["sync", "discovery", "wrong settings", "check", "wrong option", "bug"],
)
def test_it_writes_what_a_process_writes(
    serve: Serve,
    run_cli: RunCli,
    run_process: RunCli,
    changes: dict[str, Any],
    arguments: tuple[str, ...],
) -> None:
    config = {**serve(StandIn(sales(sales_row(1, "1.5")))), "max_parallel_requests": 1, **changes}
    here = written(run_cli(config, *arguments))
    assert here == written(run_process(config, *arguments))


def test_it_writes_what_a_process_with_settings_of_the_environment_writes(
    serve: Serve, run_cli: RunCli, run_process: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**serve(StandIn(sales(sales_row(1)))), "max_parallel_requests": "1"}
    for name, value in config.items():
        monkeypatch.setenv(f"TAP_SAC_{name.upper()}", value)
    result = run_cli(None, "--config=ENV")
    assert written(result) == written(run_process(None, "--config=ENV"))
    assert len(read_messages(result.stdout).records("sales_fact_data")) == 1


def state_of_this_process() -> dict[str, Any]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    root = logging.getLogger()
    return {
        "environment": dict(os.environ),
        "handlers": [*root.handlers],
        "level": root.level,
        "signals": [signal.getsignal(number) for number in numbers],
        "warnings": (warnings.showwarning, [*warnings.filters]),
        "streams": (sys.stdout, sys.stderr, sys.excepthook),
        "thread": threading.Thread.start,
    }


@pytest.mark.parametrize("changes", [{}, {"page_size": 0}, BUG])
def test_it_leaves_nothing_behind(serve: Serve, run_cli: RunCli, changes: dict[str, Any]) -> None:
    before = state_of_this_process()
    run_cli({**serve(StandIn(sales(sales_row(1)))), **changes})
    assert state_of_this_process() == before


def test_it_runs_in_a_thread(serve: Serve, run_cli: RunCli) -> None:
    results = []
    config = serve(StandIn(sales(sales_row(1))))
    thread = threading.Thread(target=lambda: results.append(run_cli(config)))
    thread.start()
    thread.join()
    assert results[0].returncode == 0
    assert len(read_messages(results[0].stdout).records("sales_fact_data")) == 1
    assert "DEBUG" in results[0].stderr


def test_it_does_not_write_what_a_server_in_this_process_writes(
    serve: Serve, run_cli: RunCli, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = StandIn(sales(sales_row(1)))
    tenant.fault = lambda _: print("overheard", file=sys.stderr)  # noqa: T201
    assert "overheard" not in run_cli(serve(tenant)).stderr
    assert "overheard" in capsys.readouterr().err
