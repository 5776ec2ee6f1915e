"""A stand-in that counts wrongly, or ends early, and the sample tenant with few facts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tap_sac.demo.service import Request, Response, SampleService
from tests.helpers.stand_in import JSON, StandIn, sales_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Messages, Serve


SALES = "sales_planning_fact_data"


FACTS = "sales_fact_data"


ROWS = [sales_row(number) for number in range(9)]


def dates(messages: Messages) -> list[str]:
    return [record["Date"] for record in messages.records(FACTS)]


def options(request: Request) -> dict[str, str]:
    query = parse_qs(urlsplit(request.target).query, keep_blank_values=True)
    return {name: values[0] for name, values in query.items()}


def sales_config(serve: Serve, service: SampleService, **settings: Any) -> dict[str, Any]:
    return {**serve(service), "models": ["Sales Planning"], **settings}


def without_link(page: int, tenant: StandIn) -> Callable[[Request], Response | None]:
    """Leave out the link to the next page on one page, counted from 1."""

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target or "$top" in request.target:
            return None
        start = int(options(request).get("$skiptoken", "0"))
        if start != 2 * (page - 1):
            return None
        answer = tenant.page(request, tenant.models[0].sets["FactData"])
        members = json.loads(answer.body, parse_float=str)
        members.pop("@odata.nextLink")
        return Response(200, json.dumps(members).encode(), JSON)

    return fault


def counting(tenant: StandIn, *counts: int) -> Callable[[Request], Response | None]:
    """Answer requests for a count with these, one after the other; the last one for ever."""
    left = list(counts)

    def fault(request: Request) -> Response | None:
        if "$count" not in request.target or "/FactData" not in request.target:
            return None
        answer = tenant.page(request, tenant.models[0].sets["FactData"])
        count = left.pop(0) if len(left) > 1 else left[0]
        return replace(
            answer, body=answer.body.replace(b'"@odata.count":9', b'"@odata.count":%d' % count)
        )

    return fault


def empty_page() -> Response:
    return Response(200, b'{"value":[]}', JSON)
