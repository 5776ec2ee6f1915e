"""Keeps secrets and forged lines out of every log record of the process.

Filters do not see the records of child loggers, and handlers may be added at any time. So records
are cleaned where they are made: by the factory that all loggers share.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tap_sac.safety.masks import excerpt, masked, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What logs because of the tap, in the process of somebody else.
_OWN_LOGGERS = {"tap-sac", "tap_sac", "singer_sdk", "requests", "urllib3"}
_LONGEST_LINE = 8_000


def guard_logs(*, is_own_process: bool) -> None:
    """Clean all log records that are made from now on; once is enough.

    A record that holds nothing secret and forges nothing stays as it is.

    Args:
        is_own_process: Whether only the tap logs here. Other programs may log several lines at
            once: of their records, only secrets are masked.
    """
    make = logging.getLogRecordFactory()
    if isinstance(make, _CleanRecords):
        if make.is_own_process or not is_own_process:
            return
        make = make.make
    logging.setLogRecordFactory(_CleanRecords(make, is_own_process=is_own_process))


class _CleanRecords:
    """Makes log records as another factory does, and cleans them."""

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
        error = record.exc_info[1] if record.exc_info else None
        if error and any(clean(text) != text for item in _chain(error) for text in _texts(item)):
            shown = _stand_in(error, clean, {})
            record.exc_info = (type(shown), shown, shown.__traceback__)
        return record


def _own_line(text: str) -> str:
    return one_line(excerpt(text, _LONGEST_LINE))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Return an error and all that a stack trace shows with it."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        item = left.pop()
        if item is not None and id(item) not in seen:
            seen.add(id(item))
            yield item
            left += [item.__cause__, item.__context__, *getattr(item, "exceptions", ())]


def _texts(error: BaseException) -> Iterator[str]:
    """Return what a stack trace says of one error: its text, and the notes added to it."""
    try:
        yield str(error)
    except Exception:  # noqa: BLE001  (a stack trace does without it, too)
        yield ""
    yield from map(str, getattr(error, "__notes__", None) or ())


def _stand_in(
    error: BaseException, clean: Callable[[str], str], done: dict[int, BaseException]
) -> BaseException:
    """Make an error that looks like another one in a stack trace, with clean texts."""
    if id(error) in done:
        return done[id(error)]
    kind = type(error)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    text, *notes = map(clean, _texts(error))
    shown: BaseException = type(kind.__name__, (Exception,), names)(text)
    done[id(error)] = shown
    if notes:
        shown.__dict__["__notes__"] = notes  # Python 3.10 has no such attribute.
    shown.__traceback__ = error.__traceback__
    if error.__cause__:
        shown.__cause__ = _stand_in(error.__cause__, clean, done)
    if error.__context__:
        shown.__context__ = _stand_in(error.__context__, clean, done)
    shown.__suppress_context__ = error.__suppress_context__
    return shown
