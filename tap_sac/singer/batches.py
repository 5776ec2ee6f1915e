"""Records -> files of BATCH messages, many at a time.

The names and contents of the files are those of the SDK's own batch encoders, but Parquet has the
types of ``$metadata``: those that are guessed from values differ from file to file.
"""

from __future__ import annotations

import gzip
import io
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol

from tap_sac.sac.errors import SACError
from tap_sac.singer.edm import edm_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from tap_sac.sac.model import Property

    WriteLines = Callable[[bytes], Any]
    OpenLines = Callable[[IO[bytes]], AbstractContextManager[WriteLines]]

FORMATS = {"jsonl", "parquet"}

# zlib's default levels are slower than the rest of the tap, for files of a similar size.
_GZIP_LEVEL = 1


class Storage(Protocol):
    """Where files go: the SDK's storage target."""

    prefix: str | None

    def get_url(self, filename: str) -> str:
        """Return the URL of a file."""

    def open(self, filename: str, mode: str) -> AbstractContextManager[IO[Any]]:
        """Open a file."""


@contextmanager
def batch_file(
    storage: Storage,
    name: str,
    columns: Sequence[Property],
    *,
    is_parquet: bool,
    is_gzip: bool,
) -> Iterator[tuple[str, WriteLines]]:
    """Make a file, and give its URL and what writes JSON lines to it.

    Args:
        storage: Where it goes.
        name: Its name, without an ending.
        columns: The columns of the records.
        is_parquet: Whether it is a Parquet file, instead of JSON lines.
        is_gzip: Whether it is compressed with gzip.

    Raises:
        SACError: If the format needs a package that is not installed, a value does not fit what
            ``$metadata`` says of its column, or the storage takes no more.
    """
    open_lines: OpenLines
    if is_parquet:
        ending, open_lines = "parquet", _parquet_lines(columns, "gzip" if is_gzip else "snappy")
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


def _parquet_lines(columns: Sequence[Property], compression: str) -> OpenLines:
    try:
        import pyarrow as pa  # noqa: PLC0415  (an extra, which only this format needs)
        from pyarrow import json, parquet  # noqa: PLC0415
    except ImportError:
        msg = (
            "The setting batch_config asks for Parquet, which needs pyarrow: install "
            "tap-sac[parquet], or use the format jsonl."
        )
        raise SACError(msg) from None

    schema = pa.schema(
        [
            (column.name, make_type(pa, column))
            for column in columns
            if not column.is_collection and (make_type := edm_type(column).arrow)
        ]
    )
    options = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer")

    @contextmanager
    def open_lines(file: IO[bytes]) -> Iterator[WriteLines]:
        writer = None

        def write(lines: bytes) -> None:
            nonlocal writer
            try:
                table = json.read_json(
                    io.BytesIO(lines), json.ReadOptions(block_size=len(lines) + 1), options
                )
            except pa.ArrowInvalid as error:
                msg = (
                    f"A value does not fit the type that $metadata gives for Parquet ({error}): "
                    "use the format jsonl, or deselect the column."
                )
                raise SACError(msg) from None
            if writer is None:
                writer = parquet.ParquetWriter(file, table.schema, compression=compression)
            writer.write_table(table.cast(writer.schema))

        try:
            yield write
        finally:
            if writer:
                writer.close()

    return open_lines
