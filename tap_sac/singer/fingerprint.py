"""What decides how the rows of a stream look in a target, and where they go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_sac.singer.maps import applied

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPTIONS_OF_MAPS = ("stream_map_", "flattening_", "faker_")


def output_fingerprint(
    stream: str, config: Mapping[str, Any], schema: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what decides on the shape of rows in a target, and on the table or files they go to.

    A run that continues the read of another one compares it, because half a table in another shape
    or place would be neither.
    """
    batch_config = config.get("batch_config") or {}
    storage = batch_config.get("storage") or {}
    return {
        "maps": applied(stream, config.get("stream_maps") or {}),
        "options": {
            name: value for name, value in config.items() if name.startswith(_OPTIONS_OF_MAPS)
        },
        "types": {
            name: [column.get("type"), column.get("format")]
            for name, column in schema["properties"].items()
        },
        "files": [batch_config.get("encoding"), storage.get("root"), storage.get("prefix")],
    }
