"""Writes the files of BATCH messages.

The SDK's own batch encoders would write the same names and contents, with two exceptions. Records
include their version, in the column where targets store it; a RECORD message has it beside the
record. Parquet and Arrow use the types of ``$metadata``, because types inferred from values differ
from file to file.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import IO, TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

from tap_sac.sac.errors import SACError
from tap_sac.safety.text import log_safe
from tap_sac.singer.files.chunks import with_version
from tap_sac.singer.files.tables import ARROW, PARQUET, PARQUET_GZIP, ColumnFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from tap_sac.sac.odata.model import Property
    from tap_sac.singer.files.chunks import Chunk

    AddRecords = Callable[[Chunk, int | None], None]

# zlib's default levels are slower than the rest of the tap, but the files hardly get smaller.
_GZIP_LEVEL = 1
_MOST_BYTES_OF_NAME = 255  # in most file systems
_LOCAL = {"", "file", "local"}  # of fsspec
_SFTP = {"sftp", "ssh"}  # of fsspec
# The package that fsspec needs for a storage, and the tap's extra that installs it.
_PACKAGES = {
    "s3": ("s3fs", "s3"),
    **dict.fromkeys(("abfs", "abfss", "az"), ("adlfs", "azure")),
    **dict.fromkeys(_SFTP, ("sshfs", "sftp")),
}
# Libraries whose errors are not an OSError.
_LIBRARIES = {"asyncssh", "azure", "botocore"}


class Storage(Protocol):
    """The storage of the files: the SDK's storage target."""

    root: str
    prefix: str | None
    params: dict[str, Any]

    def get_url(self, filename: str) -> str:
        """Return the URL of a file."""


class Encoding(Protocol):
    """The format of the files: the SDK's setting."""

    format: str
    compression: str | None


class LinesFormat:
    """Files of JSON lines.

    Attributes:
        ending: The end of their names.
        usual_size: The default number of records; None leaves it to the SDK.
    """

    usual_size: int | None = None

    def __init__(self, *, is_gzip: bool) -> None:
        """Choose whether they are compressed with gzip."""
        self.ending = "json.gz" if is_gzip else "json"
        self._is_gzip = is_gzip

    @contextmanager
    def open(self, file: IO[bytes]) -> Iterator[AddRecords]:
        """Start a file, and yield a function that adds records, with their version if any."""
        output: Any = file
        with ExitStack() as stack:
            if self._is_gzip:
                packed = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_GZIP_LEVEL)
                output = stack.enter_context(packed)
            yield lambda chunk, version: output.write(with_version(chunk.lines(), version))


def file_format(
    encoding: Encoding, columns: Sequence[Property], *, has_others: bool
) -> LinesFormat | ColumnFormat:
    """Choose how to write the files of a stream.

    Args:
        encoding: The format and compression in the settings.
        columns: The columns of the records with known types.
        has_others: Whether there may be other columns, such as those of a stream map.

    Raises:
        SACError: If the format needs a package that is not installed.
    """
    is_gzip = encoding.compression == "gzip"
    if encoding.format == "arrow":
        return ColumnFormat(ARROW, columns, has_others=has_others)
    if encoding.format == "parquet":
        written = PARQUET_GZIP if is_gzip else PARQUET
        return ColumnFormat(written, columns, has_others=has_others)
    return LinesFormat(is_gzip=is_gzip)


def write_files(
    chunks: Iterable[Chunk],
    storage: Storage,
    name: str,
    format_: LinesFormat | ColumnFormat,
    version: Callable[[], int | None],
) -> Generator[str, None, None]:
    """Write records to files like `batch_file`, one for each batch that is not empty.

    Args:
        chunks: The records.
        storage: The storage of the files.
        name: The beginning of the file names.
        format_: The format of the files.
        version: Returns the version of the records, after the first one was read.

    Yields:
        The URL of each file, when it is complete.
    """
    url, unique = "", uuid4()
    with ExitStack() as open_file:
        for chunk in chunks:
            if chunk.size and not url:
                end = f"-{unique}-{chunk.number + 1}.{format_.ending}"
                file_name = _with_end(f"{storage.prefix or ''}{name}", end)
                url, add = open_file.enter_context(batch_file(storage, file_name, format_))
            if chunk.size:
                add(chunk, version())
            if chunk.ends_batch and url:
                open_file.close()
                yield url
                url = ""
        if url:
            open_file.close()
            yield url


def _with_end(name: str, end: str) -> str:
    """Append the end of a file name; if the name is too long, shorten it with a hash."""
    folder, slash, start = name.rpartition("/")
    text, room = start.encode(), _MOST_BYTES_OF_NAME - len(end)
    if len(text) > room:
        digest = hashlib.sha256(text).hexdigest()[:10]
        start = f"{text[: room - len(digest) - 1].decode(errors='ignore')}-{digest}"
    return f"{folder}{slash}{start}{end}"


@contextmanager
def batch_file(
    storage: Storage, name: str, format_: LinesFormat | ColumnFormat
) -> Iterator[tuple[str, AddRecords]]:
    """Open a file that appears only when it is complete.

    Yields its URL, and a function that adds records.

    Raises:
        DataError: If a value does not fit the type of its column.
        SACError: If the storage cannot be written, or needs a package that is not installed.
    """
    is_open = False
    try:
        with _opened(storage, name) as file, format_.open(file) as add:
            is_open = True
            yield _url(storage, name), add
    except BaseException as error:
        if not is_open and isinstance(error, ImportError):
            raise _missing_package_error(storage, error) from None
        is_unknown = not is_open and isinstance(error, ValueError)
        if not (is_unknown or _is_of_storage(error)):
            raise
        msg = (
            f"The batch file {name} cannot be written ({error}): check the storage of the "
            "setting batch_config."
        )
        raise SACError(msg) from None


def _opened(storage: Storage, name: str) -> AbstractContextManager[IO[Any]]:
    """Open a file that gets its name when it is complete."""
    system, path = url_to_fs(_url(storage, name), **storage.params)
    has_names = isinstance(system, LocalFileSystem) or _scheme(storage) in _SFTP
    return _renamed(system, path) if has_names else _uploaded(system, path)


def _url(storage: Storage, name: str) -> str:
    """Return the URL of a file; the SDK's lacks the host of an SFTP server."""
    if _scheme(storage) in _LOCAL:
        return storage.get_url(name)
    return f"{storage.root.rstrip('/')}/{name}"


def _scheme(storage: Storage) -> str:
    scheme, mark, _ = storage.root.partition("://")
    return scheme if mark else ""


@contextmanager
def _uploaded(system: Any, path: str) -> Iterator[IO[bytes]]:  # noqa: ANN401  (fsspec has no types)
    with system.transaction, system.open(path, "wb") as file:
        try:
            yield file
        except BaseException:
            if isinstance(file, AbstractBufferedFile):
                file.closed = True  # Closing it would upload an incomplete file to Azure.
            raise


@contextmanager
def _renamed(system: Any, path: str) -> Iterator[IO[bytes]]:  # noqa: ANN401
    """Write a file in its own folder, and rename it when it is complete.

    fsspec would use a temporary directory. From another disk, the file would be copied, so it would
    be visible under its name while incomplete.
    """
    folder = path.rpartition("/")[0]
    system.makedirs(folder, exist_ok=True)
    part = f"{folder}/.{uuid4()}.part"
    try:
        with system.open(part, "wb") as file:
            yield file
        system.mv(part, path)
    except BaseException:
        with suppress(Exception):
            system.rm_file(part)
        raise


def check_storage(storage: Storage, find_root: Callable[[], Any]) -> None:
    """Check that files can be written: locally with a test file, elsewhere by listing the root.

    Args:
        storage: The storage of the files.
        find_root: Returns its fsspec path.

    Raises:
        SACError: If it cannot be reached or written, or needs a package that is not installed.
    """
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)  # Some log each request at INFO.
    try:
        root = find_root()
        if root.protocol in _LOCAL:
            folder = Path(root.path)
            # In a directory shared by all users, only the owner may read the folder.
            mode = 0o700 if folder.parent == Path(gettempdir()) else 0o777
            folder.mkdir(mode, parents=True, exist_ok=True)
            TemporaryFile(dir=folder).close()
        else:
            _list(root)
    except ImportError as error:
        raise _missing_package_error(storage, error) from None
    except BaseException as error:
        # A TypeError is of a file system that lacks a parameter, or does not know one.
        if not (isinstance(error, ValueError | TypeError) or _is_of_storage(error)):
            raise
        msg = (
            f"The batch files cannot be written to {log_safe(storage.root)} ({error}): check the "
            "storage of the setting batch_config."
        )
        raise SACError(msg) from None


def _list(root: Any) -> None:  # noqa: ANN401  (fsspec has no types)
    """List a remote folder, or if it does not exist yet, the nearest one above it."""
    try:
        root.fs.ls(root.path)
    except FileNotFoundError:
        if root.parent == root:
            raise
        _list(root.parent)


def _missing_package_error(storage: Storage, error: ImportError) -> SACError:
    scheme = _scheme(storage)
    if scheme in _PACKAGES:
        what = "{}: install tap-sac[{}]".format(*_PACKAGES[scheme])
    else:
        what = f"a package that is not installed ({error}): install it"
    return SACError(
        f"The setting batch_config asks for storage in {scheme}://, which needs {what}, or use "
        "another storage."
    )


def _is_of_storage(error: BaseException) -> bool:
    """Return whether an error comes from the storage or its library."""
    modules = (type(each).__module__ for each in (error, error.__cause__))
    return isinstance(error, OSError) or any(m.partition(".")[0] in _LIBRARIES for m in modules)
