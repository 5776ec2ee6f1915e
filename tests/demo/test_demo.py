"""The sample tenant, as a newcomer meets it, and in the ways in which tenants differ."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo import Behaviour, SampleTenant
from tap_sac.demo.company import models
from tap_sac.demo.service import SALES_MODEL, SampleService
from tests.conftest import sync
from tests.helpers.cli import read_until, started
from tests.helpers.demo_client import BUDGET, FINANCE, SALES, WORKFORCE, Client
from tests.helpers.stand_in import error_response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Serve


@pytest.fixture
def settings() -> Iterator[dict[str, Any]]:
    with SampleTenant() as tenant:
        yield tenant.settings


def test_it_is_the_same_on_every_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tap_sac.demo.service.models", models)  # without the cache of the tests

    def facts() -> list[dict[str, Any]]:
        with SampleTenant() as tenant:
            config = {**tenant.settings, "models": ["Sales Planning"]}
            return sync(config).records("sales_planning_fact_data")

    first = facts()
    assert first == facts()
    assert first[0]["LOYALTY_POINTS"] == "200891079512607778213526.1401352"


def test_run_on_its_own_it_prints_settings_that_work() -> None:
    with serving() as settings:
        messages = sync({**settings, "models": ["Budget"]})
    assert len(messages.records("providers")) == 11
    assert {record["BUDGET"] for record in messages.records(messages.streams[2])}


def test_data_and_delta_links_can_be_changed_from_the_command_line(
    settings: dict[str, Any],
) -> None:
    config = {
        **settings,
        "models": ["Sales Planning"],
        "default_replication_method": "LOG_BASED",
    }
    state = sync(config).state
    change = command("--change", settings["tenant_url"])
    messages = sync(config, state=state)
    records = messages.records("sales_planning_fact_data")
    assert len(records) == 3
    assert next(record["REVENUE"] for record in records if "REVENUE" in record) in change
    assert "expired" in command("--expire", settings["tenant_url"])
    assert len(sync(config, state=messages.state).records("sales_planning_fact_data")) > 3


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("", 300),
        ("pagesize=100", 100),
        ("pagesize=500", 300),
        ("$top=200", 200),
        ("$top=400", 300),
        ("$skip=8500", 140),
    ],
)
def test_responses_can_be_silently_truncated(serve: Serve, query: str, rows: int) -> None:
    client = Client(serve(SampleService(Behaviour(page_cap=300))))
    page = client.page(f"{FINANCE}/FactData", f"{query}&$count=true")
    assert len(page["value"]) == rows
    assert page["@odata.count"] == 8640
    assert "@odata.nextLink" not in page


def test_pagesize_can_prevent_truncation(serve: Serve) -> None:
    client = Client(serve(SampleService(Behaviour(page_cap=300, pagesize_lifts_cap=True))))
    assert len(client.rows(f"{FINANCE}/FactData")) == 300
    assert len(client.rows(f"{FINANCE}/FactData", "pagesize=500")) == 8640
    assert len(client.rows(f"{FINANCE}/AccountMaster")) == 13


def test_tracked_answer_that_is_cut_looks_complete(serve: Serve) -> None:
    client = Client(serve(SampleService(Behaviour(page_cap=300))))
    page = client.page(f"{FINANCE}/FactData", Prefer="odata.track-changes")
    assert len(page["value"]) == 300
    assert "@odata.deltaLink" in page


@pytest.mark.parametrize("number", [2, 7])
def test_several_facts_of_a_key_add_up_to_the_usual_ones(serve: Serve, number: int) -> None:
    services = [SampleService(), SampleService(Behaviour(facts_per_key=number))]
    for service in services:
        service.limit(SALES_MODEL, 800)
    usual, client = (Client(serve(service)) for service in services)
    columns = "Version,Date,Product,XX_REGION,Currency,QUANTITY,REVENUE,LOYALTY_POINTS"
    expected = usual.rows(f"{SALES}/FactData")
    assert client.rows(f"{SALES}/FactDataAggregation", f"$select={columns}") == expected
    counted = "$top=0&$count=true"
    assert client.page(f"{SALES}/FactData", counted)["@odata.count"] == number * len(expected)
    first = client.page(f"{SALES}/FactData", f"$top={number}")["value"]
    assert {row["Product"] for row in first} == {expected[0]["Product"]}
    assert len({row["REVENUE"] for row in first}) == number
    assert all(len(str(row["REVENUE"]).partition(".")[2]) == 7 for row in first)
    query = f"$select={columns}&$filter=XX_REGION eq 'CH'"
    swiss = [row for row in expected if row["XX_REGION"] == "CH"]
    assert client.rows(f"{SALES}/FactDataAggregation", query) == swiss != []


def test_facts_without_figures_are_identical(serve: Serve) -> None:
    client = Client(serve(SampleService(Behaviour(facts_per_key=3))))
    first, second, third, *_ = client.page(f"{WORKFORCE}/FactData", "$filter=FTE eq null")["value"]
    assert first["FTE"] is second["FTE"] is third["FTE"] is None
    assert first["Account"] == second["Account"] == third["Account"]
    assert first["AMOUNT"] != second["AMOUNT"]


def test_changed_facts_of_a_key_come_together(serve: Serve) -> None:
    service = SampleService(Behaviour(facts_per_key=3))
    service.limit(SALES_MODEL, 2)
    client = Client(serve(service))
    page = client.page(f"{SALES}/FactData", Prefer="odata.track-changes")
    assert len(page["value"]) == 6
    facts = service.facts(SALES_MODEL)
    first, second = (row for row in facts.rows if row is not None)
    facts.put({**first, "REVENUE": Decimal("6.0000000")})
    facts.delete(facts.key_of(second))
    *changed, deleted = client.follow(page["@odata.deltaLink"])["value"]
    assert [row["REVENUE"] for row in changed] == [1, 2, 3]
    assert len({row["@odata.id"] for row in changed}) == 1
    assert deleted["@odata.context"] == "#FactData/$deletedEntity"


def test_counts_can_be_missing(serve: Serve) -> None:
    client = Client(serve(SampleService(Behaviour(counts=False))))
    assert "@odata.count" not in client.page(f"{FINANCE}/FactData", "$count=true")


def test_skip_can_be_ignored(serve: Serve) -> None:
    client = Client(serve(SampleService(Behaviour(ignores_skip=True))))
    path = f"{BUDGET}/FactData"
    assert client.page(path, "$skip=50&$top=5") == client.page(path, "$top=5")
    assert len(client.rows(path, "pagesize=100")) == 360


@pytest.mark.parametrize("is_older", [False, True])
def test_subscriptions_are_listed_as_in_both_samples_of_sap(
    serve: Serve, *, is_older: bool
) -> None:
    client = Client(serve(SampleService(Behaviour(older_subscriptions=is_older))))
    client.get(f"{BUDGET}/FactData", "pagesize=100000", Prefer="odata.track-changes")
    (row,) = client.rows("/api/v1/dataexport/administration/Subscriptions")
    missing = "null" if is_older else None
    assert row["ExternalID"] == row["PreviousSubscriptionID"] == missing
    assert row["EndTime"] == (missing if is_older else row["StartTime"])
    assert row.get("Timezone") == (None if is_older else "UTC")


def test_differences_need_a_subscription_by_default(serve: Serve) -> None:
    path = f"{BUDGET}/FactDataDifference"
    client = Client(serve(SampleService()))
    assert client.get(path).status_code == 400
    assert client.get(path, Prefer="odata.track-changes").status_code == 200
    plain = Client(serve(SampleService(Behaviour(differences_need_subscribers=False))))
    assert plain.get(path).status_code == 200


def test_differences_are_what_was_added(serve: Serve) -> None:
    service = SampleService()
    service.limit(SALES_MODEL, 2)
    client = Client(serve(service))
    page = client.page(f"{SALES}/FactDataDifference", Prefer="odata.track-changes")
    assert page["value"] == client.rows(f"{SALES}/FactData")
    facts = service.facts(SALES_MODEL)
    first, second = (row for row in facts.rows if row is not None)
    facts.put({**first, "REVENUE": None})
    facts.put({**first, "Product": "P-NEW"})
    facts.delete(facts.key_of(second))
    changed, inserted, gone = client.follow(page["@odata.deltaLink"])["value"]
    assert (changed["REVENUE"], changed["QUANTITY"]) == (-page["value"][0]["REVENUE"], 0)
    assert inserted["REVENUE"] == page["value"][0]["REVENUE"]
    assert gone["REVENUE"] == -page["value"][1]["REVENUE"]


def test_client_without_access_is_refused(serve: Serve) -> None:
    client = Client(serve(SampleService(Behaviour(client_has_access=False))))
    for path in ("/api/v1/dataexport/administration/Namespaces", f"{SALES}/FactData"):
        answer = client.get(path)
        assert answer.status_code == 400
        assert "[3401]" in answer.json()["error"]["message"]


def test_requests_can_be_refused_a_number_of_times(serve: Serve) -> None:
    service = SampleService()
    client = Client(serve(service))
    service.refuse(r"FactData\?.*eq 'a b'", error_response(503, "busy"), times=2)
    service.refuse("DateMaster", error_response(404, "never"))
    query = "$filter=Date eq 'a b'"
    statuses = [client.get(f"{SALES}/FactData", query).status_code for _ in range(3)]
    assert statuses == [503, 503, 200]
    assert client.get(f"{SALES}/FactData").status_code == 200
    assert [client.get(f"{SALES}/DateMaster").status_code for _ in range(3)] == [404] * 3


def test_model_can_be_made_small(serve: Serve) -> None:
    service = SampleService()
    client = Client(serve(service))
    usual = client.rows(f"{SALES}/FactData")
    service.limit(SALES_MODEL, 5)
    assert client.rows(f"{SALES}/FactData") == usual[:5]
    assert len(client.rows(f"{SALES}/MasterData")) == 5


def test_tenant_of_the_command_line_differs_as_its_options_say() -> None:
    options = ("--page-cap", "50", "--pagesize-lifts-cap", "--facts-per-key", "2", "--no-counts")
    with serving(*options) as settings:
        client = Client(settings)
        path = f"{BUDGET}/FactData"
        assert len(client.rows(path)) == 50
        assert len(client.rows(path, "pagesize=500")) == 720
        assert "@odata.count" not in client.page(path, "$count=true")
    with serving("--no-access") as settings:
        assert Client(settings).get(f"{BUDGET}/FactData").status_code == 400
    with serving("--ignores-skip") as settings:
        assert len(Client(settings).page(f"{BUDGET}/FactData", "$skip=350")["value"]) == 360


@pytest.mark.parametrize("option", ["--page-cap", "--facts-per-key"])
def test_number_that_means_nothing_is_reported_in_a_sentence(option: str) -> None:
    result = run(option, "0")
    assert result.returncode == 2
    name = option.strip("-").replace("-", "_")
    assert f"error: {name} must be at least 1." in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "99999"),
        ("--change", "http://127.0.0.1:9"),
        ("--expire", "nonsense"),
    ],
)
def test_wrong_options_are_reported_in_a_sentence(arguments: tuple[str, str]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "check the port" in result.stderr
    assert "Traceback" not in result.stderr


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "tap_sac.demo", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def command(*arguments: str) -> str:
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


@contextlib.contextmanager
def serving(*options: str) -> Iterator[dict[str, Any]]:
    """Serve the sample tenant in a process of its own; returns the settings that it prints."""
    command = [sys.executable, "-m", "tap_sac.demo", *options]
    with started(command, stdout=subprocess.PIPE) as process:
        yield json.loads(read_until("}", process.stdout))
        process.terminate()


def test_change_has_the_members_of_all_facts(serve: Serve) -> None:
    service = SampleService()
    for _ in range(3):
        service.change()
    messages = sync({**serve(service), "models": ["Sales Planning"]})
    facts = messages.records("sales_planning_fact_data")
    assert len(facts) == 5_760
    for column, master, key in (
        ("Version", "version", "ID"),
        ("Date", "date", "DATE"),
        ("Product", "product", "ID"),
        ("XX_REGION", "xx_region", "ID"),
    ):
        members = {row[key] for row in messages.records(f"sales_planning_{master}_master")}
        assert {row[column] for row in facts} <= members
