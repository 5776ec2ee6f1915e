"""The Meltano project that pipelines run in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.projects import meltano_yml, save_project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the project, with an environment that reads the sample tenant into batch files."""
    folder = tmp_path_factory.mktemp("project")
    files = folder / "files"
    files.mkdir()
    batches = {
        "encoding": {"format": "jsonl", "compression": "gzip"},
        "storage": {"root": files.as_uri()},
        "batch_size": 500,
    }
    project = meltano_yml()
    tap = {"name": "tap-sac", "config": {"demo": True, "batch_config": batches}}
    plugins = {"plugins": {"extractors": [tap]}}
    project["environments"].append({"name": "batches", "config": plugins})
    save_project(folder, project)
    return folder
