"""A progress line on interactive terminals, and nothing anywhere else."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from typing_extensions import override

from tap_sac.safety.masks import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterator

_ERASE = "\r\x1b[K"


class ProgressLine(logging.Filter):
    """The last line of a terminal.

    As a filter of the log handlers, it passes every record, and is erased before one is written.
    """

    def __init__(self) -> None:
        """Show nothing yet."""
        super().__init__()
        self._is_on = self._is_shown = False

    @contextmanager
    def shown(self, *, beside_output: bool = False) -> Iterator[None]:
        """Show updates until the end, if standard error is a terminal.

        Args:
            beside_output: Whether standard output may go to the same terminal meanwhile.
        """
        self._is_on = _is_terminal(sys.stderr) and (beside_output or not _is_terminal(sys.stdout))
        handlers = [
            handler
            for handler in logging.getLogger().handlers
            if self._is_on and getattr(handler, "stream", None) is sys.stderr
        ]
        for handler in handlers:
            handler.addFilter(self)
        try:
            yield
        finally:
            self.update("")
            self._is_on = False
            for handler in handlers:
                handler.removeFilter(self)

    def update(self, text: str) -> None:
        """Replace the line; an empty text erases it."""
        if self._is_on and (text or self._is_shown):
            width = shutil.get_terminal_size().columns - len("...") - 1
            sys.stderr.write(f"{_ERASE}{excerpt(text, width)}")
            sys.stderr.flush()
            self._is_shown = bool(text)

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        self.update("")
        return True


def _is_terminal(file: object) -> bool:
    is_terminal = getattr(file, "isatty", None)
    return bool(is_terminal and is_terminal()) and os.environ.get("TERM") != "dumb"


PROGRESS_LINE = ProgressLine()
