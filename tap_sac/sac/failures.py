"""Kinds of failure, and the steps of a run. The program that uses them knows what to do."""

from __future__ import annotations

from enum import Enum, IntEnum, auto
from http import HTTPStatus


class Step(Enum):
    """The steps of a run, in order: each step that works rules out causes of later failures.

    The values are the names in messages.
    """

    TOKEN = "token"  # noqa: S105  (not a secret)
    NAMESPACES = "namespaces"
    PROVIDERS = "providers"
    METADATA = "$metadata"
    ROWS = "rows"
    SUBSCRIPTIONS = "subscriptions"
    NEW_TOKEN = "new token"  # noqa: S105  (not a secret)


class SACErrorNumber(IntEnum):
    """SAC's stable error numbers, sent in square brackets at the end of `message`."""

    CANNOT_PREPARE = 1205
    UNKNOWN_PATH = 1305
    MISSING_KEY_COLUMN = 1402
    CLIENT_NOT_ALLOWED = 3401
    UNKNOWN_ENTITY_SET = 3707
    AUDIT_OFF = 3905


class Failure(Enum):
    """What went wrong: in a request or response, at the sign-in, or in the data."""

    # Refused by SAC.
    BAD_REQUEST = auto()
    UNAUTHORIZED = auto()
    FORBIDDEN = auto()
    CLIENT_NOT_ALLOWED = auto()
    NOT_FOUND = auto()
    LIVE_MODEL = auto()
    LONG_URL = auto()
    TOO_MANY_REQUESTS = auto()
    SERVER_FAULT = auto()
    UNPREPARED = auto()
    BAD_FILTER = auto()
    NOT_EXPORTABLE = auto()
    OLD_CATALOG = auto()
    AUDIT_OFF = auto()
    UNEXPECTED_STATUS = auto()
    # Answered by a router, a proxy or a firewall instead.
    NO_APP = auto()
    FOREIGN_ANSWER = auto()
    WEB_PAGE = auto()
    # No response.
    UNKNOWN_HOST = auto()
    PROXY = auto()
    NO_SOCKS = auto()
    PLAIN_PORT = auto()
    NO_CONNECTION = auto()
    SLOW_ANSWER = auto()
    UNTRUSTED_CERTIFICATE = auto()
    # An unusable response.
    NO_CONTENT = auto()
    DAMAGED_ANSWER = auto()
    WRONG_ENCODING = auto()
    HUGE_PAGE = auto()
    GARBLED_TEXT = auto()
    OTHER_SERVER = auto()
    BROKEN_METADATA = auto()
    BROKEN_SET = auto()
    BROKEN_PROTOCOL = auto()
    NO_MODELS = auto()
    # No token, or the token of a different user.
    NEO_TENANT = auto()
    NO_TOKEN_URL = auto()
    NOT_A_TOKEN_ENDPOINT = auto()
    CLIENT_REFUSED = auto()
    CREDENTIALS_PASTED = auto()
    CREDENTIALS_SWAPPED = auto()
    GRANT_NOT_ALLOWED = auto()
    SIGN_IN_EXPIRED = auto()
    SAVED_SIGN_IN_EXPIRED = auto()
    SIGN_IN_NOT_ALLOWED = auto()
    OTHER_USER = auto()
    # The sign-in of a user.
    NO_SIGN_IN_URL = auto()
    BAD_REDIRECT_URI = auto()
    BUSY_PORT = auto()
    NOT_A_REDIRECT = auto()
    CODE_REFUSED = auto()
    SIGN_IN_DENIED = auto()
    SIGN_IN_FAILED = auto()
    # The file of the refresh token.
    NO_REFRESH_TOKEN = auto()
    UNSAVED_REFRESH_TOKEN = auto()
    TOKEN_FILE_PATH = auto()
    TOKEN_FILE_UNWRITABLE = auto()
    TOKEN_FILE_UNREADABLE = auto()
    TOKEN_FILE_DAMAGED = auto()
    TOKEN_FILE_FULL = auto()
    # Found in the rows.
    WRONG_VALUE = auto()
    WRONG_FORMAT = auto()
    NOT_FINITE = auto()
    MORE_DIGITS = auto()
    MISSING_COLUMN = auto()
    CUT_READ = auto()
    NO_ROW_AT_POSITION = auto()
    PARTIAL_SLICES = auto()
    ROWS_TWICE = auto()
    WRONG_TOTAL = auto()
    SEVERAL_FACTS = auto()


_BY_NUMBER: dict[int, Failure] = {
    SACErrorNumber.CANNOT_PREPARE: Failure.UNPREPARED,
    SACErrorNumber.UNKNOWN_PATH: Failure.NOT_FOUND,
    SACErrorNumber.MISSING_KEY_COLUMN: Failure.OLD_CATALOG,
    SACErrorNumber.CLIENT_NOT_ALLOWED: Failure.CLIENT_NOT_ALLOWED,
    SACErrorNumber.UNKNOWN_ENTITY_SET: Failure.OLD_CATALOG,
    SACErrorNumber.AUDIT_OFF: Failure.AUDIT_OFF,
}
_BY_STATUS: dict[int, Failure] = {
    HTTPStatus.NO_CONTENT: Failure.NO_CONTENT,
    HTTPStatus.PARTIAL_CONTENT: Failure.NO_CONTENT,
    HTTPStatus.BAD_REQUEST: Failure.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED: Failure.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: Failure.FORBIDDEN,
    HTTPStatus.NOT_FOUND: Failure.NOT_FOUND,
    HTTPStatus.PRECONDITION_FAILED: Failure.LIVE_MODEL,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Failure.LONG_URL,
    HTTPStatus.REQUEST_URI_TOO_LONG: Failure.LONG_URL,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: Failure.LONG_URL,
    HTTPStatus.TOO_MANY_REQUESTS: Failure.TOO_MANY_REQUESTS,
}


def refusal_kind(status: int, number: int | None) -> Failure | None:
    """Classify a refusal; None if both codes are unknown. SAC's number is more specific."""
    return _BY_NUMBER.get(number or 0) or _BY_STATUS.get(status)
