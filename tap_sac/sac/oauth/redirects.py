"""Receives the redirect at the end of a sign-in on a local port, and shows a page."""

from __future__ import annotations

import html
import queue
import sys
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from string import Template
from typing import Any
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from tap_sac.sac.errors import SACError
from tap_sac.sac.failures import Failure
from tap_sac.safety.masks import one_line
from tap_sac.safety.text import log_safe

DEFAULT_REDIRECT_URI = "http://127.0.0.1:8484/callback"

_ADDRESS = "127.0.0.1"
_HOSTS = {_ADDRESS, "localhost"}
_HTTP_PORT = 80
_SECONDS_PER_REQUEST = 30
_SECONDS_FOR_THE_PAGE = 5.0
_PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$title</title>
<style>body { font: 1.1rem/1.5 system-ui, sans-serif; margin: 15vh auto; max-width: 34rem; }</style>
</head>
<body>
<h1>$title</h1>
<p>$text</p>
</body>
</html>
"""
)
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}


@dataclass(frozen=True)
class RedirectURI:
    """The URI to which the browser is redirected after a sign-in.

    Attributes:
        text: The URI, exactly as registered with the OAuth client.
        port: The local port to listen on; None for another machine.
    """

    text: str
    port: int | None

    @classmethod
    def checked(cls, text: str) -> RedirectURI:
        """Parse http on this machine, or https (RFC 8252, 7.3 and 7.2); a `SACError` otherwise."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if text.isascii() and text.isprintable() and not parts.fragment and parts.hostname:
            if parts.scheme == "https":
                return cls(text, None)
            if parts.scheme == "http" and parts.hostname in _HOSTS and "@" not in parts.netloc:
                return cls(text, _HTTP_PORT if port is None else port)
        msg = f"{log_safe(text)!r} cannot be a redirect URI"
        raise SACError(msg, Failure.BAD_REDIRECT_URI)


class RedirectListener:
    """Waits for the browser on a port that only this machine can reach."""

    def __init__(self, redirect_uri: RedirectURI, state: str) -> None:
        """Start to listen.

        Args:
            redirect_uri: A URI with a port. Requests for other paths, such as icons, are ignored.
            state: The state of the sign-in. Requests with other states are ignored: any page in the
                browser can send them.

        Raises:
            SACError: If the port is in use or not permitted.
        """
        try:
            self._server = _Server(redirect_uri, state)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            msg = f"The tap cannot listen on port {redirect_uri.port} of this machine ({reason})"
            raise SACError(msg, Failure.BUSY_PORT) from None
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def wait(self, seconds: float) -> str | None:
        """Wait for the redirect; returns its complete URL, or None after the timeout."""
        try:
            return self._server.redirected.get(timeout=seconds)
        except queue.Empty:
            return None

    def show(self, title: str, text: str, *, is_success: bool) -> None:
        """Show the result in the browser, and wait until the page is sent."""
        page = _PAGE.substitute(title=html.escape(title), text=html.escape(one_line(text)))
        self._server.page.put((HTTPStatus.OK if is_success else HTTPStatus.BAD_REQUEST, page))
        self._server.is_shown.wait(_SECONDS_FOR_THE_PAGE)

    def close(self) -> None:
        """Stop listening."""
        self._server.page.put((HTTPStatus.GONE, ""))  # so that a waiting browser gets an end
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    # Browsers open connections that they may never use.
    daemon_threads = True
    block_on_close = False
    # On Windows, this would let two programs listen on one port.
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, redirect_uri: RedirectURI, state: str) -> None:
        self.state = state
        self.path = urlsplit(redirect_uri.text).path or "/"
        self.origin = redirect_uri.text.partition("?")[0].removesuffix(self.path)
        self.redirected: queue.Queue[str] = queue.Queue()
        self.page: queue.Queue[tuple[HTTPStatus, str]] = queue.Queue()
        self.is_shown = threading.Event()
        self.may_take = threading.Lock()
        super().__init__((_ADDRESS, redirect_uri.port or 0), _Handler)

    @override
    def server_bind(self) -> None:
        """Bind without a DNS request for the name of this machine."""
        TCPServer.server_bind(self)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print no stack trace if a browser disconnects."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SECONDS_PER_REQUEST

    def do_GET(self) -> None:
        """Accept only the first request with the path of the redirect URI and the state."""
        url = urlsplit(self.path)
        has_state = parse_qs(url.query).get("state") == [self.server.state]
        is_answer = url.path == self.server.path and has_state
        if not (is_answer and self.server.may_take.acquire(blocking=False)):
            self.send_response(HTTPStatus.NOT_FOUND)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.server.redirected.put(f"{self.server.origin}{self.path}")
        status, page = self.server.page.get()
        body = page.encode()
        try:
            self.send_response(status)
            for name, value in {**_HEADERS, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        finally:
            self.server.is_shown.set()

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log: it would show the code."""
