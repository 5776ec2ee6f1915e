"""A relay between the tap and a tenant, which spoils an answer as no tenant would."""

from __future__ import annotations

import re
import socket
import socketserver
import struct
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

    Spoil = Callable[["RelayHandler", bytes], None]


POLL_INTERVAL = 0.02  # seconds that shutting down takes


class Relay(socketserver.ThreadingTCPServer):
    """Passes requests on to a tenant, but treats one answer in another way.

    Attributes:
        url: Where it is.
    """

    daemon_threads = True

    def __init__(self, tenant_url: str, spoiled: bytes, spoil: Spoil) -> None:
        super().__init__(("127.0.0.1", 0), RelayHandler)
        parts = urlsplit(tenant_url)
        self.tenant = (str(parts.hostname), int(parts.port or 0))
        self.spoiled = [spoiled]
        self.spoil = spoil
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(POLL_INTERVAL,), daemon=True).start()


class RelayHandler(socketserver.StreamRequestHandler):
    server: Relay

    @override
    def handle(self) -> None:
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        length = re.search(rb"Content-Length: (\d+)", head)
        body = self.rfile.read(int(length[1])) if length else b""
        with socket.create_connection(self.server.tenant) as tenant:
            tenant.sendall(head.replace(b"keep-alive", b"close") + b"\r\n" + body)
            answer = tenant.makefile("rb").read()
        if any(spoiled in head for spoiled in self.server.spoiled):
            self.server.spoiled.clear()
            self.server.spoil(self, answer)
        else:
            self.request.sendall(answer)


def reset(handler: RelayHandler, answer: bytes) -> None:
    handler.request.sendall(answer[:-20])
    # With nothing to linger for, closing sends RST instead of FIN.
    handler.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.request.close()


def cut(handler: RelayHandler, answer: bytes) -> None:
    """Send less, without a Content-Length that tells."""
    head, _, body = answer.partition(b"\r\n\r\n")
    head = re.sub(rb"\r\nContent-Length: \d+", b"", head)
    handler.request.sendall(head + b"\r\nConnection: close\r\n\r\n" + body[:-20])
