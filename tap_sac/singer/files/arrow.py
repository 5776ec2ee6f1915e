"""Records -> Arrow tables, with the types of ``$metadata``.

Values come by column where they need no conversion, and as JSON lines where they do. (In a whole
run into Parquet, lines alone would take a fifth more CPU time.)
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import DataError, SACError
from tap_sac.sac.odata.decimals import ENCODER, ExactDecimal, read_json
from tap_sac.singer.decimal_limits import PrecisionError
from tap_sac.singer.edm import decimal_fitter, edm_type
from tap_sac.singer.schema import TABLE_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tap_sac.sac.odata.model import Property
    from tap_sac.singer.files.chunks import Chunk

# Few texts contain it.
_SEPARATOR = "\x1f"
_MOST_DIGITS = {128: 38, 256: 76}  # of a decimal with so many bits
_ARROW_ERRORS = (ValueError, TypeError, NotImplementedError, OverflowError)


@dataclass(frozen=True)
class Values:
    """The values of some records, in a form that Arrow can take apart without Python.

    Attributes:
        values: The records as JSON lines, or by column: texts with `_SEPARATOR` between, numbers
            with commas between as bytes, and anything else as an Arrow array.
        size: How many records they are.
        version: The version of the records, if they have one.
    """

    values: bytes | dict[str, Any]
    size: int
    version: int | None


class ArrowTables:
    """Makes the Arrow tables of a stream.

    Attributes:
        infers_types: Whether Arrow has to infer types, which must then fit a whole file.
    """

    def __init__(self, columns: Sequence[Property], *, has_others: bool) -> None:
        """Choose the types of the columns.

        Args:
            columns: The columns of the records whose types are known.
            has_others: Whether there may be others, such as those of a stream map.

        Raises:
            SACError: If pyarrow is not installed.
        """
        try:
            import pyarrow as pa  # noqa: PLC0415  (an extra, which only Parquet needs)
        except ImportError:
            msg = (
                "The setting batch_config asks for Parquet, which needs pyarrow: install "
                "tap-sac[parquet], or use the format jsonl."
            )
            raise SACError(msg) from None
        self.infers_types = has_others
        self._pa = pa
        self._types = {column.name: edm_type(column).arrow(pa, column) for column in columns}
        self._columns = {column.name: column for column in columns}

    def values(self, chunk: Chunk, version: int | None) -> Values:
        """Read the values of a chunk, which are smaller than its records.

        Args:
            chunk: The records.
            version: Their version, if they have one.

        Raises:
            DataError: If a value does not fit.
        """
        values: Any = chunk.lines() if self.infers_types else chunk.columns()
        if not isinstance(values, bytes):
            values = {
                name: column if isinstance(column, bytes) else self._compact(name, column)
                for name, column in values.items()
                if name in self._types
            }
        return Values(values, chunk.size, version)

    def table(self, chunks: list[Values]) -> Any:  # noqa: ANN401  (pyarrow has no types)
        """Make a table of values that came by column and of values that came as lines, in order.

        Raises:
            DataError: If a value does not fit.
        """
        tables = []
        for is_lines, run in groupby(chunks, lambda chunk: isinstance(chunk.values, bytes)):
            some = list(run)
            columns = self._of_lines(some) if is_lines else self._of_columns(some)
            tables.append(self._pa.table(columns))
        return self._pa.concat_tables(tables)

    def _compact(self, name: str, values: list[Any]) -> Any:  # noqa: ANN401
        if self._types[name] == self._pa.string() and None not in values:
            text = _SEPARATOR.join(values)
            if text.count(_SEPARATOR) == len(values) - 1:
                return text
        try:
            return self._pa.array(values, self._types[name])
        except _ARROW_ERRORS as error:
            raise _misfit_error(error) from None

    def _versions(self, chunks: list[Values]) -> Any:  # noqa: ANN401
        pa = self._pa
        return pa.chunked_array(
            [pa.repeat(pa.scalar(chunk.version, pa.int64()), chunk.size) for chunk in chunks]
        )

    def _of_columns(self, chunks: list[Values]) -> dict[str, Any]:
        """Join the columns of records that came by column."""
        by_column: Any = [chunk.values for chunk in chunks]
        columns = {}
        for name, arrow in self._types.items():
            if name == TABLE_VERSION.name and name not in by_column[0]:
                columns[name] = self._versions(chunks)
                continue
            pieces = [values[name] for values in by_column]
            if isinstance(pieces[0], bytes):
                columns[name] = self._numbers(b",".join(pieces), self._columns[name])
            elif all(isinstance(piece, str) for piece in pieces):
                columns[name] = self._split(_SEPARATOR.join(pieces), _SEPARATOR)
            else:
                arrays = (
                    self._split(piece, _SEPARATOR) if isinstance(piece, str) else piece
                    for piece in pieces
                )
                columns[name] = self._pa.chunked_array(arrays, arrow)
        return columns

    def _split(self, texts: str | bytes, separator: str) -> Any:  # noqa: ANN401
        from pyarrow import compute  # noqa: PLC0415  (see __init__)

        return compute.split_pattern(self._pa.scalar(texts, self._pa.string()), separator).values

    def _numbers(self, texts: bytes, column: Property) -> Any:  # noqa: ANN401
        """Read numbers.

        Args:
            texts: The numbers as in JSON, without exponents, or null, with commas between.
            column: Their column.
        """
        from pyarrow import compute  # noqa: PLC0415  (see __init__)

        arrow = self._types[column.name]
        strings = self._split(texts, ",")
        if b"null" in texts:
            strings = compute.if_else(compute.equal(strings, "null"), None, strings)
        if self._pa.types.is_decimal(arrow):
            # With more digits, Arrow multiplies by ten to the scale without checking for overflow.
            longest = compute.max(compute.binary_length(strings)).as_py() or 0
            if longest + arrow.scale > _MOST_DIGITS[arrow.bit_width]:
                return self._fitted(strings.to_pylist(), column)
        try:
            return strings.cast(arrow)
        except _ARROW_ERRORS:
            return self._fitted(strings.to_pylist(), column)

    def _fitted(self, texts: list[str | None], column: Property) -> Any:  # noqa: ANN401
        """Read numbers one by one, without trailing zeros that exceed the scale."""
        fit = decimal_fitter(column) or (lambda value: value)
        try:
            values = [None if text is None else fit(ExactDecimal(text)) for text in texts]
            return self._pa.array(values, self._types[column.name])
        except PrecisionError as error:
            raise _precision_error(error) from None
        except _ARROW_ERRORS as error:
            raise _misfit_error(error) from None

    def _of_lines(self, chunks: list[Values]) -> dict[str, Any]:
        """Read the columns of records that came as lines."""
        lines = b"".join(chunk.values for chunk in chunks if isinstance(chunk.values, bytes))
        columns = self._read_fitting(lines)
        if self.infers_types:
            columns |= self._other_columns(lines)
        if chunks[0].version is not None:
            columns[TABLE_VERSION.name] = self._versions(chunks)
        return columns

    def _read_fitting(self, lines: bytes) -> dict[str, Any]:
        """Read the known columns, if need be without trailing zeros that exceed the scale.

        Arrow counts such zeros as digits, and refuses more digits than the precision.
        """
        try:
            try:
                return self._known_columns(lines)
            except ValueError:
                return self._known_columns(_without_zeros(lines, self._columns.values()))
        except PrecisionError as error:
            raise _precision_error(error) from None
        except _ARROW_ERRORS as error:
            raise _misfit_error(error) from None

    def _known_columns(self, lines: bytes) -> dict[str, Any]:
        """Read the columns whose types are known; others are ignored."""
        from pyarrow import json  # noqa: PLC0415  (see __init__)

        if not self._types:
            return {}
        table = json.read_json(
            io.BytesIO(lines),
            json.ReadOptions(block_size=len(lines) + 1),
            json.ParseOptions(
                explicit_schema=self._pa.schema(self._types), unexpected_field_behavior="ignore"
            ),
        )
        table.validate(full=True)  # The reader does not check digits that the scale adds.
        return {name: table[name] for name in self._types}

    def _other_columns(self, lines: bytes) -> dict[str, Any]:
        """Read the other columns, with the types that Arrow infers.

        Arrow's own reader would make floats of all numbers with a point, and lose digits.
        """
        records = [read_json(line) for line in lines.splitlines()]
        names = dict.fromkeys(
            name for record in records for name in record if name not in self._types
        )
        try:
            return {
                name: self._pa.array([record.get(name) for record in records]) for name in names
            }
        except _ARROW_ERRORS as error:
            raise _misfit_error(error) from None


def _without_zeros(lines: bytes, columns: Iterable[Property]) -> bytes:
    """Write lines again, without trailing zeros that exceed the scale."""
    rows = [read_json(line) for line in lines.splitlines()]
    for column in columns:
        if fit := decimal_fitter(column):
            for row in rows:
                if row.get(column.name) is not None:
                    row[column.name] = fit(row[column.name])
    return ENCODER.encode_lines(rows)


def _misfit_error(error: Exception) -> DataError:
    msg = (
        f"A value does not fit the type of its column for Parquet ({error}): "
        "use the format jsonl, or deselect the column."
    )
    return DataError(msg)


def _precision_error(error: PrecisionError) -> DataError:
    limits = error.limits
    missing = " and no ".join(limits.undeclared)
    source = f", because $metadata declares no {missing}" if missing else " from $metadata"
    return DataError(
        f"The column {limits.column} does not fit into Parquet: {error}, but the file has "
        f"precision {limits.precision} and scale {limits.scale}{source}: use the format jsonl, or "
        "deselect the column."
    )
