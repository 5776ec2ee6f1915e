# /// script
# requires-python = ">=3.10"
# dependencies = ["adbc-driver-postgresql>=1.12", "pyarrow>=21"]
# ///
"""Load the Parquet or Arrow files of a run of tap-sac into PostgreSQL, whole tables at a time.

It takes files, types and keys from the messages of the run, and makes each table whose read is
complete equal to it. Other tables stay as they are, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_postgresql import dbapi
from pyarrow import dataset

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION = "_sdc_table_version"
MOST_BYTES = 63  # of a name in PostgreSQL
MOST_COLUMNS = 32  # of a key in PostgreSQL
TYPES = {
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "integer": pa.int64(),
    "number": pa.decimal128(38, 10),
    "x-singer.decimal": pa.decimal128(38, 10),
}
COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), coalesce(attnum = ANY(indkey), false)
FROM pg_attribute LEFT JOIN pg_index ON indrelid = attrelid AND indisprimary
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"""


@dataclass
class Stream:
    """What the messages say about a stream: columns, key, files, and the version to load."""

    columns: dict[str, Any]
    key: list[str]
    format: str = ""
    files: list[str] = field(default_factory=list)
    version: int | None = None

    def rows(self) -> pa.RecordBatchReader:
        """Return the rows as PostgreSQL can store them."""
        declared = pa.schema([(name, arrow_type(each)) for name, each in self.columns.items()])
        schemas = [dataset.dataset(url, format=self.format).schema for url in self.files]
        # What a stream map makes can have another type in each file.
        schema = pa.unify_schemas(schemas or [declared], promote_options="permissive")
        files = [dataset.dataset(url, schema, format=self.format) for url in self.files]
        columns = {short(name): pc.field(name) for name in schema.names if name != VERSION}
        # What was read twice has files of both reads.
        is_wanted = pc.field(VERSION) == self.version if VERSION in schema.names else None
        source = dataset.dataset(files or schema.empty_table())
        scanner = source.scanner(columns=columns, filter=is_wanted)
        batches = map(without_nul, scanner.to_batches())
        return pa.RecordBatchReader.from_batches(scanner.projected_schema, batches)


def read_messages(lines: Iterable[str]) -> dict[str, Stream]:
    """Collect what the messages of a run say about each stream."""
    streams: dict[str, Stream] = {}
    for message in map(json.loads, lines):
        kind, name = message["type"], message.get("stream", "")
        if kind == "SCHEMA":
            stream = Stream(message["schema"]["properties"], message.get("key_properties") or [])
            streams.setdefault(name, stream)
        elif kind == "BATCH":
            streams[name].format = message["encoding"]["format"]
            streams[name].files += message["manifest"]
        elif kind == "ACTIVATE_VERSION":
            streams[name].version = message["version"]
        elif kind == "RECORD":
            sys.exit("The messages have records instead of files: set batch_config in tap-sac.")
    return streams


def arrow_type(column: dict[str, Any]) -> pa.DataType:
    """Return the type of a column without a file, because there are no rows."""
    declared = repr([column.get("format"), column.get("type")])
    return next((arrow for name, arrow in TYPES.items() if repr(name) in declared), pa.string())


def without_nul(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Replace NUL, which PostgreSQL cannot store."""
    columns = [
        pc.replace_substring(column, "\0", "\ufffd")
        if pa.types.is_string(column.type) and b"\0" in bytes(column.buffers()[2] or b"")
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def short(name: str) -> str:
    """Return a name that PostgreSQL does not cut."""
    text = name.encode()
    if len(text) <= MOST_BYTES:
        return name
    digest = hashlib.sha256(text).hexdigest()[:8]
    return f"{text[: MOST_BYTES - 9].decode(errors='ignore')}_{digest}"


def quoted(name: str) -> str:
    """Write a name as SQL."""
    return '"{}"'.format(name.replace('"', '""'))


def columns_of(cursor: dbapi.Cursor, table: str) -> dict[str, tuple[str, bool]]:
    """Return the columns of a table: their types, and whether they are part of its key."""
    found = cursor.execute(COLUMNS, (table,)).fetchall()
    return {name: (kind, is_key) for name, kind, is_key in found}


def replace(cursor: dbapi.Cursor, table: str, key: list[str], rows: int) -> None:
    """Make a table equal to the staged rows, in the types that it has.

    Of a table with this key, only rows that differ are touched: to write its index takes long.
    """
    staged, present = columns_of(cursor, "pg_temp.staged"), columns_of(cursor, table)
    values = ", ".join(
        f"CAST({quoted(name) if name in staged else 'NULL'} AS {kind}) AS {quoted(name)}"
        for name, (kind, _) in present.items()
    )
    new = f"(SELECT {values} FROM pg_temp.staged) AS new"
    same_key = "false"
    if key and {*key} == {name for name, (_, is_key) in present.items() if is_key}:
        same_key = " AND ".join(f"new.{quoted(name)} = old.{quoted(name)}" for name in key)
    cursor.execute(
        f"DELETE FROM {table} AS old WHERE NOT EXISTS (SELECT FROM {new}"
        f" WHERE {same_key} AND ROW(new.*) IS NOT DISTINCT FROM ROW(old.*))"
    )
    (kept,) = cursor.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
    if kept == rows:
        return
    columns = ", ".join(map(quoted, staged))
    cursor.execute(
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {new}"
        f" WHERE NOT EXISTS (SELECT FROM {table} AS old WHERE {same_key})"
    )
    if kept + cursor.rowcount != rows:
        msg = "several rows have the same key: load with --no-keys into a new table"
        raise ValueError(msg)


def load(cursor: dbapi.Cursor, schema: str, name: str, stream: Stream) -> int:
    """Make a table equal to the rows of a stream, in one transaction; returns their number."""
    if stream.version is None:
        msg = "the messages have no ACTIVATE_VERSION, so the read is not proven or has only changes"
        raise ValueError(msg)
    table, rows = f"{quoted(schema)}.{quoted(name)}", stream.rows()
    key = [short(column) for column in stream.key]
    cursor.adbc_ingest("staged", rows.schema.empty_table(), mode="replace", temporary=True)
    staged, present = columns_of(cursor, "pg_temp.staged"), columns_of(cursor, table)
    if present:
        for column, (kind, _) in staged.items():
            if column not in present:
                cursor.execute(f"ALTER TABLE {table} ADD COLUMN {quoted(column)} {kind}")
        cursor.connection.commit()  # Readers wait for a new column, but not for rows.
    else:
        cursor.execute(f"CREATE TABLE {table} (LIKE pg_temp.staged)")
    cursor.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")  # Two loads take turns.
    if staged.items() <= columns_of(cursor, table).items():  # The types are the same, without key.
        cursor.execute(f"DELETE FROM {table}")
        count: int = cursor.adbc_ingest(name, rows, mode="append", db_schema_name=schema)
    else:
        count = cursor.adbc_ingest("staged", rows, mode="append", temporary=True)
        replace(cursor, table, key, count)
    if not present and 0 < len(key) <= MOST_COLUMNS:
        cursor.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({', '.join(map(quoted, key))})")
    cursor.connection.commit()
    return count


def main() -> None:
    """Load each stream that was read to its end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", help="such as postgresql://user:password@host:5432/warehouse")
    parser.add_argument("schema", help="where the tables are")
    parser.add_argument("messages", nargs="?", type=Path, default="/dev/stdin", help="of the run")
    parser.add_argument("--no-keys", action="store_true", help="make tables without a primary key")
    options = parser.parse_args()
    with options.messages.open(encoding="utf-8") as lines:
        streams = read_messages(lines)
    failed = []
    with dbapi.connect(options.database) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(options.schema)}")
        connection.commit()
        for name, stream in streams.items():
            stream.key = [] if options.no_keys else stream.key
            try:
                rows = load(cursor, options.schema, short(name), stream)
                print(f"{name}: {rows:,} rows")
            except (dbapi.Error, pa.ArrowException, OSError, ValueError) as error:
                connection.rollback()
                cause = "there is no file " if isinstance(error, FileNotFoundError) else ""
                failed.append(f"{name}: {cause}{error}")
    if failed:
        sys.exit("\n".join(["Not loaded, so these tables stay as they were:", *failed]))


if __name__ == "__main__":
    main()
