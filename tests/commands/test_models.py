"""``tap-sac --models``: what is in a tenant, in a table and for programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.service import Response, SampleService
from tests.conftest import discover
from tests.helpers.cli import tap_command
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from tap_sac.demo.service import Request
    from tests.conftest import RunCli, Serve

KEYS = [
    *("id", "name", "namespace", "dimensions", "measures"),
    *("rows", "exportable", "reason", "streams"),
]
ROWS = [sales_row(number) for number in range(3)]


def listed(result: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """Return what ``--models=json`` printed, by id."""
    return {model["id"]: model for model in json.loads(result.stdout)}


def lines(result: Any) -> list[list[str]]:  # noqa: ANN401
    """Return the cells of the table."""
    return [re.split(r" {2,}", line) for line in result.stdout.splitlines()]


def test_table_of_the_sample_tenant(run_process: RunCli) -> None:
    result = run_process({"demo": True}, "--models", log_level=None)
    assert result.returncode == 0, result.stderr
    head, *models = lines(result)
    assert head == ["ID", "NAME", "NAMESPACE", "DIMENSIONS", "MEASURES", "ROWS", "EXPORTABLE"]
    assert len(models) == 11
    sales_model = ["C4SALESPLK8M4X1QW6TBV2ZJ5C", "Sales Planning", "sac", "5", "3", "5,760", "yes"]
    assert sales_model in models
    product = ["sap.epm.Alpenglow_Product:Product", "Product", "sac_public_dimensions"]
    assert [*product, "-", "-", "14", "yes"] in models
    (live,) = [model for model in models if model[1] == "Live Revenue"]
    assert live[3:6] == ["-", "-", "-"]
    assert live[6].startswith("no: the model is a live connection without rows in SAC; SAC")
    table = result.stdout.splitlines()
    end = table[0].index("ROWS") + len("ROWS")
    assert all(line[end - 1] != " " and line[end : end + 2] == "  " for line in table)
    (note,) = result.stderr.splitlines()
    assert "Reading the sample tenant" in note


def test_documented_table_is_that_of_the_sample_tenant(run_cli: RunCli) -> None:
    page = Path(__file__).parents[2] / "docs" / "streams.md"
    (documented,) = re.findall(
        r"^ID  .*?(?=^```)", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    result = run_cli({"demo": True}, "--models")

    def lines_of(text: str) -> list[str]:
        return re.sub(r"correlation id [0-9a-f-]+", "", text).splitlines()

    shown = [line for line in lines_of(documented) if line != "..."]
    assert shown == [line for line in lines_of(result.stdout) if line in shown]


def test_json_has_the_same_for_programs(run_process: RunCli) -> None:
    result = run_process({"demo": True}, "--models=json")
    assert result.returncode == 0, result.stderr
    models = listed(result)
    assert len(models) == 11
    assert all(list(model) == KEYS for model in models.values())
    catalog = discover({"demo": True})
    model = models["C4WORKFRCK5M2X8QW3TBV1ZJ7B"]
    assert model == {
        "id": "C4WORKFRCK5M2X8QW3TBV1ZJ7B",
        "name": "Workforce Planning",
        "namespace": "sac",
        "dimensions": ["Version", "Date", "Account", "CostCenter", "Grade", "Currency"],
        "measures": ["AMOUNT", "FTE"],
        "rows": 12852,
        "exportable": True,
        "reason": None,
        "streams": model["streams"],
    }
    streams = {name for model in models.values() for name in model["streams"]}
    assert streams == set(catalog) - {"providers"}
    live = models["C4LIVEX3M8K1P6T9R2V5Y7Z0QA"]
    assert (live["exportable"], live["rows"], live["streams"]) == (False, None, [])
    assert "live connection" in live["reason"]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (error_response(412, "live"), "the model is a live connection"),
        (error_response(403, "no"), "the model is not shared with the OAuth client"),
        (error_response(404, "no [1305]"), "the model is not shared with the OAuth client"),
        (error_response(500, "oops"), "SAC answered 500"),
        (Response(200, b"<Edmx><Schema>"), "$metadata is not a readable XML document"),
        (Response(200, edmx().encode()), "$metadata describes no table"),
        (Response(403, b"<html>no</html>"), "A proxy or gateway, not SAC, answered GET"),
    ],
    ids=["live", "no right", "deleted", "fault", "broken", "empty", "proxy"],
)
def test_unreadable_model_has_a_reason(
    serve: Serve, run_cli: RunCli, waits: list[float], response: Response, reason: str
) -> None:
    tenant = StandIn(sales(*ROWS), sales(model_id="C4B", name="B"))
    tenant.fault = lambda request: response if "C4B/$metadata" in request.target else None
    config = {**serve(tenant), "models": ["Sales", "B"], "backoff_max_tries": 2}
    result = run_cli(config, "--models=json")
    assert result.returncode == 0, result.stderr
    models = listed(result)
    assert models["C4SALES"]["rows"] == len(ROWS)
    assert models["C4B"]["exportable"] is False
    assert reason in models["C4B"]["reason"]
    table = run_cli(config, "--models")
    assert table.returncode == 0
    assert f"no: {models['C4B']['reason']}" in " ".join(table.stdout.split())
    assert len(waits) == (2 if response.status == 500 else 0)


def test_facts_that_metadata_contradicts_itself_about_cannot_be_read(
    serve: Serve, run_cli: RunCli
) -> None:
    document = edmx(FactData={"A": "Edm.String*"}, AMaster={"ID": "Edm.String*"}).replace(
        '<PropertyRef Name="A"/>', '<PropertyRef Name="B"/>'
    )
    tenant = StandIn(Model("C4A", "A", document, {}), sales(*ROWS))
    models = listed(run_cli(serve(tenant), "--models=json"))
    assert "key of 'FactData'" in models["C4A"]["reason"]


@pytest.mark.parametrize("option", ["--models", "--models=json"])
def test_tenant_without_a_readable_model_is_an_error(
    serve: Serve, run_cli: RunCli, option: str
) -> None:
    tenant = StandIn(sales(*ROWS), sales(model_id="C4B", name="B"))
    tenant.fault = lambda request: (
        error_response(412, "live") if "$metadata" in request.target else None
    )
    result = run_cli(serve(tenant), option)
    assert result.returncode == 1
    assert "None of the 2 models can be read: the model is a live connection" in result.stderr
    assert result.stdout.count("live connection") == 2


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("place", ["Namespaces", "/Providers", "$metadata"])
def test_refused_sign_in_is_an_error(serve: Serve, run_cli: RunCli, place: str) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = lambda request: error_response(401, "no") if place in request.target else None
    result = run_cli(serve(tenant), "--models=json")
    assert (result.returncode, result.stdout) == (1, "")
    assert "SAC answered 401" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "answer",
    [
        None,
        error_response(400, "no"),
        error_response(403, "no"),
        error_response(503, "busy"),
        Response(200, b"<html>", {}),
        Response(200, b'{"value":[],"@odata.count":"many"}', JSON),
    ],
    ids=["none", "refused", "denied", "busy", "web page", "no number"],
)
def test_count_that_cannot_be_had_is_not_a_failure(
    serve: Serve, run_cli: RunCli, answer: Response | None
) -> None:
    tenant = StandIn(sales(*ROWS))
    if answer is None:
        tenant.counts = False
    tenant.fault = lambda request: answer if "$count" in request.target else None
    config = serve(tenant)
    result = run_cli(config, "--models=json")
    assert result.returncode == 0, result.stderr
    model = listed(result)["C4SALES"]
    assert (model["rows"], model["exportable"]) == (None, True)
    assert lines(run_cli(config, "--models"))[1][3:] == ["2", "1", "-", "yes"]


def test_models_are_listed_with_two_requests_each_and_without_rows(
    serve: Serve, run_cli: RunCli
) -> None:
    tenant = StandIn(sales(*ROWS), sales(*ROWS, model_id="C4B", name="B"))
    assert run_cli(serve(tenant), "--models").returncode == 0
    assert len(tenant.targets) == 2 + 2 * 2
    assert len([item for item in tenant.targets if item.endswith("$metadata")]) == 2
    assert not tenant.reads("FactData")


def test_only_chosen_models_are_listed(run_cli: RunCli) -> None:
    settings = {"demo": True, "namespaces": ["sac"], "models": ["Budget", "Live*"]}
    models = listed(run_cli(settings, "--models=json"))
    assert {model["name"] for model in models.values()} == {"Budget", "Live Revenue"}
    result = run_cli({**settings, "models": ["Budgte"]}, "--models")
    assert (result.returncode, result.stdout) == (1, "")
    assert "did you mean Budget" in result.stderr


def test_catalog_and_state_are_ignored(serve: Serve, run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_text('{"streams": []}')
    config = serve(StandIn(sales(*ROWS)))
    arguments = ("--catalog", str(path), "--state", str(path))
    result = run_cli(config, "--models=json", *arguments)
    assert result.returncode == 0, result.stderr
    assert "C4SALES" in listed(result)


def test_namespace_that_must_not_be_missing_is_an_error(serve: Serve, run_cli: RunCli) -> None:
    service = SampleService()
    service.refuse(r"'sac_currency_tables'\)/Providers", error_response(404, "not there"))
    config = serve(service)
    result = run_cli(config, "--models=json")
    assert result.returncode == 0, result.stderr
    assert "Skipping the namespace sac_currency_tables" in result.stderr
    named = {**config, "namespaces": ["sac", "sac_currency_tables"]}
    result = run_cli(named, "--models=json")
    assert result.returncode == 1
    assert len(listed(result)) == 6
    assert "The namespace sac_currency_tables was not read." in result.stderr


def test_name_from_sac_cannot_forge_a_row(serve: Serve, run_cli: RunCli) -> None:
    name = "A\nC4X  B\x1b[31m"
    config = serve(StandIn(sales(*ROWS, name=name)))
    result = run_cli(config, "--models")
    assert len(result.stdout.splitlines()) == 2
    assert "\x1b" not in result.stdout
    assert listed(run_cli(config, "--models=json"))["C4SALES"]["name"] == name


def test_settings_can_come_from_the_environment(
    serve: Serve, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in serve(StandIn(sales(*ROWS))).items():
        monkeypatch.setenv(f"TAP_SAC_{name.upper()}", value)
    result = run_cli(None, "--config=ENV", "--models")
    assert result.returncode == 0, result.stderr
    assert lines(result)[1][0] == "C4SALES"


@pytest.mark.parametrize(("arguments", "code"), [(("--models=xml",), 2), (("--models", "json"), 0)])
def test_format_is_table_or_json(run_cli: RunCli, arguments: tuple[str, ...], code: int) -> None:
    assert run_cli({"demo": True, "models": ["Budget"]}, *arguments).returncode == code


def test_missing_settings_are_reported(run_cli: RunCli) -> None:
    result = run_cli({}, "--models")
    assert (result.returncode, result.stdout) == (1, "")
    assert "The setting tenant_url is missing" in result.stderr


def test_models_are_read_in_parallel(serve: Serve, run_cli: RunCli) -> None:
    """Let no model have an answer before as many as may be asked at once have been asked."""
    names = [f"C4{number}" for number in range(4)]
    tenant = StandIn(*(sales(*ROWS, model_id=name, name=name) for name in names))
    barrier = threading.Barrier(len(names))

    def fault(request: Request) -> Response | None:
        if "$metadata" in request.target:
            barrier.wait(timeout=30)
        return None

    tenant.fault = fault
    result = run_cli({**serve(tenant), "max_parallel_requests": 4}, "--models=json")
    assert list(listed(result)) == names


def test_progress_is_shown_only_at_a_terminal(serve: Serve, tmp_path: Path) -> None:
    tenant = StandIn(*(sales(*ROWS, model_id=name, name=name) for name in ("C4A", "C4B")))
    command = tap_command(tmp_path, serve(tenant), "--models=json")
    terminal, end = os.openpty()
    try:
        process = subprocess.run(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=end, timeout=120, check=False, text=True
        )
        os.close(end)
        shown = os.read(terminal, 10_000).decode()
    finally:
        os.close(terminal)
    assert process.returncode == 0, shown
    assert "1 of 2 models" in shown
    assert shown.endswith("2 of 2 models\r\x1b[K")
    assert list(json.loads(process.stdout)[0]) == KEYS
