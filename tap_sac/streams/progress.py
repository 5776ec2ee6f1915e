"""How far a long read has come, for whoever watches the log."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

_SECONDS_BETWEEN_REPORTS = 5.0


class Progress:
    """Logs a line about a read every few seconds; a short one has none."""

    def __init__(self, stream: str, logger: logging.Logger) -> None:
        """Begin now."""
        self._stream = stream
        self._logger = logger
        self._begin = self._reported = monotonic()
        self._rows = self._pages = self._server_milliseconds = 0

    def add(self, rows: int, server_milliseconds: int) -> None:
        """Count a page, with the time that SAC says it needed for it."""
        self._rows += rows
        self._pages += 1
        self._server_milliseconds += server_milliseconds
        now = monotonic()
        if now - self._reported >= _SECONDS_BETWEEN_REPORTS:
            self._reported = now
            self._logger.info(
                "%s: %s rows so far, %s rows per second, %s pages, %s ms in SAC",
                self._stream,
                f"{self._rows:,}",
                f"{self._rows / (now - self._begin):,.0f}",
                f"{self._pages:,}",
                f"{self._server_milliseconds:,}",
            )
