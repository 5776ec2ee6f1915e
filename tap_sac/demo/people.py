"""The users of Alpenglow Outdoor, and what each of them may see.

SAP documents that data access control limits the facts that a user sees by the members of
dimensions. That it also hides these members in master data is a guess.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tap_sac.demo.tables import MASTER_DATA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_sac.demo.odata_filter import Predicate
    from tap_sac.demo.tables import Table


@dataclass(frozen=True)
class Person:
    """A user with permissions.

    Attributes:
        id: The claim ``user_uuid`` of tokens.
        name: The name on pages.
        email: The claim ``user_name``.
        sees: The members that the user sees, by dimension; all members of other dimensions.
    """

    id: str
    name: str
    email: str
    sees: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def predicate(self, table: Table) -> Predicate:
        """Return a predicate for the rows of a table that the user sees."""
        rights = [
            (column, members)
            for dimension, members in self.sees.items()
            if (column := _column_of(dimension, table))
        ]
        return lambda row: all(row[column] in members for column, members in rights)

    def token(self, secret: str) -> str:
        """Make an access token like those of SAP's XSUAA, as far as its claims are published.

        Args:
            secret: A random text in place of a signature.
        """
        claims = {
            "sub": self.id,
            "user_uuid": self.id,
            "user_name": self.email,
            "email": self.email,
            "grant_type": "authorization_code",
        }
        return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(claims)}.{secret}"


def _column_of(dimension: str, table: Table) -> str | None:
    """Return the column with the members of a dimension; None if the table has none."""
    if table.dimension == dimension:
        return table.key[0]
    names = (f"{dimension}___ID", f"{dimension}.ID") if table.name == MASTER_DATA else (dimension,)
    return next((name for name in names if name in table.key), None)


def _part(value: Mapping[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


PEOPLE = (
    Person("1b6f0e52-6a0c-4f0f-9f5e-3f1c8f0f7a01", "Anna Gruber", "anna@alpenglow.example"),
    Person(
        "9c2d7a84-0f3b-4f59-8a51-6d2b1e4c9b02",
        "Ben Huber",
        "ben@alpenglow.example",
        {"XX_REGION": frozenset({"AT", "CH", "#"})},
    ),
)
