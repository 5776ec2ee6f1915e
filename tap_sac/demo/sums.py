"""Aggregates facts and splits them, with all their digits."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal, localcontext
from typing import TYPE_CHECKING

from tap_sac.demo.figures import SCALE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from tap_sac.demo.tables import Row, Value

_DIGITS = 100


def aggregate(
    facts: Iterable[Row], dimensions: Sequence[str], measures: Sequence[str]
) -> dict[tuple[Value, ...], Row]:
    """Sum the facts with the same members of some dimensions.

    Args:
        facts: The facts.
        dimensions: The dimensions to group by.
        measures: The measures to sum; nulls are skipped, and only nulls make null.

    Returns:
        A row for each combination of members, in their first order.
    """
    sums: dict[tuple[Value, ...], Row] = {}
    with localcontext() as context:
        context.prec = _DIGITS
        for fact in facts:
            members = tuple(fact[name] for name in dimensions)
            row = sums.get(members)
            if row is None:
                row = sums[members] = dict(zip(dimensions, members, strict=True))
                row.update((name, fact.get(name)) for name in measures)
                continue
            for name in measures:
                row[name] = _sum(row[name], fact.get(name))
    return sums


def _sum(first: Value, second: Value) -> Value:
    if isinstance(first, Decimal) and isinstance(second, Decimal):
        return first + second
    return second if first is None else first


def difference(before: Row, after: Row, dimensions: Collection[str]) -> Row:
    """Subtract the measures of a fact from those of a later one; null counts as zero.

    Args:
        before: The earlier fact; empty if there was none.
        after: The later fact; only its dimensions if it was deleted.
        dimensions: The columns that identify both.
    """
    row = {name: after[name] for name in dimensions}
    with localcontext() as context:
        context.prec = _DIGITS
        for name in dict.fromkeys([*before, *after]):
            if name not in row:
                old, new = before.get(name), after.get(name)
                row[name] = _sum(new, -old if isinstance(old, Decimal) else None)
    return row


def take_apart(fact: Row, number: int) -> list[Row]:
    """Split a fact into several facts whose measures add up to its own.

    The shares differ, except for zero: then the facts are identical.
    """
    parts = [dict(fact) for _ in range(number)]
    for name, value in fact.items():
        if isinstance(value, Decimal):
            for part, share in zip(parts, _shares(value, number), strict=True):
                part[name] = share
    return parts


def take_all_apart(facts: Iterable[Row | None], number: int) -> Iterator[Row | None]:
    """Split all facts; a deleted one leaves as many empty places."""
    for fact in facts:
        yield from [None] * number if fact is None else take_apart(fact, number)


def _shares(amount: Decimal, number: int) -> list[Decimal]:
    """Divide an amount in the ratio 1 : 2 : 3 and so on; the last share gets the rest."""
    whole = number * (number + 1) // 2
    with localcontext() as context:
        context.prec = _DIGITS
        shares = [
            (amount * weight / whole).quantize(SCALE, ROUND_DOWN) for weight in range(1, number)
        ]
        return [*shares, amount - sum(shares, start=Decimal(0))]
