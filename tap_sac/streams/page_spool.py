"""Pages that wait until the last one has come: in memory, or in a temporary file."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from tap_sac.sac.errors import SACError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_sac.sac.odata.pages import Page

_MOST_BYTES_IN_MEMORY = 16 * 1024**2

_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


class PageSpool:
    """Takes pages, and gives them back in their order, once."""

    def __init__(self) -> None:
        """Be empty; there is a file only when there is much to keep."""
        self._file = tempfile.SpooledTemporaryFile(max_size=_MOST_BYTES_IN_MEMORY)  # noqa: SIM115
        # Pages without rows and links, which may be long, and the bytes of their rows.
        self._heads: list[tuple[Page, int]] = []

    def close(self) -> None:
        """Throw everything away."""
        self._file.close()

    def add(self, page: Page) -> None:
        """Keep a page.

        Raises:
            SACError: If there is no room for it.
        """
        rows = b"[" + b",".join(page.items) + b"]"
        self._heads.append((replace(page, items=[], next_url=None), len(rows)))
        with file_errors():
            self._file.write(rows)

    def __iter__(self) -> Iterator[Page]:
        """Give the pages back.

        Raises:
            SACError: If they cannot be read.
        """
        with file_errors():
            self._file.seek(0)
            for head, size in self._heads:
                yield replace(head, items=_ITEMS.decode(self._file.read(size)))


@contextmanager
def file_errors() -> Iterator[None]:
    """Say what to do where a temporary file cannot be written or read.

    Raises:
        SACError: If it cannot.
    """
    try:
        yield
    except OSError as error:
        msg = (
            f"Rows cannot be kept in a temporary file ({error}): make room in the folder for "
            "temporary files, or set the environment variable TMPDIR to another one."
        )
        raise SACError(msg) from None
