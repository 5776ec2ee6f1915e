"""What stands between the tap and SAC in a company: certificates and proxies."""

from __future__ import annotations

import base64
import contextlib
import gzip
import socket
import socketserver
import ssl
import threading
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import trustme
from typing_extensions import override

from tap_sac.demo.server import SampleTenant
from tap_sac.demo.service import TOKEN_PATH, Response
from tap_sac.sac.errors import SACError
from tap_sac.sac.export.client import SACClient
from tap_sac.sac.http.pace import Pace
from tap_sac.sac.http.transport import Transport, new_session
from tap_sac.sac.oauth.bearer import BearerAuthenticator
from tap_sac.sac.oauth.grants import ClientCredentials
from tap_sac.sac.odata.model import Provider
from tests.conftest import read_messages, sync
from tests.helpers.stand_in import JSON, StandIn, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tap_sac.demo.service import Request
    from tests.conftest import RunCli, Serve


HOST = "sac.example"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn(sales(*(sales_row(number) for number in range(3))))


@pytest.fixture
def https_settings(authority: trustme.CA, stand_in: StandIn) -> Iterator[dict[str, Any]]:
    """Serve a tenant over TLS, with a certificate of the company's own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", HOST).configure_cert(context)
    with SampleTenant(stand_in) as tenant:
        server = tenant._server  # noqa: SLF001
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.url = tenant.url = f"https://localhost:{server.server_port}"
        yield tenant.settings


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the certificates of the company."""
    bundle = tmp_path / "company.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))


def write_links(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    """Have the links to next pages lead to another origin."""
    answer = stand_in.page

    def page(request: Request, rows: Sequence[str]) -> Response:
        response = answer(request, rows)
        body = response.body.replace(request.base_url.encode(), origin.encode())
        return replace(response, body=body)

    monkeypatch.setattr(stand_in, "page", page)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    "origin", ["http://localhost{port}", "HTTP://LocalHost", "http://localhost:80"]
)
def test_link_from_https_to_http_of_the_same_host_is_followed_as_https(
    https_settings: dict[str, Any],
    stand_in: StandIn,
    run_cli: RunCli,
    monkeypatch: pytest.MonkeyPatch,
    origin: str,
) -> None:
    port = f":{urlsplit(https_settings['tenant_url']).port}"
    write_links(stand_in, monkeypatch, origin.replace("{port}", port))
    result = run_cli(https_settings)
    assert result.returncode == 0, result.stderr
    assert len(read_messages(result.stdout).records("sales_fact_data")) == 3
    assert [target.partition("?")[2] for target in stand_in.reads("/FactData")] == [
        "$count=true",
        "$skiptoken=2",
    ]


@pytest.mark.usefixtures("trusted")
def test_delta_link_in_http_is_kept_as_https(
    https_settings: dict[str, Any], stand_in: StandIn, run_cli: RunCli
) -> None:
    origin = https_settings["tenant_url"]
    path = "/api/v1/dataexport/providers/sac/C4SALES/FactData?deltaid="
    link = origin.replace("https:", "http:") + path

    def fault(request: Request) -> Response | None:
        if "/FactData?" not in request.target + "?":
            return None
        context = (
            "$metadata#FactData/$delta" if "deltaid" in request.target else "$metadata#FactData"
        )
        body = f'{{"@odata.context":"{context}","value":[],"@odata.deltaLink":"{link}a"}}'
        return Response(200, body.encode(), {"Content-Type": "application/json"})

    stand_in.fault = fault
    settings = {**https_settings, "default_replication_method": "LOG_BASED"}
    result = run_cli(settings)
    assert result.returncode == 0, result.stderr
    state = read_messages(result.stdout).state
    assert state["bookmarks"]["sales_fact_data"]["delta_link"] == f"{origin}{path}a"


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    "origin",
    ["{elsewhere}", "http://127.0.0.1{port}", "http://user@localhost{port}", "ftp://localhost"],
)
def test_nothing_is_sent_in_clear_text_whatever_links_say(
    https_settings: dict[str, Any],
    stand_in: StandIn,
    serve: Serve,
    run_cli: RunCli,
    monkeypatch: pytest.MonkeyPatch,
    origin: str,
) -> None:
    in_clear_text = StandIn(sales())
    elsewhere = serve(in_clear_text)["tenant_url"].replace("127.0.0.1", "localhost")
    port = f":{urlsplit(https_settings['tenant_url']).port}"
    link = origin.replace("{elsewhere}", elsewhere).replace("{port}", port)
    write_links(stand_in, monkeypatch, link)
    result = run_cli(https_settings)
    assert result.returncode == 1
    assert f"links to another server, {link.replace('user@', '')}" in result.stderr
    assert not in_clear_text.requests
    assert not [target for target in stand_in.reads("/FactData") if "skiptoken" in target]


def test_check_tells_of_a_certificate_that_is_not_trusted(
    https_settings: dict[str, Any], run_cli: RunCli
) -> None:
    result = run_cli(https_settings, "--check")
    assert result.returncode == 1
    assert "FAILED  token: No response from https://localhost" in result.stdout
    assert (
        "the certificate is not trusted. Set the environment variable REQUESTS_CA_BUNDLE"
        in result.stdout
    )


def test_stack_trace_of_a_bug_has_no_secret(
    serve: Serve, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def buggy(answer: Any) -> None:  # noqa: ANN401
        raise RuntimeError("s3cr3t$=-_ token-1", answer)  # noqa: EM101, TRY003

    monkeypatch.setattr("tap_sac.sac.export.client.read_page", buggy)
    result = run_cli({**serve(StandIn(sales(sales_row(1)))), "client_secret": "s3cr3t$=-_"})
    assert "Traceback" in result.stderr
    assert "RuntimeError" in result.stderr
    assert "s3cr3t" not in result.stderr
    assert "token-" not in result.stderr


def test_certificate_that_is_not_trusted_ends_the_run(
    https_settings: dict[str, Any], run_cli: RunCli
) -> None:
    result = run_cli(https_settings)
    assert result.returncode == 1
    assert "REQUESTS_CA_BUNDLE" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_ca_bundle_of_the_company_is_used(
    https_settings: dict[str, Any],
    authority: trustme.CA,
    run_cli: RunCli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    bundle = tmp_path / "company.pem"
    authority.cert_pem.write_to_path(bundle)
    for other in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(variable, str(bundle))
    result = run_cli(https_settings)
    assert result.returncode == 0, result.stderr
    assert len(read_messages(result.stdout).records("sales_fact_data")) == 3


class Proxy(socketserver.ThreadingTCPServer):
    """Opens tunnels to one server, whatever host they are asked for, and notes which."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.port = port
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class ProxyHandler(socketserver.StreamRequestHandler):
    server: Proxy

    @override
    def handle(self) -> None:
        self.server.asked.append(self.rfile.readline().decode().strip())
        while self.rfile.readline().strip():
            pass
        with socket.create_connection(("127.0.0.1", self.server.port)) as server:
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            upward = threading.Thread(target=pump, args=(self.request, server), daemon=True)
            upward.start()
            pump(server, self.request)
            upward.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.usefixtures("without_proxy")
def test_proxy_of_the_environment_is_used(
    https_settings: dict[str, Any],
    stand_in: StandIn,
    authority: trustme.CA,
    run_process: RunCli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in.link_form = "root-relative"
    bundle = tmp_path / "company.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    port = urlsplit(https_settings["tenant_url"]).port
    # Nobody knows this host: only the proxy can reach it.
    elsewhere = f"https://{HOST}"
    settings = {**https_settings, "tenant_url": elsewhere, "token_url": f"{elsewhere}/oauth/token"}
    with Proxy(int(port or 0)) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        result = run_process(settings)
        proxy.shutdown()
    assert result.returncode == 0, result.stderr
    assert len(read_messages(result.stdout).records("sales_fact_data")) == 3
    assert {line.rpartition(" ")[0] for line in proxy.asked} == {f"CONNECT {HOST}:443"}


@pytest.mark.usefixtures("without_proxy")
def test_no_proxy_sees_what_is_in_clear_text(
    serve: Serve, stand_in: StandIn, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(9) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        result = run_cli(serve(stand_in))
        proxy.shutdown()
    assert result.returncode == 0, result.stderr
    assert not proxy.asked


@pytest.mark.usefixtures("without_proxy")
@pytest.mark.parametrize(
    "proxy", ["http://user:pa55#w@127.0.0.1:1", "http://user:pa55w@127.0.0.1:99999"]
)
def test_password_of_a_proxy_is_not_logged(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    settings = {"tenant_url": f"https://{HOST}", "token_url": f"https://{HOST}"}
    result = run_cli({**settings, "client_id": "id", "client_secret": "secret"})
    assert result.returncode == 1
    assert "pa55" not in result.stdout + result.stderr
    assert "HTTPS_PROXY" in result.stderr
    assert "Retrying" not in result.stderr


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_ca_bundle_that_is_none_ends_the_run(
    https_settings: dict[str, Any],
    run_cli: RunCli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str | None,
) -> None:
    bundle = tmp_path / "company.pem"
    if content:
        bundle.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    result = run_cli({**https_settings, "backoff_max_tries": 1})
    assert result.returncode == 1
    assert (
        "Set the environment variable REQUESTS_CA_BUNDLE to your company's CA bundle"
        in result.stderr
    )
    assert "Traceback" not in result.stderr


def test_neither_secret_nor_token_is_in_any_output(
    serve: Serve, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAP_SAC_LOGLEVEL", "DEBUG")
    tenant = StandIn(sales(sales_row(1)))
    settings = {**serve(tenant), "client_secret": "s3cr3t$=-_"}
    basic = base64.b64encode(f"{settings['client_id']}:s3cr3t$=-_".encode()).decode()
    for fault in (None, Response(500, b""), Response(200, b'{"value":5}')):
        tenant.fault = lambda request, fault=fault: fault if "FactData" in request.target else None  # type: ignore[misc]
        for argument in ([], ["--check"], ["--discover"], ["--about"]):
            result = run_cli({**settings, "backoff_max_tries": 1}, *argument)
            output = result.stdout + result.stderr
            assert "s3cr3t" not in output
            assert basic not in output
            assert not any(f"token-{number}" in output for number in range(1, 20))


MIB = 1024**2
UNFOLDED = 64 * MIB
TWICE = "gzip, gzip"


def bomb(status: int = 200, encoding: str = "gzip", start: bytes = b'{"value":[') -> Response:
    """Make an answer of a few kilobytes that unfolds to 64 MiB."""
    body = start + b" " * UNFOLDED
    for _ in encoding.split(","):
        body = gzip.compress(body, 1)
    return Response(status, body, {**JSON, "Content-Encoding": encoding})


def peak_of(action: Callable[[], object], told: str) -> int:
    """Return the most bytes that something takes until it ends with an error."""
    tracemalloc.start()
    try:
        with pytest.raises(SACError, match=told):
            action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def client_of(settings: dict[str, Any], most_bytes: int) -> SACClient:
    """Make a client that takes no larger answer."""
    session = new_session(1)
    return SACClient(
        settings["tenant_url"],
        transport=Transport(
            session,
            request_timeout=10,
            max_tries=3,
            pace=Pace(1),
            most_bytes=most_bytes,
        ),
        authenticator=BearerAuthenticator(
            ClientCredentials(),
            token_url=settings["token_url"],
            client_id="id",
            client_secret="another s3cret",
            auth_method="client_secret_basic",
            session=session,
            timeout=10,
        ),
    )


def answering(answer: Response) -> StandIn:
    tenant = StandIn(sales(sales_row(1)))
    tenant.fault = lambda _: answer
    return tenant


@pytest.mark.parametrize("encoding", ["gzip", TWICE])
def test_page_that_decompresses_without_end_is_not_read_to_its_end(
    serve: Serve, encoding: str
) -> None:
    tenant = answering(bomb(encoding=encoding))
    client = client_of(serve(tenant), MIB)
    url = f"{client.origin}/FactData"
    peak = peak_of(
        lambda: list(client.pages(url)),
        r"response to GET http://[^ ]*/FactData is larger than 1 MiB.*Lower page_size",
    )
    assert peak < 8 * MIB
    assert len(tenant.requests) == 1  # It would be as large again.


def test_page_may_be_as_large_as_the_limit(serve: Serve) -> None:
    body = b'{"value":[' + sales_row(1).encode() + b"]" + b" " * (2 * MIB) + b"}"
    answer = Response(200, gzip.compress(body), {**JSON, "Content-Encoding": "gzip"})
    settings = serve(answering(answer))
    page = client_of(settings, len(body)).page(f"{settings['tenant_url']}/FactData")
    assert len(page.items) == 1
    with pytest.raises(SACError, match="larger than 2 MiB"):
        client_of(settings, len(body) - 1).page(f"{settings['tenant_url']}/FactData")


def test_metadata_that_decompresses_without_end_is_not_read_to_its_end(serve: Serve) -> None:
    client = client_of(serve(answering(bomb(start=b"<Edmx>"))), MIB)
    peak = peak_of(
        lambda: client.metadata(Provider("sac", "C4SALES", "Sales")),
        r"C4SALES/\$metadata is larger than 1 MiB. Exclude the model in the setting models",
    )
    assert peak < 8 * MIB


@pytest.mark.parametrize("encoding", ["gzip", TWICE])
@pytest.mark.parametrize("start", [b'{"error":{"message":"', b"<html>", b"no"])
def test_error_that_decompresses_without_end_is_still_the_error(
    serve: Serve, start: bytes, encoding: str
) -> None:
    settings = serve(answering(bomb(403, encoding, start)))
    peak = peak_of(
        lambda: sync(settings),
        "403 Forbidden.*, truncated after 1 MiB.*(Data Export Service|HTTPS_PROXY)",
    )
    assert peak < 24 * MIB


@pytest.mark.usefixtures("waits")
def test_transient_error_may_have_any_size(serve: Serve) -> None:
    tenant = StandIn(sales(sales_row(1)))
    answers = iter([bomb(503), bomb(502)])
    tenant.fault = lambda request: next(answers, None) if "FactData" in request.target else None
    assert len(sync(serve(tenant)).records("sales_fact_data")) == 1


def test_error_of_a_usual_size_is_not_cut(serve: Serve) -> None:
    body = b'{"error":{"message":"no [3401]","x":"' + b"x" * (MIB - 64) + b'"}}'
    with pytest.raises(SACError, match=r"no \[3401\]") as caught:
        sync(serve(answering(Response(403, body, JSON))))
    assert "truncated" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 401])
def test_token_that_decompresses_without_end_is_not_read_to_its_end(
    serve: Serve, status: int
) -> None:
    answer = bomb(status, start=b'{"access_token":"')

    def tenant(request: Request) -> Response:
        assert request.target == TOKEN_PATH
        return answer

    settings = serve(tenant)
    peak = peak_of(
        lambda: sync(settings), r"POST .*/oauth/token is larger than 1 MiB.*Set it to the Token URL"
    )
    assert peak < 24 * MIB
