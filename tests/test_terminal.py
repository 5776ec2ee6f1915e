"""What a person at a terminal sees of a run, and what a log does not."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.helpers.cli import started, tap_command

if TYPE_CHECKING:
    from pathlib import Path

ERASE = "\r\x1b[K"
FACTS = "sales_planning_fact_data"

openpty = getattr(os, "openpty", None)
pytestmark = pytest.mark.skipif(openpty is None, reason="There are no such terminals here")


def seen(tmp_path: Path, *, is_output_seen: bool = False, **environment: str) -> str:
    """Run the tap in a terminal, with its messages in a file unless they are seen, too."""
    command = tap_command(tmp_path, {"demo": True, "models": ["Sales Planning"]})
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "200", **environment}
    assert openpty
    terminal, end = openpty()
    parts = []
    with (tmp_path / "messages").open("wb") as file:
        output = end if is_output_seen else file
        with started(command, stdout=output, stderr=end, env=variables) as process:
            os.close(end)
            with contextlib.suppress(OSError):  # Linux says so that the other end is closed.
                while part := os.read(terminal, 65_536):
                    parts.append(part)
    os.close(terminal)
    assert process.returncode == 0
    return b"".join(parts).decode()


def test_progress_line_has_a_share_and_is_erased_before_a_log_line(tmp_path: Path) -> None:
    text = seen(tmp_path)
    assert f"{ERASE}1 of 1 model" in text
    assert f"{ERASE}{FACTS}: 1,000 of 5,760 rows (17%)" in text
    # What is left when each line is erased: the log, and nothing else.
    lines = [line.rpartition(ERASE)[2] for line in text.split("\r\n")]
    assert len(lines) > 10
    assert all(re.match(r"\d{4}-\d\d-\d\d .* \| ", line) for line in lines[:-1])
    assert lines[-1] == ""


def test_progress_line_is_hidden_beside_records_and_in_dumb_terminals(tmp_path: Path) -> None:
    for text in (seen(tmp_path, is_output_seen=True), seen(tmp_path, TERM="dumb")):
        assert f"{FACTS}: 5,760 rows read" in text
        assert ERASE not in text


def test_progress_line_fits_the_terminal(tmp_path: Path) -> None:
    text = seen(tmp_path, COLUMNS="20")
    assert f"{ERASE}sales_planning_f...{ERASE}" in text
