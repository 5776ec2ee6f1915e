"""Limits the rate for a tenant: requests at once, and waits after a 429 or 503."""

from __future__ import annotations

import logging
import threading
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING

from tap_sac.sac.errors import TransientError
from tap_sac.sac.http.refusals import refusal
from tap_sac.safety import waiting

if TYPE_CHECKING:
    from typing_extensions import Self

    from tap_sac.sac.http.answer import Answer

logger = logging.getLogger(__name__)

PATIENCE = 3600.0  # seconds
OPTIONAL_PATIENCE = 1000.0  # with what a read can do without: one wait of the longest, and more
SHORT_PATIENCE = 60.0  # for a user at a terminal
LONGEST_BACKOFF_SECONDS = 60.0
# The statuses that ask to wait, in the order of `Turn.holds`: for the tenant, and for the model.
_ASKING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class Patience:
    """The maximum time to wait for a server, all waits together."""

    def __init__(self, seconds: float) -> None:
        """Start the clock; with 0 seconds, nothing waits."""
        self.seconds = seconds
        self._end = monotonic() + seconds

    def check(self, error: TransientError, seconds: float) -> None:
        """Log that there will be a retry after a wait.

        Raises:
            TransientError: The refusal, as the last attempt, if that would take too long.
        """
        if monotonic() + seconds >= self._end:
            error.most_tries = 1
            raise error
        logger.warning("%s. Retrying in %.1f seconds.", error.what, seconds)


class Hold:
    """A group of requests that wait together: those to the tenant, or to one of its models.

    Attributes:
        waits: The number of waits since the last success.
        until: When the last wait ends.
        first: The request that is sent before the others after a wait; None if there is none yet.
    """

    def __init__(self) -> None:
        """Start without a wait."""
        self.waits = 0
        self.until = 0.0
        self.first: Turn | None = None

    def extend(self, asked: float, waits_before: int) -> float:
        """Start a wait, which grows each time, and return its seconds.

        Requests that were sent together are refused together; that is one wait.
        """
        self.waits = max(self.waits, waits_before + 1)
        grown = min(2.0 ** min(self.waits - 1, 10), LONGEST_BACKOFF_SECONDS)
        seconds = max(asked, grown)
        self.until = max(self.until, monotonic() + seconds)
        return seconds


class Turn:
    """A request and its retries: ``with turn: turn.answer = ...``.

    Attributes:
        answer: The answer, set by the sender.
        refused: The refusal with which SAC asked to wait, if any.
        wait: The seconds to wait after the refusal.
        patience: How long it waits.
    """

    def __init__(self, pace: Pace, holds: tuple[Hold, Hold], *, is_optional: bool) -> None:
        """Start the clock: the request waits only so long in total."""
        self.answer: Answer | None = None
        self.refused: TransientError | None = None
        self.wait = 0.0
        self.holds = holds
        self.waits_before = (0, 0)
        self._pace = pace
        self._is_optional = is_optional
        self.patience = Patience(pace.optional_patience if is_optional else pace.patience)

    def __enter__(self) -> Self:
        """Wait until the request may be sent."""
        self._pace.begin(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Release the other requests, or make them wait like this one."""
        self._pace.end(self)

    def check_patience(self) -> None:
        """Log that the request will be retried after the wait, like `Patience.check`.

        After an optional request has waited in vain, later ones do not wait.
        """
        if self.refused is None:
            return
        try:
            self.patience.check(self.refused, self.wait)
        except TransientError:
            if self._is_optional:
                self._pace.optional_patience = 0.0
            raise


class Pace:
    """Decides when requests from any thread may be sent, and how many at once.

    After a 429 with Retry-After, all requests to the tenant wait; after such a 503, those to the
    same model. Then one request is sent first, and the others after it succeeds.
    """

    def __init__(self, most_at_once: int, patience: float = PATIENCE) -> None:
        """Start without waits; the patience limits the total wait of a request."""
        self.patience = patience
        self.optional_patience = min(patience, OPTIONAL_PATIENCE)
        self._most_at_once = most_at_once
        self._under_way = 0
        self._tenant = Hold()
        self._models: dict[str, Hold] = {}
        self._changed = threading.Condition()

    def turn(self, model: str, *, is_optional: bool = False) -> Turn:
        """Make the turn of a request to a model, or to another path.

        A read does not need the answer to an optional request.
        """
        with self._changed:
            holds = (self._tenant, self._models.setdefault(model, Hold()))
            return Turn(self, holds, is_optional=is_optional)

    def begin(self, turn: Turn) -> None:
        """Wait until a request may be sent."""
        while seconds := self._seconds_left(turn):
            waiting.sleep(seconds)

    def end(self, turn: Turn) -> None:
        """Start a wait if the answer asks for one; otherwise release the waiting requests."""
        answer, turn.answer, turn.refused = turn.answer, None, None
        asked = answer.retry_after if answer and answer.status in _ASKING else None
        if answer and asked is not None:
            error = refusal(answer)  # Some of SAC's error numbers are final.
            turn.refused = error if isinstance(error, TransientError) else None
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()
            for status, hold, waits_before in zip(
                _ASKING, turn.holds, turn.waits_before, strict=True
            ):
                hold.first = None if hold.first is turn else hold.first
                if turn.refused and answer and answer.status == status:
                    if turn.patience.seconds:  # Else nobody waits, and the others need not.
                        turn.wait = hold.extend(asked or 0.0, waits_before)
                elif hold.waits == waits_before:
                    hold.waits = 0

    def _seconds_left(self, turn: Turn) -> float:
        """Return the seconds to wait before checking again; 0 if the request may be sent now.

        Only the first request waits for the time; the others wait for the first one.
        """
        with self._changed:
            waiting.wait_for(self._changed, lambda: self._may_go(turn))
            for hold in turn.holds:
                if hold.waits:
                    hold.first = turn
            left = max(hold.until for hold in turn.holds) - monotonic()
            if left <= 0:
                turn.waits_before = (turn.holds[0].waits, turn.holds[1].waits)
                self._under_way += 1
            return max(left, 0.0)

    def _may_go(self, turn: Turn) -> bool:
        is_first = all(hold.first in {None, turn} for hold in turn.holds)
        return is_first and self._under_way < self._most_at_once
