"""Run every contender in turn against one tenant, and print the table."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from functools import partial
from itertools import count
from operator import attrgetter
from pathlib import Path

from benchmarks.processes import Environments, run_pipeline, serving, tap_settings
from benchmarks.tenant import (
    FACTS,
    MANY_MODELS,
    METADATA_SECONDS,
    SAC_ROWS_PER_SECOND,
    SLICED_SECONDS_PER_PAGE,
    SLICES,
    SMALL_SET_SECONDS,
    SMALL_SETS,
)
from tap_sac.demo.service import SERVICE_ROOT

_ENVIRONMENTS = {
    "dlt": ["dlt[duckdb]~=1.5"],
    "msdk": ["tap-rest-api-msdk==1.4.2", "setuptools<81"],
}
_PARALLEL = 4
_MOST_ROWS_OF_ROUNDS = 1_000_000  # More rows are about memory, and take their time.


@dataclass(frozen=True)
class Result:
    """What a process needed.

    Attributes:
        seconds: Since its first request for rows, or else since its start.
        whole_seconds: Since its start, with that of Python.
    """

    seconds: float
    whole_seconds: float
    cpu_seconds: float
    peak_megabytes: float


class Benchmark:
    """Runs processes against the tenant."""

    def __init__(self, url: str, folder: Path) -> None:
        """Keep where things are."""
        self._url = url
        self._folder = folder
        self._root = f"{url}{SERVICE_ROOT}/providers/sac"
        self._environments = Environments(folder, _ENVIRONMENTS)
        # Several commands are made before the first of them runs.
        self._numbers = count()

    def facts_url(self, model: str) -> str:
        """Tell where the facts of a model are."""
        return f"{self._root}/{model}/FactData"

    def tap_sac(self, model: str, *arguments: str, **settings: object) -> list[str]:
        """Make the command that reads a model with this tap."""
        own = {"max_parallel_requests": _PARALLEL, **settings}
        config = tap_settings(self._url, model) | own
        return [
            sys.executable,
            "-m",
            "tap_sac",
            "--config",
            self._file(f"tap-sac-{next(self._numbers)}", config),
            *arguments,
        ]

    def tap_sac_into_files(
        self, model: str, encoding: dict[str, str], **settings: object
    ) -> list[str]:
        """Make the command that writes a model to files, in a folder of their own."""
        folder = self._folder / "files" / f"{model}-{'-'.join(encoding.values())}"
        folder.mkdir(parents=True, exist_ok=True)
        batch_config = {"encoding": encoding, "storage": {"root": folder.as_uri()}}
        return self.tap_sac(model, batch_config=batch_config, **settings)

    def remove_files(self) -> float:
        """Remove the files that were written, and say how many megabytes they had."""
        paths = [path for path in (self._folder / "files").rglob("*fact_data*") if path.is_file()]
        megabytes = sum(path.stat().st_size for path in paths) / 1e6
        for path in paths:
            path.unlink()
        return megabytes

    def stock_tap(self, model: str) -> list[str]:
        """Make the command of the SDK's stock path."""
        path = self._file("stock", {"url": f"{self._root}/{model}"})
        return [sys.executable, "-m", "benchmarks.stock_tap", "--config", path]

    def rest_api_msdk(self, model: str) -> list[str]:
        """Make the command of tap-rest-api-msdk."""
        config = {
            "api_url": f"{self._root}/{model}",
            "pagination_request_style": "jsonpath_paginator",
            "pagination_response_style": "hateoas_body",
            "next_page_token_path": "$['@odata.nextLink']",
            "streams": [{"name": "fact_data", "path": "/FactData", "records_path": "$.value[*]"}],
        }
        command = self._environments.program("msdk", "tap-rest-api-msdk")
        return [command, "--config", self._file("msdk", config)]

    def dlt(self, model: str) -> list[str]:
        """Make the command of dlt's extract step."""
        python = self._environments.program("dlt", "python")
        return [python, str(Path(__file__).with_name("dlt_pipeline.py")), self.facts_url(model)]

    def run(self, command: list[str], output: Path | str = os.devnull) -> Result:
        """Run a command."""
        self._first_request()
        (usage,) = run_pipeline([command], self._folder, output=output)
        return Result(
            usage.end - (self._first_request() or usage.begin),
            usage.end - usage.begin,
            usage.cpu_seconds,
            usage.peak_megabytes,
        )

    def run_and_count(self, command: list[str], stream: str) -> tuple[Result, int]:
        """Run a command, and count the records of a stream that it writes."""
        output = self._folder / "output"
        result = self.run(command, output)
        begin = f'{{"type":"RECORD","stream":"{stream}"'.encode()
        with output.open("rb") as lines:
            return result, sum(line.startswith(begin) for line in lines)

    def amounts_are_exact(self) -> bool:
        """Compare the digits that the tap writes with those that the tenant sends."""
        output = self._folder / "output"
        self.run(self.tap_sac("SHORT10K"), output)
        pattern = re.compile(rb'"AMOUNT":[^,}"]+,"QUANTITY":[^,}"]+')
        written, sent = hashlib.sha256(), hashlib.sha256()
        with output.open("rb") as lines:
            for line in lines:
                for text in pattern.findall(line):
                    written.update(text)
        url: str | None = self.facts_url("SHORT10K")
        while url:
            with urllib.request.urlopen(url) as response:  # noqa: S310  (the tenant)
                body = response.read()
            for text in pattern.findall(body):
                sent.update(text)
            url = json.loads(body).get("@odata.nextLink")
        return written.digest() == sent.digest()

    def _first_request(self) -> float | None:
        url = f"{self._url}{SERVICE_ROOT}/first-request"
        with urllib.request.urlopen(url) as response:  # noqa: S310  (the tenant)
            return json.load(response)  # type: ignore[no-any-return]

    def _file(self, name: str, config: object) -> str:
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps(config))
        return str(path)


def _throughput(benchmark: Benchmark, rounds: int) -> None:
    for size in ("10K", "100K"):
        long, short = f"PAGES{size}", f"SHORT{size}"
        floor = [sys.executable, "-m", "benchmarks.floor", benchmark.facts_url(long)]
        contenders = {
            "floor, a page at once": (long, [*floor, "--at-once"]),
            "floor, row by row": (long, floor),
            "tap-sac": (long, benchmark.tap_sac(long)),
            "dlt rest_api, extract": (short, benchmark.dlt(short)),
            "SDK, stock RESTStream": (short, benchmark.stock_tap(short)),
            "tap-rest-api-msdk 1.4.2": (short, benchmark.rest_api_msdk(short)),
        }
        results: dict[str, list[Result]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, (_, command) in contenders.items():
                results[name].append(benchmark.run(command))
        print(f"\nPages of {size[:-1]},000 rows, medians of {rounds} rounds\n")
        print("| | rows per second | of the floor | CPU s per million rows | peak MB |")
        print("|---|---:|---:|---:|---:|")
        speeds = {
            name: FACTS[model].rows / statistics.median(item.seconds for item in results[name])
            for name, (model, _) in contenders.items()
        }
        for name, (model, _) in contenders.items():
            millions = FACTS[model].rows / 1e6
            cpu = statistics.median(item.cpu_seconds for item in results[name]) / millions
            peak = statistics.median(item.peak_megabytes for item in results[name])
            share = speeds[name] / speeds["floor, row by row"]
            print(f"| {name} | {speeds[name]:,.0f} | {share:.3f} | {cpu:.1f} | {peak:.0f} |")
        ratio = speeds["tap-sac"] / speeds["SDK, stock RESTStream"]
        print(f"\ntap-sac is {ratio:.1f} times as fast as the stock path.", flush=True)


def _files(benchmark: Benchmark, rounds: int) -> None:
    encodings = {
        "Parquet": {"format": "parquet"},
        "Arrow": {"format": "arrow"},
        "Parquet, gzip": {"format": "parquet", "compression": "gzip"},
        "JSON lines, gzip": {"format": "jsonl", "compression": "gzip"},
        "JSON lines": {"format": "jsonl"},
    }
    commands = {
        (name, model): benchmark.tap_sac_into_files(model, encoding)
        for name, encoding in encodings.items()
        for model in ("PAGES10K", "PAGES100K", "LONG")
        if model != "LONG" or name in {"Arrow", "Parquet"}
    }
    results: dict[tuple[str, str], list[Result]] = {case: [] for case in commands}
    sizes = {}
    for number in range(rounds):
        for case, command in commands.items():
            if case[1] == "LONG" and number:  # It is about memory, and takes its time.
                continue
            results[case].append(benchmark.run(command))
            sizes[case] = benchmark.remove_files()
    print(f"\nFiles of BATCH messages, medians of {rounds} rounds\n")
    print("| | rows | rows per page | rows per second | s in all | CPU s | peak MB | MB of files |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for (name, model), runs in results.items():
        facts = FACTS[model]
        speed = facts.rows / statistics.median(item.seconds for item in runs)
        whole = statistics.median(item.whole_seconds for item in runs)
        cpu = statistics.median(item.cpu_seconds for item in runs)
        peak = statistics.median(item.peak_megabytes for item in runs)
        print(
            f"| {name} | {facts.rows:,} | {facts.page_size:,} | {speed:,.0f} | {whole:.1f} "
            f"| {cpu:.1f} | {peak:.0f} | {sizes[name, model]:.0f} |",
            flush=True,
        )


def _keys(benchmark: Benchmark, rounds: int) -> None:
    """Read the same rows with and without comparing their keys."""
    print(f"\nKeys compared, and not; medians of {rounds} rounds, of one from 5,000,000 rows on\n")
    print("| | rows | rows per page | CPU s | CPU s without | speed | peak MB | MB without |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    parquet = {"format": "parquet"}
    for name, model in (
        ("RECORD, in order", "PAGES10K"),
        ("RECORD, in order", "PAGES100K"),
        ("RECORD, shuffled", "SHUFFLED"),
        ("Parquet, in order", "PAGES10K"),
        ("Parquet, shuffled", "SHUFFLED"),
        ("RECORD, in order", "LONG"),
        ("RECORD, in order", "SOAK"),
    ):
        facts = FACTS[model]
        results: dict[str, list[Result]] = {"fail": [], "off": []}
        for _ in range(rounds if facts.rows <= _MOST_ROWS_OF_ROUNDS else 1):
            for setting, found in results.items():
                if name.startswith("Parquet"):
                    make = partial(benchmark.tap_sac_into_files, model, parquet)
                else:
                    make = partial(benchmark.tap_sac, model)
                found.append(benchmark.run(make(verify_counts=setting)))
                benchmark.remove_files()
        cpu, peak, seconds = (
            [statistics.median(map(attrgetter(field), found)) for found in results.values()]
            for field in ("cpu_seconds", "peak_megabytes", "seconds")
        )
        print(
            f"| {name} | {facts.rows:,} | {facts.page_size:,} | {cpu[0]:.1f} | {cpu[1]:.1f} "
            f"| {seconds[1] / seconds[0]:.2f} x | {peak[0]:.0f} | {peak[1]:.0f} |",
            flush=True,
        )


def _single_runs(benchmark: Benchmark) -> None:
    print("\n| | measured | for comparison |\n|---|---:|---:|")
    paced = benchmark.run(benchmark.tap_sac("PACED"))
    floor = [sys.executable, "-m", "benchmarks.floor", benchmark.facts_url("PACED")]
    server = benchmark.run(floor).seconds
    nominal = FACTS["PACED"].rows / SAC_ROWS_PER_SECOND
    print(
        f"| 1,000,000 rows at {SAC_ROWS_PER_SECOND:,} per second | {paced.seconds:.2f} s "
        f"| {server:.2f} s of the floor ({paced.seconds / server - 1:+.1%}), "
        f"{nominal:.2f} s by arithmetic ({paced.seconds / nominal - 1:+.1%}) |",
        flush=True,
    )
    small = benchmark.run(benchmark.tap_sac("SMALL"))
    ideal = SMALL_SETS * SMALL_SET_SECONDS / _PARALLEL
    print(
        f"| {SMALL_SETS} small streams of {SMALL_SET_SECONDS:.0f} s | {small.seconds:.1f} s "
        f"| {ideal:.1f} s by {_PARALLEL} requests at once ({small.seconds / ideal:.2f} x) |",
        flush=True,
    )
    _sliced(benchmark)
    discovery = benchmark.run(benchmark.tap_sac("MODEL*", "--discover"))
    ideal = MANY_MODELS * METADATA_SECONDS / _PARALLEL
    print(
        f"| discovery of {MANY_MODELS} models of {METADATA_SECONDS:.1f} s "
        f"| {discovery.seconds:.1f} s with the start of Python "
        f"| {ideal:.1f} s by {_PARALLEL} requests at once |",
        flush=True,
    )


def _sliced(benchmark: Benchmark) -> None:
    whole = benchmark.run(benchmark.tap_sac("SLICED"))
    command = benchmark.tap_sac("SLICED", partition_by={"sliced_fact_data": "Date"})
    sliced, rows = benchmark.run_and_count(command, "sliced_fact_data")
    facts = FACTS["SLICED"]
    pages = facts.rows // facts.page_size
    print(
        f"| {rows:,} rows in {SLICES} slices, {SLICED_SECONDS_PER_PAGE:.0f} s per page of "
        f"{facts.page_size:,} | {sliced.seconds:.1f} s, {sliced.peak_megabytes:.0f} MB "
        f"| {whole.seconds:.1f} s in one go ({whole.seconds / sliced.seconds:.2f} x), "
        f"{pages * SLICED_SECONDS_PER_PAGE / _PARALLEL:.1f} s by {_PARALLEL} requests at once |",
        flush=True,
    )


def main() -> None:
    """Print tables in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parts = ("throughput", "files", "keys", "single")
    parser.add_argument("parts", nargs="*", help=f"{', '.join(parts)}; all if none is named")
    arguments = parser.parse_args()
    rounds = arguments.rounds
    if unknown := {*arguments.parts} - {*parts}:
        parser.error(f"unknown: {', '.join(unknown)}")
    chosen = arguments.parts or parts
    with tempfile.TemporaryDirectory() as folder, serving() as url:
        benchmark = Benchmark(url, Path(folder))
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores")
        exact = "the same" if benchmark.amounts_are_exact() else "NOT the same"
        print(f"The digits of 400,000 decimals are {exact} as those that were sent.")
        if "throughput" in chosen:
            _throughput(benchmark, rounds)
        if "files" in chosen:
            _files(benchmark, rounds)
        if "keys" in chosen:
            _keys(benchmark, rounds)
        if "single" in chosen:
            _single_runs(benchmark)


if __name__ == "__main__":
    main()
