"""Exact sums of the numbers that records hold, at little cost on the fast path."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# More digits than any sum of SAC's numbers has: what does not fit is not exact, and raises.
EXACT = Context(prec=10_000, traps=[Inexact])

_ONE_DIGIT = bytes.maketrans(b"123456789", b"0" * 9)
_INTEGERS = msgspec.json.Decoder(list[int])


def exact_sum(numbers: Iterable[Decimal | int]) -> Decimal:
    """Add numbers, to the last digit.

    Raises:
        decimal.Inexact: If the sum has more digits than a sum can have.
    """
    total = Decimal(0)
    for number in numbers:
        total = EXACT.add(total, Decimal(number))
    return total


class Sums:
    """The sums of some columns, of all records that were made."""

    def __init__(self, scales: Mapping[str, int | None]) -> None:
        """Begin with nothing.

        Args:
            scales: The columns, with the digits behind the point that their numbers usually have.
        """
        self._scales = scales
        self._totals = dict.fromkeys(scales, Decimal(0))

    @property
    def columns(self) -> list[str]:
        """The columns that are added up."""
        return list(self._scales)

    @property
    def totals(self) -> dict[str, Decimal]:
        """The sum of each column so far; nulls do not count."""
        return dict(self._totals)

    def add_record(self, record: Mapping[str, Any]) -> None:
        """Add the numbers of a record, which may be written as strings."""
        for name, total in self._totals.items():
            value = record[name]
            if value is not None:
                self._totals[name] = EXACT.add(total, Decimal(value))

    def add_texts(self, column: str, texts: bytes) -> None:
        """Add many numbers of a column.

        Args:
            column: The column.
            texts: Numbers as JSON has them, without exponents, or null, with commas between.
        """
        if not texts:
            return
        scale = self._scales[column]
        total = None if scale is None else _sum_of_one_scale(texts, scale)
        if total is None:
            numbers = (text for text in texts.decode().split(",") if text != "null")
            total = exact_sum(map(Decimal, numbers))
        self._totals[column] = EXACT.add(self._totals[column], total)


def _sum_of_one_scale(texts: bytes, scale: int) -> Decimal | None:
    """Add numbers as integers, if all have so many digits behind the point; else None."""
    numbers = (b"," + texts).replace(b",null", b"")
    if not numbers:
        return Decimal(0)
    fraction = b"." + b"0" * scale + b","
    if not scale or b"." in (numbers + b",").translate(_ONE_DIGIT).replace(fraction, b""):
        return None
    # JSON has no leading zeros: 0.5 becomes 15, and the ones are taken off again.
    positive = numbers.replace(b",0.", b",1")
    both = positive.replace(b",-0.", b",-1")
    ones = (len(numbers) - len(positive)) - (len(positive) - len(both))
    zeros = len(numbers) - len(both)
    integers = both.replace(b".", b"")
    values = _INTEGERS.decode(b"[" + integers[1:] + b"]")
    if len(both) - len(integers) + zeros != len(values):  # One of them has no point.
        return None
    return Decimal(sum(values) - ones * 10**scale).scaleb(-scale, EXACT)
