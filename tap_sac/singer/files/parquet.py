"""Records -> Parquet files. A row group is written while the records of the next one come."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tap_sac.singer.files.arrow import ArrowTables
from tap_sac.singer.files.background_writer import writing_behind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import IO

    from tap_sac.sac.odata.model import Property
    from tap_sac.singer.files.arrow import Values
    from tap_sac.singer.files.chunks import Chunk

# Few large files suit what reads them, and memory does not grow with them.
_ROWS_IN_FILE = 500_000
# Readers go through a file by row groups, each with its own statistics and dictionaries.
_ROWS_IN_GROUP = 100_000
_BYTES_IN_GROUP = 64 * 2**20
# What goes to the thread that writes: enough to be worth it, and not too much to hold as objects,
# for values that do not fit at first.
_ROWS_AT_ONCE = 10_000
_SNAPPY: dict[str, Any] = {"compression": "snappy"}
# Arrow's own level of gzip takes ten times as long, for files of the same size.
_GZIP: dict[str, Any] = {"compression": "gzip", "compression_level": 1}


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
        import pyarrow as pa  # noqa: PLC0415  (see ArrowTables)
        from pyarrow import parquet  # noqa: PLC0415

        if not self._tables:
            return
        table = pa.concat_tables(self._tables)
        self._tables.clear()
        if self._writer is None:
            # Arrow's own schema would give readers wider decimals than the columns need.
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
        self._tables = ArrowTables(columns, has_others=has_others)
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
        tables = self._tables
        groups = _RowGroups(file, self._compression)
        waiting: list[Values] = []
        size = 0

        def add(chunk: Chunk, version: int | None) -> None:
            nonlocal waiting, size
            waiting.append(tables.values(chunk, version))
            size += chunk.size
            if not tables.infers_types and size >= _ROWS_AT_ONCE:
                some, waiting, size = waiting, [], 0
                write_next(some)

        def write(some: list[Values]) -> None:
            groups.add(tables.table(some))

        try:
            with writing_behind(write) as write_next:
                yield add
                if waiting:
                    write_next(waiting)
            groups.write()
        finally:
            groups.close()
