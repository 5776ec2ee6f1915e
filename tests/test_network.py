"""What stands between the tap and SAC in a company: certificates and proxies."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import trustme

from tap_sac.demo.server import SampleTenant
from tap_sac.demo.service import Request, Response
from tests.conftest import read_messages
from tests.stand_in import StandIn, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import RunCli, Serve


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
    authority.issue_cert("localhost").configure_cert(context)
    with SampleTenant(stand_in) as tenant:
        server = tenant._server  # noqa: SLF001
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.url = tenant.url = f"https://localhost:{server.server_port}"
        yield tenant.settings


def test_link_from_https_to_http_is_not_followed(
    authority: trustme.CA,
    https_settings: dict[str, Any],
    stand_in: StandIn,
    run_cli: RunCli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = tmp_path / "company.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    link = https_settings["tenant_url"].replace("https:", "http:") + "/next"
    body = f'{{"value":[],"@odata.nextLink":"{link}"}}'.encode()
    stand_in.fault = lambda request: Response(200, body) if "FactData" in request.target else None
    result = run_cli(https_settings)
    assert result.returncode == 1
    assert "continues on another server, http://localhost" in result.stderr


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


def test_proxy_of_the_environment_is_used(
    serve: Serve, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = StandIn(sales(sales_row(1)))
    targets = []

    def proxy(request: Request) -> Response:
        targets.append(request.target)
        parts = urlsplit(request.target)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        base_url = f"{parts.scheme}://{parts.netloc}"
        return tenant(Request(request.method, base_url, path, request.headers, request.body))

    settings = serve(proxy)
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", settings["tenant_url"])
    # Nothing listens there: only the proxy can answer.
    elsewhere = "http://localhost:9"
    settings |= {"tenant_url": elsewhere, "token_url": f"{elsewhere}/oauth/token"}
    result = run_cli(settings)
    assert result.returncode == 0, result.stderr
    assert len(read_messages(result.stdout).records("sales_fact_data")) == 1
    assert all(target.startswith(elsewhere) for target in targets)


def test_neither_secret_nor_token_is_in_any_output(
    serve: Serve, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAP_SAC_LOGLEVEL", "DEBUG")
    tenant = StandIn(sales(sales_row(1)))
    settings = {**serve(tenant), "client_secret": "s3cr3t$=-_"}
    for fault in (None, Response(500, b""), Response(200, b'{"value":5}')):
        tenant.fault = lambda request, fault=fault: fault if "FactData" in request.target else None  # type: ignore[misc]
        for argument in ([], ["--check"], ["--discover"], ["--about"]):
            result = run_cli({**settings, "backoff_max_tries": 1}, *argument)
            output = result.stdout + result.stderr
            assert "s3cr3t" not in output
            assert not any(f"token-{number}" in output for number in range(1, 20))
