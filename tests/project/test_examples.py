"""The examples, run as their pages say."""

from __future__ import annotations

import contextlib
import os
import runpy
import shutil
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from uv import find_uv_bin

from tests.helpers.cli import started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).parents[2]


def test_dbt_builds_a_star_whose_totals_are_those_of_sac(tmp_path: Path) -> None:
    path = f"{Path(find_uv_bin()).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(  # noqa: S603
        [sys.executable, ROOT / "examples" / "dbt" / "run.py", "--folder", tmp_path],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "PASS totals_are_those_of_sac" in result.stdout
    assert "PASS root_has_all_profit" in result.stdout
    assert "NET_INCOME/REVENUE" in result.stdout
    assert "| ... |" not in result.stdout


def test_script_without_arguments_prints_its_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = ROOT / "examples" / "load" / "load_postgres.py"
    monkeypatch.setattr(sys, "argv", [script.name])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(script), run_name="__main__")
    assert "the following arguments are required: database, schema" in capsys.readouterr().err


def test_notebook_has_the_tables_of_a_model(capfd: pytest.CaptureFixture[str]) -> None:
    found = runpy.run_path(str(ROOT / "examples" / "notebook" / "tables.py"))
    assert "5,760 rows of sales_planning_fact_data" in capfd.readouterr().out
    assert len(found["tables"]) == 7
    row = found["tables"]["sales_planning_fact_data"].slice(0, 1).to_pylist()[0]
    assert isinstance(row["REVENUE"], Decimal)


# A process has the number 1 in a namespace of its own, as in a container.
AS_PROCESS_1 = (
    *("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"),
    *("sh", str(ROOT / "examples" / "container" / "entrypoint.sh")),
)


@pytest.fixture
def process_1() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Run shell commands behind the entry point, as process 1."""
    with contextlib.ExitStack() as stack:

        def start(command: str) -> subprocess.Popen[str]:
            words = [*AS_PROCESS_1, "sh", "-c", command]
            return stack.enter_context(started(words, stdout=subprocess.PIPE))

        if not shutil.which("unshare") or start("exit").wait():
            pytest.skip("There are no namespaces here")
        yield start


def test_container_ends_with_the_exit_code_of_its_command(
    process_1: Callable[[str], subprocess.Popen[str]],
) -> None:
    assert process_1('test "$PPID" = 1 && exit 7').wait() == 7


def test_container_passes_sigterm_on_and_waits(
    process_1: Callable[[str], subprocess.Popen[str]],
) -> None:
    is_waited_for = "until grep -q 'State:.S' /proc/1/status; do :; done"
    trap = "trap 'echo ended; exit 9' TERM"
    process = process_1(f"{trap}; {is_waited_for}; echo ready; while :; do sleep 1 & wait; done")
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)
    assert process.communicate()[0] == "ended\n"
    assert process.returncode == 9
