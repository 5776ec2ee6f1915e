"""A server that speaks S3, which one of the contenders writes to."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from benchmarks.targets.contenders import BUCKET
from benchmarks.targets.warehouses import bucket_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.processes import Environments


@contextmanager
def s3(environments: Environments, logs: Path) -> Iterator[str]:
    """Run a server that speaks S3 and has a bucket; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [environments.program("moto", "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with (logs / "s3.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603
    try:
        url = f"http://127.0.0.1:{port}"
        _make_bucket(url)
        yield url
    finally:
        server.terminate()
        server.wait()


@retry(retry=retry_if_exception_type(OSError), stop=stop_after_delay(60), wait=wait_fixed(0.1))
def _make_bucket(url: str) -> None:
    """Make the bucket, as soon as the server answers."""
    bucket_at(url).create_dir(BUCKET)
