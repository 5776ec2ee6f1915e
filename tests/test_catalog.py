"""A snapshot of what is discovered on the sample tenant, stream by stream."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from syrupy.extensions.json import JSONSnapshotExtension

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from syrupy.assertion import SnapshotAssertion


def test_discovered_catalog(
    tmp_path: Path, snapshot: SnapshotAssertion, subtests: pytest.Subtests
) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"demo": true}')
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "tap_sac", "--config", str(config), "--discover"],
        capture_output=True,
        text=True,
        check=True,
    )
    as_json = snapshot.with_defaults(extension_class=JSONSnapshotExtension)
    streams = json.loads(result.stdout)["streams"]
    for stream in streams:
        with subtests.test(stream["tap_stream_id"]):
            assert as_json(name=stream["tap_stream_id"]) == stream
    assert [stream["tap_stream_id"] for stream in streams] == as_json(name="streams")
