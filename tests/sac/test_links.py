"""Links stay in their table: another entity set has other rows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tap_sac.demo.service import Response
from tap_sac.sac.errors import SACError
from tests.conftest import discover
from tests.helpers.counts import FACTS, ROWS
from tests.helpers.runs import run
from tests.helpers.stand_in import JSON, StandIn, sales

if TYPE_CHECKING:
    from tap_sac.demo.service import Request
    from tests.conftest import Serve

BASE = "/api/v1/dataexport/providers/sac/C4SALES/FactData"


def linking_to(serve: Serve, path: str) -> tuple[StandIn, str, int]:
    """Let the first page link to a path; returns why a run failed, and how many records came."""
    tenant = StandIn(sales(*ROWS))

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target:
            return None
        answer = tenant.page(request, ROWS)
        members = json.loads(answer.body, parse_float=str)
        if "@odata.nextLink" in members and "$skiptoken" not in request.options:
            members["@odata.nextLink"] = f"{path}?$skiptoken=2"
        return replace(answer, body=json.dumps(members).encode())

    tenant.fault = fault
    messages, failure = run(serve(tenant))
    return tenant, failure, len(messages.records(FACTS))


@pytest.mark.parametrize(
    "path",
    [
        BASE.replace("/sac/", "/other/"),
        BASE.replace("C4SALES", "C4PLAN"),
        BASE.replace("C4SALES", "c4sales"),
        BASE + "Aggregation",
        "AccountMaster",
        "../C4PLAN/FactData",
        "/api/v1/dataexport/administration/Namespaces",
    ],
)
def test_link_to_another_table_fails(serve: Serve, path: str) -> None:
    tenant, failure, _ = linking_to(serve, path)
    assert f"The next link of {BASE} leads to another table" in failure
    assert len(tenant.reads("skiptoken")) == 0


@pytest.mark.parametrize(
    "path", [BASE, BASE + "()", "FactData", "./FactData", BASE.replace("S", "%53"), f"{BASE}/"]
)
def test_equivalent_link_to_the_same_table_is_followed(serve: Serve, path: str) -> None:
    tenant, failure, _ = linking_to(serve, path)
    assert "another table" not in failure
    assert len(tenant.reads("skiptoken")) > 0


@pytest.mark.parametrize("part", ["/administration/Namespaces", "/Providers"])
def test_lists_without_an_end_are_stopped(serve: Serve, part: str) -> None:
    """Two pages take turns, with ever new links."""
    tenant = StandIn(sales(*ROWS))
    asked: list[str] = []

    def fault(request: Request) -> Response | None:
        if not request.path.endswith(part):
            return None
        asked.append(request.target)
        row = {"NamespaceID": "sac", "ProviderID": f"C4{len(asked) % 2}", "ProviderName": "A"}
        members = {"value": [row], "@odata.nextLink": f"{request.path}?$skiptoken={len(asked)}"}
        return Response(200 if len(asked) < 50 else 404, json.dumps(members).encode(), JSON)

    tenant.fault = fault
    with pytest.raises(SACError, match="keeps sending the same rows"):
        discover(serve(tenant))
    assert len(asked) < 5
