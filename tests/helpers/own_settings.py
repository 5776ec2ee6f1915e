"""The settings of the tap, and those that the SDK adds."""

from __future__ import annotations

import copy
from typing import Any

from tap_sac.tap import TapSAC

OF_THE_SDK = {
    "batch_config",
    "faker_config",
    "flattening_enabled",
    "flattening_max_depth",
    "flattening_max_key_length",
    "flattening_separator",
    "stream_map_config",
    "stream_maps",
}


def all_settings() -> dict[str, dict[str, Any]]:
    """Return the settings of the tap, and then those that the SDK adds."""
    schema = copy.deepcopy(TapSAC.config_jsonschema)
    TapSAC.append_builtin_config(schema)
    properties: dict[str, dict[str, Any]] = schema["properties"]
    return properties


SETTINGS = all_settings()
OWN = {name: schema for name, schema in SETTINGS.items() if name not in OF_THE_SDK}
