"""Sends requests to one tenant: session, limits on size, retries."""

from __future__ import annotations

import logging
import math
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from tenacity import (
    Retrying,
    retry_if_exception_type,
    wait_exponential,
    wait_random,
)
from typing_extensions import override
from urllib3 import HTTPResponse
from urllib3.exceptions import DecodeError, HTTPError

from tap_sac.sac.errors import SACError, TransientError
from tap_sac.sac.failures import Failure
from tap_sac.sac.http.answer import Answer
from tap_sac.sac.http.network_errors import connection_error
from tap_sac.sac.http.pace import LONGEST_BACKOFF_SECONDS, Pace
from tap_sac.sac.http.refusals import MOST_BYTES_OF_AN_ERROR
from tap_sac.safety import waiting
from tap_sac.safety.text import log_safe, origin_of, plural

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenacity import RetryCallState

logger = logging.getLogger(__name__)

# What requests and urllib3 raise. OSError is that of a CA bundle that is not there, ValueError
# that of a redirection to what is not a URL, and OverflowError that of an endless Content-Length.
_CONNECTION_ERRORS = (requests.RequestException, HTTPError, OSError, ValueError, OverflowError)
_FIRST_CONTACT_SECONDS = 20
_BACKOFF = wait_exponential(max=LONGEST_BACKOFF_SECONDS) + wait_random(0, 1)


_MIB = 1024**2
# What urllib3 decodes, and requests asks for.
_ENCODINGS = {"", "identity", *HTTPResponse.CONTENT_DECODERS}
# As fast as all at once; the small pieces that requests would take are not.
_READ_AT_ONCE = _MIB


class Limit(NamedTuple):
    """The largest answer that is read: a megabyte of gzip may decompress to a gigabyte.

    Attributes:
        size: In bytes, decompressed.
        failure: What a larger answer means.
    """

    size: int
    failure: Failure


PAGE_LIMIT = Limit(2048 * _MIB, Failure.HUGE_PAGE)

# What a token may be made of, to be sent in a header.
HEADER_VALUE = re.compile(r"[!-~]+")


class DirectAdapter(HTTPAdapter):
    """Sends plain HTTP requests, which only go to this machine, past any proxy.

    A proxy would see the credentials, and could not reach the loopback of this machine.
    """

    @override
    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        return super().send(request, **{**options, "proxies": {}})


def new_session(pool_size: int) -> requests.Session:
    """Make a session with a pool of connections to each host."""
    session = requests.Session()
    session.mount("https://", HTTPAdapter(pool_maxsize=pool_size))
    session.mount("http://", DirectAdapter(pool_maxsize=pool_size))
    return session


def exchange(
    session: requests.Session,
    request: requests.PreparedRequest,
    *,
    timeout: float,
    limit: Limit,
) -> Answer:
    """Send a request, and read its answer to the end; redirects are not followed.

    Of an error, at most `MOST_BYTES_OF_AN_ERROR` are read, and one byte as a sign of more.

    Proxies and certificates come from the environment. The timeout is in seconds without a byte.

    Raises:
        TransientError: If no complete answer came, and a retry may help.
        SACError: If a retry cannot help, or the answer is too large.
    """
    url = request.url or ""
    settings = session.merge_environment_settings(url, {}, None, None, None)
    settings["stream"] = True
    try:
        response = session.send(request, timeout=timeout, allow_redirects=False, **settings)
        if response.status_code < HTTPStatus.OK:  # unseen: an interim answer that http.client keeps
            # The final answer would be read as the answer to the next request.
            response.close()
            what = f"{origin_of(url)} answered {response.status_code} without a final response"
            raise TransientError(what, Failure.DAMAGED_ANSWER)
        body = _decoded_body(response, limit)
    except _CONNECTION_ERRORS as error:
        raise connection_error(error, url) from None
    return Answer(
        request.method or "",
        url,
        response.status_code,
        response.reason or "",
        {name.lower(): value for name, value in response.headers.items()},
        body,
        response.elapsed.total_seconds(),
    )


def _decoded_body(response: requests.Response, limit: Limit) -> bytes:
    """Read a body as `_read_body` does; that of a refusal may say why it cannot be decoded."""
    encoding = response.headers.get("content-encoding", "")
    is_asked_for = {part.strip().lower() for part in encoding.split(",")} <= _ENCODINGS
    try:
        body = _read_body(response, limit)
        if not is_asked_for:
            body.decode()  # It is as it came, which may be plain text.
    except (DecodeError, UnicodeDecodeError):
        how = "is not in its encoding" if is_asked_for else "has an encoding not requested,"
        how += f" {log_safe(encoding)!r}"
        if _is_refusal(response):  # Its status says more.
            return f"The body {how}".encode()
        what = f"The response to {_request_line(response)} {how}"
        raise TransientError(what, Failure.WRONG_ENCODING) from None
    return body


def _read_body(response: requests.Response, limit: Limit) -> bytes:
    """Read a body, and decompress no more than the limit; the rest of a larger one is not read."""
    is_cut = _is_refusal(response) and limit.size > MOST_BYTES_OF_AN_ERROR
    most = MOST_BYTES_OF_AN_ERROR if is_cut else limit.size
    length = response.headers.get("content-length", "")
    is_plain = "content-encoding" not in response.headers
    if is_plain and length.isdecimal() and int(length) <= most:  # Not compressed.
        return response.raw.read()
    pieces = []
    left = most + 1
    while left and (piece := response.raw.read(min(left, _READ_AT_ONCE), decode_content=True)):
        pieces.append(piece)
        left -= len(piece)
    if not left:
        response.close()
        if not is_cut:
            msg = f"The response to {_request_line(response)} is larger than {most // _MIB:,} MiB"
            raise SACError(msg, limit.failure)
    return b"".join(pieces)


def _is_refusal(response: requests.Response) -> bool:
    return not HTTPStatus.OK <= response.status_code < HTTPStatus.MULTIPLE_CHOICES


def _request_line(response: requests.Response) -> str:
    url = response.request.url or ""
    return f"{response.request.method} {origin_of(url)}{urlsplit(url).path}"


class Transport:
    """Sends requests from any thread.

    Attributes:
        observe: Is given each answer; None for a run, which needs nobody who looks on.
        requests_left: How many more requests may be sent.
    """

    def __init__(
        self,
        session: requests.Session,
        *,
        request_timeout: float,
        max_tries: int,
        pace: Pace,
        most_bytes: int = PAGE_LIMIT.size,
    ) -> None:
        """Store the limits; nothing is sent yet.

        Args:
            session: Sends the requests, with its User-Agent.
            request_timeout: Seconds without a byte before a request counts as failed.
            max_tries: The most attempts for one request.
            pace: Says when each request may be sent.
            most_bytes: The largest answer, decompressed.
        """
        self.session = session
        self.request_timeout = request_timeout
        self.max_tries = max_tries
        self.observe: Callable[[Answer], None] | None = None
        self.requests_left = math.inf
        self._most_bytes = most_bytes
        self.pace = pace
        self._is_stopped = False
        self._was_reached = False

    def stop(self) -> None:
        """Send no more requests."""
        self._is_stopped = True

    def tries(self) -> Retrying:
        """Retry an action: ``for attempt in ...: with attempt: ...``.

        Only a `TransientError` is retried, after a wait that grows, or a longer one that the server
        asks for. The last error is raised unchanged.
        """
        return Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=self._is_last_try,
            wait=_wait,
            before_sleep=_log_retry,
            sleep=waiting.sleep,
            reraise=True,
        )

    def send(self, request: requests.PreparedRequest, limit: Limit = PAGE_LIMIT) -> Answer:
        """Send a request whose turn it is, as `exchange` does, unless the tap was stopped."""
        if self._is_stopped:
            msg = "The tap was stopped and sends no more requests."
            raise SACError(msg)
        if self.requests_left <= 0:
            msg = "The limit of requests is reached, so no more are sent."
            raise SACError(msg)
        self.requests_left -= 1
        limit = limit._replace(size=min(limit.size, self._most_bytes))
        answer = exchange(self.session, request, timeout=self.request_timeout, limit=limit)
        self._was_reached = True
        if self.observe:
            self.observe(answer)
        return answer

    def _is_last_try(self, state: RetryCallState) -> bool:
        """Return whether to give up; sooner if nothing was ever reached, or retries are pointless.

        New containers get their DNS late, but not that late.
        """
        error = _error_of(state)
        most_tries = self.max_tries
        if isinstance(error, TransientError):
            most_tries = min(most_tries, error.most_tries or most_tries)
            waited = state.idle_for + state.upcoming_sleep
            if error.is_unreachable and not self._was_reached and waited > _FIRST_CONTACT_SECONDS:
                return True
        return state.attempt_number >= most_tries


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _wait(state: RetryCallState) -> float:
    """Return the seconds to wait: more each time, and as many as the server asks for."""
    error = _error_of(state)
    asked_for = error.retry_after if isinstance(error, TransientError) else None
    return max(_BACKOFF(state), asked_for or 0.0)


def _log_retry(state: RetryCallState) -> None:
    error = _error_of(state)
    logger.warning(
        "%s. Retrying in %.1f seconds, after %s.",
        error.what if isinstance(error, SACError) else error,
        state.upcoming_sleep,
        plural(state.attempt_number, "attempt"),
    )
