"""The sample tenant stays apart from real ones: it is refused beside their settings, and named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.stand_in import StandIn, sales, sales_row

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.conftest import RunCli, Serve

OF_A_TENANT = {
    "tenant_url": "https://acme.eu10.hcs.cloud.sap",
    "client_id": "client-0f-acme",
    "client_secret": "s3cret-of-acme",
    "refresh_token": "t0ken-of-anna",
}
DEMO = {"demo": True, "models": ["Budget"]}


def assert_refused(result: CompletedProcess[str], *names: str) -> None:
    """See that a run names these settings and none of their values, says what to do, and reads."""
    assert result.returncode == 1
    told = f"The setting demo cannot be combined with {', '.join(names)}: to read your tenant, "
    output = result.stdout + result.stderr
    assert f"{told}add `--environment=prod`, or unset demo" in output
    assert not [value for value in OF_A_TENANT.values() if value in output]
    assert "Budget" not in result.stdout
    assert "ok " not in result.stdout
    assert "ample tenant, a made-up company" not in output


@pytest.fixture(params=["file", "environment", ".env"])
def run_beside_demo(
    request: pytest.FixtureRequest,
    run_cli: RunCli,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> RunCli:
    """Run the tap with demo and these settings, from one source after the other."""

    def run(settings: dict[str, str], *arguments: str) -> CompletedProcess[str]:
        if request.param == "file":
            return run_cli({**DEMO, **settings}, *arguments)
        variables = {f"TAP_SAC_{name.upper()}": value for name, value in settings.items()}
        if request.param == "environment":
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
        else:
            lines = "".join(f"{name}={value}\n" for name, value in variables.items())
            (tmp_path / ".env").write_text(lines)
            (tmp_path / "below").mkdir(exist_ok=True)
            monkeypatch.chdir(tmp_path / "below")
        return run_cli(DEMO, "--config=ENV", *arguments)

    return run


@pytest.mark.parametrize("command", ["", "--check", "--discover", "--models"])
@pytest.mark.parametrize("name", OF_A_TENANT)
def test_demo_with_a_setting_of_a_tenant_is_refused(
    run_beside_demo: RunCli, name: str, command: str
) -> None:
    assert_refused(run_beside_demo({name: OF_A_TENANT[name]}, *command.split()), name)


def test_all_conflicting_settings_are_named(run_beside_demo: RunCli) -> None:
    assert_refused(run_beside_demo(OF_A_TENANT), *OF_A_TENANT)


def test_empty_settings_do_not_conflict(run_beside_demo: RunCli) -> None:
    result = run_beside_demo(dict.fromkeys(OF_A_TENANT, ""), "--check")
    assert result.returncode == 0, result.stdout


def first_and_last(result: CompletedProcess[str]) -> list[str]:
    lines = result.stderr.splitlines()
    return [lines[0], lines[-1]]


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
@pytest.mark.parametrize("models", ['["Budget"]', '["Budget", "Bugdet"]'])
def test_log_begins_and_ends_with_the_sample_tenant(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, level: str, models: str
) -> None:
    monkeypatch.setenv("TAP_SAC_DEMO", "true")
    monkeypatch.setenv("TAP_SAC_MODELS", models)
    result = run_cli({"color": "green"}, "--config=ENV", log_level=level)
    assert result.returncode == ("Bugdet" in models)
    assert all("sample tenant" in line for line in first_and_last(result)), result.stderr
    assert ("Meltano SDK v" in result.stderr) is (level == "INFO")


def test_log_of_a_tenant_does_not_name_the_sample_tenant(serve: Serve, run_cli: RunCli) -> None:
    settings = serve(StandIn(sales(sales_row(1))))
    for arguments in ([], ["--check"]):
        result = run_cli(settings, *arguments)
        assert result.returncode == 0, result.stderr
        assert "sample tenant" not in result.stdout + result.stderr


def test_check_names_the_sample_tenant(run_cli: RunCli) -> None:
    result = run_cli(DEMO, "--check")
    assert result.returncode == 0
    assert result.stdout.startswith("ok      settings: the sample tenant")
