"""``tap-sac --report``: what it says of a tenant, and that nothing of the company is in it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from tap_sac.commands import report as command
from tap_sac.demo import Behaviour
from tap_sac.demo.service import SERVICE_ROOT, TOKEN_PATH, Response, SampleService
from tap_sac.demo.sets import dimensions, model_tables
from tap_sac.demo.tables import Column, Model
from tap_sac.report.questions import NOTHING
from tap_sac.sac.export import asker
from tests.conftest import discover, select
from tests.helpers.demo_client import ANNA, refresh_token
from tests.helpers.markers import LENGTH, Marked
from tests.helpers.reports import answers, flaws, read_report, report_of, verdicts
from tests.helpers.stand_in import StandIn, error_response, sales, sales_row

if TYPE_CHECKING:
    from pathlib import Path

    from tap_sac.demo.service import Application, Request
    from tests.conftest import RunCli, Serve

DEMO = {"demo": True}
COUNT, LINK = "@odata.count", "@odata.nextLink"
SEND = "Please send a report (tap-sac --report report.json)."


class Counted:
    """Notes the requests to an application."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self.targets: list[str] = []

    def __call__(self, request: Request) -> Response:
        self.targets.append(request.target.removeprefix(SERVICE_ROOT))
        return self._application(request)


def test_the_sample_tenant_is_as_believed(serve: Serve, run_cli: RunCli, tmp_path: Path) -> None:
    service = Counted(SampleService())
    path = tmp_path / "report.json"
    result = run_cli(serve(service), "--report", str(path))
    assert result.returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert len(text.splitlines()) < 2000
    report = json.loads(text)
    assert [*report] == sorted(report)
    assert report["report_version"] == 1
    assert list(flaws(report)) == []
    assert verdicts(report, "otherwise") == set()
    assert not [text for text in strings(report) if text == "other"]
    assert len(service.targets) <= 200
    assert result.stdout.splitlines()[-1].startswith("The report describes SAC's answers")


def strings(part: object) -> list[str]:
    if isinstance(part, dict):
        return [text for pair in part.items() for item in pair for text in strings(item)]
    return (
        [text for item in part for text in strings(item)] if isinstance(part, list) else [str(part)]
    )


def test_standard_output_has_the_report_alone(run_cli: RunCli) -> None:
    result = run_cli({**DEMO, "models": ["Budget"]}, "--report", "-")
    assert result.returncode == 0
    assert json.loads(result.stdout)["steps"]["rows"] == "ok"
    assert "ok      rows" in result.stderr
    assert "attach it to an issue" in result.stderr


def test_models_that_a_catalog_lacks_are_in_the_report(run_cli: RunCli, tmp_path: Path) -> None:
    catalog, path = discover({**DEMO, "models": ["Budget"]}), tmp_path / "catalog.json"
    path.write_text(json.dumps(select(catalog, next(name for name in catalog if "fact" in name))))
    config = {**DEMO, "models": ["Budget", "Sales*"]}
    report = report_of(run_cli, tmp_path, config, "--catalog", str(path))
    assert len(report["models"]["list"]) == 3


def test_rows_are_read_from_the_smallest_model_alone(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    service = Counted(SampleService())
    report = report_of(run_cli, tmp_path, {**serve(service), "models": ["Budget", "Sales*"]})
    rows = [text for text in service.targets if "/FactData" in text and "$top=0" not in text]
    others = [text for text in rows if "/C4BUDGETQ7W2E9R5T1Y8U3I6OA/" not in text]
    assert others == [
        # A step of the check reads it, and the last one does not exist.
        "/providers/sac/C4SALESPLK8M4X1QW6TBV2ZJ5C/FactData?$count=true",
        f"/providers/sac/{NOTHING}/FactData",
    ]
    assert [model["magnitude"] for model in report["models"]["list"]] == [3, 2, 2]


def test_at_most_twenty_models_are_looked_at(serve: Serve, run_cli: RunCli, tmp_path: Path) -> None:
    models = [
        sales(sales_row(1), model_id=f"C4M{number}", name=f"M{number}") for number in range(30)
    ]
    tenant = StandIn(*models)
    config = {**serve(tenant), "filters": {"m29_fact_data": "Date eq '1'"}}
    report = report_of(run_cli, tmp_path, config)
    assert len(report["models"]["list"]) == 20
    assert sum("$metadata" in text for text in tenant.targets) == 20
    assert len(tenant.requests) <= 200


@pytest.mark.parametrize(("name", "value"), [("MOST_REQUESTS", 30), ("MOST_SECONDS", 0)])
def test_limits_end_the_questions_and_leave_a_report(
    serve: Serve,
    run_cli: RunCli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: int,
) -> None:
    monkeypatch.setattr(command, name, value)
    tenant = SampleService()
    service = Counted(tenant)
    config = {**serve(service), "models": ["Budget"]}
    report = report_of(run_cli, tmp_path, config, "--report-changes")
    assert len(service.targets) <= 31  # with the token
    assert tenant.subscriptions == {}
    assert report["steps"]["rows"] == "ok"
    assert ("CSRF", "api") in verdicts(report, "not seen")
    assert answers(report)["token"]["seconds"] == "3600"


def test_a_refused_token_leaves_a_report(serve: Serve, run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    service = SampleService(Behaviour(missing_grant="client_credentials"))
    result = run_cli(serve(service), "--report", str(path))
    assert result.returncode == 1
    assert "FAILED  token" in result.stdout
    report = read_report(path)
    assert report["steps"]["token"] == "FAILED GRANT_NOT_ALLOWED"
    assert list(flaws(report)) == []


def test_wrong_settings_leave_a_report(run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    result = run_cli({"demo": "maybe"}, "--report", str(path))
    assert result.returncode == 1
    assert "FAILED  settings" in result.stdout
    assert "answers" in read_report(path)


def test_a_client_without_access_leaves_a_report(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    service = SampleService(Behaviour(client_has_access=False))
    assert run_cli(serve(service), "--report", str(path)).returncode == 1
    report = read_report(path)
    assert report["steps"]["namespaces"] == "FAILED CLIENT_NOT_ALLOWED 400 [3401]"
    assert answers(report)["token"]["kind"] == "opaque"
    assert list(flaws(report)) == []


@pytest.mark.parametrize("place", ["no-folder/report.json", "."])
def test_unwritable_file_is_an_error_before_any_request(
    serve: Serve, run_cli: RunCli, tmp_path: Path, place: str
) -> None:
    service = Counted(SampleService())
    result = run_cli(serve(service), "--report", str(tmp_path / place))
    assert result.returncode == 1
    assert "The report cannot be written to" in result.stderr
    assert service.targets == []


def test_a_full_disk_leaves_the_file_as_it_was(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    path.write_text("the last one")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    result = run_cli({**DEMO, "models": ["Budget"]}, "--report", str(path))
    assert result.returncode == 1
    assert "No space left on device): free disk space" in result.stderr
    assert path.read_text() == "the last one"
    assert [*tmp_path.glob(".report*")] == []


def test_a_signal_leaves_a_report(serve: Serve, run_cli: RunCli, tmp_path: Path) -> None:
    service, path = SampleService(), tmp_path / "report.json"

    def application(request: Request) -> Response:
        if "$apply" in request.target:
            os.kill(os.getpid(), signal.SIGTERM)
        return service(request)

    result = run_cli({**serve(application), "models": ["Budget"]}, "--report", str(path))
    assert result.returncode == 128 + signal.SIGTERM
    report = read_report(path)
    assert report["steps"]["rows"] == "ok"
    assert answers(report)["first page"]["link"] == "whole"
    assert ("CSRF", "api") not in verdicts(report, "as believed")


def test_no_name_value_or_number_of_the_company_is_in_it(
    serve: Serve, run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        command, "is_of_grammar", lambda *_: True
    )  # What is written is checked twice.
    tenant, path = Marked(), tmp_path / "report.json"
    result = run_cli(serve(tenant), "--report", str(path), "--report-changes")
    assert result.returncode == 0, result.stdout + result.stderr
    text = path.read_text()
    assert len(tenant.markers) > 1000
    assert "could not be deleted" in result.stdout  # The list has other ids, which are markers.
    lower = text.lower()
    pieces = {lower[start : start + LENGTH] for start in range(len(lower))}
    assert pieces & {marker.lower() for marker in tenant.markers} == set()
    report = json.loads(text)
    assert list(flaws(report)) == []
    assert len(report["models"]["list"]) == 11
    numbers = {word for text in strings(report) for word in text.replace("=", " ").split()}
    assert numbers & {"360", "8640", "5760", "1080"} == set()
    assert answers(report)["refusals"]["in list"].startswith("500 [1205] text: ...")


def test_words_outside_the_grammar_are_not_written() -> None:
    made = command.Report()
    made.seen = {"token": {"kind": "Acme Ltd"}, "links": {"host": "acme.eu10.hcs.cloud.sap"}}
    assert "acme" not in made.text("1.0+acme").lower()


@pytest.mark.usefixtures("waits")
def test_refusals_have_their_form(serve: Serve, run_cli: RunCli, tmp_path: Path) -> None:
    tenant = StandIn(sales(*map(sales_row, range(9))))
    bodies = {
        "$apply": Response(200, b"[]"),
        "$pagesize": Response(400, b"<html>Acme</html>"),
        "AuditData": error_response(
            403, {"lang": "en", "value": "Acme [4711] has no data. [3905]"}
        ),
        "FactDataDifference": Response(502, b"Acme"),
        "$count=true&$top=1": Response(500, b"{}"),
    }
    tenant.fault = lambda request: next(
        (answer for text, answer in bodies.items() if text in request.target), None
    )
    report = report_of(run_cli, tmp_path, serve(tenant))
    found = answers(report)["refusals"]
    assert found["$apply"] == "200 JSON"
    assert found["$pagesize"] == "400 HTML"
    assert found["AuditData"] == "403 [3905] object: ... has no data"
    assert found["differences alone"] == "502 plain"
    assert answers(report)["$count"]["few columns"] == "500 JSON"
    assert list(flaws(report)) == []


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize(
    "garbage",
    [
        *('{"value":{}}', '{"value":[1]}', '{"value":[{"a":{}}],"@odata.nextLink":["a"]}', "[", ""),
        '{"value":[{"Date":NaN}],"@odata.count":{},"@des.processingTimeInMilliseconds":"1.2.3"}',
        f'{{"value":[{{"Date":1}}],"@odata.count":{"9" * 5000}}}',
    ],
)
def test_garbage_costs_no_other_answer(
    serve: Serve, run_cli: RunCli, tmp_path: Path, garbage: str
) -> None:
    service, own = SampleService(), ("$top=0", "$orderby", "pagesize=", "$select=")

    def application(request: Request) -> Response:
        is_own = any(text in unquote(request.target) for text in own)
        return Response(200, garbage.encode()) if is_own else service(request)

    report = report_of(run_cli, tmp_path, {**serve(application), "models": ["Budget"]})
    assert answers(report)["CSRF"]["api"] == "given"
    assert answers(report)["refusals"]["$apply"] == "served"
    assert list(flaws(report)) == []


def test_response_after_a_retry_is_accepted(
    serve: Serve, run_cli: RunCli, tmp_path: Path, waits: list[float]
) -> None:
    service, seen = SampleService(), set[str]()

    def application(request: Request) -> Response:
        answer, is_first = service(request), request.target not in seen
        seen.add(request.target)
        if is_first and request.target.endswith("$metadata"):
            return replace(answer, body=answer.body[:-3])
        if is_first and "FactData?$count=true" in request.target and len(seen) > 3:
            return error_response(401, "The token has expired.")
        return answer

    report = report_of(run_cli, tmp_path, {**serve(application), "models": ["Budget"]})
    assert waits != []
    assert all("sets" in model for model in report["models"]["list"])
    assert answers(report)["first page"]["link"] == "whole"
    assert answers(report)["$count"]["with rows"] == "right"


def test_numbers_in_texts_are_not_in_the_report(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    tenant, path = StandIn(sales(sales_row(1))), tmp_path / "report.json"
    refused = error_response(400, "Cost center [4711] of Acme is closed. [9999]")
    tenant.fault = lambda request: refused if "/FactData" in request.target else None
    assert run_cli(serve(tenant), "--report", str(path)).returncode == 1
    assert read_report(path)["steps"]["rows"] == "FAILED BAD_REQUEST 400 [9999]"
    refused = error_response(400, "Cost center [4711] of Acme is closed.")
    assert run_cli(serve(tenant), "--report", str(path)).returncode == 1
    assert read_report(path)["steps"]["rows"] == "FAILED BAD_REQUEST 400"


@pytest.mark.parametrize(
    ("counts", "extra", "link"),
    [
        (True, {LINK: "FactData?$skiptoken=9999"}, "linked"),
        (False, {LINK: "FactData?$skiptoken=9999"}, "linked"),
        (True, {COUNT: 359}, "whole"),
    ],
)
def test_number_of_rows_is_not_taken_for_that_of_a_page(
    serve: Serve,
    run_cli: RunCli,
    tmp_path: Path,
    extra: dict[str, Any],
    link: str,
    *,
    counts: bool,
) -> None:
    service = SampleService(Behaviour(counts=counts))

    def application(request: Request) -> Response:  # Its last page has a link, or its count errs.
        answer = service(request)
        if "/FactData?" not in request.target or b'"value":[{' not in answer.body:
            return answer
        return replace(answer, body=json.dumps({**json.loads(answer.body), **extra}).encode())

    report = report_of(run_cli, tmp_path, {**serve(application), "models": ["Budget"]})
    assert answers(report)["first page"] == {"link": link}


def test_names_are_quoted_in_addresses(serve: Serve, run_cli: RunCli, tmp_path: Path) -> None:
    names, measure = dimensions("Cost #1", "Date"), Column("AMOUNT", "Edm.Decimal")
    tables = model_tables(names, [measure], [{"Cost #1": "a", "Date": "b", "AMOUNT": 1}], [])
    model = Model("C4COSTS", "Costs", "", tables=tables)
    service = SampleService(Behaviour(lists_distinct_values=True), [model])
    report = report_of(run_cli, tmp_path, serve(service))
    assert answers(report)["refusals"]["distinct values"] == "served"


def test_metadata_that_comes_otherwise_again_is_left_out(
    serve: Serve, run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asker, "_MOST_BYTES_KEPT", 0)
    service, seen = SampleService(), set[str]()

    def application(request: Request) -> Response:
        is_again = request.target.endswith("$metadata") and request.target in seen
        seen.add(request.target)
        return Response(200, b"<html>") if is_again else service(request)

    report = report_of(run_cli, tmp_path, {**serve(application), "models": ["Budget"]})
    assert [*report["models"]["list"][0]] == ["magnitude", "name", "namespace_id"]


def test_a_refused_sign_in_is_not_tried_again(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    service, late = SampleService(), set[str]()
    refused: list[Request] = []

    def application(request: Request) -> Response:
        if request.target != TOKEN_PATH:
            late.update({"$count=true&$top=0"} if "$top=0" in request.target else ())
            return error_response(401, "expired") if late else service(request)
        if late:
            refused.append(request)
        return Response(401, b'{"error":"invalid_client"}') if late else service(request)

    report = report_of(run_cli, tmp_path, {**serve(application), "models": ["Budget"]})
    assert len(refused) <= 2
    assert ("refusals", "$apply") in verdicts(report, "not seen")


def test_check_reports_differences_without_more_requests(serve: Serve, run_cli: RunCli) -> None:
    def check(behaviour: Behaviour) -> tuple[list[str], list[str]]:
        service = Counted(SampleService(behaviour))
        result = run_cli({**serve(service), "models": ["Budget"]}, "--check")
        assert result.returncode == 0
        return service.targets, [line for line in result.stdout.splitlines() if line[:2] != "ok"]

    usual, nothing = check(Behaviour())
    assert nothing == []
    assert len(usual) == 10
    assert usual[0] == TOKEN_PATH
    targets, told = check(Behaviour(sums_have_keys=True))
    assert sorted(targets) == sorted(usual)
    assert told == [f"differs $metadata, key of sums: written, not left out. {SEND}"]
    _, told = check(Behaviour(page_cap=5))
    assert told[0].startswith("differs first page, link: cut, not linked, whole. ")


def test_changes_are_looked_at_and_the_subscription_is_deleted(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    service = SampleService()
    service.subscriptions.open("sac", "C4BUDGETQ7W2E9R5T1Y8U3I6OA", "FactData", {}, 0)
    before = dict(service.subscriptions)
    counted = Counted(service)
    config = {**serve(counted), "models": ["Budget", "Sales Planning"]}
    report = report_of(run_cli, tmp_path, config, "--report-changes")
    assert answers(report)["changes"] == {
        "link": "uuid",
        "spelling": "deltaLink",
        "listed": "same",
        "EndTime": "StartTime",
        "ExternalID": "null",
        "Timezone": "another",
        "deleted": "done",
    }
    assert service.subscriptions == before
    assert sum("deleteChain" in text for text in counted.targets) == 1
    assert len(counted.targets) <= 200
    assert list(flaws(report)) == []


def test_without_report_changes_no_subscription_is_opened(
    run_cli: RunCli, serve: Serve, tmp_path: Path
) -> None:
    counted = Counted(SampleService())
    report = report_of(run_cli, tmp_path, {**serve(counted), "models": ["Budget"]})
    assert not any("Subscriptions" in text for text in counted.targets)
    assert {part for name, part in verdicts(report, "not seen") if name == "changes"} >= {"link"}
    assert run_cli(DEMO, "--report-changes").returncode == 2


@pytest.mark.parametrize("moment", ["Prefer", "GET Subscriptions", "DELETE Subscriptions"])
def test_a_signal_leaves_no_subscription(
    serve: Serve, run_cli: RunCli, tmp_path: Path, moment: str
) -> None:
    service, path = SampleService(), tmp_path / "report.json"
    signals = [signal.SIGTERM]

    def application(request: Request) -> Response:
        answer = service(request)
        now = {"Prefer" if "prefer" in request.headers else request.method}
        now |= {f"{request.method} Subscriptions"} if "Subscriptions" in request.target else set()
        if signals and moment in now:
            os.kill(os.getpid(), signals.pop())
        return answer

    config = {**serve(application), "models": ["Budget"]}
    result = run_cli(config, "--report", str(path), "--report-changes")
    assert result.returncode == 128 + signal.SIGTERM
    assert service.subscriptions == {}
    assert answers(read_report(path))["refusals"]["$apply"] == "served"


def test_a_subscription_that_cannot_be_deleted_is_named_on_the_screen_alone(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    service, path = SampleService(), tmp_path / "report.json"

    def application(request: Request) -> Response:
        refused = error_response(403, "You may not delete it")
        return refused if request.method == "DELETE" else service(request)

    config = {**serve(application), "models": ["Budget"]}
    result = run_cli(config, "--report", str(path), "--report-changes")
    assert result.returncode == 0
    (own,) = service.subscriptions
    assert (
        f"The subscription {own} of Budget could not be deleted: delete it under Data"
        in result.stdout
    )
    assert own not in path.read_text()
    assert answers(read_report(path))["changes"]["deleted"] == "failed"


def test_a_subscription_is_deleted_where_none_are_listed(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    service = SampleService()

    def application(request: Request) -> Response:
        is_list = request.method == "GET" and "Subscriptions" in request.target
        return error_response(403, "not allowed") if is_list else service(request)

    config = {**serve(application), "models": ["Budget"]}
    report = report_of(run_cli, tmp_path, config, "--report-changes")
    assert service.subscriptions == {}
    assert answers(report)["changes"]["deleted"] == "done"


def test_a_subscription_is_deleted_with_the_token_that_opened_it(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    service = SampleService(Behaviour(rotates_refresh_tokens=True))
    config = serve(service)
    config |= {"models": ["Budget"], "refresh_token": refresh_token(config, ANNA)}
    report = report_of(run_cli, tmp_path, config, "--report-changes")
    assert service.subscriptions == {}
    assert answers(report)["changes"]["deleted"] == "done"


def test_garbage_about_a_subscription_does_not_keep_it(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    service = SampleService()

    def application(request: Request) -> Response:
        answer = service(request)
        if "prefer" in request.headers:
            return replace(answer, body=answer.body.replace(b"http://", b"http://[::"))
        if request.method == "GET" and "Subscriptions" in request.target:
            page = json.loads(answer.body)
            page["value"] = [{**row, "ExternalID": {}, "EndTime": []} for row in page["value"]]
            return replace(answer, body=json.dumps(page).encode())
        return answer

    config = {**serve(application), "models": ["Budget"]}
    report = report_of(run_cli, tmp_path, config, "--report-changes")
    assert service.subscriptions == {}
    found = answers(report)["changes"]
    assert (found["EndTime"], found["ExternalID"], found["deleted"]) == (
        "another",
        "another",
        "done",
    )


def test_subscriptions_of_older_tenants_are_looked_at(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    service = SampleService(Behaviour(older_subscriptions=True))
    config = {**serve(service), "models": ["Budget"]}
    found = answers(report_of(run_cli, tmp_path, config, "--report-changes"))["changes"]
    assert (found["EndTime"], found["ExternalID"], found["Timezone"]) == (
        "text",
        "text",
        "left out",
    )


def test_namespaces_that_sac_does_not_document_have_stand_ins(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    models = [
        replace(sales(sales_row(number)), namespace=name)
        for number, name in enumerate(("sac", "acme"))
    ]
    report = report_of(run_cli, tmp_path, serve(StandIn(*models)))
    assert [model["namespace_id"] for model in report["models"]["list"]] == ["sac", "Namespace1"]
    assert answers(report)["namespaces"]["others"] == "some"
    assert list(flaws(report)) == []


def test_a_run_without_a_report_does_not_load_its_modules() -> None:
    code = "import sys, tap_sac.tap; print(*[name for name in sys.modules if 'tap_sac.' in name])"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    assert "tap_sac.commands.check" in loaded
    assert "tap_sac.report" not in loaded
    assert "tap_sac.commands.report" not in loaded


@pytest.mark.parametrize(
    ("answer", "link", "told"),
    [
        (None, "none", "SAC returned no delta link. If Data Management > API Subscriptions has a"),
        (
            error_response(403, "not allowed"),
            "403 text: not allowed",
            "SAC refused to open the subscription.",
        ),
        (Response(502, b""), "502 empty", "SAC refused to open the subscription."),
    ],
    ids=["no link", "refused", "fault"],
)
def test_a_tenant_that_tracks_no_changes_is_reported(
    serve: Serve, run_cli: RunCli, tmp_path: Path, answer: Response | None, link: str, told: str
) -> None:
    tenant = StandIn(sales(*map(sales_row, range(2))))
    tenant.fault = lambda request: answer if "prefer" in request.headers else None
    path = tmp_path / "report.json"
    result = run_cli(serve(tenant), "--report", str(path), "--report-changes")
    assert told in result.stdout
    report = read_report(path)
    assert answers(report)["changes"] == {"link": link}
    assert list(flaws(report)) == []
