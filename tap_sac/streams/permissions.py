"""Checks whether a different user's permissions explain missing rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tap_sac.sac.errors import DataError
from tap_sac.safety.text import plural

if TYPE_CHECKING:
    import logging

    from tap_sac.sac.oauth.user import User
    from tap_sac.streams.state import StreamState

_UNKNOWN = "unknown"  # a user whom the token does not identify


class Permissions:
    """The permissions behind a read, compared with those behind the last completed one.

    Other users may still see rows that a read lacks, so only the user of the last read can show
    that they were deleted. The state has a hash of that user, or none if the OAuth client itself
    was signed in.
    """

    def __init__(self, user: User | None, state: StreamState) -> None:
        """Compare the permissions before the state changes."""
        self._state = state
        self._now = None if user is None else user.fingerprint or _UNKNOWN

    @property
    def are_of_user(self) -> bool:
        """Whether a user is signed in, so SAC may hide rows, and not count them."""
        return self._now is not None

    @property
    def have_changed(self) -> bool:
        """Whether a different user is signed in than in the last read, if known."""
        both = {self._state.user, self._now}
        is_known = _UNKNOWN not in both or None in both
        return self._state.has_last_read and is_known and len(both) > 1

    def warn_of_fewer_rows(self, rows: int, *, stream: str, logger: logging.Logger) -> None:
        """Warn if a read has fewer than half of the rows of the last one."""
        last = self._state.rows
        if self._state.user and last and 2 * rows < last:
            logger.warning(
                "The read of %s has %s, but the last one had %s: if the missing rows are still in "
                "SAC, the user has lost permissions, and the target will mark or delete them.",
                stream,
                plural(rows, "row"),
                f"{last:,}",
            )

    def after(self, state: StreamState, rows: int) -> StreamState:
        """Return the state with the user and number of rows of a completed read.

        An empty read removes nothing from the target, so it keeps the last number of rows.
        """
        return replace(state, user=self._now, rows=rows or self._state.rows or 0)

    def warn_of_kept_bookmark(self, stream: str, logger: logging.Logger) -> None:
        """Warn that a read starts from start_date again, and why."""
        logger.warning(
            "%s is read from start_date, and its bookmark does not move, because a different user "
            "is signed in than in the last run: run with --full-refresh (or without --state), or "
            "sign in as before.",
            stream,
        )


def check_writable(stream: str, *, is_sum: bool, has_key: bool) -> None:
    """Check that rows can be written next to the rows of another user.

    Sums of what this user may see would replace the others, and no later change would correct them.
    Rows without a key would be duplicated.

    Raises:
        DataError: If they cannot.
    """
    if has_key and not is_sum:
        return
    msg = (
        "A different user is signed in than in the last run, and rows of "
        f"{stream} {'depend on permissions' if is_sum else 'have no key'}, so none were written: "
        "run with --full-refresh (or without --state), or sign in as before."
    )
    raise DataError(msg)
