"""What can go wrong between the tap and SAC.

An error says what happened; its kind of failure and its step lead to the cause and the next step.
None ever holds a secret, a token or a request body. ::

    SACError                    ends the run, or the stream
    ├── TransientError          may pass when the request is sent again
    ├── ResponseError           SAC refused a request
    ├── UnknownEntitySetError   SAC describes an entity set, and does not serve it
    ├── CSDLError               $metadata cannot be read
    ├── DataError               the rows of one table are wrong, incomplete, or do not fit
    │   ├── ForeignAnswerError  somebody else answered in the place of SAC
    │   └── GarbledTextError    a text is not valid JSON
    └── DeltaLostError          the changes since the last run cannot be read
"""

from __future__ import annotations

from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from tap_sac.sac.failures import Failure, SACErrorNumber

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    from tap_sac.sac.failures import Step


def _what_happened(error: SACError) -> str:
    return error.what


class SACError(Exception):
    """Stops a run, or a stream.

    Attributes:
        what: What happened, without cause and next step.
        failure: The kind of failure; None if `what` also says the cause and the next step.
        step: What the client was doing; None if no step of its own failed.
        may_have_run: Whether SAC may have carried out the request that failed so.
        explain: Writes the message. This package has no words for what to do: whoever uses it
            sets them, once for all errors.
    """

    explain: ClassVar[staticmethod[[SACError], str]] = staticmethod(_what_happened)

    def __init__(
        self, what: str, failure: Failure | None = None, *, step: Step | None = None
    ) -> None:
        """Describe what happened."""
        super().__init__(what)
        self.what: str = what
        self.failure = failure
        self.step = step
        self.may_have_run = True

    @override
    def __str__(self) -> str:
        """Write the message for people."""
        return self.explain(self)


class TransientError(SACError):
    """May pass when the request is sent again.

    Attributes:
        retry_after: Seconds to wait, if the server named them.
        is_unreachable: Whether no connection came about.
        most_tries: How often the request may be sent in all, where more do not help.
    """

    def __init__(
        self,
        what: str,
        failure: Failure | None = None,
        *,
        may_have_run: bool = True,
        retry_after: float | None = None,
        is_unreachable: bool = False,
        most_tries: int | None = None,
    ) -> None:
        """Keep what decides whether and when to ask again."""
        super().__init__(what, failure)
        self.may_have_run = may_have_run
        self.retry_after = retry_after
        self.is_unreachable = is_unreachable
        self.most_tries = most_tries

    def before_the_request(self) -> Self:
        """Return this error as that of a request which was therefore never sent."""
        self.may_have_run = False
        return self


class ResponseError(SACError):
    """SAC refused a request.

    Attributes:
        status: The HTTP status code.
        number: SAC's four-digit error number, if the body has one.
        reason: What SAC said, without the next step.
    """

    def __init__(
        self, what: str, failure: Failure, *, status: int, number: int | None, reason: str
    ) -> None:
        """Keep what a caller needs to tell refusals apart."""
        super().__init__(what, failure)
        self.status = status
        self.number = number
        self.reason = reason
        self.may_have_run = not self.is_denied

    @property
    def is_denied(self) -> bool:
        """Whether the client was not let in, or was sent elsewhere, so that nothing was done."""
        is_client = self.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        is_client = is_client or self.number == SACErrorNumber.CLIENT_NOT_ALLOWED
        return is_client or HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST

    @property
    def is_unprepared(self) -> bool:
        """Whether SAC cannot prepare the query: of an ``in`` list, or of a table it cannot read."""
        return self.number == SACErrorNumber.CANNOT_PREPARE


class UnknownEntitySetError(SACError):
    """An entity set is in ``$metadata``, but SAC does not serve it."""


class CSDLError(SACError):
    """A ``$metadata`` document cannot be read."""


class DataError(SACError):
    """What came for one table cannot be trusted or does not fit.

    It fails its stream, and others go on.
    """


class ForeignAnswerError(DataError):
    """A proxy, a firewall or a router answered in the place of SAC.

    That says nothing of what SAC has: it is no reason to give something up, or to delete it.
    """


class GarbledTextError(TransientError, DataError):
    """A text is not one that JSON can have: garbled on its way, or stored so in SAC."""

    def __init__(self, what: str) -> None:
        """Ask once more, because only the way can be another."""
        super().__init__(what, Failure.GARBLED_TEXT, most_tries=2)


class DeltaLostError(SACError):
    """The changes since the last run cannot be had; the whole table can."""


_OF_ONE_PART = {Failure.SERVER_FAULT, Failure.DAMAGED_ANSWER, Failure.BROKEN_METADATA}


def is_of_one_part(error: SACError) -> bool:
    """Return whether other models and namespaces of the tenant may be read all the same."""
    if isinstance(error, ResponseError):
        return error.status != HTTPStatus.UNAUTHORIZED
    return error.failure in _OF_ONE_PART or isinstance(error, ForeignAnswerError)


@contextmanager
def during(step: Step) -> Iterator[None]:
    """Note on errors which step failed, unless a step inside it has failed before."""
    try:
        yield
    except SACError as error:
        error.step = error.step or step
        raise
