"""The errors between the tap and SAC.

An error says what happened; its kind of failure and its step determine the cause and the next step.
No error contains a secret, a token or a request body. ::

    SACError                    ends the run, or the stream
    ├── TransientError          a retry may help
    ├── ResponseError           SAC refused a request
    ├── UnknownEntitySetError   SAC describes an entity set, but does not serve it
    ├── CSDLError               $metadata cannot be read
    ├── DataError               the rows of one table are wrong, incomplete, or do not fit
    │   ├── ForeignAnswerError  a proxy, firewall or router answered instead of SAC
    │   └── GarbledTextError    a text is not valid JSON
    └── DeltaLostError          the changes since the last run cannot be read
"""

from __future__ import annotations

from contextlib import contextmanager
from http import HTTPStatus
from operator import attrgetter
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from tap_sac.sac.failures import Failure, SACErrorNumber

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_sac.sac.failures import Step


class SACError(Exception):
    """Stops a run or a stream.

    Attributes:
        what: What happened, without cause and next step.
        failure: The kind of failure; None if `what` has the cause and the next step.
        step: The step that failed; None if none of the client's steps did.
        may_have_run: Whether SAC may have processed the failed request.
        explain: Writes the message. This package does not know next steps, so the program that uses
            it sets this function, once for all errors.
    """

    explain: ClassVar[staticmethod[[SACError], str]] = staticmethod(attrgetter("what"))

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
        return self.explain(self)


class TransientError(SACError):
    """A retry may help.

    Attributes:
        retry_after: Seconds to wait, if the server named them.
        is_unreachable: Whether no connection was made.
        most_tries: The maximum number of attempts that makes sense.
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
        """Store what determines whether and when to retry."""
        super().__init__(what, failure)
        self.may_have_run = may_have_run
        self.retry_after = retry_after
        self.is_unreachable = is_unreachable
        self.most_tries = most_tries


class ResponseError(SACError):
    """SAC refused a request.

    Attributes:
        number: SAC's four-digit error number, if the body has one.
        reason: The status and SAC's message.
    """

    def __init__(
        self, what: str, failure: Failure, *, status: int, number: int | None, reason: str
    ) -> None:
        """Store the details of the response."""
        super().__init__(what, failure)
        self.status = status
        self.number = number
        self.reason = reason
        self.may_have_run = not self.is_denied

    @property
    def is_denied(self) -> bool:
        """Whether SAC denied access or redirected, so nothing was processed."""
        is_client = self.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        is_client = is_client or self.number == SACErrorNumber.CLIENT_NOT_ALLOWED
        return is_client or HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST

    @property
    def is_unprepared(self) -> bool:
        """Whether SAC cannot prepare the query: an ``in`` list, or a table it cannot read."""
        return self.number == SACErrorNumber.CANNOT_PREPARE


class UnknownEntitySetError(SACError):
    """An entity set is in ``$metadata``, but SAC does not serve it."""


class CSDLError(SACError):
    """A ``$metadata`` document cannot be read."""


class DataError(SACError):
    """The rows of one table are wrong, incomplete, or do not fit.

    It fails its stream; the others continue.
    """


class ForeignAnswerError(DataError):
    """A proxy, a firewall or a router answered instead of SAC.

    That proves nothing about SAC's data, so nothing may be deleted or skipped because of it.
    """


class GarbledTextError(TransientError, DataError):
    """A text is not valid JSON: it was damaged in transit, or is stored like this in SAC."""

    def __init__(self, what: str) -> None:
        """Allow one retry, which helps if the text was damaged in transit."""
        super().__init__(what, Failure.GARBLED_TEXT, most_tries=2)


class DeltaLostError(SACError):
    """The changes since the last run cannot be read, but the whole table can."""


_LIMITED_FAILURES = {Failure.SERVER_FAULT, Failure.DAMAGED_ANSWER, Failure.BROKEN_METADATA}


def others_may_be_readable(error: SACError) -> bool:
    """Return whether the other models and namespaces of the tenant may still be readable."""
    if isinstance(error, ResponseError):
        return error.status != HTTPStatus.UNAUTHORIZED
    return error.failure in _LIMITED_FAILURES or isinstance(error, ForeignAnswerError)


def may_retry(error: SACError) -> bool:
    """Return whether a retry of the same request may succeed."""
    return isinstance(error, TransientError) and error.most_tries != 1


@contextmanager
def during(step: Step) -> Iterator[None]:
    """Set the failed step of errors, unless an inner step has set it."""
    try:
        yield
    except SACError as error:
        error.step = error.step or step
        raise
