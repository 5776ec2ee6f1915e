"""Values at the limits of their types: what passes fits every target, the rest is named."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet

from tap_sac.sac.errors import SACError
from tests.conftest import discover, select, sync
from tests.helpers.batches import batch_config, files, records_of
from tests.helpers.rows import one_column
from tests.helpers.stand_in import Model, StandIn, edmx
from tests.helpers.values import KEPT, RESPELLED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serve

WRONG_FORMS = {
    "Edm.Date": [
        '"2024-02-30"',
        '"2023-02-29"',
        '"1900-02-29"',
        '"2024-04-31"',
        '"2024-00-01"',
        '"2024-01-00"',
        '"0000-01-01"',
        '"-0001-01-01"',
        '"10000-01-01"',
        '"202402"',
        '"2024-0229"',
        '"2024-02-29T05:12:44Z"',
        '"20240229"',
        "20240229",
        '"2024-02-29T00:00:00"',
        '"2024-02-29\\n2024-02-29"',
        '"2024-02-29\\n"',
        '"\\u0662024-02-29"',
        '"#"',
        '""',
    ],
    "Edm.DateTimeOffset": [
        '"2024-02-30T05:12:44Z"',
        '"2024-02-29T24:00:00Z"',
        '"2016-12-31T23:59:60Z"',
        '"2024-02-29T05:60:44Z"',
        '"2024-02-29T05:12:44+16:00"',
        '"2024-02-29T05:12:44.1234567890123Z"',
        '"2024-02-29T05:12:44.Z"',
        '"2024-02-29T05:12:44"',
        '"2026-11-02T05:12Z"',
        '"2026-11-02t05:12:44z"',
        '"2026-11-02 05:12:44.5+0100"',
        '"0000-01-01T00:00:00Z"',
        '"2024-02-29"',
        '"2024-02-29Tnull,05:12:44Z"',
        '""',
    ],
}
WRONG_VALUES = {
    "Edm.Date": ["true", "{}"],
    "Edm.Guid": ["[]"],
    "Edm.Byte": ["256", "-1", '"256"', "256.0"],
    "Edm.SByte": ["-129", "128"],
    "Edm.Int16": ["-32769", "32768"],
    "Edm.Int32": ["-2147483649", "2147483648"],
    "Edm.Int64": ["-9223372036854775809", "9223372036854775808"],
    "Edm.Double": ["1.8e308", "-1e400", 309 * "9"],
    "Edm.Single": ["1e400"],
}
PATHS = ["records", "one by one", "jsonl", "parquet"]


def on_path(path: str, folder: Path) -> dict[str, Any]:
    if path in {"jsonl", "parquet"}:
        return batch_config(folder, path, None, 3)
    return {} if path == "records" else {"stream_maps": {"t_s": {"__filter__": "1 == 1"}}}


def written(config: dict[str, Any], path: str, catalog: dict[str, Any] | None = None) -> list[Any]:
    """Return the values of the column X; numbers with a point are strings."""
    messages = sync(config, catalog)
    if path == "parquet":
        tables = [parquet.read_table(file) for file in files(messages, "t_s")]
        values = [value for table in tables for value in table["X"].to_pylist()]
        return [str(value) if isinstance(value, date) else value for value in values]
    records = records_of(messages, "t_s") if path == "jsonl" else messages.records("t_s")
    return [record["X"] for record in records]


def cases(table: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """Take each value as many are read at once, and one of each type on the other paths too."""
    return [
        (type_name, value, path)
        for type_name, values in table.items()
        for value in values
        for path in (PATHS if value == values[0] else PATHS[:1])
    ]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("type_name", KEPT)
def test_values_at_the_limits_are_written_as_they_are(
    serve: Serve, tmp_path: Path, type_name: str, path: str
) -> None:
    values = [*KEPT[type_name], "null"]
    config = {**serve(one_column(type_name, *values)), **on_path(path, tmp_path)}
    expected = [json.loads(value, parse_float=str) for value in values]
    found = written(config, path)
    if path == "parquet" and type_name in {"Edm.Double", "Edm.Single"}:
        expected = [None if value is None else float(value) for value in expected]
    elif path == "parquet" and type_name == "Edm.Decimal":
        found = [None if value is None else str(value) for value in found]
        expected[1] = "1E-7"
    assert found == expected


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("type_name", RESPELLED)
def test_integers_that_are_written_otherwise_are_integers(
    serve: Serve, tmp_path: Path, type_name: str, path: str
) -> None:
    spellings = RESPELLED[type_name]
    config = {**serve(one_column(type_name, *spellings)), **on_path(path, tmp_path)}
    assert written(config, path) == list(spellings.values())


def cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


@pytest.mark.parametrize(("type_name", "value", "path"), cases(WRONG_FORMS))
def test_text_of_another_form_is_named_with_its_row_and_both_ways_out(
    serve: Serve, tmp_path: Path, type_name: str, value: str, path: str
) -> None:
    tenant = one_column(type_name, KEPT[type_name][0], value)
    with pytest.raises(SACError) as error:
        sync({**serve(tenant), **on_path(path, tmp_path)})
    assert str(error.value).partition("t_s: ")[2] == (
        f"The column X of S holds {cut(repr(json.loads(value)))} in the row of ID '1', but "
        f"$metadata declares {type_name}. Correct the value in SAC, deselect the column, or remove "
        "its format from the catalog to load plain text."
    )


@pytest.mark.parametrize(("type_name", "value", "path"), cases(WRONG_VALUES))
def test_value_beyond_its_type_is_named_with_its_row(
    serve: Serve, tmp_path: Path, type_name: str, value: str, path: str
) -> None:
    tenant = one_column(type_name, KEPT[type_name][0], value)
    with pytest.raises(SACError) as error:
        sync({**serve(tenant), **on_path(path, tmp_path)})
    shown = repr(value.strip('"')) if value.startswith('"') else value.replace("true", "True")
    assert (
        str(error.value)
        .partition("t_s: ")[2]
        .startswith(
            f"The column X of S holds {cut(shown)} in the row of ID '1', but $metadata declares "
            f"{type_name}. Run discovery again"
        )
    )


def test_row_is_named_by_all_columns_of_its_key(serve: Serve) -> None:
    columns = {"Version": "Edm.String*", "DAY": "Edm.Date*", "X": "Edm.Byte"}
    row = '{"Version":"public.Plan","DAY":"2024-02-29","X":256}'
    config = serve(StandIn(Model("C4T", "T", edmx(S=columns), {"S": [row]})))
    with pytest.raises(SACError, match=r"in the row of Version 'public.Plan', DAY '2024-02-29', b"):
        sync(config)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("type_name", WRONG_FORMS)
def test_without_a_format_in_the_catalog_texts_are_written_as_they_are(
    serve: Serve, tmp_path: Path, type_name: str, path: str
) -> None:
    values = WRONG_FORMS[type_name]
    config = {**serve(one_column(type_name, *values)), **on_path(path, tmp_path)}
    catalog = select(discover(config), "t_s")
    for entry in catalog["streams"]:
        entry["schema"]["properties"].get("X", {}).pop("format", None)
    assert written(config, path, catalog) == [str(json.loads(value)) for value in values]


@pytest.mark.parametrize("path", PATHS)
def test_text_keeps_a_null_character_on_every_path(serve: Serve, tmp_path: Path, path: str) -> None:
    config = {**serve(one_column("Edm.String", '"a\\u0000b"', "null")), **on_path(path, tmp_path)}
    assert written(config, path) == ["a\0b", None]


@pytest.mark.parametrize("path", PATHS)
def test_texts_may_be_longer_than_declared(serve: Serve, tmp_path: Path, path: str) -> None:
    tenant = one_column("Edm.String", '"four"')
    tenant.models[0].edmx = tenant.models[0].edmx.replace('Name="X"', 'Name="X" MaxLength="3"')
    assert 'MaxLength="3"' in tenant.models[0].edmx
    config = {**serve(tenant), **on_path(path, tmp_path)}
    assert "maxLength" not in discover(config)["t_s"]["schema"]["properties"]["X"]
    assert written(config, path) == ["four"]
