"""Notices pages that repeat their rows without end, which would hang a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_sac.safety.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable

# How often all rows may be sent: without a key, and without a count (a member for each language).
_MOST_TIMES_WITHOUT_KEY = 2
_MOST_TIMES_WITHOUT_COUNT = 20


class EndWatch:
    """Notices a read that has more rows than it should, and no new key any more."""

    def __init__(self, label: str) -> None:
        """Start before the first page; messages use the label."""
        self._label = label
        # The number of rows at which to check again, and of keys at the last check.
        self._next_check = self._keys = 0

    def problem(
        self,
        rows: int,
        size: int,
        count: int | None,
        count_keys: Callable[[], int] | None,
        *,
        is_quick: bool = True,
    ) -> str | None:
        """Describe pages that do not end; None if they may.

        Args:
            rows: The number of rows so far.
            size: The number of rows of a page.
            count: SAC's count of the rows; None if it does not count.
            count_keys: Counts the different keys so far; None without keys.
            is_quick: Whether that is quick; otherwise it is called rarely.
        """
        if not size or rows < max(self._next_check, count or 0):
            return None
        if count_keys is None:
            is_endless = count is not None and rows >= _MOST_TIMES_WITHOUT_KEY * count + size
        else:
            keys = count_keys()
            most = _MOST_TIMES_WITHOUT_COUNT * keys if count is None else count
            is_endless = keys == self._keys and rows >= most + size
            self._keys, self._next_check = keys, rows if is_quick else 2 * rows
        if not is_endless:
            return None
        counted = "" if count is None else f"SAC counts {plural(count, 'row')}, but "
        different = "" if count_keys is None else f" with {plural(self._keys, 'different key')}"
        sent = f"{counted}sent {plural(rows, 'row')}{different}"
        return f"SAC's pages of {self._label} do not end: {sent}"
