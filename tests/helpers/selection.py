"""Catalogs that leave columns out."""

from __future__ import annotations

from typing import Any

from tests.conftest import discover, select

SUMS = "sales_planning_fact_data_aggregation"


def metadata_of(entry: dict[str, Any], column: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        item["metadata"]
        for item in entry["metadata"]
        if item["breadcrumb"] == ["properties", column]
    )
    return found


def without(
    config: dict[str, Any], *columns: str, stream: str = SUMS, **metadata: Any
) -> dict[str, Any]:
    """Make the catalog that selects one stream alone, without some columns."""
    found = discover(config)
    for column in columns:
        metadata_of(found[stream], column).update(selected=False, **metadata)
    return select(found, stream)
