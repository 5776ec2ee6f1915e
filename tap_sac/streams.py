"""Streams: the list of providers, and the entity sets of each."""

from __future__ import annotations

import abc
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from singer_sdk import Stream, metrics
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.singerlib.catalog import REPLICATION_FULL_TABLE

from tap_sac.client import with_query
from tap_sac.csdl import EntitySet, Property
from tap_sac.errors import ResponseError, SACError, UnknownEntitySetError
from tap_sac.records import RecordMaker, add_decimal_facets, json_schema

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping

    import requests
    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.singerlib import SchemaMessage

    from tap_sac.client import Page, Provider, ResponseObserver, SACClient

PROVIDERS_STREAM_NAME = "providers"

_UNKNOWN_ENTITY_SET = 3707
_REDUNDANT_SETS = {"MasterData", "FactDataAggregation", "FactDataDifference", "AuditData"}
_SETS_THAT_NEED_SELECT = {"FactDataAggregation"}

# What SAC's administration service says of each model.
_PROVIDERS = EntitySet(
    name="Providers",
    properties=tuple(
        Property(name, "Edm.String")
        for name in ("NamespaceID", "ProviderID", "ProviderName", "Description", "ServiceURL")
    ),
    key=("NamespaceID", "ProviderID"),
)


class SACStream(Stream, abc.ABC):
    """A table of the tenant, read in whole: FULL_TABLE."""

    # RecordMaker has already made the values fit the schema, without the SDK's detour over float.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE

    def __init__(
        self,
        tap: Tap,
        *,
        name: str,
        entity_set: EntitySet,
        client: SACClient,
        odata_filter: str | None,
    ) -> None:
        """Make a stream of an entity set.

        Args:
            tap: The tap that it belongs to.
            name: The stream name.
            entity_set: Its columns and key.
            client: Reads the pages.
            odata_filter: A ``$filter`` expression that SAC evaluates.
        """
        self._entity_set = entity_set
        self._client = client
        self._filter = odata_filter
        schema = json_schema(entity_set, use_singer_decimal=tap.config["use_singer_decimal"])
        super().__init__(tap, schema=schema, name=name)
        self.primary_keys = entity_set.key

    @property
    @override
    def emit_activate_version_messages(self) -> bool:
        """False for the SDK, which would write ACTIVATE_VERSION before the first row.

        A run that dies half-way would then have emptied the table. See `_sync_records`.
        """
        return False

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Read the selected columns of all rows.

        Raises:
            SACError: If SAC refuses, or its rows do not fit the catalog.
        """
        columns = self._selected_columns()
        maker = RecordMaker(self._entity_set, self.effective_schema, columns)
        with metrics.http_request_counter(self.name, endpoint=self._entity_set.name) as counter:

            def observe(response: requests.Response) -> None:
                counter.increment()
                self._log_http_request_duration(response)

            try:
                for page in self._pages(self._query(columns), observe):
                    yield from maker.records(page.rows)
            except ResponseError as error:
                raise self._explain(error) from None

    def add_decimal_facets(self, schema: dict[str, Any]) -> None:
        """Complete a schema of this stream that went through the SDK's schema objects."""
        add_decimal_facets(schema, self._entity_set)

    @abc.abstractmethod
    def _pages(self, query: Mapping[str, str], on_response: ResponseObserver) -> Iterator[Page]:
        """Read the pages, with query options such as ``$filter``."""

    @override
    def _generate_schema_messages(self) -> Generator[SchemaMessage, None, None]:
        for message in super()._generate_schema_messages():
            self.add_decimal_facets(message.schema)
            yield message

    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        """Write the records, and after the last one make targets drop what was not among them.

        BATCH files carry no version (`write_messages` is false then): an ACTIVATE_VERSION after
        them would make targets drop all of their rows.
        """
        replaces_table = (
            write_messages
            and self.replication_method == REPLICATION_FULL_TABLE
            and self.config["emit_activate_version_messages"]
        )
        version = self._initialized_at // 1000
        if replaces_table:
            self._stream_version = version
        try:
            yield from super()._sync_records(context, write_messages=write_messages)
        except UnknownEntitySetError as error:
            self.logger.warning("Skipping the stream %s: %s", self.name, error)
            return
        if replaces_table:
            self._write_activate_version_message(version)

    def _selected_columns(self) -> list[str]:
        """Choose the columns to request, and see that the catalog still fits SAC's key.

        Raises:
            SACError: If rows would be written under another key than SAC's.
        """
        offered = {column.name for column in self._entity_set.properties}
        known = self.effective_schema["properties"].keys()
        key_changes = (set(self._entity_set.key) - known) | (set(self.primary_keys) - offered)
        if key_changes:
            msg = (
                f"The key of {self.name} has changed in SAC since the catalog was made "
                f"({', '.join(sorted(key_changes))}), so rows would overwrite each other: run "
                "the discovery again (meltano run --refresh-catalog) and load into a new table."
            )
            raise SACError(msg)
        if new := sorted(offered - known):
            self.logger.warning(
                "Leaving out columns of %s that the catalog does not have: %s. Run the discovery "
                "again to load them.",
                self.name,
                ", ".join(new),
            )
        if gone := sorted(known - offered):
            self.logger.warning(
                "SAC no longer has these columns of %s: %s. Run the discovery again.",
                self.name,
                ", ".join(gone),
            )
        return [
            column.name
            for column in self._entity_set.properties
            if column.name in known and self.mask["properties", column.name]
        ]

    def _query(self, columns: list[str]) -> dict[str, str]:
        options = {}
        everything = len(columns) == len(self._entity_set.properties)
        if not everything or self._entity_set.name in _SETS_THAT_NEED_SELECT:
            options["$select"] = ",".join(columns)
        if self._filter:
            options["$filter"] = self._filter
        if page_size := self.config.get("page_size"):
            options["pagesize"] = str(page_size)
        return options

    def _explain(self, error: ResponseError) -> SACError:
        """Tell the cause of a refusal that only the stream can know."""
        set_name, is_bad_request = self._entity_set.name, error.status == HTTPStatus.BAD_REQUEST
        if error.number == _UNKNOWN_ENTITY_SET or (
            # SAC refuses this set for a dimension that has no hierarchy.
            is_bad_request and not self._filter and set_name.endswith("MasterWithHierarchy")
        ):
            return UnknownEntitySetError(str(error))
        if is_bad_request and self._filter:
            msg = (
                f"SAC answered {error.reason} to the filter {self._filter!r} of the stream "
                f"{self.name}: correct it in the setting filters."
            )
            return SACError(msg)
        return error

    def _log_http_request_duration(self, response: requests.Response) -> None:
        """Write the metric that streams on the SDK's RESTStream write."""
        succeeded = response.status_code < HTTPStatus.BAD_REQUEST
        self._log_metric(
            metrics.Point(
                "timer",
                metric=metrics.Metric.HTTP_REQUEST_DURATION,
                value=response.elapsed.total_seconds(),
                tags={
                    metrics.Tag.STREAM: self.name,
                    metrics.Tag.ENDPOINT: self._entity_set.name,
                    metrics.Tag.HTTP_STATUS_CODE: response.status_code,
                    metrics.Tag.STATUS: (
                        metrics.Status.SUCCEEDED if succeeded else metrics.Status.FAILED
                    ),
                },
            ),
        )


class ProvidersStream(SACStream):
    """The models of the tenant, and the like."""

    def __init__(self, tap: Tap, *, client: SACClient, odata_filter: str | None) -> None:
        """Make the stream."""
        super().__init__(
            tap,
            name=PROVIDERS_STREAM_NAME,
            entity_set=_PROVIDERS,
            client=client,
            odata_filter=odata_filter,
        )

    @override
    def _pages(self, query: Mapping[str, str], on_response: ResponseObserver) -> Iterator[Page]:
        return self._client.provider_pages(query, on_response)


class EntitySetStream(SACStream):
    """An entity set of a model: facts, master data, hierarchies, audit data."""

    def __init__(
        self,
        tap: Tap,
        *,
        name: str,
        provider: Provider,
        entity_set: EntitySet,
        client: SACClient,
        odata_filter: str | None,
    ) -> None:
        """Make a stream of an entity set of a provider."""
        self._provider = provider
        self.selected_by_default = _is_selected_by_default(entity_set.name)
        super().__init__(
            tap, name=name, entity_set=entity_set, client=client, odata_filter=odata_filter
        )

    @override
    def _pages(self, query: Mapping[str, str], on_response: ResponseObserver) -> Iterator[Page]:
        url = self._client.entity_set_url(self._provider, self._entity_set.name)
        return self._client.pages(with_query(url, query), on_response)


def _is_selected_by_default(entity_set: str) -> bool:
    """Leave out what repeats other sets, or what only few need."""
    return entity_set not in _REDUNDANT_SETS and not entity_set.endswith("___Distinct")
