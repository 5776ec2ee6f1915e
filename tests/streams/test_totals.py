"""Totals that SAC itself proves: the sum of each measure, to the last digit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sac.demo.service import SALES_MODEL, Request, Response, SampleService
from tap_sac.singer.sums import Sums, exact_sum
from tests.helpers.counts import SALES
from tests.helpers.runs import is_activated, run
from tests.helpers.stand_in import JSON, error_response
from tests.helpers.totals import (
    small_tenant,
    totals_config,
    uncompared,
    verdicts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tap_sac.demo.behaviour import Behaviour
    from tests.conftest import Serve


MAP = {"stream_maps": {SALES: {"__filter__": "1 == 1"}}}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"default_replication_method": "LOG_BASED"},
        {"use_singer_decimal": True},
        MAP,
        {**MAP, "use_singer_decimal": True},
        {"filters": {SALES: "Version eq 'public.Actual' and Product ne 'P-001'"}},
    ],
    ids=["fast", "delta", "singer decimal", "SDK", "SDK, singer decimal", "filter"],
)
def test_totals_are_those_of_sac(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    picture: Behaviour,
    settings: dict[str, Any],
) -> None:
    service = small_tenant(replace(picture, facts_per_key=3 if picture.sums_have_keys else 1))
    settings = {**settings, "verify_counts": "off"}
    messages, failure = run(totals_config(serve, service, **settings))
    assert not failure
    assert is_activated(messages, SALES)
    measures = ("QUANTITY", "REVENUE", "LOYALTY_POINTS")
    assert verdicts(caplog.text) == dict.fromkeys(measures, "the same")
    assert not uncompared(caplog)
    if "filters" not in settings:
        total = sum(row["LOYALTY_POINTS"] for row in service.facts(SALES_MODEL).rows if row)  # type: ignore[misc]
        assert str(total)[:20] in caplog.text


def test_totals_of_batch_files_are_those_of_sac(
    serve: Serve, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    batch = {"encoding": {"format": "jsonl"}, "storage": {"root": tmp_path.as_uri()}}
    _, failure = run(totals_config(serve, small_tenant(), batch_config=batch))
    assert not failure
    assert set(verdicts(caplog.text).values()) == {"the same"}


def spoiling(service: SampleService) -> Callable[[Request], Response]:
    """Change the last digit of one number among the facts on their way."""

    def application(request: Request) -> Response:
        answer = service(request)
        path, _, query = request.target.partition("?")
        if not path.endswith("/FactData") or "$top" in query or "skiptoken" in query:
            return answer
        body = re.sub(
            rb'("REVENUE":-?\d+\.\d{6})(\d)',
            lambda found: found[1] + (b"1" if found[2] != b"1" else b"2"),
            answer.body,
            count=1,
        )
        assert body != answer.body
        return replace(answer, body=body)

    return application


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_total_that_differs_in_the_last_digit_fails_the_stream(
    serve: Serve, picture: Behaviour, method: str
) -> None:
    service = small_tenant(picture)
    config = totals_config(serve, spoiling(service), default_replication_method=method)
    messages, failure = run(config)
    assert "The total of REVENUE in the rows of sales_planning_fact_data is" in failure
    assert re.search(r"\(difference -?0\.000000[1-9]\)", failure)
    assert not is_activated(messages, SALES)
    assert is_activated(messages, "sales_planning_product_master")
    assert messages.state["bookmarks"].get(SALES, {}) == {}
    assert not [item for item in service.subscriptions.values() if item.set_name == "FactData"]


def test_total_that_differs_can_be_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = totals_config(serve, spoiling(small_tenant()), verify_counts="warn")
    messages, failure = run(config)
    assert not failure
    assert is_activated(messages, SALES)
    assert "(verify_counts is warn.)" in caplog.text


def test_totals_that_change_while_they_are_read_are_not_compared(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    service = small_tenant()
    facts = service.facts(SALES_MODEL)

    def application(request: Request) -> Response:
        answer = service(request)
        if "/FactData?" in request.target and "skiptoken" in request.target:
            row = facts.rows[0]
            assert row
            facts.put({**row, "REVENUE": Decimal("5.0000000")})
        return answer

    messages, failure = run(totals_config(serve, application))
    assert not failure
    assert is_activated(messages, SALES)
    assert verdicts(caplog.text)["REVENUE"] == "not compared: it changed while it was read"
    assert verdicts(caplog.text)["QUANTITY"] == "the same"
    (warning,) = uncompared(caplog)
    assert SALES in warning
    assert warning.endswith(": REVENUE (it changed while it was read).")


def test_measure_whose_parts_do_not_add_up_is_not_compared(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    service = small_tenant()

    def application(request: Request) -> Response:
        answer = service(request)
        if "/FactDataAggregation?$select=QUANTITY" in request.target:
            average = re.sub(rb'"QUANTITY":[\d.]+', b'"QUANTITY":12.5', answer.body)
            return replace(answer, body=average)
        return answer

    _, failure = run(totals_config(serve, application))
    assert not failure
    assert "so it is not a sum" in verdicts(caplog.text)["QUANTITY"]
    assert verdicts(caplog.text)["REVENUE"] == "the same"
    (warning,) = uncompared(caplog)
    assert warning.endswith(": QUANTITY (its parts do not add up, so it is not a sum).")


def exceptional(
    service: SampleService, dimension: str, aggregate: Callable[[Sequence[Decimal]], Decimal]
) -> Callable[[Request], Response]:
    """Aggregate QUANTITY over a dimension in another way than by its sum."""
    key = service.facts(SALES_MODEL).key_columns

    def application(request: Request) -> Response:
        path, _, query = request.target.partition("?")
        names = query.partition("&")[0].removeprefix("$select=").split(",")
        is_total = path.endswith("/FactDataAggregation") and "QUANTITY" in names
        if not is_total or dimension in names or "$count" in query:
            return service(request)
        facts = [row for row in service.facts(SALES_MODEL).rows if row is not None]
        cells: dict[Any, list[dict[str, Any]]] = {}
        for row in facts:
            cells.setdefault(tuple(row[name] for name in key if name != dimension), []).append(row)
        groups: dict[str, list[list[dict[str, Any]]]] = {}
        for cell in cells.values():
            group = {name: cell[0][name] for name in names if name in key}
            groups.setdefault(json.dumps(group), []).append(cell)
        totals = [
            json.loads(group)
            | {
                name: exact_sum(
                    [
                        (aggregate if name == "QUANTITY" else exact_sum)(
                            [row[name] for row in cell]
                        )
                        for cell in cells
                    ]
                )
                for name in names
                if name not in key
            }
            for group, cells in groups.items()
        ]
        return Response(200, json.dumps({"value": totals}, default=str).encode(), JSON)

    return application


def mean(values: Sequence[Decimal]) -> Decimal:
    return round(sum(values, start=Decimal(0)) / len(values), 7)


@pytest.mark.parametrize("dimension", ["Product", "XX_REGION"])
@pytest.mark.parametrize("aggregate", [mean, max, lambda values: values[-1]])
def test_measure_that_is_not_a_sum_over_any_dimension_fails_no_read(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    aggregate: Callable[[Sequence[Decimal]], Decimal],
    dimension: str,
) -> None:
    application = exceptional(small_tenant(), dimension, aggregate)
    messages, failure = run(totals_config(serve, application))
    assert not failure
    assert is_activated(messages, SALES)
    why = f"its values do not add up over {dimension}, so it is not a sum"
    assert verdicts(caplog.text)["QUANTITY"] == f"not compared: {why}"
    assert f": QUANTITY ({why})" in "".join(uncompared(caplog))


@pytest.mark.parametrize("values", [None, 1_001])
def test_dimension_of_many_or_uncounted_values_is_not_requested(
    serve: Serve, values: int | None
) -> None:
    asked: list[str] = []
    service = exceptional(small_tenant(), "Product", max)

    def application(request: Request) -> Response:
        asked.append(request.target)
        if "$select=Product&" in request.target or request.target.endswith("$select=Product"):
            if values is None:
                return error_response(400, "no")
            body = b'{"@odata.count":%d,"value":[]}' % values
            return Response(200, body, JSON)
        return service(request)

    _, failure = run(totals_config(serve, application))
    assert "The total of QUANTITY in the rows of" in failure
    assert not [target for target in asked if "$select=Product,QUANTITY" in target]


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,23})(\.[0-9]{1,8})?", fullmatch=True)


@given(st.lists(st.lists(NUMBERS | st.just("null"))))
def test_sums_are_exact(parts: list[list[str]]) -> None:
    texts, records = Sums(["A"]), Sums(["A"])
    expected = Decimal(0)
    for part in parts:
        texts.add_texts("A", ",".join(part).encode())
        for text in part:
            value = None if text == "null" else Decimal(text)
            records.add_record({"A": value})
            expected = expected if value is None else _add(expected, value)
    assert texts.totals == records.totals == {"A": expected}


@given(st.lists(st.lists(st.none() | st.integers() | st.integers(-(10**400), 10**400))))
def test_sums_of_integers_are_exact(parts: list[list[int | None]]) -> None:
    columns, records = Sums(["A"]), Sums(["A"])
    for part in parts:
        columns.add_integers("A", part)
        for value in part:
            records.add_record({"A": value})
    expected = sum(value or 0 for part in parts for value in part)
    assert columns.totals == records.totals == {"A": Decimal(expected)}


def _add(one: Decimal, other: Decimal) -> Decimal:
    from fractions import Fraction  # noqa: PLC0415

    total = Fraction(one) + Fraction(other)
    scaled = total * 10**8
    assert scaled.denominator == 1
    return Decimal(f"{scaled.numerator}E-8")
