"""Which totals are compared with SAC's, and that the log says which are not, and why."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from tests.conftest import discover, select
from tests.helpers.counts import FACTS, SALES
from tests.helpers.runs import is_activated, run
from tests.helpers.slicing import SLICED, SlicingStandIn, at_slice
from tests.helpers.stand_in import edmx, error_response
from tests.helpers.totals import (
    small_tenant,
    totals_config,
    uncompared,
    verdicts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tap_sac.demo.service import Request, Response
    from tests.conftest import RunCli, Serve


@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("served", [0, 1], ids=["never", "only before the read"])
def test_tenant_that_gives_no_totals_proves_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture, status: int, served: int
) -> None:
    service = small_tenant()
    reads = 0

    def application(request: Request) -> Response:
        nonlocal reads
        reads += "/FactData?" in request.target
        if "/FactDataAggregation" in request.target and reads >= served:
            return error_response(status, "no")
        return service(request)

    messages, failure = run(totals_config(serve, application, verify_counts="off"))
    assert not failure
    assert is_activated(messages, SALES)
    (warning,) = uncompared(caplog)
    expected = f"The totals of {SALES} are not compared, because SAC answered"
    assert warning.startswith(f"{expected} {status}")
    assert warning.endswith(": compare them with a story in SAC.")


def test_answer_without_numbers_proves_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    service = small_tenant()

    def application(request: Request) -> Response:
        answer = service(request)
        if "/FactDataAggregation?" not in request.target:
            return answer
        return replace(answer, body=re.sub(rb'"REVENUE":[-\d.]+', b'"REVENUE":"***"', answer.body))

    messages, failure = run(totals_config(serve, application, verify_counts="off"))
    assert not failure
    assert is_activated(messages, SALES)
    (warning,) = uncompared(caplog)
    assert "because SAC returned totals that are not numbers" in warning


def test_changes_have_no_totals_which_is_logged_once(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = totals_config(serve, small_tenant(), default_replication_method="LOG_BASED")
    messages, _ = run(config)
    assert not uncompared(caplog)
    _, failure = run(config, state=messages.state)
    assert not failure
    (warning,) = uncompared(caplog)
    assert warning.startswith(f"The totals of {SALES} are not compared, because this run read chan")


class AddingStandIn(SlicingStandIn):
    """Serves facts, and adds them up: exactly, or floating-point numbers as a computer does."""

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        measures: dict[str, str],
        *,
        has_aggregation: bool = True,
    ) -> None:
        super().__init__({})
        columns = {"Version": "Edm.String*", "Date": "Edm.String*", **measures}
        self._floats = {name for name, type_ in measures.items() if type_ == "Edm.Double"}
        self.made = rows
        self.rows = [json.dumps({"Version": "A", "Date": "1", **row}) for row in rows]
        sets = {"FactData": columns, "Version___Distinct": {"Version": "Edm.String*"}}
        sets |= {"DateMaster": {"ID": "Edm.String*", "YEAR": "Edm.String"}}
        sets |= {"FactDataAggregation": columns} if has_aggregation else {}
        self.models[0].edmx = edmx(**sets)
        names = dict.fromkeys(sets, ())
        self.models[0].sets = {**names, "FactData": self.rows}

    @override
    def page(self, request: Request, rows: Sequence[str]) -> Response:
        if request.path.endswith("/FactDataAggregation"):
            rows = self._sums(request.options["$select"].split(","))
        return super().page(request, rows)

    def _sums(self, columns: list[str]) -> list[str]:
        sums: dict[tuple[str, ...], dict[str, Any]] = {}
        dimensions = [name for name in columns if name in {"Version", "Date"}]
        for row in map(json.loads, self.rows):
            members = tuple(row[name] for name in dimensions)
            total = sums.setdefault(members, dict(zip(dimensions, members, strict=True)))
            for name in columns:
                if name not in dimensions and isinstance(row[name], (int, float)):
                    total[name] = total.get(name, 0) + row[name]
        return [json.dumps(row) for row in sums.values()]


BIG = 2**63 - 1
INTEGERS = [
    {"Date": f"{number % 3}", "Version": f"{number % 2}", "SMALL": number, "LARGE": large}
    for number, large in enumerate([BIG, BIG, -1, None, BIG, 0])
]
OF_INTEGERS = {"SMALL": "Edm.Byte", "LARGE": "Edm.Int64"}


@pytest.mark.parametrize("way", ["fast", "SDK", "Parquet", "slices"])
def test_integer_measures_are_compared(
    serve: Serve, caplog: pytest.LogCaptureFixture, tmp_path: Path, way: str
) -> None:
    ways: dict[str, dict[str, Any]] = {
        "fast": {},
        "SDK": {"stream_maps": {FACTS: {"__filter__": "1 == 1"}}},
        "Parquet": {
            "batch_config": {
                "encoding": {"format": "parquet"},
                "storage": {"root": tmp_path.as_uri()},
            }
        },
        "slices": SLICED,
    }
    tenant = AddingStandIn(INTEGERS, OF_INTEGERS)
    messages, failure = run({**serve(tenant), "verify_totals": True, **ways[way]})
    assert not failure
    assert is_activated(messages, FACTS)
    assert verdicts(caplog.text) == {"SMALL": "the same", "LARGE": "the same"}
    assert f"  {3 * BIG - 1}  {3 * BIG - 1}  the same" in caplog.text
    assert not uncompared(caplog)


@pytest.mark.parametrize("settings", [{}, {"stream_maps": {FACTS: {"__filter__": "1 == 1"}}}])
@pytest.mark.parametrize("measure", ["SMALL", "LARGE"])
def test_integer_that_is_lost_fails_the_stream(
    serve: Serve, settings: dict[str, Any], measure: str
) -> None:
    tenant = AddingStandIn(INTEGERS, OF_INTEGERS)
    spoiled = [*tenant.rows]
    spoiled[1] = json.dumps({**json.loads(spoiled[1]), measure: 7})
    tenant.models[0].sets["FactData"] = spoiled
    messages, failure = run({**serve(tenant), "verify_totals": True, **settings})
    assert f"The total of {measure} in the rows of {FACTS} is " in failure
    assert not is_activated(messages, FACTS)


def test_sums_of_floating_point_numbers_are_not_compared(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"Date": f"{number}", "SMALL": 1, "PRICE": 0.1} for number in range(3)]
    tenant = AddingStandIn(rows, {"SMALL": "Edm.Int32", "PRICE": "Edm.Double"})
    messages, failure = run({**serve(tenant), "verify_totals": True})
    assert not failure  # SAC's total is 0.30000000000000004.
    assert is_activated(messages, FACTS)
    assert verdicts(caplog.text) == {"SMALL": "the same"}
    (warning,) = uncompared(caplog)
    assert warning.endswith(": PRICE (SAC rounds sums of floating-point numbers).")


ROWS = [{"Date": f"{number}", "AMOUNT": number, "PRICE": 0.5} for number in range(5)]
DECIMAL = {"AMOUNT": "Edm.Decimal"}
NOT_COMPARED = f"The totals of {FACTS} are not compared, because "


def without_key(tenant: AddingStandIn) -> AddingStandIn:
    model = tenant.models[0]
    model.edmx = re.sub('<PropertyRef Name="(Version|Date)"/>', "", model.edmx)
    return tenant


CHECK_THEM = "compare them with a story in SAC"
# What is in the way: the tenant, settings, and what is said of it.
HINDRANCES: dict[str, tuple[Callable[[], AddingStandIn], dict[str, Any], str]] = {
    "no aggregation": (
        lambda: AddingStandIn(ROWS, DECIMAL, has_aggregation=False),
        {},
        f"SAC has no FactDataAggregation of this model: {CHECK_THEM}.",
    ),
    "filter": (
        lambda: AddingStandIn(ROWS, DECIMAL),
        {"filters": {FACTS: "AMOUNT gt 2"}},
        "the filter names AMOUNT, and SAC may apply that to the sums: filter by dimensions only.",
    ),
    "no key": (
        lambda: without_key(AddingStandIn(ROWS, DECIMAL)),
        {},
        f"$metadata declares no key of FactData, so its measures are unknown: {CHECK_THEM}.",
    ),
    "text": (
        lambda: AddingStandIn([{"NOTE": "a"}], {"NOTE": "Edm.String"}),
        {},
        "no numeric measure is selected: select one in the catalog.",
    ),
    "floating point": (
        lambda: AddingStandIn(ROWS, {"PRICE": "Edm.Double"}),
        {},
        f"SAC rounds sums of floating-point numbers (PRICE): {CHECK_THEM}.",
    ),
}


@pytest.mark.parametrize(
    "settings",
    [{}, SLICED, {"default_replication_method": "LOG_BASED"}],
    ids=["in one go", "slices", "delta"],
)
@pytest.mark.parametrize("name", HINDRANCES)
def test_totals_that_cannot_be_compared_are_one_warning(
    serve: Serve,
    run_cli: RunCli,
    caplog: pytest.LogCaptureFixture,
    name: str,
    settings: dict[str, Any],
) -> None:
    make_tenant, more, why = HINDRANCES[name]
    config = {
        **serve(make_tenant()),
        "verify_totals": True,
        "verify_counts": "off",
        **settings,
        **more,
    }
    messages, failure = run(config)
    assert not failure
    assert messages.records(FACTS)
    assert uncompared(caplog) == [f"{NOT_COMPARED}{why}"]
    result = run_cli(config, "--check")
    assert result.returncode == 0
    (line,) = [item for item in result.stdout.splitlines() if "totals" in item]
    expected = "ok      totals: compared for 0 of 1 stream of facts; not compared for "
    assert line == f"{expected}{FACTS}, because {why.removesuffix('.')}"


def test_totals_without_a_selected_measure_are_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = {**serve(AddingStandIn(ROWS, DECIMAL)), "verify_totals": True}
    catalog = select(discover(config), FACTS)
    (facts,) = [entry for entry in catalog["streams"] if entry["tap_stream_id"] == FACTS]
    for item in facts["metadata"]:
        if item["breadcrumb"] == ["properties", "AMOUNT"]:
            item["metadata"]["selected"] = False
    _, failure = run(config, catalog=catalog)
    assert not failure
    (warning,) = uncompared(caplog)
    assert "no numeric measure is selected" in warning


def test_slices_that_are_given_up_are_added_up_once(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = AddingStandIn([{**row, "Version": f"{row['Date']}"} for row in ROWS], DECIMAL)
    tenant.fault = at_slice("3", lambda _: error_response(400, "no"))
    messages, failure = run({**serve(tenant), "verify_totals": True, **SLICED})
    assert not failure
    assert len(messages.records(FACTS)) > len(ROWS)  # Those of the first slices came again.
    assert verdicts(caplog.text) == {"AMOUNT": "the same"}


def test_totals_are_not_mentioned_if_not_requested(
    serve: Serve, run_cli: RunCli, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = AddingStandIn(ROWS, DECIMAL, has_aggregation=False)
    config = serve(tenant)
    run(config)
    assert "totals" not in run_cli(config, "--check").stdout
    config["verify_totals"] = True
    others = select(discover(config), "sales_date_master")
    run(config, catalog=others)
    assert "otals" not in run_cli(config, "--test").stderr
    assert "otals of" not in caplog.text


def test_check_requests_totals_like_a_sync(serve: Serve, run_cli: RunCli) -> None:
    service = small_tenant()
    config = totals_config(serve, service)
    expected = "ok      totals: compared for 1 of 1 stream of facts"
    assert expected in run_cli(config, "--check").stdout.splitlines()
    service.refuse("FactDataAggregation", error_response(403, "no"))
    result = run_cli(config, "--check")
    assert result.returncode == 0
    (line,) = [item for item in result.stdout.splitlines() if "totals" in item]
    assert f"; not compared for {SALES}, because SAC answered 403" in line
