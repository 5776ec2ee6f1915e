"""``--login``: a user signs in with a browser, and gets a refresh token for the settings."""

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
from tap_sac.sac.oauth.redirects import DEFAULT_REDIRECT_URI, RedirectListener, RedirectURI
from tap_sac.sac.oauth.sign_in import SignIn
from tap_sac.tenant import authorize_url, connect, token_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    _Exchange = Callable[[str], tuple[str, str]]

PATIENCE = 300.0  # seconds, with a user who signs in
_SECONDS_TO_OPEN = 1.0
_MOST_TRIES = 2


def login(
    settings: Mapping[str, Any],
    print_line: Callable[[str], None],
    *,
    user_agent: str,
    redirect_uri: str | None = None,
    opens_browser: bool = True,
) -> None:
    """Let a user sign in, and print the refresh token in the formats that settings take.

    What is for the user goes to stderr, and the refresh token alone to stdout.

    Raises:
        SACError: If the user does not sign in, or the tenant refuses.
    """
    if settings["demo"]:
        msg = (
            "Nobody can sign in to the sample tenant of the setting demo, which ends with the "
            "run: start one with python -m tap_sac.demo, and use the settings that it prints."
        )
        raise SACError(msg)
    redirect = RedirectURI.checked(redirect_uri or DEFAULT_REDIRECT_URI)
    file = token_file(settings)
    if file:
        with file.locked():  # Better now than after the user has signed in.
            file.read()
    token, name = _sign_in(settings, redirect, user_agent=user_agent, opens_browser=opens_browser)
    _print_token(token, name, print_line)
    if file:
        with file.locked():
            file.write(token)
        _tell(f"It is also saved in {file.path}, which takes precedence over the setting.")


def _sign_in(
    settings: Mapping[str, Any], redirect_uri: RedirectURI, *, user_agent: str, opens_browser: bool
) -> tuple[str, str]:
    """Wait for the user; returns the refresh token and the name of the user."""
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
        user = connect(few_tries, user_agent=user_agent, grant=grant).user
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
        _tell(f"Waiting for the answer at {redirect_uri.text}, at most five minutes.")
        redirected = listener.wait(PATIENCE)
        if redirected is None:
            msg = (
                "Nobody has signed in within five minutes: run tap-sac --login again, and if "
                f"the browser shows an error, check that exactly {redirect_uri.text} "
                "is registered as a redirect URI of the OAuth client."
            )
            raise SACError(msg)
        try:
            token, name = exchange(redirected)
        except SACError as error:
            listener.show("The sign-in failed", str(error), is_success=False)
            raise
        text = f"You are signed in as {name}: close this page, and return to the terminal."
        listener.show("The sign-in worked", text, is_success=True)
        return token, name


def _by_hand(
    redirect_uri: RedirectURI, start: Callable[[], None], exchange: _Exchange
) -> tuple[str, str]:
    """Read the address to which the browser was redirected from the terminal."""
    start()
    _tell(
        f"When the browser shows {redirect_uri.text}, copy the whole address from there, "
        "whatever the page shows, and paste it here:"
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
        "Put it into the file of --config, into .env, or into a Meltano project:\n"
    )
    quoted = shlex.quote(token)
    print_line(f'"refresh_token": {json.dumps(token)}')
    print_line(f"TAP_SAC_REFRESH_TOKEN={quoted}")
    print_line(f"meltano config set tap-sac refresh_token {quoted}")


def _open(address: str) -> None:
    def open_or_tell() -> None:
        if not webbrowser.open(address):
            _tell("No browser could be opened, so open the address yourself.")

    # Some browsers are waited for until they are closed, and would wait for a page here.
    opener = threading.Thread(target=open_or_tell, daemon=True)
    opener.start()
    opener.join(_SECONDS_TO_OPEN)


def _tell(text: str) -> None:
    click.echo(text, err=True)
