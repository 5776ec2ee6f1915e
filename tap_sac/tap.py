"""TapSAC: settings -> offer -> streams."""

from __future__ import annotations

from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any

from singer_sdk.exceptions import SingerSDKError
from singer_sdk.singerlib import Catalog
from typing_extensions import override

from tap_sac.command_line import CommandLineTap
from tap_sac.discovery.discover import discover
from tap_sac.discovery.naming import PROVIDERS_STREAM_NAME, some_of
from tap_sac.inputs import Choice, check_catalog, check_state, completed, origins_in
from tap_sac.read_ahead import Extent, ReadAhead
from tap_sac.sac.errors import SACError
from tap_sac.safety.text import plural
from tap_sac.settings import SETTINGS
from tap_sac.singer.map_columns import check_columns
from tap_sac.singer.schema import add_decimal_facets
from tap_sac.singer.shared_tables import SharedTables, Writer, table_names
from tap_sac.streams.providers import ProvidersSource
from tap_sac.streams.run import read_records
from tap_sac.streams.stream import SACStream
from tap_sac.streams.summary import sum_up
from tap_sac.terminal import PROGRESS_LINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import PurePath

    from singer_sdk import Stream

    from tap_sac.discovery.offer import Offer
    from tap_sac.sac.odata.pages import Page
    from tap_sac.streams.source import Source


class TapSAC(CommandLineTap):
    """Singer tap for SAP Analytics Cloud (SAC), through its Data Export Service."""

    name = "tap-sac"
    dynamic_catalog = True

    config_jsonschema = SETTINGS

    def __init__(
        self,
        *,
        catalog: PurePath | str | dict[str, Any] | Catalog | None = None,
        state: PurePath | str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Make a tap; a `SACError` if the catalog or the state is malformed."""
        self._origins: dict[str, dict[str, str]] = {}
        if isinstance(state, dict):
            check_state(state)
        if isinstance(catalog, dict) and not isinstance(catalog, Catalog):
            catalog = completed(check_catalog(catalog))
            self._origins = origins_in(catalog)
        self._began = monotonic()
        self._bookmarks = dict(state.get("bookmarks", {})) if isinstance(state, dict) else {}
        super().__init__(catalog=catalog, state=state, **kwargs)

    @cached_property
    @override
    def choice(self) -> Choice:
        """The settings, the catalog and the state."""
        catalog = None
        if self.input_catalog is not None:
            catalog = {
                name: bool(entry.metadata.resolve_selection().get((), True))
                for name, entry in self.input_catalog.items()
            }
        return Choice(self.config, catalog, self._bookmarks, self._origins)

    @cached_property
    @override
    def offer(self) -> Offer:
        """What the tenant offers (`discover`), by the settings, the catalog and the state."""
        with PROGRESS_LINE.shown():
            return discover(self.client, self.choice)

    @override
    def streams_of(self, offer: Offer) -> Mapping[str, Stream]:
        self.offer = offer
        self.setup_mapper()
        return self.streams

    @override
    def discover_streams(self) -> Sequence[SACStream]:
        """Make the streams of `offer`: the providers, and each entity set of each model."""
        listing = self.offer.listing
        self._providers = ProvidersSource(
            name=PROVIDERS_STREAM_NAME,
            client=self.client,
            namespaces=listing.served,
            has_all_namespaces=not listing.refused,
            skip_or_raise=listing.namespaces.skip_or_raise,
            filter=self.offer.providers_filter,
            page_size=self.config.get("page_size"),
        )
        sources: list[tuple[ProvidersSource | Source, str | None]] = [(self._providers, None)]
        sources += ((item.source, item.partition_by) for item in self.offer.streams)
        return [
            SACStream(
                self,
                source,
                read=read_records,
                read_ahead=self._read_ahead,
                shared_tables=self._shared_tables,
                partition_by=column,
            )
            for source, column in sources
        ]

    @override
    def setup_mapper(self) -> None:
        """Prepare the stream maps, and check that the streams can be written with them.

        Raises:
            SACError: If a map misspells a column, would lose deleted rows, or cannot be combined
                with batch_config, or if batch files cannot be written.
        """
        tables = {
            item.name: {
                *item.schema["properties"],
                *(column.name for column in item.entity_set.properties),
            }
            for item in self._selected
        }
        check_columns(self.config.get("stream_maps") or {}, tables, self.logger)
        try:
            super().setup_mapper()
        except Exception as error:  # noqa: BLE001  (of whatever an expression does)
            kind = "" if isinstance(error, SingerSDKError) else f"{type(error).__name__}: "
            msg = f"The setting stream_maps cannot be applied ({kind}{error}): correct it."
            raise SACError(msg) from None
        for stream in self._selected:
            stream.check_maps()
        for stream in self._selected[:1]:  # All streams write to the same storage.
            stream.check_batches()

    @property
    @override
    def catalog_dict(self) -> dict[str, Any]:
        catalog = super().catalog_dict
        offered = {item.source.name: item for item in self.offer.streams}
        for entry in catalog["streams"]:
            name = entry["tap_stream_id"]
            stream = self.streams[name]
            if isinstance(stream, SACStream):
                add_decimal_facets(entry["schema"], stream.entity_set.properties)
            for item in entry["metadata"] if name in offered else ():
                item["metadata"] |= offered[name].metadata(item["breadcrumb"])
        return catalog

    @override  # type: ignore[misc]  # final in the SDK, and only added to
    def sync_all(self) -> None:
        """Sync all streams; one that fails on its data does not stop the others.

        Raises:
            SACError: If a stream failed, after the others are read, or something stops the run.
        """
        try:
            self.choice.check_selection()
        except SACError as error:  # Having nothing to do is not a failure.
            self.logger.warning("%s", error)
        streams = self._sac_streams
        try:
            with PROGRESS_LINE.shown():
                super().sync_all()
        finally:
            sentence, numbers = sum_up(
                streams,
                skipped_models=len(self.offer.skipped),
                seconds=monotonic() - self._began,
            )
            self.logger.info(sentence, extra=numbers)
        self._shared_tables.warn(self.logger)
        if unverified := [item.name for item in streams if item.is_uncounted]:
            self.logger.warning(
                "The reads of %s could not be verified, because %s.",
                some_of(unverified),
                "verify_counts is off"
                if self.config["verify_counts"] == "off"
                else "SAC does not count their rows",
            )
        if failures := self._failures():
            raise SACError(" ".join(failures))

    def _failures(self) -> list[str]:
        """Describe what the run could not read."""
        streams = self._sac_streams
        refused = self._providers.refused
        failures = [*self.offer.failures(refused), *self.offer.stream_failures]
        if failed := [f"{item.name}: {item.failure}" for item in streams if item.failure]:
            selected = len(self._selected)
            failures.append(
                f"{len(failed)} of {plural(selected, 'stream')} failed"
                f"{'; the others were read' if selected > len(failed) else ''}. {' '.join(failed)}"
            )
        if withheld := [item.name for item in streams if item.was_withheld]:
            failures.append(
                "A different user is signed in than in the last run, so no rows were removed from "
                f"the target ({some_of(withheld)}): run with --full-refresh (or without --state), "
                "or sign in as before."
            )
        return failures

    @override
    def run_discovery(self) -> str:
        """Print the catalog, or raise a `SACError` if it is incomplete: Meltano caches it."""
        if failures := self.offer.failures():
            raise SACError(" ".join(failures))
        return super().run_discovery()

    @property
    def _sac_streams(self) -> list[SACStream]:
        return [stream for stream in self.streams.values() if isinstance(stream, SACStream)]

    @property
    def _selected(self) -> list[SACStream]:
        return [stream for stream in self._sac_streams if stream.selected]

    @cached_property
    def _shared_tables(self) -> SharedTables:
        return SharedTables(self._writers)

    def _writers(self) -> Iterator[Writer]:
        """Yield the streams that have rows in the target, of this run and of earlier ones."""
        bookmarks = self.state.get("bookmarks", {})
        selected = self._selected
        for stream in selected:
            yield stream.writer(bookmarks.get(stream.name, {}))
        where = "give it a table of its own, or remove it from catalog and state"
        others = {*bookmarks, *(self.choice.selected or ())} - {item.name for item in selected}
        for name in sorted(others):
            maps = self.config.get("stream_maps") or {}
            tables = table_names(name, maps, type(self.mapper))
            yield Writer(name, tables, obstacle=f"is not read in this run: {where}")

    @cached_property
    def _read_ahead(self) -> ReadAhead[Page]:
        return ReadAhead(
            self.config["max_parallel_requests"],
            lambda: {item.name: item.pages_ahead for item in self._selected},
            lambda page: Extent(page.size, page.next_url is None, page.size_of_all),
        )
