"""What a tenant offers to read: one value for syncs, ``--check`` and the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tap_sac.safety.text import log_safe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tap_sac.discovery.namespaces import Listing
    from tap_sac.sac.errors import SACError
    from tap_sac.sac.odata.model import Provider
    from tap_sac.streams.source import Source

_COLUMN_DEPTH = 2  # the length of a column's breadcrumb: properties, and its name


@dataclass(frozen=True)
class OfferedStream:
    """A stream that can be read.

    Attributes:
        source: Its entity set.
        partition_by: The column of the setting `partition_by`; None if it cannot make slices.
        masters: The streams with the members of its dimensions, by column.
    """

    source: Source
    partition_by: str | None
    masters: Mapping[str, str]

    def metadata(self, breadcrumb: Sequence[str]) -> dict[str, str]:
        """Return the catalog metadata that names the origin of the stream or of a column.

        Args:
            breadcrumb: The place in the schema, as in Singer catalogs; empty for the stream.
        """
        if not breadcrumb:
            return {
                "sac-namespace-id": self.source.provider.namespace_id,
                "sac-provider-id": self.source.provider.provider_id,
                "sac-provider-name": self.source.provider.name,
                "sac-entity-set": self.source.entity_set.name,
            }
        master = self.masters.get(breadcrumb[-1]) if len(breadcrumb) == _COLUMN_DEPTH else None
        return {"sac-master-stream": master} if master else {}


@dataclass(frozen=True)
class Offer:
    """What a tenant offers, by the settings, the catalog and the state.

    Attributes:
        listing: The namespaces and models of the tenant.
        streams: The entity sets of the chosen models, in SAC's order.
        providers_filter: The ``$filter`` of the setting `filters` for the list of providers.
        skipped: The models that cannot be read, with the errors.
        missed: Streams of other models that cannot be read, but that a run needs: facts, unless the
            catalog deselects them, and selected streams; with the errors.
        missing: Selected streams that are not offered, except those of models that the settings
            exclude.
        gone: Streams in the catalog or the state that SAC no longer has.
        model_failures: Descriptions of the skipped models without which a run is incomplete.
    """

    listing: Listing
    streams: tuple[OfferedStream, ...]
    providers_filter: str | None
    skipped: Mapping[Provider, SACError]
    missed: Mapping[str, SACError]
    missing: tuple[str, ...]
    gone: tuple[str, ...]
    model_failures: tuple[str, ...]

    def failures(self, refused_later: Mapping[str, SACError] | None = None) -> list[str]:
        """Describe the namespaces and models without which a run, or a catalog, is incomplete.

        Args:
            refused_later: Namespaces that SAC has refused since discovery, with the errors.
        """
        namespaces = self.listing.failures(refused_later, lacks_streams=bool(self.missing))
        return [*namespaces, *self.model_failures]

    @property
    def stream_failures(self) -> list[str]:
        """Descriptions of the streams without which a run is incomplete."""
        return [f"{log_safe(name)} was not read. {error}" for name, error in self.missed.items()]
