"""Serves the sample tenant on a loopback port."""

from __future__ import annotations

import functools
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tap_sac.demo.service import (
    CLIENT_ID,
    CLIENT_SECRET,
    TOKEN_PATH,
    Application,
    Request,
    SampleService,
)

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class SampleTenant:
    """Serves an application over HTTP until it is closed.

    Attributes:
        url: Scheme, host and port.
    """

    def __init__(self, application: Application | None = None, *, port: int = 0) -> None:
        """Start serving in a thread.

        Args:
            application: Answers the requests; the sample company by default.
            port: A loopback port; 0 for any free one.
        """
        self._server = _Server(application or SampleService(), port)
        self.url = self._server.url
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings with which the tap reads this tenant."""
        return {
            "tenant_url": self.url,
            "token_url": f"{self.url}{TOKEN_PATH}",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }

    def close(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        """Serve until the end of the block."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop serving."""
        self.close()


@functools.cache
def sample_tenant() -> SampleTenant:
    """Return the sample tenant of this process, which is served until the process ends."""
    return SampleTenant()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, application: Application, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.application = application
        self.url = f"http://127.0.0.1:{self.server_port}"

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print no stack trace if a client disconnects."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise, the second packet would wait 40 ms for the acknowledgement of the first one.
    disable_nagle_algorithm = True
    wbufsize = -1  # One packet; otherwise, responses wait for a delayed ACK.
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        response = self.server.application(
            Request(
                method=self.command,
                base_url=self.server.url,
                target=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=body,
            ),
        )
        self.send_response(response.status)
        headers = {"Content-Length": str(len(response.body)), **response.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.body)

    do_POST = do_DELETE = do_GET  # noqa: N815  (names that http.server calls)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log to the tap's stderr."""
