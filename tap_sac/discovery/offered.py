"""The streams that a tenant offers, and the filters that the settings have for them."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tap_sac.discovery.naming import PROVIDERS_STREAM_NAME, matches, no_match
from tap_sac.sac.errors import SACError
from tap_sac.sac.odata.filters import check_filter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tap_sac.sac.odata.model import EntitySet, Provider

logger = logging.getLogger(__name__)

_OF_A_COLUMN = 2  # parts of the breadcrumb: properties, and the name


@dataclass(frozen=True)
class OfferedStream:
    """A stream that can be read.

    Attributes:
        name: The stream name.
        provider: The model.
        entity_set: Its columns and key.
        siblings: All entity sets of the model, by name.
        odata_filter: The ``$filter`` that the settings ask for.
        partition_by: The column that the settings name to read it in slices, if it can be.
        masters: The streams that have the members of its dimensions, by column.
    """

    name: str
    provider: Provider
    entity_set: EntitySet
    siblings: Mapping[str, EntitySet]
    odata_filter: str | None
    masters: Mapping[str, str]
    partition_by: str | None = None

    def metadata(self, breadcrumb: Sequence[str]) -> dict[str, str]:
        """Return what the catalog says of where the stream, or a column of it, comes from.

        Args:
            breadcrumb: The place in the schema, empty for the stream, as Singer catalogs have it.
        """
        if not breadcrumb:
            return {
                "sac-namespace-id": self.provider.namespace_id,
                "sac-provider-id": self.provider.provider_id,
                "sac-provider-name": self.provider.name,
                "sac-entity-set": self.entity_set.name,
            }
        master = self.masters.get(breadcrumb[-1]) if len(breadcrumb) == _OF_A_COLUMN else None
        return {"sac-master-stream": master} if master else {}


def check_patterns(
    setting: str, patterns: Iterable[str], known: Collection[str], skipped: Sequence[str]
) -> None:
    """Name a glob that matches nothing.

    Args:
        setting: Where the globs are.
        patterns: Stream names, or globs of such.
        known: The streams of SAC and of the catalog.
        skipped: What stream names of models begin with that could not be read.

    Raises:
        SACError: If there is one.
    """
    for pattern in patterns:
        start = re.split(r"[*?]", pattern)[0]
        is_of_skipped = any(start.startswith(prefix) for prefix in skipped)
        if not is_of_skipped and not any(matches(pattern, name) for name in known):
            hint = no_match("stream", pattern, sorted(known))
            msg = f"The setting {setting} has {pattern!r}, {hint}"
            raise SACError(msg)


class StreamFilters:
    """What the setting `filters` asks for: OData filters by globs of stream names."""

    def __init__(self, filters: Mapping[str, str]) -> None:
        """Keep the setting."""
        self._filters = filters

    def of(self, stream_name: str) -> str | None:
        """Return the ``$filter`` for a stream: all that the setting has for it."""
        texts = [text for glob, text in self._filters.items() if matches(glob, stream_name)]
        if len(texts) > 1:
            return " and ".join(f"({text})" for text in texts)
        return texts[0] if texts else None

    def check_patterns(self, known: Collection[str], skipped: Sequence[str]) -> None:
        """Name a glob that matches nothing (`check_patterns`)."""
        check_patterns("filters", self._filters, known, skipped)

    def look_at(self, streams: Sequence[OfferedStream], *, has_providers: bool) -> None:
        """Warn of what SAC will not take.

        Args:
            streams: Those that may be read.
            has_providers: Whether the list of providers may be read.

        Raises:
            SACError: As `check_filter` does.
        """
        for pattern, text in self._filters.items():
            fitting = [stream for stream in streams if matches(pattern, stream.name)]
            is_of_providers = has_providers and matches(pattern, PROVIDERS_STREAM_NAME)
            if not fitting and not is_of_providers:
                continue
            models = {stream.provider: stream.siblings for stream in fitting}
            tables = {stream.name: stream.entity_set for stream in fitting}
            for warning in check_filter(
                f"The filter {text!r} of {pattern!r} in the setting filters",
                text,
                tables,
                [item for siblings in models.values() for item in siblings.values()],
                is_strict=pattern in tables,
            ):
                logger.warning("%s", warning)
