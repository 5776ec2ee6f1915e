"""``tap-sac --check``: what it finds on the way of a sync, and what it advises where that ends."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.service import Response
from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import discover, select
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tap_sac.demo.service import Request
    from tests.conftest import RunCli, Serve


ACME = {
    "tenant_url": "https://acme.eu10.hcs.cloud.sap",
    "client_id": "id",
    "client_secret": "secret",
}


def test_each_step_reports_what_it_found(run_process: RunCli) -> None:
    result = run_process({"demo": True, "default_replication_method": "LOG_BASED"}, "--check")
    assert result.returncode == 0
    steps = [line.split(":")[0] for line in result.stdout.splitlines()]
    names = ("settings", "token", "namespaces", "providers", "$metadata", "rows", "subscriptions")
    assert steps == [f"ok      {name}" for name in names]
    namespaces = "sac, sac_public_dimensions, sac_currency_tables, sac_unit_conversion"
    assert f"namespaces: {namespaces}\n" in result.stdout
    assert "11 in SAC, 11 chosen" in result.stdout
    assert "the first page of financial_planning_fact_data has 1,000 rows" in result.stdout
    assert "0 change-tracking subscriptions for " in result.stdout


def test_keys_that_postgres_cannot_have_are_named_and_no_failure(
    serve: Serve, run_cli: RunCli
) -> None:
    sets = {
        f"S{number}": {f"C{column:02}": "Edm.String*" for column in range(number)}
        for number in (32, 33)
    }
    tenant = StandIn(Model("C4T", "T", edmx(**sets), dict.fromkeys(sets, ())))
    config = serve(tenant)
    result = run_cli(config, "--check")
    assert result.returncode == 0
    told = "; more than 32 key columns, which target-postgres cannot load: t_s33\n"
    assert told in result.stdout
    assert "32 key columns" not in run_cli(config).stderr


def test_a_stream_map_that_a_sync_refuses_fails_the_check(run_cli: RunCli) -> None:
    stream = "sales_planning_fact_data"
    settings = {
        "demo": True,
        "default_replication_method": "LOG_BASED",
        "stream_maps": {stream: {"_sdc_deleted_at": "'never'"}},
    }
    result = run_cli(settings, "--check")
    assert result.returncode == 1
    assert f"FAILED  $metadata: The stream map of {stream} sets _sdc_deleted_at" in result.stdout


HTML = Response(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize(
    ("path", "response", "step", "first_cause"),
    [
        pytest.param(
            "/oauth/token",
            Response(401, b'{"error":"invalid_client"}', JSON),
            "token",
            "the client secret has expired",
            id="expired secret",
        ),
        pytest.param(
            "/oauth/token", HTML, "token", "token_url belongs to another tenant", id="SAML"
        ),
        pytest.param(
            "Namespaces",
            error_response(403, "client not allowed [3401]"),
            "namespaces",
            "the OAuth client may not export data",
            id="no Data Export Service",
        ),
        pytest.param(
            "Namespaces",
            error_response(401, "no"),
            "namespaces",
            "the OAuth client may not export data",
            id="token not taken",
        ),
        pytest.param(
            "Namespaces",
            Response(302, b"", {"Location": "https://acme.eu10.hcs.cloud.sap/login"}),
            "namespaces",
            "tenant_url is not the address",
            id="login page",
        ),
        pytest.param(
            "Namespaces", HTML, "namespaces", "tenant_url is not the address", id="web page"
        ),
        pytest.param(
            "/Providers",
            error_response(500, "oops"),
            "providers",
            "SAC, or a gateway in front of it, is down",
            id="server fault",
        ),
        pytest.param(
            "$metadata",
            error_response(412, "live"),
            "$metadata",
            "the model is a live connection",
            id="live model",
        ),
        pytest.param(
            "$metadata",
            error_response(404, "[1305]"),
            "$metadata",
            "the model is not shared",
            id="deleted model",
        ),
        pytest.param(
            "$metadata",
            error_response(403, "no"),
            "$metadata",
            "the model is not shared",
            id="model not shared",
        ),
        pytest.param(
            "$metadata",
            Response(200, b"<x>"),
            "$metadata",
            "cannot be read, because $metadata",
            id="broken metadata",
        ),
        pytest.param(
            "FactData",
            error_response(403, "off [3905]"),
            "rows",
            "Data Audit is off",
            id="audit off",
        ),
        pytest.param(
            "FactData",
            error_response(503, "busy"),
            "rows",
            "SAC, or a gateway in front of it, is down",
            id="overload",
        ),
        pytest.param(
            "FactData",
            Response(200, b'{"value":[{"Version":"a","Date":"b","AMOUNT":"many"}]}', JSON),
            "rows",
            "but $metadata declares Edm.Decimal",
            id="wrong type",
        ),
        pytest.param(
            "/Subscriptions",
            error_response(403, "no"),
            "subscriptions",
            "the model is not shared",
            id="subscriptions",
        ),
    ],
)
def test_first_failure_ends_it_with_its_causes(
    serve: Serve, run_cli: RunCli, path: str, response: Response, step: str, first_cause: str
) -> None:
    tenant = StandIn(sales(sales_row(1)))

    def application(request: Request) -> Response:
        return response if request.target.endswith(path) else tenant(request)

    settings: dict[str, Any] = {
        **serve(application),
        "backoff_max_tries": 1,
        "default_replication_method": "LOG_BASED",
    }
    result = run_cli(settings, "--check")
    assert result.returncode == 1
    passed, _, failed = result.stdout.partition(f"\nFAILED  {step}: ")
    assert "FAILED" not in passed
    what, *numbered = failed.splitlines()
    if numbered:
        assert numbered.pop(0) == "Likely causes, most likely first:"
        assert numbered[0].startswith(f"1. {first_cause}")
        assert first_cause not in what
    else:
        assert first_cause in what
    assert "Traceback" not in result.stderr


def test_neo_tenant_is_reported(run_cli: RunCli) -> None:
    result = run_cli({**ACME, "tenant_url": "https://acme.eu1.sapanalytics.cloud"}, "--check")
    assert result.returncode == 1
    assert "FAILED  settings: " in result.stdout
    assert "1. the tenant is on SAP's Neo platform" in result.stdout


def test_unknown_host_is_reported(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    config = {**ACME, "backoff_max_tries": 1}
    with pytest.raises(
        SACError, match=r"No response from https://acme\.auth.* token_url, and the n"
    ):
        TapSAC(config=config).sync_all()
    output = run_cli(config, "--check").stdout
    assert "FAILED  token: No response from https://acme.authentication.eu10.hana" in output
    assert "the address is mistyped" in output
    assert "2. " not in output


def test_proxy_that_does_not_answer_is_reported(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pa55word@127.0.0.1:9")
    result = run_cli({**ACME, "backoff_max_tries": 1}, "--check")
    assert result.returncode == 1
    assert "a proxy or firewall is in the way" in result.stdout
    assert "pa55word" not in result.stdout + result.stderr


def test_unknown_model_is_named_without_other_causes(serve: Serve, run_cli: RunCli) -> None:
    settings = {**serve(StandIn(sales(sales_row(1)))), "models": ["Salse"]}
    result = run_cli(settings, "--check")
    assert result.returncode == 1
    assert "FAILED  providers: The setting models has 'Salse'" in result.stdout
    assert "did you mean Sales" in result.stdout
    assert "causes" not in result.stdout


def test_all_causes_of_a_refused_client_are_listed_in_order(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(sales(sales_row(1)))
    tenant.fault = lambda _: error_response(403, "no")
    lines = run_cli(serve(tenant), "--check").stdout.splitlines()
    assert [
        line.partition(". C")[0].partition(". G")[0] for line in lines if line[0].isdecimal()
    ] == [
        "1. the OAuth client may not export data",
        "2. the token belongs to another tenant or region",
        "3. tenant_url is not the address of your SAC tenant",
    ]


def test_tenant_that_lists_no_subscriptions_can_be_read(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(sales(sales_row(1)))
    settings = {**serve(tenant), "default_replication_method": "LOG_BASED"}
    result = run_cli(settings, "--check")
    assert result.returncode == 0
    assert "ok      subscriptions: SAC does not list subscriptions" in result.stdout


def test_fault_of_a_named_model_fails_like_in_a_sync(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(sales(sales_row(1)), sales(sales_row(1), model_id="C4B", name="B"))
    tenant.fault = lambda request: (
        error_response(500, "oops") if "C4SALES/$metadata" in request.target else None
    )
    settings = {**serve(tenant), "backoff_max_tries": 1}
    result = run_cli({**settings, "models": ["Sales", "B"]}, "--check")
    assert result.returncode == 1
    assert "FAILED  $metadata: The model 'Sales' (C4SALES) was not read" in result.stdout
    assert "SAC answered 500" in result.stdout
    assert run_cli(settings, "--check").returncode == 0


def test_wrong_settings_are_a_step_too(run_cli: RunCli) -> None:
    result = run_cli({"demo": True, "page_size": 0, "modles": []}, "--check")
    assert result.returncode == 1
    misspelt, too_small = result.stdout.splitlines()
    assert misspelt.startswith("FAILED  settings: The setting modles is unknown to tap-sac")
    assert too_small.startswith("FAILED  settings: The setting page_size must be at least 1")


def test_filter_that_fits_no_stream_of_any_model_is_reported(run_cli: RunCli) -> None:
    settings = {"demo": True, "filters": {"sales_planning_fact_dta": "x"}}
    result = run_cli(settings, "--check")
    assert result.returncode == 1
    assert "FAILED  $metadata: The setting filters has 'sales_planning_fact_dta'" in result.stdout
    assert "did you mean sales_planning_fact_data" in result.stdout


def test_stream_that_is_not_served_is_skipped_as_in_a_sync(serve: Serve, run_cli: RunCli) -> None:
    columns = {"ID": "Edm.String*"}
    document = edmx(FlatMasterWithHierarchy=columns, PlainMaster=columns)
    tenant = StandIn(Model("C4A", "A", document, {"PlainMaster": ['{"ID":"1"}']}))
    tenant.fault = lambda request: (
        error_response(400, "no hierarchy") if "/Flat" in request.target else None
    )
    result = run_cli({**serve(tenant), "page_size": 7}, "--check")
    assert result.returncode == 0
    assert "rows: the first page of a_plain_master has 1 row\n" in result.stdout
    assert "A sync will skip the stream a_flat_master_with_hierarchy" in result.stderr


@pytest.mark.parametrize(
    ("stream", "code", "told"),
    [
        ("providers", 0, "ok      rows: no stream of any model is selected"),
        ("sales_fact_dta", 1, "FAILED  $metadata: The catalog selects streams that SAC, or the"),
    ],
)
def test_catalog_without_a_stream_of_a_model(
    serve: Serve, run_cli: RunCli, tmp_path: Path, stream: str, code: int, told: str
) -> None:
    settings = serve(StandIn(sales(sales_row(1))))
    catalog = discover(settings)
    catalog["sales_fact_dta"] = catalog.pop("sales_fact_data")
    catalog["sales_fact_dta"]["tap_stream_id"] = "sales_fact_dta"
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(select(catalog, stream)))
    result = run_cli(settings, "--check", "--catalog", str(path))
    assert result.returncode == code
    assert told in result.stdout


def test_names_in_sac_cannot_forge_a_step(serve: Serve, run_cli: RunCli) -> None:
    model = sales(sales_row(1), name="A\nok      rows: all is well\x1b[31m")
    model.namespace = "sac\nok      rows: all is well"
    result = run_cli(serve(StandIn(model)), "--check")
    steps = [line.split(":")[0] for line in result.stdout.splitlines() if line.startswith("ok ")]
    assert steps.count("ok      rows") <= 1
    assert "\x1b" not in result.stdout


def test_streams_that_sac_does_not_serve_are_not_a_failure(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(Model("C4A", "A", edmx(PlainMaster={"ID": "Edm.String*"})))
    tenant.fault = lambda request: (
        error_response(404, "gone [3707]") if "/Plain" in request.target else None
    )
    result = run_cli(serve(tenant), "--check")
    assert result.returncode == 0
    assert "ok      rows: SAC serves none of a_plain_master" in result.stdout


@pytest.mark.parametrize(
    ("retry_after", "requests", "seconds"), [({}, 2, 2), ({"Retry-After": "40"}, 2, 40)]
)
def test_interactive_commands_retry_only_once(
    serve: Serve,
    run_cli: RunCli,
    waits: list[float],
    retry_after: dict[str, str],
    requests: int,
    seconds: float,
) -> None:
    tenant = StandIn(sales(sales_row(1)))
    tenant.fault = lambda _: error_response(503, "busy", **retry_after)
    assert run_cli(serve(tenant), "--check").returncode == 1
    assert len(tenant.requests) == requests
    assert sum(waits) <= seconds


def test_it_sends_the_same_requests_as_a_sync(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    audit = edmx(
        FactData={"Version": "Edm.String*", "AMOUNT": "Edm.Decimal", "FTE": "Edm.Decimal"},
        AuditData={"Audit_Time": "Edm.DateTimeOffset*"},
    )
    time = '{"Audit_Time":"2026-11-02T05:12:44.123Z"}'
    sets: dict[str, Sequence[str]] = {"FactData": ['{"Version":"a"}'], "AuditData": [time]}
    tenant = StandIn(sales(sales_row(1)), Model("C4A", "A", audit, sets))
    settings = {
        **serve(tenant),
        "filters": {"*_fact_data": "Version eq 'a'"},
        "page_size": 7,
        "start_date": "2026-01-01T00:00:00Z",
    }
    catalog = discover(settings)
    fte = next(item for item in catalog["a_fact_data"]["metadata"] if "FTE" in item["breadcrumb"])
    fte["metadata"]["selected"] = False
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(select(catalog, "a_fact_data", "a_audit_data")))
    arguments = ("--catalog", str(path))
    asked = []
    for argument in (("--check",), ()):
        tenant.requests.clear()
        assert run_cli(settings, *arguments, *argument).returncode == 0
        asked.append({target for target in tenant.targets if "/C4A/" in target})
    assert asked[0] == asked[1]
    assert len(asked[0]) == 4


def test_a_check_writes_no_message(serve: Serve, run_cli: RunCli) -> None:
    result = run_cli(serve(StandIn(sales(sales_row(1)))), "--check")
    assert not [line for line in result.stdout.splitlines() if line.startswith("{")]
