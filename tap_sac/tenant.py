"""Makes a client of the tenant from the settings."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tap_sac.sac.errors import SACError
from tap_sac.sac.export.client import SACClient
from tap_sac.sac.http.pace import PATIENCE, Pace
from tap_sac.sac.http.transport import Transport, new_session
from tap_sac.sac.oauth.bearer import BearerAuthenticator
from tap_sac.sac.oauth.grants import ClientCredentials, RefreshToken
from tap_sac.sac.oauth.token_file import TokenFile
from tap_sac.sac.urls import (
    checked_url,
    derive_authorize_url,
    derive_token_url,
    tenant_name,
    tenant_origin,
)
from tap_sac.safety.text import log_safe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tap_sac.sac.oauth.grants import Grant


_SAMPLE = "sample"
_HASH_LENGTH = 16


def token_file(config: Mapping[str, Any]) -> TokenFile | None:
    """Return the file that stores the refresh token; None if the settings name none."""
    path = config.get("refresh_token_file")
    return TokenFile(path) if path else None


def _refresh_token(config: Mapping[str, Any]) -> Grant:
    return RefreshToken((config.get("refresh_token") or "").strip() or None, token_file(config))


# Grants, by the settings that choose them: the first one with such a setting, or without any.
GRANTS: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Grant]], ...] = (
    (("refresh_token", "refresh_token_file"), _refresh_token),
    ((), lambda _: ClientCredentials()),
)


def tenant_hash(config: Mapping[str, Any], origin: str) -> str:
    """Return how bookmarks identify the tenant: ``sample``, or a hash of its name."""
    name = tenant_name(origin)
    return _SAMPLE if config["demo"] else sha256(name.encode()).hexdigest()[:_HASH_LENGTH]


def check_bookmarks(bookmarks: Mapping[str, Any], config: Mapping[str, Any], origin: str) -> None:
    """Raise a `SACError` if a bookmark is of another tenant; older states do not name one."""
    now = tenant_hash(config, origin)
    for stream, bookmark in bookmarks.items():
        before = bookmark.get("tenant") if isinstance(bookmark, dict) else None
        if isinstance(before, str) and before != now:
            whose = "the sample tenant" if before == _SAMPLE else "another tenant"
            msg = (
                f"The state is of {whose} (stream {log_safe(stream)}), so rows of both tenants "
                "would mix: correct tenant_url or demo, or run with --full-refresh (or without "
                "--state)."
            )
            raise SACError(msg)


def connect(
    config: Mapping[str, Any], *, grant: Grant | None = None, patience: float = PATIENCE
) -> SACClient:
    """Make a client, which sends no request yet.

    The settings decide on the grant, if none is given. The patience is the maximum seconds that a
    request waits in total when SAC limits the rate.

    Raises:
        SACError: If a URL is invalid, or no Token URL is set and none can be derived.
    """
    settings = dict(config)
    if settings["demo"]:
        from tap_sac import demo  # noqa: PLC0415  (only where the setting asks for it)

        settings |= demo.sample_tenant().settings
        grant = ClientCredentials()
    grant = grant or _grant(settings)
    session = new_session(settings["max_parallel_requests"])
    session.headers["User-Agent"] = settings["user_agent"]
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
            pace=Pace(settings["max_parallel_requests"], patience),
        ),
        authenticator=BearerAuthenticator(
            grant,
            token_url=token_url,
            client_id=settings["client_id"],
            client_secret=settings["client_secret"],
            auth_method=settings["token_endpoint_auth_method"],
            session=session,
            timeout=settings["request_timeout"],
            patience=patience,
        ),
    )


def authorize_url(config: Mapping[str, Any]) -> str:
    """Return the URL where users sign in, by the settings that `connect` reads, too."""
    return derive_authorize_url(_token_url(config, _origin(config)))


def _origin(config: Mapping[str, Any]) -> str:
    return tenant_origin(config["tenant_url"], "The setting tenant_url")


def _token_url(config: Mapping[str, Any], origin: str) -> str:
    token_url = config.get("token_url") or derive_token_url(origin)
    return checked_url(token_url, "The setting token_url")


def _grant(config: Mapping[str, Any]) -> Grant:
    def is_set(name: str) -> bool:
        return bool((config.get(name) or "").strip())

    return next(make(config) for names, make in GRANTS if not names or any(map(is_set, names)))


def _check_query(token_url: str) -> None:
    """Check that the Token URL does not request a token of the OAuth client itself."""
    if "grant_type" in parse_qs(urlsplit(token_url).query):
        msg = (
            "The setting token_url has a grant_type, which does not work with a user's sign-in: "
            "remove it from the URL."
        )
        raise SACError(msg)
