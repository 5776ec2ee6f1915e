"""Records -> files of BATCH messages, many at a time.

The names and contents of the files are those of the SDK's own batch encoders, with two differences.
Records carry the version that RECORD messages have beside the record, in the column that targets
keep it in. Parquet has the types of ``$metadata``: those that are guessed from values differ from
file to file.
"""

from __future__ import annotations

import gzip
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Protocol

from tap_sac.sac.errors import SACError
from tap_sac.singer.files.background_writer import writing_behind
from tap_sac.singer.files.parquet import ParquetFormat
from tap_sac.singer.schema import TABLE_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from tap_sac.sac.odata.model import Property
    from tap_sac.singer.files.chunks import Portion

    AddRecords = Callable[[Portion, int | None], None]

# zlib's default levels are slower than the rest of the tap, for files of a similar size.
_GZIP_LEVEL = 1
_WRITTEN_AT_ONCE = 2**20  # bytes, for which it is worth to wake a thread


class Storage(Protocol):
    """Where files go: the SDK's storage target."""

    root: str
    prefix: str | None

    def get_url(self, filename: str) -> str:
        """Return the URL of a file."""

    def open(self, filename: str, mode: str) -> AbstractContextManager[IO[Any]]:
        """Open a file."""


class FileFormat(Protocol):
    """How the files of a stream are written."""

    @property
    def ending(self) -> str:
        """What their names end with."""

    @property
    def usual_size(self) -> int | None:
        """How many records they have, unless somebody says it; None: as the SDK says."""

    def open(self, file: IO[bytes]) -> AbstractContextManager[AddRecords]:
        """Begin a file, and give what adds records to it, with their version if they have one."""


def with_version(lines: bytes, version: int | None) -> bytes:
    """Add the version, if there is one, to records that are written as JSON lines."""
    if version is None:
        return lines
    comma = b"" if lines.startswith(b"{}\n") else b","
    end = b'%b"%b":%d}\n' % (comma, TABLE_VERSION.name.encode(), version)
    # A newline only follows a record. (bytes.replace takes twice as long.)
    return end.join(lines.split(b"}\n"))


class LinesFormat:
    """Files of JSON lines.

    Attributes:
        ending: What their names end with.
        usual_size: How many records they have, unless somebody says it; None: as the SDK says.
    """

    usual_size: int | None = None

    def __init__(self, *, is_gzip: bool) -> None:
        """Keep whether they are compressed with gzip."""
        self.ending = "json.gz" if is_gzip else "json"
        self._is_gzip = is_gzip

    @contextmanager
    def open(self, file: IO[bytes]) -> Iterator[AddRecords]:
        """Begin a file, and give what adds records to it, with their version if they have one."""
        waiting: list[bytes] = []
        length = 0

        def add(portion: Portion, version: int | None) -> None:
            nonlocal length
            waiting.append(with_version(portion.lines(), version))
            length += len(waiting[-1])
            if length >= _WRITTEN_AT_ONCE:
                write_next(b"".join(waiting))
                waiting.clear()
                length = 0

        with ExitStack() as stack:
            write = file.write
            if self._is_gzip:
                packed = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_GZIP_LEVEL)
                write = stack.enter_context(packed).write
            write_next = stack.enter_context(writing_behind(write))
            yield add
            write_next(b"".join(waiting))


def file_format(
    format_: str, columns: Sequence[Property], *, has_others: bool, is_gzip: bool
) -> FileFormat:
    """Choose how to write the files of a stream.

    Args:
        format_: ``jsonl`` or ``parquet``.
        columns: The columns of the records whose types are known.
        has_others: Whether there may be others, such as those of a stream map.
        is_gzip: Whether they are compressed with gzip.

    Raises:
        SACError: If the format needs a package that is not installed.
    """
    if format_ == "parquet":
        return ParquetFormat(columns, has_others=has_others, is_gzip=is_gzip)
    return LinesFormat(is_gzip=is_gzip)


def write_files(
    portions: Iterable[Portion],
    storage: Storage,
    name: str,
    format_: FileFormat,
    version: Callable[[], int | None],
) -> Generator[str, None, None]:
    """Write records to files, one for each period that has some.

    Args:
        portions: The records.
        storage: Where the files go.
        name: What the names of the files begin with.
        format_: How they are written.
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
                file_name = f"{storage.prefix or ''}{name}-{portion.number + 1}.{format_.ending}"
                url, add = open_file.enter_context(batch_file(storage, file_name, format_))
            if portion.size:
                add(portion, version())
            if portion.ends_period and url:
                open_file.close()
                yield url
                url = ""
        if url:
            open_file.close()
            yield url


@contextmanager
def batch_file(
    storage: Storage, name: str, format_: FileFormat
) -> Iterator[tuple[str, AddRecords]]:
    """Make a file, and give its URL and what adds records to it.

    Args:
        storage: Where it goes.
        name: Its name.
        format_: How it is written.

    Raises:
        DataError: If a value does not fit the type of its column.
        SACError: If the storage takes no more, or needs a package that is not installed.
    """
    try:
        with ExitStack() as stack:
            file = stack.enter_context(_opened(storage, name))
            yield storage.get_url(name), stack.enter_context(format_.open(file))
    except Exception as error:
        if not _is_of_storage(error):
            raise
        msg = (
            f"The batch file {name} cannot be written ({error}): check the storage of the "
            "setting batch_config."
        )
        raise SACError(msg) from None


@contextmanager
def _opened(storage: Storage, name: str) -> Iterator[IO[bytes]]:
    """Open a file, which is there when all of it has been written, or never.

    Raises:
        SACError: If the storage needs a package that is not installed.
        OSError: If there is no such storage.
    """
    with ExitStack() as stack:
        file: Any = None

        @stack.push
        def discard(kind: object, *_: object) -> None:
            # fsspec would leave a temporary file behind, or an upload that is not finished.
            if kind and file:
                with suppress(Exception):
                    file.discard()

        try:
            file = stack.enter_context(storage.open(name, "wb"))
        except ImportError as error:
            raise _missing_package_error(storage, error) from None
        except ValueError as error:
            raise OSError(str(error)) from None
        yield file


def _missing_package_error(storage: Storage, error: ImportError) -> SACError:
    scheme = storage.root.partition("://")[0]
    if scheme == "s3":
        what = "s3fs: install tap-sac[s3]"
    else:
        what = f"a package that is not installed ({error}): install it"
    return SACError(
        f"The setting batch_config asks for storage in {scheme}://, which needs {what}, or use "
        "another storage."
    )


def _is_of_storage(error: Exception) -> bool:
    """Return whether storage has failed; what S3 is reached with has errors of its own kinds."""
    return isinstance(error, OSError) or type(error).__module__.startswith("botocore.")
