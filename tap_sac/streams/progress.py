"""Logs the progress of long reads, and the time that requests take."""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from singer_sdk import metrics

from tap_sac.safety.text import plural
from tap_sac.terminal import PROGRESS_LINE

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator

    from tap_sac.sac.odata.pages import Page

_SECONDS_BETWEEN_REPORTS = 5.0


class Progress:
    """Logs the progress of a read every few seconds, and shows it at a terminal.

    Attributes:
        expected: SAC's count of the rows; if None, the first page has it.
    """

    def __init__(self, stream: str, logger: logging.Logger) -> None:
        """Start the clock."""
        self.expected: int | None = None
        self._stream = stream
        self._logger = logger
        self._begin = self._reported = monotonic()
        self._rows = self._pages = self._server_milliseconds = 0

    def add(self, page: Page) -> None:
        """Count a page, and the time that SAC reports for it."""
        self._rows += len(page.items)
        self._pages += 1
        self._server_milliseconds += page.server_milliseconds
        if self.expected is None:
            self.expected = page.count
        now = monotonic()
        seconds = now - self._begin
        rows, left = plural(self._rows, "row"), ""
        if self.expected and self._rows <= self.expected:
            share = self._rows / self.expected
            rows = f"{self._rows:,} of {plural(self.expected, 'row')} ({share:.0%})"
            if 0 < share < 1:
                left = f", about {_time(seconds / share - seconds)} left"
        speed = f", {self._rows / seconds:,.0f} per second{left}" if seconds >= 1 else ""
        PROGRESS_LINE.update(f"{self._stream}: {rows}{speed}")
        if now - self._reported >= _SECONDS_BETWEEN_REPORTS:
            self._reported = now
            self._logger.info(
                "%s: %s so far%s, %s, %s ms in SAC in total",
                self._stream,
                rows,
                speed,
                plural(self._pages, "page"),
                f"{self._server_milliseconds:,}",
            )


def _time(seconds: float) -> str:
    """Return a rough duration in a suitable unit."""
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return plural(round(seconds / size), unit)
    return plural(round(seconds), "second")


def with_progress(pages: Iterable[Page], stream: str, logger: logging.Logger) -> Iterator[Page]:
    """Yield pages, and log the progress."""
    progress = Progress(stream, logger)
    for page in pages:
        yield page
        progress.add(page)


class RequestMeter:
    """Counts the requests of a stream and their seconds, and logs both at its end.

    The SDK's RESTStream logs the same metrics for each request; here, each is logged once: the
    total seconds and the number of requests.
    """

    def __init__(self, stream: str, *, endpoint: str) -> None:
        """Start with no requests."""
        self._tags: dict[str, str] = {metrics.Tag.STREAM: stream, metrics.Tag.ENDPOINT: endpoint}
        self._counter = metrics.http_request_counter(stream, endpoint, log_interval=math.inf)
        self._seconds = 0.0
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count a request, from any thread, before or during the read."""
        with self._lock:
            self._counter.increment()
            self._seconds += seconds

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Log both at the end of a block, and whether it succeeded."""
        tags = {**self._tags, metrics.Tag.STATUS: metrics.Status.FAILED}
        try:
            with self._counter:
                yield
            tags[metrics.Tag.STATUS] = metrics.Status.SUCCEEDED
        finally:
            name = metrics.Metric.HTTP_REQUEST_DURATION
            metrics.log(self._counter.logger, metrics.Point("timer", name, self._seconds, tags))
            self._seconds = 0.0
