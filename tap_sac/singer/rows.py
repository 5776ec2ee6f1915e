"""Rows of a page -> JSON lines or columns, many at a time: for rows that need no conversion."""

from __future__ import annotations

import re
from datetime import date
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from tap_sac.sac.odata.decimals import ENCODER
from tap_sac.singer.decimal_limits import declared_limits
from tap_sac.singer.edm import is_decimal_text, written_type

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from tap_sac.sac.odata.model import Property
    from tap_sac.singer.sums import Sums
    from tap_sac.singer.text_formats import TextFormat

    # The values of each column, or the texts of its numbers (as `_Number.texts`).
    Columns = dict[str, list[Any] | bytes]

_NULL = msgspec.Raw(b"null")
# Texts that structs do not hold as such.
_ENCODED_TEXTS = (msgspec.Raw, date, date | None)
_TEXTS = msgspec.json.Decoder(list[str | None])
_NEGATIVE_ZERO = re.compile(rb"-0(?:,|$)")
_NOT_IN_STRUCTS = re.compile(r'["\\\x00-\x1f]')


class RowReader:
    """Reads many rows at once into structs that encode as their records.

    It refuses rows with a value that needs conversion, so that only one place converts. Numbers
    stay text, because a `decimal.Decimal` would print 0.0000000 as 0E-7.
    """

    def __init__(
        self,
        fields: list[tuple[str, Any, Any]],
        names: dict[str, str],
        numbers: list[_Number],
        texts: list[_Text],
        sums: Sums | None,
    ) -> None:
        """Use what `for_columns` has found."""
        self._fields = fields
        self._names = names
        self._numbers = numbers
        self._texts = texts
        self._sums = sums
        of_numbers = {number.field for number in numbers}
        summed = {field for field in names if sums and names[field] in sums.columns}
        self._summed = [number for number in numbers if number.field in summed]
        self._summed_integers = [names[field] for field in sorted(summed - of_numbers)]
        self._values_of = {
            names[name]: attrgetter(name) for name, *_ in fields if name not in of_numbers
        }
        self._encoded = [
            names[name]
            for name, type_, _ in fields
            if type_ in _ENCODED_TEXTS and name not in of_numbers
        ]
        self._ignored: list[str] = []
        self._decoder = self._make_decoder()

    @classmethod
    def for_columns(
        cls,
        columns: Iterable[Property],
        schemas: Mapping[str, Any],
        *,
        key: Collection[str],
        null_columns: Iterable[str],
        sums: Sums | None = None,
    ) -> RowReader | None:
        """Create a reader, unless a column always needs conversion.

        Args:
            columns: SAC's columns that records have.
            schemas: Their JSON Schemas, which decide how decimals are written.
            key: Those that must have a value.
            null_columns: Other columns of records, which have no value.
            sums: Adds up the numbers of all rows that are read.
        """
        fields: list[tuple[str, Any, Any]] = []
        names: dict[str, str] = {}
        numbers = []
        texts = []
        for column in columns:
            schema = schemas[column.name]
            edm_type = written_type(column, schema)
            struct_type = edm_type.struct
            if struct_type is None or _NOT_IN_STRUCTS.search(column.name):
                return None
            field = f"column_{len(fields)}"
            names[field] = column.name
            is_key = column.name in key
            if edm_type.format:
                texts.append(_Text(field, edm_type.format, is_nullable=not is_key))
            elif struct_type is msgspec.Raw:
                is_quoted = is_decimal_text(column, schema)
                limits = declared_limits(column, schema) if is_quoted else None
                numbers.append(
                    _Number(
                        field,
                        is_nullable=not is_key,
                        is_quoted=is_quoted,
                        unusual=limits.excess_in_json() if limits else edm_type.unusual,
                    )
                )
            if is_key:
                fields.append((field, struct_type, msgspec.NODEFAULT))
            elif struct_type is msgspec.Raw:
                fields.append((field, struct_type, _NULL))
            else:
                fields.append((field, struct_type | None, None))
        for name in null_columns:
            names[f"column_{len(fields)}"] = name
            fields.append((f"column_{len(fields)}", None, None))
        return cls(fields, names, numbers, texts, sums)

    def read(self, items: list[msgspec.Raw]) -> list[Any] | None:
        """Read rows; None if the converter has to look at one of them."""
        try:
            rows: list[Any] = self._decoder.decode(b"[" + b",".join(items) + b"]")
        except (msgspec.DecodeError, RecursionError):
            return None
        for field in self._ignored:
            for row in rows:
                setattr(row, field, msgspec.UNSET)
        if not all(text.conform(rows) for text in self._texts):
            return None
        if not all(number.conform(rows) for number in self._numbers):
            return None
        if self._sums:
            for number in self._summed:
                self._sums.add_texts(self._names[number.field], number.texts)
            for name in self._summed_integers:
                self._sums.add_integers(name, map(self._values_of[name], rows))
        return rows

    def columns(self, rows: list[Any]) -> Columns:
        """Return the columns of the rows that were read last."""
        columns: Columns = {name: list(map(get, rows)) for name, get in self._values_of.items()}
        for name in self._encoded:
            columns[name] = _TEXTS.decode(ENCODER.encode(columns[name]))
        for number in self._numbers:
            columns[self._names[number.field]] = number.texts
        return columns

    def ignore(self, columns: set[str]) -> None:
        """Ignore unrequested columns from now on; others, not seen yet, must be noticed."""
        new = sorted(columns - set(self._names.values()))
        if not new or any(map(_NOT_IN_STRUCTS.search, new)):
            return
        for name in new:
            field = f"column_{len(self._fields)}"
            self._names[field] = name
            self._fields.append((field, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET))
            self._ignored.append(field)
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


class _Number:
    """A column of numbers, which rows hold as text.

    Attributes:
        field: Its field in structs.
        texts: The numbers of the rows that were read last, with commas between.
    """

    def __init__(
        self,
        field: str,
        *,
        is_nullable: bool,
        is_quoted: bool,
        unusual: re.Pattern[bytes] | None,
    ) -> None:
        self.field = field
        self.texts = b""
        self._text_of = attrgetter(field)
        self._is_nullable = is_nullable
        self._is_quoted = is_quoted
        self._unusual = unusual

    def conform(self, rows: list[Any]) -> bool:
        """Make the numbers those of the records; False if the converter has to look at one."""
        texts = list(map(self._text_of, rows))
        self.texts = joined = b",".join(texts)
        # A JSON value of these characters alone is a number, without an exponent.
        rest = joined.replace(b"null", b"") if self._is_nullable else joined
        if rest.translate(None, b"0123456789.-,"):
            return False
        if _NEGATIVE_ZERO.search(joined):  # As an integer, it would be 0.
            return False
        if self._unusual and self._unusual.search(joined):
            return False
        if self._is_quoted and rows:
            strings: list[Any] = joined.decode().split(",")
            if len(rest) < len(joined):
                strings = [None if text == "null" else text for text in strings]
            for _ in map(setattr, rows, repeat(self.field), strings):
                pass
        return True


class _Text:
    """A column of texts that must have a format, which rows hold as their JSON."""

    def __init__(self, field: str, format_: TextFormat, *, is_nullable: bool) -> None:
        self._text_of = attrgetter(field)
        self._format = format_
        self._is_nullable = is_nullable

    def conform(self, rows: list[Any]) -> bool:
        """Return whether all values have this format."""
        values = b",".join(map(self._text_of, rows))
        return (self._is_nullable or b"null" not in values) and self._format.fits(values)
