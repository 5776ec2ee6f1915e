"""An entity set as SAC serves it: queries, counts, aggregation and refusals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import DataError, ResponseError, SACError, UnknownEntitySetError
from tap_sac.sac.export.kinds import AUDIT_TIME, Kind, kind_of
from tap_sac.sac.export.tables import CountedTable, CountRequest, UncountedTable
from tap_sac.sac.failures import Failure, SACErrorNumber
from tap_sac.sac.odata.filters import names_in_filter
from tap_sac.sac.odata.model import NUMBERS
from tap_sac.sac.urls import with_query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tap_sac.sac.export.client import ResponseObserver, SACClient
    from tap_sac.sac.export.tables import Table
    from tap_sac.sac.odata.model import EntitySet, Provider

_NOT_SERVED = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
# Some gateways refuse URLs from 8 KB on.
_LONGEST_URL = 6_000


@dataclass(frozen=True)
class Source:
    """An entity set of a model.

    Attributes:
        name: The stream name, for messages.
        entity_set: The columns.
        siblings: All entity sets of the model, by name.
        key: The selected key columns; ``$metadata`` does not always declare them.
        filter: The ``$filter`` that SAC evaluates.
        page_size: Rows per page; None for SAC's own size.
        is_counted: Whether reads are compared with SAC's counts.
        on_response: Observes each answer.
    """

    name: str
    client: SACClient
    provider: Provider
    entity_set: EntitySet
    siblings: Mapping[str, EntitySet]
    key: tuple[str, ...]
    filter: str | None = None
    page_size: int | None = None
    is_counted: bool = True
    on_response: ResponseObserver | None = None

    # SAC serves an entity set completely or not at all.
    is_complete = True

    @property
    def kind(self) -> Kind:
        """What is known about entity sets of this kind."""
        return kind_of(self.entity_set.name)

    @property
    def is_trackable(self) -> bool:
        """Whether SAC can track changes; in a hierarchy, it does not report which paths change."""
        tracks = self.entity_set.tracks_changes
        can_track = self.kind.is_trackable if tracks is None else tracks
        has_ids = bool(self.entity_set.key) or self.kind.is_additive
        return can_track and has_ids and not self.kind.is_hierarchy

    @property
    def replication_key(self) -> str | None:
        """The column to replicate by, if the entity set has it."""
        names = {column.name for column in self.entity_set.properties}
        return AUDIT_TIME if self.kind.replication_key in names else None

    @property
    def url(self) -> str:
        """The URL of the entity set."""
        return self.client.entity_set_url(self.provider, self.entity_set.name)

    def with_key(self, key: tuple[str, ...]) -> Source:
        """Return the source with fewer key columns: SAC aggregates over the others."""
        return replace(self, key=key, entity_set=replace(self.entity_set, key=key))

    def identity(self, columns: list[str]) -> list[Any]:
        """Return everything that determines which rows a read of these columns has."""
        place = [self.client.tenant, self.provider.namespace_id, self.provider.provider_id]
        if user := self.client.user:
            place.append(user.fingerprint or "")
        return [*place, self.entity_set.name, self.key, sorted(columns), self.filter]

    def query(self, columns: list[str]) -> dict[str, str]:
        """Return the query options that request these columns, filtered."""
        options = read_options(self.entity_set, columns, self.filter, self.page_size)
        if not (self.kind.needs_select or self.has_room_for(options)):
            options.pop("$select", None)  # Then SAC sends all columns, and the records drop some.
        return options

    def table(self, query: Mapping[str, str], *, track_changes: bool = False) -> Table:
        """Return the rows to read, with query options such as ``$filter``."""
        if not self.is_counted:
            url = with_query(self.url, query)
            pages = self.client.pages(url, self.on_response, track_changes=track_changes)
            return UncountedTable(pages)
        count_request = CountRequest.WITH_READ
        if self.kind.needs_select:
            count_request = CountRequest.WITH_SELECT
        elif "$select" in query:
            count_request = CountRequest.SEPARATE
        return CountedTable(
            self.client,
            self.url,
            query,
            key=self.key,
            order=self._order(query),
            count_request=count_request,
            track_changes=track_changes,
            on_response=self.on_response,
        )

    def has_room_for(self, query: Mapping[str, str]) -> bool:
        """Return whether a URL with these options is short enough for gateways."""
        return len(with_query(self.url, query)) <= _LONGEST_URL

    def refusal(self, error: ResponseError, query: Mapping[str, str]) -> SACError:
        """Return what a refusal of the first page means; its status alone does not tell."""
        if error.is_unprepared:
            return self._unprepared(error, query)
        if self._is_not_served(error, query):
            if self.kind.is_optional:
                return UnknownEntitySetError(error.what, Failure.NOT_EXPORTABLE)
            # Without the facts, a run is incomplete.
            return DataError(error.what, error.failure, step=error.step)
        return refused_filter(self.name, self.filter, error) or error

    def count_keys(self) -> int | None:
        """Ask SAC how many keys have facts; None if it cannot tell, or not with this filter."""
        return self.count_aggregated([item.name for item in self.entity_set.properties])

    def count_aggregated(self, columns: Sequence[str]) -> int | None:
        """Ask SAC how many rows FactDataAggregation has by some columns; None like `count_keys`."""
        aggregation = self.kind.aggregated_in
        if aggregation not in self.siblings or measures_in_filter(self.entity_set, self.filter):
            return None
        options = {"$select": ",".join(columns)}
        if self.filter:
            options["$filter"] = self.filter
        counted = replace(self, is_counted=True)
        return counted.list_of(aggregation or "", options, *self.key).count()

    def list_of(self, set_name: str, options: Mapping[str, str], *order: str) -> Table:
        """Return rows of any set of the model, which some columns identify."""
        url = self.client.entity_set_url(self.provider, set_name)
        if not self.is_counted:
            return UncountedTable(self.client.pages(with_query(url, options), self.on_response))
        return CountedTable(
            self.client,
            url,
            options,
            order=order,
            count_request=CountRequest.WITH_SELECT if options else CountRequest.WITH_READ,
            on_response=self.on_response,
        )

    def _unprepared(self, error: ResponseError, query: Mapping[str, str]) -> SACError:
        """Find out whether SAC cannot prepare the table or only this query; retries do not help."""
        if query and not self._is_unprepared_without_options(query):
            asked = f"the filter {self.filter!r}" if self.filter else "the columns or page_size"
            what = f"SAC answered {error.reason} to {asked} of the stream {self.name}"
            return SACError(what, Failure.BAD_FILTER if self.filter else Failure.BAD_REQUEST)
        what = f"SAC answered {error.reason}, and cannot export {self.name}"
        made = UnknownEntitySetError if self.kind.is_optional else DataError
        return made(what, Failure.NOT_EXPORTABLE)

    def _is_unprepared_without_options(self, query: Mapping[str, str]) -> bool:
        select = {"$select": query["$select"]} if self.kind.needs_select else {}
        try:
            next(iter(self.client.pages(with_query(self.url, select), self.on_response)))
        except ResponseError as error:
            return error.is_unprepared
        return False

    def _is_not_served(self, error: ResponseError, query: Mapping[str, str]) -> bool:
        """Return whether a refusal means that an entity set is described but not served."""
        if error.number == SACErrorNumber.UNKNOWN_ENTITY_SET:
            return True
        if self._is_refused_to_user(error):
            return True
        if error.is_denied and error.number is not None:  # SAC refuses the client.
            return False
        is_plain_400 = error.status == HTTPStatus.BAD_REQUEST and error.number is None
        if self.kind.is_hierarchy and is_plain_400:
            return not query or self._is_refused_without_options()
        return self.kind.is_optional and error.status in _NOT_SERVED

    def _is_refused_to_user(self, error: ResponseError) -> bool:
        """Return whether the user may not read it, although SAC still accepts the sign-in.

        By SAP's older documentation, only administrators' clients can read audit data.
        """
        is_refused = error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        if not (is_refused and self.kind.needs_administrator and self.client.user):
            return False
        self.client.namespaces()
        return True

    def _is_refused_without_options(self) -> bool:
        """Return whether SAC also answers 400 without options, so there is no hierarchy."""
        try:
            next(iter(self.table({}).pages()))
        except ResponseError as error:
            return error.status == HTTPStatus.BAD_REQUEST
        return False

    def _order(self, query: Mapping[str, str]) -> list[str]:
        """Return the columns that identify rows: the key and all numbers, or all columns."""
        asked = query["$select"].split(",") if "$select" in query else None
        columns = [
            item for item in self.entity_set.properties if asked is None or item.name in asked
        ]
        key = [item.name for item in columns if item.name in self.key]
        if not key:
            return [item.name for item in columns]
        numbers = (item.name for item in columns if item.type in NUMBERS)
        return [*key, *(name for name in numbers if name not in key)]


def read_options(
    entity_set: EntitySet, columns: list[str], odata_filter: str | None, page_size: int | None
) -> dict[str, str]:
    """Return the query options that request columns, filtered, whatever the length of the URL."""
    options = {}
    if kind_of(entity_set.name).needs_select or len(columns) < len(entity_set.properties):
        options["$select"] = ",".join(columns)
    if odata_filter:
        options["$filter"] = odata_filter
    if page_size:
        options["pagesize"] = str(page_size)
    return options


def in_order(query: Mapping[str, str], key: Sequence[str]) -> dict[str, str]:
    """Return query options that request the same rows in key order."""
    return {**query, "$orderby": ",".join(key)}


def measures_in_filter(entity_set: EntitySet, odata_filter: str | None) -> set[str]:
    """Return the columns in a filter that are not dimensions."""
    measures = {column.name for column in entity_set.properties} - {*entity_set.key}
    return names_in_filter(odata_filter or "") & measures


def refused_filter(name: str, odata_filter: str | None, error: ResponseError) -> SACError | None:
    """Return an error that names the filter if SAC refused it; else None."""
    if error.failure is not Failure.BAD_REQUEST or not odata_filter:
        return None
    msg = (
        f"SAC answered {error.reason} to the filter {odata_filter!r} of the stream {name}: correct "
        "it in the setting filters."
    )
    return SACError(msg)
