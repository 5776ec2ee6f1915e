"""Parquet files: values by column and as lines, row groups, and digits that do not fit."""

from __future__ import annotations

import contextlib
import io
import json
from datetime import date, datetime, time, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from pyarrow import ipc, parquet

from tap_sac.demo.service import Response
from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import discover, read_messages, select, sync
from tests.helpers.batches import PARQUET_FACETS, batch_config, files, records_of
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, sales, sales_row

if TYPE_CHECKING:
    from tap_sac.singer.page_stream import PageStream
    from tests.conftest import Messages, Serve

SALES = "sales_fact_data"


def rows_of(messages: Messages, stream: str) -> list[dict[str, Any]]:
    """Return the rows of all Parquet files of a stream."""
    return [
        row
        for path in files(messages, stream)
        for row in parquet.ParquetFile(path).read().to_pylist()
    ]


def without_size(folder: Path, format_: str) -> dict[str, Any]:
    config = batch_config(folder, format_, None, 1)
    del config["batch_config"]["batch_size"]
    return config


@pytest.mark.parametrize(
    ("format_", "sizes"), [("parquet", [500_000, 10_000]), ("jsonl", [10_000] * 3)]
)
def test_files_are_large_by_default(
    serve: Serve, tmp_path: Path, format_: str, sizes: list[int]
) -> None:
    number = sum(sizes)
    rows = [f'{{"ID":"{row}"}}' for row in range(number)]
    tenant = StandIn(Model("C4T", "T", edmx(S={"ID": "Edm.String*"}), {"S": rows}))
    config = {**serve(tenant), **without_size(tmp_path, format_), "page_size": 33_333}
    messages = sync(config)
    paths = files(messages, "t_s")
    if format_ == "jsonl":
        assert [Path(path).read_bytes().count(b"\n") for path in paths] == sizes
        ids = [record["ID"] for record in records_of(messages, "t_s")]
    else:
        written = [parquet.ParquetFile(path) for path in paths]
        assert [file.metadata.num_rows for file in written] == sizes
        for file in written:
            *full, last = [
                file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)
            ]
            assert all(100_000 <= rows < 120_000 for rows in full)
            assert last > 9_000
        assert [file.num_row_groups for file in written] == [5, 1]
        ids = [value for file in written for value in file.read()["ID"].to_pylist()]
    assert ids == [str(row) for row in range(number)]


def test_files_whose_types_are_found_stay_small(serve: Serve, tmp_path: Path) -> None:
    rows = [sales_row(number) for number in range(10_001)]
    config = {
        **serve(StandIn(sales(*rows))),
        **without_size(tmp_path, "parquet"),
        "page_size": 20_000,
        "stream_maps": {SALES: {"MADE": "'x'"}},
    }
    paths = files(sync(config), SALES)
    assert [parquet.ParquetFile(path).metadata.num_rows for path in paths] == [10_000, 1]


@pytest.mark.parametrize("use_singer_decimal", [True, False])
def test_rows_that_need_conversion_stay_in_their_place(
    serve: Serve, tmp_path: Path, *, use_singer_decimal: bool
) -> None:
    amounts = ["1.5", "null", '"2.50"', "3", "4.0000000", "5E0", '"006"', "null", "8.1", "9.0"]
    rows = [sales_row(number, amount) for number, amount in enumerate(amounts)]
    config = {
        **serve(StandIn(sales(*rows))),
        **batch_config(tmp_path, "parquet", None, 7),
        "use_singer_decimal": use_singer_decimal,
    }
    messages = sync(config)
    version = messages.of(SALES)[-1]["version"]
    assert rows_of(messages, SALES) == [
        {
            "Version": "public.Actual",
            "Date": f"{number:06}",
            "AMOUNT": None if amount == "null" else Decimal(amount.strip('"')),
            "_sdc_table_version": version,
        }
        for number, amount in enumerate(amounts)
    ]


LONG_NUMBERS = [
    "0.0",
    f"1.{'0' * 90}",
    f"-1.5{'0' * 40}",
    f"0.{'0' * 80}",
    "9" * 7,
    "9" * 28,
    "9" * 36,
    "9" * 38,
    f"{'9' * 24}.5",
    f"-{'9' * 36}.{'9' * 20}",
    "-99999999.5",
    "123456789012345678901234567890123456789",
    "340282366920938463463374607431768211456",
    "34028236692093846346337460743176821145600000000001",
    "9" * 57,
    "9" * 76,
    "9" * 400,
    f"1.{'0' * 50}1",
    f"{'1' * 30}.00",
    "0.00000000005",
]


@pytest.mark.parametrize("use_singer_decimal", [True, False])
@pytest.mark.parametrize("facets", PARQUET_FACETS)
def test_long_numbers_by_column_are_exact_or_fail_by_name(
    serve: Serve, tmp_path: Path, facets: str, *, use_singer_decimal: bool
) -> None:
    columns = {"ID": "Edm.String*", "X": "Edm.Decimal"}
    sets: dict[str, Any] = {
        f"S{number}": [
            f'{{"ID":"{row}","X":{value}}}' for row, value in enumerate(["1.0", text, "null"])
        ]
        for number, text in enumerate(LONG_NUMBERS)
    }
    declared, amount = 'Type="Edm.Decimal"', 'Precision="31" Scale="7"'
    document = edmx(**dict.fromkeys(sets, columns))
    assert f"{declared} {amount}" in document
    document = document.replace(f"{declared} {amount}", f"{declared} {facets}")
    config = {
        **serve(StandIn(Model("C4T", "T", document, sets))),
        **batch_config(tmp_path, "parquet", None, 10),
        "use_singer_decimal": use_singer_decimal,
        "page_size": 10,
    }
    tap = TapSAC(config=config)
    with contextlib.redirect_stdout(io.StringIO()) as output, pytest.raises(SACError):
        tap.sync_all()
    messages = read_messages(output.getvalue())
    precision, scale, _ = PARQUET_FACETS[facets]
    for number, text in enumerate(LONG_NUMBERS):
        stream = f"t_s{number}"
        failure = cast("PageStream", tap.streams[stream]).failure
        whole, _, rest = text.lstrip("-").partition(".")
        if len(rest.rstrip("0")) > scale or len(whole.lstrip("0")) + scale > precision:
            assert "column X" in str(failure), text
            continue
        assert failure is None, text
        values = [row["X"] for row in rows_of(messages, stream)]
        assert values == [Decimal(1), Decimal(text), None]
        (path,) = files(messages, stream)
        kind = parquet.ParquetFile(path).schema_arrow.field("X").type
        assert (kind.precision, kind.scale) == (precision, scale)


AUDIT = {
    "ID": "Edm.String*",
    "Audit_Time": "Edm.DateTimeOffset",
    "NOTE": "Edm.String",
    "AMOUNT": "Edm.Decimal",
}


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_audit_data_have_types_and_bookmarks_that_follow_the_files(
    serve: Serve, tmp_path: Path, format_: str
) -> None:
    times = [f"2026-01-0{number}T00:00:00Z" for number in range(1, 6)]
    rows = [f'{{"ID":"{time[9]}","Audit_Time":"{time}","AMOUNT":{time[9]}.50}}' for time in times]
    tenant = StandIn(Model("C4T", "T", edmx(AuditData=AUDIT), {"AuditData": rows}))
    tenant.fault = lambda request: (
        Response(200, f'{{"value":[{",".join(rows)}]}}'.encode(), JSON)
        if "/AuditData" in request.target
        else None
    )
    config = {**serve(tenant), **batch_config(tmp_path, format_, None, 2)}
    messages = sync(config, select(discover(config), "t_audit_data"))
    seen, bookmarks = [], []
    for message in messages:
        if message["type"] == "BATCH":
            seen.append(message)
        elif message["type"] == "STATE" and seen:
            bookmark = message["value"]["bookmarks"]["t_audit_data"]
            progress = bookmark.get("progress_markers", bookmark)
            bookmarks.append((len(seen), progress["replication_key_value"]))
    assert bookmarks[:3] == [(1, times[1]), (2, times[3]), (3, times[4])]
    paths = files(messages, "t_audit_data")
    if format_ == "jsonl":
        amounts = [record["AMOUNT"] for record in records_of(messages, "t_audit_data")]
        assert amounts == [f"{number}.50" for number in range(1, 6)]
        return
    for path in paths:
        schema = parquet.ParquetFile(path).schema_arrow
        assert {field.name: str(field.type) for field in schema} == {
            "ID": "string",
            "Audit_Time": "string",
            "NOTE": "string",
            "AMOUNT": "decimal128(31, 7)",
        }
    assert [row["Audit_Time"] for row in rows_of(messages, "t_audit_data")] == times


def test_text_keeps_every_character(serve: Serve, tmp_path: Path) -> None:
    texts = ["", "null", "a\x00b", "\n", "\x1f", 'ä"\\', "\U0001f600", "x" * 5000, None]
    rows = [
        json.dumps({"ID": str(number), "X": text}, ensure_ascii=number % 2 == 0)
        for number, text in enumerate(texts)
    ]
    document = edmx(S={"ID": "Edm.String*", "X": "Edm.String"})
    tenant = StandIn(Model("C4T", "T", document, {"S": rows}))
    config = {**serve(tenant), **batch_config(tmp_path, "parquet", None, 100)}
    assert [row["X"] for row in rows_of(sync(config), "t_s")] == texts


TIMES = {
    "DAY": ("Edm.Date", "date32[day]"),
    "MICRO": ('Edm.DateTimeOffset" Precision="6', "timestamp[us, tz=UTC]"),
    "MILLI": ('Edm.DateTimeOffset" Precision="3', "timestamp[us, tz=UTC]"),
    "WHOLE": ('Edm.TimeOfDay" Precision="0', "time64[us]"),
    "ANY": ("Edm.DateTimeOffset", "string"),
    "FINE": ('Edm.DateTimeOffset" Precision="7', "string"),
    "CLOCK": ("Edm.TimeOfDay", "string"),
}


def times(**values: str | None) -> StandIn:
    columns = {"ID": "Edm.String*", **{name: kind for name, (kind, _) in TIMES.items()}}
    rows = [json.dumps({"ID": "1", **values}), '{"ID":"2"}']
    return StandIn(Model("C4T", "T", edmx(S=columns), {"S": rows}))


@pytest.mark.parametrize("format_", ["arrow", "parquet"])
def test_dates_and_times_have_types_where_every_digit_fits(
    serve: Serve, tmp_path: Path, format_: str
) -> None:
    tenant = times(
        DAY="0001-02-03",
        MICRO="2026-01-02T00:04:05.123456+05:30",
        MILLI="9999-12-31T23:59:59.1230000Z",
        WHOLE="23:59:58.000",
        ANY="2026-01-02T00:04:05.12345678+05:30",
        FINE="2026-01-02T00:04:05.1234567Z",
        CLOCK="23:59",
    )
    maps = {"t_s": {"COPY": "DAY"}}
    config = {**serve(tenant), **batch_config(tmp_path, format_, None, 10), "stream_maps": maps}
    (path,) = files(sync(config), "t_s")
    file = ipc.open_file(path).read_all() if format_ == "arrow" else parquet.read_table(path)
    types = {field.name: str(field.type) for field in file.schema}
    assert {name: types[name] for name in TIMES} == {
        name: kind for name, (_, kind) in TIMES.items()
    }
    assert types["COPY"] == "string"
    first, second = file.select(list(TIMES)).to_pylist()
    assert first == {
        "DAY": date(1, 2, 3),
        "MICRO": datetime(2026, 1, 1, 18, 34, 5, 123456, tzinfo=timezone.utc),
        "MILLI": datetime(9999, 12, 31, 23, 59, 59, 123000, tzinfo=timezone.utc),
        "WHOLE": time(23, 59, 58),
        "ANY": "2026-01-02T00:04:05.12345678+05:30",
        "FINE": "2026-01-02T00:04:05.1234567Z",
        "CLOCK": "23:59",
    }
    assert set(second.values()) == {None}


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("MILLI", "2026-01-02T00:04:05.1234Z", ":05.1234Z, but \\$metadata declares Precision 3"),
        ("WHOLE", "23:59:58.5", "23:59:58.5, but \\$metadata declares Precision 0"),
        ("WHOLE", "late", "late"),
    ],
)
def test_times_that_do_not_fit_fail_by_name(
    serve: Serve, tmp_path: Path, column: str, value: str, told: str
) -> None:
    config = {**serve(times(**{column: value})), **batch_config(tmp_path, "parquet", None, 10)}
    sentence = f"value of the column {column} does not fit its type .*{told}.*use the format jsonl"
    with pytest.raises(SACError, match=sentence):
        sync(config)
