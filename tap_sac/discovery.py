"""What a tenant offers and what of it is wanted: models, stream names, filters, a catalog."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tap_sac.naming import PROVIDERS_STREAM_NAME, model_of, model_prefixes, stream_names
from tap_sac.sac.causes import BROKEN_METADATA, DAMAGED_ANSWER, NO_MODELS, SERVER_FAULT
from tap_sac.sac.csdl import read_csdl
from tap_sac.sac.errors import CSDLError, ForeignAnswerError, ResponseError, SACError
from tap_sac.sac.filters import look_at_filter
from tap_sac.sac.read_ahead import ReadAhead
from tap_sac.sac.text import did_you_mean, log_safe
from tap_sac.tenant import connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_sac.sac.client import SACClient
    from tap_sac.sac.model import EntitySet, Provider

logger = logging.getLogger(__name__)

_MOST_LABELS = 10
_NOT = "!"  # in front of an entry of the setting `models`: leave out what it matches
_NEARNESS_OF_NAMES = 0.5


@dataclass(frozen=True)
class OfferedStream:
    """A stream that can be read.

    Attributes:
        name: The stream name.
        provider: The model.
        entity_set: Its columns and key.
        siblings: All entity sets of the model, by name.
        odata_filter: The ``$filter`` that the settings ask for.
    """

    name: str
    provider: Provider
    entity_set: EntitySet
    siblings: Mapping[str, EntitySet]
    odata_filter: str | None


class Discovery:
    """Finds the streams of a tenant; each thing is asked for once, and when it is needed."""

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
        # Models that could not be read, and why.
        self._skipped: dict[Provider, SACError] = {}

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
    def providers(self) -> list[Provider]:
        """All models of the tenant, and the like.

        Raises:
            SACError: If SAC does not list them.
        """
        return self.client.providers()

    @cached_property
    def chosen(self) -> list[Provider]:
        """The models that the setting `models` names and the catalog has selected streams of.

        Raises:
            SACError: If there are none at all, an entry of the setting matches none, or it leaves
                out all that it names.
        """
        providers = self.providers
        if not providers:
            msg = "SAC lists no model at all for the OAuth client of the setting client_id"
            raise SACError(msg, NO_MODELS)
        entries = self._settings.get("models", ["*"])
        excluding = [entry for entry in entries if entry.startswith(_NOT)]
        including = [entry for entry in entries if not entry.startswith(_NOT)] or ["*"]
        named: set[Provider | None] = {item for entry in including for item in self._named(entry)}
        chosen = named - {item for entry in excluding for item in self._named(entry)}
        if not chosen:
            names = [log_safe(item.name) for item in providers if item in named][:_MOST_LABELS]
            msg = (
                f"The setting models leaves out all models that it names ({', '.join(names)}): "
                f"correct its entries {', '.join(map(repr, excluding))}."
            )
            raise SACError(msg)
        if self._selected is not None:
            models = {prefix: model for model, prefix in self._prefixes.items()}
            wanted = self._selected - {PROVIDERS_STREAM_NAME}
            chosen &= {model_of(models, name) for name in wanted}
        return [provider for provider in providers if provider in chosen]

    @cached_property
    def offered(self) -> list[OfferedStream]:
        """The entity sets of the chosen models, as streams, in SAC's order.

        Raises:
            SACError: If a setting or the catalog names what is not there, or nothing can be read.
        """
        entity_sets = self._read_entity_sets()
        names = stream_names(
            self._prefixes, [(provider, item.name) for provider, item in entity_sets]
        )
        offered = {PROVIDERS_STREAM_NAME, *names.values()}
        siblings: dict[Provider, dict[str, EntitySet]] = {}
        for provider, entity_set in entity_sets:
            siblings.setdefault(provider, {})[entity_set.name] = entity_set
        self._check_filters_match(offered)
        self._check_catalog_is_met(offered)
        streams = [
            OfferedStream(
                name=(name := names[provider, entity_set.name]),
                provider=provider,
                entity_set=entity_set,
                siblings=siblings[provider],
                odata_filter=self.filter_of(name),
            )
            for provider, entity_set in entity_sets
        ]
        self._look_at_filters(streams)
        return streams

    @property
    def failure(self) -> str | None:
        """What to say of models whose absence makes a run incomplete; None if there are none.

        They are those that somebody asked for, by name or in the catalog, and those for which
        somebody else answered than SAC: they may be there.
        """
        told = [
            f"The model {_label(provider)} was not read. {error}"
            for provider, error in self._skipped.items()
            if self._is_asked_for(provider) or isinstance(error, ForeignAnswerError)
        ]
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

    def filter_of(self, stream_name: str) -> str | None:
        """Return the ``$filter`` for a stream: all that the setting `filters` has for it."""
        filters = self._settings.get("filters") or {}
        texts = [text for glob, text in filters.items() if _matches(glob, stream_name)]
        if len(texts) > 1:
            return " and ".join(f"({text})" for text in texts)
        return texts[0] if texts else None

    def _named(self, entry: str) -> list[Provider]:
        """Return the models that an entry of the setting `models` names, to read or leave out.

        Raises:
            SACError: If there are none.
        """
        pattern = entry.removeprefix(_NOT)
        if found := [
            item for item in self.providers if _matches(pattern, item.provider_id, item.name)
        ]:
            return found
        labels = [label for item in self.providers for label in (item.name, item.provider_id)]
        msg = f"The setting models has {entry!r}, {_no_match('model', pattern, labels)}"
        raise SACError(msg)

    @cached_property
    def _prefixes(self) -> dict[Provider, str]:
        return model_prefixes(self.providers, by_id=self._settings["stream_naming"] == "id")

    @property
    def _selected(self) -> set[str] | None:
        """The streams that the catalog selects; None without a catalog."""
        if self._catalog is None:
            return None
        return {name for name, is_selected in self._catalog.items() if is_selected}

    def _read_entity_sets(self) -> list[tuple[Provider, EntitySet]]:
        """Read the metadata of several models at a time; skip those that SAC does not export."""
        providers = self.chosen
        reads = {provider: partial(self._entity_sets_or_reason, provider) for provider in providers}
        read_ahead = ReadAhead(self._settings["max_parallel_requests"], lambda: reads)
        try:
            found = [
                (provider, result)
                for provider, read in reads.items()
                for result in read_ahead.read(provider, read)
            ]
        finally:
            read_ahead.close()
        self._skipped = {item: reason for item, reason in found if isinstance(reason, SACError)}
        reasons = list(self._skipped.values())
        if providers and len(reasons) == len(providers):
            error = reasons[0]
            if isinstance(error, ResponseError):
                msg = f"None of the {len(providers)} models can be read, SAC says {error.reason}"
                raise SACError(msg, *error.causes)
            raise error
        return [
            (provider, entity_set)
            for provider, result in found
            if not isinstance(result, SACError)
            for entity_set in result
        ]

    def _entity_sets_or_reason(self, provider: Provider) -> Iterator[list[EntitySet] | SACError]:
        try:
            yield self._entity_sets(provider)
        except SACError as error:
            if not _is_of_one_model(error):
                raise
            logger.warning("Skipping the model %s: %s", _label(provider), error)
            yield error

    def _is_asked_for(self, provider: Provider) -> bool:
        """Return whether the catalog, or the setting `models` without a glob, names a model."""
        named = {provider.name, provider.provider_id} & {*self._settings.get("models", ())}
        return self._catalog is not None or bool(named)

    def _entity_sets(self, provider: Provider) -> list[EntitySet]:
        """Read the metadata of a model.

        Raises:
            ResponseError: If SAC refuses.
            SACError: If it cannot be understood.
        """
        try:
            return read_csdl(self.client.metadata(provider))
        except CSDLError as error:
            msg = f"The model {_label(provider)} cannot be read, because {error}"
            raise SACError(msg, BROKEN_METADATA) from None

    def _check_filters_match(self, offered: set[str]) -> None:
        """Name a glob of the setting `filters` that matches no stream of SAC or of the catalog."""
        known = {*offered, *(self._catalog or ())}
        for pattern in self._settings.get("filters") or {}:
            if not any(_matches(pattern, name) for name in known) and not self._is_of_skipped(
                pattern
            ):
                msg = (
                    f"The setting filters has {pattern!r}, "
                    f"{_no_match('stream', pattern, sorted(known))}"
                )
                raise SACError(msg)

    def _is_of_skipped(self, pattern: str) -> bool:
        """Return whether a glob may match streams of a model that was skipped."""
        start = re.split(r"[*?]", pattern)[0]
        prefixes = [f"{self._prefixes[provider]}_" for provider in self._skipped]
        return any(start.startswith(prefix) for prefix in prefixes)

    def _look_at_filters(self, streams: list[OfferedStream]) -> None:
        """Warn of what SAC will not take in the filters of streams that may be read.

        Raises:
            SACError: As `look_at_filter` does.
        """
        selected = self._selected
        for pattern, text in (self._settings.get("filters") or {}).items():
            fitting = [
                stream
                for stream in streams
                if _matches(pattern, stream.name) and (selected is None or stream.name in selected)
            ]
            is_of_providers = _matches(pattern, PROVIDERS_STREAM_NAME) and (
                selected is None or PROVIDERS_STREAM_NAME in selected
            )
            if not fitting and not is_of_providers:
                continue
            models = {stream.provider: stream.siblings for stream in fitting}
            for warning in look_at_filter(
                pattern,
                text,
                {stream.name: stream.entity_set for stream in fitting},
                [item for siblings in models.values() for item in siblings.values()],
            ):
                logger.warning("%s", warning)

    def _check_catalog_is_met(self, offered: set[str]) -> None:
        """Name selected streams that are not there, rather than leave them out in silence."""
        wanted = self._selected
        if not wanted or not (missing := sorted(wanted - offered)):
            return
        names = ", ".join(map(log_safe, missing[:_MOST_LABELS]))
        if len(missing) > _MOST_LABELS:
            names += f" and {len(missing) - _MOST_LABELS} more"
        msg = (
            f"The catalog selects streams that SAC, or the setting models, does not offer: "
            f"{names}. Run the discovery again (meltano run --refresh-catalog), or "
            "deselect them."
        )
        if wanted <= {*missing, PROVIDERS_STREAM_NAME}:  # None of a model, of those it asks for.
            raise SACError(msg)
        logger.warning(msg)


def _is_of_one_model(error: SACError) -> bool:
    """Return whether the next model may be read all the same."""
    if isinstance(error, ResponseError):
        return error.status != HTTPStatus.UNAUTHORIZED
    causes = {SERVER_FAULT, DAMAGED_ANSWER, BROKEN_METADATA} & {*error.causes}
    return bool(causes) or isinstance(error, ForeignAnswerError)


def _label(provider: Provider) -> str:
    return f"{provider.name!r} ({provider.provider_id})"


def _matches(pattern: str, *labels: str) -> bool:
    """Compare with globs of ``*`` and ``?`` alone; brackets stand for themselves."""
    glob = pattern.replace("[", "[[]")
    return any(label == pattern or fnmatchcase(label, glob) for label in labels)


def _no_match(kind: str, pattern: str, labels: list[str]) -> str:
    if not labels:
        return f"but there is no {kind} at all."
    there_are = ", ".join(map(log_safe, labels[:_MOST_LABELS]))
    hint = did_you_mean(pattern, labels, cutoff=_NEARNESS_OF_NAMES) or f"there are {there_are}."
    return f"which matches no {kind}: {hint}"
