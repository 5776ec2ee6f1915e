"""Grants: how to request a token (RFC 6749, 4).

Each has the form of its token request (in a block that passes the response to `store`), and
classifies refusals by their error code (RFC 6749, 5.2) and description. With some grants, a user is
signed in, whose permissions SAC applies (3-legged).
"""

from __future__ import annotations

import contextlib
import logging
import re
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import SACError
from tap_sac.sac.failures import Failure
from tap_sac.sac.http.transport import HEADER_VALUE
from tap_sac.safety.masks import mask_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_sac.sac.oauth.token_file import TokenFile

logger = logging.getLogger(__name__)

# RFC 6749, 5.2.
# unseen: which of both XSUAA returns for an expired refresh token
_NOT_VALID = {"invalid_grant", "invalid_token"}
_NOT_ALLOWED = {"unauthorized_client", "unsupported_grant_type"}
# XSUAA returns "Unauthorized grant type" with the error code of a wrong secret (seen live).
_OF_GRANT_TYPE = re.compile(r"grant[ _-]?type", re.IGNORECASE)


class ClientCredentials:
    """The credentials of the OAuth client itself (2-legged; RFC 6749, 4.4.2)."""

    is_of_user = False

    def request_form(self) -> contextlib.AbstractContextManager[Mapping[str, str]]:
        """Return the form, which is always the same."""
        return contextlib.nullcontext({"grant_type": "client_credentials"})

    def store(self, answer: Mapping[str, Any]) -> None:
        """Store nothing."""

    def failure_of(self, error: str, description: str) -> Failure:
        """Distinguish a client without this grant from a wrong secret."""
        is_grant = _is_of_the_grant(error, description)
        return Failure.GRANT_NOT_ALLOWED if is_grant else Failure.CLIENT_REFUSED


class AuthorizationCode:
    """The code of a completed sign-in, valid for one request (RFC 6749, 4.1.3).

    Attributes:
        refresh_token: For later tokens; None before the request, or if the response has none.
    """

    is_of_user = True

    def __init__(self, form: Mapping[str, str]) -> None:
        """Store the form of the token request."""
        self.refresh_token: str | None = None
        self._form = form

    def request_form(self) -> contextlib.AbstractContextManager[Mapping[str, str]]:
        """Return the form."""
        return contextlib.nullcontext(self._form)

    def store(self, answer: Mapping[str, Any]) -> None:
        """Store the refresh token."""
        self.refresh_token = _refresh_token_of(answer)

    def failure_of(self, error: str, description: str) -> Failure:
        """Distinguish an expired code from a client without this grant."""
        return Failure.CODE_REFUSED if error in _NOT_VALID else _of_client(error, description)


class RefreshToken:
    """A refresh token (RFC 6749, 6).

    If the server rotates refresh tokens, only the newest one works. A file stores it for other
    runs. Its token is newer, so it takes precedence.
    """

    # unseen: whether SAC rotates them

    is_of_user = True

    def __init__(self, token: str | None, file: TokenFile | None = None) -> None:
        """Store the token and its file; nothing is read yet."""
        self._newest = token
        self._file = file
        self._sent: str | None = None
        self._spent: set[str | None] = set()

    @contextlib.contextmanager
    def request_form(self) -> Iterator[Mapping[str, str]]:
        """Build a form with the newest token, while the file is locked for other runs.

        Raises:
            SACError: If there is no token, or the file cannot be used.
        """
        with self._file.locked() if self._file else contextlib.nullcontext():
            saved = self._file.read() if self._file else None
            # The file has a used token only if a newer one could not be saved.
            token = self._newest if saved in self._spent else saved or self._newest
            if token is None:
                msg = "The token file has no refresh token yet"
                raise SACError(msg, Failure.NO_REFRESH_TOKEN)
            mask_secret(token)
            self._sent = token
            yield {"grant_type": "refresh_token", "refresh_token": token}

    def store(self, answer: Mapping[str, Any]) -> None:
        """Store a new refresh token, also in the file if there is one."""
        token = _refresh_token_of(answer)
        if token is None or token == self._sent:
            return
        is_first = not self._spent
        self._newest = token
        self._spent.add(self._sent)
        if self._file is None:
            if is_first:
                what = "The token endpoint replaced the refresh token, and the new one is not saved"
                logger.warning("%s", SACError(what, Failure.UNSAVED_REFRESH_TOKEN))
            return
        try:
            self._file.write(token)
        except SACError as error:  # This run can continue.
            logger.warning("%s", error)

    def failure_of(self, error: str, description: str) -> Failure:
        """Distinguish an expired sign-in from a client without this grant."""
        if error in _NOT_VALID:
            return Failure.SAVED_SIGN_IN_EXPIRED if self._file else Failure.SIGN_IN_EXPIRED
        return _of_client(error, description)


Grant = ClientCredentials | AuthorizationCode | RefreshToken


def _is_of_the_grant(error: str, description: str) -> bool:
    return error in _NOT_ALLOWED or bool(_OF_GRANT_TYPE.search(description))


def _of_client(error: str, description: str) -> Failure:
    is_grant = _is_of_the_grant(error, description)
    return Failure.SIGN_IN_NOT_ALLOWED if is_grant else Failure.CLIENT_REFUSED


def _refresh_token_of(answer: Mapping[str, Any]) -> str | None:
    """Return the refresh token of a response, and mask it in all output."""
    token = answer.get("refresh_token")
    if not isinstance(token, str) or not HEADER_VALUE.fullmatch(token):
        return None
    mask_secret(token)
    return token
