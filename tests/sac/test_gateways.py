"""Who says so: what SAC answers is one thing, what answers in its place is another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.service import Request, Response
from tests.conftest import discover, read_messages, select
from tests.helpers.stand_in import Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.conftest import RunCli, Serve

COLUMNS = {"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"}
ROWS = [sales_row(number) for number in range(6)]
REGIONS = ['{"ID":"R1"}']
EDMX = edmx(FactData=COLUMNS, RegionMaster={"ID": "Edm.String*"})
MODEL = Model("C4SALES", "Sales", EDMX, {"FactData": ROWS, "RegionMaster": REGIONS})
FACTS, MASTER = "sales_fact_data", "sales_region_master"
PAGES = {
    "web page": b"<!DOCTYPE html><html><body>Access denied</body></html>",
    "text of a router": b"404 Not Found: Requested route ('acme') does not exist.",
    "text of a firewall": b"Blocked by policy.\n",
    "JSON of a gateway": b'{"status":404,"error":"Not Found","path":"/x"}',
    "XML of another service": b"<?xml version='1.0'?><Code>AccessDenied</Code>",
}
STATUSES = [403, 404, 405, 412]
ODATA_ERROR = (
    b'<?xml version="1.0"?>\n<m:error xmlns:m="http://docs.oasis-open.org/odata/ns/metadata">'
    b"<m:code>1</m:code><m:message>Entity set RegionMaster &amp; more [3707]</m:message></m:error>"
)
CLIENT = {"client_id": "client", "client_secret": "hunter2"}
NOT_SAC = "A proxy or gateway, not SAC, answered GET"


def at(path: str, *answers: Response) -> Callable[[Request], Response | None]:
    """Answer requests for a path: with each of the answers once, and with the last one after."""
    left = list(answers)

    def fault(request: Request) -> Response | None:
        if path not in request.target:
            return None
        return left.pop(0) if len(left) > 1 else left[0]

    return fault


def once(path: str, answer: Response) -> Callable[[Request], Response | None]:
    left = [answer]
    return lambda request: left.pop() if left and path in request.target else None


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("body", PAGES.values(), ids=PAGES)
def test_page_of_a_gateway_fails_the_stream_whose_rows_it_answers(
    serve: Serve, run_cli: RunCli, body: bytes, status: int
) -> None:
    tenant = StandIn(MODEL)
    tenant.fault = at("/RegionMaster", Response(status, body))
    result = run_cli(serve(tenant))
    assert result.returncode == 1
    messages = read_messages(result.stdout)
    assert len(messages.records(FACTS)) == 6
    assert not messages.records(MASTER)
    assert f"1 of 3 streams failed; the others were read. {MASTER}: {NOT_SAC}" in result.stderr
    assert f"/RegionMaster with {status}" in result.stderr
    assert "HTTPS_PROXY" in result.stderr
    assert "Skipping the stream" not in result.stderr


@pytest.mark.parametrize(
    "answer",
    [error_response(404, "gone"), Response(404, b""), Response(404, ODATA_ERROR)],
    ids=["JSON", "nothing", "XML"],
)
def test_word_of_sac_is_one(serve: Serve, run_cli: RunCli, answer: Response) -> None:
    tenant = StandIn(MODEL)
    tenant.fault = at("/RegionMaster", answer)
    result = run_cli(serve(tenant))
    assert result.returncode == 0, result.stderr
    assert f"Skipping the stream {MASTER}: SAC answered 404 Not Found" in result.stderr
    if answer.body == ODATA_ERROR:
        assert "'Entity set RegionMaster & more [3707]'" in result.stderr


@pytest.mark.parametrize("status", [403, 404, 405])
@pytest.mark.parametrize("body", PAGES.values(), ids=PAGES)
def test_model_behind_a_failing_gateway_fails_the_run(
    serve: Serve, run_cli: RunCli, body: bytes, status: int
) -> None:
    other = sales(*ROWS, model_id="C4OTHER", name="Other")
    tenant = StandIn(MODEL, other)
    tenant.fault = at("C4SALES/$metadata", Response(status, body))
    config = serve(tenant)
    result = run_cli(config)
    assert result.returncode == 1
    assert len(read_messages(result.stdout).records("other_fact_data")) == 6
    assert "Skipping the model 'Sales' (C4SALES)" in result.stderr
    assert f"The model 'Sales' (C4SALES) was not read. {NOT_SAC}" in result.stderr
    assert f"/$metadata with {status}" in result.stderr

    result = run_cli(config, "--discover")
    assert (result.returncode, result.stdout) == (1, "")
    result = run_cli(config, "--check")
    assert result.returncode == 1
    assert "FAILED  $metadata: The model 'Sales' (C4SALES) was not read." in result.stdout


@pytest.mark.parametrize("body", [*PAGES.values(), b"", b'{"error": {"message": "live"}}'])
def test_live_connection_is_skipped_with_any_message(
    serve: Serve, run_cli: RunCli, body: bytes
) -> None:
    tenant = StandIn(MODEL, sales(*ROWS, model_id="C4LIVE", name="Live"))
    tenant.fault = at("C4LIVE/$metadata", Response(412, body))
    result = run_cli(serve(tenant))
    assert result.returncode == 0, result.stderr
    assert "Skipping the model 'Live' (C4LIVE)" in result.stderr
    assert len(read_messages(result.stdout).records(FACTS)) == 6


def test_newer_namespace_that_a_gateway_hides_is_left_out(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(MODEL, Model("P", "Public", EDMX, {}, namespace="publicDimension"))
    tenant.fault = at("'publicDimension'", Response(404, PAGES["web page"]))
    result = run_cli({**serve(tenant), "models": ["Sales"]})
    assert result.returncode == 0, result.stderr
    assert "Skipping the namespace publicDimension" in result.stderr


def delta(*rows: str) -> Response:
    text = ",".join(rows)
    body = f'{{"@odata.context":"$metadata#FactData/$delta","value":[{text}],'
    body += '"@odata.deltaLink":"FactData?deltaid=B"}'
    return Response(200, body.encode())


@pytest.mark.parametrize("path", ["deltaid=A", "/Subscriptions"])
@pytest.mark.parametrize("body", PAGES.values(), ids=PAGES)
def test_delta_that_a_gateway_answers_is_not_lost(
    serve: Serve, run_cli: RunCli, tmp_path: Path, body: bytes, path: str
) -> None:
    tenant = StandIn(sales(*ROWS))
    opening = f'{{"value":[{",".join(ROWS)}],"@odata.deltaLink":"FactData?deltaid=A"}}'
    listed: list[dict[str, Any]] = [{"SubscriptionID": "A", "EntitySetName": "FactData"}]
    is_hidden = True

    def fault(request: Request) -> Response | None:
        if is_hidden and path in request.target:
            return Response(404, body)
        if "/Subscriptions" in request.target:
            return Response(200, json.dumps({"value": listed}).encode())
        if "deltaid=A" in request.target:
            return delta(ROWS[0])
        if "/FactData" in request.target:
            return Response(200, opening.encode())
        return None

    tenant.fault = fault
    config = {**serve(tenant), "default_replication_method": "LOG_BASED"}
    first = read_messages(run_cli(config).stdout)
    assert len(first.records(FACTS)) == 6
    state = tmp_path / "state.json"
    state.write_text(json.dumps(first.state))

    result = run_cli(config, "--state", str(state))
    if path == "deltaid=A":
        assert result.returncode == 1
        assert NOT_SAC in result.stderr
        assert not read_messages(result.stdout).records(FACTS)
        state.write_text(json.dumps(read_messages(result.stdout).state))
        is_hidden = False
        result = run_cli(config, "--state", str(state))
    assert result.returncode == 0, result.stderr
    assert len(read_messages(result.stdout).records(FACTS)) == 1
    assert not [request for request in tenant.requests if request.method != "GET"]


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("reason", ["unknown_route", "endpoint_failure (tls: handshake)"])
@pytest.mark.parametrize("status", [404, 502])
@pytest.mark.parametrize("path", ["/FactData", "$metadata", "/Namespaces"])
def test_outage_that_a_router_reports_is_waited_out(
    serve: Serve, run_cli: RunCli, path: str, status: int, reason: str
) -> None:
    tenant = StandIn(sales(*ROWS))
    headers = {"X-Cf-RouterError": reason, "Retry-After": "0"}
    tenant.fault = once(path, Response(status, PAGES["text of a router"], headers))
    result = run_cli(serve(tenant))
    assert result.returncode == 0, result.stderr
    assert len(read_messages(result.stdout).records(FACTS)) == 6
    assert f"by its router ({reason})" in result.stderr


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 412, 500, 503])
def test_client_that_may_not_export_is_refused_whatever_the_status(
    serve: Serve, run_cli: RunCli, status: int
) -> None:
    refused = error_response(status, "OAuth Client is not allowed [3401]")
    for path in ("/Namespaces", "$metadata", "/RegionMaster"):
        tenant = StandIn(MODEL)
        tenant.fault = at(path, refused)
        result = run_cli(serve(tenant))
        assert result.returncode == 1
        assert "'Data Export Service'" in result.stderr
        assert "Retrying" not in result.stderr
        assert "Skipping the stream" not in result.stderr


BAD_DOCUMENTS = {
    "control character in each name": Response(200, EDMX.replace('e="', 'e="\x01').encode()),
    "ampersand in the markup": Response(200, EDMX.replace(" Type=", " & Type=").encode()),
    "cut short": Response(200, EDMX[:200].encode()),
    "not XML": Response(200, b"{}"),
    "set of an unknown type": Response(
        200,
        b'<Edmx><DataServices><Schema Namespace="sac"><EntityContainer Name="C"><EntitySet '
        b'Name="FactData" EntityType="other.Type"/></EntityContainer></Schema></DataServices>'
        b"</Edmx>",
    ),
    "500": Response(500, b""),
    "400": error_response(400, "no"),
}


@pytest.mark.parametrize("answer", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
def test_bad_model_does_not_spoil_the_rest(serve: Serve, run_cli: RunCli, answer: Response) -> None:
    tenant = StandIn(MODEL, sales(*ROWS, model_id="C4BAD", name="Bad"))
    tenant.fault = at("C4BAD/$metadata", answer)
    config = {**serve(tenant), "backoff_max_tries": 1}
    assert_skipped(run_cli(config))
    assert_missed(run_cli({**config, "models": ["Sales", "Bad"]}))


def test_unreadable_model_fails_the_run_if_it_was_requested(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    tenant = StandIn(MODEL, sales(*ROWS, model_id="C4BAD", name="Bad"))
    config = {**serve(tenant), "backoff_max_tries": 1}
    path = tmp_path / "catalog.json"
    path.write_text(run_cli(config, "--discover").stdout)
    tenant.fault = at("C4BAD/$metadata", BAD_DOCUMENTS["cut short"])
    assert_skipped(run_cli({**config, "models": ["*"]}))
    assert_skipped(run_cli({**config, "filters": {"bad_fact_data": "Version eq 'x'"}}))
    assert_missed(run_cli({**config, "models": ["Sales", "C4BAD"]}))
    assert_missed(run_cli(config, "--catalog", str(path)))


def assert_skipped(result: CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stderr
    assert len(read_messages(result.stdout).records(FACTS)) == 6
    assert "Skipping the model 'Bad' (C4BAD): " in result.stderr


def assert_missed(result: CompletedProcess[str]) -> None:
    """What somebody asked for must not be missing in silence."""
    assert result.returncode == 1
    assert len(read_messages(result.stdout).records(FACTS)) == 6
    assert "The model 'Bad' (C4BAD) was not read. " in result.stderr


# What can be read safely of a document that is not what it should be.
ODD_DOCUMENTS = {
    "column twice": EDMX.replace("</EntityType>", '<Property Name="ID"/></EntityType>'),
    "type of another document": EDMX.replace('"Edm.Decimal"', '"other.Amount"'),
}


@pytest.mark.parametrize("document", ODD_DOCUMENTS.values(), ids=ODD_DOCUMENTS)
def test_unambiguous_parts_of_a_document_are_read(
    serve: Serve, run_cli: RunCli, document: str
) -> None:
    model = Model("C4SALES", "Sales", document, {"FactData": ROWS, "RegionMaster": REGIONS})
    result = run_cli({**serve(StandIn(model)), "models": ["Sales"]})
    assert result.returncode == 0, result.stderr
    messages = read_messages(result.stdout)
    assert [row["AMOUNT"] for row in messages.records(FACTS)] == ["1.0000000"] * 6
    assert messages.records(MASTER) == [{"ID": "R1"}]


def unclear(entity_set: str) -> Model:
    """Make a model that has two columns of one name in a set."""
    column = '<Property Name="ID" Type="Edm.Date"/><Property Name="ID"/>'
    kept = EDMX.index("</EntityType>", EDMX.index(f'"{entity_set}"'))
    document = EDMX[:kept] + column + EDMX[kept:]
    return Model("C4SALES", "Sales", document, {"FactData": ROWS, "RegionMaster": REGIONS})


def test_undescribed_facts_fail_the_run_after_other_streams(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    config = serve(StandIn(unclear("FactData")))
    result = run_cli(config)
    assert result.returncode == 1
    assert f"{FACTS} was not read. Its columns are unknown" in result.stderr
    assert "'ID' of 'FactData' twice" in result.stderr
    assert read_messages(result.stdout).records(MASTER) == [{"ID": "R1"}]

    assert "FAILED  $metadata: " in run_cli(config, "--check").stdout
    # Meltano discovers first, and would read no model at all if that failed.
    result = run_cli(config, "--discover")
    assert result.returncode == 0
    catalog = json.loads(result.stdout)
    assert {entry["tap_stream_id"] for entry in catalog["streams"]} == {MASTER, "providers"}
    path = tmp_path / "catalog.json"
    path.write_text(result.stdout)
    assert run_cli(config, "--catalog", str(path)).returncode == 1

    whole = discover(serve(StandIn(MODEL)))
    path.write_text(json.dumps(select(whole, MASTER)))
    result = run_cli(config, "--catalog", str(path))
    assert result.returncode == 0, result.stderr
    assert f"Skipping the stream {FACTS}: Its columns are unknown" in result.stderr


def test_undescribed_set_fails_the_run_if_selected(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    config = serve(StandIn(unclear("RegionMaster")))
    config["filters"] = {MASTER: "ID eq 'R1'"}
    result = run_cli(config)
    assert result.returncode == 0, result.stderr
    assert f"Skipping the stream {MASTER}: Its columns are unknown" in result.stderr
    assert len(read_messages(result.stdout).records(FACTS)) == 6

    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(select(discover(serve(StandIn(MODEL))), FACTS, MASTER)))
    result = run_cli(config, "--catalog", str(path))
    assert result.returncode == 1
    assert f"{MASTER} was not read. Its columns are unknown" in result.stderr
    assert len(read_messages(result.stdout).records(FACTS)) == 6


def test_blank_lines_before_the_declaration_are_nothing(serve: Serve, run_cli: RunCli) -> None:
    document = f'\r\n \n<?xml version="1.0"?>{EDMX}'
    model = Model("C4SALES", "Sales", document, {"FactData": ROWS, "RegionMaster": REGIONS})
    result = run_cli(serve(StandIn(model)))
    assert result.returncode == 0, result.stderr
    assert len(read_messages(result.stdout).records(FACTS)) == 6


def test_facts_that_are_not_served_fail_the_run(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(MODEL)
    tenant.fault = at("/FactData", error_response(400, "Entity set does not exist [3707]"))
    result = run_cli(serve(tenant))
    assert result.returncode == 1
    assert f"1 of 3 streams failed; the others were read. {FACTS}: SAC answered" in result.stderr
    assert len(read_messages(result.stdout).records(MASTER)) == 1


@pytest.mark.parametrize("name", ["RegionMasterWithHierarchy", "PublicDimensionDataWithHierarchy"])
def test_dimension_without_hierarchy_is_skipped(serve: Serve, run_cli: RunCli, name: str) -> None:
    document = edmx(FactData=COLUMNS, **{name: {"ID": "Edm.String*"}})
    tenant = StandIn(Model("C4SALES", "Sales", document, {"FactData": ROWS, name: REGIONS}))
    tenant.fault = at(f"/{name}", error_response(400, "no hierarchy"))
    result = run_cli({**serve(tenant), "page_size": 2})
    assert result.returncode == 0, result.stderr
    assert "Skipping the stream sales_" in result.stderr


def test_table_that_sac_cannot_export_is_skipped(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(MODEL)
    tenant.fault = at("/RegionMaster", error_response(500, "SQL statement [1205]"))
    result = run_cli({**serve(tenant), "page_size": 2})
    assert result.returncode == 0, result.stderr
    assert f"Skipping the stream {MASTER}: SAC answered 500" in result.stderr
    assert "Deselect the stream" in result.stderr
    assert "Retrying" not in result.stderr


def test_facts_that_sac_cannot_export_fail_alone(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(MODEL)
    tenant.fault = at("/FactData", error_response(500, "SQL statement [1205]"))
    result = run_cli(serve(tenant))
    assert result.returncode == 1
    assert f"{FACTS}: SAC answered 500" in result.stderr
    assert len(read_messages(result.stdout).records(MASTER)) == 1
    assert "Retrying" not in result.stderr


def test_filter_that_sac_cannot_prepare_is_named(serve: Serve, run_cli: RunCli) -> None:
    tenant = StandIn(MODEL)
    text = "Version in ('a','b')"
    tenant.fault = at("$filter=", error_response(500, "SQL statement [1205]"))
    result = run_cli({**serve(tenant), "filters": {FACTS: text}})
    assert result.returncode == 1
    assert f'to the filter "{text}" of the stream {FACTS}' in result.stderr
    assert "instead of an in list, write A eq" in result.stderr
    assert "Retrying" not in result.stderr


@pytest.mark.parametrize("status", [413, 414, 431])
def test_url_that_is_too_long_is_named(
    serve: Serve, run_cli: RunCli, tmp_path: Path, status: int
) -> None:
    tenant = StandIn(MODEL)
    tenant.fault = at("$select=", Response(status, PAGES["web page"]))
    config = serve(tenant)
    catalog = select(discover(config), FACTS)
    entry = next(item for item in catalog["streams"] if item["tap_stream_id"] == FACTS)
    column = next(item for item in entry["metadata"] if item["breadcrumb"][-1:] == ["AMOUNT"])
    column["metadata"]["selected"] = False
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(catalog))
    result = run_cli(config, "--catalog", str(path))
    assert result.returncode == 1
    assert f"SAC answered {status}" in result.stderr
    assert "Select all columns of the stream" in result.stderr


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_select_that_makes_the_url_too_long_is_left_out(
    serve: Serve, run_cli: RunCli, tmp_path: Path, method: str
) -> None:
    names = [f"COLUMN_WITH_A_LONG_NAME_{number:03}" for number in range(300)]
    document = edmx(FactData={**COLUMNS, **dict.fromkeys(names, "Edm.String")})
    filled = dict.fromkeys(names, "x")
    rows = [json.dumps({"Version": "a", "Date": "b", "AMOUNT": 1, **filled})]
    tenant = StandIn(Model("C4SALES", "Sales", document, {"FactData": rows}))
    config = {**serve(tenant), "default_replication_method": method}
    catalog = select(discover(config), FACTS)
    (entry,) = (item for item in catalog["streams"] if item["tap_stream_id"] == FACTS)
    for item in entry["metadata"]:
        if item["breadcrumb"][-1:] == ["AMOUNT"]:
            item["metadata"]["selected"] = False
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(catalog))
    result = run_cli(config, "--catalog", str(path))
    assert result.returncode == 0, result.stderr
    (record,) = read_messages(result.stdout).records(FACTS)
    own = {"_sdc_deleted_at": None} if method == "LOG_BASED" else {}
    assert {name: value for name, value in record.items() if value is not None or name in own} == {
        "Version": "a",
        "Date": "b",
        **filled,
        **own,
    }
    assert max(len(request.target) for request in tenant.requests) < 6_000


@pytest.mark.parametrize("status", [204, 206])
def test_answer_without_all_of_its_content_is_named(
    serve: Serve, run_cli: RunCli, status: int
) -> None:
    tenant = StandIn(MODEL)
    body = b"" if status == 204 else json.dumps({"value": [json.loads(ROWS[0])]}).encode()
    tenant.fault = at("/FactData", Response(status, body))
    result = run_cli(serve(tenant))
    assert result.returncode == 1
    assert f"SAC answered {status}" in result.stderr
    assert "Check the proxy in front of SAC" in result.stderr
    assert not read_messages(result.stdout).records(FACTS)


def garbled(text: bytes, *, is_mended: bool) -> tuple[StandIn, list[Response]]:
    """Serve a page with a text in its second row, for ever or once."""
    document = edmx(FactData={"Version": "Edm.String*", "Note": "Edm.String"})
    rows = [b'{"Version":"a","Note":"x, \\"y\\": {}"}', b'{"Version":"b", "Note":"' + text + b'"}']
    body = b'{"@odata.context":"x","value":[' + b", ".join(rows) + b"]}"
    whole = ['{"Version":"a","Note":"x"}', '{"Version":"b","Note":"y"}']
    tenant = StandIn(Model("C4SALES", "Sales", document, {"FactData": whole}))
    sent: list[Response] = []

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target or (sent and is_mended):
            return None
        sent.append(Response(200, body))
        return sent[-1]

    tenant.fault = fault
    return tenant, sent


GARBLED = {
    "control character": b"x\x01y",
    "tab": b"x\ty",
    "line feed": b"x\ny",
    "stray backslash": b"C:\\qx",
    "bytes of Latin-1": b"Z\xfcrich",
    "half of a character": b"\xc3",
}


@pytest.mark.parametrize("text", GARBLED.values(), ids=GARBLED)
def test_garbled_text_is_requested_once_more_and_named(
    serve: Serve, run_cli: RunCli, waits: list[float], text: bytes
) -> None:
    tenant, sent = garbled(text, is_mended=False)
    result = run_cli(serve(tenant))
    assert result.returncode == 1
    assert f"{FACTS}: SAC's response to GET" in result.stderr
    assert "Correct the text in SAC, or deselect" in result.stderr
    assert "Run the tap again later" not in result.stderr
    assert len(sent) <= 3  # The first two with a count.
    assert len(waits) == 1
    assert not read_messages(result.stdout).records(FACTS)


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("text", GARBLED.values(), ids=GARBLED)
def test_text_that_was_damaged_in_transit_is_harmless(
    serve: Serve, run_cli: RunCli, text: bytes
) -> None:
    tenant, _ = garbled(text, is_mended=True)
    result = run_cli(serve(tenant))
    assert result.returncode == 0, result.stderr
    assert len(read_messages(result.stdout).records(FACTS)) == 2


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://acme.invalid"])
def test_first_contact_is_given_up_within_seconds(
    run_cli: RunCli, waits: list[float], url: str
) -> None:
    settings = {**CLIENT, "tenant_url": url, "token_url": f"{url}/oauth/token"}
    result = run_cli({**settings, "backoff_max_tries": 50})
    assert result.returncode == 1
    assert "No response from " in result.stderr
    assert 8 < sum(waits) <= 20


def test_server_that_was_reached_is_waited_for_longer(
    serve: Serve, run_cli: RunCli, waits: list[float]
) -> None:
    tenant = StandIn(MODEL)
    tenant.fault = at("/FactData", Response(503, b""))
    result = run_cli({**serve(tenant), "backoff_max_tries": 9})
    assert result.returncode == 1
    assert sum(waits) > 60


def test_port_without_tls_is_named_at_once(
    serve: Serve, run_cli: RunCli, waits: list[float]
) -> None:
    settings = serve(StandIn(MODEL))
    plain = settings["tenant_url"].replace("http://", "https://")
    result = run_cli({**settings, "tenant_url": plain, "token_url": f"{plain}/oauth/token"})
    assert result.returncode == 1
    assert "Check the ports in tenant_url and token_url" in result.stderr
    assert not waits


def test_socks_proxy_without_its_library_is_named_at_once(
    run_cli: RunCli, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:hidden@127.0.0.1:1")
    url = "https://acme.invalid"
    result = run_cli({**CLIENT, "tenant_url": url, "token_url": f"{url}/oauth/token"})
    assert result.returncode == 1
    assert "Install it beside the tap (pip install pysocks)" in result.stderr
    assert "hidden" not in result.stderr
    assert not waits
