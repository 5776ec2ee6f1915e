"""Ways to run tap-sac as a user does: in this process, which is fast, or as one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any, TextIO
from unittest import mock

import pytest
from typing_extensions import override

from tap_sac.demo import sample_tenant
from tap_sac.tap import TapSAC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_PATIENCE = 240  # of a run that hangs, so that it does not block all tests

# Standard output, the log and the signal handlers belong to all threads.
_one_run_at_a_time = threading.Lock()


def tap_command(folder: Path, config: dict[str, Any] | None, *arguments: str) -> list[str]:
    """Return the command that runs tap-sac as a process of its own.

    Args:
        folder: Where the configuration is stored.
        config: The configuration, unless the arguments say where it is.
        arguments: More of the command line.
    """
    return [sys.executable, "-m", "tap_sac", *_with_config(folder, config, arguments)]


def run_process(
    folder: Path,
    config: dict[str, Any] | None,
    *arguments: str,
    log_level: str | None = "DEBUG",
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run tap-sac as a process of its own, for what only a process shows.

    Args:
        folder: As of `tap_command`.
        config: As of `tap_command`.
        arguments: As of `tap_command`.
        log_level: The log level; None leaves it to the environment.
        options: As of `subprocess.run`.
    """
    return subprocess.run(  # noqa: S603
        tap_command(folder, config, *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
        env={**os.environ, **_variables(log_level)},
        **options,
    )


@contextlib.contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command beside a test; it is killed if the test fails, or if it does not end.

    Args:
        command: The command.
        options: As of `subprocess.Popen`.
    """
    with subprocess.Popen(command, text=True, **options) as process:  # noqa: S603
        watchdog = threading.Timer(_PATIENCE, process.kill)
        watchdog.start()
        try:
            yield process
            process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            watchdog.cancel()


def read_until(text: str, lines: Iterable[str] | None) -> str:
    """Read the lines of a process to the first one with a text, and return them."""
    read = ""
    for line in lines or ():
        read += line
        if text in line:
            return read
    pytest.fail(f"no line has {text!r}: {read}")


class Here:
    """Runs tap-sac in this process, and returns what a process of its own would have written.

    Environment, log, signal handlers and standard streams are as before after each run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads: set[threading.Thread] = set()

    def run(
        self,
        config: dict[str, Any] | None,
        *arguments: str,
        log_level: str | None = "DEBUG",
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line; takes what `run_process` takes."""
        argv = _with_config(self._folder, config, arguments)
        output = self._folder / "stdout"
        threads = {threading.current_thread()}
        sample_tenant()  # It serves until this process ends, so it belongs to no run.
        with (
            _one_run_at_a_time,
            mock.patch.dict(os.environ, _variables(log_level)),
            # A file, because the tap writes to the descriptor of standard output if there is one.
            output.open("w", encoding="utf-8", newline="\n") as stdout,
            pytest.MonkeyPatch.context() as patch,
            _restored_signals(),
            _limited_time(),
            _restored_log(),
            warnings.catch_warnings(),
        ):
            stderr = _Stderr(threads)
            patch.setattr("sys.stdout", stdout)
            patch.setattr("sys.stderr", stderr)
            patch.setattr("sys.excepthook", sys.__excepthook__)
            patch.setattr("tap_sac.command_line.wake_for_signals", lambda: None)
            patch.setattr("threading.Thread.start", _start_noting(threads))
            code = _exit_code(argv)
            sys.stdout.flush()
        self._threads |= threads - {threading.current_thread()}
        return subprocess.CompletedProcess(
            argv, code, output.read_bytes().decode(), stderr.getvalue()
        )

    def wait(self) -> None:
        """Wait for the threads that failed runs left behind, which end with their requests.

        A process ends without them; here they would write to the log of a later test.
        """
        for thread in self._threads:
            thread.join(_PATIENCE)
            assert not thread.is_alive()


class _Stderr(io.TextIOWrapper):
    """What the threads of a run write to stderr; servers of the test, and others, go elsewhere."""

    def __init__(self, threads: set[threading.Thread]) -> None:
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, "utf-8", "backslashreplace", newline="\n", write_through=True)
        self._threads = threads
        self._elsewhere: TextIO = sys.stderr

    @override
    def write(self, text: str) -> int:
        if threading.current_thread() in self._threads:
            return super().write(text)
        return self._elsewhere.write(text)

    def getvalue(self) -> str:
        return self._bytes.getvalue().decode()


def _with_config(
    folder: Path, config: dict[str, Any] | None, arguments: tuple[str, ...]
) -> list[str]:
    if config is None:
        return [*arguments]
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return ["--config", str(path), *arguments]


def _variables(log_level: str | None) -> dict[str, str]:
    return {"TAP_SAC_LOGLEVEL": log_level} if log_level else {}


def _exit_code(argv: list[str]) -> int:
    """Do what ``python -m tap_sac`` does, and end as Python does."""
    try:
        TapSAC.cli(argv, prog_name="tap-sac")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)  # noqa: T201
        return 1
    except Exception as error:  # noqa: BLE001  (Python shows each alike)
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _start_noting(threads: set[threading.Thread]) -> Callable[[threading.Thread], None]:
    """Make a `threading.Thread.start` that adds the threads which these threads start."""
    start = threading.Thread.start

    def start_and_note(thread: threading.Thread) -> None:
        if threading.current_thread() in threads:
            threads.add(thread)
        start(thread)

    return start_and_note


@contextlib.contextmanager
def _restored_signals() -> Iterator[None]:
    """Undo what the tap does with signals, which it can do in the main thread alone."""
    is_main = threading.current_thread() is threading.main_thread()
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP] if is_main else []
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _limited_time() -> Iterator[None]:
    """End a run that hangs, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("the run hangs"))
    signal.alarm(_PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _restored_log() -> Iterator[None]:
    """Log as a new process does, without the handlers of pytest; and as before afterwards."""
    root = logging.getLogger()
    known = [item for item in root.manager.loggerDict.values() if isinstance(item, logging.Logger)]
    before = [
        (logger, logger.level, [*logger.handlers], [*logger.filters], logger.propagate)
        for logger in (root, *known)
    ]
    make_record = logging.getLogRecordFactory()
    root.handlers.clear()
    try:
        yield
    finally:
        logging.setLogRecordFactory(make_record)
        logging.captureWarnings(capture=False)
        for logger, level, handlers, filters, propagate in before:
            if logger.level != level:  # It would clear what all loggers remember.
                logger.setLevel(level)
            logger.handlers[:] = handlers
            logger.filters[:] = filters
            logger.propagate = propagate
