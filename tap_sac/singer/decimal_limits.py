"""Digits that a target, or a Parquet file, has room for, and decimals that have more.

Targets round what has more digits behind the point, and say nothing. So the tap has to see it
before them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tap_sac.sac.odata.model import Property

SINGER_DECIMAL = "x-singer.decimal"
# Of Parquet columns about which $metadata says nothing.
_USUAL_PRECISION = 38
_USUAL_SCALE = 10
# What Arrow can hold.
_MOST_DIGITS = 76
_LONGEST_VALUE_SHOWN = 40


@dataclass(frozen=True)
class Room:
    """The digits that a column of decimals has room for.

    Attributes:
        column: The column.
        scale: Digits behind the point.
        precision: Digits in all; None if nobody has to count them.
        undeclared: What ``$metadata`` does not say of the two, which is a guess therefore.
    """

    column: str
    scale: int
    precision: int | None = None
    undeclared: tuple[str, ...] = ()

    def fit(self, value: Decimal | int) -> Decimal | int:
        """Return a value without the zeros behind its point that there is no room for.

        Raises:
            NoRoomError: If there is no room for another digit.
        """
        if isinstance(value, int):
            self._check_precision(Decimal(value))
            return value
        sign, digits, exponent = value.as_tuple()
        excess = -int(exponent) - self.scale
        if excess > 0:
            if any(digits[-excess:]):
                zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
                raise NoRoomError(self, value, f"scale {-int(exponent) - zeros}")
            value = Decimal((sign, digits[:-excess] or (0,), -self.scale))
        self._check_precision(value)
        return value

    def _check_precision(self, value: Decimal) -> None:
        if self.precision is not None and value:
            needed = max(value.adjusted() + 1, 0) + self.scale
            if needed > self.precision:
                raise NoRoomError(self, value, f"precision {needed}")

    def excess_in_json(self) -> re.Pattern[bytes]:
        """Make a pattern of digits behind the scale, in numbers that commas separate.

        Most numbers end before such a digit, which the lookahead sees faster than the rest.
        """
        return re.compile(rb"\.(?=[^,]{%d}).{%d}0*[1-9]" % (self.scale + 1, self.scale))


class NoRoomError(ValueError):
    """A decimal has more digits than there is room for.

    Attributes:
        room: The room that there is.
    """

    def __init__(self, room: Room, value: Decimal, needed: str) -> None:
        """Say which value needs what."""
        text = str(value)
        if len(text) > _LONGEST_VALUE_SHOWN:
            text = f"{text[:_LONGEST_VALUE_SHOWN]}..."
        super().__init__(f"{text} requires {needed}")
        self.room = room


def decimal_facets(column: Property) -> dict[str, int]:
    """Return the precision and the scale of a decimal, or nothing if ``$metadata`` lacks one.

    Targets take a precision alone for that of whole numbers.
    """
    if column.precision is None or column.scale is None:
        return {}
    return {"precision": column.precision, "scale": column.scale}


def told_room(column: Property, schema: Mapping[str, Any]) -> Room | None:
    """Find the room that targets make, for digits behind the point; None if they are told of none.

    They refuse more digits before it themselves.

    Args:
        column: The column.
        schema: Its JSON Schema, perhaps from a catalog, which lacks precision and scale.
    """
    facets = decimal_facets(column) if schema.get("format") == SINGER_DECIMAL else {}
    return Room(column.name, facets["scale"]) if facets else None


def parquet_room(column: Property) -> Room:
    """Find the room in a Parquet column, which must have a precision and a scale."""
    facets = {"precision": column.precision, "scale": column.scale}
    undeclared = tuple(name for name, digits in facets.items() if digits is None)
    scale = min(_USUAL_SCALE if column.scale is None else column.scale, _MOST_DIGITS - 1)
    # Arrow's JSON reader counts the digits of a number, but not those that it adds for the scale.
    precision = min(column.precision or _USUAL_PRECISION, _MOST_DIGITS - scale)
    return Room(column.name, scale, precision, undeclared)


def decimals_without_scale(columns: Iterable[Property], schema: Mapping[str, Any]) -> list[str]:
    """Name the columns that are `SINGER_DECIMAL` without a scale.

    Args:
        columns: Those that are read.
        schema: The JSON Schema of the records.
    """
    return [
        column.name
        for column in columns
        if schema["properties"].get(column.name, {}).get("format") == SINGER_DECIMAL
        and not decimal_facets(column)
    ]
