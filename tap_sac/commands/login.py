"""``--login``: signs a user in with a browser, and prints a refresh token for the settings."""

from __future__ import annotations

import json
import shlex
import sys
import threading
import webbrowser
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from tap_sac.sac.errors import SACError
from tap_sac.sac.http.pace import SHORT_PATIENCE
from tap_sac.sac.oauth.redirects import DEFAULT_REDIRECT_URI, RedirectListener, RedirectURI
from tap_sac.sac.oauth.sign_in import SignIn
from tap_sac.tenant import authorize_url, connect, token_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    _Exchange = Callable[[str], tuple[str, str]]

PATIENCE = 300.0  # seconds to wait for the user
_SECONDS_TO_OPEN = 1.0
_MOST_TRIES = 2


def login(
    settings: Mapping[str, Any],
    print_line: Callable[[str], None],
    *,
    redirect_uri: str | None = None,
    opens_browser: bool = True,
) -> None:
    """Let a user sign in, and print the refresh token in the formats that settings take.

    Text for the user goes to stderr, so stdout has the refresh token alone.

    Raises:
        SACError: If the user does not sign in, or the tenant refuses.
    """
    if settings["demo"]:
        msg = (
            "The sample tenant of the setting demo has no sign-in, because it ends with the run: "
            "start one with python -m tap_sac.demo, and use the settings that it prints."
        )
        raise SACError(msg)
    redirect = RedirectURI.checked(redirect_uri or DEFAULT_REDIRECT_URI)
    file = token_file(settings)
    if file:
        with file.locked():  # Fail now rather than after the user has signed in.
            file.read()
    token, name = _sign_in(settings, redirect, opens_browser=opens_browser)
    _print_token(token, name, print_line)
    if file:
        with file.locked():
            file.write(token)
        _tell(f"The token is also saved in {file.path}, which overrides the setting.")


def _sign_in(
    settings: Mapping[str, Any], redirect_uri: RedirectURI, *, opens_browser: bool
) -> tuple[str, str]:
    """Wait until the user has signed in; returns the refresh token and the user's name."""
    sign_in = SignIn(
        authorize_url(settings), client_id=settings["client_id"], redirect_uri=redirect_uri
    )

    def start() -> None:
        _tell(f"Sign in at this address:\n\n{sign_in.address}\n")
        if opens_browser:
            _open(sign_in.address)

    def exchange(redirected: str) -> tuple[str, str]:
        grant = sign_in.grant(redirected)
        few_tries = {**settings, "backoff_max_tries": _MOST_TRIES}
        user = connect(few_tries, grant=grant, patience=SHORT_PATIENCE).user
        if grant.refresh_token is None:
            msg = (
                "The tenant issued no refresh token, so the sign-in cannot be reused: check the "
                "lifetime of refresh tokens of the OAuth client in SAC, under System > "
                "Administration > App Integration."
            )
            raise SACError(msg)
        return grant.refresh_token, (user and user.name) or "a user whom the token does not name"

    if redirect_uri.port is None:
        return _by_hand(redirect_uri, start, exchange)
    return _through_listener(redirect_uri, sign_in.state, start, exchange)


def _through_listener(
    redirect_uri: RedirectURI, state: str, start: Callable[[], None], exchange: _Exchange
) -> tuple[str, str]:
    """Wait for the browser at the redirect URI."""
    with closing(RedirectListener(redirect_uri, state)) as listener:
        start()
        _tell(f"Waiting up to five minutes for the browser to return to {redirect_uri.text}.")
        redirected = listener.wait(PATIENCE)
        if redirected is None:
            msg = (
                "Nobody signed in within five minutes: run tap-sac --login again. If the browser "
                f"shows an error, register exactly {redirect_uri.text} as a redirect URI of the "
                "OAuth client."
            )
            raise SACError(msg)
        try:
            token, name = exchange(redirected)
        except SACError as error:
            listener.show("The sign-in failed", str(error), is_success=False)
            raise
        text = f"You are signed in as {name}. Close this page and return to the terminal."
        listener.show("Signed in", text, is_success=True)
        return token, name


def _by_hand(
    redirect_uri: RedirectURI, start: Callable[[], None], exchange: _Exchange
) -> tuple[str, str]:
    """Let the user paste the address to which the browser was redirected."""
    start()
    _tell(
        f"When the browser is redirected to {redirect_uri.text}, copy the full address from its "
        "address bar, even if the page shows an error, and paste it here:"
    )
    redirected = sys.stdin.readline().strip() if sys.stdin else ""
    if not redirected:
        msg = (
            "No address was pasted: run tap-sac --login again in a terminal, and paste the "
            "address to which the browser was redirected."
        )
        raise SACError(msg)
    return exchange(redirected)


def _print_token(token: str, name: str, print_line: Callable[[str], None]) -> None:
    _tell(
        f"Signed in as {name}. The refresh token is shown only once; treat it like a password. "
        "Put it into your --config file, into .env, or into a Meltano project:\n"
    )
    quoted = shlex.quote(token)
    print_line(f'"refresh_token": {json.dumps(token)}')
    print_line(f"TAP_SAC_REFRESH_TOKEN={quoted}")
    print_line(f"meltano config set tap-sac refresh_token {quoted}")


def _open(address: str) -> None:
    def open_or_tell() -> None:
        if not webbrowser.open(address):
            _tell("No browser could be opened, so open the address yourself.")

    # Some browsers block until they are closed, but need the listener to serve a page first.
    opener = threading.Thread(target=open_or_tell, daemon=True)
    opener.start()
    opener.join(_SECONDS_TO_OPEN)


def _tell(text: str) -> None:
    click.echo(text, err=True)
