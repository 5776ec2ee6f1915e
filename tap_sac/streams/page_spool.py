"""Buffers pages until the last one is read: in memory, or in a temporary file."""

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
    """Stores pages, and returns them once, in their order."""

    def __init__(self) -> None:
        """Start empty; large contents go to a file."""
        self._file = tempfile.SpooledTemporaryFile(max_size=_MOST_BYTES_IN_MEMORY)  # noqa: SIM115
        # Pages without rows and (possibly long) links, with the number of bytes of their rows.
        self._heads: list[tuple[Page, int]] = []

    def close(self) -> None:
        """Discard everything."""
        self._file.close()

    def add(self, page: Page) -> None:
        """Store a page."""
        rows = b"[" + b",".join(page.items) + b"]"
        self._heads.append((replace(page, items=[], next_url=None), len(rows)))
        with file_errors():
            self._file.write(rows)

    def __iter__(self) -> Iterator[Page]:
        """Return the pages."""
        with file_errors():
            self._file.seek(0)
            for head, size in self._heads:
                yield replace(head, items=_ITEMS.decode(self._file.read(size)))


@contextmanager
def file_errors() -> Iterator[None]:
    """Raise a `SACError` with the next step if a temporary file cannot be written or read."""
    try:
        yield
    except OSError as error:
        msg = (
            f"Rows cannot be buffered in a temporary file ({error}): free disk space there, or set "
            "the environment variable TMPDIR to another folder."
        )
        raise SACError(msg) from None
