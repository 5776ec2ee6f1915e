"""Follows SAC's links from page to page of an entity set."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tap_sac.sac.errors import DataError, SACError
from tap_sac.sac.failures import Failure
from tap_sac.safety.text import log_safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tap_sac.sac.odata.pages import Page

# unseen: endless empty pages, and loops of links; both would hang a run
_MOST_EMPTY_PAGES = 10_000


def follow(
    url: str,
    read: Callable[[str], Page],
    *,
    seen: Iterable[str] = (),
    table: str = "",
) -> Iterator[Page]:
    """Read an entity set from its first page to its last.

    A page is read after the previous one has been consumed, with exactly SAC's URL.

    Args:
        url: The URL of the first page.
        read: Reads one page.
        seen: The URLs of pages that were read before.
        table: The URL of the entity set; if empty, that of the first page.

    Raises:
        DataError: If a link leads to another entity set, or the same rows are repeated.
        SACError: If links form a loop, or there are too many empty pages.
    """
    path, place = urlsplit(table or url).path, entity_set_of(table or url)
    repetition = _Repetition(are_unique="/administration/" in path)
    # Hashes, because there may be many links of kilobytes.
    read_before = {_hash(link.encode()) for link in seen}
    empty_pages = 0
    next_url: str | None = url
    while next_url:
        if _hash(next_url.encode()) in read_before:
            msg = f"The page links of {path} form a loop"
            raise SACError(msg, Failure.BROKEN_PROTOCOL)
        if place != entity_set_of(next_url):
            other = log_safe(urlsplit(next_url).path)
            msg = f"The next link of {path} leads to another table, {other}"
            raise DataError(msg, Failure.BROKEN_PROTOCOL)
        read_before.add(_hash(next_url.encode()))
        page = read(next_url)
        if repetition.continues_with(page):
            msg = f"SAC keeps sending the same rows of {path}, with new links"
            raise DataError(msg, Failure.BROKEN_PROTOCOL)
        empty_pages = 0 if page.items else empty_pages + 1
        if empty_pages > _MOST_EMPTY_PAGES:
            msg = f"SAC keeps sending empty pages of {path}, with new links"
            raise SACError(msg, Failure.BROKEN_PROTOCOL)
        yield page
        next_url = page.next_url


class _Repetition:
    """Detects a page that is sent three times in a row, or twice in a list of unique items.

    It does not store their rows.
    """

    def __init__(self, *, are_unique: bool) -> None:
        self._are_unique = are_unique
        self._seen: set[bytes] = set()
        self._ends: tuple[int, bytes, bytes] | None = None
        self._digest: bytes | None = None

    def continues_with(self, page: Page) -> bool:
        """Return whether the next page repeats earlier ones.

        It is hashed only if its first and last rows match the previous page's, or rows are unique.
        """
        items = page.items
        if self._are_unique and items:
            number = len(self._seen)
            self._seen.add(_hash(b",".join(items)))
            return len(self._seen) == number
        if len(items) < 2:  # noqa: PLR2004  (Tables without a key may have such rows.)
            self._ends = self._digest = None
            return False
        ends, before = (len(items), bytes(items[0]), bytes(items[-1])), self._digest
        self._digest = _hash(b",".join(items)) if ends == self._ends else None
        self._ends = ends
        return self._digest is not None and self._digest == before


def entity_set_of(url: str) -> list[str] | None:
    """Return the namespace, provider and entity set of a URL; None if it has none.

    SAC writes some names with ``()``, escaped or not.
    """
    path = url.partition("#")[0].partition("?")[0]  # urlsplit would cache many long links.
    _, separator, place = path.partition("/providers/")
    names = [unquote(name).removesuffix("()") for name in place.strip("/").split("/")]
    return names if separator else None


def _hash(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()
