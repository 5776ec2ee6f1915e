"""A forgotten ``--environment=prod`` changes no row of a tenant, wherever its settings are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from tap_sac.demo import SampleTenant
from tap_sac.demo.service import SALES_MODEL, SampleService
from tests.helpers.projects import (
    meltano_yml,
    run_meltano,
    save_project,
)
from tests.helpers.warehouse import (
    FIRST_MONTH,
    SALES,
    contents,
    tables_of_the_first_month,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.end_to_end

LOADERS = ("target-postgres", "target-csv", "target-jsonl")
REFUSAL = "The setting demo cannot be combined with tenant_url, client_id, client_secret: "


@pytest.fixture(scope="module")
def tenant() -> Iterator[SampleTenant]:
    """Serve a tenant with a row of its own, and without plans that the sample tenant has."""
    service = SampleService()
    service.limit(SALES_MODEL, 80)
    facts = service.facts(SALES_MODEL)
    first = next(row for row in facts.rows if row is not None)
    facts.put({**first, "Product": "P-REAL"})
    with SampleTenant(service) as tenant:
        yield tenant


class Project:
    """A project, and what it has loaded of a tenant.

    Attributes:
        is_refused: Whether a run without an environment is refused.
        loaders: Those that are tried.
    """

    def __init__(self, folder: Path, database: str, *, is_refused: bool) -> None:
        self.folder = folder
        self.is_refused = is_refused
        self.loaders = LOADERS[:1] if is_refused else LOADERS
        self.variables = {
            "TAP_SAC_MODELS": '["Sales Planning"]',
            "TAP_SAC_FILTERS": json.dumps(FIRST_MONTH),
            "TAP_SAC__SELECT": f'["{SALES}.*"]',
            "TARGET_POSTGRES_SQLALCHEMY_URL": database.replace(":", "+psycopg:", 1),
        }
        self._database = database

    def load(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run Meltano, and see that it fails only where it shall."""
        pipelines = [name for loader in self.loaders for name in ("tap-sac", loader)]
        result = run_meltano(self.folder, *options, "run", *pipelines, **self.variables)
        assert bool(result.returncode) is (self.is_refused and not options), result.stderr
        return result

    def loaded(self) -> dict[str, Any]:
        """Return every row of every table and file of the tenant, also what marks rows."""
        files = self.folder.rglob("output/**/sac/*")
        found: dict[str, Any] = {str(path): path.read_bytes() for path in files}
        with psycopg.connect(self._database) as connection:
            tables = connection.execute(
                "SELECT table_schema, table_name FROM information_schema.tables"
                " WHERE table_schema NOT IN ('pg_catalog', 'information_schema', 'sac_sample')"
            ).fetchall()
            for schema, name in tables:
                query = sql.SQL("SELECT t::text FROM {} AS t ORDER BY 1")
                table = sql.Identifier(schema, name)
                found[f"{schema}.{name}"] = connection.execute(query.format(table)).fetchall()
        return found


@pytest.fixture(scope="module", params=["exported", ".env", "environments: prod"])
def project(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    database: str,
    tenant: SampleTenant,
) -> Project:
    """Load the tenant, with its settings in one of the places for them."""
    folder = tmp_path_factory.getbasetemp() / "forgotten"
    folder.mkdir(exist_ok=True)
    project = Project(folder, database, is_refused=request.param != "environments: prod")
    definition = meltano_yml()
    settings = {name: str(value) for name, value in tenant.settings.items()}
    variables = {f"TAP_SAC_{name.upper()}": value for name, value in settings.items()}
    dotenv = folder / ".env"
    dotenv.unlink(missing_ok=True)
    if request.param == "exported":
        project.variables |= variables
    elif request.param == ".env":
        dotenv.write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()))
    else:
        (prod,) = (item for item in definition["environments"] if item["name"] == "prod")
        prod["config"] = {
            "plugins": {"extractors": [{"name": "tap-sac", "config": tenant.settings}]}
        }
    save_project(folder, definition)
    assert "sample tenant" not in project.load("--environment=prod").stderr
    return project


def test_forgotten_environment_changes_no_row_of_a_tenant(project: Project, database: str) -> None:
    before = project.loaded()
    assert "P-REAL" in str(before[f"sac.{SALES}"])
    log = project.load().stderr
    assert (REFUSAL in log) is project.is_refused
    said = log.count("Reading the sample tenant")
    assert said == 0 if project.is_refused else said >= len(LOADERS)
    assert project.loaded() == before
    if not project.is_refused:
        assert {path.rpartition(".")[2] for path in before} >= {SALES, "csv", "jsonl"}
        for name in (f"{SALES}.csv", f"{SALES}.jsonl"):
            assert "P-REAL" not in (project.folder / "output" / name).read_text()
        samples = tables_of_the_first_month()[SALES].rows
        assert len(contents(database, "sac_sample")[SALES]["rows"]) == len(samples)


@pytest.mark.parametrize("project", ["exported"], indirect=True)
def test_check_does_not_praise_a_wrong_secret(project: Project) -> None:
    variables = {**project.variables, "TAP_SAC_CLIENT_SECRET": "wr0ng"}
    result = run_meltano(project.folder, "invoke", "tap-sac", "--check", **variables)
    assert result.returncode == 1
    assert "FAILED  settings: The setting demo cannot be combined with" in result.stdout
    assert "ok " not in result.stdout
