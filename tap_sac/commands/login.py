"""``--login``: a person signs in with a browser, and gets a refresh token for the settings."""

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

    from tap_sac.sac.oauth.grants import AuthorizationCode

PATIENCE = 300.0  # seconds, with a person who signs in
_SECONDS_TO_OPEN = 1.0
_MOST_TRIES = 2
_SUCCESS = "The sign-in worked"
_FAILURE = "The sign-in failed"


class Login:
    """Lets a person sign in, once.

    What is for the person goes to stderr, and the refresh token alone to stdout.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        user_agent: str,
        redirect_uri: str | None = None,
        opens_browser: bool = True,
    ) -> None:
        """Keep what decides; nothing is requested yet.

        Args:
            settings: With their defaults.
            user_agent: The User-Agent header, if no setting says otherwise.
            redirect_uri: As the OAuth client has it; that of the tap's own if None.
            opens_browser: Whether to open a browser, besides printing the address.
        """
        self._settings = {**settings, "backoff_max_tries": _MOST_TRIES}
        self._user_agent = user_agent
        self._redirect_uri = redirect_uri or DEFAULT_REDIRECT_URI
        self._opens_browser = opens_browser

    def run(self, print_line: Callable[[str], None]) -> None:
        """Wait for the person, and print the refresh token in the forms that settings take.

        Args:
            print_line: Writes a line to stdout.

        Raises:
            SACError: If the person does not sign in, or the tenant does not take it.
        """
        if self._settings["demo"]:
            msg = (
                "Nobody can sign in at the sample tenant of the setting demo, which ends with the "
                "run: serve one with python -m tap_sac.demo, and use the settings that it prints."
            )
            raise SACError(msg)
        redirect_uri = RedirectURI.checked(self._redirect_uri)
        file = token_file(self._settings)
        if file:
            with file.locked():  # Better now than after the person has signed in.
                file.read()
        sign_in = SignIn(
            authorize_url(self._settings),
            client_id=self._settings["client_id"],
            redirect_uri=redirect_uri,
        )
        through = self._by_hand if redirect_uri.port is None else self._through_listener
        grant, name = through(sign_in, redirect_uri)
        if grant.refresh_token is None:
            msg = (
                "The tenant gave no refresh token, without which nobody stays signed in: check the "
                "lifetime of refresh tokens of the OAuth client in SAC, under System > "
                "Administration > App Integration."
            )
            raise SACError(msg)
        self._print_token(grant.refresh_token, name, print_line)
        if file:
            with file.locked():
                file.write(grant.refresh_token)
            _tell(f"The file {file.path} has it too, and what is there is what the tap uses.")

    def _through_listener(
        self, sign_in: SignIn, redirect_uri: RedirectURI
    ) -> tuple[AuthorizationCode, str]:
        with closing(RedirectListener(redirect_uri)) as listener:
            self._show_address(sign_in)
            _tell(f"Waiting for the answer at {redirect_uri.text}, at most five minutes.")
            redirected = listener.wait(PATIENCE)
            if redirected is None:
                msg = (
                    "Nobody has signed in within five minutes: run tap-sac --login again, and if "
                    f"the browser shows an error, check that the redirect URI {redirect_uri.text} "
                    "is registered exactly so with the OAuth client."
                )
                raise SACError(msg)
            try:
                grant, name = self._exchange(sign_in, redirected)
            except SACError as error:
                listener.show(_FAILURE, str(error), is_success=False)
                raise
            text = f"You are signed in as {name}: close this page, and go back to the terminal."
            listener.show(_SUCCESS, text, is_success=True)
            return grant, name

    def _by_hand(self, sign_in: SignIn, redirect_uri: RedirectURI) -> tuple[AuthorizationCode, str]:
        self._show_address(sign_in)
        _tell(
            f"When the browser has gone to {redirect_uri.text}, copy the whole address from there, "
            "whatever the page shows, and paste it here:"
        )
        redirected = sys.stdin.readline().strip() if sys.stdin else ""
        if not redirected:
            msg = (
                "No address was pasted: run tap-sac --login again in a terminal, and paste the "
                "one that the browser has gone to."
            )
            raise SACError(msg)
        return self._exchange(sign_in, redirected)

    def _show_address(self, sign_in: SignIn) -> None:
        _tell(f"Sign in at this address:\n\n{sign_in.address}\n")
        if self._opens_browser:
            # Some browsers are waited for until they are closed, and would wait for a page here.
            opener = threading.Thread(target=_open, args=(sign_in.address,), daemon=True)
            opener.start()
            opener.join(_SECONDS_TO_OPEN)

    def _exchange(self, sign_in: SignIn, redirected: str) -> tuple[AuthorizationCode, str]:
        """Change the answer for tokens; returns them and the name of the person."""
        grant = sign_in.grant(redirected)
        client = connect(self._settings, user_agent=self._user_agent, grant=grant)
        person = client.user
        return grant, (person and person.name) or "a person whom the token does not name"

    def _print_token(self, token: str, name: str, print_line: Callable[[str], None]) -> None:
        _tell(
            f"Signed in as {name}. The refresh token is shown this once; keep it like a password. "
            "It goes into the file of --config, into .env, or into a Meltano project:\n"
        )
        quoted = shlex.quote(token)
        print_line(f'"refresh_token": {json.dumps(token)}')
        print_line(f"TAP_SAC_REFRESH_TOKEN={quoted}")
        print_line(f"meltano config set tap-sac refresh_token {quoted}")


def _open(address: str) -> None:
    if not webbrowser.open(address):
        _tell("No browser could be opened, so open the address yourself.")


def _tell(text: str) -> None:
    click.echo(text, err=True)
