"""The parts of a tenant: models, their entity sets, and columns."""

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
# The suffix of sets with the distinct values of a column. That neither $metadata nor the service
# document lists them is a guess.
DISTINCT = "___Distinct"

# By SAP's documentation, only changes of these can be subscribed to.
TRACKABLE = {FACTS, AGGREGATION, DIFFERENCES}


@dataclass(frozen=True)
class Column:
    """A column of an entity set.

    Attributes:
        name: The name in rows.
        type: An Edm type.
        label: The description.
        is_key: Whether it is part of the key.
        max_length: The maximum length of its texts.
        kind: The value of ``Integration.PropertyType``, for a column of a dimension.
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
        rows: Its rows, in the order in which they are served; for a set of facts, the initial facts
            of the model.
        is_made_of_facts: Whether its rows are made from the facts of the model.
        widen: Converts a fact to a row, if the set has other columns than the facts.
        dimension: The dimension of its members.
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
    """A provider, as SAC calls it.

    Attributes:
        id: The ProviderID.
        name: The ProviderName.
        description: The Description.
        namespace: The NamespaceID.
        tables: Its entity sets; none for a live-connection model, which SAC does not export.
    """

    id: str
    name: str
    description: str
    namespace: str = "sac"
    tables: tuple[Table, ...] = field(default=())
