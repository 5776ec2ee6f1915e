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

from tap_sac.sac.errors import DataError, SACError
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
    with pytest.raises(DataError, match=r"1\.12345678 requires scale 8.*use the format jsonl"):
        sync({**serve(StandIn(sales(sales_row(1, "1.12345678")))), **config})


def decimals(facets: str, *values: str) -> StandIn:
    """Serve decimals as a column, as a part of a column, in a list, and as parts in a list."""
    document = (
        f'<E><Schema Namespace="sac"><ComplexType Name="Line"><Property Name="PART" '
        f'Type="Edm.Decimal" {facets}/></ComplexType><EntityType Name="S"><Key><PropertyRef '
        f'Name="ID"/></Key><Property Name="ID" Type="Edm.String"/><Property Name="ONE" '
        f'Type="Edm.Decimal" {facets}/><Property Name="LIST" Type="Collection(Edm.Decimal)" '
        f'{facets}/><Property Name="LINE" Type="sac.Line"/><Property Name="LINES" '
        'Type="Collection(sac.Line)"/></EntityType></Schema></E>'
    )
    return StandIn(
        Model("C4T", "T", document, {"S": [f'{{"ID":"1.50000000",{values}}}' for values in values]})
    )


PLACES = {
    "ONE": '"ONE":{}',
    "LIST": '"LIST":[1.0,null,{}]',
    "LINE.PART": '"LINE":{{"PART":{}}}',
    "LINES.PART": '"LINES":[null,{{"PART":{}}}]',
}
PARQUET_FACETS = {
    'Precision="9" Scale="2"': (9, 2, " from $metadata"),
    'Precision="60" Scale="20"': (56, 20, " from $metadata"),
    'Scale="2"': (38, 2, ", because $metadata declares no precision"),
    'Precision="31" Scale="variable"': (31, 10, ", because $metadata declares no scale"),
    "": (38, 10, ", because $metadata declares no precision and no scale"),
}


@pytest.mark.parametrize("use_singer_decimal", [True, False])
@pytest.mark.parametrize("facets", PARQUET_FACETS)
def test_zeros_that_parquet_has_no_room_for_are_left_out(
    serve: Serve, tmp_path: Path, facets: str, *, use_singer_decimal: bool
) -> None:
    texts = ["1.5", f"-1.5{'0' * 40}", f"0.{'0' * 80}", "0E-30", "1E5", f"15{'0' * 90}E-91", "2"]
    rows = [", ".join(place.format(text) for place in PLACES.values()) for text in texts]
    config = {
        **serve(decimals(facets, *rows)),
        **batch_config(tmp_path, "parquet", None, 4),
        "use_singer_decimal": use_singer_decimal,
    }
    tables = [parquet.ParquetFile(path).read() for path in files(sync(config), "t_s")]
    written = [row for table in tables for row in table.to_pylist()]
    assert {row["ID"] for row in written} == {"1.50000000"}
    for row, value in zip(written, map(Decimal, texts), strict=True):
        assert row["ONE"] == value
        assert row["LIST"] == [1, None, value]
        assert row["LINE"] == {"PART": value}
        assert row["LINES"] == [None, {"PART": value}]
    precision, scale, _ = PARQUET_FACETS[facets]
    types = {table.schema.field("ONE").type for table in tables}
    assert {(item.precision, item.scale) for item in types} == {(precision, scale)}
    assert {item.bit_width for item in types} == {128 if precision <= 38 else 256}
    assert tables[0].schema == tables[1].schema


@pytest.mark.parametrize("place", ["ONE", "LINES.PART"])
@pytest.mark.parametrize("facets", PARQUET_FACETS)
@pytest.mark.parametrize(
    ("value", "needed_scale"),
    [
        ("1.00000000051", 11),
        ("-1.5E-20", 21),
        ("0.000000000000000000000100", 22),
        (f"1.{'0' * 50}1", 51),
        ("1E400", None),
        ("-99999999.5", None),
        ("9" * 30, None),
        ("1" * 30, None),
        (f"{'9' * 24}.5", None),
        ("9" * 38, None),
        ("9" * 57, None),
        ("9" * 75, None),
        ("9E55", None),
    ],
)
def test_digits_are_in_parquet_or_fail_by_name(
    serve: Serve, tmp_path: Path, place: str, facets: str, value: str, needed_scale: int | None
) -> None:
    precision, scale, source = PARQUET_FACETS[facets]
    needed_precision = Decimal(value).adjusted() + 1 + scale
    rows = [PLACES[place].format(text) for text in ("1.0", value)]
    config = {**serve(decimals(facets, *rows)), **batch_config(tmp_path, "parquet", None, 10)}
    if (needed_scale or 0) <= scale and needed_precision <= precision:
        (path,) = files(sync(config), "t_s")
        row = parquet.ParquetFile(path).read().to_pylist()[1]
        found = row["ONE"] if place == "ONE" else row["LINES"][1]["PART"]
        assert found == Decimal(value)
        return
    with pytest.raises(DataError) as error:
        sync(config)
    shown = value if len(value) <= 40 else f"{value[:40]}..."
    needed = f"scale {needed_scale}" if needed_scale else f"precision {needed_precision}"
    assert str(error.value) == (
        f"The column {place} does not fit into Parquet: {shown} requires {needed}, but the file "
        f"has precision {precision} and scale {scale}{source}: use the format jsonl, or deselect "
        "the column."
    )


def test_objects_that_change_between_pages_fail_by_name(serve: Serve, tmp_path: Path) -> None:
    columns = {"ID": "Edm.String*", "PLACE": "Edm.GeographyPoint"}
    rows = [
        *('{"ID":"1","PLACE":{"type":"Point"}}' for _ in range(2)),
        '{"ID":"2","PLACE":{"type":["Point"]}}',
    ]
    tenant = StandIn(Model("C4T", "T", edmx(S=columns), {"S": rows}))
    config = {**serve(tenant), **batch_config(tmp_path, "parquet", None, 10)}
    with pytest.raises(DataError, match="use the format jsonl"):
        sync(config, select(discover(config), "t_s"))


def test_parquet_without_pyarrow_is_an_error_that_names_the_extra(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    config = batch_config(tmp_path, "parquet", None, 10)
    with pytest.raises(SACError, match=r"install tap-sac\[parquet\]"):
        sync({**serve(StandIn(sales(*ROWS))), **config})
