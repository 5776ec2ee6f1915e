"""The types of OData, one row each: what Singer, a struct and Arrow make of their values.

How values of each type look in JSON is in OData JSON Format 4.0, 7.1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tap_sac.sac.decimals import ENCODER, ExactDecimal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from pyarrow import DataType

    from tap_sac.sac.model import Property

_NUMBER_TEXT = re.compile(r"(\+|-|)0*(\d+(\.\d+)?([eE][+-]?\d+)?)", re.ASCII)
_INTEGER_TEXT = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_MOST_INTEGER_DIGITS = 20
_MOST_DIGITS = 38
_MOST_DIGITS_OF_ALL = 76
_DIGITS_AFTER_POINT = 10


def _as_boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _as_integer(value: object) -> int:
    """Accept a number, or a string of digits (IEEE754Compatible)."""
    if isinstance(value, str) and _INTEGER_TEXT.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if (
        isinstance(value, ExactDecimal)
        and value.adjusted() < _MOST_INTEGER_DIGITS
        and value == value.to_integral_value()
    ):
        return int(value)
    raise TypeError


def _as_number(value: object) -> ExactDecimal | int:
    """Accept a number, or a string that holds one; NaN and INF are not numbers."""
    if isinstance(value, str) and (match := _NUMBER_TEXT.fullmatch(value)):
        return ExactDecimal(match[1].replace("+", "") + match[2])
    if isinstance(value, (ExactDecimal, int)) and not isinstance(value, bool):
        return value
    raise TypeError


def _as_text(value: object) -> str:
    """Accept a string, or a number whose digits are the text, such as the month 202401."""
    if isinstance(value, str):
        return value
    if isinstance(value, (ExactDecimal, int)) and not isinstance(value, bool):
        return str(value)
    raise TypeError


def _as_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _as_json_text(value: object) -> str:
    """Write what has no type of its own as JSON."""
    return value if isinstance(value, str) else ENCODER.encode(value).decode()


def _arrow_decimal(pa: ModuleType, column: Property) -> DataType:
    precision = min(column.precision or _MOST_DIGITS, _MOST_DIGITS_OF_ALL)
    scale = _DIGITS_AFTER_POINT if column.scale is None else column.scale
    decimal = pa.decimal128 if precision <= _MOST_DIGITS else pa.decimal256
    return decimal(precision, scale)


class EdmType(NamedTuple):
    """What becomes of the values of an Edm type.

    Attributes:
        schema: Their JSON Schema.
        convert: Makes the value of a record from that of a row, other than null; raises
            ValueError, TypeError or AttributeError if it does not fit.
        struct: The type that a struct holds it in if it needs no conversion; `msgspec.Raw` for
            numbers, which keep their text; None if it always needs conversion.
        arrow: Makes the Arrow type; None leaves it to Arrow.
    """

    schema: Mapping[str, str]
    convert: Callable[[Any], Any]
    struct: Any
    arrow: Callable[[ModuleType, Property], DataType] | None


def _text(*, format_: str | None = None) -> EdmType:
    schema = {"type": "string", "format": format_} if format_ else {"type": "string"}
    return EdmType(schema, _as_text, str, lambda pa, _: pa.string())


_INTEGER = EdmType({"type": "integer"}, _as_integer, int, lambda pa, _: pa.int64())
_FLOAT = EdmType({"type": "number"}, _as_number, msgspec.Raw, lambda pa, _: pa.float64())
_OBJECT = EdmType({"type": "object"}, _as_object, None, None)
_UNTYPED = EdmType({"type": "string"}, _as_json_text, None, lambda pa, _: pa.string())

_TYPES = {
    "Edm.Binary": _text(),
    "Edm.Boolean": EdmType({"type": "boolean"}, _as_boolean, bool, lambda pa, _: pa.bool_()),
    "Edm.Byte": _INTEGER,
    "Edm.ComplexType": _OBJECT,
    "Edm.Date": _text(format_="date"),
    "Edm.DateTimeOffset": _text(format_="date-time"),
    "Edm.Decimal": EdmType({"type": "number"}, _as_number, msgspec.Raw, _arrow_decimal),
    "Edm.Double": _FLOAT,
    "Edm.Duration": _text(),
    "Edm.Guid": _text(format_="uuid"),
    "Edm.Int16": _INTEGER,
    "Edm.Int32": _INTEGER,
    "Edm.Int64": _INTEGER,
    "Edm.SByte": _INTEGER,
    "Edm.Single": _FLOAT,
    "Edm.String": _text(),
    "Edm.TimeOfDay": _text(format_="time"),
}


def edm_type(column: Property) -> EdmType:
    """Find the row of a column's type; one value of it, if it is a collection."""
    if column.type.startswith(("Edm.Geography", "Edm.Geometry")):
        return _OBJECT
    return _TYPES.get(column.type, _UNTYPED)


def converter(column: Property, schema: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Find the function that turns a value of a column, other than null, into its record form.

    Args:
        column: The column, which may be a collection or have parts.
        schema: Its JSON Schema, which decides how decimals are written.
    """
    if column.is_collection:
        convert_item = _single_converter(column, schema.get("items", {}))
        return lambda values: [
            None if value is None else convert_item(value) for value in _as_list(values)
        ]
    return _single_converter(column, schema)


def _single_converter(column: Property, schema: Mapping[str, Any]) -> Callable[[Any], Any]:
    if column.type == "Edm.ComplexType" and column.properties:
        parts = {
            part.name: converter(part, part_schema)
            for part in column.properties
            if (part_schema := schema.get("properties", {}).get(part.name)) is not None
        }
        return lambda values: {
            name: None if (value := values.get(name)) is None else convert(value)
            for name, convert in parts.items()
        }
    if column.type == "Edm.Decimal" and "string" in schema.get("type", ()):
        return lambda value: str(_as_number(value))
    return edm_type(column).convert


def _as_list(values: object) -> list[Any]:
    if not isinstance(values, list):
        raise TypeError
    return values
