"""A state belongs to one tenant: another one would mix its rows with those in the target."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.service import SampleService
from tap_sac.tenant import tenant_hash
from tests.conftest import discover, select, sync
from tests.helpers.stand_in import StandIn, sales, sales_row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import RunCli, Serve

FACTS = "sales_fact_data"
OTHER = {"bookmarks": {"gone": {}, FACTS: {"tenant": "0123456789abcdef", "version": 5}}}
SAMPLE = {"bookmarks": {FACTS: {"tenant": "sample"}}}


def hash_of(host: str) -> str:
    return tenant_hash({"demo": False}, f"https://{host}")


@pytest.mark.parametrize(
    "host",
    [
        "acme.eu10.sapanalytics.cloud",
        "acme.eu10.hanacloudservices.cloud.sap",
        "acme.api.eu10.hcs.cloud.sap",
        "acme.api.eu10.sapanalytics.cloud",
        "acme.api.eu10.hanacloudservices.cloud.sap",
        "ACME.EU10.hcs.cloud.sap",
        "acme.eu10.hcs.cloud.sap:443",
        "acme.eu10.hcs.cloud.sap:8443",
    ],
)
def test_all_addresses_of_a_tenant_are_one(host: str) -> None:
    assert hash_of(host) == hash_of("acme.eu10.hcs.cloud.sap")


@pytest.mark.parametrize(
    "host",
    [
        "acme-test.eu10.hcs.cloud.sap",
        "acme.us10.hcs.cloud.sap",
        "acme.eu10-004.hcs.cloud.sap",
        "acme.api.us10.hcs.cloud.sap",
        "acme.eu10.example",
        "acme.eu1.hcs.cloud.sap",
        "127.0.0.1",
    ],
)
def test_other_tenants_and_regions_differ(host: str) -> None:
    assert hash_of(host) != hash_of("acme.eu10.hcs.cloud.sap")


def test_port_of_another_host_does_not_matter() -> None:
    assert hash_of("sac.example:8443") == hash_of("sac.example")


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_each_bookmark_has_the_tenant(serve: Serve, method: str) -> None:
    config = {**serve(SampleService()), "models": ["Workforce Planning"]}
    config["default_replication_method"] = method
    streams = ("workforce_planning_audit_data", "workforce_planning_fact_data", "providers")
    state = sync(config, select(discover(config), *streams)).state
    assert state.keys() == {"bookmarks"}
    assert state["bookmarks"].keys() == {*streams}
    assert {item["tenant"] for item in state["bookmarks"].values()} == {
        tenant_hash({"demo": False}, config["tenant_url"])
    }
    again = sync(config, select(discover(config), *streams), state).state
    assert {name: item["tenant"] for name, item in again["bookmarks"].items()} == {
        name: item["tenant"] for name, item in state["bookmarks"].items()
    }


def test_bookmark_names_the_sample_tenant() -> None:
    state = sync({"demo": True, "models": ["Budget"]}).state
    assert {item["tenant"] for item in state["bookmarks"].values()} == {"sample"}


@pytest.mark.parametrize("option", [(), ("--check",)])
@pytest.mark.parametrize(
    ("state", "whose"), [(OTHER, "another tenant"), (SAMPLE, "the sample tenant")]
)
@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_state_of_another_tenant_is_refused_before_anything_is_read(
    serve: Serve,
    run_cli: RunCli,
    tmp_path: Path,
    option: tuple[str, ...],
    state: dict[str, Any],
    whose: str,
    method: str,
) -> None:
    tenant = StandIn(sales(sales_row(1)))
    config = {**serve(tenant), "default_replication_method": method}
    path = tmp_path / "state.json"
    path.write_text(json.dumps(state))
    result = run_cli(config, "--state", str(path), *option)
    assert result.returncode == 1
    told = result.stderr + result.stdout
    assert f"The state is of {whose} (stream {FACTS})" in told
    assert "run with --full-refresh (or without --state)" in told
    assert "RECORD" not in result.stdout
    assert not tenant.targets
    assert run_cli(config, *option).returncode == 0


def test_state_of_a_tenant_is_refused_by_the_sample_tenant(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    state = sync(serve(StandIn(sales(sales_row(1))))).state
    path = tmp_path / "state.json"
    path.write_text(json.dumps(state))
    result = run_cli({"demo": True, "models": ["Budget"]}, "--state", str(path))
    assert result.returncode == 1
    assert "The state is of another tenant" in result.stderr
    assert not result.stdout


@pytest.mark.parametrize("tenant", [None, 5, ["x"], {}])
@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_state_that_does_not_name_a_tenant_is_taken_over(
    serve: Serve, caplog: pytest.LogCaptureFixture, tenant: object, method: str
) -> None:
    config = {**serve(SampleService()), "models": ["Budget"], "default_replication_method": method}
    state = sync(config).state
    for bookmark in state["bookmarks"].values():
        bookmark.pop("tenant")
        if tenant is not None:
            bookmark["tenant"] = tenant
    caplog.clear()
    after = sync(config, state=state).state
    expected = tenant_hash({"demo": False}, config["tenant_url"])
    assert {item["tenant"] for item in after["bookmarks"].values()} == {expected}
    assert "Reading the whole table" not in caplog.text
