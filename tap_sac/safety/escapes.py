"""Decodes texts for comparison: line breaks, percent-encoding, backslash escapes, HTML."""

from __future__ import annotations

import html
import re
from array import array
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# In UTF-8: white space, C0 and C1 with U+0085, U+00AD, zero-width characters and line ends.
_BLANK = re.compile(
    rb"(?:[\0- \x7f]|\xc2[\x80-\xa0\xad]|\xe2\x80[\x80-\x8f\xa8-\xaf]|\xe2\x81[\x9f-\xaf]"
    rb"|\xef\xbb\xbf)+"
)
# Each may be encoded again in its own way: `%2541`, `\\\\u0041`, `&amp;amp;`.
_ESCAPE = re.compile(
    rb"""%(?:25)*(?P<percent>[0-9a-fA-F]{2})
    |\\+(?:
        x(?P<byte>[0-9a-fA-F]{2})
        |u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\+u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})
        |u(?P<unit>[0-9a-fA-F]{4})
        |U00(?P<point>(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4})
        |[0abfnrtv]
    )?
    |&(?:amp;)*(?P<entity>amp|lt|gt|quot|apos|\#[0-9]{1,7}|\#[xX][0-9a-fA-F]{1,6});""",
    re.VERBOSE,
)
# Such as percent-encoded JSON in HTML. Limited, so that no text takes forever.
_MOST_ENCODINGS = 4


class Unescaped(NamedTuple):
    """A text without escapes and white space, with the origin of each byte.

    Attributes:
        data: The text, in UTF-8.
        starts: Where each byte, or its escape, starts in the original.
        ends: Where it ends in the original.
    """

    data: bytes
    starts: Sequence[int]
    ends: Sequence[int]


def unescape(data: bytes) -> Unescaped:
    """Decode escapes repeatedly, and drop white space, control characters and backslashes.

    Different encodings of a text become the same bytes, in linear time, except if a line break
    between a backslash and a letter was escaped again.
    """
    text = Unescaped(data, range(len(data)), range(1, len(data) + 1))
    for _ in range(_MOST_ENCODINGS):
        before = text.data
        text = _replace(_ESCAPE, _replace(_BLANK, text, lambda _: b""), _meaning)
        if text.data == before:
            break
    return text


def _replace(
    pattern: re.Pattern[bytes], text: Unescaped, meaning: Callable[[re.Match[bytes]], bytes]
) -> Unescaped:
    pieces: list[bytes] = []
    starts, ends, position = array("q"), array("q"), 0
    for match in pattern.finditer(text.data):
        start, end, new = match.start(), match.end(), meaning(match)
        pieces += (text.data[position:start], new)
        starts.extend(text.starts[position:start])
        starts.extend([text.starts[start]] * len(new))
        ends.extend(text.ends[position:start])
        ends.extend([text.ends[end - 1]] * len(new))
        position = end
    if not position:
        return text
    pieces.append(text.data[position:])
    starts.extend(text.starts[position:])
    ends.extend(text.ends[position:])
    return Unescaped(b"".join(pieces), starts, ends)


def _meaning(match: re.Match[bytes]) -> bytes:
    """Return the bytes of an escape; none for a control character."""
    found = {name: text.decode() for name, text in match.groupdict().items() if text}
    if digits := found.get("percent") or found.get("byte"):
        return bytes.fromhex(digits)
    if units := found.get("high", "") + found.get("low", "") or found.get("unit"):
        text = bytes.fromhex(units).decode("utf-16-be", errors="surrogatepass")
    elif "point" in found:
        text = chr(int(found["point"], 16))
    else:
        text = html.unescape(f"&{found['entity']};") if "entity" in found else ""
    return text.encode(errors="surrogatepass")
