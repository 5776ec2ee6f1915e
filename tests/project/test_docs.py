"""The documentation: its links, and the names and examples in it."""

from __future__ import annotations

import json
import re
import runpy
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.helpers.doc_pages import PAGES, README, ROOT, SUBPAGES, examples, prose
from tests.test_settings import OF_THE_SDK, OWN

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {*OWN, *OF_THE_SDK}

HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
SETTINGS_TABLE = re.compile(r"^\| Setting \|.*\n\| -.*\n((?:\|.*\n)+)", re.MULTILINE)


def links(page: Path) -> list[str]:
    """Return where the links of a page lead, other than to the web."""
    return [link for link in LINK.findall(prose(page)) if "://" not in link]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(prose(page)):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead to no file, or to no heading in it."""
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    assert broken_links(page) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `code` heading\n\n## Twice\n\n## Twice\n\n```bash\n# not a heading\n```\n\n"
        "[web](https://example.com/gone) [self](#a-code-heading) [second](page.md#twice-1)\n"
        "[file](gone.md) [heading](#gone) [third](page.md#twice-2) [code](#not-a-heading)\n"
    )
    assert broken_links(page) == ["gone.md", "#gone", "page.md#twice-2", "#not-a-heading"]


def test_the_readme_links_to_every_page() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(README)}
    assert SUBPAGES
    assert {page.resolve() for page in PAGES if page != README} <= linked


@pytest.mark.parametrize(
    "page", [README, ROOT / "docs" / "settings.md"], ids=lambda page: page.name
)
def test_tables_of_settings_name_settings_of_the_tap(page: Path) -> None:
    (table,) = SETTINGS_TABLE.findall(page.read_text(encoding="utf-8"))
    names = [
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    assert names
    assert set(names) <= SETTINGS


def test_json_examples_are_settings_of_the_tap() -> None:
    configs = [json.loads(code) for code in examples("json")]
    assert configs
    for config in configs:
        assert set(config) <= SETTINGS


def test_yaml_examples_are_yaml() -> None:
    assert examples("yaml")
    for code in examples("yaml"):
        assert isinstance(yaml.safe_load(code), dict)


@pytest.mark.parametrize(
    ("script", "page"), [("make_picture.py", "way.svg"), ("make_settings.py", "settings.md")]
)
def test_page_is_the_one_that_its_script_makes(tmp_path: Path, script: str, page: str) -> None:
    for name in (script, page):
        (tmp_path / name).write_bytes((ROOT / "docs" / name).read_bytes())
    made = tmp_path / page
    made.write_text(re.sub(r"(?m)^(\| `models` |<rect ).*\n", "", made.read_text("utf-8")), "utf-8")
    runpy.run_path(str(tmp_path / script), run_name="__main__")
    assert made.read_bytes() == (ROOT / "docs" / page).read_bytes()
