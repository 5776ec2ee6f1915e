"""Ways to run the tap, tenants to run it against, and how thorough the tests are."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tap_sac.demo import SampleTenant
from tap_sac.demo.company import models
from tap_sac.safety.masks import Secrets
from tap_sac.tap import TapSAC
from tests.helpers.cli import Here
from tests.helpers.cli import run_process as run_as_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from tap_sac.demo.service import Application

    Serve = Callable[[Application], dict[str, Any]]
    RunCli = Callable[..., CompletedProcess[str]]

_PATIENCE = 10  # seconds, with a thread that cannot end because a failed test holds its run
_LONG_WAIT = 0.5  # seconds
_USUAL_EXAMPLES = 100  # of Hypothesis

settings.register_profile("thorough", deadline=None, max_examples=_USUAL_EXAMPLES)
settings.register_profile("quick", deadline=None, max_examples=-(-_USUAL_EXAMPLES // 6))
settings.load_profile("thorough" if os.environ.get("CI") else "quick")


def examples(thorough: int, *, least: int = 1) -> int:
    """Return how many examples a test tries that needs so many to be thorough."""
    return max(least, -(-thorough * settings().max_examples // _USUAL_EXAMPLES))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that take long, so that none is left for one worker at the end."""
    items.sort(key=lambda item: item.get_closest_marker("end_to_end") is None)


class Messages(list[dict[str, Any]]):
    """What a tap wrote; numbers with a point are strings of exactly the written digits."""

    def of(self, stream: str) -> list[dict[str, Any]]:
        """Return the messages about a stream, in order."""
        return [message for message in self if message.get("stream") == stream]

    def records(self, stream: str) -> list[dict[str, Any]]:
        """Return the records of a stream, in order."""
        return [item["record"] for item in self.of(stream) if item["type"] == "RECORD"]

    def schema(self, stream: str) -> dict[str, Any]:
        """Return the schema message of a stream."""
        return next(item for item in self.of(stream) if item["type"] == "SCHEMA")

    @property
    def state(self) -> dict[str, Any]:
        """Return the last state."""
        states = [message["value"] for message in self if message["type"] == "STATE"]
        return copy.deepcopy(states[-1])

    @property
    def streams(self) -> list[str]:
        """Name the streams, in the order of their schemas."""
        return [message["stream"] for message in self if message["type"] == "SCHEMA"]


def read_messages(lines: str) -> Messages:
    return Messages(json.loads(line, parse_float=str) for line in lines.split("\n") if line)


def sync(
    config: dict[str, Any],
    catalog: dict[str, Any] | None = None,
    state: dict[str, Any] | None = None,
) -> Messages:
    """Run the tap in this process."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        TapSAC(config=dict(config), catalog=catalog, state=state).sync_all()
    return read_messages(output.getvalue())


def discover(config: dict[str, Any]) -> dict[str, Any]:
    """Return the catalog, by stream."""
    return {
        entry["tap_stream_id"]: entry
        for entry in TapSAC(config=dict(config)).catalog_dict["streams"]
    }


def select(catalog: dict[str, Any], *streams: str) -> dict[str, Any]:
    """Make the catalog that selects these streams of a discovered one, and no other."""
    for name, entry in catalog.items():
        root = next(item for item in entry["metadata"] if not item["breadcrumb"])
        root["metadata"]["selected"] = name in streams
    return {"streams": list(catalog.values())}


def wait_for_readers() -> None:
    """Wait for the threads that failed runs left behind, which would end with their process.

    Without its server, a thread tries again: it logs, and draws a random number while Hypothesis
    does, which takes it for a test that is flaky.
    """
    for thread in threading.enumerate():
        if thread.name.startswith("tap-sac reader"):
            thread.join(_PATIENCE)


@contextlib.contextmanager
def served(application: Application) -> Iterator[SampleTenant]:
    """Serve an application, for one of the examples of a test."""
    tenant = SampleTenant(application)
    try:
        yield tenant
        wait_for_readers()
    finally:
        # A server takes a moment to see that it shall end.
        threading.Thread(target=tenant.close).start()


@pytest.fixture(scope="session", autouse=True)
def company() -> Iterator[None]:
    """Make the rows of the sample company once: a service changes only lists of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tap_sac.demo.service.models", cache(models))
        yield


@pytest.fixture(scope="session", autouse=True)
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the processes that tests start compile what they import once, and leave nothing behind.

    Containers often turn bytecode off, and a start takes more than twice as long then.
    """
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            patch.delenv("PYTHONDONTWRITEBYTECODE")
            patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the secrets of other tests: each line of the log is searched for all of them."""
    monkeypatch.setattr("tap_sac.safety.masks.known", Secrets())


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that would wait for a retry, instead of waiting: it needs the fixture `waits`."""
    too_long: list[float] = []

    def short_sleep(seconds: float) -> None:
        if seconds < _LONG_WAIT:
            time.sleep(seconds)
        else:
            too_long.append(seconds)

    monkeypatch.setattr("tap_sac.safety.waiting.sleep", short_sleep)
    yield
    assert not too_long, "the test needs the fixture waits, or backoff_max_tries"


@pytest.fixture(scope="session")
def aside() -> Iterator[ThreadPoolExecutor]:
    """Do what no test waits for, and be done with it when the tests are."""
    with ThreadPoolExecutor() as executor:
        yield executor


@pytest.fixture
def serve(aside: ThreadPoolExecutor) -> Iterator[Serve]:
    """Serve applications until the end of the test; returns the settings to read them."""
    with contextlib.ExitStack() as stack:

        def start(application: Application) -> dict[str, Any]:
            tenant = SampleTenant(application)
            # A server takes a moment to see that it shall end.
            stack.callback(aside.submit, tenant.close)
            return tenant.settings

        yield start
        wait_for_readers()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Run a PostgreSQL server; returns its address."""
    from tests.helpers.servers import postgres  # noqa: PLC0415  (most tests need none, and it takes time)

    with postgres() as address:
        yield address


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Wait for nothing between requests, and tell how long it would have been.

    The clock by which they wait for each other goes on only so. Readers that an earlier test left
    behind do not count.
    """
    waited: list[float] = []
    clock = [0.0]
    left_behind = set(threading.enumerate()) - {threading.main_thread()}

    def sleep(seconds: float) -> None:
        clock.append(clock[-1] + seconds)
        if threading.current_thread() not in left_behind:
            waited.append(seconds)

    monkeypatch.setattr("tap_sac.safety.waiting.sleep", sleep)
    monkeypatch.setattr("tap_sac.sac.http.pace.monotonic", lambda: clock[-1])
    return waited


@pytest.fixture
def run_cli(tmp_path: Path) -> Iterator[RunCli]:
    """Run tap-sac with a configuration, in this process: see `tests.helpers.cli.Here`."""
    here = Here(tmp_path)
    yield here.run
    here.wait()


@pytest.fixture
def run_process(tmp_path: Path) -> RunCli:
    """Run tap-sac with a configuration, as a process of its own."""
    return partial(run_as_process, tmp_path)
