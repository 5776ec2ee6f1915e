"""Records -> files of BATCH messages, many at a time.

The names and contents of the files are those of the SDK's own batch encoders, but Parquet has the
types of ``$metadata``: those that are guessed from values differ from file to file.
"""

from __future__ import annotations

import gzip
import io
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any

from singer_sdk.helpers._batch import BatchConfig

from tap_sac.sac.errors import SACError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import ModuleType

    from pyarrow import DataType
    from singer_sdk.helpers._batch import StorageTarget

    from tap_sac.sac.csdl import Property

    WriteLines = Callable[[bytes], Any]
    OpenLines = Callable[[IO[bytes]], AbstractContextManager[WriteLines]]

FORMATS = {"jsonl", "parquet"}

# zlib's default levels are slower than the rest of the tap, for files of a similar size.
_GZIP_LEVEL = 1
_MOST_DIGITS = 38
_MOST_DIGITS_OF_ALL = 76
_DIGITS_AFTER_POINT = 10


def batch_errors(config: Mapping[str, Any]) -> Iterator[str]:
    """Tell what is wrong with the setting ``batch_config``, which the SDK takes for granted."""
    try:
        raw = config.get("batch_config")
        is_right = not raw or (
            BatchConfig.from_dict(raw).batch_size >= 1 and bool(raw["encoding"] and raw["storage"])
        )
    except (TypeError, KeyError):
        is_right = False
    if not is_right:
        yield (
            "The setting batch_config needs an encoding (format, compression), a storage (root, "
            "prefix) and, if any, a batch_size of at least 1: correct it in the configuration of "
            "tap-sac."
        )


@contextmanager
def batch_file(
    batch_config: BatchConfig, name: str, columns: Sequence[Property]
) -> Iterator[tuple[str, WriteLines]]:
    """Make a file, and give its URL and what writes JSON lines to it.

    Args:
        batch_config: Where, and in which format.
        name: Its name, without an ending.
        columns: The columns of the records.

    Raises:
        SACError: If the format needs a package that is not installed, a value does not fit what
            ``$metadata`` says of its column, or the storage takes no more.
    """
    encoding, storage = batch_config.encoding, batch_config.storage
    is_gzip = encoding.compression == "gzip"
    open_lines: OpenLines
    if encoding.format == "parquet":
        file_name = f"{storage.prefix or ''}{name}.parquet" + (".gz" if is_gzip else "")
        open_lines = _parquet_lines(columns, "gzip" if is_gzip else "snappy")
    else:
        open_lines = _gzip_lines if is_gzip else _plain_lines
        file_name = f"{storage.prefix or ''}{name}.json" + (".gz" if is_gzip else "")
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


def _opened(stack: ExitStack, storage: StorageTarget, file_name: str) -> IO[bytes]:
    """Open a file.

    Raises:
        OSError: If that is not possible, also for want of a package for such a storage.
    """
    try:
        file: IO[bytes] = stack.enter_context(storage.open(file_name, "wb"))
    except (ValueError, ImportError) as error:
        raise OSError(str(error)) from None
    return file


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
            (column.name, arrow_type)
            for column in columns
            if (arrow_type := _arrow_type(pa, column)) is not None
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


def _arrow_type(pa: ModuleType, column: Property) -> DataType | None:
    """Find the type of a column; None for objects and collections, which is left to Arrow."""
    if column.is_collection or column.type.startswith(("Edm.Geo", "Edm.ComplexType")):
        return None
    if column.type == "Edm.Decimal":
        precision = min(column.precision or _MOST_DIGITS, _MOST_DIGITS_OF_ALL)
        scale = _DIGITS_AFTER_POINT if column.scale is None else column.scale
        decimal = pa.decimal128 if precision <= _MOST_DIGITS else pa.decimal256
        return decimal(precision, scale)
    if column.type in {"Edm.Double", "Edm.Single"}:
        return pa.float64()
    if column.type == "Edm.Boolean":
        return pa.bool_()
    if column.type.startswith(("Edm.Int", "Edm.Byte", "Edm.SByte")):
        return pa.int64()
    return pa.string()
