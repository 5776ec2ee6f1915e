"""constraints.txt: a version of every package that the checks install, and no package index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = r"[a-z0-9]+(?:[-_.][a-z0-9]+)*"

LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS = [line for line in LINES if not line.startswith("#")]


def test_every_line_is_a_package_with_its_version() -> None:
    assert PINS
    assert [pin for pin in PINS if not re.fullmatch(rf"{NAME}==[\w.]+( ; .+)?", pin)] == []


def test_every_requirement_has_its_version() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.10 has no reader of TOML
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = document["project"]
    groups = [*project["optional-dependencies"].values(), *document["dependency-groups"].values()]
    required = [*project["dependencies"], *(item for group in groups for item in group)]
    # A group that includes another one does so by a table.
    names = {re.match(NAME, item)[0] for item in required if isinstance(item, str)}  # type: ignore[index]
    assert names <= {pin.partition("==")[0] for pin in PINS}
