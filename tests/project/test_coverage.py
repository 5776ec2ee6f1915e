"""What `tox -e coverage` measures: the whole package with its branches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.10 has no reader of TOML

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).parents[2]
FILE = "tests/test_settings.py"
# It runs the tap as a process of its own, which alone runs tap_sac/__main__.py.
TEST = "test_about_shows_each_setting_with_title_description_and_default"


def tox_command(environment: str) -> tuple[list[str], list[str]]:
    """Return what an environment of tox always runs, and what a developer's arguments replace."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    environments = project["tool"]["tox"]["env"]
    base = project["tool"]["tox"]["env_run_base"]
    ((*always, replaced),) = environments.get(environment, base)["commands"]
    return always, replaced.get("default", [])


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Python's, with coverage data of its own."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "COVERAGE_FILE": str(folder / "coverage")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the command of tox, but one test alone, and return the report."""
    folder = tmp_path_factory.mktemp("coverage")
    path = folder / "report.json"
    always, default = tox_command("coverage")
    options = ["-k", TEST, "-n", "1", f"--cov-report=json:{path}"]
    result = run(folder, *always, FILE, *options, *default)
    assert "1 passed" in result.stdout, result.stdout + result.stderr
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {"exit_code": result.returncode, "output": result.stdout, **report}


def test_report_has_every_module_of_the_package_and_nothing_else(measured: dict[str, Any]) -> None:
    modules = {path.relative_to(ROOT) for path in (ROOT / "tap_sac").rglob("*.py")}
    assert {Path(name) for name in measured["files"]} == modules
    assert measured["totals"]["num_branches"]


def test_processes_that_tests_start_are_measured(measured: dict[str, Any]) -> None:
    assert measured["files"][str(Path("tap_sac", "__main__.py"))]["executed_lines"]


def test_too_little_coverage_fails(measured: dict[str, Any]) -> None:
    assert "FAIL Required test coverage of 95" in measured["output"]
    assert measured["exit_code"]


def test_a_part_of_the_tests_is_run_alone(tmp_path: Path) -> None:
    always, default = tox_command("test")
    assert not default
    result = run(tmp_path, *always, f"{FILE}::{TEST}", "--collect-only", "-q")
    assert "1 test collected" in result.stdout
    assert result.returncode == 0
