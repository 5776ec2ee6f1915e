"""Settings -> a client of the tenant that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tap_sac.sac.errors import SACError
from tap_sac.sac.export.client import SACClient
from tap_sac.sac.http.transport import Transport, new_session
from tap_sac.sac.oauth.bearer import BearerAuthenticator
from tap_sac.sac.oauth.grants import ClientCredentials, RefreshToken
from tap_sac.sac.oauth.token_file import TokenFile
from tap_sac.sac.urls import checked_url, derive_authorize_url, derive_token_url, tenant_origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_sac.sac.oauth.grants import Grant


def connect(config: Mapping[str, Any], *, user_agent: str, grant: Grant | None = None) -> SACClient:
    """Make a client; nothing is requested yet.

    Args:
        config: The settings, with their defaults.
        user_agent: The User-Agent header, if no setting says otherwise.
        grant: What tokens are asked for with; what the settings have for it if None.

    Raises:
        SACError: If a URL is not valid, or the Token URL can neither be found nor derived.
    """
    settings = dict(config)
    if settings["demo"]:
        from tap_sac import demo  # noqa: PLC0415  (only where the setting asks for it)

        settings |= demo.sample_tenant().settings
        grant = ClientCredentials()
    grant = grant or _grant(settings)
    session = new_session(settings["max_parallel_requests"])
    session.headers["User-Agent"] = settings.get("user_agent", user_agent)
    origin = _origin(settings)
    token_url = _token_url(settings, origin)
    if grant.is_of_user:
        _check_query(token_url)
    return SACClient(
        origin,
        transport=Transport(
            session,
            request_timeout=settings["request_timeout"],
            max_tries=settings["backoff_max_tries"],
            max_parallel_requests=settings["max_parallel_requests"],
        ),
        authenticator=BearerAuthenticator(
            grant,
            token_url=token_url,
            client_id=settings["client_id"],
            client_secret=settings["client_secret"],
            auth_method=settings["token_endpoint_auth_method"],
            session=session,
            timeout=settings["request_timeout"],
        ),
    )


def authorize_url(config: Mapping[str, Any]) -> str:
    """Return where people sign in at the tenant.

    Args:
        config: The settings, with their defaults.

    Raises:
        SACError: As `connect` does.
    """
    return derive_authorize_url(_token_url(config, _origin(config)))


def token_file(config: Mapping[str, Any]) -> TokenFile | None:
    """Return the file that keeps the refresh token; None if the settings name none."""
    path = config.get("refresh_token_file")
    return TokenFile(path) if path else None


def _origin(config: Mapping[str, Any]) -> str:
    return tenant_origin(config["tenant_url"], "The setting tenant_url")


def _token_url(config: Mapping[str, Any], origin: str) -> str:
    token_url = config.get("token_url") or derive_token_url(origin)
    return checked_url(token_url, "The setting token_url")


def _grant(config: Mapping[str, Any]) -> Grant:
    token, file = (config.get("refresh_token") or "").strip(), token_file(config)
    return RefreshToken(token or None, file) if token or file else ClientCredentials()


def _check_query(token_url: str) -> None:
    """See that the Token URL does not ask for the client's own token, with rights of its own.

    Raises:
        SACError: If it does.
    """
    if "grant_type" in parse_qs(urlsplit(token_url).query):
        msg = (
            "The setting token_url names a grant_type, which does not go together with the "
            "sign-in of a person: remove it from the address."
        )
        raise SACError(msg)
