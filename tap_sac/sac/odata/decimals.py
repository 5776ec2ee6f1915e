"""Numbers that keep every digit and every trailing zero, from JSON and to JSON."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from typing_extensions import override

from tap_sac.safety.masks import LONGEST_VALUE, excerpt

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self


class ExactDecimal(Decimal):
    """A decimal that prints as it was written: ``0.0000000`` stays so, not ``0E-7``.

    It is made from the text of a JSON number, calculates like any `decimal.Decimal`, and never
    passes through a float.
    """

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Self:
        """Make a decimal from its text.

        Raises:
            decimal.InvalidOperation: If the text is not a number.
        """
        self = super().__new__(cls, text)
        self.text = str(text)
        return self

    @override
    def __str__(self) -> str:
        return self.text


def _encode_decimal(value: object) -> object:
    """Give the digits of an `ExactDecimal` as they are."""
    if isinstance(value, ExactDecimal):
        return msgspec.Raw(value.text.encode())
    return str(value)


ENCODER = msgspec.json.Encoder(enc_hook=_encode_decimal, decimal_format="number")


def read_json(
    text: bytes | str, make_object: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:  # noqa: ANN401  (JSON may be anything)
    """Read JSON whose numbers with a point become `ExactDecimal`.

    Args:
        text: The JSON.
        make_object: Makes an object of its members; of those with one name, the last counts if
            None.

    Raises:
        ValueError: If it is not JSON.
        RecursionError: If it is nested too deeply.
    """
    return json.loads(
        text,
        parse_float=_exact_decimal,
        parse_constant=_refuse_constant,
        object_pairs_hook=make_object,
    )


def _exact_decimal(text: str) -> ExactDecimal:
    try:
        return ExactDecimal(text)
    except InvalidOperation:
        msg = f"{excerpt(text, LONGEST_VALUE)} is out of range"
        raise ValueError(msg) from None


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is not valid JSON"
    raise ValueError(msg)
