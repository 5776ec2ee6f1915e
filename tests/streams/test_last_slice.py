"""The last slice: what the list of values lacks, or null."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tap_sac.demo.service import Response
from tests.conftest import discover, select
from tests.helpers.runs import is_activated, run
from tests.helpers.slicing import (
    COLOURED,
    FACTS,
    SIZES,
    SLICED,
    SlicingStandIn,
    fact,
    members,
    versions,
    warnings,
    without_key,
)
from tests.helpers.stand_in import JSON, error_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_sac.demo.service import Request
    from tests.conftest import Serve


REST = "(Version eq null or Version ne 'public.Actual' and Version ne 'public.Budget' and "


REST += "Version ne 'public.Plan')"


def lacking_a_value(sizes: dict[str, int] | None = None) -> SlicingStandIn:
    """Serve facts of which the list of values lacks the last one."""
    tenant = SlicingStandIn(sizes or SIZES)
    tenant.values = [*(sizes or SIZES)][:-1]
    return tenant


def rows(*texts: str) -> Response:
    return Response(200, f'{{"value":[{",".join(texts)}]}}'.encode(), JSON)


def at_rest(answer: Callable[[], Response]) -> Callable[[Request], Response | None]:
    """Answer in another way to what no slice has."""
    return lambda request: answer() if " ne " in request.options.get("$filter", "") else None


def test_last_slice_has_what_the_list_of_values_lacks(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = lacking_a_value()
    messages, failure = run({**serve(tenant), **SLICED})
    assert not failure
    assert is_activated(messages, FACTS)
    assert len({(row["Version"], row["Date"]) for row in messages.records(FACTS)}) == 13
    assert len(messages.records(FACTS)) == 13
    assert tenant.asked()[-1] == REST
    assert not warnings(caplog, "")


@pytest.mark.parametrize("listed", [["blue"], [None, "blue"]])
def test_last_slice_has_null_unless_another_one_has(serve: Serve, listed: list[str | None]) -> None:
    tenant = members("Edm.String", [None, "blue", "red"])
    lines = [json.dumps({} if colour is None else {"Colour": colour}) for colour in listed]
    tenant.models[0].sets["Colour___Distinct"] = lines
    messages, failure = run({**serve(tenant), **COLOURED})
    assert not failure
    assert is_activated(messages, "a_product_master")
    assert len(messages.records("a_product_master")) == 6


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            lambda: error_response(400, "no"),
            "to the slice (Version eq null or Version ne 'public.Actual'",
        ),
        # As in SQL, where a condition on null keeps nothing.
        (rows, "SAC counts 13 rows of sales_fact_data"),
        (lambda: rows(fact("public.Plan", 1)), "with rows of 'public.Plan'"),
    ],
    ids=["refused", "empty", "ignored"],
)
@pytest.mark.parametrize("has_key", [True, False])
def test_rows_in_no_slice_are_read_in_one_go_or_fail_by_name(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    answer: Callable[[], Response],
    why: str,
    *,
    has_key: bool,
) -> None:
    tenant = lacking_a_value()
    config = {**serve(tenant), **SLICED}
    catalog = select(discover(config), FACTS) if has_key else without_key(config)
    tenant.fault = at_rest(answer)
    messages, failure = run(config, catalog=catalog)
    assert is_activated(messages, FACTS) is has_key
    if has_key:
        assert not failure
        assert len({(row["Version"], row["Date"]) for row in messages.records(FACTS)}) == 13
        assert why in warnings(caplog, "in one go")[0]
    else:
        assert f"{FACTS}: " in failure
        assert "and without a key, a read in one go would duplicate rows" in failure
        assert len(messages.records(FACTS)) == 9


@pytest.mark.parametrize("has_key", [True, False])
def test_condition_of_the_last_slice_is_short_enough_for_gateways(
    serve: Serve, caplog: pytest.LogCaptureFixture, *, has_key: bool
) -> None:
    tenant = lacking_a_value({f"public.{number:03}{200 * 'x'}": 1 for number in range(40)})
    config = {**serve(tenant), **SLICED}
    catalog = select(discover(config), FACTS) if has_key else without_key(config)
    messages, failure = run(config, catalog=catalog)
    assert is_activated(messages, FACTS) is has_key
    assert ("without a key, a read in one go would duplicate rows" in failure) is not has_key
    assert bool(warnings(caplog, "in one go: SAC does not list all values of Version")) is has_key
    assert len(set(versions(messages))) == 40 - (not has_key)
    assert max(len(target) for target in tenant.targets) < 6_000


def test_slices_that_lack_rows_which_sac_does_not_show_activate_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = lacking_a_value()
    tenant.skips = False
    tenant.fault = at_rest(rows)
    messages, failure = run({**serve(tenant), **SLICED})
    assert not failure
    assert not is_activated(messages, FACTS)
    (line,) = warnings(caplog, "not proven to be the whole")
    assert line == (
        "The slices of sales_fact_data by Version are not proven to be the whole table, so rows "
        "that are no longer in SAC stay in the target: SAC counts 13 rows of sales_fact_data, but "
        "its slices have 9."
    )
