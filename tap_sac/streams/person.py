"""Whose rights decide on what SAC gives, and what a smaller read means then (3-legged)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from tap_sac.sac.oauth.user import User

_PERSON, _ROWS = "person", "rows"  # in the state of a stream
_UNKNOWN = "unknown"  # a person whom the token does not tell


class Rights:
    """The rights behind a read of a table, compared with those behind the last completed one.

    Rows that are missing from a read may be there for others, so only the person who read them
    the last time can show that they are gone. The state has a hash of that person; it has none
    after a read of the OAuth client itself.
    """

    def __init__(self, person: User | None, state: Mapping[str, Any], *, has_last: bool) -> None:
        """Compare, before the state changes.

        Args:
            person: Whose rights decide now; None for the OAuth client itself.
            state: The state of the stream.
            has_last: Whether a read was completed before.
        """
        last, rows = state.get(_PERSON), state.get(_ROWS)
        self._has_last = has_last
        self._last = last if isinstance(last, str) and last else None
        self._last_rows = rows if isinstance(rows, int) else None
        self._now = None if person is None else person.fingerprint or _UNKNOWN

    @property
    def are_of_person(self) -> bool:
        """Whether a person has signed in: what SAC then does not show, or count, may be there."""
        return self._now is not None

    @property
    def are_others(self) -> bool:
        """Whether they are those of somebody else than the last time, as far as that is known."""
        both = {self._last, self._now}
        is_known = _UNKNOWN not in both or None in both
        return self._has_last and is_known and len(both) > 1

    def warn_of_fewer(self, rows: int, *, stream: str, logger: logging.Logger) -> None:
        """Say that fewer than half of the rows have come, which rights may be the reason for.

        Args:
            rows: How many have.
            stream: Of which stream.
            logger: Is told.
        """
        if self._last_rows and 2 * rows < self._last_rows:
            logger.warning(
                "The read of %s has %s rows, and the last one had %s: if the others are still in "
                "SAC, the person who has signed in has lost rights to them, and the target will "
                "mark or delete them.",
                stream,
                f"{rows:,}",
                f"{self._last_rows:,}",
            )

    def keep(self, state: dict[str, Any], rows: int) -> None:
        """Put into a state whose rights have decided on a completed read, and how many rows it had.

        An empty read has removed nothing from the target, so the number of before stays.
        """
        rows = rows or self._last_rows or 0
        for name in (_PERSON, _ROWS):
            state.pop(name, None)
        if self._now:
            state |= {_PERSON: self._now, _ROWS: rows}
