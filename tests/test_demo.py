"""The sample tenant, as a newcomer and as an HTTP client meet it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests

from tap_sac.demo import SampleTenant
from tests.conftest import sync

if TYPE_CHECKING:
    from collections.abc import Iterator

REGIONS = "/api/v1/dataexport/providers/sac/C4SALESPLK8M4X1QW6TBV2ZJ5C/XX_REGIONMaster"


@pytest.fixture
def settings() -> Iterator[dict[str, Any]]:
    with SampleTenant() as tenant:
        yield tenant.settings


@pytest.fixture
def session(settings: dict[str, Any]) -> Iterator[requests.Session]:
    with requests.Session() as session:
        token = session.post(
            settings["token_url"],
            data={
                "grant_type": "client_credentials",
                "client_id": settings["client_id"],
                "client_secret": settings["client_secret"],
            },
            timeout=5,
        ).json()
        session.headers["Authorization"] = f"Bearer {token['access_token']}"
        yield session


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("ID eq 'AT'", "AT"),
        ("ID ne 'AT' and ID lt 'DE'", "# CH"),
        ("ID gt 'FR' and (ID le 'IT' or ID ge 'SI')", "ID IT SI"),
        ("not (contains(Description,'a') or startswith(ID,'S'))", ""),
        ("not contains(Description, 'an') and endswith(Description,'a')", "AT SI ID"),
        ("startswith(Description,'I')", "IT ID"),
        ("ID eq '#'", "#"),
        ("Description eq 'It''s'", ""),
        ("ID eq 'AT' or ID eq 'CH' and Description eq 'x'", "AT"),
        ("Description ne null and ID eq 'DE'", "DE"),
    ],
)
def test_filters(
    settings: dict[str, Any], session: requests.Session, expression: str, expected: str
) -> None:
    answer = session.get(
        settings["tenant_url"] + REGIONS, params=f"$filter={quote(expression)}"
    ).json()
    assert sorted(row["ID"] for row in answer["value"]) == sorted(expected.split())


@pytest.mark.parametrize(
    "expression",
    [
        "ID = 'AT'",
        "ID eq 'AT",
        "NAME eq 'x'",
        "(ID eq 'AT'",
        "ID eq 'AT')",
        "",
        "ID eq",
        "and",
        "eq 1 1",
    ],
)
def test_malformed_filters_are_refused(
    settings: dict[str, Any], session: requests.Session, expression: str
) -> None:
    answer = session.get(settings["tenant_url"] + REGIONS, params=f"$filter={quote(expression)}")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"]
    assert "$filter is malformed" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "status", "number"),
    [
        ("/api/v1/dataexport/nothing", 404, "[1305]"),
        (REGIONS.replace("XX_REGION", "XX_RIVER"), 404, "[3707]"),
        (REGIONS.replace("XX_REGIONMaster", "FactData?$select=Version"), 400, "[1402]"),
        (REGIONS + "?pagesize=0", 400, "pagesize"),
    ],
)
def test_errors_are_as_sac_has_them(
    settings: dict[str, Any], session: requests.Session, path: str, status: int, number: str
) -> None:
    answer = session.get(settings["tenant_url"] + path)
    assert answer.status_code == status
    assert number in answer.json()["error"]["message"]


def test_without_a_token_nothing_is_served(settings: dict[str, Any]) -> None:
    assert requests.get(settings["tenant_url"] + REGIONS, timeout=5).status_code == 401


def test_it_is_the_same_on_every_start() -> None:
    def facts() -> list[dict[str, Any]]:
        with SampleTenant() as tenant:
            return sync(tenant.settings).records("sales_planning_fact_data")

    first = facts()
    assert first == facts()
    assert first[0]["LOYALTY_POINTS"] == "200891079512607778213526.1401352"


def test_run_on_its_own_it_prints_settings_that_work() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tap_sac.demo"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "}\n")
        settings = json.loads("".join(lines) + "}")
        messages = sync({**settings, "models": ["Budget"]})
        process.terminate()
    assert len(messages.records("providers")) == 7
    assert {record["BUDGET"] for record in messages.records(messages.streams[2])}


def test_it_can_be_changed_and_can_forget_from_the_command_line(settings: dict[str, Any]) -> None:
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
    "arguments",
    [
        ("--port", "99999"),
        ("--change", "http://127.0.0.1:9"),
        ("--expire", "nonsense"),
    ],
)
def test_wrong_options_are_told_in_a_sentence(arguments: tuple[str, str]) -> None:
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "tap_sac.demo", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "check the port" in result.stderr
    assert "Traceback" not in result.stderr


def command(*arguments: str) -> str:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "tap_sac.demo", *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
