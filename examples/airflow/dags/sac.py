"""Load every model of SAC in a task of its own, several at once, on any worker.

A worker needs the environment that examples/airflow/README.md lists, and no files of other workers.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import dag, task

logger = logging.getLogger(__name__)

MODELS_AT_ONCE = 4
# Runs in an empty folder, which Airflow removes. It is the run folder of this task alone; two runs
# of one plugin would overwrite each other's catalog and state in a shared one. The values come as
# environment variables: nothing that SAC sends becomes part of a command.
LOAD = """
mkdir .meltano
ln -s "$MELTANO_PROJECT_ROOT/.meltano/extractors" "$MELTANO_PROJECT_ROOT/.meltano/loaders" .meltano
export MELTANO_SYS_DIR_ROOT="$PWD/.meltano"
exec meltano --environment=prod run --no-install --state-id-suffix="$STATE_ID_SUFFIX" \
  tap-sac target-postgres
"""


def settings_for(streams: list[str]) -> dict[str, str]:
    """Return the settings by stream, without streams that are not there: the tap refuses them."""
    return {
        name: json.dumps(
            {
                glob: value
                for glob, value in json.loads(os.environ[name]).items()
                if any(fnmatchcase(stream, glob) for stream in streams)
            }
        )
        for name in ("TAP_SAC_FILTERS", "TAP_SAC_PARTITION_BY")
        if name in os.environ
    }


def environment_of(model: dict[str, Any]) -> dict[str, str]:
    """Return what makes a run load one model, and nothing else.

    Args:
        model: As `tap-sac --models=json` lists it.
    """
    namespace, model_id = model["namespace"], model["id"]
    return {
        **settings_for(model["streams"]),
        "SAC_MODEL": f"{model['name']} ({model_id})",  # what Airflow shows
        # Meltano allows no colon in it, which ids of public dimensions have.
        "STATE_ID_SUFFIX": f"{namespace}-{quote(model_id, safe='')}",
        "TAP_SAC_NAMESPACES": json.dumps([namespace]),
        "TAP_SAC_MODELS": json.dumps([model_id]),
        "TAP_SAC__SELECT_FILTER": '["!providers"]',
    }


@dag(
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    # A retry goes on where the last try stopped. It waits five minutes, which is Airflow's default:
    # for so long Meltano takes the run of a worker that was lost for one that is still going on.
    default_args={"retries": 3},
)
def sac() -> None:
    """Load the list of models, and each of them."""

    @task
    def models() -> list[dict[str, str]]:
        """List the models that SAC exports."""
        command = ["meltano", "--environment=prod", "invoke", "--no-install"]
        command += ["tap-sac", "--models=json"]
        result = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603
        listed = json.loads(result.stdout)
        for model in listed:
            if not model["exportable"]:
                logger.warning("Leaving out %s: %s", model["name"], model["reason"])
        return [environment_of(model) for model in listed if model["exportable"]]

    providers = BashOperator(
        task_id="providers",
        bash_command=LOAD,
        env={"STATE_ID_SUFFIX": "providers", "TAP_SAC__SELECT_FILTER": '["providers"]'},
        append_env=True,
        do_xcom_push=False,
    )
    load = BashOperator.partial(
        task_id="load",
        bash_command=LOAD,
        append_env=True,
        do_xcom_push=False,
        map_index_template="{{ task.env['SAC_MODEL'] }}",
        max_active_tis_per_dagrun=MODELS_AT_ONCE,
    )
    listed = models()  # Meltano makes its tables with the first command, which is this one.
    listed >> providers
    load.expand(env=listed)


sac()
