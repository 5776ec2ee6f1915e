"""The list of what SAC exports."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tap_sac.sac.kinds import PROVIDERS
from tap_sac.sac.model import EntitySet, Property
from tap_sac.sac.tables import UncountedTable
from tap_sac.streams.whole import FullTableStream

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping

    from singer_sdk import Tap

    from tap_sac.sac.tables import Table

# What SAC's administration service says of each model.
_COLUMNS = ("NamespaceID", "ProviderID", "ProviderName", "Description", "ServiceURL")
_PROVIDERS = EntitySet(
    name=PROVIDERS,
    properties=tuple(Property(name, "Edm.String") for name in _COLUMNS),
    key=("NamespaceID", "ProviderID"),
)


class ProvidersStream(FullTableStream):
    """The models of the tenant, and the like."""

    def __init__(self, tap: Tap, **parts: Any) -> None:
        """Make the stream.

        Args:
            tap: The tap that it belongs to.
            parts: The rest, as of `SACStream`.
        """
        super().__init__(tap, entity_set=_PROVIDERS, **parts)

    @override
    def table(self, query: Mapping[str, str], *, track_changes: bool = False) -> Table:
        return UncountedTable(
            self.client.provider_pages(query, self.measure, on_skipped=self._note_gap)
        )

    def _note_gap(self, _namespace: str) -> None:
        self.is_complete = False
