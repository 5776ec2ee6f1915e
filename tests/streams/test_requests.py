"""How many requests a run needs of a tenant that counts and has nothing to hide."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.service import SALES_MODEL, SampleService
from tests.conftest import discover, select
from tests.helpers.runs import run

if TYPE_CHECKING:
    from tap_sac.demo.behaviour import Behaviour
    from tap_sac.demo.service import Request, Response
    from tests.conftest import Serve

# The list of providers is read as a stream, too, if it is selected.
DISCOVERY = {"token": 1, "Namespaces": 1, "Providers": 4, "$metadata": 1}
FACTS, SUMS = "sales_planning_fact_data", "sales_planning_fact_data_aggregation"


class CountingTenant:
    """The sample tenant with few facts, and what is asked of it, by entity set."""

    def __init__(self, serve: Serve, picture: Behaviour, **settings: Any) -> None:
        self.service = SampleService(picture)
        self.service.limit(SALES_MODEL, 400)
        self.asked: Counter[str] = Counter()
        models = {"models": ["Sales Planning"], "page_size": 100, "max_parallel_requests": 1}
        self.config = {**serve(self._answer), **models, **settings}

    def _answer(self, request: Request) -> Response:
        self.asked[request.path.rpartition("/")[2]] += 1
        return self.service(request)

    def run(self, stream: str, state: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read a stream; returns the state after it."""
        catalog = select(discover(self.config), stream)
        self.asked.clear()
        messages, failure = run(self.config, catalog=catalog, state=state)
        assert not failure
        return messages.state


@pytest.mark.parametrize(
    ("settings", "stream", "asked"),
    [
        ({}, FACTS, {"FactData": 4}),
        ({}, SUMS, {"FactDataAggregation": 4}),
        (
            {"partition_by": {FACTS: "Date"}},
            FACTS,
            {"FactData": 7, "FactDataAggregation": 2},
        ),
        ({"partition_by": {SUMS: "Version"}}, SUMS, {"FactDataAggregation": 8}),
        ({"verify_totals": True}, FACTS, {"FactData": 4, "FactDataAggregation": 6}),
        (
            {"default_replication_method": "LOG_BASED"},
            FACTS,
            {"FactData": 5, "FactDataAggregation": 1},
        ),
    ],
    ids=["facts", "sums", "slices", "slices of sums", "totals", "opening"],
)
def test_read_sends_no_unneeded_requests(
    serve: Serve,
    picture: Behaviour,
    settings: dict[str, Any],
    stream: str,
    asked: dict[str, int],
) -> None:
    tenant = CountingTenant(serve, picture, **settings)
    tenant.run(stream)
    assert tenant.asked == {**DISCOVERY, **asked}


def test_changes_send_no_unneeded_requests(serve: Serve, picture: Behaviour) -> None:
    tenant = CountingTenant(serve, picture, default_replication_method="LOG_BASED")
    state = tenant.run(FACTS)
    tenant.service.change()
    tenant.run(FACTS, state)
    counts = {"FactData": 1 + 1, "FactDataAggregation": 1}
    assert tenant.asked == {**DISCOVERY, "Subscriptions": 1, **counts}


def test_no_changes_ask_for_nothing_more(serve: Serve, picture: Behaviour) -> None:
    tenant = CountingTenant(serve, picture, default_replication_method="LOG_BASED")
    tenant.run(FACTS, tenant.run(FACTS))
    assert tenant.asked == {**DISCOVERY, "Subscriptions": 1, "FactData": 1}
