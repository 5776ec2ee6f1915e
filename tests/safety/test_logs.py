"""What the log tells people, and what it never tells: secrets, tokens, and forged lines."""

from __future__ import annotations

import io
import json
import logging
import re
from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest
from singer_sdk.logging import StructuredFormatter

from tap_sac.demo.service import TOKEN_PATH, Response
from tap_sac.singer.records import RecordMaker
from tap_sac.streams.state import StreamState
from tests.conftest import discover, select, sync
from tests.helpers.stand_in import JSON, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tap_sac.demo.service import Request
    from tests.conftest import RunCli, Serve

SECRET = "s3cr3t $=-_/+ü'x"
CLIENT_ID = "sb-2f0e!b12|client!b345"
BASIC = b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
TOKEN = "token-1"
SECRET_FORMS = {
    "as it is": SECRET,
    "quote": quote(SECRET),
    "quote_plus": quote_plus(SECRET),
    "basic": BASIC,
    "token": TOKEN,
}
# A new line, a color, and what viewers take for the end of a line or a change of direction.
FORGED = "\n2026-01-01 | ERROR | forged \x1b[31m\u2028x\u2029x\x85x\u202ex\u2066x\rx"
CONTROL = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def assert_clean(text: str) -> None:
    assert "s3cr3t" not in text
    assert BASIC.rstrip("=") not in text
    assert TOKEN not in text
    assert not CONTROL.search(text)
    assert not re.search("^2026-01-01", text, re.MULTILINE)


def with_secret(settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**settings, "client_id": CLIENT_ID, "client_secret": SECRET, **more}


def tenant_that_repeats(text: str) -> StandIn:
    """Make a tenant that has a text as the id and name of a model, as columns and as values."""
    row = {"Version": text, "Date": text, f"left out {text}": 1}
    model = sales(json.dumps(row), json.dumps(row))
    extra = escape(f"new {text}").replace("\n", "&#10;").replace("\r", "&#13;").replace("\x1b", "")
    model.edmx = model.edmx.replace(
        '<Property Name="AMOUNT"', f'<Property Name="{extra}" Type="Edm.String"/><Property N="x"'
    )
    model.edmx = model.edmx.replace('<Property N="x"', '<Property Name="AMOUNT"')
    refused = sales(model_id=f"C4{text}", name=f"Refused {text}")
    tenant = StandIn(model, refused)
    tenant.fault = lambda request: (
        error_response(412, f"live: {text}")
        if request.target.endswith("$metadata") and "C4SALES/" not in request.target
        else None
    )
    return tenant


@pytest.mark.parametrize("length", range(290, 300))
def test_secret_is_masked_before_a_text_is_shortened(
    serve: Serve, run_cli: RunCli, length: int
) -> None:
    tenant = StandIn(sales(sales_row(1)))
    tenant.fault = lambda _: error_response(403, "x" * length + SECRET)
    result = run_cli(with_secret(serve(tenant)))
    assert "xxx" in result.stderr
    assert "s3c" not in result.stderr


@pytest.fixture
def old_catalog(serve: Serve, tmp_path: Path) -> str:
    """Store a catalog of columns that are gone, or are not there yet; returns its path."""
    catalog = select(discover(serve(StandIn(sales(sales_row(1))))), "sales_fact_data")
    for entry in catalog["streams"]:
        if entry["tap_stream_id"] == "sales_fact_data":
            entry["schema"]["properties"][f"gone {FORGED}"] = {"type": ["string", "null"]}
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(catalog))
    return str(path)


@pytest.mark.parametrize("text", SECRET_FORMS.values(), ids=SECRET_FORMS)
def test_secret_that_sac_repeats_is_masked_wherever_it_is(
    serve: Serve, run_cli: RunCli, old_catalog: str, text: str
) -> None:
    settings = with_secret(serve(tenant_that_repeats(text)))
    result = run_cli(settings)
    assert "Skipping the model" in result.stderr
    assert "***" in result.stderr
    assert_clean(result.stderr)
    settings = with_secret(serve(tenant_that_repeats(text)))
    result = run_cli(settings, "--catalog", old_catalog)
    assert "are not read: new ***" in result.stderr
    assert "no longer has these columns" in result.stderr
    assert_clean(result.stderr)


def test_nothing_that_sac_sends_forges_a_line(
    serve: Serve, run_cli: RunCli, old_catalog: str
) -> None:
    settings = with_secret(serve(tenant_that_repeats(FORGED)))
    for arguments in ([], ["--catalog", old_catalog], ["--check"]):
        result = run_cli(settings, *arguments)
        assert "forged" in result.stdout + result.stderr
        assert_clean(result.stderr)
        if arguments == ["--check"]:
            assert_clean(result.stdout)


def test_streams_of_a_catalog_forge_no_line(serve: Serve, run_cli: RunCli, tmp_path: Path) -> None:
    settings = serve(StandIn(sales(sales_row(1))))
    catalog = select(discover(settings), "sales_fact_data")
    other = json.loads(json.dumps(catalog["streams"][1]))
    other["tap_stream_id"] = other["stream"] = f"gone {FORGED}"
    catalog["streams"].append(other)
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(catalog))
    result = run_cli(settings, "--catalog", str(path))
    assert "does not offer: gone 2026-01-01 | ERROR | forged " in result.stderr
    assert_clean(result.stderr)


@pytest.mark.parametrize("text", [*SECRET_FORMS.values(), FORGED], ids=[*SECRET_FORMS, "forged"])
def test_stack_trace_keeps_its_lines_without_secrets(
    serve: Serve, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    def convert(*_: object) -> bytes:
        return bytes(int(f"a{text}b"))

    monkeypatch.setattr(RecordMaker, "lines", convert)
    result = run_cli(with_secret(serve(StandIn(sales(sales_row(1))))))
    assert "\nTraceback (most recent call last):\n  File " in result.stderr
    assert "invalid literal for int()" in result.stderr
    assert_clean(result.stderr)


def fail(text: str) -> None:
    raise RuntimeError(text)


def fail_because_of(text: str) -> None:
    """Raise an error with a text, and others around it that show it, too."""
    try:
        fail(text)
    except RuntimeError as error:
        try:
            int(text)
        except ValueError:
            raise KeyError(text) from error


class Program:
    """Logs in the ways in which programs do, with a logger and a handler of its own."""

    def __init__(self, name: str, formatter: logging.Formatter) -> None:
        self.output = io.StringIO()
        self.logger = logging.getLogger(name)
        self.handler = logging.StreamHandler(self.output)
        self.handler.setFormatter(formatter)
        self.logger.addHandler(self.handler)

    def log(self, text: str) -> str:
        self.logger.error(text)
        self.logger.error("%s and %d%%", text, 5)
        self.logger.error("%(text)s", {"text": text})
        self.logger.error("%d", text)
        self.logger.getChild(f"child {text}").error("%r", [text])
        try:
            fail_because_of(text)
        except KeyError:
            self.logger.exception("failed", stack_info=True)
        return self.output.getvalue()


@pytest.fixture
def raised_by_logging() -> Iterator[None]:
    """Let logging show its own errors, as it does unless told otherwise."""
    before = logging.raiseExceptions
    logging.raiseExceptions = True
    yield
    logging.raiseExceptions = before


@pytest.mark.usefixtures("raised_by_logging")
@pytest.mark.parametrize("formatter", [logging.Formatter, StructuredFormatter])
@pytest.mark.parametrize("name", ["tap-sac.x", "urllib3.x", "singer_sdk.x", "requests.x"])
def test_tap_in_another_program_logs_no_secret_and_no_forged_line(
    serve: Serve,
    capsys: pytest.CaptureFixture[str],
    name: str,
    formatter: type[logging.Formatter],
) -> None:
    sync(with_secret(serve(StandIn(sales(sales_row(1))))))
    program = Program(name, formatter(defaults={}))
    for text in (*SECRET_FORMS.values(), FORGED):
        written = program.log(f"a{text}b")
        assert_clean(written)
    program.logger.removeHandler(program.handler)
    assert "KeyError" in written
    assert "RuntimeError" in written
    assert "Logging error" not in capsys.readouterr().err
    if formatter is logging.Formatter:
        assert "\nTraceback (most recent call last):\n" in written
        assert "\nStack (most recent call last):\n" in written


def fail_in_a_line_with_the_secret() -> None:
    assert SECRET == "s3cr3t $=-_/+ü'x"
    raise RuntimeError(len("s3cr3t $=-_/+ü'x"))


@pytest.mark.parametrize("formatter", [logging.Formatter, StructuredFormatter])
@pytest.mark.parametrize("name", ["tap-sac.x", "another.program"])
def test_stack_trace_masks_a_secret_in_the_source_lines_that_it_quotes(
    serve: Serve, name: str, formatter: type[logging.Formatter]
) -> None:
    sync(with_secret(serve(StandIn(sales(sales_row(1))))))
    program = Program(name, formatter(defaults={}))
    try:
        fail_in_a_line_with_the_secret()
    except RuntimeError:
        program.logger.exception("failed %s", "here")
    program.logger.removeHandler(program.handler)
    written = program.output.getvalue()
    assert "failed here" in written
    assert "raise RuntimeError(len(" in written
    assert "in fail_in_a_line_with_the_secret" in written
    assert_clean(written)


def test_log_of_another_program_is_unchanged_except_for_secrets(serve: Serve) -> None:
    sync(with_secret(serve(StandIn(sales(sales_row(1))))))
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[assignment,method-assign]
    logger = logging.getLogger("another.program")
    logger.addHandler(handler)
    error = ValueError("two\nlines")
    logger.error("two\nlines %s", "x", exc_info=error)
    logger.error("two\nlines %s", SECRET)
    logger.removeHandler(handler)
    assert (records[0].msg, records[0].args) == ("two\nlines %s", ("x",))
    assert records[0].exc_info is not None
    assert records[0].exc_info[1] is error
    assert records[1].getMessage() == "two\nlines ***"


LINKS = {
    **{name: quote(form) for name, form in SECRET_FORMS.items()},
    "quoted twice": quote(quote_plus(SECRET)),
    "every character": "".join(f"%{byte:02x}" for byte in SECRET.encode()),
    "line break": "\n",
    "escape": "\x1b[31m",
    "separator": "\u2028",
    "direction": "\u202e",
}


@pytest.mark.parametrize("link_name", ["nextLink", "deltaLink"])
@pytest.mark.parametrize("text", LINKS.values(), ids=LINKS)
def test_link_that_holds_a_secret_or_forges_text_is_a_broken_protocol(
    serve: Serve, run_cli: RunCli, text: str, link_name: str
) -> None:
    tenant = StandIn(sales(sales_row(1)))
    link = f"FactData?$skiptoken=9{text}9&deltaid=first-{text}"
    page = {"value": [json.loads(sales_row(1))], f"@odata.{link_name}": link}
    tenant.fault = lambda request: (
        Response(200, json.dumps(page).encode(), JSON) if "/FactData" in request.target else None
    )
    settings = with_secret(serve(tenant), default_replication_method="LOG_BASED")
    result = run_cli(settings)
    assert result.returncode == 1
    assert f"FactData has a {link_name} " in result.stderr
    assert "the response violates the OData protocol" in result.stderr
    assert "skiptoken" not in result.stdout + result.stderr
    assert not any("skiptoken" in target for target in tenant.targets)
    assert_clean(result.stdout + result.stderr)


@pytest.mark.parametrize("word", ["token", "skip", "FactData"])
def test_token_that_is_a_common_word_breaks_no_link(serve: Serve, word: str) -> None:
    tenant = StandIn(sales(*map(sales_row, range(5))))

    def application(request: Request) -> Response:
        if request.target == TOKEN_PATH:
            return Response(200, json.dumps({"access_token": word}).encode(), JSON)
        return tenant(request)

    messages = sync({**serve(application), "client_secret": word})
    assert len(messages.records("sales_fact_data")) == 5


@pytest.mark.parametrize("text", ["\n", "\u202e", quote(SECRET)])
def test_link_of_a_state_is_held_to_the_same(serve: Serve, text: str) -> None:
    sync(with_secret(serve(StandIn(sales(sales_row(1))))))
    state = {"delta_link": "http://x/FactData?deltaid=1", "version": 1, "question": {}}
    assert StreamState.read(state).bookmark
    assert StreamState.read({**state, "delta_link": f"http://x/FactData?x={text}"}).bookmark is None


def test_sample_tenant_is_read_with_a_line_for_each_stream_and_a_sentence(run_cli: RunCli) -> None:
    result = run_cli({"demo": True}, log_level="INFO")
    lines = result.stderr.splitlines()
    messages = [json.loads(line) for line in result.stdout.splitlines()]
    streams = {item["stream"] for item in messages if item["type"] == "SCHEMA"}
    assert len(streams) == 33
    assert len(lines) < 45
    for stream in streams:
        told = rf" {stream}: [0-9,]+ rows? read, (not|[0-9,]+) counted by SAC, [0-9]+ pages?\."
        assert sum(bool(re.search(told, line)) for line in lines) == 1, stream
    rows = sum(item["type"] == "RECORD" for item in messages)
    (sentence,) = [line for line in lines if "Read 33 tables in " in line]
    ends = "32 counted and proven, 1 not counted; 1 model skipped."
    assert sentence.endswith(f" seconds: {rows:,} rows; {ends}")


def test_debug_level_logs_requests_and_messages_of_the_sdk(serve: Serve, run_cli: RunCli) -> None:
    result = run_cli(serve(StandIn(sales(*map(sales_row, range(5))))), log_level="DEBUG")
    assert len(re.findall(r"DEBUG .* sales_fact_data: SAC answered 200 after", result.stderr)) == 3
    assert re.search("DEBUG .* Beginning sync of 'sales_fact_data'", result.stderr)


def test_changes_are_reported_like_rows(run_cli: RunCli, tmp_path: Path) -> None:
    settings = {
        "demo": True,
        "models": ["Workforce*"],
        "default_replication_method": "LOG_BASED",
    }
    first = run_cli(settings)
    states = [json.loads(line) for line in first.stdout.splitlines() if '"STATE"' in line]
    (tmp_path / "state.json").write_text(json.dumps(states[-1]["value"]))
    result = run_cli(settings, "--state", str(tmp_path / "state.json"), log_level="INFO")
    assert re.search(
        r"workforce_planning_fact_data: [0-9,]+ changes? read, [0-9]+ pages?\.", result.stderr
    )


def test_structured_log_of_meltano_has_the_numbers_of_the_run_and_no_metrics(
    serve: Serve, run_process: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": {"()": "singer_sdk.logging.StructuredFormatter"}},
        "handlers": {"default": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"level": "INFO", "handlers": ["default"]},
    }
    (tmp_path / "logging.json").write_text(json.dumps(config))
    monkeypatch.setenv("SINGER_SDK_LOG_CONFIG", str(tmp_path / "logging.json"))
    result = run_process(serve(StandIn(sales(sales_row(1)))), log_level="INFO")
    entries = [json.loads(line) for line in result.stderr.splitlines()]
    assert not [entry for entry in entries if entry["message"].startswith("METRIC")]
    assert entries[-1]["message"].startswith("Read 2 tables in ")
    numbers = {"tables": 2, "rows": 2, "proven": 1, "not_counted": 1, "failed": 0}
    assert numbers.items() <= entries[-1]["extra"].items()


def test_columns_with_a_key_of_several_facts_show_no_secret(serve: Serve, run_cli: RunCli) -> None:
    model = sales(*[json.dumps({"Version": SECRET, "Date": FORGED, "AMOUNT": 1})] * 2)
    model.edmx = edmx(
        FactData={"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"},
        FactDataAggregation={"Version": "Edm.String*", "AMOUNT": "Edm.Decimal"},
    )
    model.sets["FactDataAggregation"] = [json.dumps({"Version": SECRET, "AMOUNT": 2})]
    result = run_cli(with_secret(serve(StandIn(model))))
    assert "several facts of sales_fact_data under one key" in result.stderr
    assert_clean(result.stderr)
