"""The plugins of examples/airflow/README.md: several at once, each with its own state.

The DAG is tried in a real Airflow: ``tox -e airflow``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
import yaml

from tests.helpers.doc_pages import examples
from tests.helpers.projects import (
    meltano,
    meltano_yml,
    save_project,
)
from tests.helpers.warehouse import (
    FIRST_MONTH,
    contents,
    tables_of_the_first_month,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.end_to_end


def test_inherited_plugins_run_at_the_same_time(tmp_path: Path, database: str) -> None:
    (plugins,) = (
        found["plugins"]["extractors"]
        for found in map(yaml.safe_load, examples("yaml"))
        if any("inherit_from" in item for item in found.get("plugins", {}).get("extractors", []))
    )
    names = [item["name"] for item in plugins]
    project = meltano_yml()
    project["plugins"]["extractors"][0]["config"] = {"filters": FIRST_MONTH}
    project["plugins"]["extractors"] += plugins
    save_project(tmp_path, project)
    meltano(tmp_path, "install", "tap-sac", "target-postgres")
    with psycopg.connect(database) as connection:
        connection.execute("CREATE SCHEMA orchestrated")

    def run(name: str) -> str:
        return meltano(
            tmp_path,
            *("run", name, "target-postgres"),
            TARGET_POSTGRES_SQLALCHEMY_URL=database.replace(":", "+psycopg:", 1),
            TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA="orchestrated",
        )

    with ThreadPoolExecutor() as executor:
        logs = dict(zip(names, executor.map(run, names), strict=True))

    read = [name for name, log in logs.items() if "providers: " in log]
    assert read == ["tap-sac-providers"]
    loaded = contents(database, "orchestrated")
    expected = {
        name: len(table.rows)
        for name, table in tables_of_the_first_month().items()
        if name.startswith(("sales_planning_", "workforce_planning_"))
    }
    assert loaded.pop("providers")["rows"]
    assert {name: len(table["rows"]) for name, table in loaded.items()} == expected
    states = meltano(tmp_path, "state", "list")
    assert all(f"demo:{name}-to-target-postgres" in states for name in names)
