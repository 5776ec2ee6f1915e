"""Processes to be measured, the tenant that they read, and the environments that they run in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tap_sac.demo.service import TOKEN_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


_MEASURED = str(Path(__file__).with_name("measured.py"))


class FailedError(SystemExit):
    """A process failed, which ends a benchmark that does not expect it."""


@dataclass(frozen=True)
class Usage:
    """What a process needed; its begin and end are seconds since the epoch."""

    begin: float
    end: float
    cpu_seconds: float
    peak_megabytes: float


def run_pipeline(
    commands: Sequence[Sequence[str]],
    logs: Path,
    *,
    output: Path | str = os.devnull,
    cwd: Path | None = None,
) -> list[Usage]:
    """Run commands of which each reads what the one before it writes.

    Args:
        commands: The commands.
        logs: The folder for their logs.
        output: The file that the last one writes to.
        cwd: The folder that they run in, if it is another one than this process runs in.

    Returns:
        What each of them needed.

    Raises:
        FailedError: If one of them fails, with the end of its log. If several do, it is the last:
            those before it then fail because nobody reads what they write.
    """
    begin = time.time()
    running: list[subprocess.Popen[bytes]] = []
    paths = [logs / f"{number}.log" for number in range(len(commands))]
    with Path(output).open("wb") as file:
        for command, path in zip(commands, paths, strict=True):
            is_last = len(running) == len(commands) - 1
            before = running[-1].stdout if running else None
            with path.open("wb") as log:
                running.append(
                    subprocess.Popen(  # noqa: S603
                        [sys.executable, "-S", "-E", _MEASURED, f"{path}.json", *command],
                        stdin=before or subprocess.DEVNULL,
                        stdout=file if is_last else subprocess.PIPE,
                        stderr=log,
                        cwd=cwd,
                    )
                )
            if before:
                before.close()
    ends = []
    for process in running:
        process.wait()
        ends.append(time.time())
    for process, command, path in zip(running[::-1], commands[::-1], paths[::-1], strict=True):
        if process.returncode:
            msg = f"{command!r} failed:\n{path.read_text()[-3000:]}"
            raise FailedError(msg)
    return [
        Usage(begin, end, *json.loads(Path(f"{path}.json").read_text()))
        for end, path in zip(ends, paths, strict=True)
    ]


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """Serve the tenant of the benchmarks from a process of its own; yields its address."""
    command = [sys.executable, "-m", "benchmarks.tenant", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tenant:  # noqa: S603
        assert tenant.stdout  # noqa: S101
        try:
            yield tenant.stdout.readline().strip()
        finally:
            tenant.terminate()


def tap_settings(url: str, model: str) -> dict[str, Any]:
    """Return the settings of the tap that read a model of the tenant."""
    return {
        "tenant_url": url,
        "token_url": f"{url}{TOKEN_PATH}",
        "client_id": "benchmark",
        "client_secret": "benchmark",
        "models": [model],
    }


class Environments:
    """Environments of their own for other people's programs, made when they are first needed."""

    def __init__(self, folder: Path, requirements: Mapping[str, Sequence[str]]) -> None:
        """Keep what goes where.

        Args:
            folder: Where the environments are made.
            requirements: What is installed into them, by name.
        """
        self._folder = folder
        self._requirements = requirements

    def program(self, environment: str, name: str) -> str:
        """Return the path of a program in an environment."""
        path = self._folder / environment
        if not path.exists():
            python = str(path / "bin" / "python")
            install = ["uv", "pip", "install", "-q", "--compile-bytecode", "--python", python]
            for command in (
                ["uv", "venv", "-q", "--python", sys.executable, str(path)],
                [*install, *self._requirements[environment]],
            ):
                subprocess.run(command, check=True)  # noqa: S603
        return str(path / "bin" / name)
