"""Exact sums of the numbers in records."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# More digits than any sum of SAC's numbers has. Inexact sums raise, and so does a text that is not
# a number, which would become NaN.
EXACT = Context(prec=10_000, traps=[Inexact, InvalidOperation])


def exact_sum(numbers: Iterable[Decimal]) -> Decimal:
    """Add numbers, to the last digit.

    Raises:
        decimal.Inexact: If the sum has more digits than a sum can have.
        decimal.InvalidOperation: If a text is not a number.
    """
    with localcontext(EXACT):
        return sum(numbers, Decimal(0))


class Sums:
    """The sums of some columns over all records that were made.

    Attributes:
        totals: The sum of each column so far; nulls do not count.
    """

    def __init__(self, columns: Iterable[str]) -> None:
        """Start with zero for each column."""
        self.totals = dict.fromkeys(columns, Decimal(0))

    def add_record(self, record: Mapping[str, Any]) -> None:
        """Add the numbers of a record, which may be written as strings."""
        for name, total in self.totals.items():
            value = record[name]
            if value is not None:
                self.totals[name] = EXACT.add(total, Decimal(value))

    def add_integers(self, column: str, integers: Iterable[int | None]) -> None:
        """Add many integers of a column, of any size; nulls do not count."""
        total = Decimal(sum(filter(None, integers)))
        self.totals[column] = EXACT.add(self.totals[column], total)

    def add_texts(self, column: str, texts: bytes) -> None:
        """Add many numbers of a column.

        They are as JSON has them, without exponents, or null, with commas between.
        """
        if texts:
            numbers = map(Decimal, texts.replace(b"null", b"0").decode().split(","))
            self.totals[column] = EXACT.add(self.totals[column], exact_sum(numbers))
