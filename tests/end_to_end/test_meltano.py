"""The definition of the tap: Meltano accepts it, and adds it to a project as the README says."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
import yaml
from jsonschema import Draft202012Validator
from uv import find_uv_bin

from tests.helpers.projects import (
    ROOT,
    definition,
    meltano,
    meltano_yml,
)
from tests.helpers.warehouse import (
    FIRST_MONTH,
    expected_tables,
    read_csv,
    tables_of_the_first_month,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.end_to_end

ADDRESS = "https://raw.githubusercontent.com/tap-sac/tap-sac/main/plugins/extractors/tap-sac--tap-sac.lock"
# A project lists its plugins by type.
PLUGIN = {name: value for name, value in definition().items() if name != "plugin_type"}
PRINT_SCHEMA = """
from importlib.resources import files
print(files("meltano.schemas").joinpath("meltano.schema.json").read_text("utf-8"))
"""


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """Take the schema of meltano.yml out of the Meltano that the tests run."""
    result = subprocess.run(  # noqa: S603
        [find_uv_bin(), "tool", "run", "--from", "meltano", "python", "-c", PRINT_SCHEMA],
        capture_output=True,
        text=True,
        check=True,
    )
    return Draft202012Validator(json.loads(result.stdout))


@pytest.mark.parametrize(
    "project",
    [meltano_yml(), {"plugins": {"extractors": [PLUGIN]}}],
    ids=["meltano.yml", "definition"],
)
def test_meltano_accepts_every_field(schema: Draft202012Validator, project: dict[str, Any]) -> None:
    assert [f"{error.json_path}: {error.message}" for error in schema.iter_errors(project)] == []


@pytest.fixture(scope="module")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project, and add the tap by the README's commands and a target that runs here."""
    folder = tmp_path_factory.mktemp("new")
    project = folder / "project"
    meltano(folder, "init", "--no-usage-stats", "project")
    (target,) = (
        item for item in meltano_yml()["plugins"]["loaders"] if item["name"] == "target-csv"
    )
    (folder / "target.yml").write_text(yaml.safe_dump(target))
    (folder / "tap.lock").write_text(json.dumps({**definition(), "pip_url": f"-e {ROOT}"}))
    blocks = re.findall(
        r"^```bash\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (commands,) = (block for block in blocks if ADDRESS in block)
    for command in commands.replace(ADDRESS, "../tap.lock").splitlines():
        assert command.startswith("uvx meltano ")
        if "target-postgres" not in command:  # Its definition is on Meltano's hub.
            meltano(project, *shlex.split(command)[2:])
    meltano(project, "add", "--from-ref=../target.yml", "target-csv")
    return project


def extractor(project: Path) -> dict[str, Any]:
    # Meltano writes YAML 1.2, in which off is a word, and PyYAML reads YAML 1.1.
    text = re.sub(r"(?im): (off)(?=[,}]|$)", r": '\1'", (project / "meltano.yml").read_text())
    (extractor,) = yaml.safe_load(text)["plugins"]["extractors"]
    return dict(extractor)


def test_a_new_project_gets_the_whole_definition(new_project: Path) -> None:
    added = extractor(new_project)
    assert {name: added.get(name) for name in PLUGIN} == {**PLUGIN, "pip_url": f"-e {ROOT}"}


def test_a_new_project_reads_the_sample_tenant(new_project: Path) -> None:
    meltano(new_project, "config", "set", "tap-sac", "demo", "true")
    assert extractor(new_project)["config"]["demo"] is True
    meltano(
        new_project,
        *("run", "tap-sac", "target-csv"),
        TAP_SAC_FILTERS=json.dumps(FIRST_MONTH),
        TARGET_CSV_OUTPUT_PATH="output",
    )
    files = (new_project / "output").glob("*.csv")
    loaded = {path.stem: len(read_csv(path)) for path in files}
    assert loaded.pop("providers")
    tables = tables_of_the_first_month()
    assert loaded == {name: len(table.rows) for name, table in tables.items()}


def test_new_project_accepts_objects_as_json(new_project: Path) -> None:
    stream = "sales_planning_fact_data"
    maps = {stream: {"REVENUE": "__NULL__", "YEAR": "Date[:4]"}}
    meltano(new_project, "config", "set", "tap-sac", "stream_maps", json.dumps(maps))
    assert extractor(new_project)["config"]["stream_maps"] == maps
    files = new_project / "files"
    files.mkdir()
    batches = {
        "encoding": {"format": "jsonl", "compression": "gzip"},
        "storage": {"root": files.as_uri()},
    }
    output = meltano(
        new_project,
        "invoke",
        "tap-sac",
        TAP_SAC_DEMO="true",
        TAP_SAC_MODELS='["Sales Planning"]',
        TAP_SAC_BATCH_CONFIG=json.dumps(batches),
    )
    messages = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert "RECORD" not in {message["type"] for message in messages}
    (batch,) = (
        message
        for message in messages
        if message["type"] == "BATCH" and message["stream"] == stream
    )
    assert batch["encoding"] == batches["encoding"]
    (file,) = batch["manifest"]
    with gzip.open(url2pathname(urlsplit(file).path)) as lines:
        rows = [json.loads(line) for line in lines]
    assert len(rows) == len(expected_tables()[stream].rows)
    for row in rows:
        assert row["YEAR"] == row["Date"][:4]
        assert "REVENUE" not in row
