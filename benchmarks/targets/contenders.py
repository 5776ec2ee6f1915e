"""The ways into a warehouse that are compared: what each of them runs, and what it leaves there."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import yaml

from benchmarks.processes import tap_settings
from benchmarks.targets.warehouses import in_bucket, in_csv, in_duckdb, in_jsonl, in_postgres
from tap_sac.demo.service import SERVICE_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.processes import Environments
    from benchmarks.targets.warehouses import Found

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "load"
REQUIREMENTS = {
    "target-postgres": ["meltanolabs-target-postgres==0.8.1"],
    "target-duckdb": ["target-duckdb==0.8.0", "duckdb==2.0.1"],
    "target-duckdb-1.2": ["target-duckdb==0.8.0", "duckdb==1.2.2"],
    "target-csv": ["meltanolabs-target-csv==0.5.0"],
    "target-jsonl": ["target-jsonl==0.1.4"],
    "target-s3": ["plinxore-target-s3==0.1.7", "setuptools<81"],
    "dlt": ["dlt[duckdb,postgres]==1.31.0"],
}
BUCKET = "benchmark"
SCHEMA = "benchmark"
_BATCH_SIZE = 100_000
_STRINGS = {"use_singer_decimal": True}


@dataclass(frozen=True)
class Place:
    """Where a contender finds and leaves things.

    Attributes:
        tenant: The address of the tenant.
        database: The address of a PostgreSQL server.
        storage: The address of a server that speaks S3 and has a bucket of the name `BUCKET`.
        environments: The environments of the contenders.
        folder: The folder of a run, which is empty at its start.
        model: The model that is read.
    """

    tenant: str
    database: str
    storage: str
    environments: Environments
    folder: Path
    model: str

    @property
    def stream(self) -> str:
        """The name of the stream and, for most targets, of the table."""
        return f"{self.model.lower()}_fact_data"

    def config(self, name: str, settings: Mapping[str, Any]) -> str:
        """Write a configuration, and return its path."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(settings))
        return str(path)


@dataclass(frozen=True)
class Run:
    """A run of a contender.

    Attributes:
        steps: Pipelines that run one after the other.
        found: Looks at what has arrived.
    """

    steps: list[list[list[str]]]
    found: Callable[[], Found]


@dataclass(frozen=True)
class Contender:
    """A way into a warehouse.

    Attributes:
        title: What the table calls it.
        prepare: Makes a run of it.
        is_fast: Whether it reads the long model too.
    """

    title: str
    prepare: Callable[[Place], Run]
    is_fast: bool = False


def _tap(place: Place, settings: Mapping[str, Any]) -> list[str]:
    config = {**tap_settings(place.tenant, place.model), **settings}
    return [sys.executable, "-m", "tap_sac", "--config", place.config("tap", config)]


def _into(
    place: Place, environment: str, settings: Mapping[str, Any], tap: Mapping[str, Any]
) -> list[list[list[str]]]:
    """Return the pipeline of the tap and a target."""
    command = "target-duckdb" if environment.startswith("target-duckdb") else environment
    target = place.environments.program(environment, command)
    return [[_tap(place, tap), [target, "--config", place.config("target", settings)]]]


def _files(place: Place, **encoding: str) -> dict[str, Any]:
    """Return the tap's settings that have it write files."""
    folder = place.folder / encoding["format"]
    folder.mkdir()
    storage = {"root": folder.as_uri()}
    return {"batch_config": {"encoding": encoding, "storage": storage, "batch_size": _BATCH_SIZE}}


def shipped(loader: str) -> dict[str, Any]:
    """Return the configuration that meltano.yml gives a loader."""
    project = yaml.safe_load((ROOT / "meltano.yml").read_text())
    loaders = project["plugins"]["loaders"]
    (config,) = (entry.get("config", {}) for entry in loaders if entry["name"] == loader)
    return dict(config)


def _target_postgres(
    place: Place,
    *,
    base: Mapping[str, Any] | None = None,
    is_batch: bool = False,
    tap: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Run:
    config = {
        **(shipped("target-postgres") if base is None else base),
        "sqlalchemy_url": place.database.replace(":", "+psycopg:", 1),
        "default_target_schema": SCHEMA,
        **settings,
    }
    files = _files(place, format="jsonl", compression="gzip") if is_batch else {}
    return Run(
        _into(place, "target-postgres", config, {**files, **(tap or {})}),
        partial(in_postgres, place.database, SCHEMA, place.stream),
    )


def _target_duckdb(place: Place, environment: str, tap: Mapping[str, Any], **settings: Any) -> Run:
    path = place.folder / "target.duckdb"
    config = {"filepath": str(path), "default_target_schema": "sac", **settings}
    return Run(
        _into(place, environment, config, tap), partial(in_duckdb, path, f"sac.{place.stream}")
    )


def _target_csv(place: Place) -> Run:
    settings = {"output_path": str(place.folder)}
    path = place.folder / f"{place.stream}.csv"
    return Run(_into(place, "target-csv", settings, {}), partial(in_csv, path))


def _target_jsonl(place: Place) -> Run:
    settings = {"destination_path": str(place.folder), "do_timestamp_file": False}
    path = place.folder / f"{place.stream}.jsonl"
    return Run(_into(place, "target-jsonl", settings, {}), partial(in_jsonl, path))


def _target_s3(place: Place) -> Run:
    settings = {
        "format": {"format_type": "parquet"},
        "compression": "none",
        "max_batch_size": _BATCH_SIZE,
        "append_date_to_prefix": False,
        "prefix": place.folder.name,
        "cloud_provider": {
            "cloud_provider_type": "aws",
            "aws": {
                "aws_access_key_id": "benchmark",
                "aws_secret_access_key": "benchmark",
                "aws_region": "us-east-1",
                "aws_bucket": BUCKET,
                "aws_endpoint_override": place.storage,
            },
        },
    }
    written = f"{BUCKET}/{place.folder.name}/{place.stream}"
    return Run(
        _into(place, "target-s3", settings, {}),
        partial(in_bucket, place.storage, written, place.folder),
    )


def _load(place: Place, *options: str) -> Run:
    tap = _tap(place, _files(place, format="arrow"))
    load = [sys.executable, str(EXAMPLES / "load_postgres.py"), place.database, SCHEMA]
    return Run(
        [[tap, [*load, "/dev/stdin", *options]]],
        partial(in_postgres, place.database, SCHEMA, place.stream),
    )


def _read_parquet(place: Place) -> Run:
    path = place.folder / "warehouse.duckdb"
    example = (EXAMPLES / "load_duckdb.sql").read_text(encoding="utf-8")
    query = example.replace("sales_planning_fact_data", place.stream)
    tap = _tap(place, _files(place, format="parquet"))
    script = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute(sys.argv[2])"
    load = [sys.executable, "-c", script, str(path), query]
    return Run([[tap], [load]], partial(in_duckdb, path, f"sac.{place.stream}"))


def _dlt(destination: str, disposition: str, place: Place) -> Run:
    path = place.folder / "dlt.duckdb"
    script = ROOT / "benchmarks" / "dlt_pipeline.py"
    credentials = str(path)
    if destination == "postgres":  # dlt wants a host and a password, where others want neither.
        _, _, host = place.database.partition("?host=")
        credentials = f"postgresql://postgres:any@{quote(host, safe='')}:5432/postgres"
    command = [
        place.environments.program("dlt", "python"),
        str(script),
        f"{place.tenant}{SERVICE_ROOT}/providers/sac/{place.model}/FactData",
        destination,
        credentials,
        disposition,
    ]
    found = (
        partial(in_postgres, place.database, SCHEMA, "fact_data")
        if destination == "postgres"
        else partial(in_duckdb, path, "benchmark.fact_data")
    )
    return Run([[command]], found)


CONTENDERS = {
    "postgres-defaults": Contender(
        "target-postgres 0.8.1, its defaults", partial(_target_postgres, base={})
    ),
    "postgres": Contender("target-postgres, as in meltano.yml", _target_postgres),
    "postgres-small-batches": Contender(
        "target-postgres, as in meltano.yml, `batch_size_rows: 10000`",
        partial(_target_postgres, batch_size_rows=10_000),
    ),
    "postgres-strings": Contender(
        "target-postgres, as in meltano.yml, `use_singer_decimal`",
        partial(_target_postgres, tap=_STRINGS),
    ),
    "postgres-batch": Contender(
        "target-postgres, as in meltano.yml, BATCH `jsonl.gz`",
        partial(_target_postgres, is_batch=True),
    ),
    "postgres-use-copy": Contender(
        "target-postgres, as in meltano.yml, `use_copy`", partial(_target_postgres, use_copy=True)
    ),
    "load": Contender("Arrow files and load_postgres.py", _load, is_fast=True),
    "load-no-keys": Contender(
        "Arrow files and load_postgres.py --no-keys",
        lambda place: _load(place, "--no-keys"),
        is_fast=True,
    ),
    "dlt-postgres-replace": Contender(
        "dlt 1.31.0 into PostgreSQL, replace", partial(_dlt, "postgres", "replace")
    ),
    "dlt-postgres-merge": Contender(
        "dlt 1.31.0 into PostgreSQL, merge", partial(_dlt, "postgres", "merge")
    ),
    "duckdb": Contender(
        "target-duckdb 0.8.0, its defaults",
        partial(_target_duckdb, environment="target-duckdb", tap={}),
    ),
    "duckdb-strings": Contender(
        "target-duckdb 0.8.0, `use_singer_decimal`",
        partial(
            _target_duckdb,
            environment="target-duckdb",
            tap=_STRINGS,
            add_metadata_columns=True,
        ),
    ),
    "duckdb-1.2-strings": Contender(
        "target-duckdb 0.8.0 with DuckDB 1.2.2, `use_singer_decimal`",
        partial(
            _target_duckdb,
            environment="target-duckdb-1.2",
            tap=_STRINGS,
            add_metadata_columns=True,
        ),
    ),
    "read-parquet": Contender(
        "Parquet files and DuckDB's read_parquet", _read_parquet, is_fast=True
    ),
    "dlt-duckdb-replace": Contender(
        "dlt 1.31.0 into DuckDB, replace", partial(_dlt, "duckdb", "replace")
    ),
    "dlt-duckdb-merge": Contender(
        "dlt 1.31.0 into DuckDB, merge", partial(_dlt, "duckdb", "merge")
    ),
    "csv": Contender("target-csv 0.5.0", _target_csv),
    "jsonl": Contender("target-jsonl 0.1.4", _target_jsonl),
    "s3": Contender("target-s3 0.1.7 (plinxore), Parquet", _target_s3),
}
