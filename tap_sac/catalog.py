"""The catalog and the state that somebody hands to the tap: checked, and completed.

What they look like is in the Singer specification; the SDK takes both for granted.
"""

from __future__ import annotations

from itertools import islice
from typing import IO, Any

import msgspec
import singer_sdk.typing as th

from tap_sac.sac.decimals import ENCODER, read_json
from tap_sac.sac.errors import SACError

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
        SACError: If it is not a catalog.
    """
    return check_catalog(_read(file, "catalog", _NEW_CATALOG))


def read_state(file: IO[str]) -> dict[str, Any]:
    """Read the file of ``--state``.

    Raises:
        SACError: If it is not a state.
    """
    return check_state(_read(file, "state", _NEW_STATE))


def check_catalog(catalog: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON may be anything)
    """Return a catalog as it is.

    Raises:
        SACError: If it is not one.
    """
    return _check(catalog, _CATALOG, "catalog", _NEW_CATALOG)


def check_state(state: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON may be anything)
    """Return a state as it is.

    Raises:
        SACError: If it is not one.
    """
    return _check(state, _STATE, "state", _NEW_STATE)


def completed(catalog: dict[str, Any]) -> dict[str, Any]:
    """Put into a catalog what the SDK expects of it.

    The replication method of a stream is taken from its metadata, if it is there: the Singer
    specification has it there for the user's choice, and the SDK overlooks it. A key that is
    empty, there or in the entry, is no key, whatever the other place says. A stream about which
    the metadata says nothing is selected. The name of the stream is its id: another one would not
    be found.
    """
    return {**catalog, "streams": [_completed_entry(item) for item in catalog.get("streams", [])]}


def _completed_entry(entry: dict[str, Any]) -> dict[str, Any]:
    metadata = [{**item, "metadata": {**item["metadata"]}} for item in entry.get("metadata") or []]
    roots = [item["metadata"] for item in metadata if not item["breadcrumb"]]
    if not roots:
        metadata.append({"breadcrumb": [], "metadata": {"selected": True}})
    result = {**entry, "metadata": metadata, "stream": entry["tap_stream_id"]}
    if chosen := [root["replication-method"] for root in roots if root.get("replication-method")]:
        result["replication_method"] = chosen[0]
    keys = [entry.get("key_properties"), *(root.get("table-key-properties") for root in roots)]
    if [] in keys:
        result["key_properties"] = []
        for root in roots:
            root.pop("table-key-properties", None)
    return result


def _read(file: IO[str], kind: str, next_step: str) -> object:
    try:
        return read_json(file.read())
    except (ValueError, RecursionError, ArithmeticError) as error:
        msg = f"The {kind} is not valid JSON ({error}): {next_step}."
        raise SACError(msg) from None


def _check(value: Any, schema: dict[str, Any], kind: str, next_step: str) -> dict[str, Any]:  # noqa: ANN401
    try:
        as_json = msgspec.json.decode(ENCODER.encode(value))
        errors = list(islice(th.DEFAULT_JSONSCHEMA_VALIDATOR(schema).iter_errors(as_json), 1))
    except (ValueError, RecursionError, OverflowError) as error:
        msg = f"The {kind} cannot be written as JSON ({error}): {next_step}."
        raise SACError(msg) from None
    if _is_deeper(as_json, _DEEPEST):
        msg = f"The {kind} is nested too deeply: {next_step}."
        raise SACError(msg)
    for found in errors:
        place = ".".join(str(part) for part in found.absolute_path) or "its top level"
        msg = f"The {kind} is malformed at {place} (by its {found.validator}): {next_step}."
        raise SACError(msg)
    result: dict[str, Any] = value
    return result


def _is_deeper(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(item, levels - 1) for item in inner)
