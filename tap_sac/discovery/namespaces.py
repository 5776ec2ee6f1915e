"""The namespaces of a tenant and their models: which to read, and which SAC refuses."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tap_sac.discovery.naming import (
    MOST_LABELS,
    PROVIDERS_STREAM_NAME,
    matches,
    model_of,
    model_prefixes,
    no_match,
    normalized_text,
)
from tap_sac.sac.errors import SACError, TransientError, others_may_be_readable
from tap_sac.sac.failures import Failure
from tap_sac.safety.text import log_safe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tap_sac.inputs import Choice
    from tap_sac.sac.export.client import SACClient
    from tap_sac.sac.odata.model import Provider

logger = logging.getLogger(__name__)

_MODELS = "sac"  # the namespace that every tenant has
_NOT = "!"  # in front of an entry of the setting `models`: exclude what it matches


@dataclass(frozen=True)
class Namespaces:
    """The namespaces of a tenant.

    Some tenants list the newer ones (public dimensions, currencies, units), but answer 403 or 404
    to a request for their providers.

    Attributes:
        listed: All namespaces.
        chosen: The namespaces to read, in SAC's order.
        are_named: Whether the setting `namespaces` chose them.
    """

    listed: tuple[str, ...]
    chosen: tuple[str, ...]
    are_named: bool

    def skip_or_raise(self, name: str, error: SACError) -> None:
        """Log that a namespace is skipped, or raise `error` if the others cannot be read."""
        if name not in self.chosen:
            logger.info(
                "Ignoring the namespace %s, which the setting namespaces excludes: %s",
                log_safe(name),
                error,
            )
            return
        is_vital = name == _MODELS and not self.are_named
        if is_vital or not others_may_be_readable(error):
            raise error
        logger.warning("Skipping the namespace %s: %s", log_safe(name), error)


@dataclass(frozen=True)
class Listing:
    """What SAC lists in the namespaces of a tenant.

    Attributes:
        models: The models and other providers of all namespaces, because stream names must be
            unique among all models, so that they do not depend on the settings.
        refused: The chosen namespaces that SAC does not serve, with the errors.
        prefixes: The prefix of each model's stream names.
    """

    namespaces: Namespaces
    models: Mapping[str, Sequence[Provider]]
    refused: Mapping[str, SACError]
    prefixes: Mapping[Provider, str]

    @property
    def available(self) -> list[Provider]:
        """The models and other providers of the chosen namespaces."""
        return [item for name in self.namespaces.chosen for item in self.models[name]]

    @property
    def served(self) -> list[str]:
        """The chosen namespaces that SAC has not refused."""
        return [name for name in self.namespaces.chosen if name not in self.refused]

    def model_of(self, stream_name: str) -> Provider | None:
        """Find the model that a stream name belongs to (`naming.model_of`)."""
        if stream_name == PROVIDERS_STREAM_NAME:
            return None
        return model_of({prefix: model for model, prefix in self.prefixes.items()}, stream_name)

    def failures(
        self, refused_later: Mapping[str, SACError] | None = None, *, lacks_streams: bool = False
    ) -> list[str]:
        """Describe the refused namespaces without which a run is incomplete.

        These are namespaces that the setting names, those that SAC may serve later, and all of them
        if the catalog selects streams that may be in them.

        Args:
            refused_later: Namespaces that SAC has refused since they were listed, with the errors.
            lacks_streams: Whether the catalog selects streams that do not exist.
        """
        return [
            f"The namespace {log_safe(name)} was not read. {error.what}: if you do not need it, "
            "exclude it in the setting namespaces."
            for name, error in {**self.refused, **(refused_later or {})}.items()
            if self.namespaces.are_named or lacks_streams or isinstance(error, TransientError)
        ]


def read_namespaces(client: SACClient, choice: Choice) -> Namespaces:
    """List the tenant's namespaces, and choose the ones to read by the setting `namespaces`.

    Raises:
        SACError: If SAC lists none, or lacks one that the setting names.
    """
    names = choice.settings.get("namespaces")
    listed = tuple(dict.fromkeys(client.namespaces()))
    for name in names or ():
        if name not in listed:
            hint = no_match("namespace", name, list(listed))
            msg = f"The setting namespaces has {name!r}, {hint}"
            raise SACError(msg)
    chosen = tuple(name for name in listed if names is None or name in names)
    return Namespaces(listed, chosen, are_named=names is not None)


def list_models(client: SACClient, namespaces: Namespaces, choice: Choice) -> Listing:
    """List the models of all namespaces; a `SACError` if SAC refuses one that every run needs."""
    models: dict[str, list[Provider]] = {}
    refused: dict[str, SACError] = {}
    for name in namespaces.listed:
        is_chosen = name in namespaces.chosen
        models[name] = []
        try:
            models[name] = list(dict.fromkeys(client.providers(name, is_vital=is_chosen)))
        except SACError as error:
            namespaces.skip_or_raise(name, error)
            if is_chosen:
                refused[name] = error
    everything = [model for found in models.values() for model in found]
    by_id = choice.settings["stream_naming"] == "id"
    return Listing(namespaces, models, refused, model_prefixes(everything, by_id=by_id))


def models_to_read(listing: Listing, choice: Choice) -> list[Provider]:
    """Choose the models, in SAC's order, by the setting `models` and the streams that are selected.

    Raises:
        SACError: If SAC lists no models, an entry of the setting matches none, or all are
            excluded.
    """
    if not listing.available:
        raise _no_models_error(listing)
    chosen: set[Provider | None] = {*chosen_models(listing, choice)}
    if choice.selected is not None:
        chosen &= {listing.model_of(name) for name in choice.selected}
    return [model for model in listing.available if model in chosen]


def chosen_models(listing: Listing, choice: Choice) -> set[Provider]:
    """Return the models that the setting `models` names, as in `models_to_read`.

    Its entries are ids, names or globs; ``!`` excludes what they match.
    """
    entries = choice.settings.get("models", ["*"])
    excluding = [entry for entry in entries if entry.startswith(_NOT)]
    including = [entry for entry in entries if not entry.startswith(_NOT)] or ["*"]
    included = {model for entry in including for model in _matching(listing, entry)}
    chosen = included - {model for entry in excluding for model in _matching(listing, entry)}
    if not chosen:
        names = [log_safe(model.name) for model in listing.available if model in included]
        msg = (
            f"The setting models excludes every model that it includes "
            f"({', '.join(names[:MOST_LABELS])}): correct its entries "
            f"{', '.join(map(repr, excluding))}."
        )
        raise SACError(msg)
    return chosen


def would_choose(choice: Choice, model: Provider) -> bool:
    """Return whether the setting `models` would choose a model that SAC does not list."""
    entries = choice.settings.get("models", ["*"])
    fitting = [
        entry
        for entry in entries
        if matches(entry.removeprefix(_NOT), model.provider_id, model.name)
    ]
    is_included = fitting or all(entry.startswith(_NOT) for entry in entries)
    return bool(is_included) and not any(entry.startswith(_NOT) for entry in fitting)


def _no_models_error(listing: Listing) -> SACError:
    if listing.refused:
        return next(iter(listing.refused.values()))
    namespaces = listing.namespaces
    where = f" in the namespaces {', '.join(map(log_safe, namespaces.chosen))}"
    msg = f"SAC lists no models for the OAuth client{where if namespaces.are_named else ''}"
    return SACError(msg, Failure.NO_MODELS)


def _matching(listing: Listing, entry: str) -> list[Provider]:
    """Return the models that an entry of the setting `models` fits: at least one."""
    pattern = entry.removeprefix(_NOT)

    def is_named(model: Provider) -> bool:
        return matches(pattern, model.provider_id, model.name)

    def looks_named(model: Provider) -> bool:
        return matches(normalized_text(pattern), model.provider_id, normalized_text(model.name))

    for fits in (is_named, looks_named):
        if found := list(filter(fits, listing.available)):
            return found
    if others := {model.namespace_id for model in filter(is_named, listing.prefixes)}:
        msg = (
            f"The setting models has {entry!r}, which matches only models in the namespace "
            f"{', '.join(map(log_safe, sorted(others)))}: add that to the setting namespaces, or "
            "correct the entry."
        )
        raise SACError(msg)
    labels = [label for model in listing.available for label in (model.name, model.provider_id)]
    msg = f"The setting models has {entry!r}, {no_match('model', pattern, labels)}"
    if listing.refused:
        refused = ", ".join(map(log_safe, listing.refused))
        msg += f" The model may be in {refused}, which SAC did not serve."
    raise SACError(msg)
