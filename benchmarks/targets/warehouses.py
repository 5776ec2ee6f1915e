"""What has arrived: the rows of a table, and the sums of its measures, added up exactly."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
from pyarrow import fs

from benchmarks.tenant import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# Floats as their shortest text, so that a sum is inexact only if a value is. DuckDB's 38 digits.
_EXACT_TEXT = "CAST(CAST({} AS VARCHAR) AS DECIMAL(38, 7))"


@dataclass(frozen=True)
class Found:
    """The number of rows, and the sums of those measures that the table has."""

    rows: int
    sums: Mapping[str, Decimal]


def in_postgres(database: str, schema: str, table: str) -> Found:
    """Add up a table of PostgreSQL."""
    with psycopg.connect(database) as connection:
        columns = connection.execute(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = %s AND table_name = %s",
            [schema, table],
        )
        measures = _measures(name for (name,) in columns)
        values = ", ".join(f'sum("{name}"::text::numeric)' for name in measures.values())
        query = f'SELECT count(*), {values or "NULL"} FROM "{schema}"."{table}"'  # noqa: S608
        row = connection.execute(query).fetchone()
    return _found(row, measures)


def in_duckdb(database: Path | str, source: str) -> Found:
    """Add up a table of a DuckDB database, or what a function of DuckDB reads.

    Args:
        database: The path of the database.
        source: The table or function, in SQL.
    """
    with duckdb.connect(database) as connection:
        columns = connection.execute(f"DESCRIBE FROM {source}").fetchall()
        measures = _measures(name for name, *_ in columns)
        values = ", ".join(f"sum({_EXACT_TEXT})".format(f'"{name}"') for name in measures.values())
        query = f"SELECT count(*), {values or 'NULL'} FROM {source}"  # noqa: S608
        return _found(connection.execute(query).fetchone(), measures)


def bucket_at(storage: str) -> fs.S3FileSystem:
    """Return the buckets of a server that speaks S3."""
    scheme, _, host = storage.partition("://")
    return fs.S3FileSystem(
        access_key="benchmark",
        secret_key="benchmark",  # noqa: S106  (opens nothing)
        scheme=scheme,
        endpoint_override=host,
        allow_bucket_creation=True,
    )


def in_bucket(storage: str, written: str, folder: Path) -> Found:
    """Add up the Parquet files in a folder of a bucket, once they are copied into a local one."""
    files = folder / "files"
    files.mkdir()
    fs.copy_files(written, str(files), source_filesystem=bucket_at(storage))
    return in_duckdb(":memory:", f"read_parquet('{files}/*.parquet')")


def in_csv(path: Path) -> Found:
    """Add up a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return _added(csv.DictReader(file))


def in_jsonl(path: Path) -> Found:
    """Add up a file of JSON lines."""
    with path.open(encoding="utf-8") as file:
        return _added(json.loads(line, parse_float=Decimal) for line in file)


def _measures(columns: Iterable[str]) -> dict[str, str]:
    """Find the measures among columns, whose names some targets write in lower case."""
    return {name.upper(): name for name in columns if name.upper() in MEASURES}


def _found(row: tuple[Any, ...] | None, measures: Iterable[str]) -> Found:
    rows, *sums = row or (0,)
    # NULL is the sum of no rows, or stands there for want of a measure.
    return Found(
        rows, {name: total or Decimal(0) for name, total in zip(measures, sums, strict=False)}
    )


def _added(rows: Iterable[Mapping[str, Any]]) -> Found:
    count = 0
    sums: dict[str, Decimal] = {}
    with localcontext() as context:
        context.prec = 100
        for row in rows:
            count += 1
            for name in MEASURES:
                if name in row:
                    sums[name] = sums.get(name, Decimal(0)) + Decimal(row[name])
    return Found(count, sums)
