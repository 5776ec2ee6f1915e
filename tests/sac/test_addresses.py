"""The two addresses of a tenant: one for browsers, and SAP's direct API host."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from tap_sac.demo import Behaviour, SampleTenant
from tap_sac.demo.service import CLIENT_ID, CLIENT_SECRET, Response, SampleService
from tests.conftest import sync, wait_for_readers
from tests.helpers.pipeline import STREAM, Pipeline, small
from tests.helpers.runs import run
from tests.helpers.slicing import SLICED, SlicingStandIn, at_slice
from tests.helpers.stand_in import JSON, StandIn, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tap_sac.demo.service import Application, Request
    from tests.conftest import RunCli

DOMAINS = ("hcs.cloud.sap", "sapanalytics.cloud", "hanacloudservices.cloud.sap")
BROWSER, API = "acme.eu10.hcs.cloud.sap", "acme.api.eu10.hcs.cloud.sap"
HOSTS = [f"acme.{api}eu10.{domain}" for domain in DOMAINS for api in ("", "api.")]
TOKEN_HOST = "acme.authentication.eu10.hana.ondemand.com"
ROWS = [sales_row(number) for number in range(5)]
FACTS = "sales_fact_data"

both = pytest.mark.parametrize(("host", "other"), [(BROWSER, API), (API, BROWSER)])


@dataclass
class Tenant:
    """A tenant at all of its addresses, over TLS.

    Attributes:
        application: What answers.
        requests: All requests.
        down: Addresses that nobody can reach.
    """

    application: Application = field(default_factory=SampleService)
    requests: list[Request] = field(default_factory=list)
    down: set[str] = field(default_factory=set)

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return self.application(replace(request, base_url=f"https://{host_of(request)}"))

    def settings(self, address: str, **others: Any) -> dict[str, Any]:
        """Return the settings that read the tenant at an address."""
        client = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        return {"tenant_url": address, **client, "backoff_max_tries": 1, **others}

    def hosts(self) -> set[str]:
        """Return the hosts that were asked for data."""
        return {host_of(request) for request in self.requests} - {TOKEN_HOST}


def host_of(request: Request) -> str:
    return request.headers["host"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tenant(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Tenant]:
    """Serve a tenant at the names that it has in SAC."""
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*HOSTS, TOKEN_HOST).configure_cert(context)
    result = Tenant()
    with SampleTenant(result) as sample:
        server = sample._server  # noqa: SLF001
        server.socket = context.wrap_socket(server.socket, server_side=True)
        find = socket.getaddrinfo

        def found(host: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401
            if host in result.down:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            if host not in {*HOSTS, TOKEN_HOST}:
                return find(host, *args, **options)
            address = ("127.0.0.1", server.server_port)
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]

        monkeypatch.setattr(socket, "getaddrinfo", found)
        yield result
        wait_for_readers()


@pytest.mark.parametrize(
    "written", ["https://{}", "https://{}/", "{}", "HTTPS://{}:443/sap/fpa/ui/app.html"]
)
@pytest.mark.parametrize("host", [*HOSTS, API.upper()])
def test_tenant_is_read_at_the_address_that_is_set(tenant: Tenant, host: str, written: str) -> None:
    tenant.application = StandIn(sales(*ROWS))
    messages = sync(tenant.settings(written.format(host)))
    assert len(messages.records(FACTS)) == len(ROWS)
    assert {name.partition(":")[0].lower() for name in tenant.hosts()} == {host.lower()}
    assert host_of(tenant.requests[0]) == TOKEN_HOST


def pipeline_at(
    tenant: Tenant, host: str, behaviour: Behaviour | None = None, **settings: Any
) -> Pipeline:
    """Let a host serve a small sample tenant, which is read LOG_BASED."""
    service = small(SampleService(behaviour))
    tenant.application = service
    config = tenant.settings(host, models=["Sales Planning"], **settings)
    return Pipeline(service, {**config, "default_replication_method": "LOG_BASED"})


@both
def test_links_to_the_other_address_are_followed_at_the_one_that_is_set(
    tenant: Tenant, host: str, other: str
) -> None:
    pipeline = pipeline_at(tenant, host, Behaviour(links_to_other_host=True), page_size=5)
    pipeline.run()
    pipeline.check()
    for number in range(2):
        for changed in range(7):
            pipeline.facts.put(pipeline.row(changed, REVENUE=f"{number}.0000000"))
        assert len(pipeline.run().records(STREAM)) == 7
        pipeline.check()
    assert any("$skiptoken" in request.target for request in tenant.requests)
    assert tenant.hosts() == {host}
    assert other not in json.dumps(pipeline.table.state)


FOREIGN = [
    "https://acme.api.eu10.sapanalytics.cloud/x",
    "https://acme.eu10.sapanalytics.cloud/x",
    "https://acme.api.us10.hcs.cloud.sap/x",
    "https://acme.api.api.eu10.hcs.cloud.sap/x",
    "https://other.api.eu10.hcs.cloud.sap/x",
    "https://api.acme.eu10.hcs.cloud.sap/x",
    "https://acme.api.eu10.hcs.cloud.sap.evil.example/x",
    "https://{other}:8443/x",
    "http://{other}:8080/x",
    "ftp://{other}/x",
    "https://user@{other}/x",
    "https://user:password@{other}/x",
    "https://{other}@evil.example/x",
    "https://{other}\\@evil.example/x",
    "//evil.example/x",
]


@both
@pytest.mark.parametrize("link", FOREIGN)
def test_link_to_a_third_address_is_refused(
    tenant: Tenant, host: str, other: str, link: str
) -> None:
    stand_in = StandIn(sales(*ROWS))
    page = {"value": [], "@odata.nextLink": link.format(other=other)}
    answer = Response(200, json.dumps(page).encode(), JSON)
    stand_in.fault = lambda request: answer if "/FactData" in request.target else None
    tenant.application = stand_in
    _, failure = run(tenant.settings(host))
    assert "links to another server" in failure
    assert tenant.hosts() == {host}


@both
@pytest.mark.parametrize("form", ["https://{}{}", "//{}{}", "http://{}{}", "https://{}:443{}"])
def test_link_is_followed_in_each_form_in_which_one_to_the_same_address_is(
    tenant: Tenant, host: str, other: str, form: str
) -> None:
    stand_in = StandIn(sales(*ROWS))

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target or "$skiptoken" in request.target:
            return None
        link = form.format(other.upper(), f"{request.path}?$skiptoken=2")
        body = {"value": list(map(json.loads, ROWS[:2])), "@odata.nextLink": link}
        return Response(200, json.dumps(body).encode(), JSON)

    stand_in.fault = fault
    tenant.application = stand_in
    messages = sync(tenant.settings(host, verify_counts="off"))
    assert len(messages.records(FACTS)) == len(ROWS)
    assert {name.removesuffix(":443") for name in tenant.hosts()} == {host}


@both
def test_chain_is_followed_and_deleted_at_either_address(
    tenant: Tenant, host: str, other: str
) -> None:
    pipeline = pipeline_at(tenant, host, page_size=5)
    pipeline.run()
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))
    tenant.requests.clear()
    assert len(pipeline.run(tenant_url=other).records(STREAM)) == 1
    pipeline.facts.put(pipeline.row(1, REVENUE="5.0000000"))
    assert len(pipeline.run(tenant_url=f"https://{other.upper()}/").records(STREAM)) == 1
    pipeline.check()
    assert {name.lower() for name in tenant.hosts()} == {other}
    pipeline.run(tenant_url=other, default_replication_method="FULL_TABLE")
    assert not pipeline.service.subscriptions


def signature(address: str, subscription_id: str) -> str:
    """Sign as all versions of the tap have done, with the address that is set."""
    text = f"{address}\n{subscription_id}"
    return hmac.new(CLIENT_SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


@both
def test_signature_is_that_of_the_address_without_api(
    tenant: Tenant, host: str, other: str
) -> None:
    assert other in {BROWSER, API}
    pipeline = pipeline_at(tenant, host)
    pipeline.run()
    (subscription,) = pipeline.service.subscriptions
    assert pipeline.bookmark()["signature"] == signature(f"https://{BROWSER}", subscription)


@pytest.mark.parametrize("host", [BROWSER, API, BROWSER.upper(), f"{BROWSER}:443"])
def test_state_of_an_older_version_still_proves_its_chain(tenant: Tenant, host: str) -> None:
    pipeline = pipeline_at(tenant, host)
    pipeline.run()
    (subscription,) = pipeline.service.subscriptions
    pipeline.bookmark()["signature"] = signature(f"https://{host}", subscription)
    pipeline.facts.put(pipeline.row(0, REVENUE="5.0000000"))
    assert len(pipeline.run().records(STREAM)) == 1
    pipeline.run(default_replication_method="FULL_TABLE")
    assert not pipeline.service.subscriptions


@pytest.mark.parametrize("address", ["acme.eu10.sapanalytics.cloud", "acme.api.us10.hcs.cloud.sap"])
def test_state_of_another_tenant_keeps_no_subscription(tenant: Tenant, address: str) -> None:
    pipeline = pipeline_at(tenant, API)
    pipeline.run()
    bookmark = pipeline.bookmark()
    bookmark["delta_link"] = bookmark["delta_link"].replace(API, address)
    pipeline.run()
    assert tenant.hosts() == {API}
    assert not any("deltaid" in request.target for request in tenant.requests)


@both
def test_slices_are_resumed_at_either_address(tenant: Tenant, host: str, other: str) -> None:
    stand_in = SlicingStandIn({"A": 3, "B": 5, "C": 2})
    stand_in.fault = at_slice("C", lambda _: error_response(403, "no"))
    tenant.application = stand_in
    config = tenant.settings(host, **SLICED)
    messages, failure = run(config)
    assert failure
    stand_in.fault = lambda _: None
    resumed = sync({**config, "tenant_url": other}, state=messages.state)
    assert {record["Version"] for record in resumed.records(FACTS)} == {"C"}


def deleting(tenant: Tenant, host: str, behaviour: Behaviour) -> list[tuple[str, str]]:
    """Delete a chain; returns the methods of what it took, and their CSRF tokens."""
    pipeline = pipeline_at(tenant, host, behaviour)
    pipeline.run()
    tenant.requests.clear()
    pipeline.run(default_replication_method="FULL_TABLE")
    assert not pipeline.service.subscriptions
    found = [
        (request.method, request.headers.get("x-csrf-token", ""))
        for request in tenant.requests
        if request.method == "DELETE" or "x-csrf-token" in request.headers
    ]
    return [(method, token if token in {"", "fetch"} else "token") for method, token in found]


def test_no_csrf_token_is_fetched_from_the_api_host(tenant: Tenant) -> None:
    assert deleting(tenant, API, Behaviour(is_api_host=True)) == [("DELETE", "")]


def test_csrf_token_is_fetched_from_the_api_host_only_if_required(tenant: Tenant) -> None:
    steps = [("DELETE", ""), ("GET", "fetch"), ("DELETE", "token")]
    assert deleting(tenant, API, Behaviour()) == steps


def test_csrf_token_is_fetched_from_the_browser_host_first(tenant: Tenant) -> None:
    assert deleting(tenant, BROWSER, Behaviour()) == [("GET", "fetch"), ("DELETE", "token")]


def test_browser_host_without_csrf_tokens_is_written_to_without(tenant: Tenant) -> None:
    steps = [("GET", "fetch"), ("GET", "fetch"), ("DELETE", "")]
    assert deleting(tenant, BROWSER, Behaviour(is_api_host=True)) == steps


NOT_THERE = {
    "nothing": Response(404, b"", {}),
    "a page": Response(200, b"<html>Sign in", {"Content-Type": "text/html"}),
    "a gateway": Response(502, b"<html>", {}),
    "another app": error_response(404, "no route", **{"X-Cf-RouterError": "unknown_route"}),
    "a redirect": Response(302, b"", {"Location": "https://elsewhere.example"}),
    "no right": error_response(401, "no"),
}


@pytest.mark.usefixtures("waits")
@both
@pytest.mark.parametrize("answer", [None, *NOT_THERE.values()], ids=["no host", *NOT_THERE])
def test_check_reports_that_the_other_address_works(
    tenant: Tenant, run_cli: RunCli, host: str, other: str, answer: Response | None
) -> None:
    stand_in = StandIn(sales(*ROWS))
    stand_in.fault = lambda request: answer if host_of(request) == host else None
    tenant.application = stand_in
    if answer is None:
        tenant.down.add(host)
    result = run_cli(tenant.settings(f"https://{host}/"), "--check")
    assert result.returncode == 1
    assert "FAILED  namespaces:" in result.stdout
    assert result.stdout.rstrip().endswith(f"works: set tenant_url to https://{other}.")


@pytest.mark.usefixtures("waits")
@both
def test_check_reports_that_neither_address_works(
    tenant: Tenant, run_cli: RunCli, host: str, other: str
) -> None:
    tenant.down.update((host, other))
    result = run_cli(tenant.settings(host), "--check")
    assert f"The other address of the tenant, https://{other}, does not work" in result.stdout
    assert "set tenant_url to" not in result.stdout


@both
@pytest.mark.parametrize("answer", [error_response(403, "no [3401]"), None])
def test_check_does_not_try_the_other_address_where_sac_answers(
    tenant: Tenant, run_cli: RunCli, host: str, other: str, answer: Response | None
) -> None:
    stand_in = StandIn(sales(*ROWS))
    stand_in.fault = lambda _: answer
    tenant.application = stand_in
    result = run_cli(tenant.settings(host), "--check")
    assert result.returncode == int(answer is not None)
    assert other not in result.stdout
    assert tenant.hosts() == {host}


def test_token_url_that_is_set_is_used_at_either_address(tenant: Tenant) -> None:
    tenant.application = StandIn(sales(*ROWS))
    token_url = f"https://{BROWSER}/oauth/token"
    sync(tenant.settings(API, token_url=token_url))
    assert host_of(tenant.requests[0]) == BROWSER
    assert parse_qs(tenant.requests[0].body.decode())["grant_type"] == ["client_credentials"]
    assert urlsplit(tenant.requests[0].target).path == "/oauth/token"
    assert {host_of(request) for request in tenant.requests[1:]} == {API}
