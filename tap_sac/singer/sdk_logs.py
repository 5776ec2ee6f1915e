"""What the SDK logs, made fit for people: less of it, and metrics that name their stream."""

from __future__ import annotations

import logging
import sys

from singer_sdk import metrics

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

# What the SDK says of each stream, or of each run, whatever happens.
_ROUTINE = (
    "Beginning sync of ",
    "Skipping deselected stream ",
    "Skipping parse of env var settings",
    "Parsing env var for settings config",
    "Parsing '%s' config from env variable",
)


class _Routine(logging.Filter):
    """Lets what is said of each stream, whatever happens, be DEBUG."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.INFO and str(record.msg).startswith(_ROUTINE):
            record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
            return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
        return True


class _NamedMetrics(logging.Filter):
    """Lets metrics name their stream under Meltano, too.

    The SDK's structured log has the one word METRIC for a message, and what it is about beside it,
    of which Meltano's console shows the name and the value alone. The SDK knows a metric by its
    format: with another one of the same effect, the message is that of other logs.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        point = record.args[0] if record.args and isinstance(record.args, tuple) else None
        if isinstance(point, metrics.Point) and record.msg == "METRIC: %s":
            record.msg = "METRIC: %1s"
            record.metric_info = point.to_dict()
            record.stream_name = point.tags.get(metrics.Tag.STREAM)
        return True


_ROUTINE_FILTER = _Routine()
_METRICS_FILTER = _NamedMetrics()


def quiet(logger: logging.Logger) -> None:
    """Log as DEBUG what the SDK says with a logger whatever happens."""
    logger.addFilter(_ROUTINE_FILTER)


def name_metrics() -> None:
    """Let all metrics name their stream."""
    metrics.get_metrics_logger().addFilter(_METRICS_FILTER)
