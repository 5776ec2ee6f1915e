"""Records -> files of columns: Parquet and Arrow."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tap_sac.singer.files.arrow import ArrowTables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO

    from tap_sac.sac.odata.model import Property
    from tap_sac.singer.files.chunks import Chunk

# Few large files suit what reads them, and memory does not grow with them.
_ROWS_IN_FILE = 500_000
_BYTES_IN_GROUP = 64 * 2**20
# What becomes Arrow at once: enough to be worth it, and not too much to hold as objects, for values
# that do not fit at first.
_ROWS_AT_ONCE = 10_000


class ColumnEncoding(NamedTuple):
    """How tables are written.

    Attributes:
        ending: How the names of the files end.
        rows_in_group: How many rows are written at once, if they are not too large.
        writer: Makes what writes tables with a schema to a file.
    """

    ending: str
    rows_in_group: int
    writer: Callable[[IO[bytes], Any], Any]


def _parquet(ending: str, **compression: Any) -> ColumnEncoding:
    def writer(file: IO[bytes], schema: Any) -> Any:  # noqa: ANN401  (pyarrow has no types)
        from pyarrow import parquet  # noqa: PLC0415  (see ArrowTables)

        # Arrow's own schema would give readers wider decimals than the columns need.
        return parquet.ParquetWriter(file, schema, store_schema=False, **compression)

    # Readers go through a file by row groups, each with its own statistics and dictionaries.
    return ColumnEncoding(ending, 100_000, writer)


def _arrow_writer(file: IO[bytes], schema: Any) -> Any:  # noqa: ANN401
    from pyarrow import ipc  # noqa: PLC0415  (see ArrowTables)

    return ipc.new_file(file, schema)


ARROW = ColumnEncoding("arrow", _ROWS_AT_ONCE, _arrow_writer)
PARQUET = _parquet("parquet", compression="snappy")
# Arrow's own level of gzip takes ten times as long, for files of the same size.
PARQUET_GZIP = _parquet("parquet.gz", compression="gzip", compression_level=1)


class _ColumnFile:
    """A file that is written a group of rows at a time."""

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
        # Many small pieces would be written, and read, as such.
        self._tables.append(self._arrow.table(self._values).combine_chunks())
        self._values, self._size = [], 0

    def _write_group(self) -> None:
        import pyarrow as pa  # noqa: PLC0415  (see ArrowTables)

        table = pa.concat_tables(self._tables)
        self._tables.clear()
        if self._writer is None:
            self._writer = self._encoding.writer(self._file, table.schema)
        # One group, unless more rows came at once.
        groups = max(1, table.num_rows // self._encoding.rows_in_group)
        self._writer.write_table(table, -(-table.num_rows // groups))


class ColumnFormat:
    """The Parquet or Arrow files of a stream.

    Attributes:
        ending: How their names end.
        usual_size: How many records they have by default; None leaves it to the SDK.
    """

    def __init__(
        self, encoding: ColumnEncoding, columns: Sequence[Property], *, has_others: bool
    ) -> None:
        """Choose the types of the columns, as `file_format` is given them.

        Raises:
            SACError: If pyarrow is not installed.
        """
        self._arrow = ArrowTables(columns, has_others=has_others)
        self._encoding = encoding
        self.ending = encoding.ending
        # To infer types, the records of a whole file are held in memory.
        self.usual_size = None if has_others else _ROWS_IN_FILE

    @contextmanager
    def open(self, file: IO[bytes]) -> Iterator[Callable[[Chunk, int | None], None]]:
        """Begin a file, and yield what adds records to it, with their version if they have one.

        Raises:
            DataError: If a value does not fit the type of its column.
        """
        written = _ColumnFile(file, self._arrow, self._encoding)
        try:
            yield written.add
            written.finish()
        finally:
            written.close()
