"""The list of what SAC exports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tap_sac.sac.errors import SACError
from tap_sac.sac.export.kinds import PROVIDERS
from tap_sac.sac.export.tables import UncountedTable
from tap_sac.sac.odata.model import EntitySet, Property
from tap_sac.streams.whole import FullTableStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from singer_sdk import Tap

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
    """The models of the tenant, and the like, of the namespaces that are read.

    Attributes:
        refused: Namespaces that SAC has refused during the sync, and why.
    """

    def __init__(
        self,
        tap: Tap,
        *,
        namespaces: Sequence[str],
        has_all_namespaces: bool,
        skip_or_raise: Callable[[str, SACError], None],
        **parts: Any,
    ) -> None:
        """Make the stream.

        Args:
            tap: The tap that it belongs to.
            namespaces: Those to list.
            has_all_namespaces: Whether no other namespace should be listed, too.
            skip_or_raise: Raises the refusal of a namespace, unless the others can be listed.
            parts: The rest, as of `SACStream`.
        """
        self.refused: dict[str, SACError] = {}
        self._namespaces = namespaces
        self._has_all_namespaces = has_all_namespaces
        self._skip_or_raise = skip_or_raise
        super().__init__(tap, entity_set=_PROVIDERS, **parts)

    @override
    def table(self, query: Mapping[str, str], *, track_changes: bool = False) -> Table:
        return UncountedTable(self._pages(query))

    def _pages(self, query: Mapping[str, str]) -> Iterator[Page]:
        for namespace in self._namespaces:
            if namespace in self.refused:  # When they were read ahead, and thrown away.
                continue
            try:
                yield from self.client.provider_pages(namespace, query, self.measure)
            except SACError as error:
                self._skip_or_raise(namespace, error)
                self.refused[namespace] = error
        self.is_complete = self._has_all_namespaces and not self.refused
