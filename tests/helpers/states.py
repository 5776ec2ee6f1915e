"""Golden states: bookmarks of one stream, with placeholders for what differs from run to run."""

from __future__ import annotations

import copy
import hmac
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

STATES = Path(__file__).parents[1] / "streams" / "states"
VERSION = 4_000_000_000_123  # milliseconds since 1970, long after any run of the tests


def golden(name: str) -> dict[str, Any]:
    """Return a bookmark as a run, of this version or of an older one, wrote it."""
    bookmark: dict[str, Any] = json.loads((STATES / f"{name}.json").read_text("utf-8"))
    return bookmark


def tampered(
    name: str, change: dict[str, Any], config: dict[str, Any], **values: Any
) -> dict[str, Any]:
    """Return a golden bookmark in which somebody has changed or removed some members."""
    bookmark = filled(golden(name), config, **values) | filled(change, config)
    return {name: item for name, item in bookmark.items() if item != "<removed>"}


def filled(bookmark: dict[str, Any], config: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Replace the placeholders of a bookmark, for a run with this configuration.

    Args:
        bookmark: With placeholders such as ``<version>``, or without.
        config: Has the tenant of ``<origin>``, and the secret of ``<signature>`` and ``<secret>``.
        values: Those of other placeholders, and instead of the usual ones.
    """
    secret = config["client_secret"]
    texts = {
        "<origin>": config["tenant_url"],
        "<secret>": secret,
        "<encoded_secret>": quote(secret, safe=""),
    }
    known = {"version": VERSION, **values}

    def fill(value: Any) -> Any:  # noqa: ANN401  (JSON may be anything)
        if isinstance(value, dict):
            return {name: fill(item) for name, item in value.items()}
        if isinstance(value, list):
            return [fill(item) for item in value]
        if not isinstance(value, str):
            return value
        for name, text in texts.items():
            value = value.replace(name, text)
        return known.get(value.strip("<>"), value) if value.startswith("<") else value

    result: dict[str, Any] = fill(copy.deepcopy(bookmark))
    if result.get("signature") == "<signature>":
        result["signature"] = signature(result["delta_link"], config)
    return result


def blanked(bookmark: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Put placeholders into a bookmark, for what differs from run to run and is as it should be.

    The types of columns and the tenant are left out: test_types.py and test_tenants.py are about
    them.
    """
    result = copy.deepcopy(bookmark)
    result.pop("types", None)
    result.pop("tenant", None)
    link = result.get("delta_link")
    if isinstance(link, str):
        if result["signature"] == signature(link, config):
            result["signature"] = "<signature>"
        link = link.replace(config["tenant_url"], "<origin>")
        result["delta_link"] = re.sub(r"(?<=deltaid=)[0-9a-f-]{36}$", "<subscription>", link)
    forms: dict[str, Callable[[Any], bool]] = {
        "version": lambda value: type(value) is int and 10**12 < value < 10**13,
        "started_at": lambda value: type(value) is int and 10**12 < value < 10**13,
        "question": lambda value: bool(re.fullmatch("[0-9a-f]{16}", str(value))),
        "replication_key_signpost": lambda value: value.startswith("20") and value[19] == ".",
    }
    names = {"question": "query", "replication_key_signpost": "signpost"}
    for part in (result, result.get("slices") or {}):
        for name in part.keys() & forms.keys():
            if forms[name](part[name]):
                part[name] = f"<{names.get(name, name)}>"
    return result


def signature(link: str, config: dict[str, Any]) -> str:
    """Sign the subscription of a delta link, as the holder of a client secret does."""
    subscription = link.partition("deltaid=")[2].removeprefix("first-")
    text = f"{config['tenant_url']}\n{subscription}"
    return hmac.new(config["client_secret"].encode(), text.encode(), "sha256").hexdigest()


def changes(group: str) -> list[Any]:
    """Return what somebody may change in a bookmark, as parameters of a test."""
    found = json.loads((STATES / "tampered.json").read_text("utf-8"))[group]
    return [pytest.param(change, id=name) for name, change in found.items()]
