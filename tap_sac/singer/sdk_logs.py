"""The SDK's own log lines: fewer of them.

Which ones depends on the SDK's texts; tests/project/test_sdk.py compares them with the SDK.
"""

from __future__ import annotations

import logging
import sys

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
    "METRIC: %s",
)
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


_ROUTINE_FILTER = _Routine()


def quiet(name: str) -> None:
    """Lower the SDK's routine messages to DEBUG, in the logger of this name."""
    logging.getLogger(name).addFilter(_ROUTINE_FILTER)
