"""A stand-in that tracks the changes of its facts, in the variants that a test chooses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from tap_sac.demo import Behaviour
from tap_sac.demo.service import (
    Request,
    Response,
    SampleService,
)
from tests.helpers.stand_in import JSON, StandIn, error_response, sales, sales_row

if TYPE_CHECKING:
    from tests.conftest import Serve

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tap_sac.demo.service import Request
    from tests.conftest import Serve

ROWS = [sales_row(number, f"{number}.0000000") for number in range(3)]
LINK = "/api/v1/dataexport/providers/sac/C4SALES/FactData?deltaid="


class TrackingStandIn(StandIn):
    """Answers delta links as a test tells it to, in the forms that the sources list."""

    def __init__(
        self, *rows: str, first_link: str = "A", spelling: str = "@odata.deltaLink"
    ) -> None:
        super().__init__(sales(*rows))
        self.first_link: str | None = first_link
        self.spelling = spelling
        self.deltas: dict[str, Response] = {}
        self.prefer: list[str | None] = []

    @override
    def _answer(self, request: Request) -> Response:
        options = parse_qs(urlsplit(request.target).query)
        if "deltaid" in options:
            return self.deltas[options["deltaid"][0]]
        response = super()._answer(request)
        if "/FactData" in request.target and "$count" not in request.target:
            self.prefer.append(request.headers.get("prefer"))
            if self.first_link and b"nextLink" not in response.body:
                return with_link(response.body, self.spelling, self.first_link)
        return response


def with_link(body: bytes, spelling: str, delta_id: str) -> Response:
    link = f'"{spelling}":"{LINK}{delta_id}"'
    return Response(200, body[:-1] + f",{link}}}".encode(), JSON)


def delta(
    *rows: str,
    link: str | None = "B",
    spelling: str = "@odata.deltalink",
    context: str = "$metadata#FactData/$delta",
) -> Response:
    body = f'{{"@odata.context":"{context}","value":[{",".join(rows)}]}}'.encode()
    return with_link(body, spelling, link) if link else Response(200, body, JSON)


def changed(row: str) -> str:
    return row.replace("{", '{"@odata.context":"#FactData/$entity","@odata.id":"FactData(x)",', 1)


def deleted(entity_id: str) -> str:
    return json.dumps({"@odata.context": "#FactData/$deletedEntity", "id": entity_id})


def log_based(serve: Serve, tenant: StandIn) -> dict[str, Any]:
    return {**serve(tenant), "default_replication_method": "LOG_BASED"}


class VagueService(SampleService):
    """The sample tenant, in the variants of what SAC does not document."""

    def __init__(
        self, answer_again: str, *, lists_subscriptions: bool, older_subscriptions: bool = False
    ) -> None:
        super().__init__(Behaviour(older_subscriptions=older_subscriptions))
        self.answer_again = answer_again
        self.lists_subscriptions = lists_subscriptions

    @override
    def _list_subscriptions(self, request: Request, *model: str) -> Response:
        if self.lists_subscriptions:
            return super()._list_subscriptions(request, *model)
        return error_response(404, "not offered")

    @override
    def _changes_since(self, request: Request, table: Any, options: dict[str, str]) -> Response:
        subscription = self.subscriptions.get(options["deltaid"])
        following = subscription.next if subscription else None
        if following and self.answer_again != "same" and "$skiptoken" not in options:
            if self.answer_again == "error":
                return error_response(400, "read before")
            if self.answer_again == "newer":
                options = {**options, "deltaid": following.id}
                return super()._changes_since(request, table, options)
            return delta(link="none")
        return super()._changes_since(request, table, options)
