"""BATCH messages and their files."""

from __future__ import annotations

import contextlib
import gzip
import io
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.request import url2pathname

import pytest
from pyarrow import parquet
from typing_extensions import override

from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import discover, read_messages, select, sync
from tests.stand_in import Model, StandIn, edmx, sales, sales_row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Messages, Serve

AMOUNTS = ("0.0000000", "-1.5", "123456789012345678901234.1234567", "null", "10557.33")
ROWS = [sales_row(number, amount) for number, amount in enumerate(AMOUNTS)]


def batch_config(folder: Path, format_: str, compression: str | None, size: int) -> dict[str, Any]:
    return {
        "batch_config": {
            "encoding": {"format": format_, "compression": compression or "none"},
            "storage": {"root": folder.as_uri()},
            "batch_size": size,
        }
    }


def files(messages: Messages, stream: str) -> list[str]:
    return [
        url2pathname(url.removeprefix("file://"))
        for message in messages.of(stream)
        if message["type"] == "BATCH"
        for url in message["manifest"]
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("compression", ["gzip", None])
def test_jsonl_files_have_every_digit(
    serve: Serve, tmp_path: Path, size: int, compression: str | None
) -> None:
    config = batch_config(tmp_path, "jsonl", compression, size)
    messages = sync({**serve(StandIn(sales(*ROWS))), **config})
    paths = files(messages, "sales_fact_data")
    assert len(paths) == -(-len(ROWS) // size)
    lines = []
    for path in paths:
        with (gzip.open if compression else open)(path, "rt") as file:
            lines += file.read().splitlines()
    assert lines == ROWS
    types = [item["type"] for item in messages.of("sales_fact_data")]
    assert types == ["SCHEMA", *["BATCH"] * len(paths)]


@pytest.mark.parametrize("size", [2, 100])
def test_file_is_whole_when_its_message_comes(serve: Serve, tmp_path: Path, size: int) -> None:
    rows = []

    class Target(io.StringIO):
        @override
        def write(self, text: str) -> int:
            for path in files(read_messages(text), "sales_fact_data"):
                with gzip.open(path, "rt") as file:
                    rows.extend(file.read().splitlines())
            return super().write(text)

    config = {
        **serve(StandIn(sales(*ROWS))),
        **batch_config(tmp_path, "jsonl", "gzip", size),
    }
    with contextlib.redirect_stdout(Target()):
        TapSAC(config=config).sync_all()
    assert rows == ROWS


@pytest.mark.parametrize("compression", ["gzip", None])
@pytest.mark.parametrize("use_singer_decimal", [True, False])
def test_parquet_files_have_decimals(
    serve: Serve, tmp_path: Path, compression: str | None, *, use_singer_decimal: bool
) -> None:
    config = {
        **serve(StandIn(sales(*ROWS))),
        **batch_config(tmp_path, "parquet", compression, 3),
        "use_singer_decimal": use_singer_decimal,
        "default_replication_method": "LOG_BASED",
    }
    tables = [parquet.ParquetFile(path).read() for path in files(sync(config), "sales_fact_data")]
    assert [table.num_rows for table in tables] == [3, 2]
    assert {str(table.schema.field("AMOUNT").type) for table in tables} == {"decimal128(31, 7)"}
    assert tables[0].schema == tables[1].schema
    amounts = [value for table in tables for value in table["AMOUNT"].to_pylist()]
    assert amounts == [None if text == "null" else Decimal(text) for text in AMOUNTS]
    assert tables[1]["Date"].to_pylist() == ["000003", "000004"]


def test_parquet_of_every_type(serve: Serve, tmp_path: Path) -> None:
    columns = {
        "ID": "Edm.String*",
        "COUNT": "Edm.Int64",
        "FLAG": "Edm.Boolean",
        "RATE": "Edm.Double",
        "DAY": "Edm.Date",
        "PLACE": "Edm.GeographyPoint",
        "TAGS": "Collection(Edm.String)",
    }
    row = (
        '{"ID":"1","COUNT":9007199254740993,"FLAG":true,"RATE":0.5,"DAY":"2026-11-02",'
        '"PLACE":{"type":"Point"},"TAGS":["a","b"]}'
    )
    tenant = StandIn(Model("C4T", "T", edmx(S=columns), {"S": [row]}))
    config = {**serve(tenant), **batch_config(tmp_path, "parquet", None, 10)}
    catalog = select(discover(config), "t_s")
    (path,) = files(sync(config, catalog), "t_s")
    assert parquet.ParquetFile(path).read().to_pylist() == [
        {
            "ID": "1",
            "COUNT": 9007199254740993,
            "FLAG": True,
            "RATE": 0.5,
            "DAY": "2026-11-02",
            "PLACE": {"type": "Point"},
            "TAGS": ["a", "b"],
        }
    ]


def test_value_that_parquet_cannot_keep_stops_the_run(serve: Serve, tmp_path: Path) -> None:
    config = batch_config(tmp_path, "parquet", None, 10)
    with pytest.raises(SACError, match=r"1\.12345678 requires scale 8.*use the format jsonl"):
        sync({**serve(StandIn(sales(sales_row(1, "1.12345678")))), **config})


def test_parquet_without_pyarrow_is_an_error_that_names_the_extra(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    config = batch_config(tmp_path, "parquet", None, 10)
    with pytest.raises(SACError, match=r"install tap-sac\[parquet\]"):
        sync({**serve(StandIn(sales(*ROWS))), **config})
