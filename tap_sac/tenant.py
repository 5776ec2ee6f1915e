"""Settings -> a client of the tenant that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_sac.sac.auth import ClientCredentialsAuthenticator
from tap_sac.sac.client import SACClient
from tap_sac.sac.transport import Transport, new_session
from tap_sac.sac.urls import checked_url, derive_token_url, tenant_origin

if TYPE_CHECKING:
    from collections.abc import Mapping


def connect(config: Mapping[str, Any], *, user_agent: str) -> SACClient:
    """Make a client; nothing is requested yet.

    Args:
        config: The settings, with their defaults.
        user_agent: The User-Agent header, if no setting says otherwise.

    Raises:
        SACError: If a URL is not valid, or the Token URL can neither be found nor derived.
    """
    settings = dict(config)
    if settings["demo"]:
        from tap_sac import demo  # noqa: PLC0415  (only where the setting asks for it)

        settings |= demo.sample_tenant().settings
    session = new_session(settings["max_parallel_requests"])
    session.headers["User-Agent"] = settings.get("user_agent", user_agent)
    origin = tenant_origin(settings["tenant_url"])
    token_url = settings.get("token_url") or derive_token_url(origin)
    return SACClient(
        origin,
        transport=Transport(
            session,
            request_timeout=settings["request_timeout"],
            max_tries=settings["backoff_max_tries"],
            max_parallel_requests=settings["max_parallel_requests"],
        ),
        authenticator=ClientCredentialsAuthenticator(
            token_url=checked_url(token_url, "token_url"),
            client_id=settings["client_id"],
            client_secret=settings["client_secret"],
            auth_method=settings["token_endpoint_auth_method"],
            session=session,
            timeout=settings["request_timeout"],
        ),
    )
