"""The data that the models of Alpenglow Outdoor share: public dimensions, exchange rates, units.

SAP Help ("SAP Analytics Cloud REST API", "Data Export Service") shows the columns of public
accounts and units, and rate, fromCurr and toCurr of currency tables. The types, the keys and the
other columns of currency tables are guesses.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING

from tap_sac.demo.figures import SCALE
from tap_sac.demo.members import ACCOUNTS, PRODUCTS, REGIONS
from tap_sac.demo.sets import masters
from tap_sac.demo.tables import Column, Model, Row, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_sac.demo.members import Member

_RATES_OF_2026 = {"CHF": "1.0634000", "GBP": "1.1518000", "IDR": "0.0000538", "USD": "0.8607000"}
# Group, unit, name, and factor to the base unit of the group.
_UNITS = [
    ("MASS", "KG", "Kilogram", 1, 1),
    ("MASS", "G", "Gram", 1, 1000),
    ("MASS", "LB", "Pound", 45359237, 100000000),
    ("LENGTH", "M", "Metre", 1, 1),
    ("LENGTH", "CM", "Centimetre", 1, 100),
    ("LENGTH", "IN", "Inch", 254, 10000),
]


def shared_data() -> list[Model]:
    """Make the providers of all namespaces except that of the models."""
    return [
        # The IDs are like those of old sample models, and must be encoded in URLs.
        _public_dimension("Product", PRODUCTS, ("Brand",)),
        _public_dimension("Account", *_accounts()),
        _public_dimension("Region", REGIONS),
        Model(
            "ALPENGLOW_RATES",
            "Exchange Rates",
            "Currency table",
            namespace="sac_currency_tables",
            tables=(_currency_table(),),
        ),
        Model(
            "ALPENGLOW_UNITS",
            "Units of Measure",
            "Unit conversion",
            namespace="sac_unit_conversion",
            tables=(_units(),),
        ),
    ]


def _public_dimension(
    name: str, members: Sequence[Member], attributes: Sequence[str] = ()
) -> Model:
    """Make a public dimension; it has a second set only with a hierarchy."""
    return Model(
        f"sap.epm.Alpenglow_{name}:{name}",
        name,
        "Public dimension",
        namespace="sac_public_dimensions",
        tables=tuple(
            replace(table, name=table.name.replace(f"{name}Master", "PublicDimensionData"))
            for table in masters(name, members, attributes)
        ),
    )


def _accounts() -> tuple[list[Member], tuple[str, ...]]:
    """Add the attributes of public accounts to the accounts."""
    common = {
        "rateType": "AVG",
        "Language": "EN",
        "scale": "0",
        "numericShift": "0",
        "unitType": "CUR",
        "unitOfMeasure": "",
        "formula": "",
        "aggregationType": "SUM",
        "exceptionAggregationType": "",
    }
    accounts = [replace(item, attributes=item.attributes | common) for item in ACCOUNTS]
    return accounts, ("accType", *common)


def _currency_table() -> Table:
    columns = (
        *(
            Column(name, is_key=True)
            for name in ("rate", "fromCurr", "toCurr", "category", "validFrom")
        ),
        Column("exchangeRate", "Edm.Decimal"),
    )
    rows: list[Row] = [
        {
            "rate": "ALPENGLOW_RATES_Exchange_Rates",
            "fromCurr": currency,
            "toCurr": "EUR",
            "category": category,
            "validFrom": f"{year}-01-01",
            "exchangeRate": (Decimal(rate) * (100 + 2026 - year) / 100).quantize(SCALE),
        }
        for (currency, rate), category, year in product(
            _RATES_OF_2026.items(), ("Actual", "Planning"), (2024, 2025, 2026)
        )
    ]
    return Table("CurrencyTable", columns, rows)


def _units() -> Table:
    columns = (
        *(Column(name, is_key=True) for name in ("Language", "GroupID", "UnitOfMeasurement")),
        Column("GroupIDText"),
        Column("IsoCode"),
        Column("UnitOfMeasurementCommercialFormat"),
        Column("UnitOfMeasurementTechnicalFormat"),
        Column("UnitOfMeasurementShortText"),
        Column("UnitOfMeasurementLongText"),
        Column("IsBaseUnitInGroup", "Edm.Boolean"),
        Column("Numerator", "Edm.Int32"),
        Column("Denominator", "Edm.Int32"),
        Column("BaseTenExponent", "Edm.Int32"),
        Column("AdditiveConstant", "Edm.Decimal"),
        Column("BaseTenExponentFloatingPoint", "Edm.Int32"),
        Column("NumberDecimalPlacesForDisplay", "Edm.Int32"),
    )
    rows: list[Row] = [
        {
            "Language": "EN",
            "GroupID": group,
            "UnitOfMeasurement": unit,
            "GroupIDText": group.capitalize(),
            "IsoCode": unit,
            "UnitOfMeasurementCommercialFormat": unit,
            "UnitOfMeasurementTechnicalFormat": unit.lower(),
            "UnitOfMeasurementShortText": name,
            "UnitOfMeasurementLongText": name,
            "IsBaseUnitInGroup": numerator == denominator,
            "Numerator": numerator,
            "Denominator": denominator,
            "BaseTenExponent": 0,
            "AdditiveConstant": Decimal(0).quantize(SCALE),
            "BaseTenExponentFloatingPoint": 0,
            "NumberDecimalPlacesForDisplay": 2,
        }
        for group, unit, name, numerator, denominator in _UNITS
    ]
    return Table("ConversionRates", columns, rows)
