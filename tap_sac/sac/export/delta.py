"""Change tracking: delta links, and the changes that SAC returns for them.

SAP Help, "SAP Analytics Cloud REST API", describes changes as rows with all columns, and deleted
entities as ``{"@odata.context": "#FactData/$deletedEntity", "id": "FactData(Date='202401')"}``,
which is the form of OData JSON Format 4.0, 14.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tap_sac.sac.odata.pages import is_deletion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FIRST = "first-"
# Such as 2026-11-02T05:00:33.43Z, with any number of digits.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?")


@dataclass(frozen=True)
class DeltaLink:
    """A link to the changes since a read.

    Attributes:
        url: The link, which is opaque.
        may_be_spent: Whether it was requested, so SAC may consider it read.
        signature: The proof that this tap opened the subscription (`SACClient.sign`); None if
            unsigned.
    """

    url: str
    may_be_spent: bool = False
    signature: str | None = None

    @property
    def subscription_id(self) -> str | None:
        """The bare ID of the link's subscription."""
        values = parse_qs(urlsplit(self.url).query).get("deltaid", [])
        return bare_id(values[0]) if values else None


def bare_id(subscription_id: object) -> str | None:
    """Return an ID without ``first-``, which new subscriptions have in some places."""
    return subscription_id.removeprefix(_FIRST) if isinstance(subscription_id, str) else None


def was_read(link: DeltaLink, subscriptions: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the changes behind a link were or may have been read.

    They were read if SAC lists a subscription that follows this one in the chain, or an ``EndTime``
    later than its ``StartTime``: a new subscription is listed with equal times although its changes
    were not read (SAP Help, "Subscriptions"). If the list does not show it, they may have been read
    if the link was requested.
    """
    own_id = link.subscription_id
    if own_id is None:  # Then the list does not help: a first subscription follows none.
        return link.may_be_spent
    own = [item for item in subscriptions if bare_id(item.get("SubscriptionID")) == own_id]
    others = (item for item in subscriptions if item not in own)
    if any(bare_id(item.get("PreviousSubscriptionID")) == own_id for item in others):
        return True
    ends = [_ends_later(item) for item in own]
    return any(ends) or (link.may_be_spent and (not own or None in ends))


def _ends_later(subscription: Mapping[str, Any]) -> bool | None:
    """Return whether a window ended after its start; None if its times do not show it."""
    if not subscription.get("EndTime"):
        return False
    start, end = _instant(subscription.get("StartTime")), _instant(subscription["EndTime"])
    return None if start is None or end is None or end < start else start < end


def _instant(text: object) -> tuple[datetime, str] | None:
    """Parse a time into its second and fraction; without an offset, it is UTC."""
    found = _TIME.fullmatch(text.strip()) if isinstance(text, str) else None
    if not found:
        return None
    day, time, fraction, offset = found.groups(default="")
    try:
        moment = datetime.fromisoformat(f"{day}T{time}{offset.replace('Z', '') or '+00:00'}")
    except ValueError:
        return None
    return moment, fraction.rstrip("0")


def is_delta(context: str | None) -> bool:
    """Return whether a page with this context has changes instead of full data."""
    return context is not None and context.endswith("$delta")


def deleted_id(row: Mapping[str, Any]) -> str | None:
    """Return the ID of a deleted entity, or None for a new or changed row."""
    if not is_deletion(row):
        return None
    found = (row.get(name) for name in ("id", "@odata.id", "@id"))
    return next((value for value in found if isinstance(value, str)), "")
