"""What no output may hold: secrets, tokens, and characters that forge or hide text."""

from __future__ import annotations

import html
import re
import threading
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

_MASK = "***"
# Control characters (C0, C1 with U+0085), separators of lines, marks that change the direction of
# text, and what has no width. A terminal or a viewer of logs acts on them.
_CONTROL = re.compile(
    "[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_UNRESERVED = re.compile("[A-Za-z0-9_.~-]")  # RFC 3986, 2.3: written as they are everywhere
# A word as a secret would mask our own words, and a few digits those of others.
_SHORTEST = 6
_SHORTEST_WORD = 12
# Old tokens have expired; a tenant may give a new one for each request.
_MOST_TOKENS = 32
_MOST_ENCODINGS = 3
# Signs of encodings inside of each other: without a bound, many of them would take forever.
_SOME = "{0,8}"


class _Secrets:
    """The secrets and tokens of this process: all threads log."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: dict[str, re.Pattern[str]] = {}
        self._tokens: dict[str, re.Pattern[str]] = {}
        self._patterns: list[re.Pattern[str]] = []

    def keep(self, secrets: Iterable[str] = (), token: str = "") -> None:
        """Know secrets, or a token, from now on."""
        with self._lock:
            new = (text for text in secrets if _is_telling(text) and text not in self._secrets)
            self._secrets |= {text: _pattern(text) for text in new}
            if _is_telling(token) and token not in self._tokens:
                self._tokens[token] = _pattern(token)
            while len(self._tokens) > _MOST_TOKENS:
                del self._tokens[next(iter(self._tokens))]
            known = self._secrets | self._tokens
            # A longer one may hold a shorter one.
            self._patterns = [known[text] for text in sorted(known, key=len, reverse=True)]

    def masked(self, text: str) -> str:
        """Replace them in a text."""
        for pattern in self._patterns:
            text = pattern.sub(_MASK, text)
        return text


_known = _Secrets()


def keep_secret(secret: str, *, client_id: str = "") -> None:
    """Mask a secret from now on, as it is and as it is sent.

    Args:
        secret: Such as that of an OAuth client.
        client_id: Whose secret it is, because the Basic header has both in one text.
    """
    basic = b64encode(f"{client_id}:{secret}".encode(errors="surrogatepass")).decode()
    _known.keep([secret, *([basic, basic.rstrip("=")] if client_id else [])])


def keep_token(token: str) -> None:
    """Mask a token from now on, until many others have followed it."""
    _known.keep(token=token)


def masked(text: str) -> str:
    """Replace what is secret in a text."""
    return _known.masked(text)


def one_line(text: str) -> str:
    """Replace what is secret, and write as escapes what would forge a line or hide a part of it."""
    return _CONTROL.sub(_escape, masked(text))


def has_control_characters(text: str) -> bool:
    """Return whether a text holds characters that forge or hide text."""
    return bool(_CONTROL.search(text))


def reveals(text: str, *secrets: str) -> bool:
    """Return whether a text holds something secret, percent-encoded or not.

    Args:
        text: Such as a link.
        secrets: More than those that are known; short words are too common to count.
    """
    secrets = tuple(filter(_is_telling, secrets))
    texts = {text}
    for _ in range(_MOST_ENCODINGS):
        texts |= {decode(item) for item in texts for decode in (unquote, unquote_plus)}
    return any(masked(item) != item or any(secret in item for secret in secrets) for item in texts)


def _is_telling(text: str) -> bool:
    return len(text) >= (_SHORTEST_WORD if text.isalpha() else _SHORTEST)


def _pattern(secret: str) -> re.Pattern[str]:
    """Match a secret as it is, as URLs, forms, JSON and HTML have it, and as Python shows it.

    Percent-encoding may be percent-encoded again, as in the URL of something with such a name.
    """
    return re.compile("".join(map(_spellings, secret)))


def _spellings(char: str) -> str:
    if _UNRESERVED.fullmatch(char):
        return re.escape(char)
    percent = "".join(f"%(?:25){_SOME}{byte:02x}" for byte in char.encode(errors="surrogatepass"))
    utf_16 = char.encode("utf-16-be", errors="surrogatepass").hex()
    units = "".join(rf"\\{_SOME}u{utf_16[start : start + 4]}" for start in range(0, len(utf_16), 4))
    spellings = [
        rf"\\{_SOME}{re.escape(char)}",
        re.escape(html.escape(char)),
        rf"(?i:{percent}|{units}|\\{_SOME}x{ord(char):02x}|\\{_SOME}u{ord(char):08x})",
        *([rf"\+|(?i:%(?:25){_SOME}2b)"] if char == " " else []),
    ]
    return f"(?:{'|'.join(spellings)})"


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
