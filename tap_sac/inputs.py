"""What users pass to the tap: settings files, a catalog and a state, checked and completed.

The Singer specification defines catalog and state. The SDK does not validate them, so whatever
would crash it is checked here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
import singer_sdk.typing as th

from tap_sac.sac.errors import SACError
from tap_sac.sac.odata.decimals import ENCODER, MemberTwiceError, read_json
from tap_sac.safety.masks import LONGEST_VALUE, excerpt
from tap_sac.safety.text import log_safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_MOST_NAMES = 5
_MOST_LEVELS = 100  # Catalogs have fewer than ten.
_TOO_DEEP = f"it is nested more than {_MOST_LEVELS} levels deep"
_BLANK = b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"  # Byte order marks, and space in UTF-8, -16 and -32.
_OBJECT = {"type": "object"}
_NAME = {"type": ["string", "null"]}
_NAMES = {"type": ["array", "null"], "items": {"type": "string"}}
_BOOKMARK = {"progress_markers": _OBJECT, "partitions": {"type": "array", "maxItems": 0}}
_STATE = {
    "type": "object",
    "properties": {
        "bookmarks": {**_OBJECT, "additionalProperties": {**_OBJECT, "properties": _BOOKMARK}}
    },
}
_COLUMN = {"$ref": "#/$defs/column"}
_COLUMN_SCHEMA = {
    "type": "object",
    "properties": {
        "type": {"type": ["string", "array"], "items": {"type": "string"}},
        "format": _NAME,
        "items": _COLUMN,
        "properties": {"type": ["object", "null"], "additionalProperties": _COLUMN},
        "anyOf": {"type": "array", "items": _COLUMN},
    },
}
_METADATA = {
    "type": "object",
    "required": ["breadcrumb", "metadata"],
    "properties": {
        "breadcrumb": {"type": "array", "items": {"type": "string"}},
        "metadata": {"type": "object", "properties": {"table-key-properties": _NAMES}},
    },
}
_ENTRY = {
    "type": "object",
    "required": ["tap_stream_id", "schema"],
    "properties": {
        "tap_stream_id": {"type": "string"},
        "schema": {"allOf": [_COLUMN, {"required": ["properties"]}]},
        "metadata": {"type": "array", "items": _METADATA},
        "key_properties": _NAMES,
        "replication_key": _NAME,
        "replication_method": _NAME,
    },
}
_CATALOG = {
    "type": "object",
    "required": ["streams"],
    "properties": {"streams": {"type": "array", "items": _ENTRY}},
    "$defs": {"column": _COLUMN_SCHEMA},
}
_NO_SETTINGS = "A --config file cannot be read ({}: {}): write it as a JSON object."
_NEW_CATALOG = "make a new one with --discover (meltano --environment=prod run --refresh-catalog)"
_NEW_STATE = "use the value of a run's last STATE, or run without a state to read everything"


@dataclass(frozen=True)
class Choice:
    """The settings, the catalog and the state of a run.

    Attributes:
        settings: The settings, with their defaults.
        catalog: Whether each stream of the catalog is selected; None without a catalog.
        bookmarks: The bookmarks of the state, by stream.
        origins: The model and entity set of each stream, by the catalog's metadata
            (`OfferedStream.metadata`).
    """

    settings: Mapping[str, Any]
    catalog: Mapping[str, bool] | None = None
    bookmarks: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def selected(self) -> set[str] | None:
        """The streams that the catalog selects; None without a catalog."""
        if self.catalog is None:
            return None
        return {name for name, is_selected in self.catalog.items() if is_selected}

    def check_selection(self) -> None:
        """Raise a `SACError` if there is a catalog, and it selects no stream."""
        if self.selected == set():
            msg = (
                "The catalog selects no stream, so nothing is read: set selected to true in the "
                "metadata of the streams to read (with Meltano: meltano select)."
            )
            raise SACError(msg)


def read_settings(paths: Iterable[str]) -> dict[str, Any]:
    """Read the files of ``--config``; later ones override earlier ones. May raise a `SACError`."""
    settings: dict[str, Any] = {}
    for path in paths:
        try:
            found = read_json_file(Path(path).read_bytes())
        except OSError as error:
            msg = f"A --config file cannot be read ({error}): check its path."
            raise SACError(msg) from None
        except (ValueError, ArithmeticError) as error:
            msg = _NO_SETTINGS.format(log_safe(path), error)
            raise SACError(msg) from None
        if not isinstance(found, dict):
            raise SACError(_NO_SETTINGS.format(log_safe(path), "it is not an object"))
        settings |= found
    return settings


def read_catalog(file: IO[bytes]) -> dict[str, Any]:
    """Read the file of ``--catalog``, or raise a `SACError` if it is not a catalog."""
    return check_catalog(_read(file, "catalog", _NEW_CATALOG))


def read_state(file: IO[bytes]) -> dict[str, Any]:
    """Read the file of ``--state``, or raise a `SACError` if it is not a state."""
    return check_state(_read(file, "state", _NEW_STATE))


def read_json_file(data: bytes) -> Any:  # noqa: ANN401  (JSON may be anything)
    """Read JSON in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    PowerShell's ``>`` writes UTF-16, and some editors start UTF-8 files with a byte order mark.

    Raises:
        ValueError: If it is not JSON, with the reason.
    """
    if not data.strip(_BLANK):
        msg = "it is empty"
        raise ValueError(msg)
    try:
        return _flat(read_json(data, refuses_twice=True))
    except MemberTwiceError as error:  # The SDK would lose one of them.
        msg = f"it has {log_safe(str(error))!r} twice in one object"
        raise ValueError(msg) from None
    except UnicodeDecodeError:
        msg = "its encoding is neither UTF-8 nor UTF-16"
        raise ValueError(msg) from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def check_catalog(catalog: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON may be anything)
    """Return a catalog as it is, or raise a `SACError` if it is not one."""
    result = _check(catalog, _CATALOG, "catalog", _NEW_CATALOG)
    numbers = Counter(entry["tap_stream_id"] for entry in result["streams"])
    for name in (name for name, number in numbers.items() if number > 1):
        msg = f"The catalog has the stream {log_safe(name)} twice: {_NEW_CATALOG}."
        raise SACError(msg)
    for entry in result["streams"]:
        for place, selected in _selections(entry):
            if not (selected is None or isinstance(selected, bool)):
                shown = log_safe(excerpt(ENCODER.encode(selected).decode(), LONGEST_VALUE))
                msg = (
                    f"The catalog has selected: {shown} for {log_safe(place)}, which is neither "
                    "true nor false: write true or false, without quotes."
                )
                raise SACError(msg)
    return result


def check_state(state: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON may be anything)
    """Return a state as it is.

    An empty object is a state too, without bookmarks yet: everything is read.

    Raises:
        SACError: If it is not one.
    """
    result = _check(state, _STATE, "state", _NEW_STATE)
    if result and "bookmarks" not in result:
        raise SACError(_no_bookmarks(result))
    return result


def completed(catalog: dict[str, Any]) -> dict[str, Any]:
    """Add to a catalog what the SDK expects.

    - The replication method comes from the metadata, where the Singer specification puts the user's
      choice, but where the SDK does not look.
    - An empty key means no key, whether the entry or its metadata has it.
    - A selection may be in the entry instead of the metadata, as in older catalogs; a stream
      without any is selected.
    - The name of a stream is its ID, because the SDK would not find it otherwise.
    """
    return {**catalog, "streams": [_completed_entry(item) for item in catalog.get("streams", [])]}


def origins_in(catalog: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the texts in the metadata of each stream of a catalog."""
    return {
        entry["tap_stream_id"]: {
            name: value
            for item in entry.get("metadata") or []
            if not item["breadcrumb"]
            for name, value in item["metadata"].items()
            if isinstance(value, str)
        }
        for entry in catalog["streams"]
    }


def _completed_entry(entry: dict[str, Any]) -> dict[str, Any]:
    metadata = [{**item, "metadata": {**item["metadata"]}} for item in entry.get("metadata") or []]
    roots = [item["metadata"] for item in metadata if not item["breadcrumb"]]
    is_selected = entry.get("selected")
    if not roots:
        is_selected = True if is_selected is None else is_selected
        metadata.append({"breadcrumb": [], "metadata": {"selected": is_selected}})
    for root in roots:
        if root.get("selected") is None:
            root["selected"] = is_selected
    result = {**entry, "metadata": metadata, "stream": entry["tap_stream_id"]}
    if chosen := [root["replication-method"] for root in roots if root.get("replication-method")]:
        result["replication_method"] = chosen[0]
    keys = [entry.get("key_properties"), *(root.get("table-key-properties") for root in roots)]
    if [] in keys:
        result["key_properties"] = []
        for root in roots:
            root.pop("table-key-properties", None)
    return result


def _selections(entry: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the selections in a catalog entry, each with the stream or column that it is for."""
    stream = f"the stream {entry['tap_stream_id']}"
    yield stream, entry.get("selected")
    for item in entry.get("metadata") or []:
        column = ".".join(item["breadcrumb"][1::2])
        place = f"the column {column} of {stream}" if column else stream
        yield place, item["metadata"].get("selected")


def _no_bookmarks(state: dict[str, Any]) -> str:
    """Describe what a state has instead of bookmarks, and what to do."""
    what = "The state has no bookmarks because it is"
    if state.get("type") == "STATE":
        return f"{what} a whole STATE message: use only its value."
    if "singer_state" in state:
        return f"{what} what 'meltano state get' prints: use only what is in singer_state."
    if not state.keys().isdisjoint(("completed", "partial")):
        return (
            f"{what} Meltano's own state file: use only the singer_state that 'meltano state get' "
            "prints."
        )
    names = ", ".join(log_safe(name) for name in [*state][:_MOST_NAMES])
    return f"The state has {names} but no bookmarks: {_NEW_STATE}."


def _read(file: IO[bytes], kind: str, next_step: str) -> object:
    try:
        return read_json_file(file.read())
    except (ValueError, ArithmeticError) as error:
        msg = f"The {kind} is not valid JSON ({error}): {next_step}."
        raise SACError(msg) from None


def _check(value: Any, schema: dict[str, Any], kind: str, next_step: str) -> dict[str, Any]:  # noqa: ANN401
    try:  # Programs hand over tuples and exact decimals, too.
        as_json = _flat(msgspec.json.decode(ENCODER.encode(value)))
    except (ValueError, RecursionError, OverflowError) as error:
        msg = f"The {kind} cannot be written as JSON ({error}): {next_step}."
        raise SACError(msg) from None
    for found in islice(th.DEFAULT_JSONSCHEMA_VALIDATOR(schema).iter_errors(as_json), 1):
        place = ".".join(map(str, found.absolute_path)) or "its top level"
        msg = f"The {kind} is malformed at {log_safe(place)} ({found.validator}): {next_step}."
        raise SACError(msg)
    result: dict[str, Any] = value
    return result


def _flat(value: Any) -> Any:  # noqa: ANN401  (JSON may be anything)
    """Return a value, or raise a ValueError if it nests too deeply for SDK and validators."""
    items = [value]
    for _ in range(_MOST_LEVELS):
        lists = [item for item in items if isinstance(item, list)]
        lists += [[*item.values()] for item in items if isinstance(item, dict)]
        items = [inner for outer in lists for inner in outer]
    if items:
        raise ValueError(_TOO_DEEP)
    return value
