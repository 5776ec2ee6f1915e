"""Reads and writes JSON numbers with every digit and every trailing zero."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from typing_extensions import override

from tap_sac.safety.masks import LONGEST_VALUE, excerpt

if TYPE_CHECKING:
    from typing_extensions import Self


class ExactDecimal(Decimal):
    """A decimal that prints exactly as it was written: ``0.0000000``, not ``0E-7``.

    It is made from the text of a JSON number, without float, and calculates like any
    `decimal.Decimal`.
    """

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Self:
        """Make a decimal from its text; a `decimal.InvalidOperation` if that is not a number."""
        self = super().__new__(cls, text)
        self.text = str(text)
        return self

    @override
    def __str__(self) -> str:
        return self.text


def _encode_decimal(value: object) -> object:
    """Encode an `ExactDecimal` with its own digits."""
    if isinstance(value, ExactDecimal):
        return msgspec.Raw(value.text.encode())
    return str(value)


ENCODER = msgspec.json.Encoder(enc_hook=_encode_decimal, decimal_format="number")


class MemberTwiceError(ValueError):
    """A JSON object has a member twice, of which readers keep only one; the text is its name."""


def read_json(text: bytes | str, *, refuses_twice: bool = False) -> Any:  # noqa: ANN401
    """Read JSON; numbers with a decimal point become `ExactDecimal`.

    Of two members of the same name in an object, the last one counts, unless that is refused.

    Raises:
        MemberTwiceError: If an object has a member twice, and `refuses_twice` is set.
        ValueError: If it is not JSON.
        RecursionError: If it is nested too deeply.
    """
    return json.loads(
        text,
        parse_float=_exact_decimal,
        parse_constant=_refuse_constant,
        object_pairs_hook=_object if refuses_twice else None,
    )


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(members)
    if len(made) < len(members):
        names = Counter(name for name, _ in members)
        raise MemberTwiceError(names.most_common(1)[0][0])
    return made


def _exact_decimal(text: str) -> ExactDecimal:
    try:
        return ExactDecimal(text)
    except InvalidOperation:
        msg = f"{excerpt(text, LONGEST_VALUE)} is out of range"
        raise ValueError(msg) from None


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is not valid JSON"
    raise ValueError(msg)
