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
from pyarrow import dataset, fs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VERSION = "_sdc_table_version"
MOST_BYTES = 63  # of a name in PostgreSQL
MOST_COLUMNS = 32  # of a key in PostgreSQL
FORMATS = {"arrow": "ipc", "parquet": "parquet"}
# Of columns without a file, because there are no rows.
TYPES = {"boolean": pa.bool_(), "integer": pa.int64(), "number": pa.decimal128(38, 10)}
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
        source = self._dataset()
        columns = [column for column in source.schema if column.name != VERSION]
        # What was read twice has files of both reads.
        is_wanted = pc.field(VERSION) == self.version if VERSION in source.schema.names else None
        schema = pa.schema((short(column.name), column.type) for column in columns)
        batches = source.to_batches(columns=[column.name for column in columns], filter=is_wanted)
        return pa.RecordBatchReader.from_batches(schema, storable(batches, schema))

    def _dataset(self) -> dataset.Dataset:
        if not self.files:
            kinds = {name: str(column.get("type")) for name, column in self.columns.items()}
            types = [
                next((arrow for name, arrow in TYPES.items() if name in kind), pa.string())
                for kind in kinds.values()
            ]
            return dataset.dataset(pa.schema(zip(kinds, types, strict=True)).empty_table())
        system, _ = fs.FileSystem.from_uri(self.files[0])
        paths = [fs.FileSystem.from_uri(url)[1] for url in self.files]
        files = [dataset.dataset(path, filesystem=system, format=self.format) for path in paths]
        # What a stream map makes can have another type in each file.
        schema = pa.unify_schemas([file.schema for file in files], promote_options="permissive")
        return dataset.dataset(paths, schema, filesystem=system, format=self.format)


def read_messages(lines: Iterable[str]) -> dict[str, Stream]:
    """Collect what the messages of a run say about each stream."""
    streams: dict[str, Stream] = {}
    for message in map(json.loads, lines):
        kind, name = message["type"], message.get("stream", "")
        if kind == "SCHEMA":
            stream = Stream(message["schema"]["properties"], message.get("key_properties") or [])
            streams.setdefault(name, stream)
        elif kind == "BATCH":
            streams[name].format = FORMATS[message["encoding"]["format"]]
            streams[name].files += message["manifest"]
        elif kind == "ACTIVATE_VERSION":
            streams[name].version = message["version"]
        elif kind == "RECORD":
            sys.exit("The messages have records instead of files: set batch_config in tap-sac.")
    return streams


def storable(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Replace NUL, which PostgreSQL stores nowhere."""
    for batch in batches:
        columns = [
            pc.replace_substring(column, "\0", "\ufffd") if has_nul(column) else column
            for column in batch.columns
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def has_nul(column: pa.Array) -> bool:
    """Return whether a column may have a NUL in its texts."""
    return pa.types.is_string(column.type) and b"\0" in bytes(column.buffers()[2] or b"")


def short(name: str) -> str:
    """Return a name that PostgreSQL does not cut."""
    text = name.encode()
    if len(text) <= MOST_BYTES:
        return name
    digest = hashlib.sha256(text).hexdigest()[:8]
    return f"{text[: MOST_BYTES - 9].decode(errors='ignore')}_{digest}"


def quoted(*names: str) -> str:
    """Write names, such as those of a schema and a table, as SQL."""
    return ".".join('"{}"'.format(name.replace('"', '""')) for name in names)


def columns_of(cursor: dbapi.Cursor, table: str) -> dict[str, tuple[str, bool]]:
    """Return the columns of a table: their types, and whether they are part of its key."""
    found = cursor.execute(COLUMNS, (table,)).fetchall()
    return {name: (kind, is_key) for name, kind, is_key in found}


def prepare(cursor: dbapi.Cursor, table: str, schema: pa.Schema, key: list[str]) -> None:
    """Make a temporary table for new rows, and the table itself or the columns that it lacks."""
    cursor.execute("DROP TABLE IF EXISTS pg_temp.staged")
    cursor.adbc_ingest("staged", schema.empty_table(), mode="create", temporary=True)
    present = columns_of(cursor, table)
    if not present:
        cursor.execute(f"CREATE TABLE {table} (LIKE pg_temp.staged)")
        if 0 < len(key) <= MOST_COLUMNS:
            columns = ", ".join(map(quoted, key))
            cursor.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({columns})")
        return
    for name, (kind, _) in columns_of(cursor, "pg_temp.staged").items():
        if name not in present:
            cursor.execute(f"ALTER TABLE {table} ADD COLUMN {quoted(name)} {kind}")


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
    has_key, is_same = "false", "false"
    if key and {*key} == {name for name, (_, is_key) in present.items() if is_key}:
        has_key = " AND ".join(f"new.{quoted(name)} = old.{quoted(name)}" for name in key)
        others = [quoted(name) for name in present if name not in key]
        equal = [f"new.{name} IS NOT DISTINCT FROM old.{name}" for name in others]
        is_same = " AND ".join([has_key, *equal])
    cursor.execute(
        f"DELETE FROM {table} AS old WHERE NOT EXISTS (SELECT FROM {new} WHERE {is_same})"
    )
    (left,) = cursor.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
    if left == rows:
        return
    columns = ", ".join(map(quoted, staged))
    cursor.execute(
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {new}"
        f" WHERE NOT EXISTS (SELECT FROM {table} AS old WHERE {has_key})"
    )
    if left + cursor.rowcount != rows:
        msg = "several rows have the same key: load with --no-keys into a new table"
        raise ValueError(msg)


def load(
    connection: dbapi.Connection, names: tuple[str, str], stream: Stream, key: list[str]
) -> int:
    """Make a table equal to the rows of a stream, in one transaction; returns their number."""
    if stream.version is None:
        msg = "the messages have no ACTIVATE_VERSION, so the read is not proven or has only changes"
        raise ValueError(msg)
    table, source = quoted(*names), stream.rows()
    with connection.cursor() as cursor:
        prepare(cursor, table, source.schema, key)
        connection.commit()  # Readers wait for a new column, but not for rows.
        staged, present = columns_of(cursor, "pg_temp.staged"), columns_of(cursor, table)
        is_direct = not any(is_key for _, is_key in present.values()) and all(
            present[name] == column for name, column in staged.items()
        )
        if not is_direct:
            rows: int = cursor.adbc_ingest("staged", source, mode="append", temporary=True)
        cursor.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")  # Two loads take turns.
        if is_direct:
            cursor.execute(f"DELETE FROM {table}")
            rows = cursor.adbc_ingest(names[1], source, mode="append", db_schema_name=names[0])
        else:
            replace(cursor, table, key, rows)
        connection.commit()
    return rows


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
    with dbapi.connect(options.database) as connection:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(options.schema)}")
        connection.commit()
        for name, stream in streams.items():
            key = [] if options.no_keys else [short(column) for column in stream.key]
            try:
                rows = load(connection, (options.schema, short(name)), stream, key)
                print(f"{name}: {rows:,} rows")
            except (dbapi.Error, pa.ArrowException, OSError, ValueError) as error:
                connection.rollback()
                failed.append(f"{name}: {error}")
    if failed:
        sys.exit("\n".join(["Not loaded, so these tables stay as they were:", *failed]))


if __name__ == "__main__":
    main()
