"""The catalog and the state that somebody hands to the tap: refused by name if they are none.

What they look like is in the Singer specification; the SDK takes both for granted.
"""

from __future__ import annotations

from itertools import islice
from typing import IO, Any

import msgspec
from singer_sdk.plugin_base import JSONSchemaValidator
from singer_sdk.singerlib.json import deserialize_json

from tap_sac.sac.errors import SACError
from tap_sac.singer.messages import ENCODER

_DEEPEST = 100
_OBJECT = {"type": "object"}
_TEXTS = {"type": ["array", "null"], "items": {"type": "string"}}
_STATE = {
    "type": "object",
    "properties": {
        "bookmarks": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "progress_markers": _OBJECT,
                    "partitions": {"type": "array", "maxItems": 0},
                },
            },
        }
    },
}
_METADATA = {
    "type": "object",
    "required": ["breadcrumb", "metadata"],
    "properties": {
        "breadcrumb": {"type": "array", "items": {"type": "string"}, "maxItems": _DEEPEST},
        "metadata": {
            "type": "object",
            "properties": {"table-key-properties": _TEXTS, "view-key-properties": _TEXTS},
        },
    },
}
_COLUMN = {"$ref": "#/$defs/column"}
_COLUMN_SCHEMA = {
    "type": "object",
    "properties": {
        "type": {"type": ["string", "array"], "items": {"type": "string"}},
        "format": {"type": ["string", "null"]},
        "items": _COLUMN,
        "properties": {"type": ["object", "null"], "additionalProperties": _COLUMN},
        "anyOf": {"type": "array", "items": _COLUMN},
    },
}
_ENTRY = {
    "type": "object",
    "required": ["tap_stream_id", "schema"],
    "properties": {
        "tap_stream_id": {"type": "string"},
        "schema": {"allOf": [_COLUMN, {"required": ["properties"]}]},
        "metadata": {"type": "array", "items": _METADATA},
        "key_properties": _TEXTS,
        "replication_key": {"type": ["string", "null"]},
        "replication_method": {"type": ["string", "null"]},
    },
}
_CATALOG = {
    "type": "object",
    "required": ["streams"],
    "properties": {"streams": {"type": "array", "items": _ENTRY}},
    "$defs": {"column": _COLUMN_SCHEMA},
}
_NEW_CATALOG = "make a new one with --discover (meltano run --refresh-catalog)"
_NEW_STATE = "give the last STATE of a run, or run without one to read everything"


def read_catalog(file: IO[str]) -> dict[str, Any]:
    """Read the file of ``--catalog``.

    Raises:
        SACError: If it is no catalog.
    """
    return check_catalog(_read(file, "catalog", _NEW_CATALOG))


def read_state(file: IO[str]) -> dict[str, Any]:
    """Read the file of ``--state``.

    Raises:
        SACError: If it is no state.
    """
    return check_state(_read(file, "state", _NEW_STATE))


def check_catalog(catalog: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON may be anything)
    """Return what is a catalog.

    Raises:
        SACError: If it is none.
    """
    return _check(catalog, _CATALOG, "catalog", _NEW_CATALOG)


def check_state(state: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON may be anything)
    """Return what is a state.

    Raises:
        SACError: If it is none.
    """
    return _check(state, _STATE, "state", _NEW_STATE)


def _read(file: IO[str], kind: str, next_step: str) -> object:
    try:
        return deserialize_json(file.read())
    except (ValueError, RecursionError, ArithmeticError) as error:
        msg = f"The {kind} is no JSON ({error}): {next_step}."
        raise SACError(msg) from None


def _check(value: Any, schema: dict[str, Any], kind: str, next_step: str) -> dict[str, Any]:  # noqa: ANN401
    try:
        as_json = msgspec.json.decode(ENCODER.encode(value))
        errors = list(islice(JSONSchemaValidator(schema).iter_errors(as_json), 1))
    except (ValueError, RecursionError, OverflowError) as error:
        msg = f"The {kind} cannot be written as JSON ({error}): {next_step}."
        raise SACError(msg) from None
    if _is_deeper(as_json, _DEEPEST):
        msg = f"The {kind} is nested too deeply: {next_step}."
        raise SACError(msg)
    for found in errors:
        place = ".".join(str(part) for part in found.absolute_path) or "the whole of it"
        msg = f"The {kind} has no valid form at {place} (by its {found.validator}): {next_step}."
        raise SACError(msg)
    result: dict[str, Any] = value
    return result


def _is_deeper(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(item, levels - 1) for item in inner)
