"""The types of OData, one row each: JSON Schema, conversion, struct type and Arrow type.

OData JSON Format 4.0, 7.1, defines how values of each type are written in JSON.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import time
from functools import partial, reduce
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from tap_sac.sac.odata.decimals import ENCODER, ExactDecimal
from tap_sac.safety.masks import LONGEST_VALUE, excerpt
from tap_sac.singer.decimal_limits import SINGER_DECIMAL, arrow_limits, declared_limits
from tap_sac.singer.text_formats import DATE, DATE_TIME, WrongFormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from pyarrow import DataType

    from tap_sac.sac.odata.model import Property
    from tap_sac.singer.decimal_limits import DecimalLimits
    from tap_sac.singer.text_formats import TextFormat

_NUMBER_TEXT = re.compile(r"(\+|-|)0*(\d+(\.\d+)?([eE][+-]?\d+)?)", re.ASCII)
_INTEGER_TEXT = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_FORMATS = {"date": DATE, "date-time": DATE_TIME}
_NOT_FINITE = ("NaN", "INF", "-INF")
_MOST_INTEGER_DIGITS = 20
_MOST_NARROW_DIGITS = 38
_FRACTION = re.compile(r"\.(\d+)", re.ASCII)
_MOST_DIGITS_OF_SECONDS = 6
# With more digits, a number without an exponent is beyond a double.
_MOST_DOUBLE_DIGITS = 308


class NotFiniteError(ValueError):
    """A number is NaN or infinite, which OData writes as a string."""


class UnfitError(ValueError):
    """A value fits the column's type in SAC, but not the schema sent to targets."""


def _as_boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _as_integer(value: object, *, least: int, most: int) -> int:
    """Accept an integer within limits, as a number or a string of digits (IEEE754Compatible)."""
    if isinstance(value, str) and _INTEGER_TEXT.fullmatch(value):
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif (
        isinstance(value, ExactDecimal)
        and value.adjusted() < _MOST_INTEGER_DIGITS
        and value == value.to_integral_value()
    ):
        number = int(value)
    else:
        raise TypeError
    if not least <= number <= most:
        raise ValueError
    return number


def _as_number(value: object) -> ExactDecimal | int:
    """Accept a number, or a string with a number.

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
    """Accept a number that a double can hold."""
    number = _as_number(value)
    if math.isinf(float(str(number))):
        raise ValueError
    return number


def _as_number_text(value: object, limits: DecimalLimits | None = None) -> str:
    number = _as_number(value)
    if limits:
        limits.fit(number)
    return str(number)


def _as_text(value: object) -> str:
    """Accept a string, or a number whose digits are the text, such as the month 202401."""
    if isinstance(value, str):
        return value
    if isinstance(value, (ExactDecimal, int)) and not isinstance(value, bool):
        return str(value)
    raise TypeError


def _as_json_text(value: object) -> str:
    """Write a value without a type of its own as JSON."""
    return value if isinstance(value, str) else ENCODER.encode(value).decode()


def _arrow_decimal(pa: ModuleType, column: Property) -> DataType:
    limits = arrow_limits(column)
    precision = limits.precision or 0
    decimal = pa.decimal128 if precision <= _MOST_NARROW_DIGITS else pa.decimal256
    return decimal(precision, limits.scale)


def _arrow_instant(pa: ModuleType, column: Property) -> DataType:
    return pa.timestamp("us", tz="UTC") if _has_microseconds(column) else pa.string()


def _arrow_time(pa: ModuleType, column: Property) -> DataType:
    return pa.time64("us") if _has_microseconds(column) else pa.string()


def _has_microseconds(column: Property) -> bool:
    """Return whether microseconds are precise enough; SAC may send more digits than declared."""
    return column.precision is not None and column.precision <= _MOST_DIGITS_OF_SECONDS


class EdmType(NamedTuple):
    """How values of an Edm type are declared, converted and written.

    Attributes:
        schema: Their JSON Schema.
        convert: Converts a value other than null for the record; raises ValueError or TypeError if
            it does not fit.
        struct: The type of the struct field if no conversion is needed; `msgspec.Raw` for numbers,
            which keep their text; None if values always need conversion.
        arrow: Makes the Arrow type.
        unusual: Matches comma-separated numbers without exponents if one of them needs the
            converter.
    """

    schema: Mapping[str, str]
    convert: Callable[[Any], Any]
    struct: Any
    arrow: Callable[[ModuleType, Property], DataType]
    unusual: re.Pattern[bytes] | None = None


def _integer(bits: int, *, is_signed: bool = True) -> EdmType:
    """Return the row of an integer type.

    The schema has no limits: targets would make columns that narrow, and could not store larger
    values after the type has grown in SAC. (target-postgres 0.8.1 changes no columns.)
    """
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    return EdmType(
        {"type": "integer"},
        partial(_as_integer, least=least, most=most),
        Annotated[int, msgspec.Meta(ge=least, le=most)],
        lambda pa, _: pa.int64(),
    )


_TEXT = EdmType({"type": "string"}, _as_text, str, lambda pa, _: pa.string())
_FLOAT = EdmType(
    {"type": "number"},
    _as_double,
    msgspec.Raw,
    lambda pa, _: pa.float64(),
    unusual=re.compile(rb"\d{%d}" % (_MOST_DOUBLE_DIGITS + 1)),
)
# For types that SAC was never seen to have, such as collections: values are written as JSON text.
_UNTYPED = EdmType({"type": "string"}, _as_json_text, None, lambda pa, _: pa.string())

_TYPES = {
    # unseen: no $metadata of SAC has had Binary, Duration, Guid or TimeOfDay; a row costs nothing.
    "Edm.Binary": _TEXT,
    "Edm.Boolean": EdmType({"type": "boolean"}, _as_boolean, bool, lambda pa, _: pa.bool_()),
    "Edm.Byte": _integer(8, is_signed=False),
    "Edm.Date": _TEXT._replace(
        schema={"type": "string", "format": "date"}, arrow=lambda pa, _: pa.date32()
    ),
    "Edm.DateTimeOffset": _TEXT._replace(
        schema={"type": "string", "format": "date-time"}, arrow=_arrow_instant
    ),
    "Edm.Decimal": EdmType({"type": "number"}, _as_number, msgspec.Raw, _arrow_decimal),
    "Edm.Double": _FLOAT,
    "Edm.Duration": _TEXT,
    "Edm.Guid": _TEXT,
    "Edm.Int16": _integer(16),
    "Edm.Int32": _integer(32),
    "Edm.Int64": _integer(64),
    "Edm.SByte": _integer(8),
    "Edm.Single": _FLOAT,
    "Edm.String": _TEXT,
    "Edm.TimeOfDay": _TEXT._replace(arrow=_arrow_time),
}


def edm_type(column: Property) -> EdmType:
    """Return the row of the column's type."""
    return _TYPES.get(column.type, _UNTYPED)


def declared_types(schema: Mapping[str, Any]) -> set[str]:
    """Return the types of a column other than null; none if the schema has none."""
    types = schema.get("type", ())
    return {types} - {"null"} if isinstance(types, str) else {*types} - {"null"}


def is_decimal_text(column: Property, schema: Mapping[str, Any]) -> bool:
    """Return whether records have the decimals of a column as text."""
    return column.type == "Edm.Decimal" and "string" in schema.get("type", ())


def is_written_alike(column: Property, schema: Mapping[str, Any]) -> bool:
    """Return whether the schema of a column declares the type of all its values.

    The schema may come from an old catalog, when the column had another type.
    """
    own, declared = edm_type(column).schema["type"], declared_types(schema)
    if schema.get("format") == SINGER_DECIMAL or own not in declared:
        is_number = own == "integer" and "number" in declared
        return is_number or not declared or is_decimal_text(column, schema)
    return True


def converter(column: Property, schema: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return the function that converts values of a column, other than null, for records.

    The schema decides how decimals are written. The function raises `UnfitError` for a value that
    does not fit it, and `PrecisionError` for digits beyond a scale in it.
    """
    if is_decimal_text(column, schema):
        return partial(_as_number_text, limits=declared_limits(column, schema))
    own = edm_type(column)
    steps: list[Callable[[Any], Any]] = [own.convert]
    if not is_written_alike(column, schema):
        steps.append(partial(_fitted, schema=schema))
    if format_ := text_format(schema):
        is_own = own.schema.get("format") == schema["format"]
        steps.append(format_.check if is_own else partial(_formatted, format_=format_))
    if len(steps) == 1:
        return own.convert
    return lambda value: reduce(lambda made, step: step(made), steps, value)


def text_format(schema: Mapping[str, Any]) -> TextFormat | None:
    """Return the format that a schema requires of texts."""
    return _FORMATS.get(schema.get("format", ""))


def _fitted(value: object, *, schema: Mapping[str, Any]) -> object:
    """Write a value in one of the types that a schema declares, if that does not change it."""
    is_number = isinstance(value, (ExactDecimal, int)) and not isinstance(value, bool)
    declared = declared_types(schema)
    if "boolean" in declared and isinstance(value, bool):
        return value
    if "number" in declared and is_number:
        return value
    if "integer" in declared and is_number:
        with suppress(ValueError, TypeError):
            return _TYPES["Edm.Int64"].convert(value)
    if "string" in declared:
        is_text = schema.get("format") != SINGER_DECIMAL or _NUMBER_TEXT.fullmatch(str(value))
        if is_text and (is_number or isinstance(value, str)):
            return str(value)
    raise UnfitError


def _formatted(value: str, *, format_: TextFormat) -> str:
    try:
        return format_.check(value)
    except WrongFormatError:
        raise UnfitError from None


def arrow_converter(column: Property) -> Callable[[Any], Any] | None:
    """Return a function that converts values of records, other than null, for an Arrow column.

    It removes trailing zeros beyond the scale of numbers and seconds, and raises a `ValueError`
    (for decimals, a `PrecisionError`) if other digits exceed the limits. None if the column needs
    no conversion.
    """
    if column.type == "Edm.DateTimeOffset" and _has_microseconds(column):
        return partial(_fitted_seconds, digits=column.precision)
    if column.type == "Edm.TimeOfDay" and _has_microseconds(column):
        return lambda value: time.fromisoformat(_fitted_seconds(value, digits=column.precision))
    if column.type not in {"Edm.Decimal", "Edm.Double", "Edm.Single"}:
        return None
    if column.type != "Edm.Decimal":
        return lambda value: float(str(value))
    limits = arrow_limits(column)
    return lambda value: limits.fit(_as_number(value))


def _fitted_seconds(text: str, *, digits: int | None) -> str:
    fraction = _FRACTION.search(text)
    if not fraction:
        return text
    if digits is not None and fraction[1][digits:].strip("0"):
        msg = f"{excerpt(text, LONGEST_VALUE)}, but $metadata declares Precision {digits}"
        raise ValueError(msg)
    return text.replace(fraction[0], f".{fraction[1][:digits]:0<{_MOST_DIGITS_OF_SECONDS}}")
