"""Discovery: turns what a tenant has into the streams to offer, by settings and catalog."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tap_sac.discovery.left_behind import streams_gone, streams_missing
from tap_sac.discovery.namespaces import list_models, models_to_read, read_namespaces
from tap_sac.discovery.naming import PROVIDERS_STREAM_NAME, matches, stream_names
from tap_sac.discovery.offer import Offer, OfferedStream
from tap_sac.discovery.patterns import (
    check_filters,
    check_maps,
    check_patterns,
    check_slice_columns,
    filter_for,
    slice_column_for,
)
from tap_sac.read_ahead import read_each
from tap_sac.sac.errors import (
    CSDLError,
    ForeignAnswerError,
    ResponseError,
    SACError,
    others_may_be_readable,
)
from tap_sac.sac.export.kinds import FACTS, kind_of, master_of, with_fact_keys
from tap_sac.sac.failures import Failure
from tap_sac.sac.odata.csdl import Metadata, read_csdl
from tap_sac.safety.text import none_of, plural
from tap_sac.streams.source import Source
from tap_sac.tenant import check_bookmarks
from tap_sac.terminal import PROGRESS_LINE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from tap_sac.discovery.namespaces import Listing
    from tap_sac.inputs import Choice
    from tap_sac.sac.export.client import SACClient
    from tap_sac.sac.odata.model import Provider

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")


def discover(client: SACClient, choice: Choice) -> Offer:
    """Find the streams of a tenant.

    With a catalog, only models of selected streams are read.

    Raises:
        SACError: If SAC refuses, a setting or the catalog names what does not exist, or nothing
            at all can be read.
    """
    check_bookmarks(choice.bookmarks, choice.settings, client.origin)
    namespaces = read_namespaces(client, choice)
    return offer_streams(client, list_models(client, namespaces, choice), choice)


def offer_streams(client: SACClient, listing: Listing, choice: Choice) -> Offer:
    """Find the streams of the models that SAC lists, as the last step of `discover`."""
    settings, catalog = choice.settings, choice.catalog or {}
    models = models_to_read(listing, choice)
    described, skipped = _describe(client, models, settings["max_parallel_requests"])
    names = stream_names(
        listing.prefixes,
        (
            (model, name)
            for model, metadata in described.items()
            for name in (*(item.name for item in metadata.entity_sets), *metadata.unreadable)
        ),
    )
    missed = _skip_unreadable(described, names, catalog)
    offered = {PROVIDERS_STREAM_NAME, *names.values()}
    unknown = [f"{listing.prefixes[model]}_" for model in skipped]
    if listing.refused:  # Their stream names are unknown.
        unknown.append("")
    filters, slice_columns = settings.get("filters") or {}, settings.get("partition_by") or {}
    for setting, patterns in (("filters", filters), ("partition_by", slice_columns)):
        check_patterns(setting, patterns, {*offered, *catalog}, unknown)
    check_maps(
        settings.get("stream_maps") or {},
        {*offered, *catalog},
        {f"{prefix}_": model in described for model, prefix in listing.prefixes.items()},
        is_partial=bool(listing.refused),
    )
    gone = streams_gone(choice, listing, offered, described)
    missing, lacking = streams_missing(choice, listing, offered, skipped)
    streams = _make_streams(client, described, names, settings)
    selected = choice.selected
    sources = [item.source for item in streams]
    wanted = [item for item in sources if selected is None or item.name in selected]
    has_providers = selected is None or PROVIDERS_STREAM_NAME in selected
    check_filters(filters, wanted, has_providers=has_providers)
    check_slice_columns(slice_columns, wanted)
    return Offer(
        listing,
        tuple(streams),
        providers_filter=filter_for(PROVIDERS_STREAM_NAME, filters),
        skipped=skipped,
        missed={**missed, **lacking},
        missing=missing,
        gone=gone,
        model_failures=_model_failures(skipped, choice),
    )


def read_each_model(
    parallel: int, models: Collection[Provider], read: Callable[[Provider], _Result]
) -> Iterator[tuple[Provider, _Result | SACError]]:
    """Read something from each model, several at a time, with a progress line.

    Yields:
        Each model, with what was read, or why SAC does not export the model.

    Raises:
        SACError: If the other models cannot be read, either.
    """

    def result_or_reason(model: Provider) -> Iterator[_Result | SACError]:
        try:
            yield read(model)
        except SACError as error:
            if not others_may_be_readable(error):
                raise
            yield error

    plan = {model: partial(result_or_reason, model) for model in models}
    for number, found in enumerate(read_each(parallel, plan), 1):
        PROGRESS_LINE.update(f"{number:,} of {plural(len(plan), 'model')}")
        yield found


def read_metadata(client: SACClient, model: Provider) -> Metadata:
    """Read the ``$metadata`` of a model; a `SACError` if SAC refuses, or it is malformed."""
    try:
        return read_csdl(client.metadata(model))
    except CSDLError as error:
        msg = f"The model {_label(model)} cannot be read, because {error}"
        raise SACError(msg, Failure.BROKEN_METADATA) from None


def _describe(
    client: SACClient, models: Collection[Provider], parallel: int
) -> tuple[dict[Provider, Metadata], dict[Provider, SACError]]:
    """Read the metadata of models; returns it, and errors for models that are not exported."""
    described: dict[Provider, Metadata] = {}
    skipped: dict[Provider, SACError] = {}
    for model, result in read_each_model(parallel, models, partial(read_metadata, client)):
        if isinstance(result, SACError):
            skipped[model] = result
        else:
            described[model] = result
    for model, error in skipped.items():
        logger.warning(
            "Skipping the model %s: %s To exclude it, add %s to models.",
            _label(model),
            error,
            _excluding(model, models),
        )
    if skipped and not described:
        error = next(iter(skipped.values()))
        if isinstance(error, ResponseError):
            msg = f"{none_of(len(skipped), 'model')} be read; SAC answered {error.reason}"
            raise SACError(msg, error.failure, step=error.step)
        raise error
    return described, skipped


def _excluding(model: Provider, models: Iterable[Provider]) -> str:
    """Return the entry of the setting `models` that excludes only this model."""
    is_alone = sum(matches(model.name, item.provider_id, item.name) for item in models) == 1
    label = model.name if is_alone else model.provider_id
    return json.dumps(f"!{label}", ensure_ascii=False)


def _skip_unreadable(
    described: Mapping[Provider, Metadata],
    names: Mapping[tuple[Provider, str], str],
    catalog: Mapping[str, bool],
) -> dict[str, SACError]:
    """Skip entity sets whose columns ``$metadata`` contradicts; returns those that a run needs.

    A run is incomplete without facts, unless the catalog deselects them, and without selected
    streams.
    """
    missed = {}
    for model, metadata in described.items():
        for entity_set, reason in metadata.unreadable.items():
            name = names[model, entity_set]
            error = SACError(f"Its columns are unknown, because {reason}", Failure.BROKEN_SET)
            logger.warning("Skipping the stream %s: %s", name, error)
            if catalog.get(name, entity_set == FACTS):
                missed[name] = error
    return missed


def _make_streams(
    client: SACClient,
    described: Mapping[Provider, Metadata],
    names: Mapping[tuple[Provider, str], str],
    settings: Mapping[str, Any],
) -> list[OfferedStream]:
    streams = []
    for model, metadata in described.items():
        siblings = {item.name: item for item in with_fact_keys(metadata.entity_sets)}
        for entity_set in siblings.values():
            name = names[model, entity_set.name]
            columns = entity_set.properties if kind_of(entity_set.name).has_dimensions else ()
            masters = {column.name: master_of(column.name, siblings) for column in columns}
            source = Source(
                name,
                client,
                model,
                entity_set,
                siblings,
                key=entity_set.key,
                filter=filter_for(name, settings.get("filters") or {}),
                page_size=settings.get("page_size"),
                is_counted=settings["verify_counts"] != "off",
            )
            slice_column = slice_column_for(source, settings.get("partition_by") or {})
            known = {column: names[model, item] for column, item in masters.items() if item}
            streams.append(OfferedStream(source, slice_column, known))
    return streams


def _model_failures(skipped: Mapping[Provider, SACError], choice: Choice) -> tuple[str, ...]:
    """Describe the skipped models without which a run is incomplete.

    These are models that the catalog names, or the setting `models` without a glob, and models for
    which a proxy answered instead of SAC, so they may exist.
    """
    entries = {*choice.settings.get("models", ())}
    return tuple(
        f"The model {_label(model)} was not read. {error}"
        for model, error in skipped.items()
        if choice.catalog is not None
        or entries & {model.name, model.provider_id}
        or isinstance(error, ForeignAnswerError)
    )


def _label(model: Provider) -> str:
    return f"{model.name!r} ({model.provider_id})"
