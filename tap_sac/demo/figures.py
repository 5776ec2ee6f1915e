"""Computes figures from names.

They are the same on every start and machine, and in every version of Python.
"""

from __future__ import annotations

import zlib
from decimal import Decimal

SCALE = Decimal("1.0000000")


def number(*parts: str) -> int:
    """Make a number between 0 and 2**32 from names."""
    return zlib.crc32("|".join(parts).encode())


def amount(*parts: str) -> Decimal:
    """Make an amount of money; one in a hundred is zero, one in seven is negative."""
    base = number(*parts)
    if base % 100 == 0:
        return Decimal("0.0000000")
    sign = -1 if base % 7 == 0 else 1
    return sign * Decimal(base % 10**9) / 1000 + Decimal(number(*parts, "tail") % 10**7).scaleb(-7)


def huge(*parts: str) -> Decimal:
    """Make a number of 24 digits before the decimal point and 7 after it."""
    digits = "".join(f"{number(*parts, str(index)):010}" for index in range(4))
    return Decimal(f"{1 + int(digits[0]) % 9}{digits[1:24]}.{digits[24:31]}")
