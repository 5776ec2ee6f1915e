"""The type in a column's JSON Schema, for messages and for targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from singer_sdk.singerlib import SchemaMessage


def declared_types(schema: Mapping[str, Any]) -> set[str]:
    """Return the types of a column other than null; none if the schema has none."""
    types = schema.get("type", ())
    return {types} - {"null"} if isinstance(types, str) else {*types} - {"null"}


def type_text(schema: Mapping[str, Any]) -> str:
    """Return the type that targets give a column, such as ``x-singer.decimal(31, 7)``."""
    text = schema.get("format") or " or ".join(sorted(declared_types(schema))) or "any"
    if "scale" in schema:
        text += f"({schema.get('precision')}, {schema['scale']})"
    return str(text)


def sent_types(stream: str, messages: Iterable[SchemaMessage]) -> dict[str, str]:
    """Return the types of columns by name, with a prefix for tables with another name."""
    return {
        name if message.stream == stream else f"{message.stream}.{name}": type_text(column)
        for message in messages
        for name, column in message.schema["properties"].items()
    }


def changed_types(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Describe the columns whose type has changed, not those that are new or gone."""
    return [
        f"{name} ({before[name]}, now {type_})"
        for name, type_ in now.items()
        if before.get(name, type_) != type_
    ]
