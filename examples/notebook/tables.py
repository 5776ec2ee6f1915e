"""Tables of SAC in a notebook or a script, here those of the sample tenant."""

# %%
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from pyarrow import parquet


# %%
def read_tables(**settings: object) -> dict[str, pa.Table]:
    """Read the tables that the settings choose, by the name of the stream; empty ones have none."""
    with TemporaryDirectory() as folder:
        config = Path(folder, "config.json")
        batches = {"encoding": {"format": "parquet"}, "storage": {"root": Path(folder).as_uri()}}
        config.write_text(json.dumps({**settings, "batch_config": batches}))
        tap = [sys.executable, "-m", "tap_sac", "--config=ENV", f"--config={config}"]
        output = subprocess.run(tap, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603
        files: dict[str, list[str]] = defaultdict(list)
        for message in map(json.loads, output.splitlines()):
            if message["type"] == "BATCH":
                files[message["stream"]] += message["manifest"]
        return {name: pa.concat_tables(map(parquet.read_table, files[name])) for name in files}


# %%
tables = read_tables(demo=True, models=["Sales Planning"])
for name, table in tables.items():
    print(f"{table.num_rows:,} rows of {name}")
