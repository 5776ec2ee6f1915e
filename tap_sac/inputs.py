"""The catalog and the state that somebody hands to the tap: refused by name if they are none.

What they look like is in the Singer specification; the SDK takes both for granted.
"""

from __future__ import annotations

from typing import Any

from singer_sdk.plugin_base import JSONSchemaValidator
from singer_sdk.singerlib.json import deserialize_json

from tap_sac.errors import SACError

_OBJECT = {"type": "object"}
_STATE = {
    "type": "object",
    "properties": {"bookmarks": {"type": "object", "additionalProperties": _OBJECT}},
}
_METADATA = {
    "type": "object",
    "required": ["breadcrumb", "metadata"],
    "properties": {
        "breadcrumb": {"type": "array", "items": {"type": "string"}},
        "metadata": _OBJECT,
    },
}
_ENTRY = {
    "type": "object",
    "required": ["tap_stream_id", "schema"],
    "properties": {
        "tap_stream_id": {"type": "string"},
        "schema": {
            "type": "object",
            "required": ["properties"],
            "properties": {"properties": {"type": "object", "additionalProperties": _OBJECT}},
        },
        "metadata": {"type": "array", "items": _METADATA},
        "replication_key": {"type": ["string", "null"]},
        "replication_method": {"type": ["string", "null"]},
    },
}
_CATALOG = {
    "type": "object",
    "required": ["streams"],
    "properties": {"streams": {"type": "array", "items": _ENTRY}},
}
_NEW_CATALOG = "make a new one with --discover (meltano run --refresh-catalog)"
_NEW_STATE = "give the last STATE of a run, or run without one to read everything"


def read_catalog(text: str) -> dict[str, Any]:
    """Read the file of ``--catalog``.

    Raises:
        SACError: If it is no catalog.
    """
    return check_catalog(_read(text, "catalog", _NEW_CATALOG))


def read_state(text: str) -> dict[str, Any]:
    """Read the file of ``--state``.

    Raises:
        SACError: If it is no state.
    """
    return check_state(_read(text, "state", _NEW_STATE))


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


def _read(text: str, kind: str, next_step: str) -> object:
    try:
        return deserialize_json(text)
    except (ValueError, RecursionError, ArithmeticError) as error:
        msg = f"The {kind} is no JSON ({error}): {next_step}."
        raise SACError(msg) from None


def _check(value: Any, schema: dict[str, Any], kind: str, next_step: str) -> dict[str, Any]:  # noqa: ANN401
    for error in JSONSchemaValidator(schema).iter_errors(value):
        place = ".".join(str(part) for part in error.absolute_path) or "the whole of it"
        msg = f"The {kind} has no valid form at {place} (by its {error.validator}): {next_step}."
        raise SACError(msg)
    result: dict[str, Any] = value
    return result
