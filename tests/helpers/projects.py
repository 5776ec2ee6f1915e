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
# How rows reach a target: one by one, or in files that BATCH messages name.
ROUTES = ["records", "batches"]
DEFINITION = ROOT / "plugins" / "extractors" / "tap-sac--tap-sac.lock"
QUIET_LOG = ROOT / "plugins" / "loaders" / "quiet.yml"


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
    """Write a project, and the files that it needs."""
    for file in (DEFINITION, QUIET_LOG):
        copy = folder / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
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


def load(messages: str, folder: Path, config: dict[str, Any]) -> str:
    """Hand messages to the target-postgres of meltano.yml; returns what it prints, the states."""
    loaders = meltano_yml()["plugins"]["loaders"]
    (package,) = [item["pip_url"] for item in loaders if item["name"] == "target-postgres"]
    file = folder / "target.json"
    file.write_text(json.dumps(config))
    command = ["tool", "run", "--from", package, "target-postgres", "--config", str(file)]
    result = subprocess.run(  # noqa: S603
        [find_uv_bin(), *command],
        input=messages,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
