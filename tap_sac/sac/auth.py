"""OAuth 2.0 client credentials (2-legged) against the tenant's token endpoint."""

from __future__ import annotations

import re
import sys
import threading
from base64 import b64encode
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote, quote_plus, urlsplit

import requests
from requests.auth import HTTPBasicAuth
from singer_sdk.authenticators import OAuthAuthenticator

from tap_sac.sac.errors import (
    DAMAGED_ANSWER,
    NEO_TENANT,
    PROXY,
    SERVER_FAULT,
    WRONG_HOST,
    WRONG_SECRET,
    WRONG_TOKEN_URL,
    SACError,
    TransientError,
    decimal_digits,
    is_transient,
    looks_like_web_page,
    one_line,
    retry_after,
)
from tap_sac.sac.transport import HEADER_VALUE, exchange

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

AuthMethod = Literal["client_secret_basic", "client_secret_post"]

_LONGEST_LEEWAY = 60.0
_CLOUD_FOUNDRY_TENANT = re.compile(
    r"(?P<tenant>[^.]+)\.(?P<region>[a-z]{2,}\d{2}(-\d+)?)\.(hcs\.cloud\.sap|sapanalytics\.cloud)",
)
_NEO_TENANT = re.compile(r"[^.]+\.[a-z]{2,}\d\.(hcs\.cloud\.sap|sapanalytics\.cloud)")


def derive_token_url(tenant_url: str) -> str:
    """Build the Token URL that SAC's App Integration page shows.

    ``https://<tenant>.<dc>.hcs.cloud.sap`` (or ``.sapanalytics.cloud``) has its tokens at
    ``https://<tenant>.authentication.<dc>.hana.ondemand.com/oauth/token`` (SAP Help, "Manage
    OAuth Clients").

    Args:
        tenant_url: The tenant, with a scheme.

    Raises:
        SACError: If the host has another form.
    """
    host = urlsplit(tenant_url).hostname or ""
    if match := _CLOUD_FOUNDRY_TENANT.fullmatch(host):
        tenant, region = match["tenant"], match["region"]
        return f"https://{tenant}.authentication.{region}.hana.ondemand.com/oauth/token"
    if _NEO_TENANT.fullmatch(host):
        msg = (
            f"The tenant {host} seems to be on SAP's Neo platform (its region has one digit), "
            "where SAC has no Data Export Service"
        )
        raise SACError(msg, NEO_TENANT, WRONG_TOKEN_URL)
    msg = f"The Token URL cannot be derived from the host {host}"
    raise SACError(msg, WRONG_HOST, WRONG_TOKEN_URL)


class ClientCredentialsAuthenticator(OAuthAuthenticator):
    """Puts a bearer token on requests, and renews it before it expires.

    One token serves all threads. It is renewed a minute before its end (or a tenth of its life,
    if that is shorter), and whenever `expire` was called.
    """

    def __init__(
        self,
        *,
        token_url: str,
        client_id: str,
        client_secret: str,
        auth_method: AuthMethod,
        session: requests.Session,
        timeout: float,
    ) -> None:
        """Make an authenticator; nothing is requested yet.

        Args:
            token_url: Where tokens come from.
            client_id: The OAuth client, as SAC shows it.
            client_secret: Its secret.
            auth_method: How the client names itself (RFC 7591, 2): in the Basic header or in
                the body. SAP's servers take the header's parts as they are, in UTF-8, and not
                form-encoded as RFC 6749, 2.3.1 would have it.
            session: Sends the token requests.
            timeout: Seconds without a byte.
        """
        super().__init__(auth_endpoint=token_url, client_id=client_id, client_secret=client_secret)
        self._session = session
        self._timeout = timeout
        self._in_body = auth_method == "client_secret_post"
        self._basic = HTTPBasicAuth(client_id.encode(), client_secret.encode())
        self._secret = client_secret
        self._lock = threading.Lock()

    @override
    def authenticate_request(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the Authorization header, and leave the URL as it is.

        Raises:
            TransientError: If the token endpoint may answer later.
            SACError: If it refuses.
        """
        with self._lock:
            if not self.is_token_valid():
                try:
                    self.update_access_token()
                except TransientError as error:
                    error.is_refusal = True  # The request that needs the token was not sent.
                    raise
            request.headers["Authorization"] = f"Bearer {self.access_token}"
        return request

    def expire(self, request: requests.PreparedRequest) -> None:
        """Renew the token before the next request, because SAC refused this one with 401.

        Does nothing if another thread has renewed it since.
        """
        with self._lock:
            if request.headers.get("Authorization") == f"Bearer {self.access_token}":
                self.last_refreshed = None

    @property
    @override
    def oauth_request_body(self) -> dict[str, Any]:
        """The form of the token request (RFC 6749, 4.4.2)."""
        body = {"grant_type": "client_credentials"}
        if self._in_body:
            body |= {"client_id": self.client_id or "", "client_secret": self._secret}
        return body

    @override
    def is_token_valid(self) -> bool:
        """Tell whether the token will last for another request."""
        if self.last_refreshed is None:
            return False
        if not self.expires_in:
            return True
        age = (datetime.now(timezone.utc) - self.last_refreshed).total_seconds()
        return age < self.expires_in - min(_LONGEST_LEEWAY, self.expires_in / 10)

    @override
    def update_access_token(self) -> None:
        """Request a token.

        Raises:
            TransientError: If the token endpoint cannot be reached or is overloaded.
            SACError: If it refuses the client, or is no token endpoint.
        """
        requested_at = datetime.now(timezone.utc)
        request = requests.Request(
            "POST",
            self.auth_endpoint,
            data=self.oauth_request_body,
            headers={"Accept": "application/json"},
            auth=_no_auth if self._in_body else self._basic,
        )
        response = exchange(
            self._session, self._session.prepare_request(request), timeout=self._timeout
        )
        self.access_token, self.expires_in = self._read_token(response)
        self.last_refreshed = requested_at

    def _without_secrets(self, text: str) -> str:
        """Hide the secret in a server's text, in every form in which it was sent."""
        basic = b64encode(f"{self.client_id}:{self._secret}".encode()).decode()
        secret = self._secret
        return one_line(text, basic, quote_plus(secret), quote(secret), secret)

    def _read_token(self, response: requests.Response) -> tuple[str, int | None]:
        status = response.status_code
        answered = f"The token endpoint {self.auth_endpoint} answered {status}"
        if is_transient(status):
            msg = f"{answered} {self._without_secrets(response.reason or '')}".rstrip()
            raise TransientError(msg, SERVER_FAULT, retry_after=retry_after(response))
        try:
            body = response.json()
        except (ValueError, RecursionError):
            if response.content.startswith(b"{"):
                msg = f"{answered} with JSON that was damaged or cut short"
                raise TransientError(msg, DAMAGED_ANSWER) from None
            body = None
        if not isinstance(body, dict):
            is_web_page = looks_like_web_page(response)
            what = "a web page" if is_web_page else "no JSON object"
            msg = f"{answered} with {what}, so it is no token endpoint"
            raise SACError(msg, WRONG_TOKEN_URL, *([PROXY] if is_web_page else []))
        if status != HTTPStatus.OK:
            error = body.get("error")
            if isinstance(error, dict):  # SAC's own form, at a wrong path of its host.
                error = error.get("message")
            parts = [str(part) for part in (error, body.get("error_description")) if part]
            reason = self._without_secrets(": ".join(parts))
            msg = f"{answered} ({reason}) and gave no token"
            raise SACError(msg, WRONG_SECRET, WRONG_TOKEN_URL)
        token = body.get("access_token")
        if not isinstance(token, str) or not HEADER_VALUE.fullmatch(token):
            msg = f"{answered} without a usable access_token"
            raise SACError(msg, WRONG_TOKEN_URL)
        return token, decimal_digits(body.get("expires_in"))


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from putting credentials of a .netrc file on a request."""
    return request
