"""Waits that signals can end.

Python checks for signals before it starts to wait. A signal between the check and the wait would
only be noticed after the wait, so a long wait is split into short ones.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

_LONGEST_WAIT = 0.5  # seconds


def wait_for(changed: threading.Condition, predicate: Callable[[], object]) -> None:
    """Wait with a condition, which is held, until a predicate is true."""
    while not changed.wait_for(predicate, _LONGEST_WAIT):
        pass


def sleep(seconds: float) -> None:
    """Sleep for a number of seconds."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _LONGEST_WAIT))
