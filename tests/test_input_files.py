"""Files of catalogs and states: encodings, nesting, and what is neither."""

from __future__ import annotations

import codecs
import contextlib
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import discover, examples, read_messages, select
from tests.helpers.cli import Here
from tests.helpers.stand_in import StandIn, sales, sales_row
from tests.helpers.values import anything

if TYPE_CHECKING:
    import subprocess

    from tests.conftest import RunCli, Serve


def refused(
    run_cli: RunCli, folder: Path, option: str, text: str
) -> subprocess.CompletedProcess[str]:
    """Hand a file with this text to the tap, which refuses it without a word on stdout."""
    path = folder / "input.json"
    path.write_text(text)
    result = run_cli({"demo": True}, option, str(path))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert not result.stdout
    return result


@pytest.mark.parametrize("option", ["--state", "--catalog"])
@pytest.mark.parametrize(
    "text",
    [
        "{",
        "5",
        '{"streams":5,"bookmarks":5}',
        '{"streams":[5],"bookmarks":{"providers":5}}',
        pytest.param('{"streams":[{"tap_stream_id":"providers"}],"bookmarks":[]}', id="no schema"),
    ],
)
def test_file_that_is_not_a_catalog_or_state_is_reported_in_one_line(
    run_cli: RunCli, tmp_path: Path, option: str, text: str
) -> None:
    result = refused(run_cli, tmp_path, option, text)
    assert f"The {option[2:]} " in result.stderr


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("levels", [150, 400, 900, 3_000, 100_000])
@pytest.mark.parametrize(
    ("option", "begin", "end"),
    [
        ("--state", '{"bookmarks":{"providers":{"x":', "}}}"),
        ("--catalog", '{"streams":[],"x":', "}"),
        ("--config", '{"demo":true,"stream_maps":{"x":', "}}"),
        ("--config", '{"demo":true,"x":', "}"),
    ],
)
def test_deeply_nested_file_is_refused_in_one_sentence(
    run_cli: RunCli, tmp_path: Path, option: str, begin: str, end: str, levels: int
) -> None:
    result = refused(run_cli, tmp_path, option, f"{begin}{nested(levels)}{end}")
    assert "it is nested more than 100 levels deep" in result.stderr


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--config", '{"demo":true,"filters":{"a":"x"},"filters":{}}'),
        ("--config", '{"demo":true,"filters":{"filters":"x","a":"y","filters":"y"}}'),
        ("--catalog", '{"streams":[],"x":[{"filters":1,"a":1,"filters":1}]}'),
        ("--state", '{"bookmarks":{"filters":{},"filters":{}}}'),
    ],
)
def test_duplicate_name_in_an_object_is_refused(
    run_cli: RunCli, tmp_path: Path, option: str, text: str
) -> None:
    result = refused(run_cli, tmp_path, option, text)
    assert "it has 'filters' twice in one object" in result.stderr


@pytest.mark.parametrize("levels", [60, 400, 900])
@pytest.mark.parametrize("option", [(), ("--check",)])
def test_catalog_with_deeply_nested_columns_is_refused(
    run_cli: RunCli, tmp_path: Path, levels: int, option: tuple[str, ...]
) -> None:
    path = tmp_path / "catalog.json"
    schema = '{"properties":{"A":' * levels + "{}" + "}}" * levels
    path.write_text(f'{{"streams":[{{"tap_stream_id":"a","schema":{schema}}}]}}')
    result = run_cli({"demo": True}, "--catalog", str(path), *option)
    assert result.returncode == 1
    assert "The catalog is not valid JSON (it is nested more than 100" in result.stderr


@pytest.mark.parametrize("option", ["--state", "--catalog"])
def test_file_in_another_encoding_is_reported_in_one_line(
    run_cli: RunCli, tmp_path: Path, option: str
) -> None:
    path = tmp_path / "input.json"
    path.write_bytes('{"é": 1}'.encode("latin-1"))
    result = run_cli({"demo": True}, option, str(path))
    assert result.returncode == 1
    assert f"The {option[2:]} is not valid JSON" in result.stderr
    assert "neither UTF-8 nor UTF-16" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_files_may_be_in_any_encoding_of_unicode(
    serve: Serve, run_cli: RunCli, tmp_path: Path, encoding: str
) -> None:
    tenant = StandIn(sales(sales_row(1)))
    config = {**serve(tenant), "filters": {"sales_fact_data": "Version eq 'Übertrag 一'"}}
    files = {
        "config": config,
        "catalog": select(discover(config), "sales_fact_data"),
        "state": {"bookmarks": {"sales_fact_data": {"version": 9 * 10**15, "filter": "Ü"}}},
    }
    arguments = []
    for name, content in files.items():
        path = tmp_path / f"the_{name}.json"
        text = json.dumps(content, ensure_ascii=False, indent=2)
        path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
        arguments += [f"--{name}", str(path)]
    result = run_cli(None, *arguments)
    assert result.returncode == 0, result.stderr
    messages = read_messages(result.stdout)
    assert messages.streams == ["sales_fact_data"]
    assert messages.of("sales_fact_data")[-1]["version"] == 9 * 10**15 + 1
    assert "from Ü to Version eq 'Übertrag 一'" in result.stderr
    assert "%C3%9Cbertrag%20%E4%B8%80" in tenant.reads("/FactData")[-1]


@pytest.mark.parametrize("option", ["--config", "--catalog", "--state"])
@pytest.mark.parametrize("data", [b"", b" \r\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_empty_file_is_reported(run_cli: RunCli, tmp_path: Path, option: str, data: bytes) -> None:
    path = tmp_path / "input.json"
    path.write_bytes(data)
    result = run_cli({"demo": True}, option, str(path))
    assert result.returncode == 1
    assert "it is empty" in result.stderr
    assert "Traceback" not in result.stderr


encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"])


@settings(max_examples=examples(200))
@given(
    option=st.sampled_from(["--config", "--catalog", "--state"]),
    data=st.binary()
    | st.builds(
        lambda content, encoding: json.dumps(content, ensure_ascii=False).encode(
            encoding, "replace"
        ),
        anything | st.dictionaries(st.sampled_from(["streams", "bookmarks"]), anything),
        encodings,
    ),
)
def test_any_file_is_accepted_or_refused_in_one_sentence(option: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input.json"
        path.write_bytes(data)
        result = Here(Path(folder)).run({}, option, str(path), log_level="ERROR")
    # What is taken ends with the settings, none of which is there.
    assert result.returncode == 1
    assert re.search(rf"The {option[2:]} |A --config file |The setting \w+ is", result.stderr)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("option", [[], ["--check"]])
@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"singer_state": {"bookmarks": {}}}, "meltano state get' prints: use only what is in si"),
        ({"singer_state": {}}, "meltano state get"),
        ({"type": "STATE", "value": {"bookmarks": {}}}, "STATE message: use only its value"),
        ({"completed": {"singer_state": {"bookmarks": {}}}, "partial": {}}, "Meltano's own state"),
        ({"completed": {}}, "Meltano's own state file: use only the singer_state that 'meltano"),
        ({"partial": {"singer_state": {"bookmarks": {}}}}, "Meltano's own state file"),
        ({"currently_syncing": None}, "has currently_syncing but no bookmarks: use the value of"),
        ({"a\n2026 | ERROR | x": {}, "b": 1}, "has a 2026 | ERROR | x, b but no bookmarks: use"),
        ({"sales_fact_data": {"version": 1}}, "has sales_fact_data but no bookmarks: use the val"),
    ],
)
def test_state_without_bookmarks_is_refused_by_its_likely_origin(
    run_cli: RunCli, tmp_path: Path, option: list[str], state: dict[str, Any], told: str
) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps(state))
    result = run_cli({"demo": True}, "--state", str(path), *option)
    assert result.returncode == 1
    assert "no bookmarks" in result.stderr
    assert told in result.stderr
    assert not result.stdout


@given(st.dictionaries(st.text(max_size=5), st.none() | st.text(max_size=5) | st.booleans()))
@example({"type": "STATE"})
def test_only_an_empty_state_has_no_bookmarks(state: dict[str, Any]) -> None:
    refused = pytest.raises(SACError, match=r"^The state has .*no bookmarks")
    with refused if state else contextlib.nullcontext():
        TapSAC(config={"demo": True, "models": ["Budget"]}, state=state, setup_mapper=False)


def test_empty_state_is_accepted_as_a_first_run(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    path.write_text("{}")
    result = run_cli(serve(StandIn(sales(sales_row(1)))), "--state", str(path))
    assert result.returncode == 0
    assert len(read_messages(result.stdout).records("sales_fact_data")) == 1
