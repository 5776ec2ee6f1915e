"""Rows of an entity set -> Singer: the JSON Schema of a table, and its records.

How values of each Edm type look in JSON is in OData JSON Format 4.0, 7.1.
"""

from __future__ import annotations

import logging
import re
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tap_sac.sac.decimals import ExactDecimal
from tap_sac.sac.errors import BROKEN_PROTOCOL, OLD_CATALOG, WRONG_VALUE, SACError, one_line
from tap_sac.sac.pages import read_rows
from tap_sac.singer.messages import ENCODER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from tap_sac.sac.csdl import EntitySet, Property
    from tap_sac.sac.pages import Page

    Convert = Callable[[Any], Any]
    Row = Mapping[str, Any]
    Record = dict[str, Any]

logger = logging.getLogger(__name__)

SINGER_DECIMAL = "x-singer.decimal"
DELETED_AT = "_sdc_deleted_at"

_OBJECTS = ("Edm.Geography", "Edm.Geometry", "Edm.ComplexType")
_STRING = {"type": "string"}
_NUMBER = {"type": "number"}
_SCHEMAS: dict[str, dict[str, str]] = {
    "Edm.Boolean": {"type": "boolean"},
    "Edm.Byte": {"type": "integer"},
    "Edm.SByte": {"type": "integer"},
    "Edm.Int16": {"type": "integer"},
    "Edm.Int32": {"type": "integer"},
    "Edm.Int64": {"type": "integer"},
    "Edm.Decimal": _NUMBER,
    "Edm.Double": _NUMBER,
    "Edm.Single": _NUMBER,
    "Edm.Date": {"type": "string", "format": "date"},
    "Edm.DateTimeOffset": {"type": "string", "format": "date-time"},
    "Edm.TimeOfDay": {"type": "string", "format": "time"},
    "Edm.Guid": {"type": "string", "format": "uuid"},
}
_NUMBER_TEXT = re.compile(r"(\+|-|)0*(\d+(\.\d+)?([eE][+-]?\d+)?)", re.ASCII)
_INTEGER_TEXT = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_MOST_INTEGER_DIGITS = 20
_LONGEST_VALUE_SHOWN = 40
_NULL = msgspec.Raw(b"null")
_NOT_IN_STRUCTS = re.compile(r'["\\\x00-\x1f]')


def json_schema(entity_set: EntitySet, *, use_singer_decimal: bool) -> dict[str, Any]:
    """Describe the records of an entity set.

    Everything but the key is nullable. Decimals have no ``multipleOf``, which validators in
    targets cannot check at 31 digits.

    Args:
        entity_set: The columns and the key.
        use_singer_decimal: Whether decimals are strings with precision and scale.
    """
    properties = {}
    for column in entity_set.properties:
        schema = _column_schema(column, use_singer_decimal=use_singer_decimal)
        properties[column.name] = schema if column.name in entity_set.key else _nullable(schema)
    return {"type": "object", "properties": properties}


def with_deleted_at(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the column that marks deleted rows to a schema."""
    deleted_at = {"type": ["string", "null"], "format": "date-time"}
    return {**schema, "properties": {**schema["properties"], DELETED_AT: deleted_at}}


def add_decimal_facets(schema: dict[str, Any], columns: Iterable[Property]) -> None:
    """Put back precision and scale of `SINGER_DECIMAL` columns.

    The SDK's schema objects lose them on the way, and a warehouse that assumes scale 0 for a
    decimal without one would cut off the cents.
    """
    for column in columns:
        column_schema = schema.get("properties", {}).get(column.name, {})
        item_schema = column_schema.get("items", column_schema)
        if item_schema.get("format") == SINGER_DECIMAL:
            item_schema.update(_facets(column))
        add_decimal_facets(item_schema, column.properties)


class Records(Protocol):
    """Some records of a stream, in either of two forms."""

    def __len__(self) -> int:
        """Count them."""

    def __iter__(self) -> Iterator[Record]:
        """Make them one by one."""

    def lines(self, start: int, stop: int) -> bytes:
        """Write some of them as JSON, each with a newline at its end."""


class MadeRecords(list["Record"]):
    """Records that exist already."""

    def lines(self, start: int, stop: int) -> bytes:
        """Write some of them as JSON, each with a newline at its end."""
        return ENCODER.encode_lines(self[start:stop])


class PageRecords:
    """The records of a page, made when they are needed."""

    def __init__(self, page: Page, maker: RecordMaker) -> None:
        """Keep what is needed to make them."""
        self._page = page
        self._maker = maker

    def __len__(self) -> int:
        """Count them."""
        return len(self._page.items)

    def __iter__(self) -> Iterator[Record]:
        """Make them one by one.

        Raises:
            SACError: As of `RecordMaker.records`.
        """
        return self._maker.records(self._page.rows)

    def lines(self, start: int, stop: int) -> bytes:
        """Write some of them as JSON, each with a newline at its end.

        Raises:
            SACError: As of `RecordMaker.records`.
        """
        return self._maker.lines(self._page.items[start:stop], self._page.source)


class RecordMaker:
    """Turns the rows of a page into records that fit the schema."""

    def __init__(
        self,
        entity_set: EntitySet,
        schema: Mapping[str, Any],
        columns: Collection[str],
        *,
        null_columns: Collection[str] = (),
    ) -> None:
        """Prepare a conversion for each column.

        Args:
            entity_set: What `$metadata` says of the rows.
            schema: What was said of the records; it decides how decimals are written.
            columns: The columns that records have.
            null_columns: Columns that they have besides, without a value.
        """
        self._entity_set = entity_set
        self._known = {column.name for column in entity_set.properties}
        self._converts = {
            column.name: _converter(column, schema["properties"][column.name])
            for column in entity_set.properties
            if column.name in columns
        }
        self._key = [name for name in entity_set.key if name in self._converts]
        self._reported: set[str] = set()
        self._row_reader = _RowReader.for_columns(
            [column for column in entity_set.properties if column.name in columns],
            schema["properties"],
            key=self._key,
            null_columns=null_columns,
        )
        self._nulls: Record = dict.fromkeys(null_columns)

    def records(self, rows: Iterable[Row]) -> Iterator[Record]:
        """Make records; a column that a row does not have is null.

        Raises:
            SACError: If a value is not of its column's type, or a key column has none.
        """
        for row in rows:
            record = {}
            for name in self._converts:
                value = row.get(name)
                record[name] = None if value is None else self._convert(name, value)
            for name in self._key:
                if record[name] is None:
                    raise self._missing_key_error(name)
            if not row.keys() <= self._known:
                self._report_unknown(row)
            record.update(self._nulls)
            yield record

    def lines(self, items: list[msgspec.Raw], source: str) -> bytes:
        """Write the records of rows as JSON, each with a newline at its end.

        They are what `records` makes, byte for byte, and made at once if nothing is unusual.

        Args:
            items: The JSON text of each row.
            source: What they are of, for errors.

        Raises:
            SACError: As of `records`.
        """
        if self._row_reader and (rows := self._row_reader.read(items)) is not None:
            return ENCODER.encode_lines(rows)
        unusual = read_rows(items, source)
        lines = ENCODER.encode_lines(list(self.records(unusual)))
        if self._row_reader:
            self._row_reader.pass_over({name for row in unusual for name in row})
        return lines

    def key_record(self, key: Mapping[str, str]) -> Record:
        """Make a record of nothing but a key, whose values are text.

        Raises:
            SACError: If a value is not of its column's type.
        """
        return {name: self._convert(name, value) for name, value in key.items()}

    def _convert(self, name: str, value: object) -> object:
        try:
            return self._converts[name](value)
        except (ValueError, TypeError, AttributeError):
            raise self._value_error(name, value) from None

    def _value_error(self, name: str, value: object) -> SACError:
        declared = next(item.type for item in self._entity_set.properties if item.name == name)
        shown = repr(value)[:_LONGEST_VALUE_SHOWN]
        return SACError(
            f"The column {name} of {self._entity_set.name} holds {shown}, which is no {declared}, "
            "as $metadata says",
            WRONG_VALUE,
        )

    def _missing_key_error(self, name: str) -> SACError:
        return SACError(
            f"A row of {self._entity_set.name} has no value in its key column {name}",
            OLD_CATALOG,
            BROKEN_PROTOCOL,
        )

    def _report_unknown(self, row: Row) -> None:
        unknown = {name for name in row.keys() - self._known if "@" not in name}
        if new := sorted(unknown - self._reported):
            self._reported.update(new)
            logger.warning(
                "Leaving out columns of %s that $metadata does not have: %s",
                self._entity_set.name,
                one_line(", ".join(new)),
            )


class _Number:
    """A column of numbers, which rows hold as their text."""

    def __init__(self, field: str, *, is_nullable: bool, is_quoted: bool) -> None:
        self._field = field
        self._text_of = attrgetter(field)
        self._is_nullable = is_nullable
        self._is_quoted = is_quoted

    def conform(self, rows: list[Any]) -> bool:
        """Make the texts those of the records; False if one of them needs a closer look."""
        texts = list(map(self._text_of, rows))
        joined = b",".join(texts)
        # A JSON value of these characters alone is a number, without an exponent.
        rest = joined.replace(b"null", b"") if self._is_nullable else joined
        if rest.translate(None, b"0123456789.-,"):
            return False
        if b"-0," in joined or joined.endswith(b"-0"):  # As an integer, it would be 0.
            return False
        if self._is_quoted:
            strings = msgspec.json.decode(b'["' + b'","'.join(texts) + b'"]')
            for row, text in zip(rows, strings, strict=True):
                setattr(row, self._field, None if text == "null" else text)
        return True


class _RowReader:
    """Reads many rows at once into structs that are encoded as their records.

    It reads only rows whose values need no conversion, so that there is one place that converts.
    Numbers are kept as their text, because a `decimal.Decimal` would print 0.0000000 as 0E-7.
    """

    def __init__(
        self, fields: list[tuple[str, Any, Any]], names: dict[str, str], numbers: list[_Number]
    ) -> None:
        self._fields = fields
        self._names = names
        self._numbers = numbers
        self._passed_over: list[str] = []
        self._decoder = self._make_decoder()

    @classmethod
    def for_columns(
        cls,
        columns: Iterable[Property],
        schemas: Mapping[str, Any],
        *,
        key: Collection[str],
        null_columns: Collection[str],
    ) -> _RowReader | None:
        """Make a reader, unless there is a column that always needs conversion."""
        fields: list[tuple[str, Any, Any]] = []
        names: dict[str, str] = {}
        numbers = []
        for column in columns:
            convert = _CONVERTERS.get(column.type)
            if column.is_collection or convert is None or _NOT_IN_STRUCTS.search(column.name):
                return None
            field = f"column_{len(fields)}"
            names[field] = column.name
            is_key = column.name in key
            if convert is _as_number:
                is_quoted = "string" in schemas[column.name].get("type", ())
                numbers.append(_Number(field, is_nullable=not is_key, is_quoted=is_quoted))
                fields.append((field, msgspec.Raw, msgspec.NODEFAULT if is_key else _NULL))
            elif is_key:
                fields.append((field, _TYPES[convert], msgspec.NODEFAULT))
            else:
                fields.append((field, _TYPES[convert] | None, None))
        for name in null_columns:
            names[f"column_{len(fields)}"] = name
            fields.append((f"column_{len(fields)}", None, None))
        return cls(fields, names, numbers)

    def read(self, items: list[msgspec.Raw]) -> list[Any] | None:
        """Read rows; None if any of them needs a closer look."""
        try:
            rows: list[Any] = self._decoder.decode(b"[" + b",".join(items) + b"]")
        except (msgspec.DecodeError, RecursionError):
            return None
        for field in self._passed_over:
            for row in rows:
                setattr(row, field, msgspec.UNSET)
        return rows if all(number.conform(rows) for number in self._numbers) else None

    def pass_over(self, columns: set[str]) -> None:
        """Leave columns out that are not asked for; others, not seen yet, shall be noticed."""
        new = sorted(columns - set(self._names.values()))
        if not new or any(map(_NOT_IN_STRUCTS.search, new)):
            return
        for name in new:
            field = f"column_{len(self._fields)}"
            self._names[field] = name
            self._fields.append((field, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET))
            self._passed_over.append(field)
        self._decoder = self._make_decoder()

    def _make_decoder(self) -> msgspec.json.Decoder[Any]:
        row = msgspec.defstruct(
            "Row",
            self._fields,
            rename=self._names,
            kw_only=True,
            gc=False,
            forbid_unknown_fields=True,
        )
        return msgspec.json.Decoder(list[row])  # type: ignore[valid-type]


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _column_schema(column: Property, *, use_singer_decimal: bool) -> dict[str, Any]:
    schema: dict[str, Any]
    if column.type == "Edm.ComplexType" and column.properties:
        schema = {
            "type": "object",
            "properties": {
                part.name: _nullable(_column_schema(part, use_singer_decimal=use_singer_decimal))
                for part in column.properties
            },
        }
    elif column.type == "Edm.Decimal" and use_singer_decimal:
        schema = {"type": "string", "format": SINGER_DECIMAL, **_facets(column)}
    elif column.type.startswith(_OBJECTS):
        schema = {"type": "object"}
    else:
        schema = dict(_SCHEMAS.get(column.type, _STRING))
    if column.is_collection:
        schema = {"type": "array", "items": _nullable(schema)}
    return {**schema, "title": column.label} if column.label else schema


def _facets(column: Property) -> dict[str, int]:
    facets = {"precision": column.precision, "scale": column.scale}
    return {name: digits for name, digits in facets.items() if digits is not None}


def _converter(column: Property, schema: Mapping[str, Any]) -> Convert:
    """Find the function that turns a value, other than null, into its record form."""
    if column.is_collection:
        convert_item = _single_converter(column, schema.get("items", {}))
        return lambda values: [
            None if value is None else convert_item(value) for value in _as_list(values)
        ]
    return _single_converter(column, schema)


def _single_converter(column: Property, schema: Mapping[str, Any]) -> Convert:
    if column.type == "Edm.ComplexType" and column.properties:
        parts = {
            part.name: _converter(part, part_schema)
            for part in column.properties
            if (part_schema := schema.get("properties", {}).get(part.name)) is not None
        }
        return lambda values: {
            name: None if (value := values.get(name)) is None else convert(value)
            for name, convert in parts.items()
        }
    if column.type == "Edm.Decimal" and "string" in schema.get("type", ()):
        return lambda value: str(_as_number(value))
    if column.type.startswith(_OBJECTS):
        return _as_object
    return _CONVERTERS.get(column.type, _as_json_text)


def _as_list(values: object) -> list[Any]:
    if not isinstance(values, list):
        raise TypeError
    return values


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
    """Accept a number, or a string that is one; NaN and INF are none."""
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


_CONVERTERS: dict[str, Convert] = {
    **dict.fromkeys(
        ("Edm.Byte", "Edm.SByte", "Edm.Int16", "Edm.Int32", "Edm.Int64"),
        _as_integer,
    ),
    **dict.fromkeys(("Edm.Decimal", "Edm.Double", "Edm.Single"), _as_number),
    **dict.fromkeys(
        (
            "Edm.String",
            "Edm.Binary",
            "Edm.Date",
            "Edm.DateTimeOffset",
            "Edm.Duration",
            "Edm.Guid",
            "Edm.TimeOfDay",
        ),
        _as_text,
    ),
    "Edm.Boolean": _as_boolean,
}
_TYPES: dict[Convert, Any] = {_as_integer: int, _as_text: str, _as_boolean: bool}
