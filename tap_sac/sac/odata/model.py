"""Providers, their entity sets and columns."""

from __future__ import annotations

from dataclasses import dataclass

# Edm types (OData CSDL 4.0, 4.4) whose values are JSON numbers.
INTEGERS = frozenset(f"Edm.{name}" for name in ("Byte", "SByte", "Int16", "Int32", "Int64"))
# Floating-point numbers: the last digits of a sum depend on the order.
FLOATS = frozenset({"Edm.Double", "Edm.Single"})
NUMBERS = INTEGERS | FLOATS | {"Edm.Decimal"}


@dataclass(frozen=True)
class Provider:
    """A model, a public dimension, or the like.

    Attributes:
        namespace_id: ``sac`` for models.
        provider_id: Opaque and case-sensitive.
        name: Not unique.
    """

    namespace_id: str
    provider_id: str
    name: str


@dataclass(frozen=True)
class Property:
    """A column.

    Attributes:
        type: An ``Edm.*`` type. Enumerations are ``Edm.String``, as in JSON; lists, objects, and
            types that the document does not explain are ``Edm.Untyped``.
        precision: The total digits of a decimal, or the fractional digits of seconds.
        scale: Digits after the decimal point; None if they vary.
    """

    name: str
    type: str
    precision: int | None = None
    scale: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class OwnColumn(Property):
    """A column that is added to SAC's rows, and never requested.

    Attributes:
        is_deselectable: Whether the catalog may deselect it, like SAC's columns.
    """

    is_deselectable: bool = False


@dataclass(frozen=True)
class EntitySet:
    """An entity set, with the columns that are added to its rows.

    Attributes:
        name: The name, which is also the end of its URL.
        properties: SAC's columns, in the document's order.
        key: The columns that identify a row; empty if there are none.
        tracks_changes: Whether SAC can track its changes; None if the document does not say.
    """

    name: str
    properties: tuple[Property, ...]
    key: tuple[str, ...]
    own_columns: tuple[OwnColumn, ...] = ()
    tracks_changes: bool | None = None
