"""The planning models of Alpenglow Outdoor, a company that does not exist.

All figures are computed from the names of what they describe, so they are the same on every
start, on every machine and in every version of Python.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Value = str | int | Decimal | None
Row = dict[str, Value]

UNASSIGNED = "#"
NOT_IN_HIERARCHY = "NOT_IN_HIERARCHY"

_SCALE = Decimal("1.0000000")


@dataclass(frozen=True)
class Column:
    """A column of an entity set.

    Attributes:
        name: As in rows.
        type: An Edm type.
        label: The name for people.
        is_key: Whether it is part of the key.
    """

    name: str
    type: str = "Edm.String"
    label: str | None = None
    is_key: bool = False


@dataclass(frozen=True)
class Table:
    """An entity set with its rows.

    Attributes:
        name: The name of the set.
        columns: Its columns.
        rows: Its rows, in the order in which they are served.
        select_needs_key: Whether SAC insists on all key columns in ``$select``.
        is_made_of_facts: Whether its rows are the facts of the model.
    """

    name: str
    columns: tuple[Column, ...]
    rows: list[Row]
    select_needs_key: bool = False
    is_made_of_facts: bool = False

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


@dataclass(frozen=True)
class _Member:
    """A member of a dimension, with its attributes and its parents by hierarchy."""

    id: str
    description: str
    attributes: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)


def models() -> list[Model]:
    """Make all models of the company."""
    return [
        _financial_planning(),
        _workforce_planning(),
        _sales_planning(),
        _budget("C4BUDGETQ7W2E9R5T1Y8U3I6OA", "Budget of the head office"),
        _budget("C4BUDGETQ7W2E9R5T1Y8U3I6OB", "Budget of the shops"),
        Model(
            "C4LIVEX3M8K1P6T9R2V5Y7Z0QA",
            "Live Revenue",
            "Live connection to an ERP system, which SAC does not export",
        ),
        Model(
            "PRODUCT",
            "Product",
            "Public dimension",
            namespace="sac_public_dimensions",
            tables=(_table("PublicDimensionData", _MEMBER_COLUMNS, _member_rows(_PRODUCTS)),),
        ),
    ]


_MONTHS = [f"{year}{month:02}" for year in (2024, 2025, 2026) for month in range(1, 13)]
_MONTH_NAMES = [
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
]
_VERSIONS = {"Actual": "Actual", "Plan": "Plan", "Rolling Forecast": "Rolling Forecast"}

_ACCOUNTS = [
    _Member("NET_INCOME", "Net income", {"accType": "INC"}),
    _Member("REVENUE", "Revenue", {"accType": "INC"}, {"H1": "NET_INCOME"}),
    _Member("EXPENSE", "Expense", {"accType": "EXP"}, {"H1": "NET_INCOME"}),
    _Member("400000", "Revenue shops", {"accType": "INC"}, {"H1": "REVENUE"}),
    _Member("410000", "Revenue online", {"accType": "INC"}, {"H1": "REVENUE"}),
    _Member("420000", "Rental & repair", {"accType": "INC"}, {"H1": "REVENUE"}),
    _Member("500000", "Cost of goods", {"accType": "EXP"}, {"H1": "EXPENSE"}),
    _Member("510000", "Wages", {"accType": "EXP"}, {"H1": "EXPENSE"}),
    _Member("520000", "Social security", {"accType": "EXP"}, {"H1": "EXPENSE"}),
    _Member("530000", "Travel", {"accType": "EXP"}, {"H1": "EXPENSE"}),
    _Member("540000", "Rent", {"accType": "EXP"}, {"H1": "EXPENSE"}),
    _Member("550000", "Marketing: Sommer-Räder", {"accType": "EXP"}, {"H1": "EXPENSE"}),
    _Member("560000", "IT", {"accType": "EXP"}, {"H1": "EXPENSE"}),
]
_COST_CENTERS = [
    _Member("ALL", "All cost centers"),
    _Member("HQ", "Head office", {}, {"H1": "ALL"}),
    _Member("SHOPS", "Shops", {}, {"H1": "ALL"}),
    _Member("FIXED", "Fixed costs"),
    _Member("VARIABLE", "Variable costs"),
    *(
        _Member(
            f"{1000 + 100 * number}",
            description,
            {"Status": "Closed" if description.startswith("Old") else "Open", "City": city},
            {"H1": parent, "H2": "FIXED" if number % 2 else "VARIABLE"},
        )
        for number, (description, city, parent) in enumerate(
            [
                ("Finance", "Innsbruck", "HQ"),
                ("People", "Innsbruck", "HQ"),
                ("IT operations", "Innsbruck", "HQ"),
                ("Design", "Bozen", "HQ"),
                ("Old warehouse", "Hall in Tirol", "HQ"),
                ("Shop Chamonix", "Chamonix", "SHOPS"),
                ("Shop Zermatt", "Zermatt", "SHOPS"),
                ("Shop Kranj", "Kranj", "SHOPS"),
                ("Shop Garmisch", "Garmisch-Partenkirchen", "SHOPS"),
                ("Online shop", "Innsbruck", "SHOPS"),
            ],
            start=1,
        )
    ),
]
_PRODUCTS = [
    _Member("P-ALL", "All products"),
    *(
        _Member(f"P-{number:03}", name, {"Brand": brand}, {"H1": "P-ALL"})
        for number, (name, brand) in enumerate(
            [
                ('Gravel bike "Föhn"', "Alpenglow"),
                ("Touring bike", "Alpenglow"),
                ("Kid's bike 20''", "Edelweiss"),
                ("Tent, 2 persons", "Alpenglow"),
                ("Tent, 4 persons", "Alpenglow"),
                ("Sleeping bag -10 °C", "Nordkette"),
                ("Stove", "Nordkette"),
                ("Headlamp", "Nordkette"),
                ("Rope 60 m", "Edelweiss"),
                ("Ice axe", "Edelweiss"),
            ],
            start=1,
        )
    ),
]
_REGIONS = [
    _Member(code, name)
    for code, name in [
        ("AT", "Austria"),
        ("CH", "Switzerland"),
        ("DE", "Germany"),
        ("FR", "France"),
        ("IT", "Italy"),
        ("SI", "Slovenia"),
        ("ID", "Indonesia"),
        (UNASSIGNED, "Unassigned"),
    ]
]
_GRADES = [_Member(f"G{number}", f"Grade {number}") for number in range(1, 7)]

_MEMBER_COLUMNS = (Column("ID", is_key=True), Column("Description", label="Description"))
_DATE_COLUMNS = (
    Column("DATE", is_key=True),
    Column("YEAR"),
    Column("CALMONTH"),
    Column("MONTHDESC", label="Month"),
)


def _financial_planning() -> Model:
    """A classic account model: one measure, and the account says what it means."""
    dimensions = _dimensions("Version", "Date", "Account", "CostCenter", "Currency")
    accounts, cost_centers = _leaves(_ACCOUNTS), _leaves(_COST_CENTERS)
    rows: list[Row] = [
        {
            "Version": f"public.{version}",
            "Date": month,
            "Account": account.id,
            "CostCenter": cost_center.id,
            "Currency": "CHF" if cost_center.id == "1700" else "EUR",
            "SignedData": _amount(version, month, account.id, cost_center.id),
        }
        for version, month, account, cost_center in product(
            _VERSIONS, _MONTHS, accounts, cost_centers
        )
        if _number("used", account.id, cost_center.id) % 5
    ]
    facts = _fact_tables(dimensions, [Column("SignedData", "Edm.Decimal", "Signed data")], rows)
    return Model(
        "C4FINPLANK2M9X7QW1TBV0ZJ8A",
        "Financial Planning",
        "Profit and loss by account and cost center",
        tables=(
            *facts,
            *_masters("Account", _ACCOUNTS, ("accType",)),
            *_masters("CostCenter", _COST_CENTERS, ("Status", "City")),
            _version_master(),
            _table("DateMaster", _DATE_COLUMNS, _date_rows()),
        ),
    )


def _workforce_planning() -> Model:
    """Several measures beside an account: headcount has none, so it is NOT_IN_HIERARCHY."""
    dimensions = _dimensions("Version", "Date", "Account", "CostCenter", "Grade", "Currency")
    rows: list[Row] = []
    for version, month, cost_center, grade in product(
        ("Actual", "Plan"), _MONTHS, _leaves(_COST_CENTERS), _GRADES
    ):
        members: Row = {
            "Version": f"public.{version}",
            "Date": month,
            "CostCenter": cost_center.id,
            "Grade": grade.id,
        }
        heads = _number(version, cost_center.id, grade.id) % 90
        if not heads:
            continue
        rows.append(
            members
            | {
                "Account": NOT_IN_HIERARCHY,
                "Currency": UNASSIGNED,
                "AMOUNT": None,
                "FTE": (Decimal(heads) / 4).quantize(_SCALE),
            }
        )
        rows += [
            members
            | {
                "Account": account,
                "Currency": "EUR",
                "AMOUNT": _amount(version, month, cost_center.id, grade.id, account),
                "FTE": None,
            }
            for account in ("510000", "520000")
        ]
    measures = [
        Column("AMOUNT", "Edm.Decimal", "Amount"),
        Column("FTE", "Edm.Decimal", "Full-time equivalents"),
    ]
    names = [column.name for column in (*dimensions, *measures)]
    rows = [{name: row[name] for name in names} for row in rows]
    return Model(
        "C4WORKFRCK5M2X8QW3TBV1ZJ7B",
        "Workforce Planning",
        "Headcount and personnel cost, with Data Audit",
        tables=(
            *_fact_tables(dimensions, measures, rows),
            *_masters("Account", _ACCOUNTS, ("accType",)),
            *_masters("CostCenter", _COST_CENTERS, ("Status", "City")),
            *_masters("Grade", _GRADES),
            _version_master(),
            _table("DateMaster", _DATE_COLUMNS, _date_rows()),
            _audit(dimensions, measures, rows[:300]),
        ),
    )


def _sales_planning() -> Model:
    """Measures alone, no account; one of them fills all 31 digits."""
    dimensions = _dimensions("Version", "Date", "Product", "XX_REGION", "Currency")
    currencies = {"CH": "CHF", "ID": "IDR", UNASSIGNED: UNASSIGNED}
    rows: list[Row] = [
        {
            "Version": f"public.{version}",
            "Date": month,
            "Product": item.id,
            "XX_REGION": region.id,
            "Currency": currencies.get(region.id, "EUR"),
            "QUANTITY": Decimal(_number(version, month, item.id, region.id) % 500).quantize(_SCALE),
            "REVENUE": _amount(version, month, item.id, region.id)
            * (17_000 if region.id == "ID" else 1),
            "LOYALTY_POINTS": _huge(version, month, item.id, region.id),
        }
        for version, month, item, region in product(
            ("Actual", "Plan"), _MONTHS, _leaves(_PRODUCTS), _REGIONS
        )
    ]
    measures = [
        Column("QUANTITY", "Edm.Decimal", "Quantity"),
        Column("REVENUE", "Edm.Decimal", "Revenue in local currency"),
        Column("LOYALTY_POINTS", "Edm.Decimal", "Loyalty points, awarded per nanometre"),
    ]
    return Model(
        "C4SALESPLK8M4X1QW6TBV2ZJ5C",
        "Sales Planning",
        "Quantities and revenue by product and region",
        tables=(
            *_fact_tables(dimensions, measures, rows),
            *_masters("Product", _PRODUCTS, ("Brand",)),
            *_masters("XX_REGION", _REGIONS),
            _version_master(),
            _table("DateMaster", _DATE_COLUMNS, _date_rows()),
        ),
    )


def _budget(model_id: str, description: str) -> Model:
    """One of two models that share a name."""
    dimensions = _dimensions("Version", "Date", "CostCenter")
    rows: list[Row] = [
        {
            "Version": "public.Plan",
            "Date": month,
            "CostCenter": cost_center.id,
            "BUDGET": _amount(model_id, month, cost_center.id),
        }
        for month, cost_center in product(_MONTHS, _leaves(_COST_CENTERS))
    ]
    facts = _fact_tables(dimensions, [Column("BUDGET", "Edm.Decimal", "Budget")], rows)
    return Model(model_id, "Budget", description, tables=(*facts, _version_master()))


def _dimensions(*names: str) -> list[Column]:
    return [Column(name, is_key=True) for name in names]


def _fact_tables(
    dimensions: Iterable[Column], measures: Iterable[Column], rows: list[Row]
) -> tuple[Table, ...]:
    """Serve the same leaf rows as FactData and as the sets that are made from it."""
    columns = (*dimensions, *measures)
    return (
        Table("FactData", columns, rows, select_needs_key=True, is_made_of_facts=True),
        *(
            Table(name, columns, rows, is_made_of_facts=True)
            for name in ("FactDataAggregation", "FactDataDifference", "MasterData")
        ),
    )


def _table(name: str, columns: tuple[Column, ...], rows: Iterable[Row]) -> Table:
    return Table(name, columns, list(rows))


def _masters(
    dimension: str, members: Sequence[_Member], attributes: Sequence[str] = ()
) -> Iterator[Table]:
    """Make ``<Dim>Master``, and ``<Dim>MasterWithHierarchy`` if the dimension has one."""
    columns = (*_MEMBER_COLUMNS, *(Column(name) for name in attributes))
    yield _table(f"{dimension}Master", columns, _member_rows(members))
    if hierarchies := sorted({name for member in members for name in member.parents}):
        columns += tuple(Column(f"{name}_PARENTID") for name in hierarchies)
        rows = (
            row | {f"{name}_PARENTID": parent for name, parent in member.parents.items()}
            for row, member in zip(_member_rows(members), members, strict=True)
        )
        yield _table(f"{dimension}MasterWithHierarchy", columns, rows)


def _member_rows(members: Iterable[_Member]) -> Iterator[Row]:
    for member in members:
        yield {"ID": member.id, "Description": member.description, **member.attributes}


def _version_master() -> Table:
    rows: list[Row] = [
        {"ID": f"public.{version}", "Description": description, "VERSION": version}
        for version, description in _VERSIONS.items()
    ]
    return _table("VersionMaster", (*_MEMBER_COLUMNS, Column("VERSION")), rows)


def _date_rows() -> Iterator[Row]:
    for month in _MONTHS:
        year, name = month[:4], _MONTH_NAMES[int(month[4:]) - 1]
        yield {"DATE": month, "YEAR": year, "CALMONTH": month, "MONTHDESC": f"{name} ({year})"}


def _audit(dimensions: list[Column], measures: list[Column], rows: list[Row]) -> Table:
    """Tell of changes to rows: who, when, and from what to what."""
    columns = [Column(column.name) for column in dimensions]
    columns += [Column("Audit_Time", "Edm.DateTimeOffset"), Column("Audit_User")]
    for measure in measures:
        columns += [
            Column(f"Audit_{kind}_{measure.name}", measure.type) for kind in ("Old", "New", "Delta")
        ]
        columns.append(Column(f"Audit_Flag_{measure.name}", "Edm.Int32"))
    audit_rows: list[Row] = []
    for number, row in enumerate(rows):
        audit_row = {column.name: row[column.name] for column in dimensions}
        audit_row["Audit_Time"] = f"2026-11-{1 + number // 20:02}T05:{number % 60:02}:44.123Z"
        audit_row["Audit_User"] = f"PLANNER{number % 3}"
        for measure in measures:
            new = row[measure.name]
            old = None if not isinstance(new, Decimal) else new - Decimal("12.5000000")
            audit_row[f"Audit_Old_{measure.name}"] = old
            audit_row[f"Audit_New_{measure.name}"] = new
            audit_row[f"Audit_Delta_{measure.name}"] = old and Decimal("12.5000000")
            audit_row[f"Audit_Flag_{measure.name}"] = 2 if old is not None else None
        audit_rows.append(audit_row)
    return _table("AuditData", tuple(columns), audit_rows)


def _leaves(members: Iterable[_Member]) -> list[_Member]:
    """Pick the members that facts can be booked on."""
    members = list(members)
    inner = {parent for member in members for parent in member.parents.values()}
    return [member for member in members if member.id not in inner]


def _number(*parts: str) -> int:
    """Make a number between 0 and 2**32 from names."""
    return zlib.crc32("|".join(parts).encode())


def _amount(*parts: str) -> Decimal:
    """Make an amount of money; one in a hundred is nothing, one in seven is negative."""
    number = _number(*parts)
    if number % 100 == 0:
        return Decimal("0.0000000")
    sign = -1 if number % 7 == 0 else 1
    return sign * Decimal(number % 10**9) / 1000 + Decimal(_number(*parts, "tail") % 10**7).scaleb(
        -7
    )


def _huge(*parts: str) -> Decimal:
    """Make a number of 24 digits before the point and 7 behind it."""
    digits = "".join(f"{_number(*parts, str(index)):010}" for index in range(4))
    return Decimal(f"{1 + int(digits[0]) % 9}{digits[1:24]}.{digits[24:31]}")
