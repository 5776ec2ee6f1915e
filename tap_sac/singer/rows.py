"""Converts the rows of a page to JSON lines or columns in bulk, if they need no conversion."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import repeat
from operator import attrgetter, is_, itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

from tap_sac.sac.odata.decimals import ENCODER
from tap_sac.singer.decimal_limits import declared_limits
from tap_sac.singer.edm import edm_type, is_decimal_text, is_written_alike, text_format
from tap_sac.singer.keys import Keys, key_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from tap_sac.sac.odata.model import Property
    from tap_sac.singer.column_watch import ColumnWatch
    from tap_sac.singer.keys import KeyReader
    from tap_sac.singer.sums import Sums
    from tap_sac.singer.text_formats import TextFormat

    # The values of each column, or the texts of its numbers (like `_Number.texts`).
    Columns = dict[str, list[Any] | bytes]

# Stands for a column that a row lacks; unlike null, it can be told from a null in the row.
_ABSENT = msgspec.Raw(b"null")
_TEXTS = msgspec.json.Decoder(list[str | None])
_NEGATIVE_ZERO = re.compile(rb"-0(?:,|$)")
_NOT_IN_STRUCTS = re.compile(r'["\\\x00-\x1f]')


class RowReader:
    """Reads many rows at once into structs that encode as their records.

    It leaves rows with unusual values to the converter. Numbers stay text, because a
    `decimal.Decimal` would print 0.0000000 as 0E-7.
    """

    def __init__(
        self,
        columns: Iterable[Property],
        schemas: Mapping[str, Any],
        *,
        key: Sequence[str],
        null_columns: Collection[str],
        watch: ColumnWatch,
        sums: Sums | None = None,
        on_keys: Callable[[Keys], None] | None = None,
    ) -> None:
        """Choose a struct field for each column.

        Args:
            columns: The selected columns of SAC.
            schemas: Their JSON Schemas, which decide how decimals are written.
            key: The columns that must have a value.
            null_columns: Other columns of records, which are always null.
            watch: Watches which columns have values.
            sums: Adds up the numbers of all rows.
            on_keys: Gets the keys of all rows.
        """
        self._sums = sums
        self._on_keys = on_keys
        self._fields: list[tuple[str, Any, Any]] = []
        self._names: dict[str, str] = {}
        self._numbers: list[_Number] = []
        self._texts: list[_Text] = []
        self._encoded: list[str] = []
        self._ignored: list[str] = []
        self._values_of: dict[str, Any] = {}
        self._always_refuses = False
        self._watch = watch
        self._leaves_out_nulls = False
        # Whether records may be longer than their rows: by quotes around numbers, or added columns.
        self._adds = bool(null_columns)
        for column in columns:
            self._add(column, schemas[column.name], is_key=column.name in key)
        summed = sums.totals if sums else {}
        self._summed = [item for item in self._numbers if self._names[item.field] in summed]
        self._summed_integers = [name for name in summed if name in self._values_of]
        self._size_of_rows = len(self._fields)
        for name in null_columns:
            self._values_of[name] = attrgetter(self._add_field(name, None, None))
        self._make_decoders()
        if on_keys and not self._always_refuses:
            self._read_keys = self._key_reader(key)

    def _add(self, column: Property, schema: Mapping[str, Any], *, is_key: bool) -> None:
        kind = edm_type(column)
        if (
            kind.struct is None
            or not is_written_alike(column, schema)
            or _NOT_IN_STRUCTS.search(column.name)
        ):
            self._always_refuses = True
            return
        format_ = text_format(schema) if kind.struct is str else None
        type_ = msgspec.Raw if format_ else kind.struct
        is_raw = type_ is msgspec.Raw
        if is_key:
            field = self._add_field(column.name, type_, msgspec.NODEFAULT)
        else:
            field = self._add_field(column.name, type_ if is_raw else type_ | None, _ABSENT)
        if is_raw and not format_:
            is_quoted = is_decimal_text(column, schema)
            self._adds = self._adds or is_quoted
            limits = declared_limits(column, schema) if is_quoted else None
            number = _Number(
                field,
                is_nullable=not is_key,
                is_quoted=is_quoted,
                unusual=limits.excess_in_json() if limits else kind.unusual,
            )
            self._numbers.append(number)
            return
        self._values_of[column.name] = attrgetter(field)
        if format_:
            self._texts.append(_Text(field, format_, is_nullable=not is_key))
            self._encoded.append(column.name)

    def _add_field(self, name: str, type_: Any, default: Any) -> str:  # noqa: ANN401
        field = f"column_{len(self._fields)}"
        self._names[field] = name
        self._fields.append((field, type_, default))
        return field

    def _key_reader(self, key: Sequence[str]) -> KeyReader:
        names = [self._names[field] for field, _, _ in self._fields]
        places = [names.index(name) for name in key]
        fields = [self._fields[place] for place in places]
        are_texts = [type_ is str for _, type_, _ in fields]
        begin, end = places[0], places[-1] + 1
        if all(are_texts) and len(key) > 1 and places == [*range(begin, end)]:
            cut = itemgetter(slice(begin, end))  # Faster than reading single attributes.
            return lambda rows: map(cut, map(msgspec.structs.astuple, rows))
        return key_reader(attrgetter(*(field for field, _, _ in fields)), are_texts)

    def lines(self, items: list[msgspec.Raw]) -> bytes | None:
        """Write rows as JSON lines; None if one of them needs the converter."""
        text = b"[" + b",".join(items) + b"]"
        rows = self._decode(text)
        if rows is None:
            return None
        adds = self._adds or self._leaves_out_nulls
        lines = b"" if adds else ENCODER.encode_lines(rows)
        # A repeated member would be missing in the output; other members never get longer.
        has_members_once = len(lines) + 1 == len(text) or self._has_members_once(text, rows)
        if not (has_members_once and self._accepts(rows)):
            return None
        return lines or ENCODER.encode_lines(rows)

    def columns(self, items: list[msgspec.Raw]) -> Columns | None:
        """Return the columns of rows; None if one of the rows needs the converter."""
        text = b"[" + b",".join(items) + b"]"
        rows = self._decode(text)
        if rows is None or not (self._has_members_once(text, rows) and self._accepts(rows)):
            return None
        columns: Columns = {name: self._values(name, rows) for name in self._values_of}
        for name in self._encoded:
            columns[name] = _TEXTS.decode(ENCODER.encode(columns[name]))
        for number in self._numbers:
            columns[self._names[number.field]] = number.texts
        return columns

    def _accepts(self, rows: list[Any]) -> bool:
        """Convert the values of rows in place; False if one of them needs the converter."""
        for field in self._ignored:
            for row in rows:
                setattr(row, field, msgspec.UNSET)
        if not all(text.conform(rows) for text in self._texts):
            return False
        if not all(number.conform(rows) for number in self._numbers):
            return False
        if self._sums:
            for number in self._summed:
                self._sums.add_texts(self._names[number.field], number.texts)
            for name in self._summed_integers:
                self._sums.add_integers(name, self._values(name, rows))
        if self._on_keys:
            self._on_keys(Keys(rows, self._read_keys))
        self._watch.has_rows |= bool(rows)
        if rows and not self._leaves_out_nulls:
            self._watch.missing.clear()
        return True

    def _decode(self, text: bytes) -> list[Any] | None:
        """Decode rows, first assuming that they have all columns, which is faster to check."""
        if self._always_refuses:
            return None
        decoders = [self._decoder]
        if not self._leaves_out_nulls:
            decoders.insert(0, self._whole_decoder)
        for decoder in decoders:
            with suppress(msgspec.DecodeError, RecursionError):
                rows: list[Any] = decoder.decode(text)
                self._leaves_out_nulls = decoder is self._decoder
                return rows
        return None

    def _has_members_once(self, text: bytes, rows: list[Any]) -> bool:
        """Check that no row has a repeated member, of which JSON readers keep only one.

        There are at least as many colons as members, and as many members as fields with values.
        Only texts that contain colons need a closer look.
        """
        came = len(rows) * self._size_of_rows
        if self._leaves_out_nulls:
            for name, get in self._optional.items():
                absent = sum(map(is_, map(get, rows), repeat(_ABSENT)))
                came -= absent
                if absent < len(rows):
                    self._watch.missing.discard(name)
        for field in self._ignored:
            came += sum(getattr(row, field) is not msgspec.UNSET for row in rows)
        if text.count(b":") == came:
            return True
        members = text.count(b'":') - text.count(b'\\":')
        return members == came and b'" :' not in text

    def _values(self, name: str, rows: list[Any]) -> list[Any]:
        values = list(map(self._values_of[name], rows))
        if self._leaves_out_nulls:
            return [None if value is _ABSENT else value for value in values]
        return values

    def ignore(self, columns: set[str]) -> None:
        """Ignore these unrequested columns from now on; new ones must still be noticed."""
        new = sorted(columns - set(self._names.values()))
        if not new or any(map(_NOT_IN_STRUCTS.search, new)):
            return
        kind = msgspec.Raw | msgspec.UnsetType
        self._adds = True  # The structs have fields for ignored columns.
        self._ignored += [self._add_field(name, kind, msgspec.UNSET) for name in new]
        self._make_decoders()

    def _make_decoders(self) -> None:
        self._optional = {
            self._names[field]: attrgetter(field)
            for field, _, default in self._fields
            if default is _ABSENT
        }
        whole = [
            (field, type_, msgspec.NODEFAULT if default is _ABSENT else default)
            for field, type_, default in self._fields
        ]
        self._decoder, self._whole_decoder = map(self._make_decoder, (self._fields, whole))

    def _make_decoder(self, fields: list[tuple[str, Any, Any]]) -> msgspec.json.Decoder[Any]:
        row = msgspec.defstruct(
            "Row", fields, rename=self._names, kw_only=True, gc=False, forbid_unknown_fields=True
        )
        return msgspec.json.Decoder(list[row])  # type: ignore[valid-type]


class _Number:
    """A column of numbers, which structs store as text.

    Attributes:
        field: The struct field.
        texts: The comma-separated numbers of the rows that were read last.
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
        """Convert the numbers to the form in records; False if one needs the converter."""
        texts = list(map(self._text_of, rows))
        self.texts = joined = b",".join(texts)
        # A JSON value of only these characters is a number without an exponent.
        rest = joined.replace(b"null", b"") if self._is_nullable else joined
        if rest.translate(None, b"0123456789.-,"):
            return False
        if _NEGATIVE_ZERO.search(joined):  # As an integer, it is 0.
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
    """A column of texts with a format, which structs store as JSON."""

    def __init__(self, field: str, format_: TextFormat, *, is_nullable: bool) -> None:
        self._text_of = attrgetter(field)
        self._format = format_
        self._is_nullable = is_nullable

    def conform(self, rows: list[Any]) -> bool:
        """Return whether all values have this format."""
        values = b",".join(map(self._text_of, rows))
        return (self._is_nullable or b"null" not in values) and self._format.fits(values)
