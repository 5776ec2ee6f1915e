"""The planning models of Alpenglow Outdoor, a fictitious company.

All figures are computed from names, so they are the same on every start.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import product

from tap_sac.demo.figures import SCALE, amount, huge, number
from tap_sac.demo.members import (
    ACCOUNTS,
    COST_CENTERS,
    GRADES,
    MONTHS,
    NOT_IN_HIERARCHY,
    PRODUCTS,
    REGIONS,
    UNASSIGNED,
    VERSIONS,
    leaves,
)
from tap_sac.demo.sets import (
    audit_table,
    date_master,
    dimensions,
    masters,
    model_tables,
    short_date_master,
    version_master,
)
from tap_sac.demo.shared import shared_data
from tap_sac.demo.tables import Column, Model, Row, Table

__all__ = ["Column", "Model", "Row", "Table", "models"]


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
        *shared_data(),
    ]


def _financial_planning() -> Model:
    """A classic account model: one measure, whose meaning depends on the account."""
    keys = dimensions("Version", "Date", "Account", "CostCenter", "Currency")
    accounts, cost_centers = leaves(ACCOUNTS), leaves(COST_CENTERS)
    rows: list[Row] = [
        {
            "Version": f"public.{version}",
            "Date": month,
            "Account": account.id,
            "CostCenter": cost_center.id,
            "Currency": "CHF" if cost_center.id == "1700" else "EUR",
            "SignedData": amount(version, month, account.id, cost_center.id),
        }
        for version, month, account, cost_center in product(
            VERSIONS, MONTHS, accounts, cost_centers
        )
        if number("used", account.id, cost_center.id) % 5
    ]
    measures = [Column("SignedData", "Edm.Decimal", "Signed data")]
    dimension_tables = [
        *masters("Account", ACCOUNTS, ("accType",)),
        *masters("CostCenter", COST_CENTERS, ("Status", "City")),
        version_master(),
        date_master(),
    ]
    return Model(
        "C4FINPLANK2M9X7QW1TBV0ZJ8A",
        "Financial Planning",
        "Profit and loss by account and cost center",
        tables=model_tables(keys, measures, rows, dimension_tables),
    )


def _workforce_planning() -> Model:
    """Several measures and an account: headcount has none, so its account is NOT_IN_HIERARCHY."""
    keys = dimensions("Version", "Date", "Account", "CostCenter", "Grade", "Currency")
    rows: list[Row] = []
    for version, month, cost_center, grade in product(
        ("Actual", "Plan"), MONTHS, leaves(COST_CENTERS), GRADES
    ):
        members: Row = {
            "Version": f"public.{version}",
            "Date": month,
            "CostCenter": cost_center.id,
            "Grade": grade.id,
        }
        heads = number(version, cost_center.id, grade.id) % 90
        if not heads:
            continue
        rows.append(
            members
            | {
                "Account": NOT_IN_HIERARCHY,
                "Currency": UNASSIGNED,
                "AMOUNT": None,
                "FTE": (Decimal(heads) / 4).quantize(SCALE),
            }
        )
        rows += [
            members
            | {
                "Account": account,
                "Currency": "EUR",
                "AMOUNT": amount(version, month, cost_center.id, grade.id, account),
                "FTE": None,
            }
            for account in ("510000", "520000")
        ]
    measures = [
        Column("AMOUNT", "Edm.Decimal", "Amount"),
        Column("FTE", "Edm.Decimal", "Full-time equivalents"),
    ]
    names = [column.name for column in (*keys, *measures)]
    rows = [{name: row[name] for name in names} for row in rows]
    dimension_tables = [
        *masters("Account", ACCOUNTS, ("accType",)),
        *masters("CostCenter", COST_CENTERS, ("Status", "City")),
        *masters("Grade", GRADES),
        version_master(),
        short_date_master(),
    ]
    return Model(
        "C4WORKFRCK5M2X8QW3TBV1ZJ7B",
        "Workforce Planning",
        "Headcount and personnel cost, with Data Audit",
        tables=(
            *model_tables(keys, measures, rows, dimension_tables),
            audit_table(keys, measures, rows[:300]),
        ),
    )


def _sales_planning() -> Model:
    """Measures without an account; one of them fills all 31 digits."""
    keys = dimensions("Version", "Date", "Product", "XX_REGION", "Currency")
    currencies = {"CH": "CHF", "ID": "IDR", UNASSIGNED: UNASSIGNED}
    rows: list[Row] = [
        {
            "Version": f"public.{version}",
            "Date": month,
            "Product": item.id,
            "XX_REGION": region.id,
            "Currency": currencies.get(region.id, "EUR"),
            "QUANTITY": Decimal(number(version, month, item.id, region.id) % 500).quantize(SCALE),
            "REVENUE": amount(version, month, item.id, region.id)
            * (17_000 if region.id == "ID" else 1),
            "LOYALTY_POINTS": huge(version, month, item.id, region.id),
        }
        for version, month, item, region in product(
            ("Actual", "Plan"), MONTHS, leaves(PRODUCTS), REGIONS
        )
    ]
    measures = [
        Column("QUANTITY", "Edm.Decimal", "Quantity"),
        Column("REVENUE", "Edm.Decimal", "Revenue in local currency"),
        Column("LOYALTY_POINTS", "Edm.Decimal", "Loyalty points, awarded per nanometre"),
    ]
    dimension_tables = [
        *masters("Product", PRODUCTS, ("Brand",)),
        *masters("XX_REGION", REGIONS),
        version_master(),
        date_master(),
    ]
    return Model(
        "C4SALESPLK8M4X1QW6TBV2ZJ5C",
        "Sales Planning",
        "Quantities and revenue by product and region",
        tables=model_tables(keys, measures, rows, dimension_tables),
    )


def _budget(model_id: str, description: str) -> Model:
    """One of two models that share a name."""
    keys = dimensions("Version", "Date", "CostCenter")
    rows: list[Row] = [
        {
            "Version": "public.Plan",
            "Date": month,
            "CostCenter": cost_center.id,
            "BUDGET": amount(model_id, month, cost_center.id),
        }
        for month, cost_center in product(MONTHS, leaves(COST_CENTERS))
    ]
    measures = [Column("BUDGET", "Edm.Decimal", "Budget")]
    tables = model_tables(keys, measures, rows, [version_master()])
    return Model(model_id, "Budget", description, tables=tables)
