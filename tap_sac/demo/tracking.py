"""Rows that can change, and subscriptions to their changes.

A subscription has a window, which starts when the subscription is opened and ends when its changes
are read. That opens the next subscription of the chain (SAP Help, "Data Export Service", delta).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tap_sac.demo.tables import Row, Value

Key = tuple["Value", ...]


class TrackedRows:
    """The rows of a fact table, and the log of their changes.

    Attributes:
        rows: The rows in the order of serving; deleted ones are None, so that the others keep their
            positions during paging.
        key_columns: The columns that identify a row.
        log: All changes in order: the key, and the new row, or None if it was deleted.
    """

    def __init__(self, rows: Iterable[Row], key_columns: Sequence[str]) -> None:
        """Store the initial rows."""
        self.key_columns = key_columns
        self.rows: list[Row | None] = [*rows]
        self.log: list[tuple[Key, Row | None]] = []
        self._original = tuple(row for row in self.rows if row is not None)

    # Most tenants in tests never change, so keys are only made when needed.
    @cached_property
    def _first(self) -> dict[Key, Row]:
        return {self.key_of(row): row for row in self._original}

    @cached_property
    def _positions(self) -> dict[Key, int]:
        return {key: number for number, key in enumerate(self._first)}

    def first(self, rows: int) -> TrackedRows:
        """Return only the first rows, as if there had never been more."""
        return TrackedRows([row for row in self.rows if row is not None][:rows], self.key_columns)

    def key_of(self, row: Row) -> Key:
        """Return the key of a row."""
        return tuple(row[name] for name in self.key_columns)

    def put(self, row: Row) -> None:
        """Insert a row, or replace the one with its key."""
        key = self.key_of(row)
        if key in self._positions:
            self.rows[self._positions[key]] = row
        else:
            self._positions[key] = len(self.rows)
            self.rows.append(row)
        self.log.append((key, row))

    def delete(self, key: Key) -> None:
        """Delete the row with a key.

        Raises:
            KeyError: If there is none.
        """
        self.rows[self._positions.pop(key)] = None
        self.log.append((key, None))

    def at(self, position: int) -> dict[Key, Row]:
        """Return the rows as they were at a position of the log, by key."""
        rows = dict(self._first)
        for key, row in self.log[:position]:
            if row is None:
                del rows[key]
            else:
                rows[key] = row
        return rows


@dataclass
class Subscription:
    """A window of changes to an entity set.

    Attributes:
        namespace: The NamespaceID.
        model_id: The ProviderID.
        set_name: The EntitySetName.
        options: The query options with which the chain was opened.
        chain_id: The ID that all subscriptions of a chain share.
        start: The position in the log where the window starts.
        end: The position where it ends; None while it is open.
        previous: The previous one in the chain.
        next: The next one in the chain.
    """

    namespace: str
    model_id: str
    set_name: str
    options: dict[str, str]
    chain_id: str
    start: int
    end: int | None = None
    previous: Subscription | None = None
    next: Subscription | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started_at: str = field(default_factory=lambda: _now("milliseconds") + "Z")
    ended_at: str | None = None

    @property
    def last(self) -> Subscription:
        """The newest subscription of the chain."""
        newest = self
        while newest.next:
            newest = newest.next
        return newest


class Subscriptions(dict[str, Subscription]):
    """All subscriptions of a tenant, by ID."""

    def open(
        self, namespace: str, model_id: str, set_name: str, options: dict[str, str], start: int
    ) -> Subscription:
        """Open a chain."""
        chain_id = f"{namespace}_{model_id}_{set_name}_{_now('seconds')}"
        subscription = Subscription(namespace, model_id, set_name, options, chain_id, start)
        self[subscription.id] = subscription
        return subscription

    def read(self, subscription: Subscription, log_length: int) -> Subscription:
        """End a window, if it is still open, and return the next subscription of the chain."""
        if subscription.next is None:
            subscription.end, subscription.ended_at = log_length, _now("milliseconds") + "Z"
            subscription.next = Subscription(
                subscription.namespace,
                subscription.model_id,
                subscription.set_name,
                subscription.options,
                subscription.chain_id,
                start=log_length,
                previous=subscription,
            )
            self[subscription.next.id] = subscription.next
        return subscription.next

    def delete_chain(self, subscription: Subscription) -> None:
        """Delete all subscriptions of a chain."""
        member: Subscription | None = subscription.last
        while member:
            self.pop(member.id, None)
            member = member.previous


def _now(timespec: str) -> str:
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat(timespec=timespec)
