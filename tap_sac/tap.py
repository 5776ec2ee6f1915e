"""TapSAC: settings -> tenant -> discovery -> streams."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

from singer_sdk.singerlib import Catalog

from tap_sac.command_line import CommandLineTap
from tap_sac.commands.check import Check
from tap_sac.commands.models import Models
from tap_sac.discovery.discover import Discovery
from tap_sac.discovery.naming import PROVIDERS_STREAM_NAME, some_of
from tap_sac.inputs import check_catalog, check_state, completed
from tap_sac.read_ahead import Extent, ReadAhead
from tap_sac.sac.errors import SACError
from tap_sac.safety.masks import one_line
from tap_sac.settings import SETTINGS
from tap_sac.singer.schema import add_decimal_facets
from tap_sac.streams import entity_set_stream
from tap_sac.streams.base import SACStream
from tap_sac.streams.providers import ProvidersStream
from tap_sac.streams.whole import FullTableStream
from tap_sac.terminal import STATUS_LINE

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import PurePath

    from singer_sdk import Stream

    from tap_sac.sac.odata.pages import Page

_MOST_TRIES_OF_A_CHECK = 2
_BYTES_AROUND_A_ROW = 64  # of its object, and of its place in the list


class TapSAC(CommandLineTap):
    """Singer tap for SAP Analytics Cloud (SAC), through its Data Export Service."""

    name = "tap-sac"
    dynamic_catalog = True

    config_jsonschema = SETTINGS

    def __init__(
        self, *, catalog: PurePath | str | dict[str, Any] | Catalog | None = None, **parts: Any
    ) -> None:
        """Make a tap.

        Args:
            catalog: What to read.
            parts: As of `singer_sdk.Tap`.

        Raises:
            SACError: If the catalog or the state is malformed.
        """
        if isinstance(parts.get("state"), dict):
            check_state(parts["state"])
        if isinstance(catalog, dict) and not isinstance(catalog, Catalog):
            catalog = completed(check_catalog(catalog))
        super().__init__(catalog=catalog, **parts)

    @cached_property
    def discovery(self) -> Discovery:
        """What the tenant offers, in the light of the settings and the catalog."""
        return self._discover(dict(self.config))

    @override
    def discover_streams(self) -> Sequence[SACStream]:
        """Make the streams: the providers, and each entity set of each model.

        With a catalog, only the models that have a stream selected in it are asked.

        Raises:
            SACError: If SAC refuses, a setting matches nothing, or nothing at all can be read.
        """
        discovery = self.discovery
        streams: list[SACStream] = [
            entity_set_stream(
                self,
                name=offered.name,
                provider=offered.provider,
                entity_set=offered.entity_set,
                siblings=offered.siblings,
                client=discovery.client,
                read_ahead=self._read_ahead,
                odata_filter=offered.odata_filter,
                partition_by=offered.partition_by,
            )
            for offered in discovery.offered
        ]
        providers = ProvidersStream(
            self,
            name=PROVIDERS_STREAM_NAME,
            client=discovery.client,
            read_ahead=self._read_ahead,
            namespaces=discovery.namespaces,
            odata_filter=discovery.filters.of(PROVIDERS_STREAM_NAME),
        )
        return [providers, *streams]

    @override
    def setup_mapper(self) -> None:
        """Prepare the stream maps, and check that the streams can be written with them.

        Raises:
            SACError: If a map would lose deleted rows, or does not go together with batch_config.
        """
        super().setup_mapper()
        for stream in self.streams.values():
            if isinstance(stream, SACStream) and stream.selected:
                stream.check_maps()

    @property
    @override
    def catalog_dict(self) -> dict[str, Any]:
        catalog = super().catalog_dict
        offered = {item.name: item for item in self.discovery.offered}
        for entry in catalog["streams"]:
            name = entry["tap_stream_id"]
            stream = self.streams[name]
            if isinstance(stream, SACStream):
                add_decimal_facets(entry["schema"], stream.entity_set.properties)
            for item in entry["metadata"] if name in offered else ():
                item["metadata"] |= offered[name].metadata(item["breadcrumb"])
        return catalog

    @override
    def stop_requests(self) -> None:
        self.discovery.stop()

    @override  # type: ignore[misc]  # final in the SDK, and only added to
    def sync_all(self) -> None:
        """Sync all streams; one whose data cannot be trusted does not stop the others.

        Raises:
            SACError: If a stream failed, after the others are read; or whatever stops the run.
        """
        try:
            self.discovery.check_selection()
        except SACError as error:  # Having nothing to do is not a failure.
            self.logger.warning("%s", error)
        with STATUS_LINE.shown():
            super().sync_all()
        streams = [item for item in self.streams.values() if isinstance(item, SACStream)]
        if unverified := [stream.name for stream in streams if stream.is_verified is False]:
            self.logger.warning(
                "The reads of %s could not be verified, because %s.",
                some_of(unverified),
                "verify_counts is off"
                if self.config["verify_counts"] == "off"
                else "SAC does not count their rows",
            )
        told = [f"{item.name}: {item.failure}" for item in streams if item.failure]
        messages = [*filter(None, (self.discovery.failure, self.discovery.streams_failure))]
        if told:
            selected = sum(stream.selected for stream in streams)
            messages.append(
                f"{len(told)} of {selected} streams failed; the others were read. {' '.join(told)}"
            )
        if withheld := [
            item.name for item in streams if isinstance(item, FullTableStream) and item.was_withheld
        ]:
            messages.append(
                "This run has signed in as somebody else than the last one, whose rights may be "
                f"others, so no row was removed from the target ({some_of(withheld)}): run with "
                "--full-refresh (or without --state) to let this person's rights decide, or sign "
                "in as before."
            )
        if messages:
            raise SACError(" ".join(messages))

    @override
    def run_discovery(self) -> str:
        """Print the catalog, unless models would be missing from it: Meltano keeps it for long.

        Raises:
            SACError: If a model was not read because somebody else answered than SAC.
        """
        _ = self.streams
        if self.discovery.failure:
            raise SACError(self.discovery.failure)
        return super().run_discovery()

    @override
    def run_check(self) -> int:
        # Someone waits for it, and the first failure tells as much as the last one.
        tries = min(_MOST_TRIES_OF_A_CHECK, self.config["backoff_max_tries"])
        self.discovery = self._discover({**self.config, "backoff_max_tries": tries})
        check = Check(self.discovery, self._mapped_streams, is_sample=self.config["demo"])
        return check.run(lambda text: self.print_line(one_line(text)))

    def _mapped_streams(self) -> Mapping[str, Stream]:
        """Make the streams, and the stream maps, which decide what is left of a key."""
        self.setup_mapper()
        return self.streams

    @override
    def run_models(self, *, as_json: bool) -> int:
        return Models(self.discovery).run(self.print_line, as_json=as_json)

    @override
    def run_login(self, *, redirect_uri: str | None, opens_browser: bool) -> None:
        from tap_sac.commands.login import Login  # noqa: PLC0415  (with oauthlib, which no other run needs)

        login = Login(
            self.config,
            user_agent=self._user_agent,
            redirect_uri=redirect_uri,
            opens_browser=opens_browser,
        )
        login.run(self.print_line)

    @property
    def _user_agent(self) -> str:
        return f"{self.name}/{self.plugin_version}"

    def _discover(self, settings: dict[str, Any]) -> Discovery:
        catalog = None
        if self.input_catalog is not None:
            catalog = {
                name: bool(entry.metadata.resolve_selection().get((), True))
                for name, entry in self.input_catalog.items()
            }
        return Discovery(settings, catalog=catalog, user_agent=self._user_agent)

    @cached_property
    def _read_ahead(self) -> ReadAhead[Page]:
        return ReadAhead(
            self.config["max_parallel_requests"],
            lambda: {
                name: stream.pages_ahead
                for name, stream in self.streams.items()
                if isinstance(stream, SACStream) and stream.selected
            },
            _extent,
        )


def _extent(page: Page) -> Extent:
    """Measure a page; its rows share the bytes of SAC's answer."""
    size = sum(map(len, page.items)) + _BYTES_AROUND_A_ROW * len(page.items)
    whole = size * page.count // len(page.items) if page.count and page.items else 0
    return Extent(size, is_last=page.next_url is None, whole=whole)
