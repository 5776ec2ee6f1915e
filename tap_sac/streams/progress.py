"""How far a long read has come, and what its requests took, for whoever watches the log."""

from __future__ import annotations

import math
import threading
from time import monotonic
from typing import TYPE_CHECKING

from singer_sdk import metrics

from tap_sac.safety.text import plural
from tap_sac.terminal import PROGRESS_LINE

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from tap_sac.sac.odata.pages import Page

_SECONDS_BETWEEN_REPORTS = 5.0


class Progress:
    """Logs a line about a read every few seconds, and shows one that moves at a terminal."""

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
        seconds = now - self._begin
        speed = f", {self._rows / seconds:,.0f} per second" if seconds >= 1 else ""
        PROGRESS_LINE.update(f"{self._stream}: {plural(self._rows, 'row')}{speed}")
        if now - self._reported >= _SECONDS_BETWEEN_REPORTS:
            self._reported = now
            self._logger.info(
                "%s: %s so far, %s rows per second, %s, %s ms in SAC",
                self._stream,
                plural(self._rows, "row"),
                f"{self._rows / seconds:,.0f}",
                plural(self._pages, "page"),
                f"{self._server_milliseconds:,}",
            )


def with_progress(pages: Iterable[Page], stream: str, logger: logging.Logger) -> Iterator[Page]:
    """Return pages as they come, and log the progress."""
    progress = Progress(stream, logger)
    for page in pages:
        yield page
        progress.add(len(page.items), page.server_milliseconds)


class RequestMeter:
    """Counts the requests of a stream and the seconds that they take, and logs both at its end.

    The metrics are those of streams on the SDK's RESTStream, but there is one point of each: the
    seconds are those of all requests, so that with the count they give the mean.
    """

    def __init__(self, stream: str, *, endpoint: str) -> None:
        """Begin with none."""
        self._tags: dict[str, str] = {metrics.Tag.STREAM: stream, metrics.Tag.ENDPOINT: endpoint}
        self._counter = metrics.http_request_counter(stream, endpoint, log_interval=math.inf)
        self._seconds = 0.0
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count a request, from any thread, before or during the read."""
        with self._lock:
            self._counter.increment()
            self._seconds += seconds

    def __enter__(self) -> Self:
        self._counter.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._counter.__exit__(exc_type, exc_val, exc_tb)
        status = metrics.Status.SUCCEEDED if exc_type is None else metrics.Status.FAILED
        tags = {**self._tags, metrics.Tag.STATUS: status}
        name = metrics.Metric.HTTP_REQUEST_DURATION
        metrics.log(self._counter.logger, metrics.Point("timer", name, self._seconds, tags))
        self._seconds = 0.0
