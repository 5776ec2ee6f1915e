"""What can go wrong between the tap and SAC, each told in one sentence.

Every message names the cause and the next step. None ever holds a secret, a token or a
request body.
"""

from __future__ import annotations

import email.utils
import json
import re
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
)

APP_INTEGRATION = "System > Administration > App Integration"


class Cause(NamedTuple):
    """Why something may fail, and what to click or change then: what every message draws on."""

    what: str
    next_step: str


NO_DATA_EXPORT = Cause(
    "the OAuth client may not export data",
    f"in SAC, under {APP_INTEGRATION}, give the OAuth client of the setting client_id the access "
    "'Data Export Service'",
)
WRONG_HOST = Cause(
    "the host is not that of the tenant, or of the wrong family",
    "check that the setting tenant_url is the address of your SAC tenant "
    "(some tenants answer on only one of *.hcs.cloud.sap and *.sapanalytics.cloud)",
)
NEO_TENANT = Cause(
    "the tenant is on SAP's Neo platform, whose regions have one digit (eu1)",
    "ask SAP about a tenant on Cloud Foundry, because Neo has no Data Export Service",
)
WRONG_SECRET = Cause(
    "the secret has expired or is mistyped",
    "check the settings client_id and client_secret (a secret may have expired)",
)
WRONG_TOKEN_URL = Cause(
    "the Token URL is that of another tenant, or of SAML",
    f"copy the Token URL (not the OAuth2SAML Token URL) that SAC shows under {APP_INTEGRATION} "
    "into the setting token_url",
)
OTHER_REGION = Cause(
    "the token is one of another tenant or region",
    "check that the settings tenant_url and token_url belong to the same tenant and region",
)
UNKNOWN_HOST = Cause(
    "the address is mistyped, or the network is down",
    "check the settings tenant_url and token_url, and the network",
)
PROXY = Cause(
    "a proxy is in the way",
    "check the environment variables HTTPS_PROXY and NO_PROXY, or ask who runs the network",
)
NO_CONNECTION = Cause(
    "the network, a firewall or SAC itself cut the connection",
    "check the settings tenant_url and token_url, the network and the proxy",
)
SLOW_ANSWER = Cause(
    "SAC needs longer than the tap waits",
    "raise the setting request_timeout, or lower page_size",
)
UNTRUSTED_CERTIFICATE = Cause(
    "the certificate is not trusted",
    "name your company's CA bundle in the environment variable REQUESTS_CA_BUNDLE",
)
NOT_SHARED = Cause(
    "the model is not shared with the OAuth client, or was deleted",
    "share the model with the OAuth client, or name only others in the setting models",
)
LIVE_MODEL = Cause(
    "the model is a live connection, whose rows are not in SAC",
    "name only others in the setting models, because SAC does not export live-connection models",
)
AUDIT_OFF = Cause(
    "Data Audit is off",
    "switch on Data Audit in the model preferences under Access and Privacy, or deselect "
    "the stream",
)
NO_MODELS = Cause(
    "the tenant is another one, or has no models",
    "check that tenant_url is the right tenant, and that it has models",
)
REFUSED_QUERY = Cause(
    "a filter or the page size is none that SAC understands",
    "check the settings filters and page_size",
)
OLD_CATALOG = Cause(
    "the model has changed since the catalog was made",
    "run the discovery again (meltano run --refresh-catalog)",
)
TOO_MANY_REQUESTS = Cause(
    "the tenant has more requests than it takes",
    "lower the setting max_parallel_requests, or run at another time",
)
SERVER_FAULT = Cause(
    "SAC, or a gateway before it, is down or overloaded",
    "run the tap again later, and give SAP the correlation id if it stays",
)
DAMAGED_ANSWER = Cause(
    "the answer was damaged on its way",
    "run the tap again later",
)
WRONG_VALUE = Cause(
    "a value is not what $metadata says of its column",
    "run the discovery again, and deselect the column if it stays",
)
BROKEN_METADATA = Cause(
    "$metadata breaks the OData protocol",
    "name only others in the setting models, and report it to SAP support",
)
BROKEN_PROTOCOL = Cause(
    "the answer breaks the OData protocol",
    "report it to SAP support, because the answer breaks the OData protocol",
)

# SAC's stable error numbers, sent in square brackets at the end of `message`.
_CAUSES_BY_NUMBER = {
    1305: (WRONG_HOST, NOT_SHARED),
    1402: (OLD_CATALOG,),
    3401: (NO_DATA_EXPORT,),
    3707: (OLD_CATALOG,),
    3905: (AUDIT_OFF,),
}
_CAUSES_BY_STATUS: dict[int, tuple[Cause, ...]] = {
    HTTPStatus.BAD_REQUEST: (REFUSED_QUERY, OLD_CATALOG),
    HTTPStatus.UNAUTHORIZED: (OTHER_REGION, NO_DATA_EXPORT),
    HTTPStatus.FORBIDDEN: (NO_DATA_EXPORT, NOT_SHARED),
    HTTPStatus.NOT_FOUND: (WRONG_HOST, NOT_SHARED),
    HTTPStatus.PRECONDITION_FAILED: (LIVE_MODEL,),
    HTTPStatus.TOO_MANY_REQUESTS: (TOO_MANY_REQUESTS,),
}

# The request was not carried out, and may be when it is repeated.
_REFUSALS = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_NOT_EXPORTED = {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.PRECONDITION_FAILED}

_NUMBER = re.compile(r"\[(\d{4})\]")
_OF_CERTIFICATES = ("CERTIFICATE_VERIFY_FAILED", "X509")
_COUNT = re.compile(r"[0-9]{1,15}")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
_CREDENTIALS = re.compile(r"\b(Bearer|Basic)\s+\S+", re.IGNORECASE)
_LONGEST_MESSAGE = 300
_LONGEST_RETRY_AFTER = 900.0


class SACError(Exception):
    """Stops a run: the message says what happened and what to do next.

    Attributes:
        causes: What may have caused it, the likeliest first; none if it says so itself.
    """

    def __init__(self, what: str, *causes: Cause) -> None:
        """Make the message: of what happened, and of the next step for each cause."""
        next_steps = ", or ".join(cause.next_step for cause in causes)
        super().__init__(f"{what}: {next_steps}." if causes else what)
        self.causes = causes


class TransientError(SACError):
    """May pass when the request is sent again.

    Attributes:
        is_refusal: Whether SAC has certainly not done what was asked for.
        retry_after: Seconds to wait, when the server named them.
    """

    def __init__(
        self,
        what: str,
        *causes: Cause,
        is_refusal: bool = False,
        retry_after: float | None = None,
    ) -> None:
        """Keep what decides whether and when to ask again."""
        super().__init__(what, *causes)
        self.is_refusal = is_refusal
        self.retry_after = retry_after


class ResponseError(SACError):
    """SAC refused a request.

    Attributes:
        status: The HTTP status code.
        number: SAC's four-digit error number, when the body has one.
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

    @property
    def is_refusal(self) -> bool:
        """Whether the client was not let in, or sent elsewhere, so that nothing was done."""
        is_client = self.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        return is_client or HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST

    @property
    def is_not_exported(self) -> bool:
        """Whether SAC does not export the thing asked for, while the rest may be fine."""
        return self.status in _NOT_EXPORTED


class UnknownEntitySetError(SACError):
    """An entity set is in ``$metadata``, but SAC does not serve it."""


def response_error(response: requests.Response) -> SACError:
    """Tell a refusal of SAC from its status and body.

    The body is ``{"error": {"code": <correlation id>, "message": "... [3707]"}}``, where the
    message may also be ``{"lang": ..., "value": ...}``; a gateway may send HTML or nothing.

    Args:
        response: An answer that is not a success.

    Returns:
        A `TransientError` for what `is_transient`, a `ResponseError` for everything else.
    """
    status = response.status_code
    text, reason = _text_and_reason(response)
    what = f"SAC answered {reason} to {_request_line(response)}"
    found = _NUMBER.search(text)
    number = int(found[1]) if found else None
    causes = _CAUSES_BY_NUMBER.get(number or 0) or _CAUSES_BY_STATUS.get(status, ())
    if is_transient(status):
        return TransientError(
            what,
            *(causes or (SERVER_FAULT,)),
            is_refusal=status in _REFUSALS,
            retry_after=retry_after(response),
        )
    if response.is_redirect:
        location = origin_of(response.headers["location"])
        what += f", and it leads to {one_line(location, _token_of(response))}"
    return ResponseError(
        what, *(causes or (WRONG_HOST,)), status=status, number=number, reason=reason
    )


def is_transient(status: int) -> bool:
    """Tell whether an answer with this status may be another one when the request is repeated."""
    return status in _REFUSALS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def error_reason(response: requests.Response) -> str:
    """Tell the status and what the body says, without the next step."""
    return _text_and_reason(response)[1]


def connection_error(error: Exception, url: str) -> SACError:
    """Tell that no whole answer came, with the reason deep inside.

    Args:
        error: What `requests` or urllib3 raised.
        url: What was asked for.

    Returns:
        A `SACError` for what stays as it is, such as a certificate that is not trusted, else a
        `TransientError`.
    """
    if isinstance(error, (requests.exceptions.InvalidURL, LocationParseError)):
        # Its text may hold the password. The addresses of the settings have been checked.
        return SACError("The address of a proxy is none", PROXY)
    if type(error) in {ValueError, UnicodeDecodeError}:  # requests derives its own from these.
        return SACError(f"{origin_of(url)} redirects to an address that is none", NO_CONNECTION)
    reason = getattr(error.args[0] if error.args else None, "reason", None) or error
    cause = PROXY if isinstance(reason, ProxyError) else NO_CONNECTION
    reason = getattr(reason, "original_error", reason)
    what = f"No answer from {origin_of(url)} ({one_line(str(reason))})"
    # requests derives its own from OSError too; itself it is that of a bundle that is not there.
    if type(error) is OSError or any(word in what for word in _OF_CERTIFICATES):
        return SACError(what, UNTRUSTED_CERTIFICATE)
    if "Read timed out" in what:
        cause = SLOW_ANSWER
    if isinstance(reason, NameResolutionError):
        cause = UNKNOWN_HOST
    is_refusal = isinstance(reason, (NewConnectionError, ConnectTimeoutError))
    return TransientError(what, cause, is_refusal=is_refusal)


def web_page_error(response: requests.Response) -> SACError:
    """Tell that a page for people came where data was expected, such as a login page."""
    return SACError(
        f"A web page came instead of data as the answer to {_request_line(response)}",
        WRONG_HOST,
        PROXY,
    )


def looks_like_web_page(response: requests.Response) -> bool:
    """Tell HTML from JSON by what the body starts with."""
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


def origin_of(url: str) -> str:
    """Tell scheme, host and port of a URL, without credentials that it may hold."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "no address"
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else "another page"


def decimal_digits(text: object) -> int | None:
    """Read a number that a server writes in digits, with or without quotes."""
    return int(str(text)) if _COUNT.fullmatch(str(text)) else None


def one_line(text: str, *secrets: str) -> str:
    """Make a server's text fit for a log line, without secrets that it may repeat."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    text = "".join(char if char.isprintable() else " " for char in text)
    text = _USER_INFO.sub("***@", _CREDENTIALS.sub(r"\1 ***", " ".join(text.split())))
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "..."


def _text_and_reason(response: requests.Response) -> tuple[str, str]:
    """Return what the body says, alone and with the status and the correlation id."""
    text, correlation_id = (
        one_line(str(part or ""), _token_of(response)) for part in _error_text(response)
    )
    reason = f"{response.status_code} {one_line(response.reason or '', _token_of(response))}"
    reason = reason.rstrip()
    reason += f", {text!r}" if text else ""
    reason += f" (correlation id {correlation_id})" if correlation_id else ""
    return text, reason


def _token_of(response: requests.Response) -> str:
    """Return the token of the request, which an answer may repeat."""
    return response.request.headers.get("Authorization", "").partition(" ")[2]


def _error_text(response: requests.Response) -> tuple[object, object]:
    """Return what the body says, and the correlation id, wherever it is."""
    from_header = response.headers.get("x-correlationid")
    try:
        error = json.loads(response.content)["error"]
    except (ValueError, TypeError, KeyError, RecursionError):
        is_web_page = looks_like_web_page(response)
        return "" if is_web_page else response.content.decode(errors="replace"), from_header
    if not isinstance(error, dict):
        return error, from_header
    message: Any = error.get("message", "")
    if isinstance(message, dict):
        message = message.get("value", "")
    return message, error.get("code") or from_header


def _request_line(response: requests.Response) -> str:
    request = response.request
    return f"{request.method} {urlsplit(request.url or '').path}"
