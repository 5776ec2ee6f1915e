"""The JSON Schema of a table, and its types for messages and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_sac.sac.odata.model import OwnColumn
from tap_sac.singer.decimal_limits import SINGER_DECIMAL, decimal_facets
from tap_sac.singer.edm import declared_types, edm_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from singer_sdk.singerlib import SchemaMessage

    from tap_sac.sac.odata.model import EntitySet, Property

# The Singer SDK's column for the deletion mark, which targets know.
DELETED_AT = OwnColumn("_sdc_deleted_at", "Edm.DateTimeOffset")
# Its column for the version of a row, which targets compare with ACTIVATE_VERSION.
TABLE_VERSION = OwnColumn("_sdc_table_version", "Edm.Int64")


def json_schema(entity_set: EntitySet, *, use_singer_decimal: bool) -> dict[str, Any]:
    """Return the JSON Schema of the records of an entity set.

    All columns but the key are nullable. Decimals have no ``multipleOf``, because validators in
    targets cannot check it at 31 digits.
    """
    properties = {}
    for column in entity_set.properties:
        schema = _column_schema(column, use_singer_decimal=use_singer_decimal)
        properties[column.name] = schema if column.name in entity_set.key else _nullable(schema)
    return with_own_columns({"type": "object", "properties": properties}, entity_set.own_columns)


def with_own_columns(schema: dict[str, Any], columns: Iterable[Property]) -> dict[str, Any]:
    """Add the tap's own columns to a schema, which may lack them."""
    own = {
        column.name: _nullable(_column_schema(column, use_singer_decimal=False))
        for column in columns
    }
    return {**schema, "properties": {**schema["properties"], **own}}


def add_decimal_facets(schema: dict[str, Any], columns: Iterable[Property]) -> None:
    """Restore the precision and scale of `SINGER_DECIMAL` columns, which the SDK's schemas lose.

    A warehouse that assumes scale 0 without them would truncate the cents.
    """
    for column in columns:
        column_schema = schema.get("properties", {}).get(column.name, {})
        if column_schema.get("format") == SINGER_DECIMAL:
            column_schema.update(decimal_facets(column))


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


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _column_schema(column: Property, *, use_singer_decimal: bool) -> dict[str, Any]:
    if column.type == "Edm.Decimal" and use_singer_decimal:
        schema = {"type": "string", "format": SINGER_DECIMAL, **decimal_facets(column)}
    else:
        schema = dict(edm_type(column).schema)
    return {**schema, "title": column.label} if column.label else schema
