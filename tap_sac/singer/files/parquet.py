"""Records -> Parquet files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tap_sac.singer.files.arrow import ArrowTables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import IO

    from tap_sac.sac.odata.model import Property
    from tap_sac.singer.files.chunks import Chunk

# Few large files suit what reads them, and memory does not grow with them.
_ROWS_IN_FILE = 500_000
# Readers go through a file by row groups, each with its own statistics and dictionaries.
_ROWS_IN_GROUP = 100_000
_BYTES_IN_GROUP = 64 * 2**20
# What becomes Arrow at once: enough to be worth it, and not too much to hold as objects, for values
# that do not fit at first.
_ROWS_AT_ONCE = 10_000
_SNAPPY: dict[str, Any] = {"compression": "snappy"}
# Arrow's own level of gzip takes ten times as long, for files of the same size.
_GZIP: dict[str, Any] = {"compression": "gzip", "compression_level": 1}


class _ParquetFile:
    """A file that is written a row group at a time."""

    def __init__(self, file: IO[bytes], arrow: ArrowTables, compression: Mapping[str, Any]) -> None:
        self._file = file
        self._arrow = arrow
        self._compression = compression
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
        if rows >= _ROWS_IN_GROUP or sum(item.nbytes for item in self._tables) >= _BYTES_IN_GROUP:
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
        self._tables.append(self._arrow.table(self._values))
        self._values, self._size = [], 0

    def _write_group(self) -> None:
        import pyarrow as pa  # noqa: PLC0415  (see ArrowTables)
        from pyarrow import parquet  # noqa: PLC0415

        table = pa.concat_tables(self._tables)
        self._tables.clear()
        if self._writer is None:
            # Arrow's own schema would give readers wider decimals than the columns need.
            self._writer = parquet.ParquetWriter(
                self._file, table.schema, store_schema=False, **self._compression
            )
        # One group, unless more rows came at once.
        groups = max(1, table.num_rows // _ROWS_IN_GROUP)
        self._writer.write_table(table, row_group_size=-(-table.num_rows // groups))


class ParquetFormat:
    """The Parquet files of a stream.

    Attributes:
        ending: How their names end.
        usual_size: How many records they have by default; None leaves it to the SDK.
    """

    def __init__(self, columns: Sequence[Property], *, has_others: bool, is_gzip: bool) -> None:
        """Choose the types of the columns and the compression.

        Args:
            columns: The columns of the records whose types are known.
            has_others: Whether there may be others, such as those of a stream map.
            is_gzip: Whether files are compressed with gzip.

        Raises:
            SACError: If pyarrow is not installed.
        """
        self._arrow = ArrowTables(columns, has_others=has_others)
        self._compression = _GZIP if is_gzip else _SNAPPY
        self.ending = "parquet.gz" if is_gzip else "parquet"
        # To infer types, the records of a whole file are held in memory.
        self.usual_size = None if has_others else _ROWS_IN_FILE

    @contextmanager
    def open(self, file: IO[bytes]) -> Iterator[Callable[[Chunk, int | None], None]]:
        """Begin a file, and yield what adds records to it, with their version if they have one.

        Raises:
            DataError: If a value does not fit the type of its column.
        """
        written = _ParquetFile(file, self._arrow, self._compression)
        try:
            yield written.add
            written.finish()
        finally:
            written.close()
