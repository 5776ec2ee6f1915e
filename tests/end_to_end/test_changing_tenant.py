"""A tenant that changes between runs; PostgreSQL has its rows after each."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from tap_sac.demo import SampleTenant
from tap_sac.demo.company import Column
from tap_sac.demo.service import SALES_MODEL, SampleService
from tests.conftest import discover, select
from tests.helpers.batches import batch_config
from tests.helpers.projects import ROUTES, load
from tests.helpers.stand_in import error_response
from tests.helpers.warehouse import SALES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tap_sac.demo.tracking import TrackedRows
    from tests.conftest import RunCli

pytestmark = pytest.mark.end_to_end

# Facts, and those of a batch file: targets take their time for each.
FEW = 20
FEWER = 8
# The rows of two streams that go into one table.
MEMBERS = 14 + 8
SHARED = {
    "sales_planning_product_master": {"__alias__": "members"},
    "sales_planning_xx_region_master": {"__alias__": "members"},
}
# A read that is empty deletes nothing, and the other stream of its table must not, either.
EMPTY = {"sales_planning_product_master": "ID eq 'none'"}


class Warehouse:
    """A sample tenant that changes, and the table that its facts are loaded into.

    Pipes, as Meltano makes them: its own start would take most of the time of each run.
    """

    def __init__(
        self,
        folder: Path,
        database: str,
        tenant: SampleTenant,
        service: SampleService,
        run_cli: RunCli,
    ) -> None:
        self.service = service
        self._run_cli = run_cli
        self._folder = folder
        self._database = database
        self._tap = {**tenant.settings, "models": ["Sales Planning"], "stream_maps": SHARED}
        self._state = folder / "state.json"
        self._state.write_text("{}")

    @property
    def facts(self) -> TrackedRows:
        """Return the facts of the tenant, to change them."""
        return self.service.facts(SALES_MODEL)

    def choose(self, name: str, *, method: str, route: str, hard_delete: bool) -> None:
        """Load into a schema of this name, in this way."""
        self._schema = name
        self._tap["default_replication_method"] = method
        if route == "batches":
            self._tap |= batch_config(self._folder, "jsonl", "gzip", FEWER)
        self._target = {
            "sqlalchemy_url": self._database.replace(":", "+psycopg:", 1),
            "default_target_schema": name,
            "hard_delete": hard_delete,
        }

    def run(self, code: int = 0, **settings: Any) -> str:
        """Run the tap into the target, which returns the state; returns the log of the tap."""
        config = {**self._tap, **settings}
        catalog = self._folder / "catalog.json"
        catalog.write_text(json.dumps(select(discover(config), SALES, *SHARED)))
        inputs = ("--catalog", str(catalog), "--state", str(self._state))
        tap = self._run_cli(config, *inputs, log_level="INFO")
        assert tap.returncode == code, tap.stderr
        states = load(tap.stdout, self._folder, self._target).splitlines()
        self._state.write_text(states[-1])
        return tap.stderr

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
            query = sql.SQL("SELECT count(*) FROM {} WHERE _sdc_deleted_at IS NULL").format(
                sql.Identifier(self._schema, "members")
            )
            assert connection.execute(query).fetchone() == (MEMBERS,)


@pytest.fixture
def warehouse(tmp_path: Path, database: str, run_cli: RunCli) -> Iterator[Warehouse]:
    service = SampleService()
    service.limit(SALES_MODEL, FEW)
    with SampleTenant(service) as tenant:
        yield Warehouse(tmp_path, database, tenant, service, run_cli)


@pytest.mark.parametrize(("route", "hard_delete"), [("records", True), ("batches", False)])
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
    warehouse.run(emit_activate_version_messages=False)
    warehouse.check(deleted=0, gone=2)
    warehouse.run(filters=EMPTY)
    warehouse.check(deleted=0 if hard_delete else 2)
    facts.put(second)
    warehouse.run()
    warehouse.check(deleted=0 if hard_delete else 1)


@pytest.mark.parametrize("route", ROUTES)
def test_slices_that_failed_continue_into_postgres(warehouse: Warehouse, route: str) -> None:
    warehouse.choose(f"slices_{route}", method="FULL_TABLE", route=route, hard_delete=True)
    sliced: dict[str, Any] = {"partition_by": {SALES: "XX_REGION"}}
    service, facts = warehouse.service, warehouse.facts
    warehouse.run()
    warehouse.check(deleted=0)
    rows = [row for row in facts.rows if row is not None]
    early, late = rows[0], rows[-1]
    facts.delete(facts.key_of(rows[1]))
    facts.delete(facts.key_of(rows[-2]))
    facts.put({**late, "REVENUE": Decimal("123456789012345678901234.1234567")})
    service.refuse("XX_REGION eq 'IT'", error_response(403, "no"), times=2)
    assert "SAC answered 403" in warehouse.run(code=1, **sliced)
    facts.put({**early, "Product": "P-NEW"})
    output = warehouse.run(**sliced)
    assert ", after 6 slices" in output
    assert "after 11 of an earlier run" in output
    warehouse.check(deleted=0)
    facts.delete(facts.key_of(early))
    warehouse.run(**sliced)
    warehouse.check(deleted=0)


@pytest.mark.parametrize(("route", "hard_delete"), [("records", False), ("batches", True)])
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
    assert "the selected columns changed" in run()
    check(deleted=0 if hard_delete else 2)
