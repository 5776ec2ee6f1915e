"""How many requests are under way at once."""

from __future__ import annotations

import threading

PATIENCE = 30
A_MOMENT = 0.05  # seconds, in which a request would come that must not come


class Gauge:
    """Lets requests for data pass only when so many of them are there at once."""

    def __init__(self, expected: int) -> None:
        self._barrier = threading.Barrier(expected, timeout=PATIENCE)
        self._lock = threading.Lock()
        self._under_way = 0
        self.most = 0

    def __call__(self) -> None:
        with self._lock:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        try:
            self._barrier.wait()
        finally:
            with self._lock:
                self._under_way -= 1
