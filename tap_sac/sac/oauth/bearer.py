"""Gets bearer tokens (OAuth 2.0) from the tenant's token endpoint, and the user behind them."""

from __future__ import annotations

import hmac
import json
import logging
import math
import re
import threading
from base64 import b64encode
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, quote_plus

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from typing_extensions import override

from tap_sac.sac.errors import SACError, TransientError, during
from tap_sac.sac.failures import Failure, Step, refusal_kind
from tap_sac.sac.http.pace import PATIENCE, Hold, Patience
from tap_sac.sac.http.refusals import is_transient
from tap_sac.sac.http.transport import HEADER_VALUE, Limit, exchange
from tap_sac.sac.oauth.user import claims_of, user_of
from tap_sac.safety import waiting
from tap_sac.safety.masks import mask_secret, mask_token
from tap_sac.safety.text import decimal_digits, log_safe

if TYPE_CHECKING:
    from tap_sac.sac.http.answer import Answer
    from tap_sac.sac.oauth.grants import Grant
    from tap_sac.sac.oauth.user import User

logger = logging.getLogger(__name__)

AuthMethod = Literal["client_secret_basic", "client_secret_post"]

_LONGEST_LEEWAY = 60.0
_YOUNG = 60.0  # seconds since a token was requested
_WITH_TOKEN = {HTTPStatus.OK, HTTPStatus.CREATED}
# RFC 6749, 5.2; XSUAA also refuses with 403. Other statuses are not from a token endpoint.
_REFUSING = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, *_WITH_TOKEN}
_QUOTES = "'\"`\u00ab\u00b4\u00bb\u2018\u2019\u201a\u201c\u201d\u201e"
_ID_OF_SAC = re.compile(r"sb-.*!b\d")
_LIMIT = Limit(1024**2, Failure.NOT_A_TOKEN_ENDPOINT)


class BearerAuthenticator(AuthBase):
    """Adds a bearer token to requests, and renews it before it expires.

    All threads share one token. It is renewed a minute (or, if shorter, a tenth of its lifetime)
    before it expires, and after `expire` is called.

    Attributes:
        last_refreshed: When the token was requested; None if it must not be used any more.
        user: The user of the token; None before the first request, and for the client itself.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        token_url: str,
        client_id: str,
        client_secret: str,
        auth_method: AuthMethod,
        session: requests.Session,
        timeout: float,
        patience: float = PATIENCE,
    ) -> None:
        """Make an authenticator; nothing is requested yet.

        The client authenticates in the Basic header or in the body (RFC 7591, 2). SAP's servers
        expect the parts of the header in plain UTF-8, not form-encoded as in RFC 6749, 2.3.1. The
        have it. The timeout is in seconds without a byte; the patience is the most seconds to wait
        because the token endpoint asks for it, all waits together.
        """
        self.user: User | None = None
        self.last_refreshed: datetime | None = None
        self._token: str | None = None
        self._was_accepted = False
        self._was_expired_once = False
        self._expires_in: int | None = None
        self._grant = grant
        self._token_url = token_url
        self._client_id = client_id
        self._secret = client_secret
        self._in_body = auth_method == "client_secret_post"
        self._session = session
        self._timeout = timeout
        self._lock = threading.Lock()
        self._most_patience = patience
        self._patience: Patience | None = None
        self._hold = Hold()
        mask_secret(client_secret, client_id=client_id)

    @override
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the Authorization header; the URL is not changed.

        Raises:
            TransientError: If a retry may help.
            SACError: If it refuses.
        """
        with self._lock, during(Step.NEW_TOKEN if self._was_accepted else Step.TOKEN):
            if not self._is_token_valid():
                self._renew_in_time()
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    @property
    def token_life(self) -> int | None:
        """The lifetime of the last token in seconds, by its endpoint."""
        return self._expires_in

    @property
    def has_readable_token(self) -> bool | None:
        """Whether the token is a JWT (RFC 7519, 7.2); None before there is one."""
        return None if self._token is None else bool(claims_of(self._token))

    @property
    def acts_as_user(self) -> bool:
        """Whether tokens belong to a signed-in user (3-legged)."""
        return self._grant.is_of_user

    def sign(self, text: str) -> str:
        """Return the HMAC (RFC 2104) of a text under the secret of the OAuth client."""
        return hmac.new(self._secret.encode(), text.encode(), "sha256").hexdigest()

    def expire(self, request: requests.PreparedRequest) -> None:
        """Renew the token before the next request, because SAC refused this request with 401.

        Does nothing if another thread has renewed it since.
        """
        with self._lock:
            if self._has_token(request):
                self.last_refreshed = None

    def expire_once(self, request: requests.PreparedRequest) -> bool:
        """Renew the token like `expire`, but only once for this object, and not if it is young.

        Returns:
            Whether the request can be retried with another token.
        """
        with self._lock:
            if self.last_refreshed is None or not self._has_token(request):
                return True  # Another thread has renewed it since.
            if self._was_expired_once or self._age() < _YOUNG:
                return False
            self._was_expired_once = True
            self.last_refreshed = None
            return True

    def accept(self, request: requests.PreparedRequest) -> None:
        """Record that the tenant accepted the token of a request."""
        if self._has_token(request):
            self._was_accepted = True

    def is_untried(self, request: requests.PreparedRequest) -> bool:
        """Return whether the token is younger than a minute, and was never accepted."""
        with self._lock:
            is_current = self.last_refreshed is not None and self._has_token(request)
            return is_current and not self._was_accepted and self._age() < _YOUNG

    def _has_token(self, request: requests.PreparedRequest) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self._token}"

    def _age(self) -> float:
        """Return the age of the token in seconds; infinite if it must not be used."""
        if self.last_refreshed is None:
            return math.inf
        return (datetime.now(timezone.utc) - self.last_refreshed).total_seconds()

    def _is_token_valid(self) -> bool:
        """Return whether the token is valid long enough for another request."""
        if self.last_refreshed is None or not self._expires_in:
            return self.last_refreshed is not None
        return self._age() < self._expires_in - min(_LONGEST_LEEWAY, self._expires_in / 10)

    def _renew_in_time(self) -> None:
        """Renew the token, and wait as often as its endpoint asks: that uses up no try.

        The lock is held: all requests wait, because all need the token.

        Raises:
            TransientError: If there is none yet, or the waits become too long.
            SACError: If the endpoint refuses.
        """
        while True:
            try:
                self._renew()
            except TransientError as error:
                error.may_have_run = False
                if error.retry_after is None:
                    raise
                self._patience = self._patience or Patience(self._most_patience)
                seconds = self._hold.extend(error.retry_after, self._hold.waits)
                self._patience.check(error, seconds)
            else:
                self._patience, self._hold = None, Hold()
                return
            waiting.sleep(seconds)

    def _renew(self) -> None:
        requested_at = datetime.now(timezone.utc)
        with self._grant.request_form() as form:
            prepared = self._session.prepare_request(self._request(dict(form)))
            if HEADER_VALUE.fullmatch(self._token_url):  # requests would change some escapes.
                prepared.url = self._token_url
            answer = exchange(self._session, prepared, timeout=self._timeout, limit=_LIMIT)
            token, self._expires_in = self._read_token(answer)
        if self._grant.is_of_user:
            self._check_user(token)
        self._token, self.last_refreshed, self._was_accepted = token, requested_at, False

    def _request(self, form: dict[str, str]) -> requests.Request:
        basic = HTTPBasicAuth(self._client_id.encode(), self._secret.encode())
        if self._in_body:
            form |= {"client_id": self._client_id, "client_secret": self._secret}
        return requests.Request(
            "POST",
            self._token_url,
            data=form,
            headers={"Accept": "application/json"},
            auth=_no_auth if self._in_body else basic,
        )

    def _check_user(self, token: str) -> None:
        """Remember the user: during the run, the file may get the token of a different one."""
        user = user_of(token)
        if self.user is None and user.id is None:
            logger.warning(
                "The access token does not identify the user, so the tap cannot detect whether a "
                "different user is signed in than in the last run."
            )
        known = self.user.id if self.user else None
        if known and user.id and user.id != known:
            msg = "A different user has signed in during the run"
            raise SACError(msg, Failure.OTHER_USER)
        self.user = user if self.user is None or user.id else self.user

    def _without_secrets(self, text: str) -> str:
        """Mask the secret in a server's text, in every encoding in which it was sent."""
        basic = b64encode(f"{self._client_id}:{self._secret}".encode()).decode()
        secret = self._secret
        return log_safe(text, basic, quote_plus(secret), quote(secret), secret)

    def _read_token(self, answer: Answer) -> tuple[str, int | None]:
        status = answer.status
        answered = f"The token endpoint {self._without_secrets(self._token_url)} answered {status}"
        if is_transient(status):
            msg = f"{answered} {self._without_secrets(answer.reason)}".rstrip()
            failure = refusal_kind(status, None) or Failure.SERVER_FAULT
            raise TransientError(msg, failure, retry_after=answer.retry_after)
        try:
            body = json.loads(answer.body)
        except (ValueError, RecursionError):
            if answer.body.startswith(b"{"):
                msg = f"{answered} with JSON that is damaged or truncated"
                raise TransientError(msg, Failure.DAMAGED_ANSWER) from None
            body = None
        if not isinstance(body, dict):
            msg = f"{answered} {'with HTML' if answer.is_markup else 'without JSON'}"
            raise SACError(msg, Failure.NOT_A_TOKEN_ENDPOINT)
        token = body.get("access_token")
        if status not in _WITH_TOKEN:
            raise self._refusal(answered, body, status)
        if not isinstance(token, str) or not HEADER_VALUE.fullmatch(token):
            if body.get("error"):
                raise self._refusal(answered, body, status)
            msg = f"{answered} without access_token"
            raise SACError(msg, Failure.NOT_A_TOKEN_ENDPOINT)
        mask_token(token)
        self._grant.store(body)
        return token, decimal_digits(body.get("expires_in"))

    def _flaw_of_credentials(self) -> Failure | None:
        """Find typical mistakes of pasting in credentials that the server refused."""
        credentials = (self._client_id, self._secret)
        ends = [end for text in credentials for end in (text[0], text[-1])]
        if any(end.isspace() or not end.isprintable() or end in _QUOTES for end in ends):
            return Failure.CREDENTIALS_PASTED
        are_ids = [bool(_ID_OF_SAC.match(text)) for text in credentials]
        return Failure.CREDENTIALS_SWAPPED if are_ids == [False, True] else None

    def _refusal(self, answered: str, body: dict[str, Any], status: int) -> SACError:
        error, description = body.get("error"), str(body.get("error_description") or "")
        is_of_endpoint = status in _REFUSING and isinstance(error, str)
        if isinstance(error, dict):  # unseen: SAC's own error, from a wrong path on its host
            error = error.get("message")
        failure = self._grant.failure_of(str(error), description)
        if not is_of_endpoint:
            failure = Failure.NOT_A_TOKEN_ENDPOINT
        elif failure is Failure.CLIENT_REFUSED:
            failure = self._flaw_of_credentials() or failure
        reason = self._without_secrets(
            ": ".join(str(part) for part in (error, description) if part)
        )
        return SACError(f"{answered} ({reason})" if reason else answered, failure)


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from adding credentials of a .netrc file."""
    return request
