"""Decodes the pages of an entity set.

The envelope is defined by OData JSON Format 4.0, 4.5; ``@des.*`` is SAC's own.
"""

from __future__ import annotations

import codecs
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tap_sac.sac.errors import DataError, GarbledTextError, SACError, TransientError
from tap_sac.sac.failures import Failure
from tap_sac.sac.http.refusals import error_reason, web_page_error
from tap_sac.sac.odata.decimals import MemberTwiceError, read_json
from tap_sac.sac.urls import absolute_link, is_same_server
from tap_sac.safety.masks import contains_secret, has_control_characters
from tap_sac.safety.text import decimal_digits, log_safe, origin_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_sac.sac.http.answer import Answer

# Members of a row that describe it.
CONTEXTS = {"@odata.context", "@context"}
_BYTES_AROUND_A_ROW = 64  # the size of its object, and of its place in the list


@dataclass(frozen=True)
class Page:
    """One page of an entity set.

    Attributes:
        items: The JSON text of each row.
        next_url: The URL of the next page; None at the end.
        delta_url: The URL of later changes; on the last page, if SAC tracks them.
        context: The context, such as ``$metadata#FactData`` or ``$metadata#FactData/$delta``.
        count: SAC's count of all rows, if it was requested and returned.
        server_milliseconds: SAC's own processing time; 0 if not returned.
        source: The name of the response in messages.
        has_shifted: Whether rows seem to have been written since the previous page: it does not
            start where that one ended, or ends before SAC's count.
    """

    items: list[msgspec.Raw]
    next_url: str | None
    delta_url: str | None
    context: str | None
    count: int | None
    server_milliseconds: int
    source: str
    has_shifted: bool = False

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, by `read_rows`."""
        return read_rows(self.items, self.source)

    @property
    def size(self) -> int:
        """The memory of the page, in bytes; its rows are slices of the response, not copies."""
        return sum(map(len, self.items)) + _BYTES_AROUND_A_ROW * len(self.items)

    @property
    def size_of_all(self) -> int:
        """About how many bytes all pages take; 0 without a count."""
        return self.size * self.count // len(self.items) if self.count and self.items else 0


def read_page(answer: Answer) -> Page:
    """Decode a page, but not its rows.

    Raises:
        TransientError: If it is damaged or truncated, or ends with an error.
        DataError: If it contains invalid Unicode.
        SACError: If it is not a page, or a link leads to another server.
    """
    source = source_of(answer)
    body = answer.body.removeprefix(codecs.BOM_UTF8)  # unseen: a byte order mark
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
        # unseen: an error in a page that began with status 200
        msg = f"{source} ends with the error {error_reason(answer)}"
        raise TransientError(msg, Failure.SERVER_FAULT)
    if isinstance(envelope.items, msgspec.UnsetType):
        raise _not_a_page_error(source)
    # unseen: a repeated member, of which JSON readers lose one: a link, or all rows
    names = Counter(name for name, _ in members)
    if twice := [name for name, count in names.items() if count > 1]:
        msg = f"{source} has the member {log_safe(twice[0])!r} more than once"
        raise SACError(msg, Failure.BROKEN_PROTOCOL)
    announced = decimal_digits(_annotation(members, "des.entitiesInPage"))
    if announced is not None and len(envelope.items) < announced:
        msg = f"{source} has {len(envelope.items)} of {announced} announced rows"
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


def read_rows(items: list[msgspec.Raw], source: str) -> list[dict[str, Any]]:
    """Read rows as JSON objects; numbers with a point are `ExactDecimal`.

    Raises:
        SACError: If they are not objects, or one has a repeated member.
    """
    try:
        rows: list[dict[str, Any]] = read_json(b"[" + b",".join(items) + b"]", refuses_twice=True)
    except MemberTwiceError as error:
        msg = f"{source} has a row with the member {log_safe(str(error))!r} more than once"
        raise SACError(msg, Failure.BROKEN_PROTOCOL) from None
    except (ValueError, RecursionError) as error:
        msg = f"{source} is damaged ({error})"
        raise SACError(msg, Failure.BROKEN_PROTOCOL) from None
    if not all(isinstance(row, dict) for row in rows):
        raise _not_a_page_error(source)
    return rows


def is_deletion(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a deletion, which only changes can contain.

    Besides SAC's format, that of OData 4.01 is accepted (``@removed``).
    """
    # unseen: @removed, and the shorter names of 4.01.
    is_context = (str(row[name]).endswith("$deletedEntity") for name in CONTEXTS & row.keys())
    return any(is_context) or not row.keys().isdisjoint({"@removed", "@odata.removed"})


def source_of(answer: Answer) -> str:
    """Return the name of an answer in messages."""
    return f"SAC's response to {answer.request_line}"


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
    """Read all members of a page except its rows, in order, and with duplicates.

    JSON readers keep the last one of several members with the same name; which one counts is not
    defined (RFC 8259, 4).
    """
    rest = _without_rows(body, envelope)
    if rest is None:  # White space between the rows, or something unusual.
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
    except json.JSONDecodeError:  # The supposed end of the rows was inside a row.
        members = json.loads(body, object_pairs_hook=list)
    return members


def _without_rows(body: bytes, envelope: _Envelope) -> bytes | None:
    """Remove the rows from a page, if they are a compact list; else None.

    The rows are not joined for the comparison: pages are large, and copies are slow.
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
    """Find an annotation by name, ignoring case, and preferably one that is not empty.

    SAC's documentation and responses differ in spelling (``deltalink``, ``deltaLink``).
    """
    # unseen: names without odata., as in OData JSON 4.01, 4.5
    spellings = {f"@odata.{name}".lower(), f"@{name}".lower()}
    found = [value for key, value in members if key.lower() in spellings]
    return next((value for value in found if value not in (None, "")), None)


def _link(members: Members, name: str, answer: Answer) -> str | None:
    """Find a link, make it absolute, and refuse links to other servers.

    Links are written to the state and the log, and sent, so they must not contain a secret.
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
        msg = f"{source_of(answer)} links to another server, {origin}, which must not get the token"
        raise SACError(msg, Failure.OTHER_SERVER)
    # Parsing the URL may have removed line breaks of the link.
    if any(has_control_characters(text) for text in (str(link), url)):
        msg = f"{source_of(answer)} has a {name} with control characters"
        raise SACError(msg, Failure.BROKEN_PROTOCOL)
    if contains_secret(url):
        msg = f"{source_of(answer)} has a {name} that contains the token or the client secret"
        raise SACError(msg, Failure.BROKEN_PROTOCOL)
    return url


def _not_a_page_error(source: str) -> SACError:
    """Report JSON without rows."""
    return SACError(f"{source} is not a page of rows", Failure.BROKEN_PROTOCOL)


def _damage(body: bytes, error: Exception, source: str) -> SACError:
    """Explain why a body cannot be read, if possible with the error of Python's JSON reader."""
    try:
        read_json(body.decode())
    except (ValueError, RecursionError) as found:
        if _is_garbled(body, found):
            return GarbledTextError(f"{source} is not valid JSON ({found})")
        return TransientError(f"{source} is damaged or truncated ({found})", Failure.DAMAGED_ANSWER)
    # JSON allows half of a surrogate pair, but UTF-8 does not.
    msg = f"{source} contains invalid Unicode (half of a surrogate pair; {error})"
    return DataError(msg, Failure.GARBLED_TEXT)


def _is_garbled(body: bytes, found: Exception) -> bool:
    """Return whether a complete page contains a text that is not valid JSON."""
    # unseen: texts with control characters, stray backslashes or other encodings
    if not body.rstrip().endswith(b"}"):
        return False
    if isinstance(found, json.JSONDecodeError):
        char = found.doc[found.pos : found.pos + 1]
        return bool(char) and (char == "\\" or char < " ")
    return isinstance(found, UnicodeDecodeError)
