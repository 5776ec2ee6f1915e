"""Writes Singer messages to standard output, always as complete lines of UTF-8."""

from __future__ import annotations

import os
import select
import sys
import threading
from typing import TYPE_CHECKING, Any

from singer_sdk.singerlib import Message
from singer_sdk.singerlib.encoding import GenericSingerWriter
from typing_extensions import override

from tap_sac.sac.errors import SACError
from tap_sac.sac.odata.decimals import ENCODER

if TYPE_CHECKING:
    from datetime import datetime

SECONDS_FOR_A_LINE = 10.0  # after a signal
_SIGNAL_EXIT_CODE = 128


class MessageWriter(GenericSingerWriter[bytes, Message]):
    """Writes single messages, or many records at a time."""

    def __init__(self) -> None:
        """Create a writer."""
        super().__init__()
        self._is_writing = False
        self._signal: int | None = None
        self._repeat: threading.Timer | None = None

    @override
    def serialize_message(self, message: Message) -> bytes:
        parts: dict[str, Any] = message.to_dict()
        if time := parts.get("time_extracted"):
            parts["time_extracted"] = time.isoformat()
        return ENCODER.encode(parts)

    @override
    def write_message(self, message: Message) -> None:
        self._write(self.format_message(message) + b"\n")

    def write_line(self, text: str) -> None:
        """Write text that is not a message, such as a catalog."""
        self._write(f"{text}\n".encode())

    def write_records(
        self, stream: str, lines: bytes, version: int | None, time_extracted: datetime
    ) -> None:
        """Write a RECORD message for each of many records: JSON, each with a newline at its end."""
        begin = b'{"type":"RECORD","stream":%b,"record":' % ENCODER.encode(stream)
        end = b',"version":%d' % version if version is not None else b""
        end += b',"time_extracted":"%b"}\n' % time_extracted.isoformat().encode()
        # The only newlines are those between records.
        messages = lines.replace(b"\n", end + begin)
        self._write(begin, memoryview(messages)[: -len(begin)])

    def stop(self, signal_number: int) -> None:
        """Exit, but not in the middle of a line.

        Called in a signal handler. A second signal does not wait for the line, because its reader
        may hang; after a while, this one is sent again.

        Raises:
            SystemExit: At once, if nothing is being written.
        """
        if self._is_writing and self._signal is None:
            self._signal = signal_number
            again = [os.getpid(), signal_number]
            self._repeat = threading.Timer(SECONDS_FOR_A_LINE, os.kill, again)
            self._repeat.daemon = True
            self._repeat.start()
        else:
            sys.exit(_SIGNAL_EXIT_CODE + signal_number)

    def _write(self, *parts: bytes | memoryview) -> None:
        if sys.stdout is None:
            msg = "Standard output is closed: pipe the tap into a target."
            raise SACError(msg)
        try:
            file_descriptor = sys.stdout.fileno()
        except OSError:  # The output is captured in this process.
            sys.stdout.write(b"".join(parts).decode())
            return
        self._is_writing = True
        try:
            for part in parts:
                data = memoryview(part)
                # A signal came while an earlier part of the line was written.
                rest = data if self._signal is None else data[: _end_of_line(data)]
                self._write_all(file_descriptor, rest)
        finally:
            self._is_writing = False
            if self._repeat:
                self._repeat.cancel()
        if self._signal is not None:
            sys.exit(_SIGNAL_EXIT_CODE + self._signal)

    def _write_all(self, file_descriptor: int, data: memoryview) -> None:
        """Write everything, or after a signal, only the current line, because readers may be slow.

        A signal makes `os.write` return early, with the number of bytes written.
        """
        while data:
            try:
                written = os.write(file_descriptor, data)
            except BrokenPipeError:
                msg = (
                    "The program reading the output exited before the tap finished, so the run is "
                    "not complete: see the log of the target."
                )
                raise SACError(msg) from None
            except BlockingIOError:  # The reader has made the pipe non-blocking.
                select.select([], [file_descriptor], [])
                continue
            except OSError as error:
                msg = (
                    f"The output cannot be written ({error.strerror}): free disk space, and run "
                    "the tap again."
                )
                raise SACError(msg) from None
            if self._signal is not None:
                data = data[: _end_of_line(data, max(0, written - 1))]
            data = data[written:]


def _end_of_line(data: memoryview, start: int = 0) -> int:
    """Return the end of the line at a position, or of the data."""
    newline = bytes(data[start:]).find(b"\n")
    return len(data) if newline < 0 else start + newline + 1
