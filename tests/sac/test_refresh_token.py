"""Refresh tokens: how a person stays signed in, from token to token and from run to run."""

from __future__ import annotations

import base64
import json
import logging
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from tap_sac.demo import Behaviour
from tap_sac.demo.service import TOKEN_PATH, Response, SampleService
from tap_sac.sac.errors import SACError
from tap_sac.sac.oauth.user import user_of
from tap_sac.settings import SETTINGS, with_defaults
from tap_sac.tenant import connect
from tests.conftest import sync
from tests.helpers.demo_client import ANNA, BEN, refresh_token, tokens
from tests.helpers.stand_in import JSON, StandIn, error_response, sales, sales_row

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    import subprocess

    from tap_sac.demo.service import Request
    from tests.conftest import RunCli, Serve

MODEL = {"models": ["Budget"]}
ROWS = [sales_row(number) for number in range(9)]


def jwt(person: str, number: int, **claims: str) -> str:
    """Write an access token as SAP's server does, as far as the tap looks at it."""
    body = json.dumps({"user_uuid": person, **claims}).encode()
    return f"e30.{base64.urlsafe_b64encode(body).decode().rstrip('=')}.signature{number}"


class Rotating(StandIn):
    """Gives another refresh token with each access token, and takes the newest alone."""

    def __init__(self, **answer: Any) -> None:
        super().__init__(sales(*ROWS))
        self.newest = "refresh-0"
        self.person = "anna"
        self.answer = answer

    @override
    def __call__(self, request: Request) -> Response:
        if request.target != TOKEN_PATH:
            return super().__call__(request)
        form = parse_qs(request.body.decode())
        if form.get("refresh_token") != [self.newest]:
            return Response(401, b'{"error":"invalid_token"}', JSON)
        number = len(self.token_requests) + 1
        self.token_requests.append(request)
        self.newest = f"refresh-{number}"
        token = {"access_token": jwt(self.person, number), "refresh_token": self.newest}
        return Response(200, json.dumps({**token, **self.answer}).encode(), JSON)

    def revoke(self) -> None:
        """Take the first access token only once, in the middle of the read."""
        revoked = f"Bearer {jwt(self.person, 1)}"
        self.fault = lambda request: (
            error_response(401, "expired")
            if request.target.endswith("$skiptoken=4")
            and request.headers["authorization"] == revoked
            else None
        )


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [item.getMessage() for item in caplog.records if item.levelno >= logging.WARNING]


def sentences(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in result.stderr.splitlines() if "| ERROR" in line]


def test_tap_reads_as_the_person(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    config = serve(SampleService())
    token = refresh_token(config, BEN)
    config |= {"refresh_token": token, "models": ["Sales Planning"]}
    records = sync(config).records("sales_planning_xx_region_master")
    assert {record["ID"] for record in records} == {"AT", "CH", "#"}
    assert not warnings(caplog)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_what_is_asked_with(serve: Serve, method: str) -> None:
    tenant = StandIn(sales(*ROWS))
    config = {**serve(tenant), "refresh_token": "r=f&r$h", "token_endpoint_auth_method": method}
    sync(config)
    (request,) = tenant.token_requests
    form = parse_qs(request.body.decode())
    assert form["grant_type"] == ["refresh_token"]
    assert form["refresh_token"] == ["r=f&r$h"]
    assert ("client_secret" in form) == (method == "client_secret_post")


def test_token_is_renewed_in_the_middle_of_a_read(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = Rotating()
    tenant.revoke()
    config = {**serve(tenant), "refresh_token": "refresh-0"}
    assert len(sync(config).records("sales_fact_data")) == len(ROWS)
    assert len(tenant.token_requests) == 2
    (warning,) = warnings(caplog)
    assert "Set refresh_token_file" in warning


def test_token_that_does_not_rotate_is_harmless(
    serve: Serve, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    config = serve(SampleService())
    path = tmp_path / "token"
    config |= {**MODEL, "refresh_token": refresh_token(config, ANNA)}
    for changes in ({}, {"refresh_token_file": str(path)}):
        for _ in range(2):
            sync({**config, **changes})
    assert not warnings(caplog)
    assert not path.exists()


def test_rotated_token_is_kept_in_the_file_for_the_next_run(
    serve: Serve, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    config = serve(SampleService(Behaviour(rotates_refresh_tokens=True)))
    path = tmp_path / "token"
    first = refresh_token(config, ANNA)
    config |= {**MODEL, "refresh_token": first, "refresh_token_file": str(path)}
    kept = {first}
    for _ in range(3):
        sync(config)
        kept.add(path.read_text().strip())
    assert len(kept) == 4
    assert path.stat().st_mode & 0o777 == 0o600
    assert {item.name for item in tmp_path.iterdir()} == {"token", "token.lock"}
    assert not warnings(caplog)


def test_file_has_the_last_word(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("refresh-0\n")
    tenant = Rotating()
    config = {**serve(tenant), "refresh_token": "another", "refresh_token_file": str(path)}
    sync(config)
    assert path.read_text().strip() == tenant.newest == "refresh-1"


@pytest.mark.parametrize("content", ["", " \n"])
def test_setting_is_used_if_the_file_has_no_token(
    serve: Serve, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    tenant = Rotating()
    sync({**serve(tenant), "refresh_token": " refresh-0\n", "refresh_token_file": str(path)})
    assert path.read_text().strip() == "refresh-1"


def test_file_is_read_again_before_each_renewal(serve: Serve, tmp_path: Path) -> None:
    """Another run may have used the token of this one up, and left a newer one."""
    path = tmp_path / "token"
    path.write_text("refresh-0")
    tenant = Rotating()
    tenant.revoke()
    fault = tenant.fault

    def other_run(request: Request) -> Response | None:
        refusal = fault(request)
        if refusal:
            tenant.newest = "of the other run"
            path.write_text("of-the-other-run")
            tenant.newest = "of-the-other-run"
        return refusal

    tenant.fault = other_run
    messages = sync({**serve(tenant), "refresh_token_file": str(path)})
    assert len(messages.records("sales_fact_data")) == len(ROWS)
    assert len(tenant.token_requests) == 2


def test_parallel_runs_share_a_token_that_rotates(serve: Serve, tmp_path: Path) -> None:
    config = serve(SampleService(Behaviour(rotates_refresh_tokens=True)))
    path = tmp_path / "token"
    path.write_text(refresh_token(config, ANNA))
    settings = with_defaults({**config, "refresh_token_file": str(path)}, SETTINGS)

    def run(_: int) -> object:
        user = connect({**settings, "user_agent": "test"}).user
        return user and user.name

    with ThreadPoolExecutor(8) as executor:
        assert [*executor.map(run, range(24))] == [ANNA] * 24
    token = path.read_text().strip()
    assert tokens(config, grant_type="refresh_token", refresh_token=token).ok


def test_token_of_a_setting_that_is_used_up_is_one_sentence(serve: Serve, run_cli: RunCli) -> None:
    service = SampleService()
    config = serve(service)
    config |= {"refresh_token": refresh_token(config, ANNA)}
    service.sign_all_out()
    result = run_cli(config)
    assert result.returncode == 1
    (sentence,) = sentences(result)
    assert "Run tap-sac --login again, and set refresh_token to the new token" in sentence
    assert "Traceback" not in result.stderr
    checked = run_cli(config, "--check").stdout
    assert "FAILED  token: " in checked
    assert "the sign-in has expired, or another run has already used the refresh token" in checked


def test_token_of_a_file_that_is_used_up_is_one_sentence(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    result = run_cli({**serve(Rotating()), "refresh_token_file": str(path)})
    assert result.returncode == 1
    (sentence,) = sentences(result)
    assert "Run tap-sac --login again, which renews the file" in sentence


def test_token_that_has_expired_is_used_up(serve: Serve, run_cli: RunCli) -> None:
    config = serve(SampleService(Behaviour(refresh_token_seconds=0)))
    result = run_cli({**config, "refresh_token": refresh_token(config, ANNA)})
    assert result.returncode == 1
    assert "--login again" in sentences(result)[0]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("invalid_client", "Check the settings client_id and client_secret"),
        ("unauthorized_client", "the grant 'Authorization Code'"),
    ],
)
def test_refused_client_is_distinguished_from_a_sign_in_that_is_over(
    serve: Serve, error: str, told: str
) -> None:
    answer = Response(401, json.dumps({"error": error}).encode(), JSON)
    with pytest.raises(SACError, match=told):
        sync({**serve(lambda _: answer), "refresh_token": "refresh-0"})


def test_file_without_a_token_and_no_setting_is_reported(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    config = {**serve(Rotating()), "refresh_token_file": str(tmp_path / "token")}
    result = run_cli(config)
    assert result.returncode == 1
    (sentence,) = sentences(result)
    assert "The token file has no refresh token yet. Run tap-sac --login with the same" in sentence


def test_file_that_is_something_else_is_reported(serve: Serve, tmp_path: Path) -> None:
    tenant = Rotating()
    config = serve(tenant)
    path = tmp_path / "token"
    path.write_bytes(b'{"refresh_token": "s3cr3t\xff"}')
    with pytest.raises(SACError, match="does not contain a refresh token") as error:
        sync({**config, "refresh_token_file": str(path)})
    assert "s3cr3t" not in str(error.value)
    with pytest.raises(SACError, match=r"cannot be read \(Is a directory\)"):
        sync({**config, "refresh_token_file": str(tmp_path)})
    with pytest.raises(SACError, match=r"cannot be written \(.* that the tap can write"):
        sync({**config, "refresh_token_file": str(path / "below" / "a file")})
    for impossible in ("~nobody-of-this-name/token", "a\0b"):
        with pytest.raises(SACError, match="path of the token file is not valid"):
            sync({**config, "refresh_token_file": impossible})
    assert not tenant.token_requests


def test_file_that_cannot_be_replaced_is_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has a token, so it goes on, also when that one has to be renewed."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "token"
    path.write_text("refresh-0")
    tenant = Rotating()
    tenant.revoke()
    monkeypatch.setattr(Path, "replace", full)
    messages = sync({**serve(tenant), "refresh_token_file": str(path)})
    assert len(messages.records("sales_fact_data")) == len(ROWS)
    assert path.read_text() == "refresh-0"
    assert {item.name for item in tmp_path.iterdir()} == {"token", "token.lock"}
    told = warnings(caplog)
    assert len(told) == 2
    assert "No space left on device" in told[0]
    assert "run tap-sac --login before the next run" in told[0]


def test_symbolic_link_to_the_file_is_kept(serve: Serve, tmp_path: Path) -> None:
    path, link = tmp_path / "token", tmp_path / "link"
    path.write_text("refresh-0")
    link.symlink_to(path)
    sync({**serve(Rotating()), "refresh_token_file": str(link)})
    assert link.is_symlink()
    assert path.read_text().strip() == "refresh-1"


def test_file_is_never_seen_half_written(serve: Serve, tmp_path: Path) -> None:
    """What has the file open keeps the old token: the new one comes by a rename."""
    path = tmp_path / "token"
    path.write_text("refresh-0")
    with path.open() as reader:
        sync({**serve(Rotating()), "refresh_token_file": str(path)})
        assert reader.read() == "refresh-0"
    assert path.read_text().strip() == "refresh-1"


def test_file_in_the_home_of_the_user(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text("refresh-0")
    sync({**serve(Rotating()), "refresh_token_file": "~/token"})
    assert (tmp_path / "token").read_text().strip() == "refresh-1"


@pytest.mark.parametrize(("person", "is_known"), [("ben", True), ("", False)])
def test_another_person_in_the_middle_of_a_run_ends_it(
    serve: Serve, person: str, *, is_known: bool
) -> None:
    tenant = Rotating()
    tenant.revoke()
    fault = tenant.fault

    def change(request: Request) -> Response | None:
        refusal = fault(request)
        tenant.person = person if refusal else tenant.person
        return refusal

    tenant.fault = change
    config = {**serve(tenant), "refresh_token": "refresh-0"}
    if is_known:
        with pytest.raises(SACError, match="A different user has signed in during the run"):
            sync(config)
    else:
        bookmarks = sync(config).state["bookmarks"]
        assert re.fullmatch("[0-9a-f]{64}", bookmarks["sales_fact_data"]["person"])


def test_no_log_shows_a_refresh_token(serve: Serve, run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "token"
    tenant = Rotating()
    tenant.revoke()
    config = {**serve(tenant), "refresh_token": "refresh-0", "refresh_token_file": str(path)}
    result = run_cli(config)
    assert result.returncode == 0
    assert "DEBUG" in result.stderr
    assert len(tenant.token_requests) == 2
    for token in ("refresh-0", "refresh-1", "refresh-2", jwt("anna", 1), jwt("anna", 2)):
        assert token not in result.stderr + result.stdout


@pytest.mark.parametrize("is_in_file", [True, False])
def test_server_that_repeats_the_refresh_token_does_not_show_it(
    serve: Serve, tmp_path: Path, *, is_in_file: bool
) -> None:
    token = f"refresh-token-{is_in_file}"
    answer = {"error": "invalid_grant", "error_description": f"no <{token}>"}
    response = Response(400, json.dumps(answer).encode(), JSON)
    path = tmp_path / "token"
    path.write_text(token)
    kept = {"refresh_token_file": str(path)} if is_in_file else {"refresh_token": token}
    with pytest.raises(SACError, match=r"no <\*\*\*>"):
        sync({**serve(lambda _: response), **kept})


@pytest.mark.parametrize("answer", [{"refresh_token": None}, {"refresh_token": "a\nb"}])
def test_answer_without_a_usable_refresh_token_changes_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture, answer: dict[str, Any]
) -> None:
    config = {**serve(Rotating(**answer)), "refresh_token": "refresh-0"}
    assert len(sync(config).records("sales_fact_data")) == len(ROWS)
    assert not warnings(caplog)


def test_token_url_with_a_grant_type_is_refused(serve: Serve) -> None:
    """The tap would be a technical user, to whom no rights apply."""
    tenant = StandIn(sales(*ROWS))

    def application(request: Request) -> Response:
        is_token = request.path == TOKEN_PATH
        return tenant(replace(request, target=TOKEN_PATH) if is_token else request)

    config = serve(application)
    config["token_url"] += "?grant_type=client_credentials"
    with pytest.raises(SACError, match="token_url has a grant_type"):
        sync({**config, "refresh_token": "refresh-0"})
    assert not tenant.token_requests
    assert sync(config).records("sales_fact_data")


def test_demo_needs_no_sign_in(tmp_path: Path) -> None:
    config = {
        "demo": True,
        **MODEL,
        "refresh_token_file": str(tmp_path / "none" / "token"),
    }
    assert sync(config).records("providers")


def test_check_tells_who_reads(serve: Serve, run_cli: RunCli) -> None:
    config = {**serve(SampleService()), **MODEL}
    assert "issued to the OAuth client itself (2-legged)" in run_cli(config, "--check").stdout
    config["refresh_token"] = refresh_token(config, BEN)
    assert (
        f"issued for {BEN}; SAC applies this user's permissions"
        in run_cli(config, "--check").stdout
    )


def test_check_reports_a_user_without_a_name(serve: Serve, run_cli: RunCli) -> None:
    config = {**serve(StandIn(sales(*ROWS))), "refresh_token": "refresh-0"}
    result = run_cli(config, "--check")
    assert result.returncode == 0
    assert "issued for a user whom the token does not name" in result.stdout


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"user_name": "a\n\x1b[31mok      rows: b"}, "a [31mok rows: b"),
        ({"email": "x@acme.example"}, "x@acme.example"),
        ({"user_name": "", "email": "y@acme.example"}, "y@acme.example"),
    ],
)
def test_name_is_that_of_the_token_and_forges_nothing(
    serve: Serve, run_cli: RunCli, claims: dict[str, str], name: str
) -> None:
    tenant = Rotating(access_token=jwt("anna", 1, **claims))
    result = run_cli({**serve(tenant), "refresh_token": "refresh-0"}, "--check")
    assert result.returncode == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("ok      token")]
    assert name in line


@pytest.mark.parametrize(
    ("claims", "person"),
    [
        ({"sub": "other"}, "anna"),
        ({"user_uuid": "", "sub": "of the server"}, "of the server"),
        ({"user_uuid": ""}, None),
    ],
)
def test_person_is_known_by_the_uuid_or_else_by_the_subject(
    claims: dict[str, str], person: str | None
) -> None:
    assert user_of(jwt("anna", 1, **claims)).id == person


@pytest.mark.parametrize("has_secret", [True, False])
def test_certificates_are_not_supported_in_one_line(
    serve: Serve, run_cli: RunCli, *, has_secret: bool
) -> None:
    config = {**serve(StandIn(sales(*ROWS))), "certificate": "-----BEGIN CERTIFICATE-----"}
    if not has_secret:
        del config["client_secret"]
    result = run_cli(config)
    assert result.returncode == (0 if has_secret else 1)
    told = [line for line in result.stderr.splitlines() if "certificate" in line]
    (line,) = told
    assert "does not support X.509 client certificates" in line
    assert "BEGIN" not in result.stderr
