"""Records -> Arrow tables, with the types of ``$metadata``.

Values come by column where they need no conversion, and as JSON lines where they do. (In a whole
run into Parquet, lines alone would take a fifth more CPU time.)
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import DataError, SACError
from tap_sac.sac.odata.decimals import read_json
from tap_sac.singer.decimal_limits import PrecisionError
from tap_sac.singer.edm import arrow_converter, edm_type
from tap_sac.singer.files.chunks import with_version
from tap_sac.singer.schema import TABLE_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_sac.sac.odata.model import Property
    from tap_sac.singer.files.chunks import Chunk

    # JSON lines, or by column: numbers as texts with commas between, and anything else as an array.
    Values = bytes | dict[str, Any]

_MOST_DIGITS = {128: 38, 256: 76}  # of a decimal with so many bits
_ARROW_ERRORS = (ValueError, TypeError, NotImplementedError, OverflowError)


class ArrowTables:
    """Makes the Arrow tables of a stream.

    Attributes:
        infers_types: Whether Arrow has to infer types, which must then fit a whole file.
    """

    def __init__(self, columns: Sequence[Property], *, has_others: bool) -> None:
        """Choose the types of the columns, as `file_format` is given them.

        Raises:
            SACError: If pyarrow is not installed.
        """
        try:
            import pyarrow as pa  # noqa: PLC0415  (an extra)
        except ImportError:
            msg = (
                "The setting batch_config asks for Parquet or Arrow files, which need pyarrow: "
                "install tap-sac[parquet], or use the format jsonl."
            )
            raise SACError(msg) from None
        self.infers_types = has_others
        self._pa = pa
        self._types = {column.name: edm_type(column).arrow(pa, column) for column in columns}
        self._from_text = {pa.date32(), pa.timestamp("us", tz="UTC")}
        self._converts = {column.name: arrow_converter(column) for column in columns}

    def values(self, chunk: Chunk, version: int | None) -> Values:
        """Read the values of a chunk, which are smaller than its records.

        Raises:
            DataError: If a value does not fit.
        """
        if self.infers_types:
            return with_version(chunk.lines(), version)
        columns = chunk.columns()
        if isinstance(columns, bytes):
            return self._of_lines(with_version(columns, version))
        if version is not None:
            columns[TABLE_VERSION.name] = [version] * chunk.size
        return {
            name: column if isinstance(column, bytes) else self._array(name, column)
            for name, column in columns.items()
            if name in self._types
        }

    def table(self, chunks: list[Any]) -> Any:  # noqa: ANN401  (pyarrow has no types)
        """Make a table of the values of some chunks.

        Raises:
            DataError: If a value does not fit.
        """
        if self.infers_types:
            return self._pa.table(self._of_lines(b"".join(chunks)))
        columns = {
            name: self._joined(name, [chunk[name] for chunk in chunks]) for name in self._types
        }
        return self._pa.table(columns)

    def _joined(self, name: str, pieces: list[Any]) -> Any:  # noqa: ANN401
        arrays: list[Any] = []
        for is_text, run in groupby(pieces, lambda piece: isinstance(piece, bytes)):
            some = list(run)
            arrays += [self._numbers(name, b",".join(some))] if is_text else some
        return self._pa.chunked_array(arrays, self._types[name])

    def _numbers(self, name: str, texts: bytes) -> Any:  # noqa: ANN401
        """Read numbers as in JSON, without exponents, or null, with commas between."""
        from pyarrow import compute  # noqa: PLC0415  (see __init__)

        arrow = self._types[name]
        strings = compute.split_pattern(self._pa.scalar(texts, self._pa.string()), ",").values
        if b"null" in texts:
            strings = compute.if_else(compute.equal(strings, "null"), None, strings)
        if self._pa.types.is_decimal(arrow):
            # With more digits, Arrow multiplies by ten to the scale without checking for overflow.
            longest = compute.max(compute.binary_length(strings)).as_py() or 0
            if longest + arrow.scale > _MOST_DIGITS[arrow.bit_width]:
                return self._array(name, strings.to_pylist())
        try:
            return strings.cast(arrow)
        except _ARROW_ERRORS:
            return self._array(name, strings.to_pylist())

    def _of_lines(self, lines: bytes) -> dict[str, Any]:
        """Read the columns of records that came as lines."""
        records = [read_json(line) for line in lines.splitlines()]
        names = dict.fromkeys(self._types)
        if self.infers_types:
            names |= dict.fromkeys(name for record in records for name in record)
        return {name: self._array(name, [record.get(name) for record in records]) for name in names}

    def _array(self, name: str, values: list[Any]) -> Any:  # noqa: ANN401
        convert = self._converts.get(name)
        try:
            if convert:
                values = [None if value is None else convert(value) for value in values]
            arrow = self._types.get(name)
            if arrow in self._from_text:
                return self._pa.array(values, self._pa.string()).cast(arrow)
            return self._pa.array(values, arrow)
        except PrecisionError as error:
            raise _precision_error(error) from None
        except _ARROW_ERRORS as error:
            msg = (
                f"A value of the column {name} does not fit its type in the batch file ({error}): "
                "use the format jsonl, or deselect the column."
            )
            raise DataError(msg) from None


def _precision_error(error: PrecisionError) -> DataError:
    limits = error.limits
    missing = " and no ".join(limits.undeclared)
    source = f", because $metadata declares no {missing}" if missing else " from $metadata"
    return DataError(
        f"The column {limits.column} does not fit into the batch file: {error}, but it has "
        f"precision {limits.precision} and scale {limits.scale}{source}: use the format jsonl, or "
        "deselect the column."
    )
