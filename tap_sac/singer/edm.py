"""The types of OData, one row each: what Singer, a struct and Arrow make of their values.

How values of each type look in JSON is in OData JSON Format 4.0, 7.1.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from tap_sac.sac.odata.decimals import ENCODER, ExactDecimal
from tap_sac.singer import text_formats
from tap_sac.singer.decimal_limits import parquet_room, told_room

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from pyarrow import DataType

    from tap_sac.sac.odata.model import Property
    from tap_sac.singer.decimal_limits import Room
    from tap_sac.singer.text_formats import Form

_NUMBER_TEXT = re.compile(r"(\+|-|)0*(\d+(\.\d+)?([eE][+-]?\d+)?)", re.ASCII)
_INTEGER_TEXT = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_NOT_FINITE = ("NaN", "INF", "-INF")
_MOST_INTEGER_DIGITS = 20
_MOST_NARROW_DIGITS = 38
# With more digits, a number without an exponent is beyond a double.
_MOST_DOUBLE_DIGITS = 308


class NotFiniteError(ValueError):
    """A number is NaN or infinite, which OData writes as a string."""


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


def _as_integer_between(value: object, *, least: int, most: int) -> int:
    """Accept what `_as_integer` does, within limits.

    Raises:
        ValueError: If it is beyond them.
        TypeError: If it is no integer.
    """
    number = _as_integer(value)
    if not least <= number <= most:
        raise ValueError
    return number


def _as_number(value: object) -> ExactDecimal | int:
    """Accept a number, or a string that holds one.

    Raises:
        NotFiniteError: If it is NaN or infinite.
        TypeError: If it is no number.
    """
    if isinstance(value, str) and (match := _NUMBER_TEXT.fullmatch(value)):
        return ExactDecimal(match[1].replace("+", "") + match[2])
    if isinstance(value, (ExactDecimal, int)) and not isinstance(value, bool):
        return value
    if value in _NOT_FINITE:
        raise NotFiniteError(value)
    raise TypeError


def _as_double(value: object) -> ExactDecimal | int:
    """Accept a number that a double can hold.

    Raises:
        NotFiniteError: As `_as_number` does.
        ValueError: If it is too large.
        TypeError: If it is no number.
    """
    number = _as_number(value)
    if math.isinf(float(str(number))):
        raise ValueError
    return number


def _as_number_text(value: object, room: Room | None = None) -> str:
    number = _as_number(value)
    if room:
        room.fit(number)
    return str(number)


def _as_text(value: object) -> str:
    """Accept a string, or a number whose digits are the text, such as the month 202401."""
    if isinstance(value, str):
        return value
    if isinstance(value, (ExactDecimal, int)) and not isinstance(value, bool):
        return str(value)
    raise TypeError


def _as_text_of(form: Form) -> Callable[[object], str]:
    """Make what accepts a text, as `_as_text` does, if it has a form, or is spelled otherwise."""
    return lambda value: form.apply(_as_text(value))


def _as_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _as_json_text(value: object) -> str:
    """Write what has no type of its own as JSON."""
    return value if isinstance(value, str) else ENCODER.encode(value).decode()


def _arrow_decimal(pa: ModuleType, column: Property) -> DataType:
    """Make a decimal that has room for what Arrow's JSON reader takes, and then multiplies.

    It takes as many digits as the precision, whatever their place, and multiplies by ten to the
    scale, without a look at what does not fit then.
    """
    room = parquet_room(column, column.name)
    precision, scale = room.precision or 0, room.scale
    decimal = pa.decimal128 if precision + scale <= _MOST_NARROW_DIGITS else pa.decimal256
    return decimal(precision, scale)


class EdmType(NamedTuple):
    """What becomes of the values of an Edm type.

    Attributes:
        schema: Their JSON Schema.
        convert: Makes the value of a record from that of a row, other than null; raises
            ValueError, TypeError or AttributeError if it does not fit.
        struct: The type that a struct holds it in if it needs no conversion; `msgspec.Raw` for
            numbers, which keep their text, and for texts that must have a form; None if it always
            needs conversion.
        arrow: Makes the Arrow type; None leaves it to Arrow.
        form: The form of texts that need no conversion, unless `struct` itself demands it.
        unusual: What numbers without an exponent match, with commas between, if one of them needs
            a closer look.
    """

    schema: Mapping[str, str]
    convert: Callable[[Any], Any]
    struct: Any
    arrow: Callable[[ModuleType, Property], DataType] | None
    form: Form | None = None
    unusual: re.Pattern[bytes] | None = None


def _integer(bits: int, *, is_signed: bool = True) -> EdmType:
    """Make the row of a type of integers.

    The schema has no limits: targets would make columns as narrow as they are, which do not hold
    what the type holds after it has grown in SAC. (target-postgres 0.8.1 changes no columns.)
    """
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    return EdmType(
        {"type": "integer"},
        partial(_as_integer_between, least=least, most=most),
        Annotated[int, msgspec.Meta(ge=least, le=most)],
        lambda pa, _: pa.int64(),
    )


def _formatted(format_: str, form: Form) -> EdmType:
    """Make the row of a type whose texts have a form that JSON Schema has a name for."""
    schema = {"type": "string", "format": format_}
    return EdmType(schema, _as_text_of(form), msgspec.Raw, _TEXT.arrow, form)


_TEXT = EdmType({"type": "string"}, _as_text, str, lambda pa, _: pa.string())
_FLOAT = EdmType(
    {"type": "number"},
    _as_double,
    msgspec.Raw,
    lambda pa, _: pa.float64(),
    unusual=re.compile(rb"\d{%d}" % (_MOST_DOUBLE_DIGITS + 1)),
)
_OBJECT = EdmType({"type": "object"}, _as_object, None, None)
_UNTYPED = EdmType({"type": "string"}, _as_json_text, None, lambda pa, _: pa.string())

_TYPES = {
    "Edm.Binary": _TEXT,
    "Edm.Boolean": EdmType({"type": "boolean"}, _as_boolean, bool, lambda pa, _: pa.bool_()),
    "Edm.Byte": _integer(8, is_signed=False),
    "Edm.ComplexType": _OBJECT,
    # msgspec reads and writes the same dates as the form has, and nothing else, at no cost.
    "Edm.Date": _formatted("date", text_formats.DATE)._replace(struct=date, form=None),
    "Edm.DateTimeOffset": _formatted("date-time", text_formats.DATE_TIME),
    "Edm.Decimal": EdmType({"type": "number"}, _as_number, msgspec.Raw, _arrow_decimal),
    "Edm.Double": _FLOAT,
    "Edm.Duration": _TEXT,
    "Edm.Guid": _formatted("uuid", text_formats.GUID),
    "Edm.Int16": _integer(16),
    "Edm.Int32": _integer(32),
    "Edm.Int64": _integer(64),
    "Edm.SByte": _integer(8),
    "Edm.Single": _FLOAT,
    "Edm.String": _TEXT,
    "Edm.TimeOfDay": _formatted("time", text_formats.TIME),
}


def edm_type(column: Property) -> EdmType:
    """Find the row of a column's type; one value of it, if it is a collection."""
    if column.type.startswith(("Edm.Geography", "Edm.Geometry")):
        return _OBJECT
    return _TYPES.get(column.type, _UNTYPED)


def written_type(column: Property, schema: Mapping[str, Any]) -> EdmType:
    """Find the row for a column as its schema has it, or one value of it if it is a collection.

    Where a catalog has taken the format away, texts may have any form.
    """
    result = edm_type(column)
    promised = result.schema.get("format")
    return result if promised in {None, schema.get("format")} else _TEXT


def is_decimal_text(column: Property, schema: Mapping[str, Any]) -> bool:
    """Return whether records hold the values of a column as the text of decimals."""
    return column.type == "Edm.Decimal" and "string" in schema.get("type", ())


def converter(column: Property, schema: Mapping[str, Any], outer: str = "") -> Callable[[Any], Any]:
    """Find the function that turns a value of a column, other than null, into its record form.

    Where targets are told a scale, it raises `NoRoomError` for digits behind it.

    Args:
        column: The column, which may be a collection or have parts.
        schema: Its JSON Schema, which decides how decimals are written.
        outer: What comes before its name in messages.
    """
    if column.is_collection:
        return _each(_single_converter(column, schema.get("items", {}), outer))
    return _single_converter(column, schema, outer)


def _single_converter(
    column: Property, schema: Mapping[str, Any], outer: str
) -> Callable[[Any], Any]:
    path = f"{outer}{column.name}"
    if column.type == "Edm.ComplexType" and column.properties:
        parts = {
            part.name: converter(part, part_schema, f"{path}.")
            for part in column.properties
            if (part_schema := schema.get("properties", {}).get(part.name)) is not None
        }
        return lambda values: {
            name: None if (value := values.get(name)) is None else convert(value)
            for name, convert in parts.items()
        }
    if is_decimal_text(column, schema):
        return partial(_as_number_text, room=told_room(column, schema, path))
    return written_type(column, schema).convert


def _each(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make the converter of a list from that of its items."""
    return lambda values: [None if value is None else convert(value) for value in _as_list(values)]


def arrow_type(pa: ModuleType, column: Property) -> DataType | None:
    """Find the Arrow type of a column; None if only its values can tell, or those of a part."""
    if column.is_collection:
        item_type = arrow_type(pa, replace(column, is_collection=False))
        return None if item_type is None else pa.list_(item_type)
    if column.properties:
        types = {part.name: arrow_type(pa, part) for part in column.properties}
        return None if any(item is None for item in types.values()) else pa.struct(types)
    make_type = edm_type(column).arrow
    return make_type(pa, column) if make_type else None


def parquet_fitter(column: Property, outer: str = "") -> Callable[[Any], Any]:
    """Find the function that cuts off the zeros for which a Parquet column has no room.

    It takes a value of a record, other than null, and raises `NoRoomError` if there is no room for
    other digits.

    Args:
        column: The column, which may be a collection or have parts.
        outer: What comes before its name in messages.
    """
    if column.is_collection:
        return _each(parquet_fitter(replace(column, is_collection=False), outer))
    path = f"{outer}{column.name}"
    if column.properties:
        parts = {part.name: parquet_fitter(part, f"{path}.") for part in column.properties}
        return lambda values: {
            name: None if value is None else parts[name](value) for name, value in values.items()
        }
    if column.type == "Edm.Decimal":
        room = parquet_room(column, path)
        return lambda value: room.fit(_as_number(value))
    return lambda value: value


def _as_list(values: object) -> list[Any]:
    if not isinstance(values, list):
        raise TypeError
    return values
