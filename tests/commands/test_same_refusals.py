"""`--check` and a run refuse the same things with the same sentence; and what `--test` says."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.service import Response
from tests.conftest import discover, read_messages, select
from tests.helpers.batches import batch_config
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import RunCli, Serve

FACTS = "sales_fact_data"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"page_size": 0}, "The setting page_size must be at least 1"),
    ({"pagesize": 5}, "The setting pagesize is unknown to tap-sac"),
    (
        {"TAP_SAC_MODELS": ["Sales"]},
        "setting TAP_SAC_MODELS is unknown to tap-sac: did you mean mo",
    ),
    ({"models ": ["Sales"]}, "The setting 'models ' is unknown to tap-sac: did you mean models?"),
    (
        {"m\u043edels": ["Sales"]},
        r"The setting 'm\u043edels' is unknown to tap-sac: did you mean mo",
    ),
    ({"FILTERS": {FACTS: "AMOUNT gt 1"}}, "The setting FILTERS is unknown to tap-sac: did you me"),
    ({"flattening_enabled": True}, "The setting flattening_enabled needs flattening_max_depth"),
    ({"refresh_token": " "}, "The setting refresh_token is blank"),
    ({"start_date": "yesterday"}, "The setting start_date is not a valid time"),
    ({"batch_config": {"encoding": "jsonl"}}, "batch_config.encoding must be of type object"),
    ({"batch_config": {"encoding": {}}}, "The setting batch_config needs an encoding"),
    (
        {
            "batch_config": {
                "encoding": {"format": "jsonl"},
                "storage": {"root": "sftp://me:hidden-word@host/sac"},
            }
        },
        "The setting batch_config has a password in root, which messages and logs show",
    ),
    (
        {
            "batch_config": {
                "encoding": {"format": "jsonl"},
                "storage": {"root": "sftp://me@host/sac"},
            }
        },
        "The setting batch_config has no known_hosts in params of storage",
    ),
    (
        {"batch_config": {"encoding": {"format": "arrow", "compression": "gzip"}}},
        "The setting batch_config asks for compression, which Arrow files do not support",
    ),
    (
        {"batch_config": {"encoding": {"format": "arrow"}, "storage": {"root": "s3://lake/x"}}},
        "The setting batch_config asks for Arrow files in remote storage",
    ),
    ({"models": ["Salse"]}, "The setting models has 'Salse', which matches no model"),
    ({"namespaces": ["sak"]}, "The setting namespaces has 'sak', which matches no namespace"),
    ({"filters": {"sale_*": "x eq 1"}}, "The setting filters has 'sale_*', which matches no"),
    ({"filters": {FACTS: "AMOUNTS gt 1"}}, "AMOUNTS"),
    ({"partition_by": {FACTS: "AMOUNTS"}}, "The setting partition_by names 'AMOUNTS'"),
    ({"partition_by": {"sales": "Date"}}, "The setting partition_by has 'sales', which matches"),
    ({"stream_maps": {"sales": {"AMOUNT": "1"}}}, "The setting stream_maps has 'sales', which ma"),
    ({"stream_maps": {FACTS: {"amount": "1"}}}, "names the column 'amount', which SAC spells 'AM"),
    ({"stream_maps": {FACTS: {"AMOUNT": "1 +"}}}, "1 +"),
    ({"stream_maps": {FACTS: {"__alias__": "__stream_name__ + 1"}}}, "applied (TypeError: "),
    (
        {"stream_maps": {FACTS: {"X": "amount"}}},
        "reads 'amount' for X, which is not a column of its rows: did you mean AMOUNT?",
    ),
    ({"stream_maps": {FACTS: {"X": "SALES"}}}, "reads 'SALES' for X, which is not a column"),
    ({"stream_maps": {FACTS: {"X": "self"}}}, "reads 'self' for X, which is not a column"),
    ({"stream_maps": {"*": {"__filter__": "amount > 1"}}}, "reads 'amount' for __filter__"),
    ({"stream_maps": {FACTS: {"AMOUNT": " "}}}, "stream_maps has a blank entry for AMOUNT of sale"),
    ({"stream_maps": {FACTS: {"__else__": []}}}, "has an __else__ for sales_fact_data that is n"),
    ({"stream_maps": {"__else__": 5}}, "stream_maps has an __else__ for all streams that is n"),
    (
        {"stream_maps": {"copy": {"__source__": None}}},
        "has a __source__ for copy that is not a stream name",
    ),
    ({"stream_maps": {FACTS: {"__filtre__": "AMOUNT > 1"}}}, "did you mean __filter__?"),
]


def sentences(run_cli: RunCli, config: dict[str, Any], *arguments: str) -> tuple[str, str]:
    """Return what a run, and what --check, say of a refusal."""
    run = run_cli(config, *arguments)
    check = run_cli(config, *arguments, "--check")
    assert (run.returncode, check.returncode) == (1, 1)
    assert "RECORD" not in run.stdout
    (of_run, *_) = [line for line in run.stderr.splitlines() if "| ERROR" in line]
    (of_check, *_) = [line for line in check.stdout.splitlines() if line.startswith("FAILED")]
    return of_run.split(" | ", 3)[3].strip(), of_check.split(": ", 1)[1].strip()


@pytest.mark.parametrize(("settings", "told"), REFUSED)
def test_check_and_run_refuse_a_setting_with_the_same_message(
    serve: Serve, run_cli: RunCli, settings: dict[str, Any], told: str
) -> None:
    config = {**serve(StandIn(sales(sales_row(1)))), **settings}
    of_run, of_check = sentences(run_cli, config)
    assert told in of_run
    assert of_check == of_run


def test_check_and_run_refuse_maps_for_batch_files_with_the_same_message(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    config = {**serve(StandIn(sales(sales_row(1)))), **batch_config(tmp_path, "jsonl", None, 3)}
    config["stream_maps"] = {"copy": {"__source__": FACTS}}
    of_run, of_check = sentences(run_cli, config)
    assert "into further streams" in of_run
    assert of_check == of_run


def test_check_and_run_refuse_parquet_without_its_package_with_the_same_message(
    serve: Serve, run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    config = {**serve(StandIn(sales(sales_row(1)))), **batch_config(tmp_path, "parquet", None, 3)}
    of_run, of_check = sentences(run_cli, config)
    assert "need pyarrow: install tap-sac[parquet]" in of_run
    assert of_check == of_run


@pytest.mark.parametrize(
    ("root", "told"),
    [
        ("gs://lake/x", "which needs a package that is not installed"),
        ("nope://lake/x", "cannot be written to nope://lake/x"),
        ("github://acme/x", "cannot be written to github://acme/x"),
        (" ", "The setting batch_config has a blank root"),
        ("{folder}/file/below", "cannot be written to"),
        ("/proc/tap-sac", "cannot be written to /proc/tap-sac"),
    ],
)
def test_check_and_run_refuse_a_storage_with_the_same_message(
    serve: Serve, run_cli: RunCli, tmp_path: Path, root: str, told: str
) -> None:
    tenant = StandIn(sales(sales_row(1)))
    (tmp_path / "file").touch()
    config = {**serve(tenant), **batch_config(tmp_path, "jsonl", None, 3)}
    config["batch_config"]["storage"]["root"] = root.replace("{folder}", str(tmp_path))
    of_run, of_check = sentences(run_cli, config)
    assert told in of_run
    assert of_check == of_run
    assert not tenant.reads("/FactData")


def test_check_leaves_no_file_in_the_storage(serve: Serve, run_cli: RunCli, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    config = {**serve(StandIn(sales(sales_row(1)))), **batch_config(folder, "jsonl", None, 3)}
    assert run_cli(config, "--check").returncode == 0
    assert not list(folder.iterdir())


@pytest.fixture
def tenant() -> StandIn:
    document = edmx(AMaster={"ID": "Edm.String*"}, BMaster={"ID": "Edm.String*"})
    return StandIn(Model("C4M", "M", document, {"AMaster": ['{"ID":"1"}'], "BMaster": []}))


def test_test_passes_if_each_stream_has_a_record_or_is_empty(
    serve: Serve, run_cli: RunCli, tenant: StandIn
) -> None:
    result = run_cli(serve(tenant), "--test")
    assert result.returncode == 0, result.stderr
    assert "The test passed: 3 selected streams can be read." in result.stderr
    assert "unhandled" not in result.stderr
    records = [item["stream"] for item in read_messages(result.stdout) if item["type"] == "RECORD"]
    assert records == ["m_a_master", "providers"]


def test_test_requests_a_single_row(serve: Serve, run_cli: RunCli, tenant: StandIn) -> None:
    page = Response(200, b'{"@odata.count":5,"value":[{"ID":"1"}]}', JSON)
    tenant.fault = lambda request: page if "/AMaster" in request.target else None
    result = run_cli(serve(tenant), "--test")
    assert result.returncode == 0, result.stderr
    assert "The test passed: 3 selected streams can be read." in result.stderr


@pytest.mark.parametrize("rows", [['{"ID":null}'], ['{"X":"1"}'], ["{"]])
def test_test_fails_by_name_if_a_stream_cannot_be_read(
    serve: Serve, run_cli: RunCli, tenant: StandIn, rows: list[str]
) -> None:
    tenant.models[0].sets["AMaster"] = rows
    result = run_cli({**serve(tenant), "backoff_max_tries": 1}, "--test")
    assert result.returncode == 1
    assert "The test failed for 1 of 3 selected streams. m_a_master: " in result.stderr
    assert "unhandled" not in result.stderr
    assert "Traceback" not in result.stderr
    assert '"RECORD","stream":"providers"' in result.stdout


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("status", [400, 401, 403])
def test_test_fails_if_sac_refuses(
    serve: Serve, run_cli: RunCli, tenant: StandIn, status: int
) -> None:
    tenant.fault = lambda request: (
        error_response(status, "not today") if "/BMaster" in request.target else None
    )
    result = run_cli(serve(tenant), "--test")
    assert result.returncode == 1
    assert "The test failed for 1 of 3 selected streams. m_b_master: " in result.stderr
    assert "not today" in result.stderr
    assert "unhandled" not in result.stderr


@pytest.mark.parametrize("option", [(), ("--check",), ("--test",)])
@pytest.mark.parametrize("models", [["M"], ["*"]])
def test_test_fails_like_a_run_if_a_model_is_missing(
    serve: Serve, run_cli: RunCli, tenant: StandIn, models: list[str], option: tuple[str, ...]
) -> None:
    tenant.models = (*tenant.models, sales(sales_row(1)))
    named = models == ["M"]
    answer = error_response(403, "no") if named else Response(404, b"Not found")
    tenant.fault = lambda request: answer if "C4M/$metadata" in request.target else None
    result = run_cli({**serve(tenant), "models": [*models, "Sales"]}, *option)
    assert result.returncode == 1
    assert "The model 'M' (C4M) was not read. " in result.stderr + result.stdout
    assert "test passed" not in result.stderr


def test_test_reads_only_what_the_catalog_selects(
    serve: Serve, run_cli: RunCli, tenant: StandIn, tmp_path: Path
) -> None:
    config = serve(tenant)
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(select(discover(config), "m_a_master")))
    result = run_cli(config, "--catalog", str(path), "--test")
    assert result.returncode == 0, result.stderr
    assert "The test passed: 1 selected stream can be read." in result.stderr
    assert read_messages(result.stdout).streams == ["m_a_master"]


def test_test_of_schemas_writes_them_alone(serve: Serve, run_cli: RunCli, tenant: StandIn) -> None:
    result = run_cli(serve(tenant), "--test=schema")
    assert result.returncode == 0, result.stderr
    assert {item["type"] for item in read_messages(result.stdout)} == {"SCHEMA"}


def test_handled_failure_of_a_run_is_not_called_unhandled(
    serve: Serve, run_cli: RunCli, tenant: StandIn
) -> None:
    tenant.fault = lambda request: (
        error_response(403, "not today") if "/BMaster" in request.target else None
    )
    result = run_cli(serve(tenant))
    assert result.returncode == 1
    assert "not today" in result.stderr
    assert "unhandled" not in result.stderr


def test_bug_is_still_called_unhandled(
    serve: Serve, run_cli: RunCli, tenant: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tap_sac.streams.stream.SACStream.read", lambda _: 1 / 0)
    result = run_cli(serve(tenant))
    assert result.returncode == 1
    assert "An unhandled error occurred while syncing 'm_a_master'" in result.stderr
    assert "ZeroDivisionError" in result.stderr
