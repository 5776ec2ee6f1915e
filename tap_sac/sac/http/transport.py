"""Sends requests to one tenant, with size limits and retries."""

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

# Errors of requests and urllib3: OSError for a missing CA bundle, ValueError for a redirect to an
# invalid URL, and OverflowError for a huge Content-Length.
_CONNECTION_ERRORS = (requests.RequestException, HTTPError, OSError, ValueError, OverflowError)
_FIRST_CONTACT_SECONDS = 20
_BACKOFF = wait_exponential(max=LONGEST_BACKOFF_SECONDS) + wait_random(0, 1)


_MIB = 1024**2
# The encodings that urllib3 decodes and requests asks for.
_ENCODINGS = {"", "identity", *HTTPResponse.CONTENT_DECODERS}
# As fast as reading everything at once, unlike the small pieces of requests.
_READ_AT_ONCE = _MIB


class Limit(NamedTuple):
    """The largest response to read: a megabyte of gzip may decompress to a gigabyte.

    Attributes:
        size: The decompressed size in bytes.
        failure: The failure if a response is larger.
    """

    size: int
    failure: Failure


PAGE_LIMIT = Limit(2048 * _MIB, Failure.HUGE_PAGE)

# The characters of a token that can be sent in a header.
HEADER_VALUE = re.compile(r"[!-~]+")


class DirectAdapter(HTTPAdapter):
    """Sends plain HTTP requests, which only go to this machine, without a proxy.

    A proxy would see the credentials, and cannot reach this machine's loopback address.
    """

    @override
    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        return super().send(request, **{**options, "proxies": {}})


def new_session(pool_size: int) -> requests.Session:
    """Make a session with a connection pool per host."""
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
    """Send a request, and read the complete response; redirects are not followed.

    At most `MOST_BYTES_OF_AN_ERROR` of an error are read, and one byte more to detect truncation.

    Proxies and certificates come from the environment. The timeout is in seconds without a byte.

    Raises:
        TransientError: If there is no complete response, and a retry may help.
        SACError: If a retry cannot help, or the response is too large.
    """
    url = request.url or ""
    settings = session.merge_environment_settings(url, {}, None, None, None)
    settings["stream"] = True
    try:
        response = session.send(request, timeout=timeout, allow_redirects=False, **settings)
        if response.status_code < HTTPStatus.OK:  # unseen: an interim response
            # Otherwise, the final response would be read as the next request's.
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
    """Read a body like `_read_body`; if a refusal cannot be decoded, return why as its body."""
    encoding = response.headers.get("content-encoding", "")
    is_asked_for = {part.strip().lower() for part in encoding.split(",")} <= _ENCODINGS
    try:
        body = _read_body(response, limit)
        if not is_asked_for:
            body.decode()  # It was not decoded; it may be plain text.
    except (DecodeError, UnicodeDecodeError):
        how = "is not in its encoding" if is_asked_for else "has an encoding not requested,"
        how += f" {log_safe(encoding)!r}"
        if _is_refusal(response):  # The status is more informative.
            return f"The body {how}".encode()
        what = f"The response to {_request_line(response)} {how}"
        raise TransientError(what, Failure.WRONG_ENCODING) from None
    return body


def _read_body(response: requests.Response, limit: Limit) -> bytes:
    """Read a body, and decompress no more than the limit; the rest is not read."""
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
        observe: Gets each answer; None if not needed.
        requests_left: The number of requests that may still be sent.
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

        The timeout is in seconds without a byte; the largest response counts decompressed.
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

        Only a `TransientError` is retried, after a growing wait, or a longer one if the server asks
        for it. The last error is raised unchanged.
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
        """Return whether to stop retrying: earlier if no server was ever reached, or if pointless.

        In new containers, DNS may start late, but not that late.
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
    """Return the seconds to wait: growing each time, and at least what the server asks for."""
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
