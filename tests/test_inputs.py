"""Catalogs and states from strangers: a result, or one sentence."""

from __future__ import annotations

import codecs
import contextlib
import copy
import json
import re
import tempfile
from datetime import timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tap_sac.demo.service import Response
from tap_sac.sac.errors import CSDLError, DeltaLostError, SACError
from tap_sac.sac.odata.csdl import read_csdl
from tap_sac.sac.odata.entity_ids import EntityIds
from tap_sac.streams.state import StreamState
from tap_sac.tap import TapSAC
from tests.conftest import discover, examples, read_messages, select, served, sync
from tests.helpers.cli import Here
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, sales, sales_row

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.conftest import RunCli, Serve

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


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
def test_file_that_is_no_catalog_or_state_is_reported_in_one_line(
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
def test_name_that_is_twice_in_an_object_is_refused(
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
    assert re.search(
        rf"The {option[2:]} |A file that --config names |The setting \w+ is", result.stderr
    )
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


COLUMN = {"type": "string"}


def entry(**changes: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"A": COLUMN}}
    return {"tap_stream_id": "providers", "schema": schema, **changes}


def column(**schema: Any) -> dict[str, Any]:
    return entry(schema={"properties": {"A": schema}})


@pytest.mark.parametrize(
    "catalog_entry",
    [
        entry(key_properties=5),
        entry(key_properties=[1, "x"]),
        entry(metadata=[{"breadcrumb": [], "metadata": {"table-key-properties": [["a"]]}}]),
        entry(replication_method=5),
        column(type=5),
        column(type=[["x"]]),
        column(type="string", format=[]),
        column(type="array", items=5),
        column(type="object", properties=[1]),
        column(anyOf=False),
        column(type="\ud800"),
        entry(schema={"properties": {}, "items": 5}),
        entry(replication_key=[1]),
    ],
)
def test_malformed_catalog_is_refused(catalog_entry: dict[str, Any]) -> None:
    with pytest.raises(SACError, match=r"^The catalog "):
        TapSAC(config={"demo": True}, catalog={"streams": [catalog_entry]})


@pytest.mark.parametrize(
    "bookmark",
    [
        {"progress_markers": "x"},
        {"progress_markers": None},
        {"partitions": 5},
        {"partitions": [{}]},
        {"delta_link": "\ud800"},
    ],
)
def test_malformed_state_is_refused(bookmark: dict[str, Any]) -> None:
    with pytest.raises(SACError, match=r"^The state "):
        TapSAC(config={"demo": True}, state={"bookmarks": {"providers": bookmark}})


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
@pytest.mark.parametrize("keeps", [None, "columns", "nothing"])
def test_streams_without_a_selection_in_the_catalog_are_selected(
    serve: Serve, keeps: str | None, method: str
) -> None:
    config = {**serve(StandIn(sales(sales_row(1)))), "default_replication_method": method}
    catalog = select(discover(config), "sales_fact_data")
    for item in catalog["streams"]:
        item["metadata"] = [part for part in item["metadata"] if part["breadcrumb"] and keeps]
        if keeps is None:
            del item["metadata"]
        elif keeps == "nothing":
            item["metadata"] = []
    (record,) = sync(config, catalog).records("sales_fact_data")
    assert record["AMOUNT"] == "1.0000000"


NOT_SAID = object()
ROOTS = [
    pytest.param(None, id="no metadata"),
    pytest.param({"inclusion": "available"}, id="nothing said"),
    pytest.param({"selected": None}, id="null"),
    pytest.param({"selected": True}, id="selected"),
    pytest.param({"selected": False}, id="deselected"),
    pytest.param({"selected-by-default": True}, id="by default"),
    pytest.param({"selected-by-default": False}, id="not by default"),
]


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("beside", [NOT_SAID, None, True, False])
def test_metadata_overrides_the_selection_in_the_catalog_entry(
    serve: Serve, root: dict[str, Any] | None, beside: object
) -> None:
    config = serve(StandIn(sales(sales_row(1))))
    item = discover(config)["sales_fact_data"]
    item["metadata"] = [] if root is None else [{"breadcrumb": [], "metadata": root}]
    if beside is not NOT_SAID:
        item["selected"] = beside
    said = (root or {}).get("selected")
    if said is None:
        said = None if beside is NOT_SAID else beside
    if said is None:
        said = root is None or root.get("selected-by-default", False)
    messages = sync(config, {"streams": [item]})
    assert len(messages.records("sales_fact_data")) == (1 if said else 0)


not_a_choice = st.text(max_size=9) | st.integers(-9, 9) | st.lists(st.booleans(), max_size=2)


@given(
    value=not_a_choice,
    place=st.sampled_from(["the stream", "the column AMOUNT of the stream", "beside"]),
)
@example("true", "the stream")
@example(0, "the column AMOUNT of the stream")
@example("", "beside")
def test_selection_that_is_neither_true_nor_false_is_refused_by_name(
    value: object, place: str
) -> None:
    item = entry(metadata=[])
    breadcrumb = ["properties", "AMOUNT"] if "column" in place else []
    if place == "beside":
        item["selected"] = value
    else:
        item["metadata"] = [{"breadcrumb": breadcrumb, "metadata": {"selected": value}}]
    with pytest.raises(SACError) as caught:
        TapSAC(config={"demo": True}, catalog={"streams": [item]})
    told = str(caught.value)
    assert told.startswith("The catalog has selected: ")
    assert f" for {place.replace('beside', 'the stream')} providers, which is neither" in told
    assert told.isprintable()


@pytest.mark.parametrize("option", [[], ["--check"]])
def test_quoted_selection_is_reported_in_one_line(
    serve: Serve, run_cli: RunCli, tmp_path: Path, option: list[str]
) -> None:
    config = serve(StandIn(sales(sales_row(1))))
    catalog = select(discover(config), "sales_fact_data")
    catalog["streams"][-1]["metadata"][-1]["metadata"]["selected"] = "true"
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(catalog))
    result = run_cli(config, "--catalog", str(path), *option)
    assert result.returncode == 1
    assert 'selected: "true" for the stream sales_fact_data' in result.stderr
    assert not result.stdout


def catalogs_of_nothing(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"streams": []}
    yield copy.deepcopy(select(found))
    for item in found.values():
        item.update(metadata=[], selected=False)
    yield {"streams": list(found.values())}


def test_catalog_that_selects_nothing_is_a_warning_and_fails_the_check(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    config = serve(StandIn(sales(sales_row(1))))
    path = tmp_path / "catalog.json"
    for catalog in catalogs_of_nothing(discover(config)):
        path.write_text(json.dumps(catalog))
        result = run_cli(config, "--catalog", str(path))
        assert result.returncode == 0
        assert not read_messages(result.stdout).streams
        assert result.stderr.count("The catalog selects no stream, so nothing is read") == 1
        result = run_cli(config, "--catalog", str(path), "--check")
        assert result.returncode == 1
        failed = result.stdout.splitlines()[-1]
        assert failed.startswith("FAILED  rows: The catalog selects no stream")
        assert "set selected to true" in failed


def test_catalog_that_selects_something_is_no_warning(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    config = serve(StandIn(sales(sales_row(1))))
    path = tmp_path / "catalog.json"
    found = discover(config)
    for stream in found:
        path.write_text(json.dumps(select(found, stream)))
        result = run_cli(config, "--catalog", str(path))
        assert read_messages(result.stdout).streams == [stream]
        assert "selects no stream" not in result.stderr


@pytest.mark.parametrize(
    ("number", "also", "option"),
    [
        *[(1, (), []), (1, ("providers",), ["--check"])],
        *[(30, (), ["--check"]), (30, ("providers",), [])],
    ],
)
def test_catalog_without_a_stream_of_the_chosen_models_is_reported(
    serve: Serve,
    run_cli: RunCli,
    tmp_path: Path,
    number: int,
    also: tuple[str, ...],
    option: list[str],
) -> None:
    models = [
        sales(sales_row(1), model_id=f"C4{index}", name=f"Plan {index:02}")
        for index in range(number)
    ]
    other = sales(sales_row(1), model_id="C4B", name="Other")
    config = {**serve(StandIn(*models, other)), "models": ["Plan*"]}
    found = discover(config)
    catalog = select(found, *also, *(name for name in found if name != "providers"))
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(catalog))
    arguments = ["--catalog", str(path), *option]
    assert run_cli(config, *arguments).returncode == 0
    result = run_cli({**config, "models": ["Other"]}, *arguments)
    assert result.returncode == 1
    assert "RECORD" not in result.stdout
    (told,) = [
        line
        for line in (result.stdout + result.stderr).splitlines()
        if "does not offer: plan_00_fact_data" in line
    ]
    assert "--refresh-catalog" in told
    assert ("plan_09_fact_data and 20 more" in told) == (number == 30)


def test_stream_with_another_name_in_the_catalog_is_found_by_its_id(serve: Serve) -> None:
    config = serve(StandIn(sales(sales_row(1))))
    catalog = select(discover(config), "sales_fact_data")
    for item in catalog["streams"]:
        item["stream"] = f"my_{item['tap_stream_id']}"
    assert len(sync(config, catalog).records("sales_fact_data")) == 1


def test_audit_data_is_incremental_without_a_replication_key_in_the_catalog(
    serve: Serve,
) -> None:
    columns = {"Audit_Time": "Edm.DateTimeOffset*"}
    row = '{"Audit_Time":"2026-11-02T05:12:44.123Z"}'
    config = serve(StandIn(Model("C4A", "A", edmx(AuditData=columns), {"AuditData": [row]})))
    catalog = select(discover(config), "a_audit_data")
    for item in catalog["streams"]:
        item.pop("replication_key", None)
        for part in item["metadata"]:
            part["metadata"].pop("replication-key", None)
    messages = sync(config, catalog)
    assert messages.state["bookmarks"]["a_audit_data"]["replication_key"] == "Audit_Time"


def test_bookmark_of_audit_data_that_is_no_time_is_refused(serve: Serve) -> None:
    columns = {"Audit_Time": "Edm.DateTimeOffset*"}
    row = '{"Audit_Time":"2026-11-02T05:12:44.123Z"}'
    config = serve(StandIn(Model("C4A", "A", edmx(AuditData=columns), {"AuditData": [row]})))
    catalog = select(discover(config), "a_audit_data")
    for value in ("yesterday", 5, "0001-01-01T00:00:00+01:00"):
        state = {"bookmarks": {"a_audit_data": {"replication_key_value": value}}}
        with pytest.raises(SACError, match="a_audit_data has no time"):
            sync(config, catalog, state)


times = st.datetimes(timezones=st.just(timezone.utc)).map(
    lambda time: time.isoformat().replace("+00:00", "Z")
)


@settings(max_examples=examples(60))
@given(older=times | st.text(max_size=9) | st.integers(), has_newer=st.booleans())
@example(older="2026-11-01T00:00:00Z", has_newer=False)
def test_bookmark_in_singers_older_format_is_ignored_and_the_new_one_shown(
    older: object, *, has_newer: bool
) -> None:
    columns = {"Audit_Time": "Edm.DateTimeOffset*"}
    model = Model("C4A", "A", edmx(AuditData=columns), {"AuditData": []})
    bookmark: dict[str, Any] = {"Audit_Time": older}
    if has_newer:
        bookmark |= {"replication_key": "Audit_Time", "replication_key_value": "2026-01-01"}
    tenant = StandIn(model)
    with served(tenant) as server, tempfile.TemporaryDirectory() as folder:
        path = {name: Path(folder) / f"{name}.json" for name in ("catalog", "state")}
        path["catalog"].write_text(json.dumps(select(discover(server.settings), "a_audit_data")))
        path["state"].write_text(json.dumps({"bookmarks": {"a_audit_data": bookmark}}))
        arguments = [part for name in path for part in (f"--{name}", str(path[name]))]
        result = Here(Path(folder)).run(server.settings, *arguments, log_level="WARNING")
        assert result.returncode == 0, result.stderr
        assert ("$filter" in tenant.reads("/AuditData")[0]) == has_newer
        told = re.search(r"bookmark of a_audit_data is ignored.* write (\{.*\})", result.stderr)
        assert bool(told) != has_newer
        if told and json.loads(told[1])["replication_key_value"] != "...":
            # What it says to write is taken.
            path["state"].write_text(f'{{"bookmarks":{{"a_audit_data":{told[1]}}}}}')
            result = Here(Path(folder)).run(server.settings, *arguments, log_level="WARNING")
            assert result.returncode == 0, result.stderr
            assert "is ignored" not in result.stderr
            assert f"ge%20{older}" in unquote(tenant.reads("/AuditData")[-1]).replace(" ", "%20")


LINK = "/api/v1/dataexport/providers/sac/C4SALES/FactData?deltaid=A"
QUESTION = {"key": ["Version", "Date"], "columns": ["Version", "Date", "AMOUNT"], "filter": None}


@settings(max_examples=examples(60))
@given(
    bookmark=st.fixed_dictionaries(
        {},
        optional={
            "delta_link": anything | st.sampled_from([f"https://evil.example{LINK}", LINK]),
            "version": anything | st.integers(0, 9),
            "question": anything | st.just(QUESTION),
            "is_followed": anything,
        },
    )
    | anything
)
def test_any_state_yields_rows_or_one_sentence(bookmark: object) -> None:
    tenant = StandIn(sales(sales_row(1)))
    with served(tenant) as server:
        config = {**server.settings, "default_replication_method": "LOG_BASED"}
        if isinstance(bookmark, dict) and bookmark.get("delta_link") == LINK:
            bookmark = {**bookmark, "delta_link": f"{server.url}{LINK}"}
        state = {"bookmarks": {"sales_fact_data": bookmark}}
        with contextlib.suppress(SACError):
            assert len(sync(config, state=state).records("sales_fact_data")) == 1
    assert all(request.headers["host"] in server.url for request in tenant.requests)


@given(state=st.dictionaries(st.text(max_size=5), anything), has_link=st.booleans())
def test_any_state_yields_a_bookmark_or_none(state: dict[str, object], *, has_link: bool) -> None:
    state |= {"delta_link": f"https://x{LINK}", "question": QUESTION} if has_link else {}
    bookmark = StreamState.read(state).bookmark
    assert (bookmark.link.subscription_id if bookmark else None) == ("A" if has_link else None)


@given(st.text() | st.from_regex(r"FactData\([AB]='[^']*'(,[ABC]='[^']*'){0,2}\)?", fullmatch=True))
@example("FactData(B='2',A='1')")
def test_any_entity_id_yields_a_key_or_ends_the_chain(entity_id: str) -> None:
    with contextlib.suppress(SACError, DeltaLostError):
        ids = EntityIds({"A": "Edm.String", "B": "Edm.Int32"})
        assert ids.read(entity_id).keys() == {"A", "B"}


DOCUMENT = edmx(FactData={"Version": "Edm.String*", "AMOUNT": "Edm.Decimal"}).encode()


@settings(max_examples=examples(500))
@given(st.data())
def test_any_metadata_document_is_read_or_refused(data: st.DataObject) -> None:
    document = bytearray(DOCUMENT)
    for _ in range(data.draw(st.integers(0, 5))):
        place = data.draw(st.integers(0, len(document) - 1))
        length = data.draw(st.integers(0, 20))
        document[place : place + length] = data.draw(st.binary(max_size=8))
    with contextlib.suppress(CSDLError):
        json.dumps([entity_set.name for entity_set in read_csdl(bytes(document)).entity_sets])


@settings(max_examples=examples(60))
@given(st.data())
def test_any_page_yields_rows_or_one_sentence(data: st.DataObject) -> None:
    body = bytearray(
        b'{"value":[{"Version":"a","Date":"1","AMOUNT":1.5},{"Version":"b","Date":"2"}]}'
    )
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=6))
    tenant = StandIn(sales())
    answer = Response(200, bytes(body), JSON)
    tenant.fault = lambda request: answer if "FactData" in request.target else None
    with served(tenant) as server, contextlib.suppress(SACError):
        messages = sync({**server.settings, "backoff_max_tries": 1})
        page = json.loads(body.removeprefix(codecs.BOM_UTF8), parse_float=str)
        columns = ("Version", "Date", "AMOUNT")
        assert messages.records("sales_fact_data") == [
            {name: row.get(name) for name in columns} for row in page["value"]
        ]
