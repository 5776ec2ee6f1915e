"""The example that loads files into PostgreSQL."""

from __future__ import annotations

import json
import runpy
import sys
from collections import Counter
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql
from pyarrow import ipc

from tap_sac.demo import SampleTenant
from tap_sac.demo.service import SALES_MODEL, SampleService
from tests.conftest import sync
from tests.helpers.cli import started
from tests.helpers.doc_pages import ROOT
from tests.helpers.warehouse import SALES, expected_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Rows = list[tuple[Any, ...]]
    Load = Callable[..., list[str]]

pytestmark = pytest.mark.end_to_end
SCRIPT = str(ROOT / "examples" / "load" / "load_postgres.py")


@pytest.fixture
def load(
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Load:
    """Run the script on messages; returns what it prints, and then why it failed."""

    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=9s")  # What waits for a reader would hang.

    def run(messages: list[Any], *options: str, fails: bool = False) -> list[str]:
        path = tmp_path / "messages.jsonl"
        path.write_text("".join(f"{json.dumps(message, default=str)}\n" for message in messages))
        monkeypatch.setattr(sys, "argv", [SCRIPT, database, "loaded", str(path), *options])
        failure = ""
        try:
            runpy.run_path(SCRIPT, run_name="__main__")
        except SystemExit as error:
            failure = str(error)
        assert bool(failure) is fails, failure
        return [*capsys.readouterr().out.splitlines(), *failure.splitlines()]

    return run


@pytest.fixture
def warehouse(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection
        connection.execute("DROP SCHEMA IF EXISTS loaded CASCADE")


def written(
    folder: Path,
    stream: str,
    *tables: pa.Table,
    key: tuple[str, ...] = ("ID",),
    version: int | None = 2,
) -> list[dict[str, Any]]:
    """Write tables to files, and return the messages of a stream."""
    names = tables[0].schema.names if tables else ["ID", "X"]
    properties = {
        name: {"type": ["string", "null"]} for name in names if name != "_sdc_table_version"
    }
    messages: list[dict[str, Any]] = [
        {
            "type": "SCHEMA",
            "stream": stream,
            "key_properties": [*key],
            "schema": {"properties": properties},
        }
    ]
    for number, table in enumerate(tables):
        path = folder / f"{number}-{len(list(folder.iterdir()))}.arrow"
        with ipc.new_file(path, table.schema) as file:
            file.write_table(table)
        messages.append(
            {
                "type": "BATCH",
                "stream": stream,
                "encoding": {"format": "arrow"},
                "manifest": [path.as_uri()],
            }
        )
    if version is not None:
        messages.append({"type": "ACTIVATE_VERSION", "stream": stream, "version": version})
    return messages


def rows_in(warehouse: psycopg.Connection, table: str) -> Rows:
    query = sql.SQL("SELECT * FROM {} ORDER BY 1").format(sql.Identifier("loaded", table))
    return warehouse.execute(query).fetchall()


def table_of(*rows: tuple[Any, ...], version: int = 2) -> pa.Table:
    ids, values = zip(*rows, strict=True)
    return pa.table({"ID": ids, "X": values, "_sdc_table_version": [version] * len(rows)})


def test_postgres_has_the_same_rows_as_the_tenant(
    load: Load, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    service = SampleService()
    facts = service.facts(SALES_MODEL)
    batches = {
        "encoding": {"format": "parquet"},
        "storage": {"root": (tmp_path / "files").as_uri()},
    }
    with SampleTenant(service) as tenant:
        config = {**tenant.settings, "batch_config": batches}
        load(sync(config))
        for name, table in expected_tables().items():
            names = [column.name for column in table.columns]
            columns = sql.SQL(", ").join(map(sql.Identifier, names))
            query = sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier("loaded", name))
            found = Counter(warehouse.execute(query).fetchall())
            assert found == Counter(tuple(row.get(name) for name in names) for row in table.rows)

        first, second = (row for row in facts.rows[:2] if row is not None)
        facts.delete(facts.key_of(first))
        facts.put({**second, "REVENUE": Decimal("9" * 24 + ".1234567"), "Date": "2026\0"})
        batches["encoding"]["format"] = "arrow"
        messages = sync({**config, "models": ["Sales Planning"]})
    left = [row for row in facts.rows if row is not None]
    for _ in range(2):
        assert f"{SALES}: {len(left):,} rows" in load(messages)
        found = Counter(
            warehouse.execute(f'SELECT "Date", "REVENUE" FROM loaded.{SALES}').fetchall()  # noqa: S608
        )
        assert found == Counter(
            (str(row["Date"]).replace("\0", "\ufffd"), row["REVENUE"]) for row in left
        )


@pytest.mark.parametrize("options", [(), ("--no-keys",)])
def test_readers_keep_their_rows_and_never_wait(
    load: Load,
    warehouse: psycopg.Connection,
    database: str,
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    load(written(tmp_path, "t", table_of(("1", "a"), ("2", "b"))), *options)
    warehouse.execute("CREATE VIEW loaded.v AS SELECT * FROM loaded.t")
    with psycopg.connect(database) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        before = rows_in(reader, "v")
        load(written(tmp_path, "t", table_of(("1", "a"), ("2", "c"), ("3", None))), *options)
        assert rows_in(reader, "v") == before == [("1", "a"), ("2", "b")]
    assert rows_in(warehouse, "v") == [("1", "a"), ("2", "c"), ("3", None)]
    keys = warehouse.execute("SELECT * FROM pg_indexes WHERE schemaname = 'loaded'").fetchall()
    assert len(keys) == (0 if options else 1)
    assert load(written(tmp_path, "t"), *options) == ["t: 0 rows"]
    assert rows_in(warehouse, "v") == []


@pytest.mark.parametrize("options", [(), ("--no-keys",)])
def test_load_that_fails_leaves_the_old_rows_and_loads_the_others(
    load: Load, warehouse: psycopg.Connection, tmp_path: Path, options: tuple[str, ...]
) -> None:
    for stream in ("a", "b", "c"):
        load(written(tmp_path, stream, table_of((stream, "old"))), *options)
    broken = written(tmp_path, "a", table_of(("1", "new")), table_of(("2", "new")))
    path = max(tmp_path.glob("1-*"))
    path.write_bytes(path.read_bytes().replace(b"new", b"\xff\xff\xff"))
    gone = written(tmp_path, "d", table_of(("1", "new")))
    gone[1]["manifest"] = [(tmp_path / "gone.arrow").as_uri()]
    unproven = written(tmp_path, "b", table_of(("1", "new")), version=None)
    new = written(tmp_path, "c", table_of(("1", "new")))
    said = load([*broken, *unproven, *new, *gone], *options, fails=True)
    assert said[:2] == ["c: 1 rows", "Not loaded, so these tables stay as they were:"]
    assert said[2].startswith("a: ")
    assert said[-2].startswith("b: the messages have no ACTIVATE_VERSION")
    assert said[-1] == f"d: there is no file {tmp_path}/gone.arrow"
    assert [rows_in(warehouse, name) for name in "abc"] == [
        [("a", "old")],
        [("b", "old")],
        [("1", "new")],
    ]


@pytest.mark.parametrize("options", [(), ("--no-keys",)])
def test_load_that_is_killed_leaves_the_old_rows_or_the_new_ones(
    load: Load,
    warehouse: psycopg.Connection,
    database: str,
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    load(written(tmp_path, "t", table_of(("1", "a"), ("2", "b"))), *options)
    messages = written(tmp_path, "t", table_of(("1", "a"), ("2", "c"), ("3", None)))
    path = tmp_path / "new.jsonl"
    path.write_text("\n".join(map(json.dumps, messages)))
    warehouse.execute(
        "CREATE FUNCTION loaded.stop() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock(26); RETURN NULL; END $$"
    )
    old, new = [("1", "a"), ("2", "b")], [("1", "a"), ("2", "c"), ("3", None)]
    at_commit = "AFTER INSERT ON loaded.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
    for trigger, left in (
        ("TRIGGER stop BEFORE DELETE ON loaded.t", old),
        ("TRIGGER stop AFTER INSERT ON loaded.t", old),
        (f"CONSTRAINT TRIGGER stop {at_commit}", new),
    ):
        warehouse.execute(f"CREATE {trigger} EXECUTE FUNCTION loaded.stop()".encode())
        warehouse.execute("SELECT pg_advisory_lock(26)")
        with started([sys.executable, SCRIPT, database, "loaded", str(path), *options]) as process:
            waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while not warehouse.execute(waiting).fetchall():
                assert process.poll() is None
            assert rows_in(warehouse, "t") == old
            process.kill()
        warehouse.execute("SELECT pg_advisory_unlock(26)")
        warehouse.execute("DROP TRIGGER stop ON loaded.t")  # Waits for what is left of the load.
        assert rows_in(warehouse, "t") == left
    load(messages, *options)
    assert rows_in(warehouse, "t") == new


def test_loads_of_a_table_take_turns(
    load: Load, warehouse: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = written(tmp_path, "t", table_of(("1", "a")))
    load(messages, "--no-keys")
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=1")
    with warehouse.transaction():
        warehouse.execute("INSERT INTO loaded.t VALUES ('2', 'b')")
        assert "lock timeout" in "".join(load(messages, "--no-keys", fails=True))
    assert rows_in(warehouse, "t") == [("1", "a"), ("2", "b")]


def test_only_rows_of_the_version_that_is_activated_are_loaded(
    load: Load, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    tables = table_of(("1", "a"), ("1", "b"), version=1), table_of(("1", "c"), ("2", "d"))
    load(written(tmp_path, "t", *tables))
    assert rows_in(warehouse, "t") == [("1", "c"), ("2", "d")]


@pytest.mark.parametrize("options", [(), ("--no-keys",)])
def test_tables_keep_their_types_and_get_new_columns(
    load: Load, warehouse: psycopg.Connection, tmp_path: Path, options: tuple[str, ...]
) -> None:
    rows = {
        "ID": ["1"],
        "N": pa.array([Decimal("9" * 24 + ".1234567")], pa.decimal128(31, 7)),
        "DAY": [date(2026, 1, 2)],
        "AT": pa.array([datetime(2026, 1, 2, 3, 4, 5, 6, timezone.utc)], pa.timestamp("us", "UTC")),
        "NOTHING": pa.nulls(1),
    }
    load(written(tmp_path, "t", pa.table(rows)), *options)
    first = tuple(
        value[0] if isinstance(value, list) else value.to_pylist()[0] for value in rows.values()
    )
    assert rows_in(warehouse, "t") == [first]
    changed = {"NEW": [5], "ID": ["1"], "N": ["1.5"], "DAY": ["2026-01-03"], "AT": pa.nulls(1)}
    load(written(tmp_path, "t", pa.table(changed)), *options)
    assert rows_in(warehouse, "t") == [("1", Decimal("1.5"), date(2026, 1, 3), None, None, 5)]


def test_long_names_are_cut_with_a_hash(
    load: Load, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    names = ["\u00e4" * 31 + end for end in ("bc", "bd")]
    table = pa.table([["x"], ["y"]], names)
    for _ in range(2):
        load(written(tmp_path, names[0], table, key=(names[0],)))
    found = warehouse.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'loaded'"
    ).fetchall()
    assert len(set(found)) == 2
    assert {len(name.encode()) for row in found for name in row} == {63}


def test_keys_that_postgres_cannot_have_are_left_out_or_named(
    load: Load, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    wide = {f"C{number:02}": ["x", "x"] for number in range(33)}
    load(written(tmp_path, "wide", pa.table(wide), key=tuple(wide)))
    assert len(rows_in(warehouse, "wide")) == 2
    load(written(tmp_path, "t", table_of(("1", "a"))))
    said = load(written(tmp_path, "t", table_of(("1", "a"), ("1", "b"))), fails=True)
    assert "same key" in said[-1]
    assert rows_in(warehouse, "t") == [("1", "a")]
    said = load(written(tmp_path, "u", table_of(("1", "a"), ("1", "b"))), fails=True)
    assert 'Key ("ID")=(1) is duplicated' in "".join(said)
    assert warehouse.execute("SELECT to_regclass('loaded.u')").fetchall() == [(None,)]
    load(written(tmp_path, "u", table_of(("1", "a"), ("1", "b"))), "--no-keys")
    assert rows_in(warehouse, "u") == [("1", "a"), ("1", "b")]


def test_tables_that_are_empty_have_types_too(
    load: Load, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    schema, activate = written(tmp_path, "t")
    columns = schema["schema"]["properties"]
    columns |= {kind: {"type": [kind, "null"]} for kind in ("boolean", "integer", "number")}
    for kind in ("date", "date-time", "x-singer.decimal"):
        columns[kind] = {"type": ["string", "null"], "format": kind}
    load([schema, activate])
    found = warehouse.execute(
        "SELECT string_agg(data_type, ' ' ORDER BY ordinal_position)"
        " FROM information_schema.columns WHERE table_schema = 'loaded'"
    ).fetchall()
    assert found == [("text text boolean bigint numeric date text numeric",)]


def test_files_with_different_types_make_one_table(
    load: Load, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    tables = (pa.table({"ID": [row], "X": [x]}) for row, x in (("1", 1), ("2", 1.5), ("3", None)))
    load(written(tmp_path, "t", *tables))
    assert rows_in(warehouse, "t") == [("1", 1.0), ("2", 1.5), ("3", None)]


def test_records_are_refused(load: Load, warehouse: psycopg.Connection, tmp_path: Path) -> None:
    load(written(tmp_path, "t", table_of(("1", "a"))))
    record = {"type": "RECORD", "stream": "t", "record": {"ID": "2"}}
    said = load([record, *written(tmp_path, "t")], fails=True)
    assert said == ["The messages have records instead of files: set batch_config in tap-sac."]
    assert rows_in(warehouse, "t") == [("1", "a")]
