"""Refusals: whether SAC sent them, what they mean, and whether a retry may help."""

from __future__ import annotations

import html
import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import ForeignAnswerError, ResponseError, SACError, TransientError
from tap_sac.sac.failures import Failure, SACErrorNumber, refusal_kind
from tap_sac.safety.text import log_safe, origin_of

if TYPE_CHECKING:
    from tap_sac.sac.http.answer import Answer

# The request was not processed; a retry may help.
_NOT_CARRIED_OUT = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
# Statuses that proxies and firewalls use as well, with their own pages.
_OF_GATEWAYS = {
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.PRECONDITION_FAILED,
}
# Set by Cloud Foundry's router when it has no instance of SAC.
_ROUTER_ERROR = "x-cf-routererror"
_NEVER_PASSED_ON = "unknown_route"
# Permanent, whatever the status is.
_FINAL_NUMBERS = {SACErrorNumber.CANNOT_PREPARE, SACErrorNumber.CLIENT_NOT_ALLOWED}
_JSON_ERROR = re.compile(rb'\s*\{\s*"error"\s*:\s*\{')
_XML_ERROR = re.compile(rb"\s*(<\?xml[^>]*>\s*)?<(\w+:)?error\b")
_XML_MESSAGE = re.compile(r"<(?:\w+:)?message\b[^>]*>([^<]*)<")
# A number that is not known may be a value of the company, unless it is where SAC has it.
_KNOWN = "|".join(f"{number:04}" for number in SACErrorNumber)
_NUMBER = re.compile(rf"\[(?:({_KNOWN})\]|([0-9]{{4}})\][\s.]*$)")
# The part of an error's body that is read.
MOST_BYTES_OF_AN_ERROR = 1024**2


def response_error(answer: Answer) -> SACError:
    """Explain an answer that is not a success.

    Returns:
        A `ForeignAnswerError` if a proxy or gateway sent it, else the result of `refusal`.
    """
    if answer.status in _OF_GATEWAYS and not (
        _ROUTER_ERROR in answer.headers or _may_be_sac_error(answer)
    ):
        reason = error_reason(answer)
        what = f"A proxy or gateway, not SAC, answered {answer.request_line} with {reason}"
        return ForeignAnswerError(what, Failure.FOREIGN_ANSWER)
    return refusal(answer)


def refusal(answer: Answer) -> SACError:
    """Interpret a refusal of SAC by its status and body.

    The body is ``{"error": {"code": <correlation id>, "message": "... [3707]"}}``, where the
    message may also be ``{"lang": ..., "value": ...}``; a gateway may send HTML or nothing.

    Returns:
        A `TransientError` if a retry may help, else a `ResponseError`.
    """
    status = answer.status
    reason = error_reason(answer)
    what = f"SAC answered {reason} to {answer.request_line}"
    number = error_number(answer)
    failure = refusal_kind(status, number)
    router_error = answer.headers.get(_ROUTER_ERROR)
    if router_error is not None:
        what += f", sent by its router ({log_safe(router_error)})"
        return TransientError(
            what,
            Failure.NO_APP,
            may_have_run=router_error.strip() != _NEVER_PASSED_ON,
            retry_after=answer.retry_after,
        )
    if is_transient(status) and number not in _FINAL_NUMBERS:
        return TransientError(
            what,
            failure or Failure.SERVER_FAULT,
            may_have_run=status not in _NOT_CARRIED_OUT,
            retry_after=answer.retry_after,
        )
    is_redirect = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
    if is_redirect and (location := answer.headers.get("location")):
        what += f", a redirect to {log_safe(origin_of(location))}"
    failure = failure or Failure.UNEXPECTED_STATUS
    return ResponseError(what, failure, status=status, number=number, reason=reason)


def is_transient(status: int) -> bool:
    """Return whether a retry may help."""
    is_of_server = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return status in _NOT_CARRIED_OUT or (is_of_server and status != HTTPStatus.NOT_IMPLEMENTED)


def error_reason(answer: Answer) -> str:
    """Return the status and the message of the body."""
    return _text_and_reason(answer)[1]


def error_number(answer: Answer) -> int | None:
    """Return SAC's error number, if the message has one."""
    found = _NUMBER.search(str(_error_text(answer)[0] or ""))
    return int(found[1] or found[2]) if found else None


def error_format(answer: Answer) -> tuple[str, str]:
    """Return a word for the format of an error, and its message if SAC's format has one."""
    if answer.is_markup:
        return ("HTML" if b"<html" in answer.body[:1000].lower() else "XML"), ""
    try:
        message = json.loads(answer.body)["error"]["message"]
    except (ValueError, TypeError, KeyError, RecursionError):
        start = answer.body.strip()[:1]
        return ("JSON" if start in {b"{", b"["} else "plain") if start else "empty", ""
    is_object = isinstance(message, dict)
    return ("object:", str(message.get("value"))) if is_object else ("text:", str(message))


def is_sac_refusal(answer: Answer) -> bool:
    """Return whether SAC itself refused, with JSON or OData XML, and not its router."""
    return _ROUTER_ERROR not in answer.headers and _has_error(answer)


def _has_error(answer: Answer) -> bool:
    try:
        return isinstance(json.loads(answer.body)["error"], dict)  # Spring's is a text.
    except (ValueError, TypeError, KeyError, RecursionError):
        return bool(_XML_ERROR.match(answer.body))


def asks_for_csrf_token(answer: Answer) -> bool:
    """Return whether SAC refuses a write only because of a missing or invalid CSRF token."""
    header = answer.headers.get("x-csrf-token", "").strip().lower()
    return answer.status == HTTPStatus.FORBIDDEN and header == "required"


def web_page_error(answer: Answer) -> SACError:
    """Report a web page, such as a login page, in place of data."""
    return ForeignAnswerError(
        f"{answer.request_line} returned a web page instead of data", Failure.WEB_PAGE
    )


def _may_be_sac_error(answer: Answer) -> bool:
    """Return whether a body is empty, an error in (maybe truncated) JSON, or one in XML."""
    # unseen: OData errors in XML
    return not answer.body.strip() or bool(_JSON_ERROR.match(answer.body)) or _has_error(answer)


def _text_and_reason(answer: Answer) -> tuple[str, str]:
    """Return the message of the body, alone and with the status and correlation ID."""
    text, correlation_id = (log_safe(str(part or "")) for part in _error_text(answer))
    reason = f"{answer.status} {log_safe(answer.reason)}".rstrip()
    reason += f", {text!r}" if text else ""
    if answer.status != HTTPStatus.OK and len(answer.body) > MOST_BYTES_OF_AN_ERROR:
        reason += f", truncated after {MOST_BYTES_OF_AN_ERROR // 1024**2} MiB"
    reason += f" (correlation id {correlation_id})" if correlation_id else ""
    return text, reason


def _error_text(answer: Answer) -> tuple[object, object]:
    """Return the message and the correlation ID, wherever they are."""
    from_header = answer.headers.get("x-correlationid")
    try:
        error = json.loads(answer.body)["error"]
    except (ValueError, TypeError, KeyError, RecursionError):
        text = answer.body.decode(errors="replace")
        if _XML_ERROR.match(answer.body):
            found = _XML_MESSAGE.search(text)
            return html.unescape(found[1] if found else ""), from_header
        return "" if answer.is_markup else text, from_header
    if not isinstance(error, dict):
        return error, from_header
    message: Any = error.get("message", "")
    if isinstance(message, dict):
        message = message.get("value", "")
    return message, error.get("code") or from_header
