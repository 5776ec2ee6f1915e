"""Records -> files of BATCH messages, many at a time.

The names and contents of the files are those of the SDK's own batch encoders, with two differences.
Records carry the version that RECORD messages have beside the record, in the column that targets
keep it in. Parquet has the types of ``$metadata``: those that are guessed from values differ from
file to file.
"""

from __future__ import annotations

import gzip
import io
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Protocol

from tap_sac.sac.decimals import ENCODER, read_json
from tap_sac.sac.errors import DataError, SACError
from tap_sac.sac.model import Property
from tap_sac.singer.edm import arrow_type, parquet_fitter
from tap_sac.singer.scales import NoRoomError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import ModuleType

    from pyarrow import DataType

    from tap_sac.singer.portions import Portion

    WriteLines = Callable[[bytes], Any]
    OpenLines = Callable[[IO[bytes]], AbstractContextManager[WriteLines]]

FORMATS = {"jsonl", "parquet"}

# The Singer SDK's name for the version of a row, which targets compare with ACTIVATE_VERSION.
TABLE_VERSION = Property("_sdc_table_version", "Edm.Int64")

# zlib's default levels are slower than the rest of the tap, for files of a similar size.
_GZIP_LEVEL = 1


class Storage(Protocol):
    """Where files go: the SDK's storage target."""

    prefix: str | None

    def get_url(self, filename: str) -> str:
        """Return the URL of a file."""

    def open(self, filename: str, mode: str) -> AbstractContextManager[IO[Any]]:
        """Open a file."""


def with_version(lines: bytes, version: int | None) -> bytes:
    """Add the version, if there is one, to records that are written as JSON lines."""
    if version is None:
        return lines
    comma = b"" if lines.startswith(b"{}\n") else b","
    end = b'%b"%b":%d}\n' % (comma, TABLE_VERSION.name.encode(), version)
    # A newline only follows a record. (bytes.replace takes twice as long.)
    return end.join(lines.split(b"}\n"))


def write_files(
    portions: Iterable[Portion],
    storage: Storage,
    name: str,
    columns: Sequence[Property],
    *,
    has_others: bool,
    is_parquet: bool,
    is_gzip: bool,
    version: Callable[[], int | None],
) -> Generator[str, None, None]:
    """Write records to files, one for each period that has some.

    Args:
        portions: The records.
        storage: Where the files go.
        name: What the names of the files begin with.
        columns: The columns whose types are known.
        has_others: Whether records have other columns too.
        is_parquet: Whether they are Parquet files, instead of JSON lines.
        is_gzip: Whether they are compressed with gzip.
        version: Says which version the records have, once the first one has come.

    Yields:
        The URL of each file, when it is complete.

    Raises:
        DataError: As `batch_file` does.
        SACError: As `batch_file` does.
    """
    url = ""
    with ExitStack() as open_file:
        for portion in portions:
            if portion.size and not url:
                url, write = open_file.enter_context(
                    batch_file(
                        storage,
                        f"{name}-{portion.number + 1}",
                        columns,
                        has_others=has_others,
                        is_parquet=is_parquet,
                        is_gzip=is_gzip,
                    )
                )
            if portion.size:
                write(with_version(portion.lines(), version()))
            if portion.ends_period and url:
                open_file.close()
                yield url
                url = ""
        if url:
            open_file.close()
            yield url


@contextmanager
def batch_file(
    storage: Storage,
    name: str,
    columns: Sequence[Property],
    *,
    has_others: bool,
    is_parquet: bool,
    is_gzip: bool,
) -> Iterator[tuple[str, WriteLines]]:
    """Make a file, and give its URL and what writes JSON lines to it.

    Args:
        storage: Where it goes.
        name: Its name, without an ending.
        columns: The columns of the records whose types are known.
        has_others: Whether there may be others, such as those of a stream map.
        is_parquet: Whether it is a Parquet file, instead of JSON lines.
        is_gzip: Whether it is compressed with gzip.

    Raises:
        DataError: If a value does not fit the type of its column.
        SACError: If the format needs a package that is not installed, or the storage takes no more.
    """
    open_lines: OpenLines
    if is_parquet:
        compression = "gzip" if is_gzip else "snappy"
        open_lines = _parquet_lines(columns, has_others=has_others, compression=compression)
        ending = "parquet"
    else:
        ending, open_lines = "json", _gzip_lines if is_gzip else _plain_lines
    file_name = f"{storage.prefix or ''}{name}.{ending}" + (".gz" if is_gzip else "")
    try:
        with ExitStack() as stack:
            file = _opened(stack, storage, file_name)
            yield storage.get_url(file_name), stack.enter_context(open_lines(file))
    except OSError as error:
        msg = (
            f"The batch file {file_name} cannot be written ({error}): check the storage of the "
            "setting batch_config."
        )
        raise SACError(msg) from None


def _opened(stack: ExitStack, storage: Storage, file_name: str) -> IO[bytes]:
    """Open a file.

    Raises:
        OSError: If that is not possible, also for want of a package for such a storage.
    """
    try:
        return stack.enter_context(storage.open(file_name, "wb"))
    except (ValueError, ImportError) as error:
        raise OSError(str(error)) from None


@contextmanager
def _plain_lines(file: IO[bytes]) -> Iterator[WriteLines]:
    yield file.write


@contextmanager
def _gzip_lines(file: IO[bytes]) -> Iterator[WriteLines]:
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_GZIP_LEVEL) as packed:
        yield packed.write


def _parquet_lines(columns: Sequence[Property], *, has_others: bool, compression: str) -> OpenLines:
    try:
        import pyarrow as pa  # noqa: PLC0415  (an extra, which only this format needs)
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        msg = (
            "The setting batch_config asks for Parquet, which needs pyarrow: install "
            "tap-sac[parquet], or use the format jsonl."
        )
        raise SACError(msg) from None

    types = {
        column.name: column_type
        for column in columns
        if (column_type := arrow_type(pa, column)) is not None
    }
    finds_types = has_others or len(types) < len(columns)

    @contextmanager
    def open_lines(file: IO[bytes]) -> Iterator[WriteLines]:
        writer = None
        waiting: list[bytes] = []

        def write(lines: bytes) -> None:
            nonlocal writer
            table = _read_fitting(partial(_known_columns, pa, types), lines, columns)
            if finds_types:
                table |= _other_columns(pa, types, lines)
            if writer is None:
                # Arrow's own schema would tell readers of wider decimals than the columns need.
                writer = parquet.ParquetWriter(
                    file, pa.table(table).schema, compression=compression, store_schema=False
                )
            writer.write_table(pa.table(table))

        try:
            # A type that is found must fit the whole file.
            yield waiting.append if finds_types else write
            if waiting:
                write(b"".join(waiting))
        finally:
            if writer:
                writer.close()

    return open_lines


def _known_columns(pa: ModuleType, types: Mapping[str, DataType], lines: bytes) -> dict[str, Any]:
    """Read the columns whose types are known; others are ignored."""
    from pyarrow import json  # noqa: PLC0415  (see _parquet_lines)

    if not types:
        return {}
    table = json.read_json(
        io.BytesIO(lines),
        json.ReadOptions(block_size=len(lines) + 1),
        json.ParseOptions(explicit_schema=pa.schema(types), unexpected_field_behavior="ignore"),
    )
    table.validate(full=True)  # The reader does not see digits that the scale adds.
    return {name: table[name] for name in types}


def _other_columns(pa: ModuleType, types: Mapping[str, DataType], lines: bytes) -> dict[str, Any]:
    """Read the other columns, with the types that Arrow finds.

    Arrow's own reader would make floats of all numbers with a point, and lose digits.

    Raises:
        DataError: If the values of a column have no type in common.
    """
    records = [read_json(line) for line in lines.splitlines()]
    names = dict.fromkeys(name for record in records for name in record if name not in types)
    try:
        return {name: pa.array([record.get(name) for record in records]) for name in names}
    except (ValueError, TypeError, NotImplementedError, OverflowError) as error:
        raise _misfit_error(error) from None


def _read_fitting(
    read: Callable[[bytes], dict[str, Any]], lines: bytes, columns: Sequence[Property]
) -> dict[str, Any]:
    """Make columns of lines, if need be without zeros that a decimal has no room for.

    Arrow counts such zeros as digits, and refuses more digits than the precision.

    Raises:
        DataError: If a value does not fit.
    """
    try:
        try:
            return read(lines)
        except ValueError:
            return read(_without_zeros(lines, columns))
    except NoRoomError as error:
        raise _no_room_error(error) from None
    except (ValueError, TypeError, NotImplementedError) as error:  # What Arrow's errors are.
        raise _misfit_error(error) from None


def _misfit_error(error: Exception) -> DataError:
    msg = (
        f"A value does not fit the type of its column for Parquet ({error}): "
        "use the format jsonl, or deselect the column."
    )
    return DataError(msg)


def _without_zeros(lines: bytes, columns: Sequence[Property]) -> bytes:
    """Write lines again, as Arrow can read them.

    Raises:
        NoRoomError: If other digits than zeros have no room.
        ValueError: If there is another value that cannot be read.
    """
    rows = [read_json(line) for line in lines.splitlines()]
    for column in columns:
        fit = parquet_fitter(column)
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
