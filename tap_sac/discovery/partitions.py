"""The setting `partition_by`, compared with ``$metadata`` before anything is read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tap_sac.discovery.naming import PROVIDERS_STREAM_NAME, matches
from tap_sac.discovery.offered import check_patterns
from tap_sac.sac.errors import SACError
from tap_sac.sac.odata.conditions import can_be_compared
from tap_sac.safety.text import did_you_mean, log_safe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tap_sac.discovery.offered import OfferedStream
    from tap_sac.sac.odata.model import EntitySet

logger = logging.getLogger(__name__)

_NEARNESS = 0.5
_MOST_COLUMNS = 10


class StreamPartitions:
    """What the setting `partition_by` asks for: columns by globs of stream names."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        """Keep the setting."""
        self._columns = columns

    def of(self, stream_name: str, entity_set: EntitySet) -> str | None:
        """Return the column to read a stream by; None if there is none, or it cannot be.

        The name of the stream counts before globs, and those in their order.
        """
        column = self._named(stream_name)
        return column if column in _usable(entity_set) else None

    def check_patterns(self, known: Collection[str], skipped: Sequence[str]) -> None:
        """Name a glob that matches nothing (`offered.check_patterns`)."""
        check_patterns("partition_by", self._columns, known, skipped)

    def look_at(self, streams: Sequence[OfferedStream]) -> None:
        """Warn of streams that cannot be read so.

        Args:
            streams: Those that may be read.

        Raises:
            SACError: If the setting has one of them by its name.
        """
        if PROVIDERS_STREAM_NAME in self._columns:
            msg = (
                f"The setting partition_by names {PROVIDERS_STREAM_NAME!r}, the list of models, "
                "which is not read in slices: remove it there."
            )
            raise SACError(msg)
        for pattern, column in self._columns.items():
            fitting = [item for item in streams if self._pattern_of(item.name) == pattern]
            lacking = [item for item in fitting if column not in _usable(item.entity_set)]
            if not lacking:
                continue
            usable = _usable(lacking[0].entity_set)
            has_column = column in {item.name for item in lacking[0].entity_set.properties}
            flaw = "holds no values to compare" if has_column else "is not there"
            subject = f"The setting partition_by names {log_safe(column)!r} for {pattern!r}"
            if pattern == lacking[0].name:
                hint = did_you_mean(column, usable, cutoff=_NEARNESS) or _there_are(usable)
                msg = f"{subject}, which {flaw}: {hint}"
                raise SACError(msg)
            logger.warning(
                "%s, which %s in %s of the %s streams that it fits, such as %s: they are read in "
                "one go.",
                subject,
                flaw,
                len(lacking),
                len(fitting),
                lacking[0].name,
            )

    def _pattern_of(self, stream_name: str) -> str | None:
        if stream_name in self._columns:
            return stream_name
        return next((glob for glob in self._columns if matches(glob, stream_name)), None)

    def _named(self, stream_name: str) -> str | None:
        return self._columns.get(self._pattern_of(stream_name) or "")


def _usable(entity_set: EntitySet) -> list[str]:
    return [item.name for item in entity_set.properties if can_be_compared(item)]


def _there_are(columns: Iterable[str]) -> str:
    shown = [log_safe(column) for column in columns]
    more = ", ..." if len(shown) > _MOST_COLUMNS else ""
    return f"there are {', '.join(shown[:_MOST_COLUMNS])}{more}." if shown else "there are none."
