"""``tap-sac --check``: what it finds on the way of a sync, and what it advises where that ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.service import Response
from tests.stand_in import StandIn, error_response, sales, sales_row

if TYPE_CHECKING:
    from tap_sac.demo.service import Request
    from tests.conftest import RunCli, Serve


def test_each_step_tells_what_it_found(run_cli: RunCli) -> None:
    result = run_cli({"demo": True, "default_replication_method": "LOG_BASED"}, "--check")
    assert result.returncode == 0
    steps = [line.split(":")[0] for line in result.stdout.splitlines()]
    names = ("settings", "token", "models", "$metadata", "rows", "subscriptions")
    assert steps == [f"ok      {name}" for name in names]
    assert "7 in SAC, 7 chosen by the settings" in result.stdout


@pytest.mark.parametrize(
    ("path", "response", "step", "first_cause"),
    [
        (
            "Namespaces",
            error_response(403, "client not allowed [3401]"),
            "models",
            "the OAuth client may not export data",
        ),
        (
            "Namespaces",
            Response(302, b"", {"Location": "https://acme.eu10.hcs.cloud.sap/login"}),
            "models",
            "the host is not that of the tenant",
        ),
        ("$metadata", error_response(412, "live"), "$metadata", "the model is a live connection"),
        (
            "$metadata",
            error_response(404, "[1305]"),
            "$metadata",
            "the model is not shared",
        ),
        ("FactData", error_response(403, "no"), "rows", "the OAuth client may not export data"),
        ("FactData", error_response(503, "busy"), "rows", "the model is not shared"),
        (
            "Subscriptions",
            error_response(403, "no"),
            "subscriptions",
            "the OAuth client may not export data",
        ),
    ],
)
def test_first_failure_ends_it_with_its_causes(
    serve: Serve, run_cli: RunCli, path: str, response: Response, step: str, first_cause: str
) -> None:
    tenant = StandIn(sales(sales_row(1)))

    def fault(request: Request) -> Response | None:
        return response if path in request.target else None

    tenant.fault = fault
    settings: dict[str, Any] = {
        **serve(tenant),
        "backoff_max_tries": 1,
        "default_replication_method": "LOG_BASED",
    }
    result = run_cli(settings, "--check")
    assert result.returncode == 1
    assert f"FAILED  {step}: SAC" in result.stdout
    assert f"1. {first_cause}" in result.stdout
    assert "Traceback" not in result.stderr


def test_refused_client_is_told_about_its_secret(serve: Serve, run_cli: RunCli) -> None:
    settings = serve(StandIn())
    settings["token_url"] = settings["tenant_url"] + "/not-here"
    result = run_cli(settings, "--check")
    assert result.returncode == 1
    assert "FAILED  token: " in result.stdout
    assert "1. the secret has expired or is mistyped" in result.stdout


def test_unknown_model_is_named(serve: Serve, run_cli: RunCli) -> None:
    settings = {**serve(StandIn(sales(sales_row(1)))), "models": ["Salse"]}
    result = run_cli(settings, "--check")
    assert result.returncode == 1
    assert "FAILED  models: The setting models has 'Salse'" in result.stdout
    assert "did you mean Sales" in result.stdout
