"""Write everything that repeats the settings: ``python docs/make_settings.py``.

That is the plugin's definition for Meltano, the table in settings.md, and the default selection in
the README; and, on the page of SAC's facts, the beliefs that a report compares a tenant with.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

from tap_sac.discovery.naming import snake_case
from tap_sac.report.questions import QUESTIONS
from tap_sac.sac.export.kinds import KINDS
from tap_sac.settings import REQUIRED

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "settings.md"
README = ROOT / "README.md"
FACTS = ROOT / "docs" / "internals" / "sac-export-service.md"
# What Meltano installs: once there is one, the tag of the version, such as v0.1.0.
PINNED_TO = "main"
# Meltano finds it by this path, and reads JSON wherever it reads YAML.
DEFINITION = ROOT / "plugins" / "extractors" / "tap-sac--tap-sac.lock"

_TABLE = re.compile(r"(\| Setting \| Kind \|.*\n\| -.*\n)(?:\|.*\n)+")
_BELIEFS = re.compile(r"(\| Question \| Part \|.*\n\| -.*\n)(?:\|.*\n)*")
_SELECTION = re.compile(r"(?<=_select ')[^']*")
# Written as code: JSON, parts of addresses, and namespaces.
_CODE = re.compile(r"\{\"[^}]*\}|<tenant>\S*[^\s,.]|\bsac_\w+")
_OF_THE_SDK = re.compile("stream_map|faker_config|flattening_|batch_config")
# Entity sets that repeat others, or that few need, are not selected by default.
SELECT = ["*.*", *(f"!*_{snake_case(kind.pattern)}.*" for kind in KINDS if not kind.is_selected)]


def about() -> dict[str, Any]:
    """Return the tap's description of itself."""
    command = [sys.executable, "-m", "tap_sac", "--about", "--format=json"]
    result = subprocess.run(command, capture_output=True, check=True)  # noqa: S603
    described: dict[str, Any] = json.loads(result.stdout)
    return described


def json_type(schema: dict[str, Any]) -> str:
    """Return the one type of a setting, besides null."""
    (name,) = {*schema["type"]} - {"null"}
    return str(name)


def meltano_setting(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Declare a setting to Meltano."""
    setting: dict[str, Any] = {"name": name, "kind": json_type(schema)}
    if schema.get("format") == "date-time":
        setting["kind"] = "date_iso8601"
    if options := schema.get("enum"):
        labels = [option.replace("_", " ").capitalize() for option in options]
        pairs = zip(labels, options, strict=True)
        setting |= {
            "kind": "options",
            "options": [{"label": label, "value": value} for label, value in pairs],
        }
    if "default" in schema:
        setting["value"] = schema["default"]
    if schema.get("secret"):
        setting["sensitive"] = True
    return {**setting, "label": schema["title"], "description": schema["description"]}


def definition(described: dict[str, Any]) -> dict[str, Any]:
    """Return the definition that `meltano install` and `meltano add --from-ref` read."""
    urls = dict(url.split(", ") for url in metadata("tap-sac").get_all("Project-URL", []))
    return {
        "plugin_type": "extractors",
        "name": "tap-sac",
        "namespace": "tap_sac",
        "variant": "tap-sac",
        "label": "SAP Analytics Cloud",
        "description": "Planning models of SAP Analytics Cloud, via its Data Export Service",
        "docs": urls["Documentation"],
        "repo": urls["Source"],
        "pip_url": f"git+{urls['Source']}.git@{PINNED_TO}",
        "executable": "tap-sac",
        # The SDK has no names for the last two.
        "capabilities": sorted({*described["capabilities"], "log-based", "test"}),
        "settings_group_validation": [["demo"], [*REQUIRED]],
        "settings": [
            meltano_setting(name, schema)
            for name, schema in described["settings"]["properties"].items()
        ],
        "select": SELECT,
    }


def row(name: str, schema: dict[str, Any]) -> str:
    """Write a setting as a row of the table."""
    default = schema.get("default")
    shown = "" if default is None else json.dumps(default).strip('"')
    options = ", ".join(f"`{option}`" for option in schema.get("enum", ()))
    cells = [
        f"`{name}`",
        options or ("secret" if schema.get("secret") else json_type(schema)),
        f"`{shown}`" if shown else "",
        _CODE.sub(lambda code: f"`{code[0]}`", schema["description"]),
    ]
    return f"| {' | '.join(cells)} |\n".replace("|  |", "| |")


def beliefs() -> str:
    """Write what is believed as rows of a table, one for parts that are alike."""
    rows = ""
    for name, _, _, parts, _ in QUESTIONS:
        shown = name
        for (believed, mark), alike in groupby(parts.items(), key=lambda item: item[1][1:]):
            names = ", ".join(part for part, _ in alike)
            rows += f"| {shown} | {names} | {f'`{believed}`' if believed else ''} | {mark} |\n"
            shown = ""
    return rows.replace("|  |", "| |").replace("|  |", "| |")


def files() -> dict[Path, str]:
    """Return the new text of each file."""
    described = about()
    properties = described["settings"]["properties"]
    rows = "".join(
        row(name, schema) for name, schema in properties.items() if not _OF_THE_SDK.match(name)
    )
    page, readme, facts = (path.read_text(encoding="utf-8") for path in (PAGE, README, FACTS))
    return {
        DEFINITION: json.dumps(definition(described), indent=2) + "\n",
        PAGE: _TABLE.sub(lambda table: table[1] + rows, page),
        FACTS: _BELIEFS.sub(lambda table: table[1] + beliefs(), facts),
        README: _SELECTION.sub(lambda _: json.dumps(SELECT), readme),
    }


def main() -> None:
    """Write the files."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
