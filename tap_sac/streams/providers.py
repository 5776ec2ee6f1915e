"""The list of what SAC exports."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import SACError
from tap_sac.sac.export.kinds import PROVIDERS
from tap_sac.sac.export.tables import UncountedTable
from tap_sac.sac.odata.model import EntitySet, Property
from tap_sac.streams.whole import FullTableStream

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from singer_sdk import Tap

    from tap_sac.discovery.namespaces import Namespaces
    from tap_sac.sac.export.tables import Table
    from tap_sac.sac.odata.pages import Page

# What SAC's administration service says of each model.
_COLUMNS = ("NamespaceID", "ProviderID", "ProviderName", "Description", "ServiceURL")
_PROVIDERS = EntitySet(
    name=PROVIDERS,
    properties=tuple(Property(name, "Edm.String") for name in _COLUMNS),
    key=("NamespaceID", "ProviderID"),
)


class ProvidersStream(FullTableStream):
    """The models of the tenant, and the like, of the namespaces that are read."""

    def __init__(self, tap: Tap, *, namespaces: Namespaces, **parts: Any) -> None:
        """Make the stream.

        Args:
            tap: The tap that it belongs to.
            namespaces: What is listed.
            parts: The rest, as of `SACStream`.
        """
        self._namespaces = namespaces
        super().__init__(tap, entity_set=_PROVIDERS, **parts)

    @override
    def table(self, query: Mapping[str, str], *, track_changes: bool = False) -> Table:
        return UncountedTable(self._pages(query))

    def _pages(self, query: Mapping[str, str]) -> Iterator[Page]:
        for namespace in self._namespaces.served:
            try:
                yield from self.client.provider_pages(namespace, query, self.measure)
            except SACError as error:  # noqa: PERF203  (one namespace each)
                if not self._namespaces.skips(namespace, error):
                    raise
        self.is_complete = not self._namespaces.has_gaps
