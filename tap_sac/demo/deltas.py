"""The changes behind a delta link: changed rows with all columns, and the keys of deleted rows.

SAP Help, "Data Export Service", describes both. One net change per key is a guess, and so is
everything about FactDataAggregation, which has no public sample. Rows of FactDataDifference have
the differences of measures by key; negative measures for deleted keys are a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_sac.demo.sums import difference, take_apart
from tap_sac.demo.tables import DIFFERENCES, FACTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_sac.demo.queries import Query
    from tap_sac.demo.tables import Row
    from tap_sac.demo.tracking import Subscription, TrackedRows


def delta_entities(
    subscription: Subscription, facts: TrackedRows, query: Query, *, facts_per_key: int
) -> list[Row]:
    """Return the changes in the window of a subscription.

    Args:
        subscription: The subscription, which must have ended.
        facts: The facts of its model.
        query: The query of its chain.
        facts_per_key: The number of facts per key in FactData.
    """
    changes = _changed_sums if query.is_aggregation else _changed_facts
    is_raw = subscription.set_name == FACTS
    entities: list[Row] = []
    for members, row in changes(subscription, facts, query):
        entity_id = _entity_id(subscription.set_name, members)
        if row is None:
            context = f"#{subscription.set_name}/$deletedEntity"
            entities.append({"@odata.context": context, "id": entity_id})
            continue
        entity: Row = {
            "@odata.context": f"#{subscription.set_name}/$entity",
            "@odata.id": entity_id,
        }
        parts = take_apart(row, facts_per_key) if is_raw else [row]
        entities += [entity | query.project(part) for part in parts]
    return entities


def _changed_facts(
    subscription: Subscription, facts: TrackedRows, query: Query
) -> Iterator[tuple[Row, Row | None]]:
    """Yield the key of each changed fact, with the fact if it exists and matches the filter."""
    window = facts.log[subscription.start : subscription.end]
    before, after = facts.at(subscription.start), facts.at(subscription.start + len(window))
    for key in dict.fromkeys(key for key, _ in window):
        members: Row = dict(zip(facts.key_columns, key, strict=True))
        row = after.get(key)
        if subscription.set_name == DIFFERENCES:
            if query.keeps(row or before.get(key, members)):
                yield members, difference(before.get(key, {}), row or members, facts.key_columns)
        elif row is not None and query.keeps(row):
            yield members, row
        elif query.keeps(before.get(key, members)):
            yield members, None


def _changed_sums(
    subscription: Subscription, facts: TrackedRows, query: Query
) -> Iterator[tuple[Row, Row | None]]:
    """Yield the members of each changed sum, with the sum if it still has facts."""
    end = len(facts.log) if subscription.end is None else subscription.end
    before, after = (
        query.aggregate(row for row in facts.at(position).values() if query.keeps(row))
        for position in (subscription.start, end)
    )
    for key in {**before, **after}:
        if before.get(key) != after.get(key):
            yield dict(zip(query.dimensions, key, strict=True)), after.get(key)


def _entity_id(set_name: str, members: Row) -> str:
    literals = (f"{name}='{_escaped(str(value))}'" for name, value in members.items())
    return f"{set_name}({','.join(literals)})"


def _escaped(text: str) -> str:
    return text.replace("'", "''")
