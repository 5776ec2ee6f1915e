"""A full read of a table, and the streams that are read so: FULL_TABLE."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from singer_sdk.singerlib.catalog import REPLICATION_INCREMENTAL

from tap_sac.sac.causes import BROKEN_PROTOCOL
from tap_sac.sac.delta import is_delta
from tap_sac.sac.errors import ResponseError, SACError
from tap_sac.sac.urls import with_query
from tap_sac.singer.records import PageRecords
from tap_sac.streams.base import SACStream

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from singer_sdk import Tap

    from tap_sac.sac.model import EntitySet, Provider
    from tap_sac.sac.pages import Page
    from tap_sac.singer.records import Records


class WholeRead:
    """A read of all rows of a table, after which targets drop what was not among them.

    Attributes:
        version: The version that the rows carry; None where there are no versions.
        delta_link: Where the changes after this read will be, as far as SAC has said.
    """

    def __init__(
        self,
        stream: FullTableStream,
        columns: list[str],
        *,
        version: int,
        track_changes: bool = False,
    ) -> None:
        """Prepare a read; nothing is asked for yet.

        Args:
            stream: Whose table it is.
            columns: Those to ask for.
            version: The version that its rows get, if there are versions at all.
            track_changes: Whether SAC shall remember this read.
        """
        self.version = version if stream.has_versions else None
        self.delta_link: str | None = None
        self._stream = stream
        self._columns = columns
        self._track_changes = track_changes

    def records(self) -> Iterator[Records]:
        """Read the records, and activate their version after the last one.

        Raises:
            UnknownEntitySetError: If SAC does not serve the entity set.
            SACError: If SAC refuses, or its rows do not fit the catalog.
        """
        stream = self._stream
        stream.version = self.version
        maker = stream.record_maker(self._columns)
        query = stream.query(self._columns)
        is_first = True
        try:
            for page in stream.take(lambda: stream.pages(query, track_changes=self._track_changes)):
                if is_delta(page.context):
                    msg = f"SAC answered the first read of {stream.name} with changes only"
                    raise SACError(msg, BROKEN_PROTOCOL)
                is_first = False
                self.delta_link = page.delta_url
                yield PageRecords(page, maker)
        except ResponseError as error:
            raise (stream.refusal(error, query) if is_first else error) from None
        if self.version is not None:
            stream.activate(self.version)


class FullTableStream(SACStream):
    """A table that is read whole in each run."""

    @property
    def has_versions(self) -> bool:
        """Whether rows carry a version that is activated at the end.

        BATCH files carry none: an ACTIVATE_VERSION after them would make targets drop all of
        their rows.
        """
        return bool(
            self.config["emit_activate_version_messages"]
            and self.replication_method != REPLICATION_INCREMENTAL
            and not self.get_batch_config(self.config)
        )

    @property
    def new_version(self) -> int:
        """The time of this run, in milliseconds.

        The SDK has seconds: a run that is started again within the second in which another was
        killed would then keep that one's rows, also those that are gone by now.
        """
        return self.started_at

    @override
    def read_served(self, columns: list[str]) -> Iterator[Records]:
        yield from WholeRead(self, columns, version=self.new_version).records()


class EntitySetStream(FullTableStream):
    """An entity set of a model: facts, master data, hierarchies, audit data."""

    def __init__(
        self, tap: Tap, *, provider: Provider, entity_set: EntitySet, **parts: Any
    ) -> None:
        """Make a stream of an entity set of a provider.

        Args:
            tap: The tap that it belongs to.
            provider: The model.
            entity_set: Its columns and key.
            parts: The rest, as of `SACStream`.
        """
        self.provider = provider
        super().__init__(tap, entity_set=entity_set, **parts)
        self.selected_by_default = self.kind.is_selected

    def read_first_page(self) -> int:
        """Ask for what a sync would ask for first, and count the records; nothing is written.

        Raises:
            UnknownEntitySetError: If SAC does not serve the entity set.
            SACError: As `read` does.
        """
        columns = self.columns
        self.begin_incremental()
        query = self.query(columns)
        try:
            page = next(self.pages(query))
        except ResponseError as error:
            raise self.refusal(error, query) from None
        return sum(1 for _ in PageRecords(page, self.record_maker(columns)))

    @property
    def url(self) -> str:
        """Where the rows are."""
        return self.client.entity_set_url(self.provider, self.entity_set.name)

    @override
    def pages(self, query: Mapping[str, str], *, track_changes: bool = False) -> Iterator[Page]:
        url = with_query(self.url, query)
        return self.client.pages(url, self.measure, track_changes=track_changes)
