"""What all streams of a tenant share: columns, the query, what a refusal means, metrics."""

from __future__ import annotations

import abc
import sys
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from singer_sdk.singerlib.catalog import REPLICATION_FULL_TABLE

from tap_sac.sac.errors import DataError, ResponseError, SACError, UnknownEntitySetError
from tap_sac.sac.export.kinds import kind_of
from tap_sac.sac.failures import Failure
from tap_sac.singer.decimal_limits import SINGER_DECIMAL, decimals_without_scale
from tap_sac.singer.maps import check_deletions, check_single_table
from tap_sac.singer.page_stream import PageStream
from tap_sac.singer.records import RecordMaker
from tap_sac.singer.schema import DELETED_AT
from tap_sac.streams.progress import Progress, RequestMeter

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from singer_sdk import Tap
    from singer_sdk.singerlib import Catalog

    from tap_sac.read_ahead import ReadAhead
    from tap_sac.sac.export.client import SACClient
    from tap_sac.sac.export.tables import Table
    from tap_sac.sac.http.answer import Answer
    from tap_sac.sac.odata.model import EntitySet
    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.records import Records
    from tap_sac.singer.sums import Sums

_UNKNOWN_ENTITY_SET = 3707
_NOT_SERVED = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}


class SACStream(PageStream, abc.ABC):
    """A table of the tenant."""

    replication_methods: tuple[str, ...] = (REPLICATION_FULL_TABLE,)

    def __init__(
        self,
        tap: Tap,
        *,
        name: str,
        entity_set: EntitySet,
        client: SACClient,
        read_ahead: ReadAhead[Page],
        odata_filter: str | None,
    ) -> None:
        """Make a stream of an entity set.

        Args:
            tap: The tap that it belongs to.
            name: The stream name.
            entity_set: Its columns and key.
            client: Reads the pages.
            read_ahead: Reads them before they are needed.
            odata_filter: A ``$filter`` expression that SAC evaluates.
        """
        self.kind = kind_of(entity_set.name)
        self.client = client
        self.filter = odata_filter
        self._read_ahead = read_ahead
        # Whether the rows of this run could be compared with SAC's count; None before.
        self.is_verified: bool | None = None
        super().__init__(tap, name=name, entity_set=entity_set)
        self._requests = RequestMeter(name, endpoint=entity_set.name)

    @abc.abstractmethod
    def table(self, query: Mapping[str, str], *, track_changes: bool = False) -> Table:
        """Return the rows to read, with query options such as ``$filter``."""

    @abc.abstractmethod
    def read_served(self, columns: list[str]) -> Iterator[Records]:
        """Make the records of this run, and after the last one what follows from it.

        Args:
            columns: Those to ask for.

        Raises:
            UnknownEntitySetError: If SAC does not serve the entity set.
            SACError: If SAC refuses, or its rows do not fit the catalog.
        """

    @override
    def read(self) -> Iterator[Records]:
        """Read the selected columns; nothing if SAC does not serve this entity set.

        Raises:
            SACError: If SAC refuses, or its rows do not fit the catalog.
        """
        with self._requests:
            try:
                yield from self.read_served(self.columns)
            except UnknownEntitySetError as error:
                self.logger.warning("Skipping the stream %s: %s", self.name, error)
            except DataError:  # The others go on, with what was read ahead for them.
                self._read_ahead.drop(self.name)
                raise
            except BaseException:  # Also when the consumer of the records gives up.
                self._read_ahead.close()
                raise

    def pages_ahead(self) -> Iterator[Page] | None:
        """Begin to read before the turn of this stream; None if that must not happen.

        Where SAC tracks changes, each request has consequences that the state must know of.
        """
        if self.is_dry_run or self.replication_method != REPLICATION_FULL_TABLE:
            return None
        if self.verifies_totals:  # SAC is asked for them before the first row.
            return None
        try:
            columns = self.columns
        except SACError:  # It is raised again at the turn of this stream.
            return None
        return self.table(self.query(columns)).pages()

    def parts_ahead(self, parts: Mapping[Any, Callable[[], Iterator[Page]]]) -> ReadAhead[Page]:
        """Make what reads several parts of the table at a time.

        Args:
            parts: Reads the pages of each.
        """
        return self._read_ahead.of_parts(parts)

    def take(self, pages: Callable[[], Iterator[Page]]) -> Iterator[Page]:
        """Take pages while the next one is already being read, and log how it goes."""
        progress = Progress(self.name, self.logger)
        for page in self._read_ahead.read(self.name, pages):
            yield page
            progress.add(len(page.items), page.server_milliseconds)

    def record_maker(self, columns: list[str], *, sums: Sums | None = None) -> RecordMaker:
        """Make what turns rows with these columns into records.

        Args:
            columns: SAC's columns that records have.
            sums: Takes the numbers of all records that are made.
        """
        return RecordMaker(self.entity_set, self.effective_schema, columns, sums=sums)

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        """Apply the catalog; what SAC cannot do becomes FULL_TABLE, with a warning."""
        super().apply_catalog(catalog)
        method = self.forced_replication_method
        if method and method not in self.replication_methods:
            self.logger.warning(
                "The stream %s cannot be replicated %s, so the whole table is read.",
                self.name,
                method,
            )
            self.forced_replication_method = REPLICATION_FULL_TABLE

    @cached_property
    def columns(self) -> list[str]:
        """The columns to ask for.

        Raises:
            DataError: If a column of our own would take the place of one of SAC's, or SAC needs a
                column and none is selected.
            SACError: If rows would be written under another key than SAC's.
        """
        self._check_own_columns()
        self._check_key()
        self._report_changed_columns()
        self._report_decimals_without_scale()
        columns = [column.name for column in self.selection.sac_columns]
        if not columns and self.kind.needs_select:
            msg = (
                f"The catalog selects no column of {self.name}, and SAC insists on one: select "
                "one, or deselect the stream."
            )
            raise DataError(msg)
        return columns

    @property
    def has_key(self) -> bool:
        """Whether targets replace a row that comes again, also where stream maps apply."""
        return bool(self.primary_keys) and all(key for _, key in self.tables)

    @property
    def needs_key(self) -> bool:
        """Whether targets find changed rows by their key."""
        return bool(self.primary_keys)

    def check_maps(self) -> None:
        """Check that stream maps go together with batch files, and let deleted rows pass.

        Raises:
            SACError: If they do not.
        """
        if DELETED_AT in self.entity_set.own_columns:
            check_deletions(
                self.name,
                self.stream_maps,
                self.config.get("stream_maps") or {},
                entity_set=self.entity_set,
                schema=self.schema,
                needs_key=self.needs_key,
            )
        if self.get_batch_config(self.config):
            check_single_table(self.name, self.stream_maps)

    @property
    def verifies(self) -> bool:
        """Whether reads are compared with SAC's own counts."""
        return (
            self.kind.is_counted and self.config["verify_counts"] != "off" and not self.is_dry_run
        )

    @property
    def verifies_totals(self) -> bool:
        """Whether the sums of measures are to be compared with SAC's own."""
        is_of_facts = self.kind.aggregated_in is not None
        return is_of_facts and bool(self.config["verify_totals"]) and not self.is_dry_run

    def query(self, columns: list[str]) -> dict[str, str]:
        """Return the query options that ask for these columns, filtered."""
        options = {}
        everything = len(columns) == len(self.entity_set.properties)
        if not everything or self.kind.needs_select:
            options["$select"] = ",".join(columns)
        if self.filter:
            options["$filter"] = self.filter
        if page_size := self.config.get("page_size"):
            options["pagesize"] = str(page_size)
        return options

    def refusal(self, error: ResponseError, query: Mapping[str, str]) -> SACError:
        """Say what the refusal of the first page means, which only the stream can know."""
        if self._is_not_served(error, query):
            if self.kind.is_optional:
                return UnknownEntitySetError(error.what, Failure.NOT_EXPORTABLE)
            # Without the facts, a run is not complete.
            return DataError(error.what, error.failure, step=error.step)
        if error.failure is Failure.BAD_REQUEST and self.filter:
            msg = (
                f"SAC answered {error.reason} to the filter {self.filter!r} of the stream "
                f"{self.name}: correct it in the setting filters."
            )
            return SACError(msg)
        return error

    def measure(self, answer: Answer) -> None:
        """Count a request for the metrics that other taps write, too."""
        self._requests.add(answer.seconds)
        self.logger.debug(
            "%s: SAC answered %s after %.3f seconds", self.name, answer.status, answer.seconds
        )

    @property
    def _offered(self) -> set[str]:
        return {column.name for column in self.entity_set.properties}

    @property
    def _known(self) -> set[str]:
        own = {column.name for column in self.entity_set.own_columns}
        return set(self.effective_schema["properties"]) - own

    def _check_own_columns(self) -> None:
        if name := self.selection.replaced_column(self.metadata):
            msg = (
                f"SAC's column {name} of {self.name} has the name of a column that the tap "
                f"adds to {self.replication_method} streams: "
                f"{'' if name in self.entity_set.key else 'deselect it, or '}replicate the stream "
                "FULL_TABLE."
            )
            raise DataError(msg)

    def _check_key(self) -> None:
        offered, known = self._offered, self._known
        key, catalog_key = set(self.entity_set.key), set(self.primary_keys)
        key_changes = (key - known) | (catalog_key - offered)
        if catalog_key and key:  # None at all is a choice: such targets append.
            key_changes |= key ^ catalog_key
        if key_changes:
            msg = (
                f"The key of {self.name} in SAC has changed since the catalog was made, or is not "
                f"that of the catalog ({', '.join(sorted(key_changes))}), so rows would overwrite "
                "each other: run the discovery again (meltano run --refresh-catalog) and load "
                "into a new table."
            )
            raise SACError(msg)

    def _report_changed_columns(self) -> None:
        offered, known = self._offered, self._known
        addable = offered | {
            item.name for item in self.entity_set.own_columns if item.is_deselectable
        }
        if new := sorted(addable - set(self.effective_schema["properties"])):
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
        selected = {column.name for column in self.selection.sac_columns}
        if stale := sorted(name for name in selected if not self._is_declared_alike(name)):
            self.logger.warning(
                "The catalog declares these columns of %s in another way than SAC and the settings "
                "do now: %s. Run the discovery again.",
                self.name,
                ", ".join(stale),
            )

    def _report_decimals_without_scale(self) -> None:
        names = decimals_without_scale(self.selection.sac_columns, self.effective_schema)
        if found := ", ".join(names):
            self.logger.warning(
                "$metadata does not give both precision and scale of these decimals of %s: %s. "
                "Some targets round them to whole numbers then: check the type that they have in "
                "the target, or have them written as plain text, by removing the format %s from "
                "them in the catalog.",
                self.name,
                found,
                SINGER_DECIMAL,
            )

    def _is_declared_alike(self, column: str) -> bool:
        declared, now = (
            _types(schema["properties"][column]) for schema in (self.effective_schema, self.schema)
        )
        return declared == now

    def _is_not_served(self, error: ResponseError, query: Mapping[str, str]) -> bool:
        """Tell an entity set that is described but not served from other refusals."""
        if error.number == _UNKNOWN_ENTITY_SET:
            return True
        if error.is_denied and error.number is not None:  # It is the client that SAC refuses.
            return False
        if self.kind.is_hierarchy and (
            error.status == HTTPStatus.BAD_REQUEST and error.number is None
        ):
            return not query or self._is_refused_altogether()
        return self.kind.is_optional and error.status in _NOT_SERVED

    def _is_refused_altogether(self) -> bool:
        """Tell a dimension without a hierarchy, for which SAC has a plain 400, from a bad query."""
        try:
            next(iter(self.table({}).pages()))
        except ResponseError as error:
            return error.status == HTTPStatus.BAD_REQUEST
        return False


def _types(schema: Mapping[str, Any]) -> set[str | None]:
    """Reduce a column's schema to its types, in a list or alone, and its format."""
    types = schema.get("type", [])
    return {schema.get("format"), *([types] if isinstance(types, str) else types)}
