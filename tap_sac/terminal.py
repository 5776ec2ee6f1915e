"""One moving line at a terminal that says how far a command is, and nothing of it anywhere else."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator

_ERASE = "\r\x1b[K"


class StatusLine(logging.Filter):
    """The last line of a terminal, which makes room for whatever is logged.

    As a filter of log handlers, it lets every record pass, and is gone before it is written.
    """

    def __init__(self) -> None:
        """Show nothing yet."""
        super().__init__()
        self._is_on = self._is_shown = False

    @contextmanager
    def shown(self, *, beside_output: bool = False) -> Iterator[None]:
        """Show what `say` is told, until the end, if a person is there to see it.

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
            self._erase()
            self._is_on = False
            for handler in handlers:
                handler.removeFilter(self)

    def say(self, text: str) -> None:
        """Show a text in place of the one before."""
        if not self._is_on:
            return
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"{_ERASE}{text[:width]}")
        sys.stderr.flush()
        self._is_shown = True

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        self._erase()
        return True

    def _erase(self) -> None:
        if self._is_shown:
            self._is_shown = False
            sys.stderr.write(_ERASE)
            sys.stderr.flush()


def _is_terminal(file: object) -> bool:
    is_terminal = getattr(file, "isatty", None)
    return bool(is_terminal and is_terminal()) and os.environ.get("TERM") != "dumb"


STATUS_LINE = StatusLine()
