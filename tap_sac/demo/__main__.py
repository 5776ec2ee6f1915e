"""Serve the sample tenant until Ctrl-C, for ``python -m tap_sac.demo``."""

from __future__ import annotations

import argparse
import contextlib
import json
import threading

from tap_sac.demo.server import SampleTenant


def main() -> None:
    """Print the settings of the tap, and serve."""
    parser = argparse.ArgumentParser(prog="python -m tap_sac.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="a loopback port; 0 for any free one")
    with SampleTenant(port=parser.parse_args().port) as tenant:
        print(json.dumps(tenant.settings, indent=2), flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
