"""A long read with a fault on every 50th request: ``python -m benchmarks.soak``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from benchmarks.processes import serving, tap_settings
from benchmarks.tenant import FACTS, PARTS, ROWS_IN_PART, render, totals

_FAULT_EVERY = 50
_MODEL = "SOAK"
_LEAST_FAULTS = FACTS[_MODEL].rows // FACTS[_MODEL].page_size // _FAULT_EVERY
_MOST_MEGABYTES = 150


def main() -> None:
    """Read all rows, and compare counts and sums with what the tenant has.

    Exits with a sentence if they differ, or if memory grew with the rows.
    """
    rows = FACTS[_MODEL].rows
    repeats = rows // (PARTS * ROWS_IN_PART)
    expected = [repeats * sum(column) for column in zip(*map(totals, render()), strict=True)]
    with (
        tempfile.TemporaryDirectory() as folder,
        serving("--fault-every", str(_FAULT_EVERY)) as url,
    ):
        config = Path(folder, "config.json")
        config.write_text(json.dumps(tap_settings(url, _MODEL)))
        tap = [sys.executable, "-m", "tap_sac", "--config", str(config)]
        begin = time.monotonic()
        log_path = Path(folder, "log")
        with (
            log_path.open("wb") as log,
            subprocess.Popen(tap, stdout=subprocess.PIPE, stderr=log) as process,  # noqa: S603
        ):
            assert process.stdout  # noqa: S101
            found = [0, 0, 0]
            rest = b""
            while chunk := process.stdout.read(1 << 22):
                text, _, rest = (rest + chunk).rpartition(b"\n")
                found = [total + new for total, new in zip(found, totals(text), strict=True)]
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begin
        retries = log_path.read_text().count("Retrying")
    amount, quantity = (Decimal(total).scaleb(-7) for total in found[1:])
    print(f"{found[0]:,} rows, AMOUNT {amount:,}, QUANTITY {quantity:,}")
    megabytes = usage.ru_maxrss / 1024
    print(f"{retries} faults, {seconds:.0f} s, {megabytes:.0f} MB at the most")
    if process.returncode or rest or found != expected:
        sys.exit(f"Expected {expected}, found {found}, exit code {process.returncode}.")
    if retries < _LEAST_FAULTS or megabytes > _MOST_MEGABYTES:
        sys.exit(f"Expected {_LEAST_FAULTS} faults, and {_MOST_MEGABYTES} MB at the most.")


main()
