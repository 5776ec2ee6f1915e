"""The settings `filters`, `partition_by` and `stream_maps`, which have globs of stream names."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from tap_sac.discovery.naming import PROVIDERS_STREAM_NAME, matches, no_match
from tap_sac.sac.errors import SACError
from tap_sac.sac.odata.conditions import can_be_compared
from tap_sac.sac.odata.filters import check_filter
from tap_sac.safety.text import did_you_mean, log_safe, plural
from tap_sac.singer.maps import applied

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tap_sac.sac.odata.model import EntitySet
    from tap_sac.streams.source import Source

logger = logging.getLogger(__name__)

_NEARNESS = 0.7  # of 1; below, the hint lists all columns that can make slices
_MOST_COLUMNS = 10


def check_patterns(
    setting: str, patterns: Iterable[str], known: Collection[str], skipped: Sequence[str]
) -> None:
    """Check that each glob matches a stream.

    Args:
        setting: The setting that has the globs.
        patterns: Stream names, or globs of them.
        known: The streams of SAC and of the catalog.
        skipped: Prefixes of the stream names of models that could not be read.

    Raises:
        SACError: If a glob matches none.
    """
    for pattern in patterns:
        if not _begins(pattern, skipped) and not any(matches(pattern, name) for name in known):
            raise SACError(_unmatched(setting, pattern, known))


def check_maps(
    maps: Mapping[str, Any], known: Collection[str], read: Mapping[str, bool], *, is_partial: bool
) -> None:
    """Check that each stream map applies to a stream, as the SDK matches them.

    Args:
        maps: The setting `stream_maps`.
        known: The streams of SAC and of the catalog.
        read: Prefixes of the stream names of all models, and whether the model is read.
        is_partial: Whether there may be models that SAC does not list.

    Raises:
        SACError: If one applies to none, although its model is read.
    """
    for name, definition in maps.items():
        if name.startswith("__") or any(applied(stream, {name: definition}) for stream in known):
            continue
        pattern = definition.get("__source__", name) if isinstance(definition, dict) else name
        begins = [prefix for prefix in read if _begins(pattern, [prefix])]
        if not is_partial and read.get(max(begins, key=len, default=""), True):
            raise SACError(_unmatched("stream_maps", pattern, known))
        logger.warning(
            "The setting stream_maps has %r, which has no effect in this run, because its model "
            "is not read.",
            pattern,
        )


def filter_for(stream_name: str, filters: Mapping[str, str]) -> str | None:
    """Return the ``$filter`` of a stream, combined from all matching entries of `filters`."""
    texts = [text for glob, text in filters.items() if matches(glob, stream_name)]
    if len(texts) > 1:
        return " and ".join(f"({text})" for text in texts)
    return texts[0] if texts else None


def slice_column_for(source: Source, columns: Mapping[str, str]) -> str | None:
    """Return the column that slices a stream by the setting `partition_by`; None if none can.

    The stream name takes precedence over globs, and earlier globs over later ones.
    """
    column = columns.get(_pattern_of(source.name, columns) or "")
    return column if column in _comparable(source.entity_set) else None


def check_filters(
    filters: Mapping[str, str], streams: Sequence[Source], *, has_providers: bool
) -> None:
    """Warn of filters that SAC will refuse, or raise what `check_filter` does."""
    for pattern, text in filters.items():
        fitting = [stream for stream in streams if matches(pattern, stream.name)]
        is_of_providers = has_providers and matches(pattern, PROVIDERS_STREAM_NAME)
        if not fitting and not is_of_providers:
            continue
        models = {stream.provider: stream.siblings for stream in fitting}
        tables = {stream.name: stream.entity_set for stream in fitting}
        for warning in check_filter(
            f"The filter {text!r} of {pattern!r} in the setting filters",
            text,
            tables,
            [item for siblings in models.values() for item in siblings.values()],
            is_strict=pattern in tables,
        ):
            logger.warning("%s", warning)


def check_slice_columns(columns: Mapping[str, str], streams: Sequence[Source]) -> None:
    """Warn of streams that cannot be sliced by their column in the setting `partition_by`.

    Raises:
        SACError: If the setting names one without a glob, or the list of providers.
    """
    if PROVIDERS_STREAM_NAME in columns:
        msg = (
            f"The setting partition_by has {PROVIDERS_STREAM_NAME!r}, which cannot be read in "
            "slices: remove that entry."
        )
        raise SACError(msg)
    for pattern, column in columns.items():
        fitting = [item for item in streams if _pattern_of(item.name, columns) == pattern]
        lacking = [item for item in fitting if column not in _comparable(item.entity_set)]
        if not lacking:
            continue
        comparable = _comparable(lacking[0].entity_set)
        has_column = column in {item.name for item in lacking[0].entity_set.properties}
        flaw = "has no values to compare" if has_column else "does not exist"
        subject = f"The setting partition_by names {log_safe(column)!r} for {pattern!r}"
        if pattern == lacking[0].name:
            hint = did_you_mean(column, comparable, cutoff=_NEARNESS) or _what_can(comparable)
            msg = f"{subject}, which {flaw}: {hint}"
            raise SACError(msg)
        logger.warning(
            "%s, which %s in %s of %s, such as %s: these are not read in slices.",
            subject,
            flaw,
            len(lacking),
            plural(len(fitting), "matching stream"),
            lacking[0].name,
        )


def _begins(pattern: str, prefixes: Iterable[str]) -> bool:
    return re.split(r"[*?]", pattern)[0].startswith(tuple(prefixes))


def _unmatched(setting: str, pattern: str, known: Collection[str]) -> str:
    hint = no_match("stream", pattern, sorted(known))
    return f"The setting {setting} has {pattern!r}, {hint}"


def _pattern_of(stream_name: str, columns: Mapping[str, str]) -> str | None:
    if stream_name in columns:
        return stream_name
    return next((glob for glob in columns if matches(glob, stream_name)), None)


def _comparable(entity_set: EntitySet) -> list[str]:
    return [item.name for item in entity_set.properties if can_be_compared(item)]


def _what_can(columns: Sequence[str]) -> str:
    shown = [log_safe(column) for column in columns[:_MOST_COLUMNS]]
    more = ", ..." if len(columns) > _MOST_COLUMNS else ""
    return f"{', '.join(shown)}{more} can make slices." if shown else "no column can make slices."
