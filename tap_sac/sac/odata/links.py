"""From page to page of an entity set, by SAC's links."""

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

# unseen: endless empty pages, and links in a circle; either would hang a run
_MOST_EMPTY_PAGES = 10_000


def follow(
    url: str,
    read: Callable[[str], Page],
    *,
    seen: Iterable[str] = (),
    table: str = "",
) -> Iterator[Page]:
    """Read an entity set from its first page to its last.

    A page is read when the previous one has been consumed, at exactly the URL that SAC gave.

    Args:
        url: The first page.
        read: Reads one page.
        seen: Pages that were read before.
        table: The URL of the entity set; that of the first page if empty.

    Raises:
        DataError: If a link leads to another entity set, or the same rows come again and again.
        SACError: If links lead in a circle, or to too many empty pages.
    """
    path, place = urlsplit(table or url).path, _entity_set_of(table or url)
    repetition = _Repetition()
    # Hashes: links may be kilobytes long, and pages many.
    read_before = {_hash(link.encode()) for link in seen}
    empty_pages = 0
    next_url: str | None = url
    while next_url:
        if _hash(next_url.encode()) in read_before:
            msg = f"The page links of {path} form a loop"
            raise SACError(msg, Failure.BROKEN_PROTOCOL)
        if place != _entity_set_of(next_url):
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
    """Notices a page that comes three times in a row, without keeping its rows."""

    def __init__(self) -> None:
        self._ends: tuple[int, bytes, bytes] | None = None
        self._digest: bytes | None = None

    def continues_with(self, page: Page) -> bool:
        """Look at the next page; hash all of it only if both ends are as on the last page."""
        items = page.items
        if len(items) < 2:  # noqa: PLR2004  (Tables without a key may have such rows.)
            self._ends = self._digest = None
            return False
        ends, before = (len(items), bytes(items[0]), bytes(items[-1])), self._digest
        self._digest = _hash(b",".join(items)) if ends == self._ends else None
        self._ends = ends
        return self._digest is not None and self._digest == before


def _entity_set_of(url: str) -> list[str] | None:
    """Return the namespace, the provider and the entity set of a URL; None without those.

    SAC writes some names with ``()``, and escapes them or not.
    """
    path = url.partition("#")[0].partition("?")[0]  # urlsplit would keep many long links.
    _, separator, place = path.partition("/providers/")
    names = [unquote(name).removesuffix("()") for name in place.strip("/").split("/")]
    return names[:3] if separator else None


def _hash(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()
