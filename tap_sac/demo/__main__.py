"""Serve the sample tenant until Ctrl-C; or change what another process serves."""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
from urllib.request import Request, urlopen

from tap_sac.demo.server import SampleTenant
from tap_sac.demo.service import CHANGE_PATH, EXPIRE_PATH


def main() -> None:
    """Print the settings of the tap, and serve; or do what the options say."""
    parser = argparse.ArgumentParser(prog="python -m tap_sac.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="a loopback port; 0 for any free one")
    parser.add_argument(
        "--change", metavar="URL", help="insert, update and delete a fact at the tenant of this URL"
    )
    parser.add_argument(
        "--expire", metavar="URL", help="let the tenant of this URL forget all delta links"
    )
    arguments = parser.parse_args()
    try:
        if arguments.change:
            print(_post(arguments.change + CHANGE_PATH))  # noqa: T201
        elif arguments.expire:
            print(_post(arguments.expire + EXPIRE_PATH))  # noqa: T201
        else:
            _serve(arguments.port)
    except (OSError, ValueError, OverflowError) as error:
        parser.error(f"{error}: check the port, and whether the tenant is there.")


def _serve(port: int) -> None:
    with SampleTenant(port=port) as tenant:
        print(json.dumps(tenant.settings, indent=2), flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def _post(url: str) -> str:
    with urlopen(Request(url, method="POST")) as answer:  # noqa: S310  (the user's own URL)
        text: str = answer.read().decode()
        return text


if __name__ == "__main__":
    main()
