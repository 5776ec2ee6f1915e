"""What is published: the contents of the wheel and the sdist, and the wheel in an empty place."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path, PurePosixPath

import pytest
from uv import find_uv_bin

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).parents[2]
SUFFIX = ".exe" if os.name == "nt" else ""
SCRIPTS = "Scripts" if os.name == "nt" else "bin"


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=True
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from it, as a release does."""
    folder = tmp_path_factory.mktemp("dist")
    run(find_uv_bin(), "build", "-q", "-o", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {PurePosixPath(name) for name in archive.namelist()}
    sources = {
        PurePosixPath(path.relative_to(ROOT).as_posix())
        for pattern in ("*.py", "py.typed")
        for path in (ROOT / "tap_sac").rglob(pattern)
    }
    about = {name for name in names if name.parts[0].endswith(".dist-info")}
    assert names - about == sources
    assert PurePosixPath("tap_sac/py.typed") in names  # or type checkers ignore the types
    assert {name.name for name in about} == {
        "METADATA",
        "WHEEL",
        "entry_points.txt",
        "LICENSE",
        "RECORD",
    }


def test_sdist_holds_what_is_needed_to_build_and_to_read(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "docs/settings.md"} <= names
    assert {"tap_sac/tap.py", "tests/project/test_package.py"} <= names
    assert not {name for name in names if re.match(r"\.(ci|github|venv)/|output/|uv\.lock", name)}


def test_page_of_the_package_links_to_what_a_reader_can_open(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    assert metadata["Name"] == "tap-sac"
    assert metadata["License-Expression"] == "Apache-2.0"
    page = str(metadata.get_payload())
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", page)
    assert pictures
    assert all(link.startswith("https://raw.githubusercontent.com/") for link in pictures)
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert links
    assert not [link for link in links if not re.match(r"https://|#", link)]


def test_wheel_reads_the_sample_tenant_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    run(find_uv_bin(), "venv", "-q", "--python", sys.executable, tmp_path / "venv")
    scripts = tmp_path / "venv" / SCRIPTS
    python = scripts / f"python{SUFFIX}"
    run(find_uv_bin(), "pip", "install", "-q", "--python", python, wheel)
    tap = scripts / f"tap-sac{SUFFIX}"

    version = wheel.name.split("-")[1]
    assert f"tap-sac v{version}, " in run(tap, "--version").stdout
    (tmp_path / "config.json").write_text('{"demo": true}')
    result = run(tap, "--config", "config.json", cwd=tmp_path)
    messages = [json.loads(line) for line in result.stdout.splitlines()]
    rows = [message["stream"] for message in messages if message["type"] == "RECORD"]
    assert rows.count("sales_planning_fact_data") == 5_760
