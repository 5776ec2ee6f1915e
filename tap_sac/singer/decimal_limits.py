"""The digits that a target or a Parquet file can store, and decimals that have more.

Targets silently round digits after the point that they cannot store, so the tap checks first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tap_sac.safety.masks import LONGEST_VALUE, excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tap_sac.sac.odata.model import Property

SINGER_DECIMAL = "x-singer.decimal"
# For Arrow columns without limits in $metadata.
_USUAL_PRECISION = 38
_USUAL_SCALE = 10
# Arrow's maximum.
_MOST_DIGITS = 76


@dataclass(frozen=True)
class DecimalLimits:
    """The digits that a column of decimals can store.

    Attributes:
        scale: Digits after the point.
        precision: Digits in total; None if unlimited.
        undeclared: Which of both ``$metadata`` does not declare, so the tap has chosen it.
    """

    column: str
    scale: int
    precision: int | None = None
    undeclared: tuple[str, ...] = ()

    def fit(self, value: Decimal | int) -> Decimal | int:
        """Return a value without zeros beyond the scale; a `PrecisionError` for other digits."""
        if isinstance(value, int):
            self._check_precision(Decimal(value))
            return value
        sign, digits, exponent = value.as_tuple()
        excess = -int(exponent) - self.scale
        if excess > 0:
            if any(digits[-excess:]):
                zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
                raise PrecisionError(self, value, f"scale {-int(exponent) - zeros}")
            value = Decimal((sign, digits[:-excess] or (0,), -self.scale))
        self._check_precision(value)
        return value

    def _check_precision(self, value: Decimal) -> None:
        if self.precision is not None and value:
            needed = max(value.adjusted() + 1, 0) + self.scale
            if needed > self.precision:
                raise PrecisionError(self, value, f"precision {needed}")

    def excess_in_json(self) -> re.Pattern[bytes]:
        """Return a pattern of digits beyond the scale, in numbers separated by commas.

        The lookahead is a fast check, because most numbers end before such a digit.
        """
        return re.compile(rb"\.(?=[^,]{%d}).{%d}0*[1-9]" % (self.scale + 1, self.scale))


class PrecisionError(ValueError):
    """A decimal has more digits than its column can store."""

    def __init__(self, limits: DecimalLimits, value: Decimal, needed: str) -> None:
        """Create an error that names the value and the digits it requires."""
        super().__init__(f"{excerpt(str(value), LONGEST_VALUE)} requires {needed}")
        self.limits = limits


def decimal_facets(column: Property) -> dict[str, int]:
    """Return the precision and the scale of a decimal, or nothing if ``$metadata`` lacks one.

    Targets assume whole numbers if there is only a precision.
    """
    if column.precision is None or column.scale is None:
        return {}
    return {"precision": column.precision, "scale": column.scale}


def declared_limits(column: Property, schema: Mapping[str, Any]) -> DecimalLimits | None:
    """Return the limits that the SCHEMA message declares to targets, or None.

    Only the scale needs a check: targets themselves reject too many digits before the point.
    """
    facets = decimal_facets(column) if schema.get("format") == SINGER_DECIMAL else {}
    return DecimalLimits(column.name, facets["scale"]) if facets else None


def arrow_limits(column: Property) -> DecimalLimits:
    """Return the limits of an Arrow column, which must have both precision and scale."""
    facets = {"precision": column.precision, "scale": column.scale}
    undeclared = tuple(name for name, digits in facets.items() if digits is None)
    scale = min(_USUAL_SCALE if column.scale is None else column.scale, _MOST_DIGITS)
    precision = min(column.precision or _USUAL_PRECISION, _MOST_DIGITS)
    return DecimalLimits(column.name, scale, precision, undeclared)


def decimals_without_scale(columns: Iterable[Property], schema: Mapping[str, Any]) -> list[str]:
    """Return the names of the `SINGER_DECIMAL` columns in a schema that have no scale."""
    return [
        column.name
        for column in columns
        if schema["properties"].get(column.name, {}).get("format") == SINGER_DECIMAL
        and not decimal_facets(column)
    ]
