"""A snapshot of what is discovered on the sample tenant, stream by stream."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from syrupy.extensions.json import JSONSnapshotExtension

if TYPE_CHECKING:
    import pytest
    from syrupy.assertion import SnapshotAssertion

    from tests.conftest import RunCli


def test_discovered_catalog(
    run_process: RunCli, snapshot: SnapshotAssertion, subtests: pytest.Subtests
) -> None:
    result = run_process({"demo": True}, "--discover")
    assert result.returncode == 0, result.stderr
    as_json = snapshot.with_defaults(extension_class=JSONSnapshotExtension)
    streams = json.loads(result.stdout)["streams"]
    for stream in streams:
        with subtests.test(stream["tap_stream_id"]):
            assert as_json(name=stream["tap_stream_id"]) == stream
    assert [stream["tap_stream_id"] for stream in streams] == as_json(name="streams")
