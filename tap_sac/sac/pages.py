"""A page of an entity set, as it came: its rows as JSON text, and where it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tap_sac.sac.decimals import read_json
from tap_sac.sac.errors import BROKEN_PROTOCOL, SACError

if TYPE_CHECKING:
    import msgspec


@dataclass(frozen=True)
class Page:
    """One answer of an entity set.

    Attributes:
        items: The JSON text of each row.
        next_url: Where the next page is; None at the end.
        delta_url: Where the changes after this read will be; on the last page, if SAC tracks them.
        context: What the rows are, such as ``$metadata#FactData`` or ``$metadata#FactData/$delta``.
        server_milliseconds: How long SAC says that it needed; 0 if it does not.
        source: What the page is, for messages.
        is_repeated: Whether SAC may have given it before, in an answer that did not arrive.
    """

    items: list[msgspec.Raw]
    next_url: str | None
    delta_url: str | None
    context: str | None
    server_milliseconds: int
    source: str
    is_repeated: bool = False

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as JSON objects; numbers with a point are `ExactDecimal`.

        Raises:
            SACError: If they are none.
        """
        return read_rows(self.items, self.source)


def read_rows(items: list[msgspec.Raw], source: str) -> list[dict[str, Any]]:
    """Read rows as JSON objects; numbers with a point are `ExactDecimal`.

    Args:
        items: The JSON text of each row.
        source: What they are of, for the error.

    Raises:
        SACError: If they are none.
    """
    try:
        rows: list[dict[str, Any]] = read_json(b"[" + b",".join(items) + b"]")
    except (ValueError, RecursionError) as error:
        msg = f"{source} is damaged ({error})"
        raise SACError(msg, BROKEN_PROTOCOL) from None
    if not all(isinstance(row, dict) for row in rows):
        raise not_a_page_error(source)
    return rows


def not_a_page_error(source: str) -> SACError:
    """Tell that JSON came, but no rows."""
    return SACError(f"{source} is not a page of rows", BROKEN_PROTOCOL)
