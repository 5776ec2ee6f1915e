"""Load files by the recipes of docs/loading.md: `uvx --with tox-uv tox -e emulators`."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deltalake
import fakesnow
import pyarrow.dataset
import snowflake.connector
from pysail.testing.spark.session import spark_connect_server
from pyspark.sql import SparkSession

from tap_sac.demo import SampleTenant
from tap_sac.demo.service import SALES_MODEL, SampleService
from tests.helpers.batches import batch_config
from tests.helpers.cli import run_process
from tests.helpers.doc_pages import ROOT, examples
from tests.helpers.warehouse import SALES, expected_tables, sums

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_sac.demo.company import Table


def recipe(warehouse: str) -> list[str]:
    """Return the code in the row of a warehouse in docs/loading.md."""
    page = (ROOT / "docs" / "loading.md").read_text(encoding="utf-8")
    (cell,) = re.findall(rf"^\| {warehouse} \| (`.*?) \|", page, re.MULTILINE)
    return re.findall(r"`([^`]+)`", cell)


def read(folder: Path, tenant: SampleTenant, service: SampleService) -> Table:
    """Let the tap write files into a folder; returns what SAC has then."""
    folder.mkdir()
    files = batch_config(folder, "parquet", None, 1000)
    result = run_process(folder, {**tenant.settings, "models": ["Sales Planning"], **files})
    assert result.returncode == 0, result.stderr
    facts = service.facts(SALES_MODEL).rows
    return replace(expected_tables()[SALES], rows=list(filter(None, facts)))


def compare(where: str, query: Callable[[str], Any], table: Table, tolerance: str = "0") -> None:
    """Check that a warehouse has the rows of a table, and adds them to the same sums."""
    names = [column.name for column in table.columns]
    rows = Counter(query(", ".join(f'"{name}"' for name in names)))
    assert rows == Counter(tuple(row.get(name) for name in names) for row in table.rows), where
    for name, exact in sums(table).items():
        ((found,),) = query(f'SUM("{name}")')
        assert abs(Decimal(found) - exact) <= Decimal(tolerance) * exact, (where, name, found)
    print(f"{where}: {len(table.rows):,} rows and {len(sums(table))} sums are right", flush=True)


def delta_lake(folder: Path, table: Table) -> None:
    path, files = folder / "delta", list(folder.glob(f"first/*{SALES}-*"))
    (code,) = recipe("Delta Lake")
    eval(code, {**vars(deltalake), **globals(), "path": path, "files": files})
    run = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(path)).execute

    def query(what: str) -> list[Any]:
        rows = pyarrow.table(run(f"SELECT {what} FROM t")).to_pylist()
        return [tuple(row.values()) for row in rows]

    compare("Delta Lake", query, table)


def sail(folder: Path, address: str, first: Table, second: Table) -> None:
    create, merge, delete = recipe("Databricks")
    create = create.replace("sac.t", f"sac.t USING DELTA LOCATION '{folder}/sail'")
    create = re.sub(r"read_files\(.*\)", f"parquet.`{folder}/first/*{SALES}-*`", create)
    same = " AND ".join(f"old.{name} = new.{name}" for name in first.key)
    merge += f" INTO sac.t AS old USING parquet.`{folder}/second/*{SALES}-*` AS new ON {same}"
    merge += f" WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT * {delete}"
    run = SparkSession.builder.remote(address).getOrCreate().sql
    query = "SELECT {} FROM sac.t".format
    run("CREATE SCHEMA sac")
    for how, sql, table in (("Sail", create, first), ("Sail by MERGE", merge, second)):
        run(sql)
        compare(how, lambda what: run(query(what).replace('"', "`")).collect(), table)


def snowflake_by_fakesnow(folder: Path, table: Table) -> None:
    (script,) = (code for code in examples("sql") if "CREATE STAGE" in code)
    files = list(folder.glob(f"first/*{SALES}-*"))
    columns = ", ".join(f'"{c.name}" {c.type}' for c in pyarrow.dataset.dataset(files[0]).schema)
    columns = columns.replace("decimal128", "NUMBER").replace("int64", "BIGINT")
    with fakesnow.patch(nop_regexes=["^REMOVE"]):
        run = snowflake.connector.connect(database="db", schema="sac").cursor().execute
        run(f"CREATE TABLE sac.{SALES} ({columns})")
        for statement in script.split(";\n")[:-1]:
            for file in files if "PUT" in statement else [""]:
                run(re.sub("'file:.*?'", f"'file://{file}'", statement))
        query = f"SELECT {{}} FROM sac.{SALES}".format
        # fakesnow adds floats.
        compare("fakesnow", lambda what: run(query(what)).fetchall(), table, tolerance="1e-12")


def main() -> None:
    service = SampleService()
    with tempfile.TemporaryDirectory() as name, SampleTenant(service) as tenant:
        folder = Path(name)
        first = read(folder / "first", tenant, service)
        service.change()
        second = read(folder / "second", tenant, service)
        delta_lake(folder, first)
        with spark_connect_server() as server:
            sail(folder, server.remote, first, second)
        snowflake_by_fakesnow(folder, first)


if __name__ == "__main__":
    main()
