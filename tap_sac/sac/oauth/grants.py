"""What tokens are asked for with: the OAuth client alone, or what a person's sign-in gave."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, Protocol

from tap_sac.sac.errors import SACError
from tap_sac.sac.failures import Failure
from tap_sac.sac.http.transport import HEADER_VALUE
from tap_sac.safety.masks import keep_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_sac.sac.oauth.token_file import TokenFile

logger = logging.getLogger(__name__)

# RFC 6749, 5.2. XSUAA is seen to call refresh tokens that have expired invalid tokens.
_NOT_VALID = {"invalid_grant", "invalid_token"}
_NOT_ALLOWED = {"unauthorized_client", "unsupported_grant_type"}


class Grant(Protocol):
    """What a token is asked for with (RFC 6749, 4)."""

    @property
    def is_of_person(self) -> bool:
        """Whether a person has signed in, whose rights decide then."""

    def form(self) -> contextlib.AbstractContextManager[Mapping[str, str]]:
        """Give the form of a token request, without the credentials of the OAuth client.

        It is good until the end of the block, in which the answer must be given to `keep`.

        Raises:
            SACError: If there is nothing to ask with.
        """

    def keep(self, answer: Mapping[str, Any]) -> None:
        """Take from the answer to a token request what the next one needs."""

    def failure_of(self, error: object) -> Failure:
        """Return what a refusal of the token endpoint means.

        Args:
            error: What it called the error (RFC 6749, 5.2).
        """


class ClientCredentials:
    """The client itself (2-legged): a technical user (RFC 6749, 4.4.2)."""

    is_of_person = False

    @contextlib.contextmanager
    def form(self) -> Iterator[Mapping[str, str]]:
        """Give the same form each time."""
        yield {"grant_type": "client_credentials"}

    def keep(self, answer: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def failure_of(self, error: object) -> Failure:  # noqa: ARG002
        """Blame the credentials for each error."""
        return Failure.CLIENT_REFUSED


class AuthorizationCode:
    """What a person's browser came back with: good for one request (RFC 6749, 4.1.3).

    Attributes:
        refresh_token: What later tokens can be asked for with; None before the request, or if the
            answer had none.
    """

    is_of_person = True

    def __init__(self, form: Mapping[str, str]) -> None:
        """Keep the form of that request."""
        self.refresh_token: str | None = None
        self._form = form

    @contextlib.contextmanager
    def form(self) -> Iterator[Mapping[str, str]]:
        """Give the form."""
        yield self._form

    def keep(self, answer: Mapping[str, Any]) -> None:
        """Keep the refresh token."""
        self.refresh_token = _refresh_token_of(answer)

    def failure_of(self, error: object) -> Failure:
        """Return why the code may be refused."""
        return Failure.CODE_REFUSED if error in _NOT_VALID else _client_failure(error)


class RefreshToken:
    """The sign-in of a person, which goes on from token to token (RFC 6749, 6).

    Where the server gives a new refresh token with each access token, only the newest works. A
    file keeps it for other runs, and has the last word: what is in it is newer than a setting.
    """

    is_of_person = True

    def __init__(self, token: str | None, file: TokenFile | None = None) -> None:
        """Keep where the token comes from; nothing is read yet.

        Args:
            token: The token that the settings have.
            file: Where a newer one is, and is to be kept.
        """
        self._newest = token
        self._file = file
        self._sent: str | None = None
        self._spent: set[str | None] = set()

    @contextlib.contextmanager
    def form(self) -> Iterator[Mapping[str, str]]:
        """Give a form with the newest token, and keep other runs from using it meanwhile.

        Raises:
            SACError: If there is none, or the file cannot be used.
        """
        with self._file.locked() if self._file else contextlib.nullcontext():
            kept = self._file.read() if self._file else None
            # One that is spent is there only if a newer one could not be written.
            token = self._newest if kept in self._spent else kept or self._newest
            if token is None:
                msg = "There is no refresh token yet in the token file"
                raise SACError(msg, Failure.NO_REFRESH_TOKEN)
            keep_secret(token)
            self._sent = token
            yield {"grant_type": "refresh_token", "refresh_token": token}

    def keep(self, answer: Mapping[str, Any]) -> None:
        """Keep a new refresh token, in the file if there is one."""
        token = _refresh_token_of(answer)
        if token is None or token == self._sent:
            return
        is_first = not self._spent
        self._newest = token
        self._spent.add(self._sent)
        if self._file is None:
            if is_first:
                what = "The token endpoint replaced the refresh token, which only this run knows"
                logger.warning("%s", SACError(what, Failure.UNSAVED_REFRESH_TOKEN))
            return
        try:
            self._file.write(token)
        except SACError as error:  # This run is well; the next one may not be.
            logger.warning("%s", error)

    def failure_of(self, error: object) -> Failure:
        """Return why the token may be refused."""
        if error in _NOT_VALID:
            return Failure.SAVED_SIGN_IN_EXPIRED if self._file else Failure.SIGN_IN_EXPIRED
        return _client_failure(error)


def _client_failure(error: object) -> Failure:
    return Failure.SIGN_IN_NOT_ALLOWED if error in _NOT_ALLOWED else Failure.CLIENT_REFUSED


def _refresh_token_of(answer: Mapping[str, Any]) -> str | None:
    """Take the refresh token out of an answer, and never show it from now on."""
    token = answer.get("refresh_token")
    if not isinstance(token, str) or not HEADER_VALUE.fullmatch(token):
        return None
    keep_secret(token)
    return token
