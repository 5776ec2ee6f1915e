"""The settings, as tap.py, meltano.yml, docs/settings.md and --about show them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tap_sac.naming import snake_case
from tap_sac.sac.kinds import KINDS
from tap_sac.tap import TapSAC

if TYPE_CHECKING:
    from tests.conftest import RunCli

ROOT = Path(__file__).parent.parent
PROPERTIES: dict[str, dict[str, Any]] = TapSAC.config_jsonschema["properties"]
OF_THE_SDK = {
    "batch_config",
    "faker_config",
    "flattening_enabled",
    "flattening_max_depth",
    "flattening_max_key_length",
    "flattening_separator",
    "stream_map_config",
    "stream_maps",
}
OWN = {name: schema for name, schema in PROPERTIES.items() if name not in OF_THE_SDK}


def meltano_settings() -> dict[str, dict[str, Any]]:
    project = yaml.safe_load((ROOT / "meltano.yml").read_text())
    (extractor,) = project["plugins"]["extractors"]
    return {item["name"]: item for item in extractor["settings"]}


def documented_settings() -> dict[str, list[str]]:
    """Return the cells of the settings table, by setting."""
    text = (ROOT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


def test_the_same_settings_everywhere() -> None:
    assert list(OWN) == list(meltano_settings()) == list(documented_settings())


@pytest.mark.parametrize("name", OWN)
def test_each_setting_is_described_alike(name: str) -> None:
    schema, meltano, (kind, default, meaning) = (
        OWN[name],
        meltano_settings()[name],
        documented_settings()[name],
    )
    assert meltano["label"] == schema["title"]
    assert meltano["description"] == schema["description"] == meaning.replace("`", "")
    assert meltano.get("value") == schema.get("default")
    assert default.strip("`") == json.dumps(schema.get("default", "")).strip('"')
    assert meltano.get("sensitive", False) == schema.get("secret", False)
    options = [option["value"] for option in meltano.get("options", [])]
    assert options == schema.get("enum", [])
    (json_type,) = set(schema["type"]) - {"null"}
    assert kind == ("secret" if schema.get("secret") else json_type)
    is_date = schema.get("format") == "date-time"
    assert meltano["kind"] == ("options" if options else "date_iso8601" if is_date else json_type)


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


def test_meltano_leaves_out_what_is_not_selected_by_default() -> None:
    project = yaml.safe_load((ROOT / "meltano.yml").read_text())
    (extractor,) = project["plugins"]["extractors"]
    left_out = {snake_case(kind.pattern) for kind in KINDS if not kind.is_selected}
    assert left_out == {
        "master_data",
        "fact_data_aggregation",
        "fact_data_difference",
        "audit_data",
        "distinct",
    }
    assert extractor["select"][0] == "*.*"
    assert set(extractor["select"][1:]) == {f"!*_{name}.*" for name in left_out}
