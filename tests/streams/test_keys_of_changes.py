"""Several changes of a key, or several facts: which of them SAC's answer to a delta link has."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from tests.conftest import discover, select, sync
from tests.helpers.disorder import load
from tests.helpers.runs import is_activated
from tests.helpers.slicing import FACTS, kept, warnings
from tests.helpers.stand_in import Model, edmx, error_response, sales_row
from tests.helpers.target import Target
from tests.helpers.tracking import TrackingStandIn, changed, deleted, delta, log_based

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tap_sac.demo.service import Request, Response
    from tests.conftest import Serve

COLUMNS = {"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"}
SEVERAL = f"SAC stores several facts of {FACTS} under one key"


def gone(number: int) -> str:
    return deleted(f"FactData(Version='public.Actual',Date='{number:06}')")


class FactsStandIn(TrackingStandIn):
    """Serves facts, counts them and their keys, and evaluates filters.

    Attributes:
        rows: The facts.
        uncounted_keys: How many keys are missing from SAC's count of them.
        asked: The numbers of keys that requests for rows of keys had.
        on_count: Is called after each count of keys.
    """

    def __init__(self, rows: int = 4) -> None:
        self.rows = [sales_row(number, f"{number}.5") for number in range(rows)]
        super().__init__()
        model = self.models[0]
        model.edmx = edmx(FactData=COLUMNS, FactDataAggregation=COLUMNS)
        model.sets = {"FactData": (), "FactDataAggregation": ()}
        self.uncounted_keys = 0
        self.asked: list[int] = []
        self.on_count: Callable[[], None] = lambda: None

    @override
    def page(self, request: Request, rows: Sequence[str]) -> Response:
        if "/FactData" not in request.path:
            return super().page(request, rows)
        if not request.path.endswith("/FactDataAggregation"):
            there = kept(request, self.rows)
            if request.options.get("$top", "0") != "0":
                self.asked.append(request.options["$filter"].count("Version eq"))
            return super().page(request, there)
        keys = {json.loads(row)["Date"] for row in self.rows}
        answer = super().page(request, ["{}"] * (len(keys) - self.uncounted_keys))
        self.on_count()
        return answer

    def wanted(self) -> list[tuple[str, str]]:
        return amounts(map(json.loads, self.rows))

    def answer(self, *rows: str, reload: str = "C") -> None:
        """Answer the delta link with rows, one on each page, and a full read with another link."""
        for number, row in enumerate(rows[:-1]):
            link = f"A{number}"
            self.deltas[f"A{number - 1}" if number else "A"] = delta(
                row, link=link, spelling="@odata.nextLink"
            )
        self.deltas[f"A{len(rows) - 2}" if len(rows) > 1 else "A"] = delta(rows[-1], link="A")
        self.first_link = reload


def amounts(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((row["Date"], str(float(row["AMOUNT"]))) for row in rows)


def opened(serve: Serve, tenant: FactsStandIn, **settings: Any) -> tuple[dict[str, Any], Target]:
    """Load the facts, and open a chain of changes."""
    config, target = {**log_based(serve, tenant), **settings}, Target()
    assert not load(config, target)
    tenant.asked.clear()
    return config, target


def is_reloaded(target: Target) -> bool:
    link: str = target.state["bookmarks"][FACTS]["delta_link"]
    return link.endswith("=C")


def check(tenant: FactsStandIn, target: Target) -> None:
    assert amounts(target.rows(FACTS)) == tenant.wanted()


def test_last_change_of_a_key_counts(serve: Serve) -> None:
    tenant = FactsStandIn()
    config, target = opened(serve, tenant)
    tenant.rows[1:3] = [sales_row(1, "9.5"), sales_row(2, "8.5")]
    changes = [sales_row(1, "7.5"), sales_row(2, "6.5"), sales_row(1, "6.5"), *tenant.rows[1:3]]
    tenant.answer(*map(changed, changes))
    assert not load(config, target)
    check(tenant, target)
    assert not is_reloaded(target)
    assert tenant.asked == [2]  # In one request.


@pytest.mark.parametrize("counts_keys", [True, False])
@pytest.mark.parametrize("amount", ["7.5", "1.5"])
def test_several_facts_of_a_key_fail_the_stream(
    serve: Serve, amount: str, *, counts_keys: bool
) -> None:
    tenant = FactsStandIn()
    if not counts_keys:
        tenant.fault = lambda request: (
            error_response(404, "no") if "Aggregation" in request.path else None
        )
    config, target = opened(serve, tenant)
    before = tenant.wanted()
    tenant.rows.append(sales_row(1, amount))
    tenant.answer(changed(tenant.rows[1]), changed(tenant.rows[-1]))
    state = json.loads(json.dumps(target.state))
    failure = load({**config, "on_delta_lost": "fail"}, target)
    assert f"{SEVERAL} (Version='public.Actual', Date='000001')" in failure
    assert "set on_delta_lost to full_refresh" in failure
    assert len(target.rows(FACTS)) == len(before)
    target.state = state
    failure = load(config, target)
    assert SEVERAL in failure
    assert "..._fact_data_aggregation" in failure


@pytest.mark.parametrize("answer", ["refused", "not filtered"])
def test_change_of_an_ambiguous_key_is_lost(serve: Serve, answer: str) -> None:
    tenant = FactsStandIn()
    config, target = opened(serve, tenant)
    tenant.rows[1] = sales_row(1, "9.5")
    tenant.answer(changed(tenant.rows[1]), changed(sales_row(1, "7.5")))
    other = error_response(400, "no") if answer == "refused" else delta(tenant.rows[0])
    tenant.fault = lambda request: other if request.options.get("$top") == "2" else None
    assert not load(config, target)
    check(tenant, target)
    assert is_reloaded(target)


CHANGE, DELETION = changed(sales_row(1, "9.5")), gone(1)


@pytest.mark.parametrize(
    ("changes", "is_there", "reloads"),
    [
        ([CHANGE, DELETION], True, True),
        ([CHANGE, DELETION], False, False),
        ([DELETION, CHANGE], True, False),
        ([DELETION, CHANGE], False, True),
        ([CHANGE, DELETION, CHANGE], True, False),
    ],
)
def test_deletion_beside_a_change_is_compared_with_sac(
    serve: Serve, changes: list[str], *, is_there: bool, reloads: bool
) -> None:
    tenant = FactsStandIn()
    config, target = opened(serve, tenant)
    tenant.rows[1:2] = [sales_row(1, "9.5")] if is_there else []
    tenant.answer(*changes)
    assert not load(config, target)
    check(tenant, target)
    assert is_reloaded(target) is reloads
    assert tenant.asked == [1]


def test_rows_of_keys_are_requested_within_the_filter(serve: Serve) -> None:
    tenant = FactsStandIn()
    config, target = opened(serve, tenant, filters={FACTS: "AMOUNT lt 9"})
    tenant.rows[1] = sales_row(1, "9.5")
    repeated = [changed(sales_row(0, "1.5")), changed(tenant.rows[0])]
    tenant.answer(*repeated, changed(sales_row(1, "8.5")), DELETION)
    assert not load(config, target)
    assert {row["Date"] for row in target.rows(FACTS)} == {"000000", "000002", "000003"}
    assert not is_reloaded(target)


def test_second_fact_of_a_key_is_found_by_the_counts(serve: Serve) -> None:
    tenant = FactsStandIn()
    config, target = opened(serve, tenant)
    tenant.rows.append(sales_row(1, "7.5"))
    tenant.answer(changed(tenant.rows[0]), changed(tenant.rows[-1]), gone(9))
    assert SEVERAL in load(config, target)
    assert tenant.asked[0] == 2


def suspected(serve: Serve) -> tuple[FactsStandIn, dict[str, Any], Target]:
    """Change a fact of a tenant that counts a key less since its first read."""
    tenant = FactsStandIn()
    config, target = opened(serve, tenant)
    tenant.rows[1] = sales_row(1, "9.5")
    tenant.answer(changed(tenant.rows[1]))
    tenant.uncounted_keys = 1
    return tenant, config, target


@pytest.mark.parametrize("answers", [True, False])
def test_counts_that_differ_without_a_second_fact_are_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture, *, answers: bool
) -> None:
    tenant, config, target = suspected(serve)
    if not answers:
        tenant.fault = lambda request: (
            error_response(400, "no") if request.options.get("$top") == "2" else None
        )
    assert not load(config, target)
    check(tenant, target)
    assert not is_reloaded(target)
    told = "none with two facts among 1 changed key" if answers else "no rows of the changed keys"
    (warning,) = warnings(caplog, "4 facts")
    assert f"SAC counts 4 facts of {FACTS} but 3 keys, and shows {told}" in warning


def test_facts_written_between_counts_raise_no_suspicion(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant, config, target = suspected(serve)
    tenant.on_count = lambda: tenant.rows.append(sales_row(9))
    assert not load(config, target)
    assert not tenant.asked
    assert not warnings(caplog, "facts of")


def test_only_a_difference_that_grows_since_the_opening_is_a_suspicion(serve: Serve) -> None:
    tenant = FactsStandIn()
    tenant.uncounted_keys = 2
    config, target = opened(serve, tenant)
    for more in (0, 1):
        tenant.uncounted_keys = 2 + more
        for _ in range(2):
            tenant.asked.clear()
            tenant.answer(changed(tenant.rows[1]))
            assert not load(config, target)
            assert len(tenant.asked) == more
        check(tenant, target)


def test_difference_of_an_opening_while_people_write_is_not_kept(serve: Serve) -> None:
    tenant = FactsStandIn()
    tenant.uncounted_keys = 1
    tenant.on_count = lambda: tenant.rows.append(sales_row(len(tenant.rows)))
    config, target = opened(serve, tenant)
    tenant.on_count = lambda: None
    tenant.answer(changed(tenant.rows[1]))
    assert not load(config, target)
    assert tenant.asked == [1]


def test_changed_row_with_its_key_alone_is_a_lost_change(serve: Serve) -> None:
    tenant = FactsStandIn()
    config, target = opened(serve, tenant)
    tenant.answer(changed('{"Version":"public.Actual","Date":"000001"}'))
    assert not load(config, target)
    check(tenant, target)
    assert is_reloaded(target)


@pytest.mark.parametrize("value", ["7", "null", None])
def test_changed_row_that_lacks_a_column_is_compared_with_sac(
    serve: Serve, value: str | None
) -> None:
    """OData leaves out what has not changed, and other services leave out nulls."""
    tenant = FactsStandIn()
    columns = {**COLUMNS, "COST": "Edm.Decimal"}
    tenant.models[0].edmx = edmx(FactData=columns, FactDataAggregation=columns)
    tenant.rows = [row.replace("}", ',"COST":7}') for row in tenant.rows]
    config, target = opened(serve, tenant)
    change = sales_row(1, "9.5")
    tenant.rows[1] = change if value is None else change.replace("}", f',"COST":{value}}}')
    tenant.answer(changed(change))
    assert not load(config, target)
    check(tenant, target)
    (row,) = (row for row in target.rows(FACTS) if row["Date"] == "000001")
    assert row["COST"] == (7 if value == "7" else None)
    assert is_reloaded(target) is (value == "7")
    assert tenant.asked == [1]


@pytest.mark.parametrize("repeats", [1, 2])
def test_many_keys_are_requested_in_few_requests(serve: Serve, repeats: int) -> None:
    tenant = FactsStandIn(rows=200)
    config, target = opened(serve, tenant, page_size=1000)
    tenant.uncounted_keys = 2 - repeats
    tenant.deltas["A"] = delta(*map(changed, tenant.rows * repeats), link="A")
    assert not load(config, target)
    check(tenant, target)
    if repeats > 1:
        assert tenant.asked == [20]
    else:
        assert sum(tenant.asked) == 200
        assert len(tenant.asked) < 10
        lengths = [len(target) for target in tenant.targets]
        assert max(lengths) < 6_000


def test_keys_of_changes_are_not_requested_if_verify_counts_is_off(serve: Serve) -> None:
    tenant = FactsStandIn()
    config, target = opened(serve, tenant, verify_counts="off")
    tenant.rows.append(sales_row(1, "7.5"))
    tenant.answer(changed(tenant.rows[1]), changed(tenant.rows[-1]))
    requests = len(tenant.requests)
    assert not load(config, target)
    asked = [item.options for item in tenant.requests[requests:] if "/FactData" in item.path]
    assert not [options for options in asked if options.keys() & {"$top", "$filter", "$count"}]
    assert not is_reloaded(target)


def test_key_that_is_repeated_much_later_is_a_lost_change(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = FactsStandIn(rows=20)
    config, target = opened(serve, tenant, page_size=1000)
    monkeypatch.setattr("tap_sac.streams.key_counter._MOST_IN_MEMORY", 3)
    tenant.answer(*map(changed, [*tenant.rows, sales_row(0, "7.5")]))
    assert not load(config, target)
    check(tenant, target)
    assert is_reloaded(target)


@pytest.mark.parametrize("cycle", [1, 3])
def test_changes_without_an_end_are_lost(serve: Serve, cycle: int) -> None:
    tenant = FactsStandIn()
    config, target = opened(serve, tenant)
    tenant.answer(*(changed(tenant.rows[number % cycle]) for number in range(500)))
    requests = len(tenant.requests)
    assert not load(config, target)
    check(tenant, target)
    assert is_reloaded(target)
    assert len(tenant.requests) - requests < 100


def test_differences_of_a_key_may_come_several_times(serve: Serve) -> None:
    name = "FactDataDifference"
    tenant = TrackingStandIn()
    row = sales_row(1)
    tenant.models = (Model("C4SALES", "Sales", edmx(**{name: COLUMNS}), {name: [row, row]}),)
    config, stream = serve(tenant), "sales_fact_data_difference"
    catalog = select(discover(config), stream)
    state = sync(config, copy.deepcopy(catalog)).state
    bookmark = state["bookmarks"][stream]
    bookmark["delta_link"] = bookmark["delta_link"].replace("FactData?", f"{name}?")
    tenant.deltas["A"] = delta(changed(row), changed(row), context=f"$metadata#{name}/$delta")
    messages = sync(config, catalog, state)
    assert len(messages.records(stream)) == 2
    assert not is_activated(messages, stream)
