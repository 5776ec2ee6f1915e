"""What no output may hold: secrets, tokens, and characters that forge or hide text."""

from __future__ import annotations

import re
import sys
import threading
from base64 import b64encode
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote_plus

from tap_sac.safety.escapes import unescape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# How many characters of a value a message shows.
LONGEST_VALUE = 40

_MASK = "***"
# Control characters (C0, C1 with U+0085), separators of lines, marks that change the direction of
# text, and what has no width. A terminal or a viewer of logs acts on them.
_CONTROL = re.compile(
    "[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
# A word as a secret would mask our own words, and a few digits those of others.
_SHORTEST = 6
_SHORTEST_WORD = 12
# Old tokens have expired; a tenant may give a new one for each request.
_MOST_TOKENS = 32
# The text before or after a secret may form an escape with its first or last characters.
_LONGEST_ESCAPE = len(r"U000000e4")
# How long one character may become when it is escaped, perhaps twice, or the line breaks there.
_LONGEST_SPELLING = 16
_URL_SAFE = bytes.maketrans(b"+/", b"-_")  # RFC 4648, 5


class _Form(NamedTuple):
    """What to find in an unescaped text.

    Attributes:
        core: The bytes of a secret in one form, without those at its ends that the text around it
            may change.
        margin: How many bytes are missing at each end.
    """

    core: bytes
    margin: int


class _Secret(NamedTuple):
    """A secret, as it is and in the forms in which it may be in an unescaped text."""

    data: bytes
    forms: tuple[_Form, ...]


class Secrets:
    """The secrets and tokens of this process: all threads log."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._secrets: dict[str, _Secret] = {}
        self._tokens: dict[str, _Secret] = {}
        self._known: dict[str, _Secret] = {}

    def keep(self, secrets: Iterable[str] = (), token: str = "") -> None:
        """Know secrets, or a token, from now on."""
        with self._lock:
            new = (text for text in secrets if _is_telling(text) and text not in self._secrets)
            self._secrets |= {text: _secret(text) for text in new}
            if _is_telling(token) and token not in self._tokens:
                self._tokens[token] = _secret(token)
            while len(self._tokens) > _MOST_TOKENS:
                del self._tokens[next(iter(self._tokens))]
            self._known = self._secrets | self._tokens

    def with_others(self, others: Iterable[str]) -> list[_Secret]:
        """Return all that is known, and others for once."""
        known = self._known
        return [*known.values(), *(_secret(text) for text in others if text and text not in known)]


# What this process masks; a test has a list of its own.
known = Secrets()


def keep_secret(secret: str, *, client_id: str = "") -> None:
    """Mask a secret from now on, as it is and as it is sent.

    Args:
        secret: Such as that of an OAuth client.
        client_id: Whose secret it is, because the Basic header has both in one text, which some
            encode as a form before (RFC 6749, 2.3.1).
    """
    pairs = (f"{client_id}:{secret}", f"{quote_plus(client_id)}:{quote_plus(secret)}")
    known.keep([secret, *(pairs if client_id else ())])


def keep_token(token: str) -> None:
    """Mask a token from now on, until many others have followed it."""
    known.keep(token=token)


def masked(text: str) -> str:
    """Replace what is secret in a text."""
    return _show(text, len(text), known.with_others(()))


def excerpt(text: str, longest: int, *others: str) -> str:
    """Mask what is secret in a text, then cut the text; three dots mark the cut.

    The masks do not recognize a part of a secret, so every text is cut here. Of a long text, only
    the part is searched that can belong to a secret which starts before the cut.
    """
    secrets = known.with_others(others)
    if len(text) <= longest:
        return _show(text, longest, secrets)
    reach = max((len(secret.data) for secret in secrets), default=0) * _LONGEST_SPELLING
    return _show(text[: longest + reach], longest, secrets) + "..."


def one_line(text: str, longest: int = sys.maxsize) -> str:
    """Write what `excerpt` shows with escapes for what would forge a line or hide a part of it."""
    return _CONTROL.sub(_escape, excerpt(text, longest))


def has_control_characters(text: str) -> bool:
    """Return whether a text holds characters that forge or hide text."""
    return bool(_CONTROL.search(text))


def reveals(text: str, *others: str) -> bool:
    """Return whether a text, such as a link, holds something secret, encoded or not.

    Of secrets besides those that are known, short words are too common to count.
    """
    return bool(_places(_bytes(text), known.with_others(filter(_is_telling, others))))


def _show(text: str, longest: int, secrets: Iterable[_Secret]) -> str:
    """Mask a text, and cut off what comes after a number of characters of the original."""
    data, bound = _bytes(text), len(_bytes(text[:longest]))
    shown, position = [], 0
    for start, end in _places(data, secrets):
        if start >= bound:
            break
        shown += [data[position:start], _MASK.encode()]
        position = end
    shown.append(data[position:bound])
    return b"".join(shown).decode(errors="surrogatepass")


def _places(data: bytes, secrets: Iterable[_Secret]) -> list[tuple[int, int]]:
    """Find where secrets start and end, in order and without overlaps."""
    text = unescape(data)
    last = len(text.data) - 1
    found: list[tuple[int, int]] = []
    for secret in secrets:
        found += ((start, start + len(secret.data)) for start in _finds(secret.data, data))
        for core, margin in secret.forms:
            for start in _finds(core, text.data):
                end = min(start + len(core) + margin - 1, last)
                found.append((text.starts[max(start - margin, 0)], text.ends[end]))
    places: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if places and start <= places[-1][1]:
            places[-1] = (places[-1][0], max(places[-1][1], end))
        else:
            places.append((start, end))
    return [(_whole(start, data, -1), _whole(end, data, 1)) for start, end in places]


def _finds(part: bytes, data: bytes) -> Iterator[int]:
    """Find a part, also where it overlaps itself; skip occurrences that lie within others."""
    start = data.find(part)
    while start >= 0:
        yield start
        overlapping = data.rfind(part, start + 1, start + 2 * len(part))
        start = overlapping if overlapping >= 0 else data.find(part, start + len(part))


def _whole(position: int, data: bytes, step: int) -> int:
    """Move a position to a character boundary: Latin-1 may match within a UTF-8 character."""
    while 0 < position < len(data) and data[position] & 0xC0 == 0x80:  # noqa: PLR2004  (UTF-8)
        position += step
    return position


def _is_telling(text: str) -> bool:
    return len(text) >= (_SHORTEST_WORD if text.isalpha() else _SHORTEST)


def _secret(text: str) -> _Secret:
    data = _bytes(text)
    if not _is_telling(text):
        return _Secret(data, ())
    spellings = {data, _bytes(text.replace(" ", "+")), *_base64(data)}
    if max(text) <= "\xff":
        spellings.add(text.encode("latin-1"))
    forms = {form for item in spellings if len(form := unescape(item).data) >= _SHORTEST}
    return _Secret(data, tuple(map(_form, forms)))


def _form(data: bytes) -> _Form:
    """Leave out what the text around a secret may change, if enough is left to recognize it."""
    margin = max(0, min(_LONGEST_ESCAPE, (len(data) - _SHORTEST_WORD) // 2))
    return _Form(data[margin : len(data) - margin], margin)


def _base64(data: bytes) -> Iterator[bytes]:
    """Encode data alone, and as a part of something that starts up to two bytes before it.

    Characters that also have bits of what comes before or after it are left out.
    """
    alone = b64encode(data)
    inner = [
        b64encode(bytes(before) + data)[-(-8 * before // 6) : 8 * (before + len(data)) // 6]
        for before in range(3)
    ]
    for text in (alone, alone.rstrip(b"="), *inner):
        yield from (text, text.translate(_URL_SAFE))


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
