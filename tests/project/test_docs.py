"""The documentation: its links, and the names and examples in it."""

from __future__ import annotations

import json
import re
import runpy
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.helpers.doc_pages import PAGES, README, ROOT, SUBPAGES, examples, prose
from tests.helpers.own_settings import (
    OF_THE_SDK,
    OWN,
)
from tests.helpers.projects import DEFINITION, meltano_yml

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {*OWN, *OF_THE_SDK}

HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# Inline, by a reference, and in HTML.
LINK = re.compile(
    r"""\]\(\s*<?([^)\s>]+)|^\[[^]]+\]:\s*<?([^\s>]+)|\b(?:href|src)="([^"]+)\"""", re.MULTILINE
)
OWN_ADDRESS = re.compile(
    r"https://(?:github\.com/tap-sac/tap-sac/(?:blob|tree)|raw\.githubusercontent\.com/tap-sac/tap-sac)"
    r"/main/([\w./-]+)"
)
# Options of meltano itself, of which two have their value behind a space, and what reads a tenant.
READING_COMMAND = re.compile(
    r"\bmeltano(?: --?(?:cwd|environment) [^\s-]\S*| -\S+)*"
    r" (?:run|invoke|elt?|test|schedule run|config test|select (?:-l|--list))\b"
)
NAMES_OF_PLACES = {"default_target_schema", "dataset", "output_path", "destination_path"}
SETTINGS_TABLE = re.compile(r"^\| Setting \|.*\n\| -.*\n((?:\|.*\n)+)", re.MULTILINE)


def links(page: Path) -> list[str]:
    """Return where the links of a page lead, other than to the web."""
    found = ("".join(groups) for groups in LINK.findall(prose(page)))
    return [link for link in found if "://" not in link]


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
        '[title](titled.md "Title") [![picture](page.md)](behind.md) <a href="html.md">x</a>\n\n'
        "[reference]: referred.md\n"
    )
    assert broken_links(page) == [
        "gone.md",
        "#gone",
        "page.md#twice-2",
        "#not-a-heading",
        "titled.md",
        "behind.md",
        "html.md",
        "referred.md",
    ]


def test_addresses_in_this_repository_lead_to_a_file() -> None:
    files = [*PAGES, DEFINITION, *(ROOT / name for name in ("meltano.yml", "pyproject.toml"))]
    paths = [path for file in files for path in OWN_ADDRESS.findall(file.read_text("utf-8"))]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


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


def places(project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the settings that say where each loader writes, by loader."""
    return {
        loader["name"]: {
            name: value for name, value in loader["config"].items() if name in NAMES_OF_PLACES
        }
        for loader in project["plugins"].get("loaders", [])
    }


@pytest.mark.parametrize(
    "project",
    [
        meltano_yml(),
        *(code for code in map(yaml.safe_load, examples("yaml")) if "loaders" in str(code)),
    ],
    ids=lambda project: " ".join(places(project)),
)
def test_every_loader_has_a_place_of_its_own_for_the_sample_tenant(project: dict[str, Any]) -> None:
    environments = {item["name"]: item.get("config", {}) for item in project["environments"]}
    sample, tenant = places(environments["demo"]), places(project)
    assert tenant
    assert set(sample) == set(tenant)
    for name, place in tenant.items():
        assert place
        assert all(
            sample[name].get(setting) not in {None, value} for setting, value in place.items()
        )


def test_the_readme_has_the_target_of_meltano_yml() -> None:
    (target,) = (
        loader
        for loader in meltano_yml()["plugins"]["loaders"]
        if loader["name"] == "target-postgres"
    )
    text = README.read_text("utf-8")
    (config,) = re.findall(r"target\.json <<'END'\n(.*?)END\n", text, re.DOTALL)
    shown = json.loads(config)
    assert shown.pop("sqlalchemy_url").startswith("postgresql+psycopg://")
    assert shown == target["config"]
    assert f"pip install {target['pip_url']}`" in text


def without_environment(text: str) -> list[str]:
    """Return the Meltano commands in a text that read a tenant, and do not name which."""
    # Also those of a list in Python, or over several lines.
    words = re.sub(r"[\s\\\"',\[\]]+", " ", text)
    found = READING_COMMAND.findall(words)
    return [command for command in found if not re.search(" --environment[= ]", command)]


@pytest.mark.parametrize(
    "page",
    [*PAGES, *(ROOT / "examples").rglob("*.py"), *(ROOT / "examples").rglob("*.sh")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_commands_that_read_a_tenant_name_its_environment(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page == README:  # The sample tenant is what the page begins with.
        text = text.replace("meltano run tap-sac target-csv", "", 2)
    assert without_environment(text) == []


def test_commands_without_an_environment_are_found() -> None:
    text = """
    `meltano run tap-sac target-csv` `uvx meltano --log-level=debug invoke tap-sac --check`
    ```bash
    meltano \\
      el tap-sac target-postgres
    meltano --cwd project elt tap-sac target-csv && meltano schedule run nightly
    meltano --no-environment run tap-sac && meltano select --list tap-sac
    meltano config test tap-sac && meltano test --all
    ```
    ["meltano", "invoke", "tap-sac"], ["uvx", "meltano", "run"]
    `meltano --environment=prod run tap-sac target-csv` `meltano --environment dev invoke tap-sac`
    `meltano install`, `meltano add tap-sac`, `meltano schedule list`, `meltano config set tap-sac`,
    `meltano select` ["meltano", "--environment=prod", "invoke", "tap-sac"]. Meltano runs a tap.
    """
    assert without_environment(text) == [
        "meltano run",
        "meltano --log-level=debug invoke",
        "meltano el",
        "meltano --cwd project elt",
        "meltano schedule run",
        "meltano --no-environment run",
        "meltano select --list",
        "meltano config test",
        "meltano test",
        "meltano invoke",
        "meltano run",
    ]


@pytest.mark.locked_sdk
def test_copies_of_the_settings_are_generated() -> None:
    script = ROOT / "docs" / "make_settings.py"
    files: dict[Path, str] = runpy.run_path(str(script))["files"]()
    outdated = {path for path, text in files.items() if path.read_text("utf-8") != text}
    assert outdated == set(), f"run {script}"
