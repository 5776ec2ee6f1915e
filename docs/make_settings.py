"""Write the table of settings.md from ``tap-sac --about``: ``python docs/make_settings.py``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("settings.md")

_TABLE = re.compile(r"(\| Setting \| Kind \|.*\n\| -.*\n)(?:\|.*\n)+")
# What is written as code: JSON, parts of addresses, and namespaces.
_CODE = re.compile(r"\{\"[^}]*\}|<tenant>\S*[^\s,.]|\bsac_\w+")
_OF_THE_SDK = re.compile("stream_map|faker_config|flattening_|batch_config")


def settings() -> dict[str, dict[str, Any]]:
    """Return the settings of the tap itself, as it describes them."""
    command = [sys.executable, "-m", "tap_sac", "--about", "--format=json"]
    about = subprocess.run(command, capture_output=True, check=True)  # noqa: S603
    properties: dict[str, dict[str, Any]] = json.loads(about.stdout)["settings"]["properties"]
    return {name: item for name, item in properties.items() if not _OF_THE_SDK.match(name)}


def row(name: str, schema: dict[str, Any]) -> str:
    """Write a setting as a row of the table."""
    (kind,) = {*schema["type"]} - {"null"}
    default = schema.get("default")
    shown = "" if default is None else json.dumps(default).strip('"')
    cells = [
        f"`{name}`",
        "secret" if schema.get("secret") else kind,
        f"`{shown}`" if shown else "",
        _CODE.sub(lambda code: f"`{code[0]}`", schema["description"]),
    ]
    return f"| {' | '.join(cells)} |\n".replace("|  |", "| |")


def main() -> None:
    """Write the page anew."""
    rows = "".join(row(name, schema) for name, schema in settings().items())
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_TABLE.sub(lambda table: table[1] + rows, page), encoding="utf-8")


if __name__ == "__main__":
    main()
