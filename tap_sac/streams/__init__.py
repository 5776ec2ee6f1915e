"""Streams: the list of providers, and the entity sets of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_sac.sac.export.kinds import kind_of
from tap_sac.streams.audit import AuditDataStream
from tap_sac.streams.entity_set import EntitySetStream
from tap_sac.streams.hierarchy import HierarchyStream
from tap_sac.streams.tracked import ChangeTrackedStream

if TYPE_CHECKING:
    from singer_sdk import Tap

    from tap_sac.sac.odata.model import EntitySet


def entity_set_stream(tap: Tap, *, entity_set: EntitySet, **parts: Any) -> EntitySetStream:
    """Make the stream of an entity set, of the class for its way of replication.

    Args:
        tap: The tap that it belongs to.
        entity_set: Its columns and key.
        parts: The rest, as of `EntitySetStream`.
    """
    kind = kind_of(entity_set.name)
    stream_class = EntitySetStream
    is_tracked = entity_set.tracks_changes
    if kind.is_hierarchy:  # SAC does not say whose path changes when a member moves.
        stream_class = HierarchyStream
    elif (kind.is_trackable if is_tracked is None else is_tracked) and entity_set.key:
        stream_class = ChangeTrackedStream
    elif kind.replication_key:
        stream_class = AuditDataStream
    return stream_class(tap, entity_set=entity_set, **parts)
