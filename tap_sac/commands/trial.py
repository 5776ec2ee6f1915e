"""``--test``: read one record of each selected stream, as other taps do."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from singer_sdk.exceptions import AbortedSyncFailedException, AbortedSyncPausedException

from tap_sac.sac.errors import SACError
from tap_sac.safety.text import plural

if TYPE_CHECKING:
    from singer_sdk import Tap

logger = logging.getLogger(__name__)


def try_streams(tap: Tap, *, is_of_schemas: bool) -> int:
    """Write schemas, or one record of each selected stream and a line with the verdict.

    Returns:
        The exit code: 0 if each stream has a record or is empty, else 1.

    Raises:
        SACError: If the streams cannot be made.
    """
    tap.setup_mapper()
    if is_of_schemas:
        tap.write_schemas()
        return 0
    selected = [stream for stream in tap.streams.values() if stream.selected]
    failed = []
    for stream in selected:
        stream.ABORT_AT_RECORD_COUNT = 1
        try:
            stream.sync()
        except (AbortedSyncFailedException, AbortedSyncPausedException):  # after the record
            continue
        except SACError as error:
            failed.append(f"{stream.name}: {error}")
        else:
            if failure := getattr(stream, "failure", None):
                failed.append(f"{stream.name}: {failure}")
    number = plural(len(selected), "selected stream")
    if failed:
        logger.error("The test failed for %d of %s. %s", len(failed), number, " ".join(failed))
        return 1
    logger.info("The test passed: %s can be read.", number)
    return 0
