"""Catalogs and states from strangers: a result, or one sentence."""

from __future__ import annotations

import codecs
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tap_sac.demo.service import Response
from tap_sac.sac.csdl import read_csdl
from tap_sac.sac.delta import Bookmark, EntityIds
from tap_sac.sac.errors import CSDLError, DeltaLostError, SACError
from tap_sac.tap import TapSAC
from tests.conftest import discover, examples, select, served, sync
from tests.stand_in import JSON, Model, StandIn, edmx, sales, sales_row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import RunCli, Serve

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


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
def test_file_that_is_none_is_told_in_a_sentence(
    run_cli: RunCli, tmp_path: Path, option: str, text: str
) -> None:
    path = tmp_path / "input.json"
    path.write_text(text)
    result = run_cli({"demo": True}, option, str(path))
    assert result.returncode == 1
    assert f"The {option[2:]} " in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


@pytest.mark.parametrize("option", ["--state", "--catalog"])
def test_file_in_another_encoding_is_told_in_a_sentence(
    run_process: RunCli, tmp_path: Path, option: str
) -> None:
    path = tmp_path / "input.json"
    path.write_text("{}", encoding="utf-16")
    result = run_process({"demo": True}, option, str(path))
    assert result.returncode == 1
    assert f"The {option[2:]} is not valid JSON" in result.stderr
    assert "Traceback" not in result.stderr


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
        entry(metadata=[{"breadcrumb": ["properties"] * 3000, "metadata": {}}]),
    ],
)
def test_catalog_of_a_strange_form_is_refused(catalog_entry: dict[str, Any]) -> None:
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
        {"nested": json.loads("[" * 500 + "]" * 500)},
    ],
)
def test_state_of_a_strange_form_is_refused(bookmark: dict[str, Any]) -> None:
    with pytest.raises(SACError, match=r"^The state "):
        TapSAC(config={"demo": True}, state={"bookmarks": {"providers": bookmark}})


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
@pytest.mark.parametrize("keeps", [None, "columns", "nothing"])
def test_streams_about_which_the_metadata_says_nothing_are_selected(
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


def test_stream_of_another_name_in_the_catalog_is_that_of_its_id(serve: Serve) -> None:
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


def test_audit_data_with_a_state_that_is_no_time(serve: Serve) -> None:
    columns = {"Audit_Time": "Edm.DateTimeOffset*"}
    row = '{"Audit_Time":"2026-11-02T05:12:44.123Z"}'
    config = serve(StandIn(Model("C4A", "A", edmx(AuditData=columns), {"AuditData": [row]})))
    catalog = select(discover(config), "a_audit_data")
    for value in ("yesterday", 5, "0001-01-01T00:00:00+01:00"):
        state = {"bookmarks": {"a_audit_data": {"replication_key_value": value}}}
        with pytest.raises(SACError, match="a_audit_data does not hold a time"):
            sync(config, catalog, state)


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
def test_state_from_a_stranger_gives_rows_or_a_sentence(bookmark: object) -> None:
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
def test_any_state_is_a_bookmark_or_none(state: dict[str, object], *, has_link: bool) -> None:
    state |= {"delta_link": f"https://x{LINK}", "question": QUESTION} if has_link else {}
    bookmark = Bookmark.from_state(state)
    assert (bookmark.subscription_id if bookmark else None) == ("A" if has_link else None)


@given(st.text() | st.from_regex(r"FactData\([AB]='[^']*'(,[ABC]='[^']*'){0,2}\)?", fullmatch=True))
@example("FactData(B='2',A='1')")
def test_any_entity_id_is_a_key_or_the_chain_is_lost(entity_id: str) -> None:
    with contextlib.suppress(SACError, DeltaLostError):
        ids = EntityIds({"A": "Edm.String", "B": "Edm.Int32"})
        assert ids.read(entity_id).keys() == {"A", "B"}


DOCUMENT = edmx(FactData={"Version": "Edm.String*", "AMOUNT": "Edm.Decimal"}).encode()


@settings(max_examples=examples(500))
@given(st.data())
def test_any_document_is_read_or_refused(data: st.DataObject) -> None:
    document = bytearray(DOCUMENT)
    for _ in range(data.draw(st.integers(0, 5))):
        place = data.draw(st.integers(0, len(document) - 1))
        length = data.draw(st.integers(0, 20))
        document[place : place + length] = data.draw(st.binary(max_size=8))
    with contextlib.suppress(CSDLError):
        json.dumps([entity_set.name for entity_set in read_csdl(bytes(document))])


@settings(max_examples=examples(60))
@given(st.data())
def test_any_page_gives_rows_or_a_sentence(data: st.DataObject) -> None:
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
