"""Makes what a read needs from its stream: pages, tracking, slices and totals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tap_sac.singer.maps import applied
from tap_sac.streams.changes import Tracking
from tap_sac.streams.progress import with_progress
from tap_sac.streams.slice_reader import Slicing
from tap_sac.streams.state import DeltaQuery
from tap_sac.streams.totals import Totals, obstacle_to_totals, warn_uncompared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_sac.sac.odata.pages import Page
    from tap_sac.streams.stream import SACStream

_OPTIONS_OF_MAPS = ("stream_map_", "flattening_", "faker_")


def tracking_of(stream: SACStream, *, has_changed_user: bool) -> Tracking:
    """Return how SAC tracks the changes of a stream."""
    source = stream.entity_set_source
    return Tracking(
        query=DeltaQuery([*source.key], stream.columns, source.filter, stream.tables),
        subscriptions=stream.subscriptions,
        entity_set=stream.entity_set,
        dropped_key=stream.dropped_key,
        has_changed_user=has_changed_user,
    )


def slicing_of(stream: SACStream) -> Slicing | None:
    """Return how a stream is read in slices; None if the settings do not ask for that."""
    if stream.partition_by is None:
        return None
    columns = {item.name: item for item in stream.entity_set.properties}
    column = columns[stream.partition_by]
    source = stream.entity_set_source
    identity = source.identity(stream.columns)
    return Slicing(
        column,
        source,
        query=json.dumps([*identity, column.name, _output_of(stream)], sort_keys=True),
        started_at=stream.started_at,
        read_ahead=stream.read_ahead.of_slices,
    )


def _output_of(stream: SACStream) -> dict[str, Any]:
    """Return what determines the shape of rows in a target, and their table or files.

    A resumed read with another shape or place would leave two half tables.
    """
    config = stream.config
    batch_config = config.get("batch_config") or {}
    storage = batch_config.get("storage") or {}
    return {
        "maps": applied(stream.name, config.get("stream_maps") or {}),
        "options": {
            name: value for name, value in config.items() if name.startswith(_OPTIONS_OF_MAPS)
        },
        "types": {
            name: [column.get("type"), column.get("format")]
            for name, column in stream.effective_schema["properties"].items()
        },
        "files": [batch_config.get("encoding"), storage.get("root"), storage.get("prefix")],
    }


def totals_of(stream: SACStream) -> Totals | None:
    """Return an object that compares totals; None, with a warning, if that is impossible."""
    if not stream.verifies_totals:
        return None
    source = stream.entity_set_source
    if obstacle := obstacle_to_totals(source, stream.columns):
        warn_uncompared(stream.name, stream.logger, obstacle)
        return None
    return Totals(source, stream.columns)


def take_pages(stream: SACStream, pages: Callable[[], Iterator[Page]]) -> Iterator[Page]:
    """Read pages ahead, log the progress, and add paths."""
    taken = with_progress(stream.read_ahead.read(stream.name, pages), stream.name, stream.logger)
    own = stream.selection.own_columns
    if stream.paths is None or stream.is_dry_run or not own:
        return taken
    return stream.paths.add(taken, own, is_filtered=stream.source.filter is not None)
