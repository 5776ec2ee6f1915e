"""What the sample company has, and what a warehouse has of it."""

from __future__ import annotations

import csv
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any, cast

import psycopg
from psycopg import sql

from tap_sac.demo.company import Column, Model, Table, models
from tap_sac.discovery.naming import snake_case

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

NOT_SELECTED = {"MasterData", "FactDataAggregation", "FactDataDifference", "AuditData"}
# Filters for loads whose number of facts tells nothing: targets take their time for each.
FIRST_MONTH = {"*_fact_data": "Date eq '202401'"}


def tables_of_the_first_month() -> dict[str, Table]:
    """Return what `FIRST_MONTH` leaves of the sample company, by stream."""
    return {
        name: replace(table, rows=[row for row in table.rows if row["Date"] == "202401"])
        if name.endswith("_fact_data")
        else table
        for name, table in expected_tables().items()
    }


def expected_tables() -> dict[str, Table]:
    """Return what the sample company has, by stream."""
    return {
        f"{prefix(model)}_{snake_case(table.name)}": with_places(table)
        for model in models()
        for table in model.tables
        if table.name not in NOT_SELECTED
    }


def with_places(table: Table) -> Table:
    """Add the level and the path of members in each hierarchy."""
    if not table.name.endswith("WithHierarchy"):
        return table
    rows = [dict(row) for row in table.rows]
    columns = list(table.columns)
    for column in table.columns:
        name, is_parent, _ = column.name.partition("_PARENTID")
        if not is_parent:
            continue
        columns += [Column(f"{name}_LEVEL", "Edm.Int32"), Column(f"{name}_PATH")]
        parents = {str(row["ID"]): cast("str | None", row.get(column.name)) for row in rows}
        for row in rows:
            row[f"{name}_LEVEL"], row[f"{name}_PATH"] = place_of(str(row["ID"]), parents)
    return replace(table, columns=tuple(columns), rows=rows)


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


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


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


def place_of(member: str, parents: Mapping[str, str | None]) -> tuple[int | None, str | None]:
    """Find the place of a member in the plain way, which only those of trees have."""
    way = [member]
    while above := parents[way[-1]]:
        way.append(above)
        if way[-1] not in parents or len(way) > len(parents):
            return None, None
    if len(way) == 1 and member not in parents.values():
        return None, None
    ids = (item.replace("%", "%25").replace("/", "%2F") for item in reversed(way))
    return len(way), "/".join(ids)
