"""The options of the command line that other taps do not have."""

from __future__ import annotations

import io
from typing import Any

import click
from typing_extensions import override

from tap_sac.sac.oauth.redirects import DEFAULT_REDIRECT_URI


class Content(click.File):
    """The bytes of a file, closed at once: click leaves files open if a later option is invalid."""

    @override
    def convert(self, value: Any, *others: Any) -> io.BytesIO:
        file = super().convert(value, *others)
        content = io.BytesIO(file.read())
        if value != "-":  # That is standard input.
            file.close()
        return content


TABLE, JSON = "table", "json"


def _flag(name: str, text: str) -> click.Option:
    return click.Option([name], is_flag=True, help=text)


OPTIONS: list[click.Parameter] = [
    _flag("--check", "Test the connection step by step, and name the likely causes of a failure."),
    click.Option(
        ["--report"],
        metavar="FILE",
        help="Write a report on how SAC answers, without names or values; - for standard output.",
    ),
    _flag(
        "--report-changes",
        "With --report: also open, inspect and delete one change-tracking subscription.",
    ),
    _flag("--login", "Sign in as a user in a browser, and print the refresh token."),
    _flag("--no-browser", "With --login: print the sign-in address, but do not open a browser."),
    click.Option(
        ["--redirect-uri"],
        help=(
            "With --login: the redirect URI of the OAuth client, on another local port or with "
            "https; then you paste the address to which the browser was redirected. Default: "
            f"{DEFAULT_REDIRECT_URI}."
        ),
    ),
    click.Option(
        ["--models"],
        is_flag=False,
        flag_value=TABLE,
        type=click.Choice([TABLE, JSON]),
        help="List the models of the tenant as a table, or for programs (--models=json).",
    ),
]
