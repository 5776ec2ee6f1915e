"""Meltano runs the tap into real targets; what arrives is what the sample tenant has."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from tap_sac.demo import SampleTenant
from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.company import models
from tap_sac.demo.service import SALES_MODEL, SampleService
from tap_sac.demo.sums import aggregate
from tap_sac.tap import TapSAC
from tests.conftest import discover, read_messages, select
from tests.helpers.batches import batch_config
from tests.helpers.projects import (
    ROUTES,
    load,
    meltano,
    meltano_yml,
    run_meltano,
)
from tests.helpers.rows import row_text
from tests.helpers.selection import SUMS, metadata_of
from tests.helpers.stand_in import Model as StandInModel
from tests.helpers.stand_in import StandIn, edmx
from tests.helpers.values import KEPT, RESPELLED
from tests.helpers.warehouse import (
    FIRST_MONTH,
    SALES,
    contents,
    exact_sum,
    expected_tables,
    primary_key,
    read_csv,
    rows_of,
    sums,
    tables_of_the_first_month,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tap_sac.demo.company import Table
    from tap_sac.demo.tracking import TrackedRows

pytestmark = pytest.mark.end_to_end

SCHEMAS = {"records": "sac", "batches": "sac_batches"}
FINANCE_MODEL = ("sac", "C4FINPLANK2M9X7QW1TBV0ZJ8A")
SUMS_BY_ACCOUNT = "financial_planning_fact_data_aggregation"
ACCOUNT_KEY = ("Version", "Account")


def test_check(project: Path) -> None:
    output = meltano(project, "invoke", "tap-sac", "--check")
    assert "ok      rows: the first page of financial_planning_fact_data has 1,000" in output


def test_models(project: Path) -> None:
    result = run_meltano(project, "invoke", "tap-sac", "--models=json")
    assert result.returncode == 0, result.stderr
    listed = json.loads(result.stdout)
    assert {(item["namespace"], item["id"]): item["exportable"] for item in listed} == {
        (model.namespace, model.id): bool(model.tables) for model in models()
    }


@pytest.mark.parametrize(
    ("use_singer_decimal", "filters", "tables"),
    [("false", {}, expected_tables), ("true", FIRST_MONTH, tables_of_the_first_month)],
)
def test_csv(
    project: Path,
    use_singer_decimal: str,
    filters: dict[str, str],
    tables: Callable[[], dict[str, Table]],
) -> None:
    log = meltano(
        project,
        *("run", "tap-sac", "target-csv"),
        TAP_SAC_FILTERS=json.dumps(filters),
        TAP_SAC_USE_SINGER_DECIMAL=use_singer_decimal,
    )
    assert "Read 33 tables in " in log
    assert not [line for line in log.splitlines() if "METRIC" in line or "] target-csv" in line]
    files = {path.stem: path for path in (project / "output").glob("*.csv")}
    expected = tables()
    assert set(files) == {*expected, "providers"}
    for name, table in expected.items():
        rows = read_csv(files[name])
        assert [
            {column.name: text_of(row.get(column.name)) for column in table.columns}
            for row in table.rows
        ] == [{column: text_of(value) for column, value in row.items()} for row in rows]
        for column, total in sums(table).items():
            assert exact_sum(Decimal(row[column]) for row in rows if row[column]) == total


def text_of(value: object) -> str:
    """Compare as text, but 0E-7 (which is how Python's csv module writes it) as 0.0000000."""
    if isinstance(value, Decimal) or (isinstance(value, str) and "E-" in value):
        return f"{Decimal(value):f}"
    return "" if value is None else str(value)


@pytest.mark.parametrize("route", ROUTES)
def test_postgres(project: Path, database: str, route: str) -> None:
    load = {
        "TARGET_POSTGRES_SQLALCHEMY_URL": database.replace(":", "+psycopg:", 1),
        "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": SCHEMAS[route],
    }
    environment = "batches" if route == "batches" else "demo"
    job = (f"--environment={environment}", "run", "tap-sac", "target-postgres")
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
    check_sums_by_node(database, SCHEMAS[route])

    if route == "records":
        meltano(project, *job, **load, TAP_SAC_MODELS='["Budget"]')
        assert contents(database, SCHEMAS[route]) == first
    assert bool(list((project / "files").iterdir())) is (route == "batches")


def test_the_nightly_schedule_loads_postgres(project: Path, database: str) -> None:
    assert "[0 3 * * *] job nightly" in meltano(project, "schedule", "list")
    meltano(
        project,
        "--environment=demo",
        *("schedule", "run", "nightly"),
        TAP_SAC_MODELS='["Sales Planning"]',
        TARGET_POSTGRES_SQLALCHEMY_URL=database.replace(":", "+psycopg:", 1),
        TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA="nightly",
    )
    loaded = contents(database, "nightly")
    sales = {name for name in expected_tables() if name.startswith("sales_planning_")}
    assert set(loaded) == {*sales, "providers"}
    assert all(table["rows"] for table in loaded.values())


def check_sums_by_node(database: str, schema: str) -> None:
    """See that SQL without recursion adds up facts along a hierarchy."""
    facts = expected_tables()["financial_planning_fact_data"].rows
    members = expected_tables()["financial_planning_cost_center_master_with_hierarchy"].rows
    below = {
        node["ID"]: {
            leaf["ID"]
            for leaf in members
            if leaf["H1_PATH"] and f"/{leaf['H1_PATH']}/".count(f"/{node['ID']}/")
        }
        for node in members
        if node["H1_LEVEL"] == 2
    }
    assert [*below] == ["HQ", "SHOPS"]
    query = sql.SQL(
        """
        SELECT node."ID", sum(facts."SignedData")
        FROM {masters} AS node
        JOIN {masters} AS leaf ON leaf."H1_PATH" LIKE node."H1_PATH" || '/%'
        JOIN {facts} AS facts ON facts."CostCenter" = leaf."ID"
        WHERE node."H1_LEVEL" = 2
        GROUP BY node."ID" ORDER BY node."ID"
        """
    ).format(
        masters=sql.Identifier(schema, "financial_planning_cost_center_master_with_hierarchy"),
        facts=sql.Identifier(schema, "financial_planning_fact_data"),
    )
    with psycopg.connect(database) as connection:
        assert connection.execute(query).fetchall() == [
            (node, exact_sum(row["SignedData"] for row in facts if row["CostCenter"] in leaves))  # type: ignore[misc]
            for node, leaves in below.items()
        ]


def as_is(value: object) -> object:
    return value


def is_there(_: object) -> object:
    """Expect some value: PostgreSQL has fewer digits for times, and its driver fewer years."""
    return True


# The columns that PostgreSQL gets, and what is then in them.
IN_POSTGRES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "Edm.Date": ("date", date.fromisoformat),
    "Edm.DateTimeOffset": ("timestamp without time zone", is_there),
    "Edm.Boolean": ("boolean", as_is),
    **dict.fromkeys(
        ["Edm.Byte", "Edm.SByte", "Edm.Int16", "Edm.Int32", "Edm.Int64"], ("bigint", as_is)
    ),
    **dict.fromkeys(["Edm.Decimal", "Edm.Double", "Edm.Single"], ("numeric", Decimal)),
    **dict.fromkeys(
        ["Edm.Binary", "Edm.Duration", "Edm.Guid", "Edm.String", "Edm.TimeOfDay"], ("text", as_is)
    ),
}
# What the tap writes of what SAC sends.
WRITTEN: dict[str, dict[str, Any]] = {
    type_name: {
        **{value: json.loads(value, parse_float=str) for value in kept},
        **RESPELLED.get(type_name, {}),
    }
    for type_name, kept in KEPT.items()
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("validates", [False, True])
def test_all_values_that_pass_fit_into_postgres(
    database: str, tmp_path: Path, route: str, *, validates: bool
) -> None:
    columns = {type_name.removeprefix("Edm."): type_name for type_name in WRITTEN}
    # Each column begins again with its first value after its last one.
    rows = [
        {
            name: [*WRITTEN[type_name]][number % len(WRITTEN[type_name])]
            for name, type_name in columns.items()
        }
        for number in range(max(map(len, WRITTEN.values())))
    ]
    texts = [row_text({"ID": str(number), **row}) for number, row in enumerate(rows)]
    document = edmx(S={"ID": "Edm.Int32*", **columns})
    tenant = StandIn(StandInModel("C4T", "T", document, {"S": texts}))
    files = {} if route == "records" else batch_config(tmp_path, "jsonl", "gzip", 5)
    with SampleTenant(tenant) as server, contextlib.redirect_stdout(io.StringIO()) as output:
        TapSAC(config={**server.settings, **files}).sync_all()
    schema = f"values_{route}_{validates}".lower()
    config = {
        "sqlalchemy_url": database.replace(":", "+psycopg:", 1),
        "default_target_schema": schema,
        "validate_records": validates,
    }
    load(output.getvalue(), tmp_path, config)
    with psycopg.connect(database) as connection:
        for name, type_name in columns.items():
            sql_type, convert = IN_POSTGRES[type_name]
            column = sql.Identifier(name)
            value = sql.SQL("{} IS NOT NULL").format(column) if convert is is_there else column
            query = sql.SQL('SELECT pg_typeof({})::text, {} FROM {} ORDER BY "ID"').format(
                column, value, sql.Identifier(schema, "t_s")
            )
            found = connection.execute(query).fetchall()
            assert found == [(sql_type, convert(WRITTEN[type_name][row[name]])) for row in rows]


@pytest.mark.parametrize("is_dotted", [False, True])
def test_master_data_fits_into_postgres(database: str, tmp_path: Path, *, is_dotted: bool) -> None:
    service = SampleService(Behaviour(dotted_master_data=is_dotted))
    service.limit(SALES_MODEL, 20)
    with SampleTenant(service) as server, contextlib.redirect_stdout(io.StringIO()) as output:
        config = {**server.settings, "models": ["Sales Planning"]}
        catalog = select(discover(config), "sales_planning_master_data")
        TapSAC(config=config, catalog=catalog).sync_all()
    schema = f"master_data_{is_dotted}".lower()
    url = database.replace(":", "+psycopg:", 1)
    load(output.getvalue(), tmp_path, {"sqlalchemy_url": url, "default_target_schema": schema})
    records = read_messages(output.getvalue()).records("sales_planning_master_data")
    names = [name for name in records[0] if name.endswith(".ID" if is_dotted else "___ID")]
    assert len(names) == 5
    with psycopg.connect(database) as connection:
        query = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.Identifier(schema, "sales_planning_master_data"),
        )
        found = connection.execute(query).fetchall()
    assert sorted(found) == sorted(tuple(row[name] for name in names) for row in records)


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_several_facts_of_a_key_add_up_in_postgres(
    database: str, tmp_path: Path, method: str
) -> None:
    service = SampleService(Behaviour(facts_per_key=3))
    for model in (SALES_MODEL, FINANCE_MODEL):
        service.limit(model, 400)
    facts, accounts = service.facts(SALES_MODEL), service.facts(FINANCE_MODEL)
    schema = f"sums_{method.lower()}"
    target = {
        "sqlalchemy_url": database.replace(":", "+psycopg:", 1),
        "default_target_schema": schema,
    }
    state: dict[str, Any] = {}
    with SampleTenant(service) as tenant, psycopg.connect(database) as connection:
        config = {
            **tenant.settings,
            "default_replication_method": method,
            "models": ["Sales Planning", "Financial Planning"],
        }

        def run_and_check() -> None:
            found = discover(config)
            for column in found[SUMS_BY_ACCOUNT]["schema"]["properties"]:
                is_read = column in {*ACCOUNT_KEY, "SignedData"}
                metadata_of(found[SUMS_BY_ACCOUNT], column)["selected"] = is_read
            catalog = select(found, SUMS, SUMS_BY_ACCOUNT)
            with contextlib.redirect_stdout(io.StringIO()) as output:
                TapSAC(config=config, catalog=catalog, state=copy.deepcopy(state)).sync_all()
            state.update(json.loads(load(output.getvalue(), tmp_path, target).splitlines()[-1]))
            rows = [row for row in facts.rows if row is not None]
            query = sql.SQL(
                "SELECT count(*), sum({}), sum({}) FROM {} WHERE _sdc_deleted_at IS NULL"
            ).format(
                sql.Identifier("REVENUE"),
                sql.Identifier("LOYALTY_POINTS"),
                sql.Identifier(schema, SUMS),
            )
            assert connection.execute(query).fetchone() == (
                len(rows),
                *(
                    exact_sum(row[name] for row in rows)  # type: ignore[misc]
                    for name in ("REVENUE", "LOYALTY_POINTS")
                ),
            )
            check_sums_by_account(connection, schema, accounts)
            connection.rollback()

        run_and_check()
        first, second, third = (row for row in facts.rows[:3] if row is not None)
        facts.put({**first, "REVENUE": Decimal("123456789012345678901234.1234567")})
        facts.put({**second, "Date": "202712"})
        facts.delete(facts.key_of(third))
        entry = next(row for row in accounts.rows if row is not None)
        accounts.put({**entry, "SignedData": Decimal("0.0000001")})
        accounts.put({**entry, "Date": "202712"})
        gone = [row for row in accounts.rows if row and row["Account"] == "560000"]
        assert gone
        for row in gone:
            accounts.delete(accounts.key_of(row))
        run_and_check()


def check_sums_by_account(
    connection: psycopg.Connection[Any], schema: str, accounts: TrackedRows
) -> None:
    """See that the sums by some dimensions of a model are those of its facts, by their key."""
    names = [*ACCOUNT_KEY, "SignedData"]
    assert primary_key(connection, schema, SUMS_BY_ACCOUNT) == [*ACCOUNT_KEY]
    present = (row for row in accounts.rows if row is not None)
    assert rows_of(connection, schema, SUMS_BY_ACCOUNT, names) == sorted(
        (
            tuple(row[name] for name in names)
            for row in aggregate(present, ACCOUNT_KEY, ["SignedData"]).values()
        ),
        key=repr,
    )


def test_dimensions_that_meltano_selects_are_the_key_of_sums(project: Path, database: str) -> None:
    columns = [f"{SUMS_BY_ACCOUNT}.{name}" for name in (*ACCOUNT_KEY, "SignedData")]
    meltano(
        project,
        *("--environment=demo", "run", "--state-id-suffix=sums", "tap-sac", "target-postgres"),
        TAP_SAC_MODELS='["Financial Planning"]',
        TAP_SAC__SELECT=json.dumps(columns),
        TARGET_POSTGRES_SQLALCHEMY_URL=database.replace(":", "+psycopg:", 1),
        TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA="selected_sums",
    )
    with psycopg.connect(database) as connection:
        accounts = SampleService().facts(FINANCE_MODEL)
        check_sums_by_account(connection, "selected_sums", accounts)


def test_nul_does_not_end_a_load_into_postgres(database: str, tmp_path: Path) -> None:
    service = SampleService()
    service.limit(SALES_MODEL, 10)
    facts = service.facts(SALES_MODEL)
    first = next(row for row in facts.rows if row is not None)
    facts.put({**first, "Date": "2026\0"})
    loaders = meltano_yml()["plugins"]["loaders"]
    (target,) = [item["config"] for item in loaders if item["name"] == "target-postgres"]
    target |= {
        "sqlalchemy_url": database.replace(":", "+psycopg:", 1),
        "default_target_schema": "nul",
    }
    with SampleTenant(service) as tenant, contextlib.redirect_stdout(io.StringIO()) as output:
        config = {**tenant.settings, "models": ["Sales Planning"]}
        TapSAC(config=config, catalog=select(discover(config), SALES)).sync_all()
    load(output.getvalue(), tmp_path, target)
    with psycopg.connect(database) as connection:
        query = f'SELECT count(*) FROM nul.{SALES} WHERE "Date" = %s'  # noqa: S608
        assert connection.execute(query, ["2026\ufffd"]).fetchone() == (1,)
