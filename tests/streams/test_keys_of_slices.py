"""Keys in slices: by a key column each slice is proven, by another one rows may move."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from tests.helpers.disorder import load
from tests.helpers.runs import is_activated, run
from tests.helpers.slicing import (
    COLOURED,
    FACTS,
    SLICED,
    SlicingStandIn,
    fact,
    is_of_facts,
    members,
    warnings,
)
from tests.helpers.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tap_sac.demo.service import Request, Response
    from tests.conftest import Serve


class OverlappingStandIn(SlicingStandIn):
    """Sends the first row of a slice in place of its third one, unless it is asked for an order."""

    def __init__(self, sizes: dict[str, int]) -> None:
        super().__init__(sizes)
        self.overlaps: Callable[[Request], bool] = lambda request: (
            "$orderby" not in request.options
            and "Version eq 'B'" in request.options.get("$filter", "")
        )

    @override
    def page(self, request: Request, rows: Sequence[str]) -> Response:
        if is_of_facts(request) and "$top" not in request.options and self.overlaps(request):
            rows = [row for row in self.rows if row != fact("B", 2)]
            rows.insert(rows.index(fact("B", 1)) + 1, fact("B", 0))
        return super().page(request, rows)


def keys(target: Target) -> list[tuple[Any, ...]]:
    return sorted((row["Version"], row["Date"]) for row in target.rows(FACTS))


def wanted(tenant: SlicingStandIn) -> list[tuple[Any, ...]]:
    made = map(json.loads, tenant.rows)
    return sorted((row["Version"], row["Date"]) for row in made)


def test_slice_by_a_key_column_is_read_once_more_in_order(serve: Serve) -> None:
    tenant = OverlappingStandIn({"A": 3, "B": 5, "C": 2})
    config, target = {**serve(tenant), **SLICED}, Target()
    target_rows = tenant.rows
    tenant.rows = [*target_rows, fact("A", 99)]
    tenant.overlaps = lambda _: False
    assert not load(config, target)
    tenant.rows = target_rows
    tenant.overlaps = OverlappingStandIn({}).overlaps
    tenant.requests.clear()
    assert not load(config, target)
    assert keys(target) == wanted(tenant)
    ordered = [
        item.options["$filter"]
        for item in tenant.requests
        if "$orderby" in item.options and "$skiptoken" not in item.options
    ]
    assert ordered == ["Version eq 'B'"]
    tenant.requests.clear()
    assert not load(config, target)
    pages = [item for item in tenant.requests if item.path.endswith("FactData")]
    assert all("$orderby" in item.options for item in pages if "$top" not in item.options)


def test_slice_that_an_order_does_not_help_fails_the_stream(serve: Serve) -> None:
    tenant = OverlappingStandIn({"A": 3, "B": 5})
    tenant.overlaps = lambda request: "Version eq 'B'" in request.options.get("$filter", "")
    failure = load({**serve(tenant), **SLICED}, Target())
    assert "sales_fact_data (Version eq 'B')" in failure
    assert "in key order" in failure


@pytest.mark.parametrize("swap", [True, False])
def test_row_in_two_slices_deletes_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture, *, swap: bool
) -> None:
    """Two rows change places while the slices are read: all counts agree, and one never came."""
    tenant = members("Edm.String", ["blue", "red"])
    rows = tenant.models[0].sets["ProductMaster"]
    assert isinstance(rows, list)

    def repaint(request: Request) -> None:
        if "Colour eq 'red'" in request.options.get("$filter", "") and swap:
            rows[1] = rows[1].replace("blue", "red")
            rows[2] = rows[2].replace("red", "blue")
            tenant.fault = lambda _: None

    tenant.fault = repaint
    config = {**serve(tenant), **COLOURED, "max_parallel_requests": 1}
    messages, failure = run(config)
    assert not failure
    assert is_activated(messages, "a_product_master") is not swap
    assert bool(warnings(caplog, "are not proven to be the whole table")) is swap
    assert not [item for item in tenant.requests if "$orderby" in item.options]
