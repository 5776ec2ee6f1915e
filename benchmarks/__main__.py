"""Run every contender in turn against one tenant, and print the table."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tenant import (
    FACTS,
    MANY_MODELS,
    METADATA_SECONDS,
    SAC_ROWS_PER_SECOND,
    SLICED_PAGE,
    SLICED_ROWS,
    SLICED_SECONDS_PER_PAGE,
    SLICES,
    SMALL_SET_SECONDS,
    SMALL_SETS,
)
from tap_sac.demo.service import SERVICE_ROOT, TOKEN_PATH

_ENVIRONMENTS = {
    "dlt": ["dlt[duckdb]~=1.5"],
    "msdk": ["tap-rest-api-msdk==1.4.2", "setuptools<81"],
}
_PARALLEL = 4


@dataclass(frozen=True)
class Result:
    """What a process needed: seconds since its first request for rows, or since its start."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float


class Benchmark:
    """Runs processes against the tenant."""

    def __init__(self, url: str, folder: Path) -> None:
        """Keep where things are."""
        self._url = url
        self._folder = folder
        self._root = f"{url}{SERVICE_ROOT}/providers/sac"

    def facts_url(self, model: str) -> str:
        """Tell where the facts of a model are."""
        return f"{self._root}/{model}/FactData"

    def tap_sac(self, model: str, *arguments: str, **settings: object) -> list[str]:
        """Make the command that reads a model with this tap."""
        config = {
            "tenant_url": self._url,
            "token_url": f"{self._url}{TOKEN_PATH}",
            "client_id": "benchmark",
            "client_secret": "benchmark",
            "models": [model],
            "max_parallel_requests": _PARALLEL,
            **settings,
        }
        return [
            sys.executable,
            "-m",
            "tap_sac",
            "--config",
            self._file("tap-sac", config),
            *arguments,
        ]

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
        command = self._environment("msdk") / "bin" / "tap-rest-api-msdk"
        return [str(command), "--config", self._file("msdk", config)]

    def dlt(self, model: str) -> list[str]:
        """Make the command of dlt's extract step."""
        script = Path(__file__).with_name("dlt_extract.py")
        return [
            str(self._environment("dlt") / "bin" / "python"),
            str(script),
            self.facts_url(model),
        ]

    def run(self, command: list[str], output: Path | str = os.devnull) -> Result:
        """Run a command."""
        self._first_request()
        with Path(output).open("wb") as file, (self._folder / "log").open("wb") as log:
            begin = time.time()
            with subprocess.Popen(command, stdout=file, stderr=log) as process:  # noqa: S603
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            end = time.time()
        if process.returncode:
            sys.exit(f"{command[:3]} failed:\n{(self._folder / 'log').read_text()[-2000:]}")
        return Result(
            end - (self._first_request() or begin),
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss / 1024,
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
        pattern = re.compile(rb'"AMOUNT":[^,}]*,"QUANTITY":[^,}]*')
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

    def _environment(self, name: str) -> Path:
        path = self._folder / name
        if not path.exists():
            python = str(path / "bin" / "python")
            for command in (
                ["uv", "venv", "-q", "--python", sys.executable, str(path)],
                ["uv", "pip", "install", "-q", "--python", python, *_ENVIRONMENTS[name]],
            ):
                subprocess.run(command, check=True)  # noqa: S603
        return path


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
    peaks = [
        benchmark.run(benchmark.tap_sac(model)).peak_megabytes for model in ("PAGES10K", "LONG")
    ]
    print(
        f"| peak memory at 5,000,000 rows | {peaks[1]:.0f} MB "
        f"| {peaks[0]:.0f} MB at 1,000,000 ({peaks[1] / peaks[0] - 1:+.1%}) |",
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
    pages = SLICED_ROWS // SLICED_PAGE
    print(
        f"| {rows:,} rows in {SLICES} slices, {SLICED_SECONDS_PER_PAGE:.0f} s per page of "
        f"{SLICED_PAGE:,} | {sliced.seconds:.1f} s, {sliced.peak_megabytes:.0f} MB "
        f"| {whole.seconds:.1f} s in one go ({whole.seconds / sliced.seconds:.2f} x), "
        f"{pages * SLICED_SECONDS_PER_PAGE / _PARALLEL:.1f} s by {_PARALLEL} requests at once |",
        flush=True,
    )


def main() -> None:
    """Print tables in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    command = [sys.executable, "-m", "benchmarks.tenant"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tenant,  # noqa: S603
    ):
        assert tenant.stdout  # noqa: S101
        try:
            benchmark = Benchmark(tenant.stdout.readline().strip(), Path(folder))
            print(f"Python {platform.python_version()}, {os.cpu_count()} cores")
            exact = "the same" if benchmark.amounts_are_exact() else "NOT the same"
            print(f"The digits of 400,000 decimals are {exact} as those that were sent.")
            _throughput(benchmark, rounds)
            _single_runs(benchmark)
        finally:
            tenant.terminate()


if __name__ == "__main__":
    main()
