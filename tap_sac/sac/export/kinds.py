"""The kinds of entity sets and their properties, one row per kind.

SAP Help, "SAP Analytics Cloud REST API", chapter "Data Export Service", and live tenants.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tap_sac.sac.odata.model import EntitySet

FACTS = "FactData"
AGGREGATION = "FactDataAggregation"
PROVIDERS = "Providers"
AUDIT_TIME = "Audit_Time"
VERSION = "Version"
# Suffixes after the name of a dimension, of entity sets with its members.
_MASTER, _WITH_HIERARCHY = "Master", "MasterWithHierarchy"
# unseen: masters of dates with other columns, or with only an ID
_DATE_COLUMNS = {"DATE", "YEAR", "CALMONTH", "MONTHDESC", "FISCAL_CALPERIOD"}


@dataclass(frozen=True)
class Kind:
    """A kind of entity set.

    Attributes:
        pattern: The name of its sets, or a glob with ``*``.
        is_selected: Whether it is read by default; False for sets that repeat others, or that few
            users need.
        is_optional: Whether SAC may describe such a set without serving it.
        is_trackable: Whether SAC can track its changes, if ``$metadata`` does not say.
        is_additive: Whether rows are differences, which add up instead of replacing each other:
            they have no key, and SAC has them only for subscribers.
        needs_select: Whether SAC requires ``$select``.
        is_aggregation: Whether SAC aggregates over key columns that are not selected.
        is_hierarchy: Whether its rows have the parents of members; SAC answers a plain 400 for a
            dimension without a hierarchy.
        replication_key: The column that identifies newer rows.
        aggregated_in: The set in which SAC aggregates rows with the same key.
        is_counted: Whether SAC may count its rows (``$count``).
        needs_administrator: Whether it needs an administrator's client, and Data Audit.
        has_dimensions: Whether columns are named after dimensions, and have their members.
    """

    pattern: str
    is_selected: bool = True
    is_optional: bool = True
    is_trackable: bool = False
    is_additive: bool = False
    needs_select: bool = False
    is_aggregation: bool = False
    is_hierarchy: bool = False
    replication_key: str | None = None
    aggregated_in: str | None = None
    is_counted: bool = True
    needs_administrator: bool = False
    has_dimensions: bool = False


# The first match counts.
KINDS = (
    Kind(
        FACTS,
        is_optional=False,
        is_trackable=True,
        aggregated_in=AGGREGATION,
        has_dimensions=True,
    ),
    Kind(
        AGGREGATION,
        is_selected=False,
        is_trackable=True,
        needs_select=True,
        is_aggregation=True,
        has_dimensions=True,
    ),
    Kind(
        "FactDataDifference",
        is_selected=False,
        is_trackable=True,
        is_additive=True,
        has_dimensions=True,
    ),
    Kind("MasterData", is_selected=False),
    Kind(
        "AuditData",
        is_selected=False,
        replication_key=AUDIT_TIME,
        needs_administrator=True,
        has_dimensions=True,
    ),
    Kind(PROVIDERS, is_optional=False, is_counted=False),
    Kind("*___Distinct", is_selected=False),
    Kind(f"*{_WITH_HIERARCHY}", is_hierarchy=True),
    Kind("PublicDimensionDataWithHierarchy", is_hierarchy=True),
    Kind("*"),
)


def is_date_master(master: EntitySet) -> bool:
    """Return whether a dimension has dates, by the columns of its members."""
    return any(
        column.name in _DATE_COLUMNS or column.type == "Edm.Date" for column in master.properties
    )


def kind_of(entity_set: str) -> Kind:
    """Find the kind of an entity set by its name."""
    return next(kind for kind in KINDS if fnmatchcase(entity_set, kind.pattern))


def with_fact_keys(entity_sets: Sequence[EntitySet]) -> list[EntitySet]:
    """Give all sets of facts the key of FactData, as far as they have its columns.

    ``$metadata`` declares no key of FactDataAggregation, because its columns can be selected (SAP
    Help, "FactDataAggregation"). If it declares one, that only matters for columns that FactData
    does not have.
    """
    facts = next((item for item in entity_sets if item.name == FACTS and item.key), None)

    def with_key(item: EntitySet) -> EntitySet:
        kind = kind_of(item.name)
        if facts is None or not (kind.is_aggregation or kind.is_additive):
            return item
        names, of_facts = ({column.name for column in each.properties} for each in (item, facts))
        key = [name for name in facts.key if name in names]
        return replace(item, key=(*key, *(name for name in item.key if name not in of_facts)))

    return [*map(with_key, entity_sets)]


def master_of(dimension: str, entity_sets: Collection[str]) -> str | None:
    """Find the entity set with the members of a dimension; None if the model has none."""
    candidates = (f"{dimension}{_MASTER}", f"{dimension}{_WITH_HIERARCHY}")
    return next((name for name in candidates if name in entity_sets), None)
