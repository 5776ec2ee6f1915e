"""Change tracking: a delta link, and what SAC's answer to it says.

SAP Help, "SAP Analytics Cloud REST API", describes changes as rows with all columns, and deleted
entities as ``{"@odata.context": "#FactData/$deletedEntity", "id": "FactData(Date='202401')"}``,
which is the form of OData JSON Format 4.0, 14.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FIRST = "first-"


@dataclass(frozen=True)
class DeltaLink:
    """A link to the changes since a read.

    Attributes:
        url: Opaque.
        may_be_spent: Whether a request to it was sent, so that SAC may count it as read.
        signature: The proof that this tap opened the chain (`SACClient.sign`); None if unsigned.
    """

    url: str
    may_be_spent: bool = False
    signature: str | None = None

    @property
    def subscription_id(self) -> str | None:
        """The subscription behind the link; ``first-<id>`` is seen for new ones."""
        values = parse_qs(urlsplit(self.url).query).get("deltaid", [])
        return values[0].removeprefix(_FIRST) if values else None


def was_read(link: DeltaLink, subscriptions: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the changes behind a link have been read, or may have been.

    They have if SAC lists the subscription as ended, or another one that follows it in the chain.
    If SAC lists neither, they may have been if a request to the link was sent.

    Args:
        link: The link.
        subscriptions: As SAC lists them.
    """
    own_id = link.subscription_id
    if own_id is None:  # Then a list, in which a first subscription follows none, says nothing.
        return link.may_be_spent
    own = [item for item in subscriptions if item.get("SubscriptionID") == own_id]
    followers = {item.get("PreviousSubscriptionID") for item in subscriptions}
    if own_id in followers or any(item.get("EndTime") for item in own):
        return True
    return not own and link.may_be_spent


def is_delta(context: str | None) -> bool:
    """Return whether a page with this context has changes, not full data."""
    return context is not None and context.endswith("$delta")


def deleted_id(row: Mapping[str, Any]) -> str | None:
    """Return the id of a deleted entity, or None for a row that is new or changed.

    Besides SAC's form, that of OData 4.01 is understood (``@removed``).
    """
    # unseen: @removed, and the shorter names of 4.01.
    context = str(row.get("@odata.context") or row.get("@context") or "")
    if not context.endswith("$deletedEntity") and not {"@removed", "@odata.removed"} & row.keys():
        return None
    found = (row.get(name) for name in ("id", "@odata.id", "@id"))
    return next((value for value in found if isinstance(value, str)), "")
