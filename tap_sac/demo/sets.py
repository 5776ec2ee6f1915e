"""Makes the entity sets of a model from its dimensions, measures and facts.

The names of sets and columns follow ``$metadata`` documents of live tenants and SAP Help ("SAP
Analytics Cloud REST API", "Data Export Service"); other names are guesses, which are marked.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from tap_sac.demo.members import MONTH_NAMES, MONTHS, VERSIONS, Member
from tap_sac.demo.tables import (
    AGGREGATION,
    AUDIT,
    CURRENCIES,
    DIFFERENCES,
    DISTINCT,
    FACTS,
    MASTER_DATA,
    Column,
    Row,
    Table,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_VERSION_LENGTH = 300
_CODE_LENGTH = 127
_DESCRIPTION = Column("Description", label="Description", kind="DESCRIPTION")
_CODES = {
    "accType": "ACCOUNT_TYPE",
    "CATEGORY": "CATEGORY",
    "CURRENCY_CONVERSION_CATEGORY": "CURRENCY_CONVERSION_CATEGORY",
    "RATE_VERSION": "RATE_VERSION",
}


def dimensions(*names: str) -> list[Column]:
    """Make the key columns of facts."""
    return [
        Column(name, is_key=True, max_length=_VERSION_LENGTH if name == "Version" else 256)
        for name in names
    ]


def model_tables(
    dimensions: Sequence[Column],
    measures: Sequence[Column],
    facts: list[Row],
    masters: Sequence[Table],
) -> tuple[Table, ...]:
    """Make the sets of a model's facts, and add those of its dimensions."""
    columns = (*dimensions, *measures)
    fact_sets = (
        Table(name, columns, facts, is_made_of_facts=True)
        for name in (FACTS, AGGREGATION, DIFFERENCES)
    )
    return (*fact_sets, _master_data(dimensions, measures, facts, masters), *masters)


def _master_data(
    dimensions: Sequence[Column],
    measures: Sequence[Column],
    facts: list[Row],
    masters: Sequence[Table],
) -> Table:
    """Add attributes to the facts: key ``<Dim>___ID``, no ``<Dim>``, ``<Dim>___<Attribute>``."""
    attributes: dict[str, list[Column]] = {}
    members: dict[str, dict[object, Row]] = {}
    for table in masters:
        if table.dimension and table.name == f"{table.dimension}Master":
            (key,) = table.key
            attributes[table.dimension] = [item for item in table.columns if not item.is_key]
            members[table.dimension] = {row[key]: row for row in table.rows}

    def widen(fact: Row) -> Row:
        row: Row = {}
        for dimension in dimensions:
            name = dimension.name
            row[f"{name}___ID"] = fact[name]
            member = members.get(name, {}).get(fact[name], {})
            for column in attributes.get(name, ()):
                row[f"{name}___{column.name}"] = member.get(column.name)
        return row | {measure.name: fact.get(measure.name) for measure in measures}

    columns: list[Column] = []
    for dimension in dimensions:
        columns.append(replace(dimension, name=f"{dimension.name}___ID", kind="ID"))
        columns += [
            replace(column, name=f"{dimension.name}___{column.name}", label=None)
            for column in attributes.get(dimension.name, ())
        ]
    return Table(MASTER_DATA, (*columns, *measures), facts, is_made_of_facts=True, widen=widen)


def dotted(table: Table) -> Table:
    """Rename the columns of MasterData to ``<Dim>.<Attribute>``; other sets are not changed."""
    widen = table.widen
    if widen is None:
        return table
    columns = (replace(item, name=_with_dot(item.name)) for item in table.columns)
    return replace(
        table,
        columns=tuple(columns),
        widen=lambda fact: {_with_dot(name): value for name, value in widen(fact).items()},
    )


def _with_dot(name: str) -> str:
    return name.replace("___", ".")


def member_table(
    set_name: str, dimension: str, members: Iterable[Member], attributes: Iterable[str] = ()
) -> Table:
    """Make a set of members; an account's type precedes its description, as on tenants."""
    columns = [
        Column(name, max_length=_CODE_LENGTH, kind=_CODES[name])
        for name in attributes
        if name in _CODES
    ]
    columns += [_DESCRIPTION, *(Column(name) for name in attributes if name not in _CODES)]
    rows: list[Row] = [
        {"ID": member.id, "Description": member.description, **member.attributes}
        for member in members
    ]
    key = Column("ID", is_key=True, kind="ID")
    return Table(set_name, (key, *columns), rows, dimension=dimension)


def masters(
    dimension: str, members: Sequence[Member], attributes: Sequence[str] = ()
) -> Iterator[Table]:
    """Make ``<Dim>Master``, and ``<Dim>MasterWithHierarchy`` if the dimension has one."""
    table = member_table(f"{dimension}Master", dimension, members, attributes)
    yield table
    if hierarchies := sorted({name for member in members for name in member.parents}):
        columns = list(table.columns)
        for name in hierarchies:
            columns += [Column(f"{name}_PARENTID"), Column(f"{name}_PREVID")]
            columns.append(Column(f"{name}_ORDERID", "Edm.Int32"))
        rows = [dict(row) for row in table.rows]
        for name in hierarchies:
            _place_in_hierarchy(name, members, rows)
        yield Table(f"{dimension}MasterWithHierarchy", tuple(columns), rows, dimension=dimension)


def _place_in_hierarchy(name: str, members: Sequence[Member], rows: Iterable[Row]) -> None:
    """Add a member's parent and its position among the parent's children.

    A root has no parent key. Columns for the position were seen on tenants; their names, their
    types and the first child's position are guesses.
    """
    siblings: dict[str | None, list[str]] = {}
    for member, row in zip(members, rows, strict=True):
        parent = member.parents.get(name)
        earlier = siblings.setdefault(parent, [])
        if parent is not None:
            row[f"{name}_PARENTID"] = parent
        if earlier:
            row[f"{name}_PREVID"] = earlier[-1]
        row[f"{name}_ORDERID"] = len(earlier)
        earlier.append(member.id)


def version_master() -> Table:
    """Make the master of versions; the names of its categories are a guess."""
    columns = (
        Column("ID", is_key=True, max_length=_VERSION_LENGTH, kind="ID"),
        Column("VERSION", max_length=_VERSION_LENGTH, kind="VERSION"),
        *(
            Column(name, max_length=_CODE_LENGTH, kind=_CODES[name])
            for name in ("CATEGORY", "CURRENCY_CONVERSION_CATEGORY", "RATE_VERSION")
        ),
        _DESCRIPTION,
    )
    rows: list[Row] = [
        {
            "ID": f"public.{version}",
            "VERSION": version,
            "CATEGORY": category,
            "CURRENCY_CONVERSION_CATEGORY": category,
            "RATE_VERSION": None,
            "Description": version,
        }
        for version, category in VERSIONS.items()
    ]
    return Table("VersionMaster", columns, rows, dimension="Version")


def date_master() -> Table:
    """Make a master of months like those of tenants where its key is DATE."""
    columns = (
        Column("DATE", is_key=True),
        Column("YEAR"),
        Column("CALMONTH"),
        Column("MONTHDESC", label="Month"),
    )
    rows: list[Row] = [
        {
            "DATE": month,
            "YEAR": month[:4],
            "CALMONTH": month,
            "MONTHDESC": _month_name(month),
        }
        for month in MONTHS
    ]
    return Table("DateMaster", columns, rows, dimension="Date")


def short_date_master() -> Table:
    """Make a master of months like those of tenants where dates are like any dimension."""
    return member_table(
        "DateMaster", "Date", [Member(month, _month_name(month)) for month in MONTHS]
    )


def _month_name(month: str) -> str:
    return f"{MONTH_NAMES[int(month[4:]) - 1]} ({month[:4]})"


def distinct_table(name: str, tables: Iterable[Table], *, of_facts: bool) -> Table | None:
    """Make ``<column>___Distinct``; None if the name is not of this kind.

    For a currency table, it may be ``<column>___<column>___Distinct``, and its rows have a column
    that was not requested (SAP's sample). Repeated rows are a guess.

    Args:
        name: The name of the set.
        tables: The sets of the model.
        of_facts: Whether every column of facts has such a set.
    """
    names = name.removesuffix(DISTINCT).split("___") if name.endswith(DISTINCT) else []
    for table in tables:
        columns = [replace(item, is_key=True) for item in table.columns if item.name in names]
        if not names or len(columns) < len(names):
            continue
        if table.name == CURRENCIES:
            others = [item for item in table.columns if item.name not in names]
            return Table(table.name, (*columns, *others[:1]), table.rows)
        if table.name == FACTS and of_facts and len(columns) == 1:
            return Table(name, (*columns,), [], is_made_of_facts=True)
    return None


def audit_table(dimensions: list[Column], measures: list[Column], facts: list[Row]) -> Table:
    """List changes to facts: user, time, old and new values."""
    columns = [Column(column.name, max_length=column.max_length) for column in dimensions]
    columns += [Column("Audit_Time", "Edm.DateTimeOffset"), Column("Audit_User")]
    for measure in measures:
        columns += [
            Column(f"Audit_{kind}_{measure.name}", measure.type) for kind in ("Old", "New", "Delta")
        ]
        columns.append(Column(f"Audit_Flag_{measure.name}", "Edm.Int32"))
    rows: list[Row] = []
    for number, fact in enumerate(facts):
        row = {column.name: fact[column.name] for column in dimensions}
        row["Audit_Time"] = f"2026-11-{1 + number // 20:02}T05:{number % 60:02}:44.123Z"
        row["Audit_User"] = f"PLANNER{number % 3}"
        for measure in measures:
            new = fact[measure.name]
            old = None if not isinstance(new, Decimal) else new - Decimal("12.5000000")
            row[f"Audit_Old_{measure.name}"] = old
            row[f"Audit_New_{measure.name}"] = new
            row[f"Audit_Delta_{measure.name}"] = old and Decimal("12.5000000")
            row[f"Audit_Flag_{measure.name}"] = 2 if old is not None else None
        rows.append(row)
    return Table(AUDIT, tuple(columns), rows)
