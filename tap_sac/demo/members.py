"""The members of the dimensions of Alpenglow Outdoor, a fictitious company."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

UNASSIGNED = "#"
NOT_IN_HIERARCHY = "NOT_IN_HIERARCHY"


@dataclass(frozen=True)
class Member:
    """A member of a dimension, with its attributes and its parents by hierarchy."""

    id: str
    description: str
    attributes: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)


def leaves(members: Iterable[Member]) -> list[Member]:
    """Return the members on which facts can be booked."""
    members = list(members)
    inner = {parent for member in members for parent in member.parents.values()}
    return [member for member in members if member.id not in inner]


MONTHS = [f"{year}{month:02}" for year in (2024, 2025, 2026) for month in range(1, 13)]
MONTH_NAMES = [
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
]
# Versions, with the categories that they would have in SAC.
VERSIONS = {"Actual": "Actual", "Plan": "Planning", "Rolling Forecast": "Rolling Forecast"}

ACCOUNTS = [
    Member("NET_INCOME", "Net income", {"accType": "INC"}),
    Member("REVENUE", "Revenue", {"accType": "INC"}, {"H1": "NET_INCOME"}),
    Member("EXPENSE", "Expense", {"accType": "EXP"}, {"H1": "NET_INCOME"}),
    Member("400000", "Revenue shops", {"accType": "INC"}, {"H1": "REVENUE"}),
    Member("410000", "Revenue online", {"accType": "INC"}, {"H1": "REVENUE"}),
    Member("420000", "Rental & repair", {"accType": "INC"}, {"H1": "REVENUE"}),
    Member("500000", "Cost of goods", {"accType": "EXP"}, {"H1": "EXPENSE"}),
    Member("510000", "Wages", {"accType": "EXP"}, {"H1": "EXPENSE"}),
    Member("520000", "Social security", {"accType": "EXP"}, {"H1": "EXPENSE"}),
    Member("530000", "Travel", {"accType": "EXP"}, {"H1": "EXPENSE"}),
    Member("540000", "Rent", {"accType": "EXP"}, {"H1": "EXPENSE"}),
    Member("550000", "Marketing: Sommer-Räder", {"accType": "EXP"}, {"H1": "EXPENSE"}),
    Member("560000", "IT", {"accType": "EXP"}, {"H1": "EXPENSE"}),
]
COST_CENTERS = [
    Member("ALL", "All cost centers"),
    Member("HQ", "Head office", {}, {"H1": "ALL"}),
    Member("SHOPS", "Shops", {}, {"H1": "ALL"}),
    Member("FIXED", "Fixed costs"),
    Member("VARIABLE", "Variable costs"),
    *(
        Member(
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
PRODUCTS = [
    Member("P-ALL", "All products"),
    Member("P-BIKE", "Bikes", {}, {"H1": "P-ALL"}),
    Member("P-HIKE", "Hiking", {}, {"H1": "P-ALL"}),
    Member("P-HIKE/ALPINE", "Alpine hiking", {}, {"H1": "P-HIKE"}),
    *(
        Member(f"P-{number:03}", name, {"Brand": brand}, {"H1": parent})
        for number, (name, brand, parent) in enumerate(
            [
                ('Gravel bike "Föhn"', "Alpenglow", "P-BIKE"),
                ("Touring bike", "Alpenglow", "P-BIKE"),
                ("Kid's bike 20''", "Edelweiss", "P-BIKE"),
                ("Tent, 2 persons", "Alpenglow", "P-HIKE"),
                ("Tent, 4 persons", "Alpenglow", "P-HIKE"),
                ("Sleeping bag -10 °C", "Nordkette", "P-HIKE"),
                ("Stove", "Nordkette", "P-HIKE"),
                ("Headlamp", "Nordkette", "P-HIKE/ALPINE"),
                ("Rope 60 m", "Edelweiss", "P-HIKE/ALPINE"),
                ("Ice axe", "Edelweiss", "P-HIKE/ALPINE"),
            ],
            start=1,
        )
    ),
]
REGIONS = [
    Member(code, name)
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
GRADES = [Member(f"G{number}", f"Grade {number}") for number in range(1, 7)]
