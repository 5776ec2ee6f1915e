"""Pages by number (``$skip``), for which a server should have an order, and rows stay in place."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.disorder import DisorderlyStandIn, ids, load, member
from tests.helpers.target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_sac.demo.service import Request, Response
    from tests.conftest import Serve


def by_number(serve: Serve, rows: int = 9) -> tuple[DisorderlyStandIn, dict[str, Any], Target]:
    """Load a table without links, with a row that is gone from SAC afterwards."""
    tenant = DisorderlyStandIn(rows=rows)
    tenant.has_links = False
    tenant.arrange = sorted
    tenant.rows.append(member("facts", 99))
    config, target = serve(tenant), Target()
    assert not load(config, target)
    assert len(ids(target, tenant.stream)) == rows + 1
    tenant.rows.pop()
    tenant.requests.clear()
    return tenant, config, target


@pytest.mark.parametrize("seed", range(5))
def test_server_without_a_fixed_order_is_never_believed(serve: Serve, seed: int) -> None:
    tenant, config, target = by_number(serve, 40)
    generator = random.Random(seed)  # noqa: S311
    tenant.arrange_ordered = lambda rows: generator.sample(rows, len(rows))
    failure = load(config, target)
    assert "t_fact_data" in failure
    assert "M099" in ids(target, tenant.stream)


def test_each_page_begins_with_the_last_row_of_the_one_before(serve: Serve) -> None:
    tenant, config, target = by_number(serve)
    assert not load(config, target)
    assert len(ids(target, tenant.stream)) == 9
    pages = [item.options["$skip"] for item in tenant.requests if "$skip" in item.options]
    assert pages == ["0", "1", "3", "5", "7"]


@pytest.mark.parametrize("write", ["insert before", "delete before", "change the last row"])
@pytest.mark.parametrize("at", ["1", "3", "5"])
def test_rows_written_between_pages(serve: Serve, write: str, at: str) -> None:
    tenant, config, target = by_number(serve)

    def fault(request: Request) -> None:
        if request.options.get("$skip") != at:
            return
        if write == "insert before":
            tenant.rows.insert(0, member("facts", 0).replace("M000", "A000"))
        elif write == "delete before":
            tenant.rows.pop(0)
        else:
            tenant.rows = [row.replace('"X": ', '"X": 7') for row in tenant.rows]
        tenant.fault = lambda _: None

    tenant.fault = fault
    there_all_the_time = {f"M{number:03}" for number in range(1, 9)}
    assert not load(config, target)
    loaded = {*ids(target, tenant.stream)}
    assert there_all_the_time <= loaded
    assert ("M099" in loaded) is (write != "change the last row")
    assert not load(config, target)
    wanted = sorted(json.loads(row)["ID"] for row in tenant.rows)
    assert ids(target, tenant.stream) == wanted


@pytest.mark.parametrize("limit", [1, 2])
def test_row_that_is_deleted_between_pages_of_one_row(serve: Serve, limit: int) -> None:
    """Also where SAC sends one row, however many are asked for."""
    tenant, config, target = by_number(serve)
    page = tenant.page

    def limited(request: Request, rows: Sequence[str]) -> Response:
        if request.options.get("$skip") == "3" and len(tenant.rows) == 9:
            tenant.rows.pop(0)
        top = f"$top={min(int(request.options.get('$top', '0')), limit)}"
        target = re.sub(r"\$top=\d+", top, request.target)
        return page(replace(request, target=target), rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tenant, "page", limited)
        assert not load({**config, "page_size": 1}, target)
    assert {f"M{number:03}" for number in range(1, 9)} | {"M099"} <= {*ids(target, tenant.stream)}
    assert not load({**config, "page_size": 1}, target)
    assert ids(target, tenant.stream) == sorted(json.loads(row)["ID"] for row in tenant.rows)


def test_table_without_a_key_may_shift_too(serve: Serve) -> None:
    tenant = DisorderlyStandIn()
    tenant.has_links = False
    tenant.arrange = sorted
    tenant.models[0].edmx = tenant.models[0].edmx.replace('<PropertyRef Name="ID"/>', "")

    def fault(request: Request) -> None:
        if request.options.get("$skip") == "3":
            tenant.rows = ["", *tenant.rows[2:], member("facts", 10)][1:]
            tenant.fault = lambda _: None

    tenant.fault = fault
    target = Target()
    load(serve(tenant), target)
    assert not target.state["bookmarks"].get("t_fact_data")


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_of_any_size_have_each_row_once(serve: Serve, size: int) -> None:
    tenant, config, target = by_number(serve)
    assert not load({**config, "page_size": size}, target)
    assert len(ids(target, tenant.stream)) == 9


def test_row_that_moves_up_between_pages_is_still_read(serve: Serve) -> None:
    tenant, config, _ = by_number(serve)

    def fault(request: Request) -> None:
        if request.options.get("$skip") == "3":
            tenant.rows.pop(0)
            tenant.fault = lambda _: None

    tenant.fault = fault
    target = Target()
    assert not load(config, target)
    assert ids(target, tenant.stream) == [f"M{number:03}" for number in range(9)]
