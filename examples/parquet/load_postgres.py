"""Load Parquet files of tap-sac into PostgreSQL: ``load_postgres.py FOLDER DATABASE-URL SCHEMA``.

It needs the packages ``psycopg[binary]`` and ``pyarrow``.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from pyarrow import csv, dataset

TYPES = {"int64": "bigint", "double": "double precision", "bool": "boolean"}
WITHOUT_HEADER = csv.WriteOptions(include_header=False)


def files_by_stream(folder: Path) -> dict[str, list[Path]]:
    """Group the files of a folder by the stream in their names."""
    streams: dict[str, list[Path]] = {}
    # Such as tap-sac--providers-98c4cd06-3c50-4e7f-9f37-9fba4a9a5d57-1.parquet
    for path in sorted(folder.glob("tap-sac--*.parquet")):
        stream = path.name.removeprefix("tap-sac--").rsplit("-", 6)[0]
        streams.setdefault(stream, []).append(path)
    return streams


def postgres_type(arrow: pa.DataType) -> str:
    """Return the type of a column, which has room for every value."""
    return "numeric" if pa.types.is_decimal(arrow) else TYPES.get(str(arrow), "text")


def for_csv(column: pa.Array) -> pa.Array:
    """Return the values as PostgreSQL can read them."""
    if pa.types.is_decimal(column.type):
        return column.cast(pa.string())
    if pa.types.is_string(column.type):  # PostgreSQL stores no NUL
        return pc.replace_substring(column, "\0", "\ufffd")
    return column


def load(connection: psycopg.Connection, schema: str, stream: str, paths: list[Path]) -> None:
    """Replace the rows of a table, and add columns that it does not have yet."""
    rows = dataset.dataset(paths)
    columns = [field for field in rows.schema if field.name != "_sdc_table_version"]
    names = [field.name for field in columns]
    if too_long := [name for name in (stream, *names) if len(name.encode()) > 63]:  # noqa: PLR2004
        sys.exit(f"PostgreSQL would cut these names to 63 bytes: {too_long}")
    table = sql.Identifier(schema, stream)
    connection.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} ()").format(table))
    for field in columns:
        connection.execute(
            sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}").format(
                table, sql.Identifier(field.name), sql.SQL(postgres_type(field.type))
            )
        )
    connection.execute(sql.SQL("TRUNCATE {}").format(table))
    copy_rows = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        table, sql.SQL(", ").join(map(sql.Identifier, names))
    )
    with connection.cursor().copy(copy_rows) as copy:
        for batch in rows.to_batches(columns=names):
            lines = io.BytesIO()
            arrays = [for_csv(column) for column in batch.columns]
            csv.write_csv(pa.table(arrays, names), lines, WITHOUT_HEADER)
            copy.write(lines.getvalue())


def main() -> None:
    """Load every stream of the folder in one transaction: all tables or none."""
    try:
        folder, url, schema = sys.argv[1:]
    except ValueError:
        sys.exit(__doc__)
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        for stream, paths in files_by_stream(Path(folder)).items():
            load(connection, schema, stream, paths)


if __name__ == "__main__":
    main()
