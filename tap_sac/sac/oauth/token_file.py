"""The file that stores a refresh token between runs."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tap_sac.sac.errors import SACError
from tap_sac.sac.failures import Failure
from tap_sac.sac.http.transport import HEADER_VALUE
from tap_sac.safety.files import replace_file
from tap_sac.safety.text import log_safe

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

_MOST_BYTES = 1024**2


class TokenFile:
    """A file with one refresh token, which several runs may share.

    Runs lock a second file next to it, with the suffix ``.lock``, because the file itself is
    replaced atomically with each new token.
    """

    def __init__(self, path: str) -> None:
        """Store the path; the file need not exist yet. Symbolic links are followed and kept.

        Raises:
            SACError: If the path is invalid.
        """
        try:
            self.path = Path(os.path.realpath(Path(path).expanduser()))
        except (ValueError, RuntimeError) as error:
            msg = f"The path of the token file is not valid ({error})"
            raise SACError(msg, Failure.TOKEN_FILE_PATH) from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the token against other runs in a block; a `SACError` if that is not possible."""
        path = f"{self.path}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            msg = f"The file {log_safe(path)} cannot be written ({error.strerror})"
            raise SACError(msg, Failure.TOKEN_FILE_UNWRITABLE) from None
        try:
            _lock(descriptor)
            yield
        finally:
            os.close(descriptor)  # This releases the lock.

    def read(self) -> str | None:
        """Return the token, or None if there is none yet; a `SACError` if it cannot be read."""
        try:
            with self.path.open("rb") as file:
                text = file.read(_MOST_BYTES).decode(errors="replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            msg = f"The token file {self._shown} cannot be read ({error.strerror})"
            raise SACError(msg, Failure.TOKEN_FILE_UNREADABLE) from None
        if text and not HEADER_VALUE.fullmatch(text):
            msg = f"The token file {self._shown} does not contain a refresh token"
            raise SACError(msg, Failure.TOKEN_FILE_DAMAGED)
        return text or None

    def write(self, token: str) -> None:
        """Replace the token atomically, or raise a `SACError` if that is not possible."""
        try:
            replace_file(self.path, f"{token}\n")
        except OSError as error:
            msg = f"The new refresh token cannot be saved in {self._shown} ({error.strerror})"
            raise SACError(msg, Failure.TOKEN_FILE_FULL) from None

    @property
    def _shown(self) -> str:
        return log_safe(str(self.path))


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(descriptor: int) -> None:
        while True:
            with contextlib.suppress(OSError):  # It fails after ten seconds.
                msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
                return

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:  # Some network file systems do not support locks.
            logger.warning(
                "The token file cannot be locked (%s): do not use it in two runs at the same time.",
                error.strerror,
            )
