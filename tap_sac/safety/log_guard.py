"""Keeps secrets and forged lines out of all log records of the process.

Filters do not see the records of child loggers, and handlers may be added at any time. So the
record factory, which all loggers share, cleans the records.
"""

from __future__ import annotations

import atexit
import logging
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from tap_sac.safety.masks import masked, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

# The loggers of the tap and its libraries, in a process of another program.
_OWN_LOGGERS = {"tap-sac", "tap_sac", "singer_sdk", "requests", "urllib3"}
_LONGEST_LINE = 8_000
_FRAME = ("  ", "\n")  # how lines of a stack trace begin that are not the text of an error


def guard_logs(*, is_own_process: bool) -> None:
    """Clean all log records from now on; further calls do nothing.

    Records without secrets and forged lines are not changed.

    Args:
        is_own_process: Whether only the tap logs in this process. Other programs may log several
            lines at once, so only secrets are masked in their records.
    """
    make = logging.getLogRecordFactory()
    if isinstance(make, _CleanRecords):
        if make.is_own_process or not is_own_process:
            return
        make = make.make
    logging.setLogRecordFactory(_CleanRecords(make, is_own_process=is_own_process))


class _CleanRecords:
    """Makes log records with another factory, and cleans them."""

    def __init__(self, make: Callable[..., logging.LogRecord], *, is_own_process: bool) -> None:
        self.make = make
        self.is_own_process = is_own_process

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.make(*args, **kwargs)
        is_own = self.is_own_process or record.name.partition(".")[0] in _OWN_LOGGERS
        clean = _own_line if is_own else masked
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001  (of whatever was to be logged; Python would show it raw)
            record.msg, record.args = clean(f"{record.msg} {record.args!r}"), ()
        else:
            if clean(text) != text:
                record.msg, record.args = clean(text.rstrip("\n") if is_own else text), ()
        record.name = clean(record.name)
        if record.stack_info:
            record.stack_info = masked(record.stack_info)
        if record.exc_info and record.exc_info[1]:
            trace = _trace(record.exc_info[1], clean)
            if trace != _trace(record.exc_info[1], str):
                # Put into the message, because the SDK's structured log formats exceptions itself.
                record.msg, record.args = f"{record.getMessage()}\n{trace}", ()
                record.exc_info = None
        return record


def _own_line(text: str) -> str:
    return one_line(text, _LONGEST_LINE)


def _trace(error: BaseException, clean: Callable[[str], str]) -> str:
    """Format a stack trace with cleaned error texts and source lines."""
    items = (item.removesuffix("\n") for item in format_exception(error))
    return "\n".join(
        "\n".join(map(clean, item.split("\n"))) if item.startswith(_FRAME) else clean(item)
        for item in items
    )


def warn_in_handler(logger: logging.Logger, message: str, *arguments: object) -> None:
    """Log a warning in a signal handler; at exit, if the signal came amid a line of the log."""
    try:
        logger.warning(message, *arguments)
    except RuntimeError:  # The stream refuses a line within a line.
        atexit.register(logger.warning, message, *arguments)
