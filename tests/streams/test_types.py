"""Columns whose type changes in SAC: no target rounds or cuts a value in silence."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow.parquet
import pytest

from tests.conftest import discover, select, sync
from tests.helpers.batches import batch_config, files
from tests.helpers.runs import run
from tests.helpers.stand_in import Model, StandIn, edmx
from tests.helpers.target import Target
from tests.helpers.tracking import TrackingStandIn, changed, delta, log_based

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serve

STREAM = "t_fact_data"
FACETS = 'Precision="31" Scale="7"'
DAY, TIME = '"2026-11-02"', '"2026-11-02T05:12:44Z"'


def tenant_of(type_name: str, *values: str, facets: str = FACETS) -> StandIn:
    """Serve facts with a column X of this type."""
    document = edmx(FactData={"ID": "Edm.String*", "X": type_name}).replace(FACETS, facets)
    rows = [f'{{"ID":"{number}","X":{value}}}' for number, value in enumerate(values)]
    return StandIn(Model("C4T", "T", document, {"FactData": rows}))


def old_catalog(serve: Serve, type_name: str, **settings: Any) -> dict[str, Any]:
    config = {**serve(tenant_of(type_name)), **settings}
    return select(discover(config), STREAM)


def plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value


FIT = [
    ("Edm.Int64", "Edm.Decimal", "2.0000000", 2),
    ("Edm.Int64", "Edm.Decimal", "-9223372036854775808.0", -(2**63)),
    ("Edm.Int64", "Edm.Double", "2.0", 2),
    ("Edm.Int32", "Edm.Int64", "9007199254740993", 9007199254740993),
    ("Edm.Decimal", "Edm.Int64", "9007199254740993", "9007199254740993"),
    ("Edm.Double", "Edm.Decimal", "1.0000001", "1.0000001"),
    ("Edm.String", "Edm.Int64", "5", "5"),
    ("Edm.String", "Edm.Decimal", "5.10", "5.10"),
    ("Edm.String", "Edm.Date", DAY, "2026-11-02"),
    ("Edm.Date", "Edm.String", DAY, "2026-11-02"),
    ("Edm.DateTimeOffset", "Edm.String", TIME, "2026-11-02T05:12:44Z"),
    ("Edm.Boolean", "Edm.Boolean", "true", True),
]
UNFIT = [
    ("Edm.Int64", "Edm.Decimal", "2.55", "integer"),
    ("Edm.Int64", "Edm.Decimal", "9223372036854775808", "integer"),
    ("Edm.Int64", "Edm.Decimal", "0.0000001", "integer"),
    ("Edm.Int32", "Edm.Double", "0.5", "integer"),
    ("Edm.Int64", "Edm.String", '"007"', "integer"),
    ("Edm.Int64", "Edm.Boolean", "true", "integer"),
    ("Edm.Decimal", "Edm.String", '"5.10"', "number"),
    ("Edm.Decimal", "Edm.Boolean", "false", "number"),
    ("Edm.Boolean", "Edm.Int64", "1", "boolean"),
    ("Edm.Boolean", "Edm.String", '"true"', "boolean"),
    ("Edm.String", "Edm.Boolean", "true", "string"),
    ("Edm.Date", "Edm.DateTimeOffset", TIME, "date"),
    ("Edm.DateTimeOffset", "Edm.Date", DAY, "date-time"),
    ("Edm.Date", "Edm.String", '"next week"', "date"),
    ("Edm.Date", "Edm.Int64", "20261102", "date"),
    ("Edm.Date", "Edm.String", '"2026-02-30"', "date"),
]


@pytest.mark.parametrize(("before", "now", "sent", "stored"), FIT)
@pytest.mark.parametrize("maps", [{}, {STREAM: {"__filter__": "1 == 1"}}])
def test_value_that_fits_the_type_of_the_catalog_is_in_the_table(
    serve: Serve, before: str, now: str, sent: str, stored: object, maps: dict[str, Any]
) -> None:
    catalog = old_catalog(serve, before)
    target = Target()
    target.load(sync({**serve(tenant_of(now, sent, "null")), "stream_maps": maps}, catalog))
    assert [plain(row["X"]) for row in target.rows(STREAM)] == [stored, None]


@pytest.mark.parametrize(
    ("now", "sent"), [("Edm.Int64", "5"), ("Edm.Decimal", "5.10"), ("Edm.Date", DAY)]
)
def test_files_have_the_texts_that_the_catalog_declares(
    serve: Serve, tmp_path: Path, now: str, sent: str
) -> None:
    config = batch_config(tmp_path, "parquet", None, 10)
    catalog = old_catalog(serve, "Edm.String", **config)
    messages = sync({**serve(tenant_of(now, sent, "null")), **config}, catalog)
    (path,) = files(messages, STREAM)
    assert pyarrow.parquet.read_table(path)["X"].to_pylist() == [sent.strip('"'), None]


@pytest.mark.parametrize(("before", "now", "sent", "declared"), UNFIT)
@pytest.mark.parametrize("maps", [{}, {STREAM: {"__filter__": "1 == 1"}}])
def test_value_that_does_not_fit_the_type_of_the_catalog_fails_its_stream_by_name(
    serve: Serve, before: str, now: str, sent: str, declared: str, maps: dict[str, Any]
) -> None:
    catalog = old_catalog(serve, before)
    config = {**serve(tenant_of(now, "null", sent)), "stream_maps": maps}
    messages, failure = run(config, catalog=catalog)
    assert re.search(
        rf"{STREAM}: The column X of FactData holds .* in the row of ID '1', but the catalog "
        rf"declares {declared}: run discovery again",
        failure,
    )
    target = Target()
    target.load(messages)
    assert all(row["X"] is None for row in target.rows(STREAM))
    assert "ACTIVATE_VERSION" not in {item["type"] for item in messages.of(STREAM)}


def test_decimals_as_text_accept_only_numbers(serve: Serve) -> None:
    settings = {"use_singer_decimal": True}
    catalog = old_catalog(serve, "Edm.Decimal", **settings)
    for sent in ("5", '"5.10"'):
        config = {**serve(tenant_of("Edm.String", sent)), **settings}
        assert sync(config, catalog).records(STREAM)[0]["X"] == sent.strip('"')
    config = {**serve(tenant_of("Edm.String", '"n/a"')), **settings}
    assert "but the catalog declares x-singer.decimal" in run(config, catalog=catalog)[1]


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"type_name": "Edm.Int64"}, {"type_name": "Edm.Decimal"}, "X (integer, now number)"),
        ({"type_name": "Edm.Decimal"}, {"type_name": "Edm.String"}, "X (number, now string)"),
        ({"type_name": "Edm.String"}, {"type_name": "Edm.Date"}, "X (string, now date)"),
        (
            {"type_name": "Edm.Decimal", "facets": 'Precision="31" Scale="2"'},
            {"type_name": "Edm.Decimal"},
            "X (x-singer.decimal(31, 2), now x-singer.decimal(31, 7))",
        ),
        (
            {"type_name": "Edm.Decimal", "facets": 'Precision="9" Scale="2"'},
            {"type_name": "Edm.Decimal", "facets": ""},
            "X (x-singer.decimal(9, 2), now x-singer.decimal)",
        ),
    ],
)
@pytest.mark.parametrize("with_catalog", [True, False])
def test_type_that_changed_since_the_last_read_is_reported_by_column_once(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    before: dict[str, Any],
    now: dict[str, Any],
    told: str,
    *,
    with_catalog: bool,
) -> None:
    settings = {"use_singer_decimal": "facets" in before}
    state: dict[str, Any] = {}
    counts = []
    for column in (before, before, now, now):
        caplog.clear()
        config = {**serve(tenant_of(**column)), **settings}
        catalog = select(discover(config), STREAM) if with_catalog else None
        state = sync(config, catalog, state).state
        lines = [text for text in caplog.messages if "The types of these" in text]
        counts.append(len(lines))
        assert all(f"columns of {STREAM} have changed" in line for line in lines)
        assert all(told in line and "Change the table in the target" in line for line in lines)
    assert counts == [0, 0, 1, 0]


def test_scale_that_grew_is_reported_before_a_target_rounds(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    narrow = 'Precision="31" Scale="2"'
    settings = {"use_singer_decimal": True}
    target = Target()
    target.load(sync({**serve(tenant_of("Edm.Decimal", "1.25", facets=narrow)), **settings}))
    config = {**serve(tenant_of("Edm.Decimal", "1.2500001")), **settings}
    target.load(sync(config, state=target.state))
    assert [row["X"] for row in target.rows(STREAM)] == [Decimal("1.25")]
    assert "X (x-singer.decimal(31, 2), now x-singer.decimal(31, 7))" in caplog.text


@pytest.mark.parametrize(
    ("types", "is_told"),
    [
        (None, False),
        ({}, False),
        ([], False),
        ("integer", False),
        ({"X": 1}, False),
        ({"X": None}, False),
        ({"GONE": "integer"}, False),
        ({"X": "integer", "ID": "string"}, True),
    ],
)
def test_state_without_types_or_with_strange_ones_is_not_a_change(
    serve: Serve, caplog: pytest.LogCaptureFixture, types: object, *, is_told: bool
) -> None:
    config = serve(tenant_of("Edm.Decimal", "1.5"))
    state = sync(config).state
    assert state["bookmarks"][STREAM].pop("types") == {"ID": "string", "X": "number"}
    if types is not None:
        state["bookmarks"][STREAM]["types"] = types
    messages = sync(config, state=state)
    assert messages.state["bookmarks"][STREAM]["types"] == {"ID": "string", "X": "number"}
    assert ("The types of these" in caplog.text) is is_told


def test_types_of_a_read_that_failed_are_not_those_of_the_table(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    state = sync(serve(tenant_of("Edm.Int64", "1"))).state
    messages, failure = run(serve(tenant_of("Edm.Decimal", "1.5", '"x"')), state=state)
    assert failure
    assert messages.state["bookmarks"][STREAM]["types"]["X"] == "integer"
    caplog.clear()
    sync(serve(tenant_of("Edm.Decimal", "1.5")), state=messages.state)
    assert "X (integer, now number)" in caplog.text


def test_types_are_compared_where_only_changes_are_read(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    rows = ['{"Version":"A","Date":"1","AMOUNT":1}']
    tenant = TrackingStandIn(*rows)
    tenant.models[0].edmx = tenant.models[0].edmx.replace('"Edm.Decimal"', '"Edm.Int64"')
    config = log_based(serve, tenant)
    state = sync(config).state
    tenant.models[0].edmx = tenant.models[0].edmx.replace('"Edm.Int64"', '"Edm.Decimal"')
    tenant.deltas["A"] = delta(changed('{"Version":"A","Date":"1","AMOUNT":1.5}'))
    tenant.deltas["B"] = delta(link="C")
    for count in (1, 0):
        caplog.clear()
        state = sync(config, state=state).state
        assert caplog.text.count("AMOUNT (integer, now number)") == count


def test_types_of_audit_data_are_compared(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    columns = {"Audit_Time": "Edm.DateTimeOffset", "X": "Edm.Int64"}
    row = json.dumps({"Audit_Time": "2026-01-01T00:00:00Z", "X": 1})
    tenant = StandIn(Model("C4T", "T", edmx(AuditData=columns), {"AuditData": [row]}))
    config = serve(tenant)
    state = sync(config, select(discover(config), "t_audit_data")).state
    bookmark = state["bookmarks"]["t_audit_data"]
    assert bookmark["replication_key_value"] == "2026-01-01T00:00:00Z"
    tenant.models[0].edmx = edmx(AuditData={**columns, "X": "Edm.Decimal"})
    sync(config, select(discover(config), "t_audit_data"), state)
    assert "X (integer, now number)" in caplog.text


def test_types_are_those_of_the_tables_that_stream_maps_make(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = serve(tenant_of("Edm.Decimal", "1.5"))
    again = {"again": {"__source__": STREAM, "X": "str(X)"}}
    state = sync({**config, "stream_maps": again}).state
    types = state["bookmarks"][STREAM]["types"]
    assert types == {"ID": "string", "X": "number", "again.ID": "string", "again.X": "string"}
    again["again"]["X"] = "X"
    sync({**config, "stream_maps": again}, state=state)
    assert f"The types of these columns of {STREAM} have changed" in caplog.text
    assert ": again.X (string, now number)." in caplog.text
