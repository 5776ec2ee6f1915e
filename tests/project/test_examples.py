"""The examples, run as their pages say."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

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


def test_script_without_arguments_says_which_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    script = ROOT / "examples" / "parquet" / "load_postgres.py"
    monkeypatch.setattr(sys, "argv", [script.name])
    with pytest.raises(SystemExit, match="FOLDER DATABASE-URL SCHEMA"):
        runpy.run_path(str(script), run_name="__main__")
