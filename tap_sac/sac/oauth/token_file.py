"""The file that keeps a refresh token from one run to the next."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tap_sac.sac.errors import SACError
from tap_sac.safety.text import log_safe

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

_TOKEN = re.compile(r"[!-~]+")
_MOST_BYTES = 1024**2


class TokenFile:
    """A file with one refresh token, which several runs may share.

    Another file beside it, whose name ends with ``.lock``, is what they lock: the file itself is
    replaced with each new token, so that nobody ever sees half of one.
    """

    def __init__(self, path: str) -> None:
        """Keep where it is; it need not be there yet.

        Args:
            path: As of the setting `refresh_token_file`; a link is followed, and stays a link.

        Raises:
            SACError: If it cannot be the path of a file.
        """
        try:
            self.path = Path(os.path.realpath(Path(path).expanduser()))
        except (ValueError, RuntimeError) as error:
            msg = f"The setting refresh_token_file is not the path of a file ({error}): correct it."
            raise SACError(msg) from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs from using the token until the end of the block.

        Raises:
            SACError: If the folder of the file is not one that the tap may write to.
        """
        path = f"{self.path}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            msg = (
                f"The file {log_safe(path)} cannot be written ({error.strerror}): set "
                "refresh_token_file to a file in a folder that the tap may write to."
            )
            raise SACError(msg) from None
        try:
            _lock(descriptor)
            yield
        finally:
            os.close(descriptor)  # The lock goes with it.

    def read(self) -> str | None:
        """Return the token; None if there is none yet.

        Raises:
            SACError: If the file cannot be read, or holds something else.
        """
        try:
            with self.path.open("rb") as file:
                text = file.read(_MOST_BYTES).decode(errors="replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            msg = (
                f"The file {self._shown} of the setting refresh_token_file cannot be read "
                f"({error.strerror}): check its path and who may read it."
            )
            raise SACError(msg) from None
        if text and not _TOKEN.fullmatch(text):
            msg = (
                f"The file {self._shown} of the setting refresh_token_file holds more than a "
                "refresh token: remove it, and run tap-sac --login again."
            )
            raise SACError(msg)
        return text or None

    def write(self, token: str) -> None:
        """Put a token in the place of the one before, at once or not at all.

        Raises:
            SACError: If that is not possible.
        """
        name = None
        try:
            # Such a file can be read by its owner alone (mode 0600).
            descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")
            with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123  (a descriptor)
                file.write(f"{token}\n")
                file.flush()
                os.fsync(descriptor)
            Path(name).replace(self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            if name:
                Path(name).unlink(missing_ok=True)
            msg = (
                f"The new refresh token cannot be written to {self._shown}, the file of the "
                f"setting refresh_token_file ({error.strerror})"
            )
            raise SACError(msg) from None

    @property
    def _shown(self) -> str:
        return log_safe(str(self.path))


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(descriptor: int) -> None:
        while True:
            with contextlib.suppress(OSError):  # It gives up after ten seconds.
                msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
                return

    def _sync_folder(folder: Path) -> None:
        """Do nothing: Windows opens no folders."""

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:  # Some file systems of networks have no locks.
            logger.warning(
                "The file of the setting refresh_token_file cannot be locked (%s), so let no other "
                "run use it at the same time.",
                error.strerror,
            )

    def _sync_folder(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
