"""Run the DAG of examples/airflow in a real Airflow: `uvx --with tox-uv tox -e airflow`.

Two runs on the sample tenant, with tasks as parallel processes (LocalExecutor). In the first one,
SAC fails halfway through a table, and the retry resumes there. The second one reads changes.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from datetime import datetime
from http import HTTPStatus
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import requests
from psycopg import sql
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from uv import find_uv_bin

from tap_sac.demo import SampleTenant
from tap_sac.demo.exchange import error_answer
from tap_sac.demo.service import SALES_MODEL, SampleService
from tests.helpers.projects import meltano_yml, save_project
from tests.helpers.servers import postgres
from tests.helpers.warehouse import (
    contents,
    expected_tables,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "airflow"
SCHEMA = "sac"
DATABASES = ("airflow", "meltano", "warehouse")
# The tables that SAC tracks, and are not read in slices.
TRACKED = ("workforce", "sales", "budget", "budget")
# The table that is read in slices, and the request for one of them that SAC fails.
SLICED = "financial_planning_fact_data"
FAILING = r"/C4FINPLANK2M9X7QW1TBV0ZJ8A/FactData\?\$filter=Date eq '202507'"


def do(command: list[str | Path], environment: dict[str, str] | None = None) -> None:
    """Run a command, and show what it printed only if it fails."""
    result = subprocess.run(  # noqa: S603
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if result.returncode:
        sys.stderr.buffer.write(result.stdout)
        sys.exit(f"{command[0]} failed with exit code {result.returncode}.")


def install(folder: Path, *requirements: str) -> Path:
    """Make a virtual environment; returns the folder of its commands."""
    uv, quietly = find_uv_bin(), ("--quiet", "--python")
    do([uv, "venv", *quietly, sys.executable, folder])
    do([uv, "pip", "install", *quietly, folder, *requirements])
    return folder / "bin"


def meltano_project(folder: Path) -> Path:
    """Make a project of this tap and target-postgres; the environment prod has no demo."""
    folder.mkdir()
    save_project(folder, meltano_yml())
    return folder


def make_databases(server: str) -> dict[str, str]:
    """Create the databases; returns their addresses."""
    with psycopg.connect(server, autocommit=True) as connection:
        for name in DATABASES:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return {name: urlsplit(server)._replace(path=f"/{name}").geturl() for name in DATABASES}


def with_driver(driver: str, address: str) -> str:
    """Write the address of a database as SQLAlchemy has it."""
    return address.replace("postgresql:", f"postgresql+{driver}:", 1)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def settings_of_a_worker(
    tenant: SampleTenant, project: Path, databases: dict[str, str]
) -> dict[str, str]:
    """Return what every worker has in its environment."""
    return {
        "MELTANO_PROJECT_ROOT": str(project),
        "MELTANO_DATABASE_URI": with_driver("psycopg", databases["meltano"]),
        "TARGET_POSTGRES_SQLALCHEMY_URL": with_driver("psycopg", databases["warehouse"]),
        **{f"TAP_SAC_{name.upper()}": value for name, value in tenant.settings.items()},
        "TAP_SAC_DEFAULT_REPLICATION_METHOD": "LOG_BASED",
        "TAP_SAC__METADATA": json.dumps({SLICED: {"replication-method": "FULL_TABLE"}}),
        "TAP_SAC_PARTITION_BY": json.dumps({SLICED: "Date"}),
        "TAP_SAC_BACKOFF_MAX_TRIES": "1",  # so that one refusal fails the task
    }


def settings_of_airflow(home: Path, database: str, port: int) -> dict[str, str]:
    """Return Airflow's configuration."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "true",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": with_driver("psycopg2", database),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
    }


@contextmanager
def running(command: list[str | Path], environment: dict[str, str], log: Path) -> Iterator[None]:
    """Run a command in the background, and end it; show the end of its log if all fails."""
    with (
        log.open("wb") as file,
        subprocess.Popen(  # noqa: S603
            command, env=environment, stdout=file, stderr=file
        ) as process,
    ):
        try:
            yield
        except BaseException:
            print(f"The log of {command[-1]}:", *log.read_text().splitlines()[-30:], sep="\n")
            raise
        finally:
            process.terminate()


class Api:
    """Airflow's REST API."""

    def __init__(self, port: int) -> None:
        """Sign in, as soon as the server listens."""
        self._url = f"http://127.0.0.1:{port}"
        self._session = requests.Session()
        patience = Retry(total=None, connect=60, backoff_factor=0.1, backoff_max=2)
        self._session.mount(self._url, HTTPAdapter(max_retries=patience))
        token = self._session.get(f"{self._url}/auth/token", timeout=60).json()["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    def run(self) -> tuple[str, str, list[dict[str, Any]]]:
        """Run the DAG; returns the id of the run, how it ended, and its tasks."""
        runs = f"{self._url}/api/v2/dags/sac/dagRuns"
        answer = self._session.post(runs, json={"logical_date": None}, timeout=60)
        answer.raise_for_status()
        run_id = answer.json()["dag_run_id"]
        run = f"{runs}/{run_id}"
        # The server says every second how it is, until it has ended.
        waited = self._session.get(f"{run}/wait", params={"interval": 1}, timeout=600)
        waited.raise_for_status()
        tasks = self._session.get(f"{run}/taskInstances", timeout=60).json()["task_instances"]
        return run_id, json.loads(waited.text.splitlines()[-1])["state"], tasks


def show(tasks: list[dict[str, Any]]) -> None:
    """Print when each task ran."""
    for task in sorted(tasks, key=lambda task: task["start_date"]):
        start, end = (task[name][11:19] for name in ("start_date", "end_date"))
        name = f"{task['task_id']} {task['rendered_map_index'] or ''}"
        print(f"{start} to {end}  {task['state']}, try {task['try_number']}  {name}")


def overlapping(tasks: list[dict[str, Any]]) -> int:
    """Return how many pairs of tasks ran at the same time."""
    times = [
        tuple(datetime.fromisoformat(task[name]) for name in ("start_date", "end_date"))
        for task in tasks
    ]
    return sum(one[0] < two[1] and two[0] < one[1] for one, two in combinations(times, 2))


def check(condition: object, what: str) -> None:
    """Say what holds, and stop if it does not."""
    print(f"{'ok' if condition else 'FAILED'}: {what}", flush=True)
    if not condition:
        sys.exit(1)


def expected_rows(service: SampleService) -> dict[str, list[tuple[object, ...]]]:
    """Return what should be in each table now: the sample company, with the changes of sales."""
    tables = expected_tables()
    rows = {name: table.rows for name, table in tables.items()}
    rows["sales_planning_fact_data"] = [row for row in service.facts(SALES_MODEL).rows if row]
    return {
        name: sorted(
            [tuple(row.get(column.name) for column in tables[name].columns) for row in table],
            key=repr,
        )
        for name, table in rows.items()
    }


def rows_in(warehouse: str) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of all tables that are not marked as deleted."""
    return {name: table["rows"] for name, table in contents(warehouse, SCHEMA).items()}


def lines_of(logs: Path, run: str, text: str) -> list[str]:
    """Return the lines of the tap in the logs of a run that have a text."""
    found = []
    for log in sorted(logs.glob(f"dag_id=sac/run_id={run}/task_id=load/*/*.log")):
        events = (json.loads(line).get("event", "") for line in log.read_text().splitlines())
        found += [event.partition("tap-sac ")[2].strip() for event in events if text in event]
    return found


def copy_dag(home: Path) -> None:
    """Copy the DAG, without its schedule: Airflow would add a run for the last night."""
    text = (EXAMPLE / "dags" / "sac.py").read_text(encoding="utf-8")
    text, count = re.subn(r"schedule=[^,]*", "schedule=None", text)
    check(count == 1, "the DAG has one schedule, which is left out here")
    (home / "dags").mkdir(parents=True)
    (home / "dags" / "sac.py").write_text(text, encoding="utf-8")


def prepare(environment: dict[str, str], warehouse: str) -> None:
    """Do once what an administrator does: install plugins, create the schema, set up Airflow."""
    do(["meltano", "install", "tap-sac", "target-postgres"], environment)
    with psycopg.connect(warehouse) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
    copy_dag(Path(environment["AIRFLOW_HOME"]))
    do(["airflow", "db", "migrate"], environment)
    do(["airflow", "dags", "reserialize"], environment)


def try_it(api: Api, service: SampleService, warehouse: str, logs: Path) -> None:
    """Run the DAG twice, and look at what has arrived."""
    unavailable = error_answer(HTTPStatus.SERVICE_UNAVAILABLE, "Out of order.")
    service.refuse(FAILING, unavailable, times=1)
    run, state, tasks = api.run()
    show(tasks)
    models = [task for task in tasks if task["task_id"] == "load"]
    exportable = [model for model in service.models.values() if model.tables]
    check(state == "success", f"the first run is a {state}")
    check(len(models) == len(exportable), f"{len(models)} models, each in a task of its own")
    pairs = overlapping(models)
    check(pairs, f"{pairs} pairs of tasks at the same time")
    failed = [task for task in models if task["try_number"] > 1]
    check(len(failed) == 1, f"SAC failed once, and {len(failed)} task was tried again")
    (resumed,) = lines_of(logs, run, "resuming the read") or [""]
    check(resumed, resumed)
    tables = rows_in(warehouse)
    providers = tables.pop("providers")
    elsewhere = lines_of(logs, run, '"stream":"providers"')
    check(len(providers) == len(service.models), f"{len(providers)} providers")
    check(not elsewhere, "no task of a model reads them")
    rows = sum(map(len, tables.values()))
    check(tables == expected_rows(service), f"{rows:,} rows in {len(tables)} tables, as in SAC")

    service.change()
    run, state, tasks = api.run()
    check(state == "success", f"the second run is a {state}")
    changes = lines_of(logs, run, " changes read")
    check(len(changes) == len(TRACKED), f"{len(changes)} tables go on from their own state:")
    print(*changes, sep="\n")
    tables = rows_in(warehouse)
    del tables["providers"]
    check(tables == expected_rows(service), "the changes have arrived")


def main() -> None:
    """Start what the DAG needs, and try it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped by a signal."))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="airflow-")))
        databases = make_databases(stack.enter_context(postgres()))
        service = SampleService()
        tenant = stack.enter_context(SampleTenant(service))
        commands = [
            install(folder / "airflow", "-r", str(EXAMPLE / "requirements.txt")),
            install(folder / "meltano", "meltano[postgres]~=4.4"),
        ]
        home, port = folder / "home", free_port()
        environment = {
            **os.environ,
            **settings_of_a_worker(tenant, meltano_project(folder / "project"), databases),
            **settings_of_airflow(home, databases["airflow"], port),
            "PATH": os.pathsep.join([*map(str, commands), os.environ["PATH"]]),
        }
        prepare(environment, databases["warehouse"])
        for name in ("api-server", "scheduler"):
            log = home / f"{name}.log"
            stack.enter_context(running(["airflow", name], environment, log))
        try_it(Api(port), service, databases["warehouse"], home / "logs")


if __name__ == "__main__":
    main()
