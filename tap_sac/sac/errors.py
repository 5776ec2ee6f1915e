"""What can go wrong between the tap and SAC, each said in one sentence.

Every message names the cause and the next step. None ever holds a secret, a token or a request
body. ::

    SACError                    ends the run, or the stream
    ├── TransientError          may pass when the request is sent again
    ├── ResponseError           SAC refused a request
    ├── UnknownEntitySetError   SAC describes an entity set, and does not serve it
    ├── CSDLError               $metadata cannot be read
    ├── DataError               what came for one table cannot be trusted, or does not fit
    │   ├── ForeignAnswerError  somebody else answered in the place of SAC
    │   └── GarbledTextError    a text is not one that JSON can have
    └── DeltaLostError          the changes since the last run cannot be had
"""

from __future__ import annotations

import email.utils
import html
import json
import re
import ssl
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

from tap_sac.sac.causes import (
    GARBLED_TEXT,
    NO_APP,
    NO_CONNECTION,
    NO_SOCKS,
    PLAIN_PORT,
    PROXY,
    SERVER_FAULT,
    SLOW_ANSWER,
    UNKNOWN_HOST,
    UNTRUSTED_CERTIFICATE,
    WRONG_HOST,
    Cause,
    likely_causes,
)
from tap_sac.sac.text import log_safe, origin_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

# The request was not carried out, and may be when it is repeated.
_NOT_CARRIED_OUT = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_NOT_EXPORTED = {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.PRECONDITION_FAILED}
# What proxies and firewalls answer with pages of their own, and SAC with its JSON error.
_OF_GATEWAYS = {*_NOT_EXPORTED, HTTPStatus.METHOD_NOT_ALLOWED}
# Of Cloud Foundry's router, where it has no instance of SAC to pass a request to.
_ROUTER_ERROR = "x-cf-routererror"
_NEVER_PASSED_ON = "unknown_route"
_CANNOT_PREPARE = 1205
_CLIENT_NOT_ALLOWED = 3401
# They stay as they are, whatever status they come with.
_FINAL_NUMBERS = {_CANNOT_PREPARE, _CLIENT_NOT_ALLOWED}
_XML_ERROR = re.compile(rb"\s*(<\?xml[^>]*>\s*)?<(\w+:)?error\b")
_XML_MESSAGE = re.compile(r"<(?:\w+:)?message\b[^>]*>([^<]*)<")
_NUMBER = re.compile(r"\[(\d{4})\]")
_LONGEST_RETRY_AFTER = 900.0
# How much of an answer that is no success is read.
MOST_BYTES_OF_AN_ERROR = 1024**2
# OpenSSL's libraries for certificates and their files.
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}
_CERTIFICATE_LIBRARIES = {"X509", "PEM"}


class SACError(Exception):
    """Stops a run: the message says what happened and what to do next.

    Attributes:
        causes: What may have caused it, the likeliest first; none if the message says so itself.
        may_have_run: Whether SAC may have carried out the request that failed so.
    """

    def __init__(self, what: str, *causes: Cause) -> None:
        """Make the message: of what happened, and of the next step for each cause."""
        next_steps = ", or ".join(cause.next_step for cause in causes)
        super().__init__(f"{what}: {next_steps}." if causes else what)
        self.causes = causes
        self.may_have_run = True


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
        *causes: Cause,
        may_have_run: bool = True,
        retry_after: float | None = None,
        is_unreachable: bool = False,
        most_tries: int | None = None,
    ) -> None:
        """Keep what decides whether and when to ask again."""
        super().__init__(what, *causes)
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
        self, what: str, *causes: Cause, status: int, number: int | None, reason: str
    ) -> None:
        """Keep what a caller needs to tell refusals apart."""
        super().__init__(what, *causes)
        self.status = status
        self.number = number
        self.reason = reason
        self.may_have_run = not self.is_denied

    @property
    def is_denied(self) -> bool:
        """Whether the client was not let in, or was sent elsewhere, so that nothing was done."""
        is_client = self.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        is_client = is_client or self.number == _CLIENT_NOT_ALLOWED
        return is_client or HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST

    @property
    def is_not_exported(self) -> bool:
        """Whether SAC does not export the thing asked for, while the rest may be fine."""
        return self.status in _NOT_EXPORTED or self.number == _CLIENT_NOT_ALLOWED

    @property
    def is_unprepared(self) -> bool:
        """Whether SAC cannot prepare the query: of an ``in`` list, or of a table it cannot read."""
        return self.number == _CANNOT_PREPARE


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
        super().__init__(what, GARBLED_TEXT, most_tries=2)


class DeltaLostError(SACError):
    """The changes since the last run cannot be had; the whole table can."""


def response_error(response: requests.Response) -> SACError:
    """Say why an answer is not a success.

    Args:
        response: The answer.

    Returns:
        A `ForeignAnswerError` where a page of somebody else came with a status that SAC has a
        meaning for, else what `refusal` returns.
    """
    if response.status_code in _OF_GATEWAYS and not (
        _ROUTER_ERROR in response.headers or _may_be_of_sac(response)
    ):
        reason = error_reason(response)
        what = f"{reason} came as the answer to {_request_line(response)}, and not from SAC itself"
        return ForeignAnswerError(what, PROXY, WRONG_HOST)
    return refusal(response)


def refusal(response: requests.Response) -> SACError:
    """Read a refusal of SAC from its status and body.

    The body is ``{"error": {"code": <correlation id>, "message": "... [3707]"}}``, where the
    message may also be ``{"lang": ..., "value": ...}``; a gateway may send HTML or nothing.

    Args:
        response: An answer that is not a success.

    Returns:
        A `TransientError` for what may pass, else a `ResponseError`.
    """
    status = response.status_code
    text, reason = _text_and_reason(response)
    what = f"SAC answered {reason} to {_request_line(response)}"
    found = _NUMBER.search(text)
    number = int(found[1]) if found else None
    causes = likely_causes(status, number)
    router_error = response.headers.get(_ROUTER_ERROR)
    if router_error is not None:
        what += f", by its router ({log_safe(router_error)})"
        return TransientError(
            what,
            NO_APP,
            may_have_run=router_error.strip() != _NEVER_PASSED_ON,
            retry_after=retry_after(response),
        )
    if is_transient(status) and number not in _FINAL_NUMBERS:
        return TransientError(
            what,
            *(causes or (SERVER_FAULT,)),
            may_have_run=status not in _NOT_CARRIED_OUT,
            retry_after=retry_after(response),
        )
    if response.is_redirect:
        location = origin_of(response.headers["location"])
        what += f", and it leads to {log_safe(location, token_of(response))}"
    return ResponseError(
        what, *(causes or (WRONG_HOST,)), status=status, number=number, reason=reason
    )


def is_transient(status: int) -> bool:
    """Return whether the same request may get another answer than this status later."""
    return status in _NOT_CARRIED_OUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def error_reason(response: requests.Response) -> str:
    """Return the status and what the body says, without the next step."""
    return _text_and_reason(response)[1]


def connection_error(error: Exception, url: str) -> SACError:
    """Say why no whole answer came; the reason lies deep inside.

    Args:
        error: What `requests` or urllib3 raised.
        url: What was asked for.

    Returns:
        A `SACError` for what stays as it is, such as a certificate that is not trusted, else a
        `TransientError`.
    """
    if isinstance(error, (requests.exceptions.InvalidURL, LocationParseError)):
        # Its text may hold the password. The addresses of the settings have been checked.
        return SACError("The proxy address is not a valid URL", PROXY)
    if isinstance(error, requests.exceptions.InvalidSchema):  # Of a proxy alone.
        return SACError(f"The proxy cannot be used ({log_safe(str(error))})", NO_SOCKS)
    # requests derives its own errors from ValueError and OSError, so these two go by exact type.
    if type(error) in {ValueError, UnicodeDecodeError}:
        return SACError(f"{origin_of(url)} redirects to an invalid address", NO_CONNECTION)
    reason = getattr(error.args[0] if error.args else None, "reason", None) or error
    reason = getattr(reason, "original_error", reason)
    what = f"No answer from {origin_of(url)} ({log_safe(str(reason))})"
    errors = list(_nested(error))
    if type(error) is OSError or any(map(_is_of_certificates, errors)):
        return SACError(what, UNTRUSTED_CERTIFICATE)
    if any(map(_is_no_tls, errors)):
        return SACError(what, PLAIN_PORT)
    found = (cause for types, cause in _CAUSES if any(isinstance(item, types) for item in errors))
    is_unsent = isinstance(reason, (NewConnectionError, ConnectTimeoutError))
    return TransientError(
        what,
        next(found, NO_CONNECTION),
        may_have_run=not is_unsent,
        is_unreachable=isinstance(reason, NewConnectionError),
    )


# The more telling first: a proxy wraps the errors of others.
_CAUSES: tuple[tuple[tuple[type[Exception], ...], Cause], ...] = (
    ((NameResolutionError,), UNKNOWN_HOST),
    ((requests.ReadTimeout, ReadTimeoutError), SLOW_ANSWER),
    ((ProxyError,), PROXY),
)


def _nested(error: BaseException) -> Iterator[BaseException]:
    """Return an error, and whatever errors requests and urllib3 have put inside it."""
    yield error
    for item in (*error.args, getattr(error, "reason", None)):
        if isinstance(item, BaseException):
            yield from _nested(item)


def _is_of_certificates(error: BaseException) -> bool:
    return isinstance(error, ssl.SSLCertVerificationError) or (
        isinstance(error, ssl.SSLError) and error.library in _CERTIFICATE_LIBRARIES
    )


def _is_no_tls(error: BaseException) -> bool:
    """Return whether a server answered a TLS handshake in clear text."""
    return isinstance(error, ssl.SSLError) and error.reason in _NO_TLS


def web_page_error(response: requests.Response) -> SACError:
    """Say that a page for people came where data was expected, such as a login page."""
    return ForeignAnswerError(
        f"A web page came instead of data as the answer to {_request_line(response)}",
        WRONG_HOST,
        PROXY,
    )


def looks_like_web_page(response: requests.Response) -> bool:
    """Return whether a body starts as HTML does, and JSON never."""
    return response.content.lstrip()[:1] == b"<"


def retry_after(response: requests.Response) -> float | None:
    """Read Retry-After, seconds or an HTTP date (RFC 9110, 10.2.3), up to a quarter of an hour."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return min(float(value), _LONGEST_RETRY_AFTER)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    seconds = (date - datetime.now(timezone.utc)).total_seconds()
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER)


def _may_be_of_sac(response: requests.Response) -> bool:
    """Return whether a body is empty, JSON or an OData error in XML, and not a page or a text."""
    start = response.content.lstrip()[:1]
    return start in {b"", b"{", b"["} or bool(_XML_ERROR.match(response.content))


def _text_and_reason(response: requests.Response) -> tuple[str, str]:
    """Return what the body says, alone and with the status and the correlation id."""
    token = token_of(response)
    text, correlation_id = (log_safe(str(part or ""), token) for part in _error_text(response))
    reason = f"{response.status_code} {log_safe(response.reason or '', token)}".rstrip()
    reason += f", {text!r}" if text else ""
    if response.status_code != HTTPStatus.OK and len(response.content) > MOST_BYTES_OF_AN_ERROR:
        reason += f", cut off after {MOST_BYTES_OF_AN_ERROR // 1024**2} MiB"
    reason += f" (correlation id {correlation_id})" if correlation_id else ""
    return text, reason


def token_of(response: requests.Response) -> str:
    """Return the token of the request, which an answer may repeat."""
    return response.request.headers.get("Authorization", "").partition(" ")[2]


def _error_text(response: requests.Response) -> tuple[object, object]:
    """Return what the body says, and the correlation id, wherever it is."""
    from_header = response.headers.get("x-correlationid")
    try:
        error = json.loads(response.content)["error"]
    except (ValueError, TypeError, KeyError, RecursionError):
        text = response.content.decode(errors="replace")
        if _XML_ERROR.match(response.content):
            found = _XML_MESSAGE.search(text)
            return html.unescape(found[1] if found else ""), from_header
        return "" if looks_like_web_page(response) else text, from_header
    if not isinstance(error, dict):
        return error, from_header
    message: Any = error.get("message", "")
    if isinstance(message, dict):
        message = message.get("value", "")
    return message, error.get("code") or from_header


def _request_line(response: requests.Response) -> str:
    request = response.request
    return f"{request.method} {urlsplit(request.url or '').path}"
