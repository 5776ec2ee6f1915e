"""Load the same rows in every way in turn, and print what it takes and which digits arrive."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from decimal import Decimal, localcontext
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from benchmarks.processes import Environments, FailedError, run_pipeline, serving
from benchmarks.targets.contenders import BUCKET, CONTENDERS, REQUIREMENTS, SCHEMA, Place
from benchmarks.targets.servers import postgres, s3
from benchmarks.targets.warehouses import Found, bucket_at
from benchmarks.tenant import MEASURES, PARTS, ROWS_IN_PART, TEXT, render, totals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.processes import Usage

_TEXT_ROWS = ROWS_IN_PART


@dataclass(frozen=True)
class Result:
    """What a run took, process by process, and what arrived."""

    seconds: float
    usages: list[Usage]
    found: Found


@dataclass(frozen=True)
class Benchmark:
    """Runs contenders, each in a folder of its own.

    Attributes:
        folder: Where they run.
        environments: Their environments.
        tenant: The address of the tenant.
        database: The address of the PostgreSQL server.
        storage: The address of the S3 server.
    """

    folder: Path
    environments: Environments
    tenant: str
    database: str
    storage: str

    def run(self, name: str, model: str) -> Result:
        """Let a contender load a model into a warehouse that has nothing yet."""
        # Its name is new too, because a bucket keeps what an earlier run has written.
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix=f"{name}-"))
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
            connection.execute("CHECKPOINT")  # What came before is not written during this run.
        run = CONTENDERS[name].prepare(
            Place(self.tenant, self.database, self.storage, self.environments, folder, model)
        )
        seconds = 0.0
        usages = []
        for commands in run.steps:
            step = run_pipeline(commands, folder, cwd=folder)
            seconds += max(usage.end for usage in step) - step[0].begin
            usages += step
        result = Result(seconds, usages, run.found())
        shutil.rmtree(folder)
        return result

    def wrong_with_text(self, name: str) -> set[str]:
        """Say what is wrong with a table that has nothing but text."""
        try:
            found = self.run(name, "TEXT").found
        except FailedError:
            return {"fails with text alone"}
        text = differences(found, expected(TEXT, _TEXT_ROWS))
        return {f"{text} of text alone"} if text else set()


def expected(kind: str, rows: int) -> Found:
    """Add up what the tenant sends."""
    if kind == TEXT:
        return Found(rows, {})
    parts = list(render(kind, min(rows // ROWS_IN_PART, PARTS)))
    sums = [totals(part) for part in parts] * (rows // ROWS_IN_PART // len(parts))
    _, *columns = map(sum, zip(*sums, strict=True))
    texts = [f"{total // 10**7}.{total % 10**7:07}" for total in columns]
    return Found(rows, dict(zip(MEASURES, map(Decimal, texts), strict=True)))


def differences(found: Found, right: Found) -> str:
    """Say how the rows and sums that arrived differ from what was sent; nothing if they do not."""
    texts = []
    if found.rows != right.rows:
        texts.append(f"{found.rows - right.rows:+,} rows")
    with localcontext() as context:
        context.prec = 100
        texts += [
            f"{name} {difference:+,f}"
            for name, total in right.sums.items()
            if (difference := found.sums[name] - total)
        ]
    return ", ".join(texts)


def _compare(
    benchmark: Benchmark, names: Sequence[str], rows: int, model: str, rounds: int
) -> None:
    """Print a table of contenders that load a model of many digits."""
    results: dict[str, list[Result]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            results[name].append(benchmark.run(name, model))
            print(f"{name}: {results[name][-1].seconds:.1f} s", file=sys.stderr, flush=True)
    print(
        f"\n{rows:,} rows, medians of {rounds} rounds; "
        f"x is how many times as fast as {CONTENDERS[names[0]].title}\n\n"
        "| | s | rows per second | x | CPU s: tap | target | peak MB: tap | target | exact |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|---|"
    )
    right = expected("digits", rows)
    first = _seconds(results[names[0]])
    for name in names:
        wrong = {text for result in results[name] if (text := differences(result.found, right))}
        wrong |= benchmark.wrong_with_text(name)
        seconds = _seconds(results[name])
        cpu, peak = _usages(results[name])
        print(
            f"| {CONTENDERS[name].title} | {seconds:.1f} | {rows / seconds:,.0f} "
            f"| {first / seconds:.1f} | {cpu} | {peak} "
            f"| {'no: ' + '; '.join(sorted(wrong)) if wrong else 'yes'} |",
            flush=True,
        )


def _seconds(results: Sequence[Result]) -> float:
    return statistics.median(result.seconds for result in results)


def _usages(results: Sequence[Result]) -> tuple[str, str]:
    """Write the cells for the CPU seconds and the memory: of a tap, if there is one; a target."""
    *tap, target = (
        (
            statistics.median(usage.cpu_seconds for usage in usages),
            statistics.median(usage.peak_megabytes for usage in usages),
        )
        for usages in zip(*(result.usages for result in results), strict=True)
    )
    cpu, peak = (f"{tap[0][0]:.1f}", f"{tap[0][1]:.0f}") if tap else ("", "")
    return f"{cpu} | {target[0]:.1f}", f"{peak} | {target[1]:.0f}"


def main() -> None:
    """Print tables in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmarks.targets", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=200_000, help=f"a multiple of {ROWS_IN_PART}")
    parser.add_argument(
        "--more-rows", type=int, default=1_000_000, help="for those that are fast; 0 for no rows"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CONTENDERS))
    arguments = parser.parse_args()
    names = arguments.names or [*CONTENDERS]
    if unknown := set(names) - set(CONTENDERS):
        parser.error(f"not among {', '.join(CONTENDERS)}: {', '.join(unknown)}")
    models = {
        "SHORT": ("digits", arguments.rows),
        "LONG": ("digits", arguments.more_rows),
        "TEXT": (TEXT, _TEXT_ROWS),
    }
    options = [
        word for name, (kind, rows) in models.items() for word in ("--model", name, kind, str(rows))
    ]
    with (
        tempfile.TemporaryDirectory(prefix="targets-") as folder,
        serving(*options) as tenant,
        postgres() as database,
        s3() as storage,
    ):
        bucket_at(storage).create_dir(BUCKET)
        environments = Environments(Path(folder), REQUIREMENTS)
        benchmark = Benchmark(Path(folder), environments, tenant, database, storage)
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores", flush=True)
        _compare(benchmark, names, arguments.rows, "SHORT", arguments.rounds)
        fast = [name for name in names if CONTENDERS[name].is_fast]
        if fast and arguments.more_rows:
            _compare(benchmark, fast, arguments.more_rows, "LONG", arguments.rounds)


if __name__ == "__main__":
    main()
