"""What a person reads when the configuration is wrong: one sentence, and a non-zero exit code."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo import SampleTenant
from tap_sac.demo.service import CLIENT_SECRET, Request, Response
from tests.conftest import discover, read_messages, select
from tests.helpers.cli import started, tap_command
from tests.helpers.stand_in import Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import RunCli, Serve


@pytest.fixture(scope="module")
def sample() -> Iterator[dict[str, Any]]:
    with SampleTenant() as tenant:
        yield tenant.settings


BATCH = {"encoding": {"format": "jsonl"}, "storage": {"root": "output"}}
WRONG_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"client_secret": "wr0ng-s3cret"}, r"invalid_client: Bad credentials.*client_secret"),
    ({"client_secret": 90817263544}, r"setting client_secret must be of type string"),
    ({"models": ["Sales Plannning"]}, r"setting models .*did you mean Sales Planning"),
    ({"page_size": "many"}, r"setting page_size must be of type integer"),
    ({"page_size": 0}, r"setting page_size must be at least 1"),
    ({"models": "Sales Planning"}, r"setting models must be of type array"),
    ({"filters": {"*_fact_data": 1}}, r"setting filters.\*_fact_data must be of type string"),
    ({"filters": {"budget_*": "Version = 'x'"}}, r"filter \"Version = 'x'\".*setting filters"),
    ({"stream_naming": "number"}, r"setting stream_naming must be one of name, id"),
    ({"models": []}, r"setting models is an empty list"),
    ({"filter": {"*": "x"}}, r"setting filter is unknown to tap-sac: did you mean filters\?"),
    ({"page_sise\n": 5}, r"setting page_sise is unknown to tap-sac: did you mean page_size\?"),
    ({"tenant_url": None}, r"setting tenant_url is missing: .* TAP_SAC_TENANT_URL with"),
    ({"client_id": ""}, r"setting client_id is missing"),
    ({"token_url": None}, r"Token URL cannot be derived .* token_url"),
    ({"tenant_url": "http://acme.eu10.hcs.cloud.sap"}, r"tenant_url .*https"),
    ({"token_url": "http://acme.authentication.eu10.hana.example"}, r"token_url .*https"),
    ({"tenant_url": "http://localhost.evil.example"}, r"tenant_url .*https"),
    ({"tenant_url": "http://127.0.0.1.evil.example"}, r"tenant_url .*https"),
    ({"token_url": "nonsense://x"}, r"setting token_url is not a valid URL"),
    (
        {"token_url": None, "tenant_url": "acme"},
        r"from the host acme. Check the setting tenant_url",
    ),
    ({"tenant_url": "https://a b"}, r"setting tenant_url is not a valid URL"),
    ({"tenant_url": "https://.sap"}, r"setting tenant_url is not a valid URL"),
    ({"token_url": "https://acme..sap"}, r"setting token_url is not a valid URL"),
    ({"tenant_url": f"https://{64 * 'a'}.sap"}, r"setting tenant_url is not a valid URL"),
    ({"tenant_url": f"https://{'a.' * 127}sap"}, r"setting tenant_url is not a valid URL"),
    ({"filters": {"*": "\ud800"}}, r"setting filters contains invalid Unicode"),
    ({"user_agent": "a\nb"}, r"setting user_agent must be ASCII on one line"),
    ({"user_agent": "a\n"}, r"setting user_agent must be ASCII on one line"),
    ({"user_agent": " a"}, r"setting user_agent must be ASCII on one line"),
    (
        {"stream_maps": {"x": 5}},
        r"setting stream_maps.x does not match any format shown by tap-sac --abo",
    ),
    ({"request_timeout": 10**12}, r"setting request_timeout must be at most 86400"),
    ({"max_parallel_requests": 10**20}, r"setting max_parallel_requests must be at most 100"),
    ({"start_date": "yesterday"}, r"setting start_date is not a valid time"),
    ({"start_date": "0001-01-01T00:00:00+01:00"}, r"setting start_date is not a valid time"),
    ({"batch_config": {"encoding": {}, "storage": {}}}, r"setting batch_config needs"),
    ({"batch_config": {**BATCH, "batch_size": -1}}, r"batch_config.batch_size must be at l"),
    ({"batch_config": {**BATCH, "batch_size": 0}}, r"batch_config.batch_size must be at le"),
    (
        {"batch_config": {**BATCH, "storage": {"root": "nope://x"}}},
        r"cannot be written .*setting batch_config",
    ),
]


@pytest.mark.parametrize(("changes", "told"), WRONG_SETTINGS)
def test_wrong_settings(
    sample: dict[str, Any], run_cli: RunCli, changes: dict[str, Any], told: str
) -> None:
    assert_one_sentence(run_cli({**sample, **changes}), told, changes)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TAP_SAC_PAGE_SIZE", "many"),
        ("TAP_SAC_FILTERS", "Version eq 'public.Actual'"),
        ("TAP_SAC_STREAM_MAPS", "{"),
        ("TAP_SAC_FILTERS", "[" * 10_000),
    ],
)
@pytest.mark.parametrize("option", ["", "--discover", "--check"])
def test_wrong_environment_variables(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, option: str
) -> None:
    monkeypatch.setenv("TAP_SAC_DEMO", "true")
    monkeypatch.setenv(variable, value)
    result = run_cli(None, "--config=ENV", *option.split())
    assert_one_sentence(result, f"The environment variable {variable} cannot be read", {})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TAP_SAC_LOGLEVEL", "loud"),
        ("SINGER_SDK_LOG_CONFIG", "/"),
        ("SINGER_SDK_LOG_CONFIG", "broken.yml"),
    ],
)
def test_log_that_cannot_be_set_up(
    run_process: RunCli,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    value: str,
) -> None:
    (tmp_path / "broken.yml").write_text("version: 1\nhandlers: {x: [}")
    monkeypatch.setenv(variable, value)
    result = run_process(None, "--about", log_level=None, cwd=tmp_path)
    assert_one_sentence(result, f"Logging cannot be set up .* {variable}", {})


@pytest.mark.parametrize("option", ["--discover", "--test"])
@pytest.mark.parametrize(("changes", "told"), WRONG_SETTINGS[:3])
def test_wrong_settings_with_other_commands(
    sample: dict[str, Any], run_cli: RunCli, changes: dict[str, Any], told: str, option: str
) -> None:
    assert_one_sentence(run_cli({**sample, **changes}, option), told, changes)


def assert_one_sentence(
    result: subprocess.CompletedProcess[str], told: str, changes: dict[str, Any]
) -> None:
    assert result.returncode == 1
    assert re.search(told, result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    for secret in (CLIENT_SECRET, str(changes.get("client_secret") or CLIENT_SECRET)):
        assert secret not in result.stderr + result.stdout
    assert "token-1" not in result.stderr


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            error_response(403, "Client may not use this API. [3401]"),
            r"\[3401\].*correlation id 6f1c2f0e-3f1a.*'Data Export.*App Integration",
        ),
        (error_response(401, "no [3401]"), r"\[3401\].*App Integration"),
        (error_response(404, "Endpoint not valid. [1305]"), r"\[1305\].*tenant_url is not"),
        (Response(404, b"<html>Not found"), r"GET /api.*404 Not Found.*HTTPS_PROXY"),
        (Response(200, b"<!DOCTYPE html><html>Log in"), r"web page.*tenant_url is not"),
        (
            Response(302, b"", {"Location": "https://login.example/x?token=y"}),
            r"302.*redirect to https://login.example.*tenant_url is not",
        ),
        (Response(500, b""), r"500 .*Run the tap again later"),
    ],
)
def test_refusals_of_the_tenant(serve: Serve, run_cli: RunCli, answer: Response, told: str) -> None:
    tenant = StandIn(sales(sales_row(1)))
    tenant.fault = lambda _: answer
    result = run_cli({**serve(tenant), "backoff_max_tries": 1})
    assert_one_sentence(result, told, {})
    assert result.stdout == ""


@pytest.mark.usefixtures("waits")
def test_wrong_host(sample: dict[str, Any], run_cli: RunCli) -> None:
    config = {**sample, "tenant_url": "http://127.0.0.1:1", "backoff_max_tries": 2}
    result = run_cli(config)
    assert_one_sentence(result, r"No response from http://127.0.0.1:1 \(.*refused.*tenant_url", {})
    assert "Retrying" in result.stderr


def test_unknown_setting_is_reported(run_cli: RunCli) -> None:
    result = run_cli({"demo": True, "models": ["Budget"], "threads\x1b": 5}, "--discover")
    assert result.returncode == 0
    assert result.stderr.count("Ignoring unknown setting threads.") == 1


def test_other_page_of_sac_as_token_url_is_reported(serve: Serve, run_cli: RunCli) -> None:
    refusal = error_response(401, "Unauthorized [1305]")
    result = run_cli(serve(lambda _: refusal))
    assert_one_sentence(
        result, r"answered 401 \(Unauthorized \[1305\]\): token_url belongs to another", {}
    )


def test_several_wrong_settings_are_all_reported(run_cli: RunCli) -> None:
    result = run_cli({"page_size": "x"})
    for setting in ("page_size", "tenant_url", "client_id", "client_secret"):
        assert f"The setting {setting} " in result.stderr
    *_, last = result.stderr.splitlines()
    assert "The setting client_secret is missing" in last


@pytest.mark.parametrize(
    "text",
    [
        None,
        "{",
        "[1",
        "5",
        "[" * 100_000,
        "1e9999999999999999999",
        '[["page_size", 5]]',
        '{"a":NaN}',
    ],
)
def test_config_file_that_cannot_be_read(run_cli: RunCli, tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "other.json"
    if text is not None:
        path.write_text(text)
    result = run_cli({"demo": True}, "--config", str(path))
    next_step = "check its path" if text is None else "write it as a JSON object"
    assert_one_sentence(result, rf"--config file cannot be read .*: {next_step}", {})


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (error_response(403, "no token Bearer token-1 of x"), r"no token Bearer \*\*\* of x"),
        (error_response(403, "no 'token-1'"), r"no '\*\*\*'"),
        (error_response(403, "no Bearer eyJx.y of x"), r"no Bearer \*\*\* of x"),
        (error_response(403, "no basic Zm9v"), r"no basic \*\*\*"),
        (Response(403, b"", {"X-CorrelationID": "token-1"}), r"correlation id \*\*\*"),
        (Response(302, b"", {"Location": "https://x:y@token-1.example/"}), r"to https://\*\*\*.ex"),
        (
            Response(200, b'{"value":[],"@odata.nextLink":"https://x:token-1@evil.example/"}'),
            r"another server, https://evil.example",
        ),
    ],
)
def test_token_that_sac_repeats_is_masked(
    serve: Serve, run_cli: RunCli, answer: Response, told: str
) -> None:
    tenant = StandIn(sales(sales_row(1)))
    tenant.fault = lambda _: answer
    assert_one_sentence(run_cli(serve(tenant)), told, {})


@pytest.mark.parametrize("number", ["NaN", "INF", "-INF"])
@pytest.mark.parametrize(
    ("type_name", "form"),
    [
        ("Edm.Double", "{}"),
        ("Edm.Single", "{}"),
        ("Edm.Decimal", "{}"),
        ("Edm.Double*", "{}"),
    ],
)
@pytest.mark.parametrize("option", [[], ["--check"]])
def test_number_that_json_does_not_have_fails_its_stream_alone(
    serve: Serve, run_cli: RunCli, type_name: str, form: str, number: str, option: list[str]
) -> None:
    value = form.format(json.dumps(number))
    document = edmx(S={"ID": "Edm.String*", "X": type_name})
    model = Model("C4T", "T", document, {"S": [f'{{"ID":"1","X":{value}}}']})
    result = run_cli(serve(StandIn(model)), *option)
    told = (
        rf"The column X of S holds {number}, which Edm\.\w+ allows but JSON numbers cannot "
        "express. Correct the value in SAC, or deselect the column"
    )
    assert re.search(told, result.stdout + result.stderr)
    assert result.returncode == 1
    assert "Run discovery again" not in result.stderr
    if not option:
        assert '"ACTIVATE_VERSION","stream":"providers"' in result.stdout
        assert '"stream":"t_s","record"' not in result.stdout


def test_number_that_json_does_not_have_can_be_deselected(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    document = edmx(S={"ID": "Edm.String*", "X": "Edm.Double"})
    model = Model("C4T", "T", document, {"S": ['{"ID":"1","X":"NaN"}']})
    config = serve(StandIn(model))
    found = discover(config)
    (column,) = [item for item in found["t_s"]["metadata"] if "X" in item["breadcrumb"]]
    column["metadata"]["selected"] = False
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(select(found, "t_s")))
    result = run_cli(config, "--catalog", str(path))
    assert result.returncode == 0
    assert read_messages(result.stdout).records("t_s") == [{"ID": "1"}]


def test_name_of_a_model_cannot_forge_the_log(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(sales(sales_row(1), name="Salse\n2026 | ERROR | forged \x1b[31m"))
    result = run_cli({**serve(tenant), "models": ["Salse 2026 | ERROR | forgd"]})
    assert_one_sentence(result, r"did you mean Salse 2026 \| ERROR \| forged \[31m\?", {})


def test_text_of_the_tenant_cannot_forge_the_log(serve: Serve, run_cli: RunCli) -> None:
    row = '{"Version":"a","Date":"b","x\\n2026 | ERROR | forged \\u001b[31m":1}'
    result = run_cli(serve(StandIn(sales(row))))
    assert result.returncode == 0
    assert "x 2026 | ERROR | forged [31m" in result.stderr


def test_run_that_is_terminated_has_not_succeeded(serve: Serve, tmp_path: Path) -> None:
    tenant = StandIn(sales(*(sales_row(number) for number in range(9))))
    reached, released = threading.Event(), threading.Event()

    def fault(request: Request) -> Response | None:
        if request.target.endswith("$skiptoken=4"):
            reached.set()
            released.wait(30)
        return None

    tenant.fault = fault
    command = tap_command(tmp_path, serve(tenant))
    with started(command, stdout=subprocess.PIPE) as process:
        assert reached.wait(30)
        process.terminate()
        output, _ = process.communicate()
        released.set()
    assert process.returncode == 128 + signal.SIGTERM
    assert output.endswith("\n")
    assert all(json.loads(line) for line in output.splitlines())
    assert '"ACTIVATE_VERSION","stream":"sales_fact_data"' not in output
