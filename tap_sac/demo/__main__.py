"""Serve the sample tenant until Ctrl-C, or change the data that another process serves."""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
from dataclasses import fields
from pathlib import Path
from urllib.request import Request, urlopen

from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.like import LikeReport
from tap_sac.demo.server import SampleTenant
from tap_sac.demo.service import CHANGE_PATH, EXPIRE_PATH, Application, SampleService


def main() -> None:
    """Print settings for the tap and serve, or do what the options say."""
    parser = argparse.ArgumentParser(prog="python -m tap_sac.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="a loopback port; 0 for any free one")
    parser.add_argument(
        "--change", metavar="URL", help="insert, update and delete a fact in the tenant at this URL"
    )
    parser.add_argument(
        "--expire", metavar="URL", help="invalidate all delta links of the tenant at this URL"
    )
    parser.add_argument(
        "--like",
        metavar="FILE",
        help="answer like the tenant of a report, with made-up members and figures",
    )
    _add_tables(parser)
    _add_differences(parser)
    _add_sign_in(parser)
    arguments = parser.parse_args()
    try:
        behaviour = Behaviour(
            **{item.name: getattr(arguments, item.name) for item in fields(Behaviour)}
        )
    except ValueError as error:
        parser.error(f"{error}.")
    try:
        if arguments.change:
            print(_post(arguments.change + CHANGE_PATH))  # noqa: T201
        elif arguments.expire:
            print(_post(arguments.expire + EXPIRE_PATH))  # noqa: T201
        elif arguments.like:
            report = json.loads(Path(arguments.like).read_text(encoding="utf-8"))
            _serve(arguments.port, LikeReport(report))
        else:
            _serve(arguments.port, SampleService(behaviour))
    except (OSError, ValueError, OverflowError) as error:
        parser.error(f"{error}: check the port, and whether the tenant is running.")


def _add_tables(parser: argparse.ArgumentParser) -> None:
    options = parser.add_argument_group("tables and pages")
    options.add_argument(
        "--page-size",
        type=int,
        default=Behaviour.page_size,
        metavar="ROWS",
        help="rows per page, if the request does not set them (%(default)s)",
    )
    options.add_argument(
        "--page-cap",
        type=int,
        metavar="ROWS",
        help="truncate every response after this many rows, without a next link",
    )
    options.add_argument(
        "--pagesize-lifts-cap",
        action="store_true",
        help="truncate only responses to requests without pagesize",
    )
    options.add_argument(
        "--facts-per-key",
        type=int,
        default=1,
        metavar="N",
        help="have this many facts per key, which add up to the usual ones",
    )
    options.add_argument("--no-counts", dest="counts", action="store_false", help="ignore $count")
    options.add_argument("--ignores-skip", action="store_true", help="ignore $skip")
    options.add_argument(
        "--keyed-sums",
        dest="sums_have_keys",
        action="store_true",
        help="declare a key of FactDataAggregation in $metadata",
    )
    options.add_argument(
        "--plain-differences",
        dest="differences_need_subscribers",
        action="store_false",
        help="serve FactDataDifference without a subscription, too",
    )


def _add_differences(parser: argparse.ArgumentParser) -> None:
    options = parser.add_argument_group("differences between tenants")
    options.add_argument(
        "--distinct-values",
        dest="lists_distinct_values",
        action="store_true",
        help="serve <column>___Distinct of models, not only of currency tables",
    )
    options.add_argument(
        "--no-access",
        dest="client_has_access",
        action="store_false",
        help="refuse the client, like one without the access Data Export Service",
    )
    options.add_argument(
        "--older-subscriptions",
        action="store_true",
        help="list subscriptions like SAP's older samples: no EndTime before they are read",
    )
    options.add_argument(
        "--is-api-host",
        action="store_true",
        help="issue and require no CSRF tokens, like SAP's direct API host",
    )
    options.add_argument(
        "--links-to-other-host",
        action="store_true",
        help="link to the other address of the tenant, with or without .api",
    )
    options.add_argument(
        "--no-extra-namespaces",
        dest="extra_namespaces",
        action="store_false",
        help="list public dimensions, currencies and units, but do not serve them",
    )
    options.add_argument(
        "--dotted-master-data",
        action="store_true",
        help="name columns of MasterData Account.ID, like SAP's pages, not Account___ID",
    )


def _add_sign_in(parser: argparse.ArgumentParser) -> None:
    options = parser.add_argument_group("sign-in of users")
    options.add_argument(
        "--redirect-uri",
        default=Behaviour.redirect_uri,
        metavar="URI",
        help="the only registered redirect URI (%(default)s)",
    )
    options.add_argument(
        "--rotate-refresh-tokens",
        dest="rotates_refresh_tokens",
        action="store_true",
        help="return a new refresh token with each use, which invalidates the old one",
    )
    options.add_argument(
        "--readable-tokens",
        action="store_true",
        help="issue JWTs to the client itself, too",
    )
    options.add_argument(
        "--token-seconds",
        type=int,
        default=Behaviour.token_seconds,
        metavar="N",
        help="lifetime of access tokens (%(default)s)",
    )
    options.add_argument(
        "--refresh-token-seconds",
        type=int,
        default=Behaviour.refresh_token_seconds,
        metavar="N",
        help="lifetime of refresh tokens (%(default)s)",
    )
    options.add_argument(
        "--missing-grant",
        choices=("client_credentials", "authorization_code"),
        help="a grant that the client lacks",
    )
    options.add_argument(
        "--audit-needs-client",
        action="store_true",
        help="refuse audit data to users with 403, as on SAP's older pages",
    )
    options.add_argument(
        "--expired-is-forbidden",
        action="store_true",
        help="refuse an expired access token with 403 instead of 401",
    )


def _serve(port: int, application: Application) -> None:
    with SampleTenant(application, port=port) as tenant:
        print(json.dumps(tenant.settings, indent=2), flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def _post(url: str) -> str:
    with urlopen(Request(url, method="POST")) as answer:  # noqa: S310  (the user's own URL)
        text: str = answer.read().decode()
        return text


if __name__ == "__main__":
    main()
