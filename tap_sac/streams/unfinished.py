"""What the state keeps of a read in slices until it is complete, so that the next run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from tap_sac.sac.export.delta import is_version

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = "slices"
_DAY = 24 * 60 * 60 * 1000  # milliseconds
_DIGEST_LENGTH = 16


def digest(text: str) -> str:
    """Shorten a text: a state is written after each slice, and goes through other programs."""
    return sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]


@dataclass(frozen=True)
class UnfinishedRead:
    """A read in slices, some of which are done.

    In the state it is ``{"version": ..., "question": "...", "started_at": ..., "done": [["...",
    rows], ...]}`` under ``slices``. `done` is a list, because programs that merge states, such as
    Meltano after a failure, would mix the members of two objects.

    Attributes:
        version: The version that its rows have in the target; None without versions.
        question: The digest of what it asks for.
        started_at: When it began, in milliseconds since 1970.
        done: The rows of each slice that is done and proven, by the digest of its condition.
    """

    version: int | None
    question: str
    started_at: int
    done: Mapping[str, int]

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> UnfinishedRead | None:
        """Read a stream's state; None if there is no such read, or somebody changed it."""
        told = state.get(_NAME)
        if not isinstance(told, dict):
            return None
        version, question = told.get("version"), told.get("question")
        started_at, done = told.get("started_at"), told.get("done")
        if not (
            (version is None or is_version(version))
            and isinstance(question, str)
            and is_version(started_at)
            and isinstance(done, list)
            and all(map(_is_done, done))
        ):
            return None
        return cls(version, question, started_at, dict(done))

    @staticmethod
    def forget(state: dict[str, Any]) -> bool:
        """Say in a stream's state that there is none; what is just removed, a merge puts back.

        Returns:
            Whether there was one.
        """
        if state.get(_NAME) is None:
            return False
        state[_NAME] = None
        return True

    def put_into(self, state: dict[str, Any]) -> None:
        """Write it into a stream's state."""
        state[_NAME] = {
            "version": self.version,
            "question": self.question,
            "started_at": self.started_at,
            "done": [list(item) for item in self.done.items()],
        }

    def hindrance(self, question: str, now: int, *, has_versions: bool) -> str | None:
        """Say why a run cannot go on with it; None if it can.

        Args:
            question: What the run asks for.
            now: When it started, in milliseconds since 1970.
            has_versions: Whether its rows have versions.
        """
        if self.question != question:
            return (
                "its form (types, stream maps, flattening, batch files), filter, columns, key or "
                "partition_by have changed"
            )
        if (self.version is not None) != has_versions:
            return "emit_activate_version_messages has changed"
        if not 0 <= now - self.started_at <= _DAY:
            return "it did not begin within the last 24 hours"
        return None


def _is_done(item: object) -> bool:
    return (
        isinstance(item, list)
        and len(item) == len(("digest", "rows"))
        and isinstance(item[0], str)
        and is_version(item[1])
    )
