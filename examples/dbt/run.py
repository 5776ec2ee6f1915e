"""Load the sample tenant into DuckDB or PostgreSQL, and build and test the models of this project.

``python3 examples/dbt/run.py`` needs nothing but uv. With ``postgres``, the database is the one of
the usual variables (PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

PROJECT = Path(__file__).resolve().parent
ROOT = PROJECT.parents[1]
# In PostgreSQL: not those of a tenant, sac and analytics.
SCHEMA, ANALYTICS = "sac_sample", "analytics_sample"
# dbt-core 1.12 needs a parser that is not on the package index.
DBT = ["uvx", "--from", "dbt-core~=1.11.0", "--with", "dbt-duckdb~=1.11.0,dbt-postgres~=1.11.0"]


def load_parquet(folder: Path) -> None:
    """Let the tap write its Parquet files, which DuckDB reads where they are."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = {
        "demo": True,
        "batch_config": {
            "encoding": {"format": "parquet"},
            "storage": {"root": folder.as_uri()},
        },
    }
    path = folder / "tap-sac.json"
    path.write_text(json.dumps(config))
    command = ["uvx", "--from", f"{ROOT}[parquet]", "tap-sac", "--config", str(path)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)  # noqa: S603


def load_postgres() -> None:
    """Let Meltano run the tap into target-postgres, as meltano.yml has it."""
    part = {name: quote(os.environ.get(f"PG{name}", ""), safe="") for name in ("USER", "PASSWORD")}
    host = quote(os.environ.get("PGHOST", "localhost"), safe="")
    port, database = os.environ.get("PGPORT", "5432"), os.environ.get("PGDATABASE", "postgres")
    login = part["USER"] + (f":{part['PASSWORD']}" if part["PASSWORD"] else "")
    url = f"postgresql+psycopg://{login}@/{database}?host={host}&port={port}"
    subprocess.run(
        ["uvx", "meltano", "--environment=demo", "run", "--force", "tap-sac", "target-postgres"],  # noqa: S607
        cwd=ROOT,
        env={
            **os.environ,
            "TARGET_POSTGRES_SQLALCHEMY_URL": url,
            "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": SCHEMA,
        },
        check=True,
    )


def main() -> None:
    """Load, build, test, and show a result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="?", choices=["duckdb", "postgres"], default="duckdb")
    parser.add_argument("--folder", type=Path, default=PROJECT, help="where files are written")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if arguments.target == "duckdb":
        load_parquet(folder / "parquet")
    else:
        load_postgres()
    environment = {
        **os.environ,
        "SAC_PARQUET": str(folder / "parquet"),
        "SAC_DUCKDB": str(folder / "sac.duckdb"),
        "SAC_SCHEMA": SCHEMA,
        "SAC_ANALYTICS": ANALYTICS,
    }
    common = ["--target", arguments.target, "--project-dir", str(PROJECT)]
    common += ["--profiles-dir", str(PROJECT)]
    common += ["--target-path", str(folder / "target"), "--log-path", str(folder / "logs")]
    query = """select account_name, path, version, currency, round(profit, 2) as profit
        from {{ ref('profit_by_account') }} where level < 3 order by version, currency, path"""
    shown = ["show", "--inline", query]
    for command in (["build"], [*shown, "--limit", "5"]):
        subprocess.run([*DBT, "dbt", *command, *common], env=environment, check=True)  # noqa: S603


if __name__ == "__main__":
    main()
