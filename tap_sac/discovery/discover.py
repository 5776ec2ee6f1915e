"""What a tenant offers and what of it is wanted: models, stream names, filters, a catalog."""

from __future__ import annotations

import logging
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from tap_sac.discovery.namespaces import Namespaces
from tap_sac.discovery.naming import (
    PROVIDERS_STREAM_NAME,
    model_of,
    model_prefixes,
    some_of,
    stream_names,
)
from tap_sac.discovery.offered import OfferedStream, StreamFilters
from tap_sac.discovery.partitions import StreamPartitions
from tap_sac.read_ahead import read_each
from tap_sac.sac.errors import (
    CSDLError,
    ForeignAnswerError,
    ResponseError,
    SACError,
    is_of_one_part,
)
from tap_sac.sac.export.kinds import FACTS, kind_of, master_of
from tap_sac.sac.failures import Failure
from tap_sac.sac.odata.csdl import Metadata, read_csdl
from tap_sac.tenant import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tap_sac.sac.export.client import SACClient
    from tap_sac.sac.odata.model import EntitySet, Provider

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class Discovery:
    """Finds the streams of a tenant; each thing is asked for once, and when it is needed.

    Attributes:
        filters: Those that the settings ask for.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        catalog: Mapping[str, bool] | None = None,
        user_agent: str = "tap-sac",
    ) -> None:
        """Keep what decides; nothing is requested yet.

        Args:
            settings: With their defaults.
            catalog: Whether each stream of the catalog is selected; None without a catalog.
            user_agent: The User-Agent header, if no setting says otherwise.
        """
        self._settings = settings
        self._catalog = catalog
        self._user_agent = user_agent
        self._client: SACClient | None = None
        self.filters = StreamFilters(settings.get("filters") or {})
        self._partitions = StreamPartitions(settings.get("partition_by") or {})
        # Models that could not be read, and why.
        self._skipped: dict[Provider, SACError] = {}
        # Streams of other models that cannot be read, and that a run must not be without.
        self._missed: dict[str, SACError] = {}
        # Whether the catalog selects streams that are not there.
        self._lacks_streams = False

    @property
    def client(self) -> SACClient:
        """The client of the tenant.

        Raises:
            SACError: As `connect` does.
        """
        if self._client is None:
            self._client = connect(self._settings, user_agent=self._user_agent)
        return self._client

    def stop(self) -> None:
        """Ask SAC for nothing more."""
        if self._client:
            self._client.stop()

    @cached_property
    def namespaces(self) -> Namespaces:
        """The namespaces of the tenant, and what is in them.

        Raises:
            SACError: As `connect` does.
        """
        return Namespaces(self.client, self._settings.get("namespaces"))

    @cached_property
    def chosen(self) -> list[Provider]:
        """The models that the setting `models` names and the catalog has selected streams of.

        Raises:
            SACError: If there are none at all, or a setting names none, or leaves out all.
        """
        chosen: set[Provider | None] = {
            *self.namespaces.models(self._settings.get("models", ["*"]))
        }
        if self._selected is not None:
            models = {prefix: model for model, prefix in self._prefixes.items()}
            wanted = self._selected - {PROVIDERS_STREAM_NAME}
            chosen &= {model_of(models, name) for name in wanted}
        return [provider for provider in self.namespaces.providers if provider in chosen]

    @cached_property
    def offered(self) -> list[OfferedStream]:
        """The entity sets of the chosen models, as streams, in SAC's order.

        Raises:
            SACError: If a setting or the catalog names what is not there, or nothing can be read.
        """
        described = self._read_metadata()
        entity_sets = [(model, item) for model, read in described for item in read.entity_sets]
        broken = [(model, name) for model, read in described for name in read.unreadable]
        names = self.stream_names([*((model, item.name) for model, item in entity_sets), *broken])
        for model, read in described:
            for name, reason in read.unreadable.items():
                self._skip_stream(names[model, name], reason, is_facts=name == FACTS)
        offered = {PROVIDERS_STREAM_NAME, *names.values()}
        siblings: dict[Provider, dict[str, EntitySet]] = {}
        for provider, entity_set in entity_sets:
            siblings.setdefault(provider, {})[entity_set.name] = entity_set
        skipped = [f"{self._prefixes[provider]}_" for provider in self._skipped]
        if self.namespaces.has_gaps:  # Nobody knows what streams there would be called.
            skipped.append("")
        known = {*offered, *(self._catalog or ())}
        self.filters.check_patterns(known, skipped)
        self._partitions.check_patterns(known, skipped)
        self._check_catalog_is_met(offered)
        streams = [
            OfferedStream(
                name=(name := names[provider, entity_set.name]),
                provider=provider,
                entity_set=entity_set,
                siblings=siblings[provider],
                odata_filter=self.filters.of(name),
                partition_by=self._partitions.of(name, entity_set),
                masters={
                    column.name: names[provider, master]
                    for column in entity_set.properties
                    if kind_of(entity_set.name).has_dimensions
                    and (master := master_of(column.name, siblings[provider]))
                },
            )
            for provider, entity_set in entity_sets
        ]
        streams = self._without_those_of_the_client(streams)
        selected = self._selected
        wanted = [item for item in streams if selected is None or item.name in selected]
        has_providers = selected is None or PROVIDERS_STREAM_NAME in selected
        self.filters.look_at(wanted, has_providers=has_providers)
        self._partitions.look_at(wanted)
        return streams

    def of_each_model(
        self, read: Callable[[Provider], _Result]
    ) -> Iterator[tuple[Provider, _Result | SACError]]:
        """Read something of each chosen model, of several at a time.

        Args:
            read: Reads it.

        Returns:
            Each model, with what was read, or why SAC does not export the model.

        Raises:
            SACError: If nothing else can be read, either.
        """

        def result_or_reason(provider: Provider) -> Iterator[_Result | SACError]:
            try:
                yield read(provider)
            except SACError as error:
                if not is_of_one_part(error):
                    raise
                yield error

        reads = {provider: partial(result_or_reason, provider) for provider in self.chosen}
        return read_each(self._settings["max_parallel_requests"], reads)

    def metadata_of(self, provider: Provider) -> Metadata:
        """Read the metadata of a model.

        Raises:
            ResponseError: If SAC refuses.
            SACError: If it cannot be understood.
        """
        try:
            return read_csdl(self.client.metadata(provider))
        except CSDLError as error:
            msg = f"The model {_label(provider)} cannot be read, because {error}"
            raise SACError(msg, Failure.BROKEN_METADATA) from None

    def stream_names(
        self, entity_sets: Iterable[tuple[Provider, str]]
    ) -> dict[tuple[Provider, str], str]:
        """Name streams of models, whichever others there are (`naming.stream_names`)."""
        return stream_names(self._prefixes, entity_sets)

    @property
    def failure(self) -> str | None:
        """What to say of models whose absence makes a run incomplete; None if there are none.

        They are those that somebody asked for, by name or in the catalog, and those for which
        somebody else answered than SAC: they may be there. The same goes for namespaces.
        """
        told = self.namespaces.failures(lacks_streams=self._lacks_streams)
        told += [
            f"The model {_label(provider)} was not read. {error}"
            for provider, error in self._skipped.items()
            if self._is_asked_for(provider) or isinstance(error, ForeignAnswerError)
        ]
        return " ".join(told) or None

    @property
    def streams_failure(self) -> str | None:
        """What to say of streams whose absence makes a run incomplete; None if there are none.

        They are facts, unless the catalog deselects them, and what the catalog selects.
        """
        told = [f"{name} was not read. {error}" for name, error in self._missed.items()]
        return " ".join(told) or None

    def check_selection(self) -> None:
        """See that the catalog selects something.

        Raises:
            SACError: If it does not.
        """
        if self._selected == set():
            msg = (
                "The catalog selects no stream, so nothing is read: set selected to true in the "
                "metadata of the streams to read (with Meltano: meltano select)."
            )
            raise SACError(msg)

    @cached_property
    def _prefixes(self) -> dict[Provider, str]:
        return model_prefixes(
            self.namespaces.everything, by_id=self._settings["stream_naming"] == "id"
        )

    @property
    def _selected(self) -> set[str] | None:
        """The streams that the catalog selects; None without a catalog."""
        if self._catalog is None:
            return None
        return {name for name, is_selected in self._catalog.items() if is_selected}

    def _read_metadata(self) -> list[tuple[Provider, Metadata]]:
        """Read the metadata of the models; skip those that SAC does not export."""
        found = list(self.of_each_model(self.metadata_of))
        self._skipped = {item: reason for item, reason in found if isinstance(reason, SACError)}
        for provider, reason in self._skipped.items():
            logger.warning("Skipping the model %s: %s", _label(provider), reason)
        if found and len(self._skipped) == len(found):
            error = next(iter(self._skipped.values()))
            if isinstance(error, ResponseError):
                msg = f"None of the {len(found)} models can be read, SAC says {error.reason}"
                raise SACError(msg, error.failure, step=error.step)
            raise error
        return [(item, result) for item, result in found if not isinstance(result, SACError)]

    def _skip_stream(self, name: str, reason: str, *, is_facts: bool) -> None:
        """Leave out a stream whose columns $metadata does not say in a way that can be read."""
        error = SACError(f"Its columns are not known, because {reason}", Failure.BROKEN_SET)
        logger.warning("Skipping the stream %s: %s", name, error)
        catalog = self._catalog or {}
        if catalog.get(name, is_facts):
            self._missed[name] = error

    def _is_asked_for(self, provider: Provider) -> bool:
        """Return whether the catalog, or the setting `models` without a glob, names a model."""
        named = {provider.name, provider.provider_id} & {*self._settings.get("models", ())}
        return self._catalog is not None or bool(named)

    def _without_those_of_the_client(self, streams: list[OfferedStream]) -> list[OfferedStream]:
        """Leave out what SAC gives to no person, if one has signed in.

        Raises:
            SACError: If the catalog selects nothing else of a model.
        """
        if self.client.user is None:
            return streams
        left_out = [item.name for item in streams if kind_of(item.entity_set.name).needs_client]
        if not left_out:
            return streams
        wanted = self._selected or set()
        is_wanted = not wanted.isdisjoint(left_out)
        msg = (
            f"Leaving out {some_of(left_out)}, because SAC gives audit data only to the OAuth "
            "client itself: remove refresh_token and refresh_token_file to read it."
        )
        if is_wanted and wanted <= {*left_out, PROVIDERS_STREAM_NAME}:
            raise SACError(msg)
        logger.log(logging.WARNING if is_wanted else logging.INFO, msg)
        return [item for item in streams if item.name not in left_out]

    def _check_catalog_is_met(self, offered: set[str]) -> None:
        """Name selected streams that are not there, rather than leave them out in silence."""
        wanted = self._selected
        if not wanted or not (missing := sorted(wanted - offered)):
            return
        self._lacks_streams = True
        msg = (
            "The catalog selects streams that SAC, or the setting models or namespaces, does not "
            f"offer: {some_of(missing)}. Run the discovery again (meltano run --refresh-catalog), "
            "or deselect them."
        )
        if wanted <= {*missing, PROVIDERS_STREAM_NAME}:  # None of a model, of those it asks for.
            raise SACError(msg)
        logger.warning(msg)


def _label(provider: Provider) -> str:
    return f"{provider.name!r} ({provider.provider_id})"
