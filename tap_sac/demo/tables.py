"""What a tenant consists of: models, their entity sets, and columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Value = str | int | Decimal | None
Row = dict[str, Value]

FACTS = "FactData"
AGGREGATION = "FactDataAggregation"
DIFFERENCES = "FactDataDifference"
MASTER_DATA = "MasterData"
AUDIT = "AuditData"
CURRENCIES = "CurrencyTable"
# What the sets of the distinct values of a column end with. That they are not listed, neither in
# $metadata nor in the service document, is a guess.
DISTINCT = "___Distinct"

# SAP documents that changes of these can be subscribed to, and of no others.
TRACKABLE = {FACTS, AGGREGATION, DIFFERENCES}


@dataclass(frozen=True)
class Column:
    """A column of an entity set.

    Attributes:
        name: As in rows.
        type: An Edm type.
        label: The name for people.
        is_key: Whether it is part of the key.
        max_length: The length of its texts.
        kind: What a column of a dimension means, as ``Integration.PropertyType`` has it.
    """

    name: str
    type: str = "Edm.String"
    label: str | None = None
    is_key: bool = False
    max_length: int = 256
    kind: str | None = None


@dataclass(frozen=True)
class Table:
    """An entity set with its rows.

    Attributes:
        name: The name of the set.
        columns: Its columns.
        rows: Its rows, in the order in which they are served; of a set that is made of facts,
            those facts with which the model starts.
        is_made_of_facts: Whether its rows are the facts of the model.
        widen: Makes a row of a fact, where the set has other columns than the facts.
        dimension: The dimension whose members are in it.
    """

    name: str
    columns: tuple[Column, ...]
    rows: list[Row]
    is_made_of_facts: bool = False
    widen: Callable[[Row], Row] | None = None
    dimension: str | None = None

    @property
    def key(self) -> list[str]:
        """The names of the key columns."""
        return [column.name for column in self.columns if column.is_key]


@dataclass(frozen=True)
class Model:
    """What SAC calls a provider.

    Attributes:
        id: The ProviderID.
        name: The ProviderName.
        description: For people.
        namespace: The NamespaceID.
        tables: Its entity sets; none for a live-connection model, which SAC does not export.
    """

    id: str
    name: str
    description: str
    namespace: str = "sac"
    tables: tuple[Table, ...] = field(default=())
