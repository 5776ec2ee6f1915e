"""``--test``: read one record of each selected stream, as other taps do."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from singer_sdk.exceptions import AbortedSyncFailedException, AbortedSyncPausedException

from tap_sac.sac.errors import SACError
from tap_sac.safety.text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from singer_sdk import Stream

    from tap_sac.discovery.offer import Offer

logger = logging.getLogger(__name__)


class TriedTap(Protocol):
    """The parts of the tap that a test needs."""

    @property
    def offer(self) -> Offer:
        """What the tenant offers."""

    @property
    def streams(self) -> Mapping[str, Stream]:
        """The streams of the offer."""

    def setup_mapper(self) -> None:
        """Prepare the stream maps."""

    def write_schemas(self) -> None:
        """Write the schemas of the selected streams."""


def try_streams(tap: TriedTap, *, is_of_schemas: bool) -> int:
    """Write schemas, or one record of each selected stream, and log whether all could be read.

    Returns:
        The exit code: 0 if each stream that a run needs has a record or is empty, else 1.

    Raises:
        SACError: If the streams cannot be made.
    """
    tap.setup_mapper()
    if is_of_schemas:
        tap.write_schemas()
        return 0
    selected = [stream for stream in tap.streams.values() if stream.selected]
    for stream in selected:  # Before the first one is read, and others ahead of their turn.
        stream.ABORT_AT_RECORD_COUNT = 1
    failed = [text for stream in selected if (text := _failure_of(stream))]
    number = plural(len(selected), "selected stream")
    missing = [*tap.offer.failures(), *tap.offer.stream_failures]
    if failed:
        missing.insert(0, f"The test failed for {len(failed)} of {number}. {' '.join(failed)}")
    if missing:
        logger.error("%s", " ".join(missing))
        return 1
    logger.info("The test passed: %s can be read.", number)
    return 0


def _failure_of(stream: Stream) -> str | None:
    """Read a record of a stream; returns why it cannot be read."""
    try:
        stream.sync()
    except (AbortedSyncFailedException, AbortedSyncPausedException):  # after the record
        return None
    except SACError as error:
        return f"{stream.name}: {error}"
    failure = getattr(stream, "failure", None)
    return f"{stream.name}: {failure}" if failure else None
