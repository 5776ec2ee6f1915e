"""The names in the documentation: settings, options, files, modules, and what the log says."""

from __future__ import annotations

import ast
import importlib.util
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tap_sac.tap import TapSAC
from tests.helpers.doc_pages import PAGES, ROOT, examples
from tests.helpers.own_settings import (
    OF_THE_SDK,
    OWN,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = {*OWN, *OF_THE_SDK}
# What the SDK and Meltano read beside the settings.
VARIABLES = {f"TAP_SAC_{name.upper()}" for name in SETTINGS} | {
    "TAP_SAC_LOGLEVEL",
    "TAP_SAC__METADATA",
    "TAP_SAC__SELECT",
    "TAP_SAC__SELECT_FILTER",
}
MODULE = re.compile(r"python3? -m ((?:tap_sac|benchmarks)[\w.]*)")
NAMED_FILE = re.compile(r"`([\w./-]+\.(?:md|py|svg|toml|yml))`")
PAGE_IN_CODE = re.compile(r"\bdocs/[\w/-]+\.md")
ERRORS = re.compile(r"^\| What you read \|.*\n\| -.*\n((?:\|.*\n)+)", re.MULTILINE)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@each_page
def test_variables_are_settings(page: Path) -> None:
    names = re.findall(r"\bTAP_SAC_\w+", page.read_text("utf-8"))
    assert set(names) <= VARIABLES


@each_page
def test_what_meltano_sets_is_a_setting(page: Path) -> None:
    names = re.findall(r"config set tap-sac (\w+)", page.read_text("utf-8"))
    assert set(names) <= {*SETTINGS, "_select"}


def configs(part: object) -> Iterator[dict[str, Any]]:
    """Return the settings of each extractor in a part of a YAML file."""
    if isinstance(part, list):
        for item in part:
            yield from configs(item)
    elif isinstance(part, dict):
        yield from (extractor.get("config", {}) for extractor in part.get("extractors", []))
        for item in part.values():
            yield from configs(item)


def test_yaml_examples_have_settings_of_the_tap() -> None:
    found = {
        name for code in examples("yaml") for item in configs(yaml.safe_load(code)) for name in item
    }
    assert found
    assert found <= SETTINGS


@each_page
def test_options_exist(page: Path) -> None:
    known = {
        name for option in TapSAC.cli.params for name in (*option.opts, *option.secondary_opts)
    }
    commands = re.findall(r"\btap-sac((?: [^\s`|#]+)+)", page.read_text("utf-8"))
    used = {name for command in commands for name in re.findall(r"--[a-z-]+", command)}
    assert used <= known


@each_page
def test_modules_that_commands_run_exist(page: Path) -> None:
    names = MODULE.findall(page.read_text("utf-8"))
    assert [name for name in names if not importlib.util.find_spec(name)] == []


@each_page
def test_files_exist(page: Path) -> None:
    folders = [ROOT, ROOT / "tap_sac", ROOT / "tests", page.parent]
    names = set(NAMED_FILE.findall(page.read_text("utf-8")))
    assert [name for name in names if not any((folder / name).exists() for folder in folders)] == []


def test_pages_that_code_names_exist() -> None:
    patterns = (
        "*.yml",
        ".github/**/*.yml",
        *(f"{name}/**/*.py" for name in ("tap_sac", "examples")),
    )
    files = [file for pattern in patterns for file in ROOT.glob(pattern)]
    pages = {page for file in files for page in PAGE_IN_CODE.findall(file.read_text("utf-8"))}
    assert pages
    assert [page for page in pages if not (ROOT / page).exists()] == []


def messages() -> Iterator[str]:
    """Return the texts in the code of the tap, with ... for the values in them."""
    for path in (ROOT / "tap_sac").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "..."
                    for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_errors_in_the_table_are_messages_of_the_tap() -> None:
    (table,) = ERRORS.findall((ROOT / "docs" / "when-it-fails.md").read_text("utf-8"))
    cells = " ".join(row.split("|")[1] for row in table.splitlines())
    quoted = re.findall(
        "`([^`]*[a-z][^`]*)`", cells
    )  # what has no such letter is SAC's or OpenSSL's
    known = [*messages()]
    assert quoted
    assert [text for text in quoted if not any(text in message for message in known)] == []
