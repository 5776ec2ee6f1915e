"""Streams in the catalog or the state that are no longer offered."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tap_sac.discovery.namespaces import chosen_models, would_choose
from tap_sac.discovery.naming import PROVIDERS_STREAM_NAME, some_of
from tap_sac.sac.errors import SACError
from tap_sac.sac.export.kinds import FACTS
from tap_sac.sac.odata.model import Provider

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tap_sac.discovery.namespaces import Listing
    from tap_sac.inputs import Choice

logger = logging.getLogger(__name__)

_REFRESH = "run discovery again (meltano --environment=prod run --refresh-catalog)"
_HINT = " If their models were copied or renamed, set stream_naming to id, which keeps names."


def streams_gone(
    choice: Choice, listing: Listing, offered: Collection[str], described: Collection[Provider]
) -> tuple[str, ...]:
    """Find the streams of the catalog or the state that are certainly not in SAC.

    The streams of models that are not read, or of namespaces that SAC refuses, are unknown. A
    bookmark of a stream that is gone is a warning, unless the settings choose some models only.
    """
    names = {*(choice.catalog or ()), *choice.bookmarks}.difference(offered)
    of_unread = {model for model in listing.prefixes if model not in described}
    found = {name: listing.model_of(name) for name in names}
    gone = tuple(
        name
        for name, model in sorted(found.items())
        if model not in of_unread and not (model is None and listing.refused)
    )
    chooses_part = listing.namespaces.are_named or choice.settings.get("models", ["*"]) != ["*"]
    if not chooses_part and (lost := [name for name in gone if name in choice.bookmarks]):
        logger.warning(
            "The state has bookmarks of streams that SAC no longer offers: %s.%s",
            some_of(lost),
            "" if choice.settings["stream_naming"] == "id" else _HINT,
        )
    return gone


def streams_missing(
    choice: Choice, listing: Listing, offered: Collection[str], skipped: Collection[Provider]
) -> tuple[tuple[str, ...], dict[str, SACError]]:
    """Find selected streams that are not offered, except those of models that settings exclude.

    Returns:
        Their names, and errors for those without which a run is incomplete: facts, unless their
        model is `skipped`, which is a failure by itself.

    Raises:
        SACError: If the catalog selects no other streams of models.
    """
    selected = choice.selected or set()
    absent = sorted(selected.difference(offered))
    if absent and selected <= {*absent, PROVIDERS_STREAM_NAME}:
        raise SACError(_not_offered(absent))
    models = {name: _model_of(name, choice, listing) for name in absent}
    chosen = chosen_models(listing, choice)

    def is_left_out(model: Provider | None) -> bool:
        if model is None or model in listing.prefixes:
            return model is not None and model not in chosen
        is_listed = model.namespace_id in listing.namespaces.chosen
        return not (is_listed and would_choose(choice, model))

    missing = [name for name in absent if not is_left_out(models[name])]
    facts = [
        name
        for name in missing
        if choice.origins.get(name, {}).get("sac-entity-set") == FACTS
        and (model := models[name]) not in skipped
        and not (model and model.namespace_id in listing.refused)
    ]
    if missing:
        logger.warning("%s", _not_offered(missing))
    hint = "" if choice.settings["stream_naming"] == "id" else " stream_naming: id keeps names."
    why = (
        "SAC no longer offers it, perhaps because its model was copied, renamed or deleted: "
        f"deselect it, or {_REFRESH}.{hint}"
    )
    return tuple(missing), {name: SACError(why) for name in facts}


def _model_of(name: str, choice: Choice, listing: Listing) -> Provider | None:
    """Find the model of a stream by its metadata, even if SAC no longer lists it, or by name."""
    origin = choice.origins.get(name, {})
    namespace, model_id = origin.get("sac-namespace-id"), origin.get("sac-provider-id")
    if not (namespace and model_id):
        return listing.model_of(name)
    listed = {(item.namespace_id, item.provider_id): item for item in listing.prefixes}
    unlisted = Provider(namespace, model_id, origin.get("sac-provider-name", ""))
    return listed.get((namespace, model_id), unlisted)


def _not_offered(names: Iterable[str]) -> str:
    return (
        "The catalog selects streams that SAC, or the setting models or namespaces, does not "
        f"offer: {some_of([*names])}. Deselect them, or {_REFRESH}."
    )
