"""Records -> Parquet files, with the types of ``$metadata``.

Values come by column where they need no conversion, and as JSON lines where they do. A row group is
filled from both, and written while the next one comes.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import DataError, SACError
from tap_sac.sac.odata.decimals import ENCODER, ExactDecimal, read_json
from tap_sac.singer.decimal_limits import NoRoomError
from tap_sac.singer.edm import decimal_fitter, edm_type
from tap_sac.singer.files.background_writer import writing_behind
from tap_sac.singer.schema import TABLE_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import IO

    from tap_sac.sac.odata.model import Property
    from tap_sac.singer.files.chunks import Portion

# Few large files suit what reads them, and memory does not grow with them.
_ROWS_IN_FILE = 500_000
# Readers go through a file by row groups, each with its own statistics and dictionaries.
_ROWS_IN_GROUP = 100_000
_BYTES_IN_GROUP = 64 * 2**20
# Few texts hold it.
_SEPARATOR = "\x1f"
# What goes to the thread that writes: enough to be worth it, and not too much to hold as objects,
# for values that do not fit at first.
_ROWS_AT_ONCE = 10_000
_SNAPPY: dict[str, Any] = {"compression": "snappy"}
# Arrow's own level of gzip takes ten times as long, for files of the same size.
_GZIP: dict[str, Any] = {"compression": "gzip", "compression_level": 1}
_MOST_DIGITS = {128: 38, 256: 76}  # of a decimal of so many bits
# What Arrow's errors are.
_ARROW_ERRORS = (ValueError, TypeError, NotImplementedError, OverflowError)


@dataclass(frozen=True)
class _Piece:
    """Some records.

    Attributes:
        values: They as JSON lines, or by column: texts with `_SEPARATOR` between, numbers with
            commas between as bytes, and anything else as an Arrow array.
        size: How many they are.
        version: Their version, if they have one.
    """

    values: bytes | dict[str, Any]
    size: int
    version: int | None


class _RowGroups:
    """The row groups of a file, which are written when they are full."""

    def __init__(self, file: IO[bytes], compression: Mapping[str, Any]) -> None:
        self._file = file
        self._compression = compression
        self._writer: Any = None
        self._tables: list[Any] = []

    def add(self, table: Any) -> None:  # noqa: ANN401  (pyarrow has no types)
        self._tables.append(table)
        size = sum(item.num_rows for item in self._tables)
        if size >= _ROWS_IN_GROUP or sum(item.nbytes for item in self._tables) >= _BYTES_IN_GROUP:
            self.write()

    def write(self) -> None:
        """Write what there is, as one group unless it came at once as more."""
        import pyarrow as pa  # noqa: PLC0415  (see ParquetFormat)
        from pyarrow import parquet  # noqa: PLC0415

        if not self._tables:
            return
        table = pa.concat_tables(self._tables)
        self._tables.clear()
        if self._writer is None:
            # Arrow's own schema would tell readers of wider decimals than the columns need.
            self._writer = parquet.ParquetWriter(
                self._file, table.schema, store_schema=False, **self._compression
            )
        groups = max(1, table.num_rows // _ROWS_IN_GROUP)
        self._writer.write_table(table, row_group_size=-(-table.num_rows // groups))

    def close(self) -> None:
        if self._writer:
            self._writer.close()


class ParquetFormat:
    """The Parquet files of a stream.

    Attributes:
        ending: What their names end with.
        usual_size: How many records they have, unless somebody says it; None if that is not for us.
    """

    def __init__(self, columns: Sequence[Property], *, has_others: bool, is_gzip: bool) -> None:
        """Find the types of its columns.

        Args:
            columns: The columns of the records whose types are known.
            has_others: Whether there may be others, such as those of a stream map.
            is_gzip: Whether files are compressed with gzip.

        Raises:
            SACError: If pyarrow is not installed.
        """
        try:
            import pyarrow as pa  # noqa: PLC0415  (an extra, which only this format needs)
        except ImportError:
            msg = (
                "The setting batch_config asks for Parquet, which needs pyarrow: install "
                "tap-sac[parquet], or use the format jsonl."
            )
            raise SACError(msg) from None
        self._pa = pa
        self._types = {column.name: edm_type(column).arrow(pa, column) for column in columns}
        self._columns = {column.name: column for column in columns}
        self.ending = "parquet.gz" if is_gzip else "parquet"
        self._compression = _GZIP if is_gzip else _SNAPPY
        self._finds_types = has_others
        # If types are found, the records of a whole file are in memory.
        self.usual_size = None if self._finds_types else _ROWS_IN_FILE

    @contextmanager
    def open(self, file: IO[bytes]) -> Iterator[Callable[[Portion, int | None], None]]:
        """Begin a file, and give what adds records to it, with their version if they have one.

        Raises:
            DataError: If a value does not fit the type of its column.
        """
        groups = _RowGroups(file, self._compression)
        waiting: list[_Piece] = []

        def add(portion: Portion, version: int | None) -> None:
            nonlocal waiting
            waiting.append(self._piece(portion, version))
            # A type that is found must fit the whole file.
            if not self._finds_types and sum(piece.size for piece in waiting) >= _ROWS_AT_ONCE:
                pieces, waiting = waiting, []
                take(pieces)

        def write(pieces: list[_Piece]) -> None:
            groups.add(self._table(pieces))

        try:
            with writing_behind(write) as take:
                yield add
                if waiting:
                    take(waiting)
            groups.write()
        finally:
            groups.close()

    def _piece(self, portion: Portion, version: int | None) -> _Piece:
        values: Any = portion.lines() if self._finds_types else portion.columns()
        if not isinstance(values, bytes):
            values = {
                name: column if isinstance(column, bytes) else self._compact(name, column)
                for name, column in values.items()
                if name in self._types
            }
        return _Piece(values, portion.size, version)

    def _compact(self, name: str, values: list[Any]) -> Any:  # noqa: ANN401  (pyarrow has no types)
        """Hold values in one object: texts in a form that Arrow takes apart without Python."""
        if self._types[name] == self._pa.string() and None not in values:
            text = _SEPARATOR.join(values)
            if text.count(_SEPARATOR) == len(values) - 1:
                return text
        try:
            return self._pa.array(values, self._types[name])
        except _ARROW_ERRORS as error:
            raise _misfit_error(error) from None

    def _table(self, pieces: list[_Piece]) -> Any:  # noqa: ANN401
        """Make a table of what came by column and of what came as lines, in order.

        Raises:
            DataError: If a value does not fit.
        """
        tables = []
        for is_lines, run in groupby(pieces, lambda piece: isinstance(piece.values, bytes)):
            some = list(run)
            columns = self._of_lines(some) if is_lines else self._of_columns(some)
            tables.append(self._pa.table(columns))
        return self._pa.concat_tables(tables)

    def _versions(self, pieces: list[_Piece]) -> Any:  # noqa: ANN401
        pa = self._pa
        return pa.chunked_array(
            [pa.repeat(pa.scalar(piece.version, pa.int64()), piece.size) for piece in pieces]
        )

    def _of_columns(self, pieces: list[_Piece]) -> dict[str, Any]:
        """Put together the columns of records that came by column.

        Raises:
            DataError: If a number does not fit its type.
        """
        by_column: Any = [piece.values for piece in pieces]
        columns = {}
        for name, arrow in self._types.items():
            if name == TABLE_VERSION.name and name not in by_column[0]:
                columns[name] = self._versions(pieces)
                continue
            parts = [values[name] for values in by_column]
            if isinstance(parts[0], bytes):
                columns[name] = self._numbers(b",".join(parts), self._columns[name])
            elif all(isinstance(part, str) for part in parts):
                columns[name] = self._split(_SEPARATOR.join(parts), _SEPARATOR)
            else:
                arrays = (
                    self._split(part, _SEPARATOR) if isinstance(part, str) else part
                    for part in parts
                )
                columns[name] = self._pa.chunked_array(arrays, arrow)
        return columns

    def _split(self, texts: str | bytes, separator: str) -> Any:  # noqa: ANN401
        from pyarrow import compute  # noqa: PLC0415  (see __init__)

        return compute.split_pattern(self._pa.scalar(texts, self._pa.string()), separator).values

    def _numbers(self, texts: bytes, column: Property) -> Any:  # noqa: ANN401
        """Read numbers.

        Args:
            texts: They as JSON has them, without exponents, or null, with commas between.
            column: Their column.

        Raises:
            DataError: If one of them does not fit.
        """
        from pyarrow import compute  # noqa: PLC0415  (see __init__)

        arrow = self._types[column.name]
        strings = self._split(texts, ",")
        if b"null" in texts:
            strings = compute.if_else(compute.equal(strings, "null"), None, strings)
        if self._pa.types.is_decimal(arrow):
            # Beyond that, Arrow multiplies by ten to the scale without a look at what overflows.
            longest = compute.max(compute.binary_length(strings)).as_py() or 0
            if longest + arrow.scale > _MOST_DIGITS[arrow.bit_width]:
                return self._fitted(strings.to_pylist(), column)
        try:
            return strings.cast(arrow)
        except _ARROW_ERRORS:
            return self._fitted(strings.to_pylist(), column)

    def _fitted(self, texts: list[str | None], column: Property) -> Any:  # noqa: ANN401
        """Read numbers one by one, without zeros that a decimal has no room for.

        Raises:
            DataError: If one of them does not fit.
        """
        fit = decimal_fitter(column) or (lambda value: value)
        try:
            values = [None if text is None else fit(ExactDecimal(text)) for text in texts]
            return self._pa.array(values, self._types[column.name])
        except NoRoomError as error:
            raise _no_room_error(error) from None
        except _ARROW_ERRORS as error:
            raise _misfit_error(error) from None

    def _of_lines(self, pieces: list[_Piece]) -> dict[str, Any]:
        """Read the columns of records that came as lines.

        Raises:
            DataError: If a value does not fit.
        """
        lines = b"".join(piece.values for piece in pieces if isinstance(piece.values, bytes))
        columns = self._read_fitting(lines)
        if self._finds_types:
            columns |= self._other_columns(lines)
        if pieces[0].version is not None:
            columns[TABLE_VERSION.name] = self._versions(pieces)
        return columns

    def _read_fitting(self, lines: bytes) -> dict[str, Any]:
        """Read the columns whose types are known, if need be without zeros that have no room.

        Arrow counts such zeros as digits, and refuses more digits than the precision.

        Raises:
            DataError: If a value does not fit.
        """
        try:
            try:
                return self._known_columns(lines)
            except ValueError:
                return self._known_columns(_without_zeros(lines, self._columns.values()))
        except NoRoomError as error:
            raise _no_room_error(error) from None
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
        table.validate(full=True)  # The reader does not see digits that the scale adds.
        return {name: table[name] for name in self._types}

    def _other_columns(self, lines: bytes) -> dict[str, Any]:
        """Read the other columns, with the types that Arrow finds.

        Arrow's own reader would make floats of all numbers with a point, and lose digits.

        Raises:
            DataError: If the values of a column have no type in common.
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


def _misfit_error(error: Exception) -> DataError:
    msg = (
        f"A value does not fit the type of its column for Parquet ({error}): "
        "use the format jsonl, or deselect the column."
    )
    return DataError(msg)


def _without_zeros(lines: bytes, columns: Iterable[Property]) -> bytes:
    """Write lines again, as Arrow can read them.

    Raises:
        NoRoomError: If other digits than zeros have no room.
        ValueError: If there is another value that cannot be read.
    """
    rows = [read_json(line) for line in lines.splitlines()]
    for column in columns:
        if fit := decimal_fitter(column):
            for row in rows:
                if row.get(column.name) is not None:
                    row[column.name] = fit(row[column.name])
    return ENCODER.encode_lines(rows)


def _no_room_error(error: NoRoomError) -> DataError:
    room = error.room
    missing = " and no ".join(room.undeclared)
    source = f", because $metadata declares no {missing}" if missing else " from $metadata"
    return DataError(
        f"The column {room.column} does not fit into Parquet: {error}, but the file has "
        f"precision {room.precision} and scale {room.scale}{source}: use the format jsonl, or "
        "deselect the column."
    )
