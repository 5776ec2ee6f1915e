"""The sign-in of a user (3-legged): from its URL to the redirect at its end.

It is the authorization code grant (RFC 6749, 4.1) with a state and PKCE (RFC 7636), for programs on
the user's own machine (RFC 8252). oauthlib implements the protocol.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from oauthlib.oauth2 import (
    AccessDeniedError,
    MismatchingStateError,
    MissingCodeError,
    OAuth2Error,
    WebApplicationClient,
)

from tap_sac.sac.errors import SACError
from tap_sac.sac.failures import Failure
from tap_sac.sac.oauth.grants import AuthorizationCode
from tap_sac.safety.masks import mask_secret
from tap_sac.safety.text import log_safe

if TYPE_CHECKING:
    from tap_sac.sac.oauth.redirects import RedirectURI

# unseen: whether XSUAA, SAC's authorization server, checks PKCE
_VERIFIER_LENGTH = 64  # RFC 7636, 4.1: between 43 and 128


class SignIn:
    """One sign-in.

    Attributes:
        address: The URL where the user signs in.
        state: A random text that the redirect must repeat.
    """

    def __init__(self, authorize_url: str, *, client_id: str, redirect_uri: RedirectURI) -> None:
        """Make a random state and code verifier."""
        self._redirect_uri = redirect_uri.text
        self._client = WebApplicationClient(client_id)
        self.state = secrets.token_urlsafe()
        self._verifier = self._client.create_code_verifier(_VERIFIER_LENGTH)
        mask_secret(self._verifier)
        address = self._client.prepare_request_uri(
            _with_https(authorize_url),
            redirect_uri=self._redirect_uri,
            state=self.state,
            code_challenge=self._client.create_code_challenge(self._verifier, "S256"),
            code_challenge_method="S256",
        )
        scheme = authorize_url.partition("://")[0]
        self.address = f"{scheme}://{address.partition('://')[2]}"

    def grant(self, redirected: str) -> AuthorizationCode:
        """Read the redirect URI with its query; a `SACError` if it is no answer to this sign-in."""
        try:
            answer = self._client.parse_request_uri_response(_with_https(redirected), self.state)
        except MismatchingStateError:
            msg = "The address does not belong to this sign-in: its state is missing or different"
            raise SACError(msg, Failure.NOT_A_REDIRECT) from None
        except MissingCodeError:
            msg = "The address has no authorization code"
            raise SACError(msg, Failure.NOT_A_REDIRECT) from None
        except AccessDeniedError as error:
            msg = f"The sign-in was refused ({_shown(error)})"
            raise SACError(msg, Failure.SIGN_IN_DENIED) from None
        except OAuth2Error as error:
            msg = f"The sign-in failed ({_shown(error)})"
            raise SACError(msg, Failure.SIGN_IN_FAILED) from None
        except ValueError:
            msg = "The pasted address is not a URL"
            raise SACError(msg, Failure.NOT_A_REDIRECT) from None
        mask_secret(answer["code"])
        form = self._client.prepare_request_body(
            code=answer["code"],
            redirect_uri=self._redirect_uri,
            code_verifier=self._verifier,
            include_client_id=False,
        )
        return AuthorizationCode(dict(parse_qsl(form)))


def _with_https(url: str) -> str:
    """Change the scheme to https, as oauthlib requires; http is always local (RFC 8252, 8.3)."""
    return f"https://{url.partition('://')[2]}"


def _shown(error: OAuth2Error) -> str:
    return log_safe(": ".join(filter(None, (error.error, error.description))))
