"""The examples of loading files, and the settings of target-duckdb in the docs."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import yaml

from tap_sac.demo import SampleTenant
from tap_sac.demo.service import SALES_MODEL, SampleService
from tests.helpers.cli import run_process
from tests.helpers.doc_pages import ROOT, examples
from tests.helpers.projects import (
    meltano,
    meltano_yml,
    save_project,
)
from tests.helpers.warehouse import (
    FIRST_MONTH,
    SALES,
    exact_sum,
    expected_tables,
    sums,
    tables_of_the_first_month,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tap_sac.demo.company import Row, Table

EXAMPLES = ROOT / "examples" / "load"
pytestmark = pytest.mark.end_to_end


class Files:
    """A sample tenant, and the folder that the tap writes Parquet files of it to."""

    def __init__(self, folder: Path, tenant: SampleTenant, service: SampleService) -> None:
        self.folder = folder
        self.service = service
        self.facts = service.facts(SALES_MODEL)
        self._settings = tenant.settings

    def write(self, *models: str) -> None:
        files = self.folder / "parquet"
        shutil.rmtree(files, ignore_errors=True)
        files.mkdir()
        batches = {"encoding": {"format": "parquet"}, "storage": {"root": files.as_uri()}}
        config = {**self._settings, "models": models or ["*"], "batch_config": batches}
        result = run_process(self.folder, config)
        assert result.returncode == 0, result.stderr


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    service = SampleService()
    with SampleTenant(service) as tenant:
        yield Files(tmp_path, tenant, service)


def values(rows: list[Row | None], table: Table) -> Counter[tuple[Any, ...]]:
    names = [column.name for column in table.columns]
    return Counter(tuple(row.get(name) for name in names) for row in rows if row is not None)


def test_duckdb_reads_the_files(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files.folder)
    table = expected_tables()[SALES]
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    for _ in range(2):
        files.write("Sales Planning")
        with duckdb.connect("warehouse.duckdb") as connection:
            connection.execute((EXAMPLES / "load_duckdb.sql").read_text("utf-8"))
            rows = connection.execute(f"SELECT {columns} FROM sac.{SALES}").fetchall()  # noqa: S608
        assert Counter(rows) == values(files.facts.rows, table)
        first = next(row for row in files.facts.rows if row is not None)
        files.facts.delete(files.facts.key_of(first))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project with the tap of meltano.yml, and what the page adds for target-duckdb."""
    project = meltano_yml()
    (page,) = (yaml.safe_load(code) for code in examples("yaml") if "name: target-duckdb" in code)
    added = page["plugins"]
    project["plugins"]["extractors"][0] |= added["extractors"][0]
    project["plugins"]["loaders"] += added["loaders"]
    demo = page["environments"][0]["config"]["plugins"]
    project["environments"][0]["config"]["plugins"]["loaders"] += demo["loaders"]
    save_project(tmp_path, project)
    (tmp_path / "output").mkdir()
    return tmp_path


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="DuckDB 1.2 has no wheels for it")
def test_target_duckdb_as_recommended_keeps_rows_and_digits(project: Path) -> None:
    meltano(project, "run", "tap-sac", "target-duckdb", TAP_SAC_FILTERS=json.dumps(FIRST_MONTH))
    with duckdb.connect(project / "output" / "warehouse.duckdb", read_only=True) as connection:
        for name, table in tables_of_the_first_month().items():
            decimals = [column.name for column in table.columns if column.type == "Edm.Decimal"]
            columns = ", ".join(f'"{column}"' for column in decimals) or "NULL"
            query = f"SELECT {columns} FROM sac_sample.{name}"  # noqa: S608
            rows = connection.execute(query).fetchall()
            assert len(rows) == len(table.rows)
            for number, column in enumerate(decimals):
                found = [Decimal(row[number]) for row in rows if row[number] is not None]
                assert exact_sum(found) == sums(table)[column]
