"""The list of models and other providers that SAC exports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tap_sac.sac.errors import SACError
from tap_sac.sac.export.kinds import PROVIDERS, Kind, kind_of
from tap_sac.sac.export.tables import UncountedTable
from tap_sac.sac.failures import Step
from tap_sac.sac.odata.model import EntitySet, Property
from tap_sac.sac.urls import with_query
from tap_sac.streams.source import read_options, refused_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tap_sac.sac.errors import ResponseError
    from tap_sac.sac.export.client import ResponseObserver, SACClient
    from tap_sac.sac.export.tables import Table
    from tap_sac.sac.odata.pages import Page

# The columns that SAC's administration service has for each model.
_COLUMNS = ("NamespaceID", "ProviderID", "ProviderName", "Description", "ServiceURL")
_PROVIDERS = EntitySet(
    name=PROVIDERS,
    properties=tuple(Property(name, "Edm.String") for name in _COLUMNS),
    key=("NamespaceID", "ProviderID"),
)


@dataclass(frozen=True)
class ProvidersSource:
    """The models and other providers of the namespaces that are read.

    Attributes:
        namespaces: The namespaces to list.
        has_all_namespaces: Whether these are all namespaces that should be listed.
        skip_or_raise: Raises the error of a namespace, unless the others can be listed.
        filter: The ``$filter`` that SAC evaluates.
        page_size: Rows per page; None for SAC's own size.
        refused: Namespaces that SAC refused during the sync, with the errors.
    """

    name: str
    client: SACClient
    namespaces: Sequence[str]
    has_all_namespaces: bool
    skip_or_raise: Callable[[str, SACError], None]
    filter: str | None = None
    page_size: int | None = None
    on_response: ResponseObserver | None = None
    refused: dict[str, SACError] = field(default_factory=dict)

    entity_set = _PROVIDERS
    key = _PROVIDERS.key
    is_counted = False

    @property
    def kind(self) -> Kind:
        """What is known about entity sets of this kind."""
        return kind_of(PROVIDERS)

    @property
    def is_complete(self) -> bool:
        """Whether SAC served all namespaces."""
        return self.has_all_namespaces and not self.refused

    def query(self, columns: list[str]) -> dict[str, str]:
        """Return the query options that request these columns, filtered."""
        return read_options(self.entity_set, columns, self.filter, self.page_size)

    def table(self, query: Mapping[str, str], *, track_changes: bool = False) -> Table:  # noqa: ARG002
        """Return the rows to read, with query options such as ``$filter``."""
        return UncountedTable(self._pages(query))

    def refusal(self, error: ResponseError, query: Mapping[str, str]) -> SACError:  # noqa: ARG002
        """Return what a refusal of the first page means."""
        return refused_filter(self.name, self.filter, error) or error

    def _pages(self, query: Mapping[str, str]) -> Iterator[Page]:
        for namespace in self.namespaces:
            if namespace in self.refused:  # Refused when it was read ahead.
                continue
            try:
                url = with_query(self.client.providers_url(namespace), query)
                yield from self.client.pages(url, self.on_response, step=Step.PROVIDERS)
            except SACError as error:
                self.skip_or_raise(namespace, error)
                self.refused[namespace] = error
