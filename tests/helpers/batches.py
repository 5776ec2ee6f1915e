"""The files of BATCH messages."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any
from urllib.request import url2pathname

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Messages

# The attributes of a decimal in $metadata, and the precision and scale that Parquet has for it.
PARQUET_FACETS = {
    'Precision="9" Scale="2"': (9, 2, " from $metadata"),
    'Precision="60" Scale="20"': (60, 20, " from $metadata"),
    'Scale="2"': (38, 2, ", because $metadata declares no precision"),
    'Precision="31" Scale="variable"': (31, 10, ", because $metadata declares no scale"),
    "": (38, 10, ", because $metadata declares no precision and no scale"),
}


def batch_config(folder: Path, format_: str, compression: str | None, size: int) -> dict[str, Any]:
    return {
        "batch_config": {
            "encoding": {"format": format_, "compression": compression or "none"},
            "storage": {"root": folder.as_uri()},
            "batch_size": size,
        }
    }


def files(messages: Messages, stream: str) -> list[str]:
    return [
        url2pathname(url.removeprefix("file://"))
        for message in messages.of(stream)
        if message["type"] == "BATCH"
        for url in message["manifest"]
    ]


def lines_of(messages: Messages, stream: str) -> list[str]:
    """Return the lines of all JSON lines files of a stream."""
    lines = []
    for path in files(messages, stream):
        with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
            lines += file.read().split("\n")
            assert not lines.pop()
    return lines


def records_of(messages: Messages, stream: str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_float=str) for line in lines_of(messages, stream)]
