"""Waits that signals can end, and signals that wait.

Python checks for signals before it starts to wait. A signal between the check and the wait would
only be noticed after the wait, so a long wait is split into short ones. Where that is impossible
(for an answer, a file lock or a reader of the output), the command line has the main thread woken,
which Windows cannot do.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LONGEST_WAIT = 0.5  # seconds
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


def wait_for(changed: threading.Condition, predicate: Callable[[], object]) -> None:
    """Wait with a condition, which is held, until a predicate is true."""
    while not changed.wait_for(predicate, _LONGEST_WAIT):
        pass


def sleep(seconds: float) -> None:
    """Sleep for a number of seconds."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _LONGEST_WAIT))


def wake_for_signals() -> None:
    """Wake the main thread, if it calls this, from any wait when a signal arrives.

    The system reports signals of any thread through a pipe. The thread is then woken by another
    signal, which has no meaning of its own.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not (is_main and hasattr(signal, "pthread_kill")):
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGURG, lambda *_: None)
    threading.Thread(target=_wake, args=[reader], name="tap-sac waker", daemon=True).start()


def _wake(reader: int) -> None:
    os.read(reader, 1)
    while main := threading.main_thread().ident:
        time.sleep(_LONGEST_WAIT)
        signal.pthread_kill(main, signal.SIGURG)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Defer signals to the end of the block; ignored ones stay ignored."""
    waiting: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    known = (getattr(signal, name) for name in _SIGNALS if is_main and hasattr(signal, name))
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
