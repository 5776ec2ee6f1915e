"""Catalogs and states from strangers: a result, or one sentence."""

from __future__ import annotations

import codecs
import contextlib
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
from tests.conftest import discover, examples, select, served, sync
from tests.helpers.cli import Here
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, sales, sales_row
from tests.helpers.values import anything

if TYPE_CHECKING:
    from tests.conftest import Serve


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


def test_bookmark_of_audit_data_that_is_not_a_time_is_refused(serve: Serve) -> None:
    columns = {"Audit_Time": "Edm.DateTimeOffset*"}
    row = '{"Audit_Time":"2026-11-02T05:12:44.123Z"}'
    config = serve(StandIn(Model("C4A", "A", edmx(AuditData=columns), {"AuditData": [row]})))
    catalog = select(discover(config), "a_audit_data")
    for value in ("yesterday", 5, "0001-01-01T00:00:00+01:00"):
        state = {"bookmarks": {"a_audit_data": {"replication_key_value": value}}}
        with pytest.raises(SACError, match="a_audit_data has no valid time"):
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
