"""A pipeline of the tap and a target table, run against the sample tenant made small."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tap_sac.demo.service import (
    SALES_MODEL,
    SampleService,
)
from tap_sac.demo.tables import AGGREGATION, FACTS
from tests.conftest import sync

if TYPE_CHECKING:
    from tap_sac.demo.company import Row
    from tap_sac.demo.tracking import TrackedRows
    from tests.conftest import Messages


STREAM = "sales_planning_fact_data"


KEY = ("Version", "Date", "Product", "XX_REGION", "Currency")


MEASURES = ("QUANTITY", "REVENUE", "LOYALTY_POINTS")


ALL_PRODUCTS = {STREAM: "startswith(Product,'P')"}


TableKey = tuple[str, ...]


@dataclass
class Table:
    """What a target makes of messages: upserts by key, versions, marks of deletion."""

    rows: dict[TableKey, dict[str, Any]] = field(default_factory=dict)
    versions: dict[TableKey, int | None] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)

    def load(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            if message["type"] == "STATE":
                self.state = message["value"]
            elif message.get("stream") != STREAM:
                continue
            elif message["type"] == "RECORD":
                record = message["record"]
                key = tuple(record[name] for name in KEY)
                self.rows[key] = record
                self.versions[key] = message.get("version")
            elif message["type"] == "ACTIVATE_VERSION":
                for key, version in self.versions.items():
                    if version is None or version < message["version"]:
                        self.rows[key] = {**self.rows[key], "_sdc_deleted_at": "by version"}

    @property
    def living(self) -> dict[TableKey, tuple[Decimal, ...]]:
        return {
            key: tuple(Decimal(row[name]) for name in MEASURES)
            for key, row in self.rows.items()
            if row.get("_sdc_deleted_at") is None
        }


def model_rows(facts: TrackedRows) -> dict[TableKey, tuple[Any, ...]]:
    return {
        tuple(str(row[name]) for name in KEY): tuple(row[name] for name in MEASURES)
        for row in facts.rows
        if row is not None
    }


@dataclass
class Pipeline:
    """The sample tenant, made small, and a table that the tap is piped into."""

    service: SampleService
    config: dict[str, Any]
    table: Table = field(default_factory=Table)

    @property
    def facts(self) -> TrackedRows:
        return self.service.facts(SALES_MODEL)

    def run(self, *, catalog: dict[str, Any] | None = None, **changes: Any) -> Messages:
        messages = sync({**self.config, **changes}, catalog, self.table.state)
        self.table.load(messages)
        return messages

    def check(self) -> None:
        assert self.table.living == model_rows(self.facts)

    def row(self, number: int, **measures: str) -> Row:
        changed = {name: Decimal(value) for name, value in measures.items()}
        row = self.facts.rows[number]
        assert row is not None
        return {**row, **changed}

    def bookmark(self) -> dict[str, Any]:
        bookmark: dict[str, Any] = self.table.state["bookmarks"][STREAM]
        return bookmark


def small(service: SampleService) -> SampleService:
    service.limit(SALES_MODEL, 12)
    return leave(service, SALES_MODEL, FACTS, AGGREGATION)


def leave(service: SampleService, model: tuple[str, str], *sets: str) -> SampleService:
    """Leave one model with some of its sets, so that runs are short."""
    tables = tuple(table for table in service.models[model].tables if table.name in sets)
    service.models = {model: replace(service.models[model], tables=tables)}
    return service
