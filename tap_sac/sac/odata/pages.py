"""A page of an entity set: how it is decoded, and how one leads to the next.

The envelope is that of OData JSON Format 4.0, 4.5; ``@des.*`` is SAC's own.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from tap_sac.sac.errors import DataError, GarbledTextError, SACError, TransientError
from tap_sac.sac.failures import Failure
from tap_sac.sac.http.refusals import error_reason, web_page_error
from tap_sac.sac.odata.decimals import read_json
from tap_sac.sac.urls import absolute_link, is_same_server
from tap_sac.safety.masks import has_control_characters, reveals
from tap_sac.safety.text import decimal_digits, log_safe, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tap_sac.sac.http.answer import Answer

_MOST_EMPTY_PAGES = 10_000


@dataclass(frozen=True)
class Page:
    """One answer of an entity set.

    Attributes:
        items: The JSON text of each row.
        next_url: Where the next page is; None at the end.
        delta_url: Where the changes after this read will be; on the last page, if SAC tracks them.
        context: What the rows are, such as ``$metadata#FactData`` or ``$metadata#FactData/$delta``.
        count: How many rows SAC counts in all, if it was asked and says so.
        server_milliseconds: How long SAC says that it took; 0 if it does not.
        source: What the page is, for messages.
    """

    items: list[msgspec.Raw]
    next_url: str | None
    delta_url: str | None
    context: str | None
    count: int | None
    server_milliseconds: int
    source: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as JSON objects; numbers with a point are `ExactDecimal`.

        Raises:
            SACError: If they are not objects.
        """
        return read_rows(self.items, self.source)


def read_page(answer: Answer) -> Page:
    """Decode a page, but not its rows.

    Raises:
        TransientError: If it is damaged, cut short, or breaks off with an error.
        DataError: If it contains invalid Unicode.
        SACError: If it is not a page, or a link leads away from the tenant.
    """
    source = source_of(answer)
    body = answer.body.removeprefix(codecs.BOM_UTF8)
    try:
        if not body.isascii():
            body.decode()
        envelope = _ENVELOPE.decode(body)
        members = _members(body, envelope)
    except msgspec.ValidationError:
        raise _not_a_page_error(source) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        if answer.is_markup:
            raise web_page_error(answer) from None
        raise _damage(body, error, source) from None
    if envelope.error is not None:
        msg = f"{source} breaks off with {error_reason(answer)}"
        raise TransientError(msg, Failure.SERVER_FAULT)
    if isinstance(envelope.items, msgspec.UnsetType):
        raise _not_a_page_error(source)
    names = Counter(name for name, _ in members)
    if twice := [name for name, count in names.items() if count > 1]:
        msg = f"{source} has the member {log_safe(twice[0])!r} more than once"
        raise SACError(msg, Failure.BROKEN_PROTOCOL)
    announced = decimal_digits(_annotation(members, "des.entitiesInPage"))
    if announced is not None and len(envelope.items) < announced:
        msg = f"{source} has {len(envelope.items)} rows of {announced} announced"
        raise TransientError(msg, Failure.DAMAGED_ANSWER)
    context = _annotation(members, "context")
    milliseconds = _annotation(members, "des.processingTimeInMilliseconds")
    return Page(
        envelope.items,
        next_url=_link(members, "nextLink", answer),
        delta_url=_link(members, "deltaLink", answer),
        context=context if isinstance(context, str) else None,
        count=decimal_digits(_annotation(members, "count")),
        server_milliseconds=decimal_digits(milliseconds) or 0,
        source=source,
    )


def follow(url: str, read: Callable[[str], Page], *, seen: Iterable[str] = ()) -> Iterator[Page]:
    """Follow a table from its first page to its last.

    Each page is read when the one before it has been consumed, at exactly the URL that SAC gave.

    Args:
        url: The first page.
        read: Reads one.
        seen: Pages that were read before.

    Raises:
        SACError: If links lead in a circle, or to ever more empty pages.
    """
    # Hashes: links may be kilobytes long, and pages many.
    read_before = set(map(_hash, seen))
    empty_pages = 0
    next_url: str | None = url
    while next_url:
        if _hash(next_url) in read_before:
            msg = f"SAC's pages of {urlsplit(url).path} lead in a circle, so they would never end"
            raise SACError(msg, Failure.BROKEN_PROTOCOL)
        read_before.add(_hash(next_url))
        page = read(next_url)
        empty_pages = 0 if page.items else empty_pages + 1
        if empty_pages > _MOST_EMPTY_PAGES:
            msg = f"SAC's pages of {urlsplit(url).path} go on without rows, with ever new links"
            raise SACError(msg, Failure.BROKEN_PROTOCOL)
        yield page
        next_url = page.next_url


def _hash(url: str) -> bytes:
    return hashlib.blake2b(url.encode(), digest_size=16).digest()


def read_rows(items: list[msgspec.Raw], source: str) -> list[dict[str, Any]]:
    """Read rows as JSON objects; numbers with a point are `ExactDecimal`.

    Args:
        items: The JSON text of each row.
        source: What they are of, for the error.

    Raises:
        SACError: If they are not objects.
    """
    try:
        rows: list[dict[str, Any]] = read_json(b"[" + b",".join(items) + b"]")
    except (ValueError, RecursionError) as error:
        msg = f"{source} is damaged ({error})"
        raise SACError(msg, Failure.BROKEN_PROTOCOL) from None
    if not all(isinstance(row, dict) for row in rows):
        raise _not_a_page_error(source)
    return rows


def source_of(answer: Answer) -> str:
    """Name an answer in a message."""
    return f"SAC's answer to {answer.request_line}"


class _Envelope(msgspec.Struct):
    """The members of a page that are not annotations."""

    items: list[msgspec.Raw] | msgspec.UnsetType = msgspec.field(
        name="value", default=msgspec.UNSET
    )
    error: Any = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BEFORE_ROWS = b'"value":['

Members = list[tuple[str, Any]]


def _members(body: bytes, envelope: _Envelope) -> Members:
    """Read all members of a page but its rows, in their order and as often as they come.

    JSON readers keep the last of several members of one name; which one counts is not defined
    (RFC 8259, 4).
    """
    rest = _without_rows(body, envelope)
    if rest is None:  # There is white space between the rows, or something is odd.
        once = _MEMBERS.decode(body)
        if all(body.count(msgspec.json.encode(name)) <= 1 for name in once):
            return [
                (name, msgspec.json.decode(raw))
                for name, raw in once.items()
                if name.startswith("@")
            ]
        rest = body
    try:
        members: Members = json.loads(rest, object_pairs_hook=list)
    except json.JSONDecodeError:  # What looked like the end of the rows was a part of one.
        members = json.loads(body, object_pairs_hook=list)
    return members


def _without_rows(body: bytes, envelope: _Envelope) -> bytes | None:
    """Take the rows out of a page, if they stand there as a compact list; else None.

    They are not put together to compare them: pages are large, and copies of them slow.
    """
    items = envelope.items
    if isinstance(items, msgspec.UnsetType):
        return body
    start = body.find(_BEFORE_ROWS) + len(_BEFORE_ROWS)
    if start < len(_BEFORE_ROWS):
        return None
    end = start + sum(map(len, items)) + max(0, len(items) - 1)
    is_compact = body[end : end + 1] == b"]"
    if items:
        first, last = bytes(items[0]), bytes(items[-1])
        is_compact = is_compact and body.startswith(first, start) and body.endswith(last, 0, end)
    return body[:start] + body[end:] if is_compact else None


def _annotation(members: Members, name: str) -> object:
    """Find a control information by name, with or without ``odata.``, in any case.

    SAC's documentation and its answers spell them differently (``deltalink``, ``deltaLink``). One
    that is filled counts more than one that is empty.
    """
    spellings = {f"@odata.{name}".lower(), f"@{name}".lower()}
    found = [value for key, value in members if key.lower() in spellings]
    return next((value for value in found if value not in (None, "")), None)


def _link(members: Members, name: str, answer: Answer) -> str | None:
    """Find a link and make it absolute, but keep the token from another server.

    Links go into the state, into the log and over the network: what is secret does not, however
    SAC comes to repeat it.
    """
    link = _annotation(members, name)
    if link is None:
        return None
    try:
        url = absolute_link(link, answer.url)
    except (TypeError, ValueError):
        msg = f"{source_of(answer)} has a {name} that is not a link"
        raise SACError(msg, Failure.BROKEN_PROTOCOL) from None
    if not is_same_server(url, answer.url):
        origin = log_safe(origin_of(url))
        msg = (
            f"{source_of(answer)} continues on another server, {origin}, which must not "
            "see the token"
        )
        raise SACError(msg, Failure.OTHER_SERVER)
    # What it is taken for may have lost line breaks, which the link itself has.
    if any(has_control_characters(text) for text in (str(link), url)):
        msg = f"{source_of(answer)} has a {name} with control characters"
        raise SACError(msg, Failure.BROKEN_PROTOCOL)
    if reveals(url):
        msg = f"{source_of(answer)} has a {name} that holds the token or the client secret"
        raise SACError(msg, Failure.BROKEN_PROTOCOL)
    return url


def _not_a_page_error(source: str) -> SACError:
    """Say that JSON came, but no rows."""
    return SACError(f"{source} is not a page of rows", Failure.BROKEN_PROTOCOL)


def _damage(body: bytes, error: Exception, source: str) -> SACError:
    """Say why a body cannot be read, in the words of Python's JSON reader where it can."""
    try:
        read_json(body.decode())
    except (ValueError, RecursionError) as found:
        if _is_garbled(body, found):
            return GarbledTextError(f"{source} is not valid JSON ({found})")
        return TransientError(f"{source} is damaged or truncated ({found})", Failure.DAMAGED_ANSWER)
    # What is left is text of which JSON's grammar allows half a pair, and UTF-8 does not.
    msg = f"{source} contains invalid Unicode (half of a surrogate pair; {error})"
    return DataError(msg, Failure.GARBLED_TEXT)


def _is_garbled(body: bytes, found: Exception) -> bool:
    """Return whether a page came to its end, with a text that JSON cannot have."""
    if not body.rstrip().endswith(b"}"):
        return False
    if isinstance(found, json.JSONDecodeError):
        char = found.doc[found.pos : found.pos + 1]
        return bool(char) and (char == "\\" or char < " ")
    return isinstance(found, UnicodeDecodeError)
