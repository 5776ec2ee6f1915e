"""``tap-sac --login``: a person, a browser and the tap, over real sockets."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import webbrowser
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from tap_sac.commands import login
from tap_sac.demo import Behaviour
from tap_sac.demo.service import TOKEN_PATH, Response, SampleService
from tap_sac.sac.errors import SACError
from tap_sac.sac.urls import derive_authorize_url, derive_token_url, tenant_origin
from tap_sac.safety.masks import masked
from tests.conftest import sync
from tests.helpers.cli import read_until, started, tap_command
from tests.helpers.demo_client import ANNA, BEN, choose, tokens
from tests.helpers.stand_in import JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from tap_sac.demo.service import Request
    from tests.conftest import RunCli, Serve

    Act = Callable[[str], Any]

# Systems give higher ones to programs that want any.
_PORTS = iter(range(20_000 + os.getpid() % 9_000, 30_000))
SALES = {"models": ["Sales Planning"]}


@pytest.fixture
def redirect_uri() -> str:
    """Find a port that nobody uses, and that no other program gets by chance."""
    for port in _PORTS:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return f"http://127.0.0.1:{port}/callback"
    pytest.fail("no port is free")


class Browser:
    """Takes the place of the browser that the tap opens.

    Attributes:
        opened: The addresses that were opened.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, executor: ThreadPoolExecutor) -> None:
        self.opened: list[str] = []
        self._act: Act = lambda _: None
        self._acts: list[Future[requests.Response]] = []
        self._executor = executor
        monkeypatch.setattr(webbrowser, "open", self._open)

    def will(self, act: Act) -> None:
        """Do this with the address that will be opened, while the tap waits."""
        self._act = act

    def did(self) -> requests.Response:
        """Return what it came to."""
        return self._acts[-1].result()

    def _open(self, address: str) -> bool:
        self.opened.append(address)
        self._acts.append(self._executor.submit(self._act, address))
        return True


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    with ThreadPoolExecutor() as executor:
        yield Browser(monkeypatch, executor)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the five minutes be over at once."""
    monkeypatch.setattr(login, "PATIENCE", 0)


def sign_in_as(person: str) -> Act:
    """Do what a person does in a browser; gives the page at the end."""
    return lambda address: requests.post(address, {"person": person}, timeout=30)


def state_of(address: str) -> str:
    return parse_qs(urlsplit(address).query)["state"][0]


def come_back(**answer: str) -> Act:
    """Go to the redirect URI with an answer, which has the state of the sign-in if it has none."""

    def act(address: str) -> requests.Response:
        query = parse_qs(urlsplit(address).query)
        state = {} if "state" in answer else {"state": state_of(address)}
        return requests.get(query["redirect_uri"][0], params={**state, **answer}, timeout=30)

    return act


def tenant(redirect_uri: str, **behaviour: Any) -> SampleService:
    return SampleService(Behaviour(redirect_uri=redirect_uri, **behaviour))


def sentences(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the errors of a log."""
    return [line for line in result.stderr.splitlines() if "| ERROR" in line]


def test_whole_way(serve: Serve, run_cli: RunCli, browser: Browser, redirect_uri: str) -> None:
    config = serve(tenant(redirect_uri))
    browser.will(sign_in_as(BEN))
    result = run_cli(config, "--login", "--redirect-uri", redirect_uri)
    assert result.returncode == 0, result.stderr
    page = browser.did()
    assert page.status_code == 200
    assert "Signed in" in page.text
    assert f"signed in as {BEN}" in page.text
    in_config, in_env, for_meltano = result.stdout.splitlines()
    token = json.loads(f"{{{in_config}}}")["refresh_token"]
    assert in_env == f"TAP_SAC_REFRESH_TOKEN={token}"
    assert for_meltano == f"meltano config set tap-sac refresh_token {token}"
    assert browser.opened[0] in result.stderr
    assert f"Signed in as {BEN}" in result.stderr
    records = sync({**config, **SALES, "refresh_token": token}).records("sales_planning_fact_data")
    assert {record["XX_REGION"] for record in records} == {"AT", "CH", "#"}


def test_neither_the_log_nor_the_page_shows_a_secret(
    serve: Serve, run_cli: RunCli, browser: Browser, redirect_uri: str
) -> None:
    service = tenant(redirect_uri)
    secrets: list[str] = []

    def application(request: Request) -> Response:
        answer = service(request)
        if request.path == TOKEN_PATH:
            form, given = parse_qs(request.body.decode()), json.loads(answer.body)
            secrets.extend([form["code"][0], form["code_verifier"][0]])
            secrets.extend([given["access_token"], given["refresh_token"]])
        return answer

    browser.will(sign_in_as(ANNA))
    result = run_cli(serve(application), "--login", "--redirect-uri", redirect_uri)
    assert result.returncode == 0, result.stderr
    assert len(secrets) == 4
    for secret in secrets:
        assert secret not in result.stderr
        assert secret not in browser.did().text
        assert masked(f"Overheard: {secret}") == "Overheard: ***"
    assert not [secret for secret in secrets[:3] if secret in result.stdout]


def test_real_way_through_the_browser_of_the_system(
    serve: Serve,
    run_process: RunCli,
    redirect_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Start what the environment variable BROWSER names, which the standard library waits for."""
    script = tmp_path / "browser.py"
    script.write_text(
        "import sys\n"
        "from urllib.request import urlopen\n"
        f"urlopen(sys.argv[1], {f'person={ANNA}'.encode()!r}).read()\n"
    )
    monkeypatch.setenv("BROWSER", f"{sys.executable} {script} %s")
    config = serve(tenant(redirect_uri))
    result = run_process(config, "--login", "--redirect-uri", redirect_uri)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith('"refresh_token": ')
    assert f"Signed in as {ANNA}" in result.stderr


def test_browser_is_not_opened_if_not_wanted(
    serve: Serve, redirect_uri: str, tmp_path: Path
) -> None:
    config = serve(tenant(redirect_uri))
    opened = tmp_path / "opened"
    command = tap_command(
        tmp_path, config, "--login", "--no-browser", "--redirect-uri", redirect_uri
    )
    with started(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "BROWSER": f"touch {opened} %s"},
    ) as process:
        told = read_until("Waiting", process.stderr)
        (address,) = re.findall(r"^http\S+authorize\S+$", told, re.MULTILINE)
        assert sign_in_as(ANNA)(address)
        output, told = process.communicate()
    assert process.returncode == 0, told
    assert "TAP_SAC_REFRESH_TOKEN=" in output
    assert "No browser" not in told
    assert not opened.exists()


@pytest.mark.usefixtures("impatient")
def test_browser_that_cannot_be_opened_is_reported(
    serve: Serve, run_cli: RunCli, redirect_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    result = run_cli(serve(tenant(redirect_uri)), "--login", "--redirect-uri", redirect_uri)
    assert "open the address yourself" in result.stderr


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Stand for a terminal; returns what types a line there."""
    reader, writer = os.pipe()
    with open(reader, encoding="utf-8") as stdin, open(writer, "w", encoding="utf-8") as line:  # noqa: PTH123
        monkeypatch.setattr("sys.stdin", stdin)

        def type_line(text: str) -> None:
            print(text, file=line, flush=True)

        yield type_line


ELSEWHERE = "https://acme.example/signed-in"


def test_redirected_address_of_another_host_is_pasted(
    serve: Serve, run_cli: RunCli, browser: Browser, terminal: Callable[[str], None]
) -> None:
    config = serve(tenant(ELSEWHERE))
    browser.will(lambda address: terminal(f"  {choose(address, ANNA)} "))
    result = run_cli(config, "--login", "--redirect-uri", ELSEWHERE)
    assert result.returncode == 0, result.stderr
    assert f"redirected to {ELSEWHERE}, copy the full address" in result.stderr
    assert "refresh_token" in result.stdout


@pytest.mark.parametrize(
    ("pasted", "told"),
    [
        ("", "No address was pasted"),
        ("the code", "its state is missing or different"),
        ("https://[", "is not a URL"),
        (f"{ELSEWHERE}?code=x&state=old", "its state is missing or different"),
    ],
)
def test_pasting_mistakes_are_reported(
    serve: Serve,
    run_cli: RunCli,
    browser: Browser,
    terminal: Callable[[str], None],
    pasted: str,
    told: str,
) -> None:
    browser.will(lambda _: terminal(pasted))
    result = run_cli(serve(tenant(ELSEWHERE)), "--login", "--redirect-uri", ELSEWHERE)
    assert result.returncode == 1
    (sentence,) = sentences(result)
    assert told in sentence
    assert "tap-sac --login again" in sentence
    assert not result.stdout


@pytest.mark.parametrize(
    ("act", "told"),
    [
        pytest.param(sign_in_as(""), "was refused (access_denied: Not allowed)", id="refused"),
        pytest.param(come_back(), "has no authorization code", id="no code"),
        pytest.param(
            come_back(code="made up"),
            "(invalid_grant: Token expired): the code has expired",
            id="another code",
        ),
        pytest.param(
            come_back(error="unauthorized_client"), "failed (unauthorized_client)", id="client"
        ),
        pytest.param(
            come_back(error="server_error", error_description="<script>alert(1)</script>\n[ERROR]"),
            "failed (server_error: <script>alert(1)</script> [ERROR])",
            id="markup",
        ),
    ],
)
def test_bad_answer_is_one_sentence_in_the_log_and_in_the_browser(
    serve: Serve, run_cli: RunCli, browser: Browser, redirect_uri: str, act: Act, told: str
) -> None:
    browser.will(act)
    result = run_cli(serve(tenant(redirect_uri)), "--login", "--redirect-uri", redirect_uri)
    assert result.returncode == 1
    (sentence,) = sentences(result)
    assert told in sentence
    assert "Traceback" not in result.stderr
    assert not result.stdout
    page = browser.did()
    assert page.status_code == 400
    assert "The sign-in failed" in page.text
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text or "<script>" not in told


def test_sign_in_times_out(
    serve: Serve,
    run_cli: RunCli,
    browser: Browser,
    redirect_uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert login.PATIENCE == 300
    monkeypatch.setattr(login, "PATIENCE", 0)
    result = run_cli(serve(tenant(redirect_uri)), "--login", "--redirect-uri", redirect_uri)
    assert result.returncode == 1
    (sentence,) = sentences(result)
    assert "Nobody signed in within five minutes" in sentence
    assert f"register exactly {redirect_uri} as a redirect URI" in sentence
    assert browser.opened


@pytest.mark.usefixtures("impatient")
def test_port_in_use_is_reported_before_a_browser_opens(
    serve: Serve, run_cli: RunCli, browser: Browser
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        uri = f"http://localhost:{port}/callback"
        result = run_cli(serve(tenant(uri)), "--login", "--redirect-uri", uri)
    assert result.returncode == 1
    (sentence,) = sentences(result)
    assert f"cannot listen on port {port}" in sentence
    assert "--redirect-uri" in sentence
    assert not browser.opened


def test_other_requests_are_not_the_redirect(
    serve: Serve, run_cli: RunCli, browser: Browser, redirect_uri: str
) -> None:
    answers: list[int] = []

    def act(address: str) -> object:
        root = redirect_uri.removesuffix("/callback")
        query = urlencode({"code": "x", "state": state_of(address)})
        answered = (query, "code=x&state=old", "code=x", query[:-1])
        paths = [f"/callback{'/?' if item is query else '?'}{item}" for item in answered]
        paths += ["/favicon.ico", "/", f"/callbacks?{query}"]
        answers.extend(requests.get(f"{root}{path}", timeout=30).status_code for path in paths)
        answers.append(requests.post(f"{redirect_uri}?{query}", timeout=30).status_code)
        # A browser may open a connection, and never use it.
        with socket.create_connection(("127.0.0.1", urlsplit(redirect_uri).port or 0)):
            return sign_in_as(ANNA)(address)

    browser.will(act)
    result = run_cli(serve(tenant(redirect_uri)), "--login", "--redirect-uri", redirect_uri)
    assert result.returncode == 0, result.stderr
    assert answers == [404] * 7 + [501]
    assert browser.did().status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")
def test_no_other_address_of_this_machine_is_listened_at(
    serve: Serve, run_cli: RunCli, browser: Browser, redirect_uri: str
) -> None:
    def act(address: str) -> object:
        elsewhere = redirect_uri.replace("127.0.0.1", "127.0.0.2")
        with pytest.raises(requests.ConnectionError):
            requests.get(elsewhere, timeout=30)
        return sign_in_as(ANNA)(address)

    browser.will(act)
    result = run_cli(serve(tenant(redirect_uri)), "--login", "--redirect-uri", redirect_uri)
    assert result.returncode == 0, result.stderr
    assert browser.did()


@pytest.mark.parametrize(
    "uri",
    [
        "http://acme.example/callback",
        "http://[::1]:8484/callback",
        "http://127.0.0.1:8484/callback#part",
        "http://x@127.0.0.1:8484/",
        "http://127.0.0.1:port/",
        "http://127.0.0.1:99999/",
        "127.0.0.1:8484/callback",
        "https://",
        "https://ä.example/",
    ],
)
@pytest.mark.usefixtures("impatient")
def test_redirect_uri_that_cannot_be_one_is_reported(
    serve: Serve, run_cli: RunCli, browser: Browser, uri: str
) -> None:
    result = run_cli(serve(tenant(uri)), "--login", "--redirect-uri", uri)
    assert result.returncode == 1
    (sentence,) = sentences(result)
    assert "cannot be a redirect URI" in sentence
    assert "http://127.0.0.1:8484/callback" in sentence
    assert not browser.opened


@pytest.mark.usefixtures("impatient")
def test_address_has_a_challenge_and_never_the_same_state(
    serve: Serve,
    run_cli: RunCli,
    browser: Browser,
    redirect_uri: str,
) -> None:
    config = serve(tenant(redirect_uri))
    for _ in range(2):
        run_cli(config, "--login", "--redirect-uri", redirect_uri)
    first, second = (parse_qs(urlsplit(address).query) for address in browser.opened)
    assert first["response_type"] == ["code"]
    assert first["client_id"] == [config["client_id"]]
    assert first["redirect_uri"] == [redirect_uri]
    assert first["code_challenge_method"] == ["S256"]
    assert re.fullmatch(r"[\w-]{43}", first["code_challenge"][0])
    assert len(first["state"][0]) >= 32
    assert not {"client_secret", "code_verifier"} & first.keys()
    for name in ("state", "code_challenge"):
        assert first[name] != second[name]


@pytest.mark.usefixtures("impatient")
def test_default_redirect_uri_is_one_that_can_be_registered(
    serve: Serve, run_cli: RunCli, browser: Browser
) -> None:
    run_cli(serve(SampleService()), "--login")
    for address in browser.opened:  # None where another program has the port.
        assert parse_qs(urlsplit(address).query)["redirect_uri"] == [Behaviour.redirect_uri]
    assert run_cli(None, "--help").stdout.count(Behaviour.redirect_uri) == 1


def test_tenant_without_refresh_tokens_is_reported(
    serve: Serve, run_cli: RunCli, browser: Browser, redirect_uri: str
) -> None:
    service = tenant(redirect_uri)

    def application(request: Request) -> Response:
        if request.path == TOKEN_PATH:
            return Response(200, b'{"access_token":"abc","expires_in":3599}', JSON)
        return service(request)

    browser.will(sign_in_as(ANNA))
    result = run_cli(serve(application), "--login", "--redirect-uri", redirect_uri)
    assert result.returncode == 1
    (sentence,) = sentences(result)
    assert "issued no refresh token, so the sign-in cannot be reused" in sentence
    assert "lifetime of refresh tokens" in sentence
    page = browser.did().text
    assert "The sign-in failed" in page
    assert "issued no refresh token" in page


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_client_without_the_sign_in_grant_is_reported(
    serve: Serve, run_cli: RunCli, browser: Browser, redirect_uri: str, method: str
) -> None:
    service = tenant(redirect_uri)
    service.refuse(TOKEN_PATH, Response(401, b'{"error":"unauthorized_client"}', JSON))
    browser.will(sign_in_as(ANNA))
    config = {**serve(service), "token_endpoint_auth_method": method}
    result = run_cli(config, "--login", "--redirect-uri", redirect_uri)
    assert result.returncode == 1
    (sentence,) = sentences(result)
    assert "grant 'Authorization Code'" in sentence


def test_rate_limit_of_the_token_endpoint_is_waited_out_for_a_minute_at_most(
    serve: Serve, run_cli: RunCli, browser: Browser, redirect_uri: str, waits: list[float]
) -> None:
    service = tenant(redirect_uri)
    service.refuse(TOKEN_PATH, Response(429, b"", {"Retry-After": "25"}))
    browser.will(sign_in_as(ANNA))
    result = run_cli(serve(service), "--login", "--redirect-uri", redirect_uri)
    assert result.returncode == 1
    assert "rate-limiting" in result.stderr
    assert waits == [25, 25]


def test_file_gets_the_token_too(
    serve: Serve, run_cli: RunCli, browser: Browser, redirect_uri: str, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    config = {**serve(tenant(redirect_uri)), "refresh_token_file": str(path)}
    browser.will(sign_in_as(ANNA))
    result = run_cli(config, "--login", "--redirect-uri", redirect_uri)
    assert result.returncode == 0, result.stderr
    token = path.read_text().strip()
    assert f'"refresh_token": "{token}"' in result.stdout
    assert f"also saved in {path}" in result.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    assert tokens(config, grant_type="refresh_token", refresh_token=token).ok


@pytest.mark.usefixtures("impatient")
def test_file_that_cannot_be_written_is_reported_before_the_sign_in(
    serve: Serve, run_cli: RunCli, browser: Browser, redirect_uri: str, tmp_path: Path
) -> None:
    config = {**serve(tenant(redirect_uri)), "refresh_token_file": str(tmp_path / "no" / "token")}
    result = run_cli(config, "--login", "--redirect-uri", redirect_uri)
    assert result.returncode == 1
    (sentence,) = sentences(result)
    assert "refresh_token_file" in sentence
    assert "No such file or directory" in sentence
    assert not browser.opened


@pytest.mark.usefixtures("impatient")
def test_demo_has_no_sign_in(run_cli: RunCli, browser: Browser) -> None:
    result = run_cli({"demo": True}, "--login")
    assert result.returncode == 1
    (sentence,) = sentences(result)
    assert "python -m tap_sac.demo" in sentence
    assert not browser.opened


@pytest.mark.usefixtures("impatient")
def test_settings_are_checked_first(run_cli: RunCli, browser: Browser) -> None:
    result = run_cli({"tenant_url": "https://acme.eu10.hcs.cloud.sap"}, "--login")
    assert result.returncode == 1
    assert "The setting client_id is missing" in result.stderr
    assert not browser.opened


@pytest.mark.parametrize("option", [("--no-browser",), ("--redirect-uri", "https://acme.example")])
def test_options_of_the_login_are_of_no_use_without_it(
    run_cli: RunCli, option: tuple[str, ...]
) -> None:
    result = run_cli({"demo": True}, *option)
    assert result.returncode == 2
    assert "--no-browser and --redirect-uri require --login" in result.stderr


@pytest.mark.parametrize(
    ("tenant_url", "address"),
    [
        (
            "https://acme.eu10.hcs.cloud.sap",
            "https://acme.authentication.eu10.hana.ondemand.com/oauth/authorize",
        ),
        (
            "my-co.us10-002.sapanalytics.cloud/",
            "https://my-co.authentication.us10-002.hana.ondemand.com/oauth/authorize",
        ),
        (
            "https://My-Co-1.jp10.hanacloudservices.cloud.sap/sap/fpa/ui/app.html",
            "https://my-co-1.authentication.jp10.hana.ondemand.com/oauth/authorize",
        ),
    ],
)
def test_address_to_sign_in_at_is_derived(tenant_url: str, address: str) -> None:
    assert (
        derive_authorize_url(derive_token_url(tenant_origin(tenant_url, "The setting tenant_url")))
        == address
    )


@pytest.mark.parametrize(
    ("token_url", "address"),
    [
        ("https://a.example/oauth/token", "https://a.example/oauth/authorize"),
        ("https://a.example:8443/x/oauth/token/?y=z", "https://a.example:8443/x/oauth/authorize"),
    ],
)
def test_sign_in_address_is_derived_from_the_token_url(token_url: str, address: str) -> None:
    assert derive_authorize_url(token_url) == address


@pytest.mark.usefixtures("impatient")
def test_address_that_cannot_be_derived_is_reported(run_cli: RunCli, browser: Browser) -> None:
    config = {
        "tenant_url": "https://acme.eu10.hcs.cloud.sap",
        "token_url": "https://acme.example/token",
        "client_id": "id",
        "client_secret": "secret",
    }
    with pytest.raises(SACError, match=r"does not end with /oauth/token.*Set it to the Token URL"):
        derive_authorize_url(config["token_url"])
    result = run_cli(config, "--login")
    assert result.returncode == 1
    (sentence,) = sentences(result)
    assert "token_url" in sentence
    assert not browser.opened
