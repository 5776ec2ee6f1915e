"""Runs that fail, or are killed."""

from __future__ import annotations

import contextlib
import copy
import io
import sys
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import read_messages

if TYPE_CHECKING:
    from tests.conftest import Messages

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import Messages


def run(config: dict[str, Any], **inputs: Any) -> tuple[Messages, str]:
    """Run the tap; returns what it wrote, and why it failed."""
    failure = ""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            TapSAC(config=dict(config), **inputs).sync_all()
        except SACError as error:
            failure = str(error)
    return read_messages(output.getvalue()), failure


def is_activated(messages: Messages, stream: str) -> bool:
    return "ACTIVATE_VERSION" in {item["type"] for item in messages.of(stream)}


ALL_MESSAGES = sys.maxsize


class Killed(BaseException):
    """The end of a process."""


class DyingOutput(io.StringIO):
    """Ends the process that writes to it, after so many lines."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._lines = lines

    @override
    def write(self, text: str) -> int:
        if self.getvalue().count("\n") == self._lines:
            raise Killed
        return super().write(text)


def killed_sync(
    config: dict[str, Any],
    catalog: dict[str, Any] | None,
    state: dict[str, Any],
    killed_after: int,
) -> Messages:
    output = DyingOutput(killed_after)
    with contextlib.suppress(Killed, SACError), contextlib.redirect_stdout(output):
        TapSAC(config=dict(config), catalog=catalog, state=copy.deepcopy(state)).sync_all()
    return read_messages(output.getvalue())
