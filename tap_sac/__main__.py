"""Run the tap with ``python -m tap_sac``."""

from tap_sac.tap import TapSAC

TapSAC.cli()
