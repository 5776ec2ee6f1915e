"""The settings, as --about, Meltano's definition of the tap and docs/settings.md show them."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tap_sac.discovery.naming import snake_case
from tap_sac.sac.export.kinds import KINDS
from tests.helpers.own_settings import OWN, SETTINGS
from tests.helpers.projects import definition

if TYPE_CHECKING:
    from tests.conftest import RunCli

ROOT = Path(__file__).parent.parent


def meltano_settings() -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in definition()["settings"]}


def documented_settings() -> dict[str, list[str]]:
    """Return the cells of the settings table, by setting."""
    text = (ROOT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


def test_the_same_settings_everywhere() -> None:
    assert list(OWN) == list(documented_settings())
    assert list(SETTINGS) == list(meltano_settings())


@pytest.mark.parametrize("name", OWN)
def test_each_setting_is_documented(name: str) -> None:
    schema, (kind, default, meaning) = OWN[name], documented_settings()[name]
    assert schema["description"] == meaning.replace("`", "")
    assert default.strip("`") == json.dumps(schema.get("default", "")).strip('"')
    options = ", ".join(f"`{option}`" for option in schema.get("enum", ()))
    assert kind == ("secret" if schema.get("secret") else options or json_type(schema))


@pytest.mark.locked_sdk
@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_described_to_meltano(name: str) -> None:
    schema, meltano = SETTINGS[name], meltano_settings()[name]
    assert meltano["label"] == schema["title"]
    assert meltano["description"] == schema["description"]
    assert meltano.get("value") == schema.get("default")
    assert meltano.get("sensitive", False) == schema.get("secret", False)
    options = [option["value"] for option in meltano.get("options", [])]
    assert options == schema.get("enum", [])
    is_date = schema.get("format") == "date-time"
    expected = "options" if options else "date_iso8601" if is_date else json_type(schema)
    assert meltano["kind"] == expected


def json_type(schema: dict[str, Any]) -> str:
    (name,) = set(schema["type"]) - {"null"}
    return str(name)


def test_meltano_yml_leaves_the_settings_to_the_generated_definition() -> None:
    (tap,) = yaml.safe_load((ROOT / "meltano.yml").read_text())["plugins"]["extractors"]
    plugin = definition()
    assert tap == {"name": plugin["name"], "variant": plugin["variant"], "pip_url": "-e ."}


def test_meltano_installs_the_release_once_there_is_one() -> None:
    source, _, pinned_to = definition()["pip_url"].rpartition("@")
    tag = f"v{version('tap-sac')}"
    git = ["git", "tag", "--list", "v*"]
    tags = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout  # noqa: S603
    assert source == "git+https://github.com/tap-sac/tap-sac.git"
    # A copy without tags, such as a source distribution, may be of a release.
    assert pinned_to == tag if tags else pinned_to in {"main", tag}


def test_meltano_requires_what_the_tap_requires(run_cli: RunCli) -> None:
    sample, tenant = definition()["settings_group_validation"]
    assert sample == ["demo"]
    log = run_cli({}, "--discover").stderr
    assert [name for name in OWN if f"The setting {name} is missing" in log] == tenant


def test_about_shows_each_setting_with_title_description_and_default(run_process: RunCli) -> None:
    result = run_process(None, "--about", "--format", "json")
    assert result.returncode == 0, result.stderr
    about = json.loads(result.stdout)
    assert about["description"]
    shown = about["settings"]["properties"]
    for name, schema in OWN.items():
        assert shown[name]["title"]
        assert shown[name]["description"]
        assert shown[name].get("default") == schema.get("default")
    secrets = ["client_id", "client_secret", "refresh_token"]
    assert [name for name in OWN if shown[name].get("secret")] == secrets


@pytest.mark.locked_sdk
def test_meltano_knows_what_the_tap_can_do(run_cli: RunCli) -> None:
    about = json.loads(run_cli({}, "--about", "--format", "json").stdout)
    # The SDK has no names for two things that the tap can do.
    assert set(definition()["capabilities"]) == {*about["capabilities"], "log-based", "test"}


def test_meltano_excludes_streams_not_selected_by_default() -> None:
    left_out = {snake_case(kind.pattern) for kind in KINDS if not kind.is_selected}
    assert left_out == {
        "master_data",
        "fact_data_aggregation",
        "fact_data_difference",
        "audit_data",
        "distinct",
    }
    selected, *excluded = definition()["select"]
    assert selected == "*.*"
    assert set(excluded) == {f"!*_{name}.*" for name in left_out}
    command = "meltano config set tap-sac _select "
    readme = (ROOT / "README.md").read_text("utf-8")
    (select,) = re.findall(f"{command}'(.*)'", readme)
    assert json.loads(select) == [selected, *excluded]
