"""Signals that are deferred until something is complete."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """Defer signals to the end of the block; ignored ones stay ignored."""
    waiting: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    known = (getattr(signal, name) for name in _NAMES if is_main and hasattr(signal, name))
    before = {number: signal.getsignal(number) for number in known}
    handled = {number: handler for number, handler in before.items() if callable(handler)}
    for number in handled:
        signal.signal(number, lambda number, _: waiting.append(number))
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
        for number in waiting[:1]:
            signal.raise_signal(number)
