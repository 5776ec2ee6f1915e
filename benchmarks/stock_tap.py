"""The same facts on the SDK's stock path: RESTStream, its paginator and its record loop."""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Any

import singer_sdk.typing as th
from singer_sdk import RESTStream, Tap
from singer_sdk.helpers.jsonpath import extract_jsonpath
from singer_sdk.pagination import BaseHATEOASPaginator
from typing_extensions import override

from benchmarks.tenant import DIMENSIONS, MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterable

    import requests


class NextLink(BaseHATEOASPaginator):
    """Follows ``@odata.nextLink``."""

    @override
    def get_next_url(self, response: requests.Response) -> str | None:
        link: str | None = response.json().get("@odata.nextLink")
        return link


class FactData(RESTStream[Any]):
    """The facts of a model."""

    name = "fact_data"
    path = "/FactData"
    primary_keys = DIMENSIONS
    records_jsonpath = "$.value[*]"
    schema = th.PropertiesList(
        *(th.Property(name, th.StringType, required=True) for name in DIMENSIONS),
        *(th.Property(name, th.NumberType) for name in MEASURES),
    ).to_dict()

    @property
    @override
    def url_base(self) -> str:
        return str(self.config["url"])

    @override
    def get_new_paginator(self) -> NextLink:
        return NextLink()

    @override
    def get_url_params(self, context: Any, next_page_token: Any) -> str:
        return next_page_token.query if next_page_token else ""

    @override
    def parse_response(self, response: requests.Response) -> Iterable[dict[str, Any]]:
        yield from extract_jsonpath(
            self.records_jsonpath, input=response.json(parse_float=decimal.Decimal)
        )


class StockTap(Tap):
    """A tap as the SDK's template makes it."""

    name = "tap-stock"
    config_jsonschema = th.PropertiesList(th.Property("url", th.StringType)).to_dict()

    @override
    def discover_streams(self) -> list[FactData]:
        return [FactData(self)]


if __name__ == "__main__":
    StockTap.cli()
