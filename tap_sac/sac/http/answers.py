"""Answers that are no success: whether SAC gave them, what they say, and whether it may pass."""

from __future__ import annotations

import email.utils
import html
import json
import re
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tap_sac.sac.causes import NO_APP, PROXY, SERVER_FAULT, WRONG_HOST, likely_causes
from tap_sac.sac.errors import (
    CANNOT_PREPARE,
    CLIENT_NOT_ALLOWED,
    ForeignAnswerError,
    ResponseError,
    SACError,
    TransientError,
)
from tap_sac.safety.text import log_safe, origin_of

if TYPE_CHECKING:
    import requests

# The request was not carried out, and may be when it is repeated.
_NOT_CARRIED_OUT = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
# What proxies and firewalls answer with pages of their own, and SAC with its JSON error.
_OF_GATEWAYS = {
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.PRECONDITION_FAILED,
}
# Of Cloud Foundry's router, where it has no instance of SAC to pass a request to.
_ROUTER_ERROR = "x-cf-routererror"
_NEVER_PASSED_ON = "unknown_route"
# They stay as they are, whatever status they come with.
_FINAL_NUMBERS = {CANNOT_PREPARE, CLIENT_NOT_ALLOWED}
_XML_ERROR = re.compile(rb"\s*(<\?xml[^>]*>\s*)?<(\w+:)?error\b")
_XML_MESSAGE = re.compile(r"<(?:\w+:)?message\b[^>]*>([^<]*)<")
_NUMBER = re.compile(r"\[(\d{4})\]")
_LONGEST_RETRY_AFTER = 900.0
# How much of an answer that is no success is read.
MOST_BYTES_OF_AN_ERROR = 1024**2


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
    is_of_server = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return status in _NOT_CARRIED_OUT or (is_of_server and status != HTTPStatus.NOT_IMPLEMENTED)


def error_reason(response: requests.Response) -> str:
    """Return the status and what the body says, without the next step."""
    return _text_and_reason(response)[1]


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
