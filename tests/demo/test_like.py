"""``python -m tap_sac.demo --like``: a tenant that answers like the one of a report."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from decimal import Decimal
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo import Behaviour
from tap_sac.demo.like import LikeReport
from tap_sac.demo.service import SampleService
from tap_sac.demo.sets import dimensions, model_tables
from tap_sac.demo.tables import Column, Model, Table
from tests.conftest import sync
from tests.helpers.cli import read_until, started
from tests.helpers.reports import answers, flaws, report_of
from tests.helpers.stand_in import StandIn, sales, sales_row

if TYPE_CHECKING:
    from pathlib import Path

    from tap_sac.demo.service import Application
    from tap_sac.demo.tables import Row
    from tests.conftest import RunCli, Serve
    from tests.helpers.reports import Report

# tox -e reports runs all of them, which takes a minute or two.
HAS_TIME = bool(os.environ.get("TAP_SAC_ALL_REPORTS"))
SWITCHES: dict[str, tuple[Any, ...]] = {
    "page_size": (1000, 100),
    "page_cap": (None, 150),
    "pagesize_lifts_cap": (False, True),
    "facts_per_key": (1, 3),
    "counts": (True, False),
    "sums_have_keys": (False, True),
    "differences_need_subscribers": (True, False),
    "lists_distinct_values": (False, True),
    "ignores_skip": (False, True),
    "older_subscriptions": (False, True),
    "is_api_host": (False, True),
    "links_to_other_host": (False, True),
    "extra_namespaces": (True, False),
    "dotted_master_data": (False, True),
    "audit_needs_client": (False, True),
    "readable_tokens": (False, True),
    "expired_is_forbidden": (False, True),
    "rotates_refresh_tokens": (False, True),
    "token_seconds": (3600, 43_199),
    "client_has_access": (True, False),
    "missing_grant": (None, "client_credentials"),
}
# With these, there is nothing else to see.
CLOSED = ({"client_has_access": False}, {"missing_grant": "client_credentials"})


def tenants() -> list[dict[str, Any]]:
    """Choose tenants so that each pair of values of two switches is in one, greedily."""
    switches = {
        name: values for name, values in SWITCHES.items() if name not in {*CLOSED[0], *CLOSED[1]}
    }
    missing = {
        frozenset([(first, one), (second, other)])
        for first, second in combinations(switches, 2)
        for one, other in product(switches[first], switches[second])
    }
    chosen: list[dict[str, Any]] = [*CLOSED]
    while missing:
        tenant = dict(sorted(next(iter(sorted(missing, key=lambda it: sorted(map(str, it)))))))
        for name, values in switches.items():
            if name not in tenant:
                gains = {
                    value: sum(
                        frozenset([(name, value), item]) in missing for item in tenant.items()
                    )
                    for value in values
                }
                tenant[name] = max(gains, key=lambda value: gains[value])
        missing -= {frozenset(pair) for pair in combinations(tenant.items(), 2)}
        chosen.append(tenant)
    return chosen


TENANTS = tenants()
NUMBERS = itertools.count(1)


def comparable(report: Report) -> Report:
    """Leave out times, hosts and magnitudes."""
    report["answers"].pop("pace", None)
    report["answers"].get("links", {}).pop("host", None)
    for model in report["models"]["list"]:
        model.pop("magnitude", None)
    return report


def made(
    serve: Serve, run_cli: RunCli, folder: Path, application: Application, **settings: Any
) -> Report:
    path = folder / "report.json"
    run_cli({**serve(application), **settings}, "--report", str(path), "--report-changes")
    report: Report = json.loads(path.read_text())
    assert list(flaws(report)) == []
    return report


def assert_replays(serve: Serve, run_cli: RunCli, folder: Path, report: Report) -> None:
    again = made(serve, run_cli, folder, LikeReport(report))
    magnitudes = [
        [model.get("magnitude") for model in it["models"]["list"]] for it in (report, again)
    ]
    assert magnitudes[0] == magnitudes[1]
    expected, found = answers(comparable(report)), answers(comparable(again))
    assert {name: parts for name, parts in found.items() if parts != expected[name]} == {}
    assert again == report


def test_pairs_of_switches_are_in_about_twenty_tenants() -> None:
    assert len(TENANTS) <= 20
    pairs = {frozenset(pair) for tenant in TENANTS for pair in combinations(tenant.items(), 2)}
    assert frozenset([("facts_per_key", 3), ("page_cap", 150)]) in pairs


@pytest.mark.parametrize(
    "switches", TENANTS if HAS_TIME else TENANTS[:4], ids=lambda _: f"tenant {next(NUMBERS)}"
)
def test_the_report_of_a_tenant_like_a_report_is_that_report(
    serve: Serve, run_cli: RunCli, tmp_path: Path, switches: dict[str, Any]
) -> None:
    service = SampleService(Behaviour(**switches))
    models = ["Sales*" if HAS_TIME else "L*", "Budget", "Work*", "Exchange*", "Product"]
    settings = {"models": models} if switches.get("extra_namespaces", True) else {}
    report = made(serve, run_cli, tmp_path, service, **settings)
    assert_replays(serve, run_cli, tmp_path, report)


NOTHING_OPENED = dict.fromkeys(
    [("changes", part) for part in ("spelling", "listed", "EndTime", "ExternalID", "deleted")]
    + [("changes", "Timezone")]
)
UNLISTED = dict.fromkeys([("changes", part) for part in ("EndTime", "ExternalID", "Timezone")])
OTHERWISE: list[dict[tuple[str, str], str | None]] = [
    {
        ("links", "form"): "root",
        ("links", "pagesize"): "dropped",
        ("$count", "next page"): "missing",
    },
    {("links", "form"): "relative", ("positions", "keys again"): "same figures"},
    {
        ("values", "numbers"): "texts",
        ("values", "zeros"): "left out",
        ("pagesize", "rows"): "ignored",
    },
    {("values", "numbers"): "numbers / texts", ("values", "nulls"): "left out / written"},
    {("values", "nulls"): "left out", ("positions", "order"): "changes"},
    {("$count", "few columns"): "right", ("$count", "sums"): "500 [1205] text: sql statement ..."},
    {
        ("$count", "$top=0"): "another",
        ("$count", "$filter"): "missing",
        ("$count", "members"): "400 XML",
    },
    {
        ("positions", "$orderby and $skip"): "another",
        ("refusals", "$apply"): "400 text: ... is not valid",
    },
    {
        ("refusals", "in list"): "served",
        ("refusals", "unknown set"): "400 [3707] object: no set ...",
    },
    {("refusals", "unknown column"): "served", ("refusals", "unknown path"): "403 empty"},
    {("refusals", "$pagesize"): "served", ("refusals", "no hierarchy"): "400 plain"},
    {("refusals", "key column missing"): "served", ("refusals", "AuditData"): "403 HTML"},
    {
        ("refusals", "sums without $select"): "served",
        ("refusals", "unknown model"): "400 JSON",
    },
    {("CSRF", "api"): "404 text: the ...", ("namespaces", "others"): "some"},
    {("CSRF", "api"): "200 empty", ("CSRF", "service"): "served", ("token", "kind"): "JWT"},
    {
        ("changes", "link"): "first-uuid",
        ("changes", "spelling"): "deltalink",
        ("changes", "listed"): "another",
    },
    {
        ("namespaces", "sac_unit_conversion"): "403 text: ... denied",
        ("pagesize", "rows"): "another",
    },
    {**NOTHING_OPENED, ("changes", "link"): "403 text: not allowed"},
    {**NOTHING_OPENED, ("changes", "link"): "none"},
    {
        ("changes", "link"): "first-uuid",
        ("changes", "EndTime"): "null",
        ("changes", "ExternalID"): "left out",
        ("changes", "Timezone"): "left out",
    },
    {("changes", "listed"): "another", ("changes", "EndTime"): "text"},
    {("changes", "link"): "other", ("changes", "deleted"): "failed"},
    {**UNLISTED, ("changes", "listed"): "unlisted"},
    {**UNLISTED, ("changes", "listed"): "403 text: not allowed"},
    {
        ("pagesize", "link"): "cut",
        ("$count", "next page"): None,
        ("links", "pagesize"): "dropped",
    },
]


@pytest.mark.parametrize("otherwise", OTHERWISE if HAS_TIME else OTHERWISE[::3], ids=str)
def test_answers_that_no_switch_gives_are_replayed(
    serve: Serve, run_cli: RunCli, tmp_path: Path, otherwise: dict[tuple[str, str], str | None]
) -> None:
    service = SampleService(Behaviour(page_size=100))
    report = made(serve, run_cli, tmp_path, service, models=["Budget", "Exchange*"])
    for (question, part), answer in otherwise.items():
        report["answers"][question][part] = ["", *filter(None, [answer])]
    again = made(serve, run_cli, tmp_path, LikeReport(report))
    expected, found = (answers(comparable(it)) for it in (report, again))
    assert {name: parts for name, parts in found.items() if parts != expected[name]} == {}


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        ([], False),
        (["null"], True),
        (["1.5", "null"], True),
        (["1.0", "2.0"], False),
        (["1.0"] * 9, True),
    ],
    ids=str,
)
def test_a_report_of_a_small_table_is_replayed(
    serve: Serve, run_cli: RunCli, tmp_path: Path, rows: list[str], *, counts: bool
) -> None:
    small = sales(*(sales_row(number, amount) for number, amount in enumerate(rows)))
    tenant = StandIn(small, sales(*map(sales_row, range(9)), model_id="C4OTHER"))
    tenant.counts = counts
    assert_replays(serve, run_cli, tmp_path, made(serve, run_cli, tmp_path, tenant))


def test_names_with_names_of_sac_in_them_have_one_stand_in(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    dims = dimensions("Date___ID", "Costs_PARENTID", "A.B", "Edm.String", "ID", "XMaster")
    key = {column.name: "one" for column in dims}
    columns = (Column("Date___ID", is_key=True), Column("Audit_Old_Costs"), Column("Z.A"))
    master = Table("Date___IDMaster", columns, [{"Date___ID": "one"}], dimension="Date___ID")
    measures = [Column("Audit_New_X", "Edm.Decimal"), Column("Measure1", "Edm.Decimal")]
    facts: list[Row] = [{**key, "Audit_New_X": Decimal(1), "Measure1": Decimal(2)}]
    model = Model("Edm.Int32", "ID", "", tables=model_tables(dims, measures, facts, [master]))
    report = made(serve, run_cli, tmp_path, SampleService(founded=[model]))
    sets = {item["name"]: item for item in report["models"]["list"][0]["sets"]}
    assert sets["Dimension1Master"]["key"] == ["Dimension1"]
    assert sets["FactData"]["key"][:3] == ["Dimension1", "Dimension2", "Dimension3"]
    assert "other" not in json.dumps(report["models"])
    assert_replays(serve, run_cli, tmp_path, report)


def test_a_report_of_what_is_unusual_in_metadata_is_replayed(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    report = made(serve, run_cli, tmp_path, SampleService(), models=["Budget"])
    first, second = report["models"]["list"]
    for name in ("alias", "container"):
        del first[name]
    second |= {"namespace": "sac", "container": "other"}
    for item in (first["sets"][0], second["sets"][1]):
        item.pop("set", None)
        name, _, *words = item["columns"][-1].split()
        text = " ".join([name, "other", "Nullable=true", *words, "other", "Core.Description"])
        item["columns"][-1] = text
    again = made(serve, run_cli, tmp_path, LikeReport(report))
    assert comparable(again)["models"] == comparable(report)["models"]


def test_the_tenant_of_a_report_can_be_read(serve: Serve, run_cli: RunCli, tmp_path: Path) -> None:
    report = report_of(run_cli, tmp_path, {"demo": True, "models": ["Workforce*"]})
    report["models"]["list"][0]["magnitude"] = 2  # but more than a page
    tenant = serve(LikeReport(report))
    messages = sync({**tenant, "verify_totals": True})
    facts = messages.records("model1_fact_data")
    assert len(facts) == 1001
    assert {"public.V0", "public.V1"} <= {row["Version"] for row in facts}
    parents = messages.records("model1_dimension1_master_with_hierarchy")
    assert {row.get("Hierarchy1_PARENTID") for row in parents} == {None, "M0"}
    assert all(row["Measure1"] is None or row["Measure1"][-7:] == "0000000" for row in facts)


@pytest.mark.parametrize(
    ("text", "told"),
    [("[]", "not a report of tap-sac"), ("{", "delimiter"), (None, "No such file")],
)
def test_file_that_is_not_a_report_is_refused(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    command = [sys.executable, "-m", "tap_sac.demo", "--like", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert result.returncode == 2
    assert told in result.stderr or "property name" in result.stderr


def test_a_report_is_served_from_the_command_line(run_cli: RunCli, tmp_path: Path) -> None:
    report_of(run_cli, tmp_path, {"demo": True, "models": ["Budget"]})
    command = [sys.executable, "-m", "tap_sac.demo", "--like", str(tmp_path / "report.json")]
    with started(command, stdout=subprocess.PIPE) as process:
        settings = json.loads(read_until("}", process.stdout))
        assert len(sync({**settings}).records("model1_fact_data")) == 100
        process.terminate()
