"""The SDK's own log lines: fewer of them, and metrics that name their stream.

Both depend on the SDK's texts; tests/project/test_sdk.py compares them with the SDK.
"""

from __future__ import annotations

import logging
import sys

from singer_sdk import metrics
from singer_sdk.exceptions import AbortedSyncFailedException, AbortedSyncPausedException
from typing_extensions import override

from tap_sac.sac.errors import SACError

# How messages begin that the SDK logs for each stream, or in each run, whatever happens.
ROUTINE = (
    "Beginning sync of ",
    "Skipping deselected stream ",
    "Skipping parse of env var settings",
    "Parsing env var for settings config",
    "Parsing '%s' config from env variable",
)
METRIC = "METRIC: %s"
# What the SDK logs of each error that ends a stream, also of those that become one sentence.
UNHANDLED = "An unhandled error occurred while syncing "
HANDLED = (SACError, AbortedSyncFailedException, AbortedSyncPausedException)


class _Routine(logging.Filter):
    """Lowers routine messages to DEBUG, and drops those that misname a handled failure."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith(UNHANDLED) and isinstance(sys.exc_info()[1], HANDLED):
            return False
        if record.levelno == logging.INFO and str(record.msg).startswith(ROUTINE):
            record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
            return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
        return True


class _NamedMetrics(logging.Filter):
    """Makes metrics name their stream under Meltano, too.

    The SDK's structured log replaces the message of a metric by the word METRIC, and Meltano's
    console shows only the name and the value of what comes with it. The SDK recognizes a metric by
    its format, so another format with the same effect keeps the message.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        point = record.args[0] if record.args and isinstance(record.args, tuple) else None
        if isinstance(point, metrics.Point) and record.msg == METRIC:
            record.msg = METRIC.replace("%s", "%1s")
            record.metric_info = point.to_dict()
            record.stream_name = point.tags.get(metrics.Tag.STREAM)
        return True


_ROUTINE_FILTER = _Routine()
_METRICS_FILTER = _NamedMetrics()


def quiet(name: str) -> None:
    """Lower the SDK's routine messages to DEBUG, in the logger of this name."""
    logging.getLogger(name).addFilter(_ROUTINE_FILTER)


def name_metrics() -> None:
    """Make all metrics name their stream."""
    metrics.get_metrics_logger().addFilter(_METRICS_FILTER)
