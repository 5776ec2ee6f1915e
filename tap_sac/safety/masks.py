"""Masks secrets and tokens in all output, and escapes characters that forge or hide text."""

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

# The maximum number of characters of a value in a message.
LONGEST_VALUE = 40

_MASK = "***"
# Control characters (C0, C1 with U+0085), line separators, direction marks and zero-width
# characters: terminals and log viewers interpret them.
_CONTROL = re.compile(
    "[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
# As secrets, words would mask the tap's own words, and short numbers other numbers.
_SHORTEST = 6
_SHORTEST_WORD = 12
# Old tokens have expired; a tenant may issue a new one for each request.
_MOST_TOKENS = 32
# The first or last characters of a secret may form an escape with the text around it.
_LONGEST_ESCAPE = len(r"U000000e4")
# The maximum length of one character with escapes, perhaps twice, or with a line break.
_LONGEST_SPELLING = 16
_URL_SAFE = bytes.maketrans(b"+/", b"-_")  # RFC 4648, 5


class _Form(NamedTuple):
    """What to search for in an unescaped text.

    Attributes:
        core: The bytes of a secret in one encoding, without those at its ends that the surrounding
            text may change.
        margin: The number of bytes missing at each end.
    """

    core: bytes
    margin: int


class _Secret(NamedTuple):
    """A secret, in plain text and in the encodings that an unescaped text may have."""

    data: bytes
    forms: tuple[_Form, ...]


class Secrets:
    """The secrets and tokens of this process, for all threads."""

    def __init__(self) -> None:
        """Start without secrets."""
        self._lock = threading.Lock()
        self._secrets: dict[str, _Secret] = {}
        self._tokens: dict[str, _Secret] = {}
        self._known: dict[str, _Secret] = {}

    def add(self, secrets: Iterable[str] = (), token: str = "") -> None:
        """Add secrets or a token."""
        with self._lock:
            new = (text for text in secrets if _is_distinctive(text) and text not in self._secrets)
            self._secrets |= {text: _secret(text) for text in new}
            if _is_distinctive(token) and token not in self._tokens:
                self._tokens[token] = _secret(token)
            while len(self._tokens) > _MOST_TOKENS:
                del self._tokens[next(iter(self._tokens))]
            self._known = self._secrets | self._tokens

    def with_others(self, others: Iterable[str]) -> list[_Secret]:
        """Return all secrets, together with others for this call."""
        known = self._known
        return [*known.values(), *(_secret(text) for text in others if text and text not in known)]


# The secrets of this process; tests replace them.
known = Secrets()


def mask_secret(secret: str, *, client_id: str = "") -> None:
    """Mask a secret from now on, in plain text and as it is sent.

    Args:
        secret: The secret, such as that of an OAuth client.
        client_id: The client, because the Basic header joins both; some servers form-encode them
            first (RFC 6749, 2.3.1).
    """
    pairs = (f"{client_id}:{secret}", f"{quote_plus(client_id)}:{quote_plus(secret)}")
    known.add([secret, *(pairs if client_id else ())])


def mask_token(token: str) -> None:
    """Mask a token from now on, until there are many newer ones."""
    known.add(token=token)


def masked(text: str) -> str:
    """Mask all secrets in a text."""
    return _show(text, len(text), known.with_others(()))


def excerpt(text: str, longest: int, *others: str) -> str:
    """Mask all secrets in a text, then truncate it, marked by three dots.

    A part of a secret would not be recognized, so all texts are truncated here. In a long text,
    only the part that may belong to a secret before the cut is searched.
    """
    secrets = known.with_others(others)
    if len(text) <= longest:
        return _show(text, longest, secrets)
    reach = max((len(secret.data) for secret in secrets), default=0) * _LONGEST_SPELLING
    return _show(text[: longest + reach], longest, secrets) + "..."


def one_line(text: str, longest: int = sys.maxsize) -> str:
    """Return `excerpt`, with escapes for characters that forge a line or hide text."""
    return _CONTROL.sub(_escape, excerpt(text, longest))


def has_control_characters(text: str) -> bool:
    """Return whether a text has characters that forge or hide text."""
    return bool(_CONTROL.search(text))


def contains_secret(text: str, *others: str) -> bool:
    """Return whether a text, such as a link, contains a secret, encoded or not.

    Short words are ignored, because they are too common.
    """
    return bool(_places(_bytes(text), known.with_others(filter(_is_distinctive, others))))


def _show(text: str, longest: int, secrets: Iterable[_Secret]) -> str:
    """Mask a text, and truncate it after a number of characters of the original."""
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
    """Find the starts and ends of secrets, in order and without overlaps."""
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
    """Find a part, even if it overlaps itself; skip occurrences inside others."""
    start = data.find(part)
    while start >= 0:
        yield start
        overlapping = data.rfind(part, start + 1, start + 2 * len(part))
        start = overlapping if overlapping >= 0 else data.find(part, start + len(part))


def _whole(position: int, data: bytes, step: int) -> int:
    """Move a position to a character boundary: Latin-1 may match inside a UTF-8 character."""
    while 0 < position < len(data) and data[position] & 0xC0 == 0x80:  # noqa: PLR2004  (UTF-8)
        position += step
    return position


def _is_distinctive(text: str) -> bool:
    return len(text) >= (_SHORTEST_WORD if text.isalpha() else _SHORTEST)


def _secret(text: str) -> _Secret:
    data = _bytes(text)
    if not _is_distinctive(text):
        return _Secret(data, ())
    spellings = {data, _bytes(text.replace(" ", "+")), *_base64(data)}
    if max(text) <= "\xff":
        spellings.add(text.encode("latin-1"))
    forms = {form for item in spellings if len(form := unescape(item).data) >= _SHORTEST}
    return _Secret(data, tuple(map(_form, forms)))


def _form(data: bytes) -> _Form:
    """Remove the ends that surrounding text may change, if enough is left to find the secret."""
    margin = max(0, min(_LONGEST_ESCAPE, (len(data) - _SHORTEST_WORD) // 2))
    return _Form(data[margin : len(data) - margin], margin)


def _base64(data: bytes) -> Iterator[bytes]:
    """Encode data alone, and as part of data that starts one or two bytes earlier.

    Characters with bits of the surrounding bytes are dropped.
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
