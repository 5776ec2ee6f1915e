"""Writes records to Parquet and Arrow files, with the types of ``$metadata``.

Values that need no conversion are passed by column, others as JSON lines. (In a run into Parquet,
lines alone would take a fifth more CPU time.)
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from tap_sac.sac.errors import DataError, SACError
from tap_sac.sac.odata.decimals import read_json
from tap_sac.singer.decimal_limits import PrecisionError
from tap_sac.singer.edm import arrow_converter, edm_type
from tap_sac.singer.files.chunks import with_version
from tap_sac.singer.schema import TABLE_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO

    from tap_sac.sac.odata.model import Property
    from tap_sac.singer.files.chunks import Chunk

    # JSON lines, or columns: numbers as comma-separated text, anything else as an array.
    Values = bytes | dict[str, Any]

_MOST_DIGITS = {128: 38, 256: 76}  # the maximum precision of a decimal with so many bits
_ARROW_ERRORS = (ValueError, TypeError, NotImplementedError, OverflowError)
# Readers prefer few large files, and memory does not grow with their size.
_ROWS_IN_FILE = 500_000
_BYTES_IN_GROUP = 64 * 2**20
# The bytes to convert to Arrow at once: worth the call, but not too many as Python objects, which
# values that do not fit at first become.
_ROWS_AT_ONCE = 10_000


class ColumnEncoding(NamedTuple):
    """How to write tables.

    Attributes:
        ending: The end of the file names.
        rows_in_group: The number of rows to write at once, if they are not too large.
        writer: Makes an Arrow writer of a file with a schema.
    """

    ending: str
    rows_in_group: int
    writer: Callable[[IO[bytes], Any], Any]


def _parquet(ending: str, **compression: Any) -> ColumnEncoding:
    def writer(file: IO[bytes], schema: Any) -> Any:  # noqa: ANN401  (pyarrow has no types)
        from pyarrow import parquet  # noqa: PLC0415  (see ArrowTables)

        # Arrow's own schema would give readers decimals wider than necessary.
        return parquet.ParquetWriter(file, schema, store_schema=False, **compression)

    # Files are read by row groups, each with its own statistics and dictionaries.
    return ColumnEncoding(ending, 100_000, writer)


def _arrow_writer(file: IO[bytes], schema: Any) -> Any:  # noqa: ANN401
    from pyarrow import ipc  # noqa: PLC0415  (see ArrowTables)

    return ipc.new_file(file, schema)


ARROW = ColumnEncoding("arrow", _ROWS_AT_ONCE, _arrow_writer)
PARQUET = _parquet("parquet", compression="snappy")
# Arrow's default level of gzip takes ten times as long for files of the same size.
PARQUET_GZIP = _parquet("parquet.gz", compression="gzip", compression_level=1)


class _ColumnFile:
    """A file that is written one row group at a time."""

    def __init__(self, file: IO[bytes], arrow: ArrowTables, encoding: ColumnEncoding) -> None:
        self._file = file
        self._arrow = arrow
        self._encoding = encoding
        self._writer: Any = None
        self._values: list[Any] = []
        self._size = 0
        self._tables: list[Any] = []

    def add(self, chunk: Chunk, version: int | None) -> None:
        self._values.append(self._arrow.values(chunk, version))
        self._size += chunk.size
        if self._arrow.infers_types or self._size < _ROWS_AT_ONCE:
            return
        self._make_table()
        rows = sum(table.num_rows for table in self._tables)
        is_full = rows >= self._encoding.rows_in_group
        if is_full or sum(item.nbytes for item in self._tables) >= _BYTES_IN_GROUP:
            self._write_group()

    def finish(self) -> None:
        if self._values:
            self._make_table()
        if self._tables:
            self._write_group()

    def close(self) -> None:
        if self._writer:
            self._writer.close()

    def _make_table(self) -> None:
        # Small pieces would be written as such, and be slow to read.
        self._tables.append(self._arrow.table(self._values).combine_chunks())
        self._values, self._size = [], 0

    def _write_group(self) -> None:
        import pyarrow as pa  # noqa: PLC0415  (see ArrowTables)

        table = pa.concat_tables(self._tables)
        self._tables.clear()
        if self._writer is None:
            self._writer = self._encoding.writer(self._file, table.schema)
        # One group, unless more rows were added at once.
        groups = max(1, table.num_rows // self._encoding.rows_in_group)
        self._writer.write_table(table, -(-table.num_rows // groups))


class ColumnFormat:
    """The Parquet or Arrow files of a stream.

    Attributes:
        ending: The end of their names.
        usual_size: The default number of records; None leaves it to the SDK.
    """

    def __init__(
        self, encoding: ColumnEncoding, columns: Sequence[Property], *, has_others: bool
    ) -> None:
        """Choose the types of the columns, as `ArrowTables` does."""
        self._arrow = ArrowTables(columns, has_others=has_others)
        self._encoding = encoding
        self.ending = encoding.ending
        # Inferring types needs the records of a whole file in memory.
        self.usual_size = None if has_others else _ROWS_IN_FILE

    @contextmanager
    def open(self, file: IO[bytes]) -> Iterator[Callable[[Chunk, int | None], None]]:
        """Start a file, and yield a function that adds records, with their version if any.

        Raises:
            DataError: If a value does not fit the type of its column.
        """
        with closing(_ColumnFile(file, self._arrow, self._encoding)) as written:
            yield written.add
            written.finish()


class ArrowTables:
    """Makes the Arrow tables of a stream.

    Attributes:
        infers_types: Whether Arrow must infer types, which must then fit the whole file.
    """

    def __init__(self, columns: Sequence[Property], *, has_others: bool) -> None:
        """Choose the types of the columns, or raise a `SACError` if pyarrow is not installed."""
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
        """Read the values of a chunk, which must fit, and take less memory than its records."""
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
        """Make a table of the values of some chunks; a `DataError` if one does not fit."""
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
        """Read comma-separated JSON numbers without exponents, or null."""
        from pyarrow import compute  # noqa: PLC0415  (see __init__)

        arrow = self._types[name]
        strings = compute.split_pattern(self._pa.scalar(texts, self._pa.string()), ",").values
        if b"null" in texts:
            strings = compute.if_else(compute.equal(strings, "null"), None, strings)
        if self._pa.types.is_decimal(arrow):
            # With more digits, Arrow's multiplication could overflow unnoticed.
            longest = compute.max(compute.binary_length(strings)).as_py() or 0
            if longest + arrow.scale > _MOST_DIGITS[arrow.bit_width]:
                return self._array(name, strings.to_pylist())
        try:
            return strings.cast(arrow)
        except _ARROW_ERRORS:
            return self._array(name, strings.to_pylist())

    def _of_lines(self, lines: bytes) -> dict[str, Any]:
        """Read the columns of records that are JSON lines."""
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
