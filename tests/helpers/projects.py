"""Copies of this repository's Meltano project, which install the tap from here."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml
from uv import find_uv_bin

ROOT = Path(__file__).parents[2]
DEFINITION = ROOT / "plugins" / "extractors" / "tap-sac--tap-sac.lock"


def definition() -> dict[str, Any]:
    """Return the generated definition of the tap."""
    plugin: dict[str, Any] = json.loads(DEFINITION.read_text("utf-8"))
    return plugin


def meltano_yml() -> dict[str, Any]:
    """Return meltano.yml, with the path of this repository."""
    text = (ROOT / "meltano.yml").read_text("utf-8").replace("-e .", f"-e {ROOT}")
    project: dict[str, Any] = yaml.safe_load(text)
    return project


def save_project(folder: Path, project: dict[str, Any]) -> None:
    """Write a project, and the definition of the tap that it needs."""
    copy = folder / DEFINITION.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(DEFINITION.read_bytes())
    (folder / "meltano.yml").write_text(yaml.safe_dump(project), "utf-8")


def meltano(project: Path, *arguments: str, **environment: str) -> str:
    """Run Meltano as the README does; returns what it prints."""
    result = run_meltano(project, *arguments, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def run_meltano(
    project: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [find_uv_bin(), "tool", "run", "meltano", *arguments],
        cwd=project,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
