"""Reduces the SDK's own log lines.

They are found by the SDK's texts, which tests/project/test_sdk.py compares with the SDK.
"""

from __future__ import annotations

import logging
import sys

from singer_sdk.exceptions import AbortedSyncFailedException, AbortedSyncPausedException
from typing_extensions import override

from tap_sac.sac.errors import SACError

# The beginnings of messages that the SDK always logs for each stream or run.
ROUTINE = (
    "Beginning sync of ",
    "Skipping deselected stream ",
    "Skipping parse of env var settings",
    "Parsing env var for settings config",
    "Parsing '%s' config from env variable",
    "METRIC: %s",
)
# The SDK logs this for each error that ends a stream, even if it is reported in one sentence.
UNHANDLED = "An unhandled error occurred while syncing "
# It logs this after the sentences about wrong settings, with the schema of all of them.
SUMMARY = "Config validation failed"
HANDLED = (SACError, AbortedSyncFailedException, AbortedSyncPausedException)


class _Routine(logging.Filter):
    """Lowers routine messages to DEBUG, and drops those that add nothing to a handled failure."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith(UNHANDLED) and isinstance(sys.exc_info()[1], HANDLED):
            return False
        if record.msg == SUMMARY:
            return False
        if record.levelno == logging.INFO and str(record.msg).startswith(ROUTINE):
            record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
            return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
        return True


_ROUTINE_FILTER = _Routine()


def quiet(name: str) -> None:
    """Lower the SDK's routine messages to DEBUG in the logger of this name."""
    logging.getLogger(name).addFilter(_ROUTINE_FILTER)
