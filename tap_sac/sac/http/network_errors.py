"""Explains why a request got no response, by the errors of requests and urllib3."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

from tap_sac.sac.errors import SACError, TransientError
from tap_sac.sac.failures import Failure
from tap_sac.safety.text import log_safe, origin_of

if TYPE_CHECKING:
    from collections.abc import Iterator

# OpenSSL's reasons for a clear-text response, and its libraries for certificates.
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}
_CERTIFICATE_LIBRARIES = {"X509", "PEM"}


def connection_error(error: Exception, url: str) -> SACError:
    """Explain why there is no complete response, by the error of requests or urllib3.

    Returns:
        A `SACError` if a retry cannot help, as with an untrusted certificate, else a
        `TransientError`.
    """
    if isinstance(error, (requests.exceptions.InvalidURL, LocationParseError)):
        # The error text may have the proxy's password. Other URLs have been checked before.
        return SACError("The proxy address is not a valid URL", Failure.PROXY)
    if isinstance(error, requests.exceptions.InvalidSchema):  # Only proxies cause it.
        return SACError(f"The proxy cannot be used ({log_safe(str(error))})", Failure.NO_SOCKS)
    # Compared by exact type, because requests derives its own errors from these.
    if type(error) in {ValueError, UnicodeDecodeError}:
        return SACError(f"{origin_of(url)} redirects to an invalid address", Failure.NO_CONNECTION)
    reason = getattr(error.args[0] if error.args else None, "reason", None) or error
    reason = getattr(reason, "original_error", reason)
    what = f"No response from {origin_of(url)} ({log_safe(str(reason))})"
    errors = list(_nested(error))
    if type(error) is OSError or any(map(_is_certificate_error, errors)):
        return SACError(what, Failure.UNTRUSTED_CERTIFICATE)
    if any(map(_is_clear_text, errors)):
        return SACError(what, Failure.PLAIN_PORT)
    found = (
        failure for types, failure in _FAILURES if any(isinstance(item, types) for item in errors)
    )
    is_unsent = isinstance(reason, (NewConnectionError, ConnectTimeoutError))
    return TransientError(
        what,
        next(found, Failure.NO_CONNECTION),
        may_have_run=not is_unsent,
        is_unreachable=isinstance(reason, NewConnectionError),
    )


# The most specific ones first: a proxy error wraps others.
_FAILURES: tuple[tuple[tuple[type[Exception], ...], Failure], ...] = (
    ((NameResolutionError,), Failure.UNKNOWN_HOST),
    ((requests.ReadTimeout, ReadTimeoutError), Failure.SLOW_ANSWER),
    ((ProxyError,), Failure.PROXY),
)


def _nested(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all errors nested inside it."""
    yield error
    for item in (*error.args, getattr(error, "reason", None)):
        if isinstance(item, BaseException):
            yield from _nested(item)


def _is_certificate_error(error: BaseException) -> bool:
    return isinstance(error, ssl.SSLCertVerificationError) or (
        isinstance(error, ssl.SSLError) and error.library in _CERTIFICATE_LIBRARIES
    )


def _is_clear_text(error: BaseException) -> bool:
    """Return whether a server answered a TLS handshake in clear text."""
    return isinstance(error, ssl.SSLError) and error.reason in _NO_TLS
