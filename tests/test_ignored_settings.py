"""No setting does nothing without a word: misspelt names, blank values and words for yes and no."""

from __future__ import annotations

import json
import re
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import discover, read_messages, select
from tests.helpers.stand_in import Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import RunCli, Serve

EMIT = "TAP_SAC_EMIT_ACTIVATE_VERSION_MESSAGES"
PAY = {"ID": "Edm.String*", "SALARY": "Edm.Decimal", "Gr\u00f6\u00dfe": "Edm.String"}
PERSON = '{"ID":"1","SALARY":5000,"Gr\u00f6\u00dfe":"M"}'
STREAM = "hr_pay_master"
CHECK = ("--check",)


def people(**changes: Any) -> StandIn:
    """Serve the models HR, with salaries, and Sales."""
    return StandIn(
        Model("C4HR", "HR", edmx(PayMaster=PAY), {"PayMaster": [PERSON]}, **changes),
        sales(sales_row(1)),
    )


def set_variables(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        text = value if isinstance(value, str) else json.dumps(value)
        monkeypatch.setenv(f"TAP_SAC_{name.upper()}", text)


@pytest.mark.parametrize(
    ("text", "is_true"),
    [
        *((text, True) for text in ("true", "TRUE", "yes", "Y", "on", "t", "1")),
        *((text, False) for text in ("false", "No", "n", "OFF", "F", "0")),
        *((text, True) for text in ("true ", "\ttrue\n", "'true'", '"True"', " 'yes' ", "' y '")),
        *((text, False) for text in ("false ", "'false'", '"0"', " off")),
    ],
)
def test_boolean_in_the_environment_may_be_written_in_many_ways(
    serve: Serve, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, text: str, *, is_true: bool
) -> None:
    set_variables(monkeypatch, serve(StandIn(sales(sales_row(1)))))
    monkeypatch.setenv(EMIT, text)
    result = run_cli(None, "--config=ENV")
    assert result.returncode == 0, result.stderr
    assert ("ACTIVATE_VERSION" in result.stdout) is is_true


@pytest.mark.parametrize(
    "text", ["treu", "wahr", "''", "'", " ", "2", "'true", "\"'true'\"", "null"]
)
@pytest.mark.parametrize("option", [(), ("--check",)])
def test_other_word_for_a_boolean_is_refused_by_name(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, text: str, option: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TAP_SAC_DEMO", "true")
    monkeypatch.setenv(EMIT, text)
    result = run_cli(None, "--config=ENV", *option)
    assert result.returncode == 1
    assert f"The environment variable {EMIT} cannot be read: write true or false" in result.stderr
    assert not result.stdout


@pytest.mark.parametrize(
    "name", ["filters", "page_size", "verify_totals", "models", "start_date", "user_agent", "demo"]
)
def test_empty_variable_is_not_set(
    serve: Serve, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    set_variables(monkeypatch, serve(StandIn(sales(sales_row(1)))))
    monkeypatch.setenv(f"TAP_SAC_{name.upper()}", "")
    result = run_cli(None, "--config=ENV")
    assert result.returncode == 0, result.stderr
    assert len(read_messages(result.stdout).records("sales_fact_data")) == 1


def test_duplicate_name_in_a_variable_is_refused(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAP_SAC_DEMO", "true")
    monkeypatch.setenv("TAP_SAC_FILTERS", '{"a":"x","a":"y"}')
    result = run_cli(None, "--config=ENV")
    assert result.returncode == 1
    assert "TAP_SAC_FILTERS cannot be read (it has 'a' twice in one object)" in result.stderr


def test_working_directory_that_is_gone_has_no_env_file(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    monkeypatch.setenv("TAP_SAC_DEMO", "true")
    result = run_cli(None, "--config=ENV", "--models")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("variable", "right"),
    [
        ("TAP_SAC_FILTER", "FILTERS"),
        ("TAP_SAC_FLITERS", "FILTERS"),
        ("tap_sac_filters", "FILTERS"),
        ("TAP_SAC_MODEL", "MODELS"),
        ("TAP_SAC_STREAM_MAP", "STREAM_MAPS"),
        ("TAP_SAC_PAGESIZE", "PAGE_SIZE"),
        ("TAP_SAC_VERIFY_COUNT", "VERIFY_COUNTS"),
        ("TAP_SAC_EMIT_ACTIVATE_VERSION_MESAGE", "EMIT_ACTIVATE_VERSION_MESSAGES"),
    ],
)
def test_variable_whose_name_nearly_is_a_setting_is_a_warning(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, variable: str, right: str
) -> None:
    monkeypatch.setenv("TAP_SAC_DEMO", "true")
    monkeypatch.setenv("TAP_SAC_MODELS", '["Budget"]')
    monkeypatch.setenv(variable, "s3cr3t")
    result = run_cli(None, "--config=ENV", "--models")
    assert result.returncode == 0, result.stderr
    told = f"{variable} is ignored, because there is no such setting: did you mean TAP_SAC_{right}?"
    assert result.stderr.count(told) == 1
    assert "s3cr3t" not in result.stderr


@pytest.mark.parametrize(
    "variable",
    [
        *("TAP_SAC_LOGLEVEL", "TAP_SAC__SELECT", "TAP_SAC_SERVICE_HOST", "TAP_SAC_SERVICE_PORT"),
        *("TAP_SAC_PORT", "TAP_SAC_PORT_80_TCP", "TAP_SAC_SOMETHING_ELSE", "TARGET_SAC_FILTER"),
        "tap_sac_loglevel",
    ],
)
def test_variable_of_others_is_not_a_warning(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("TAP_SAC_DEMO", "true")
    monkeypatch.setenv("TAP_SAC_MODELS", '["Budget"]')
    monkeypatch.setenv(variable, "INFO")
    result = run_cli(None, "--config=ENV", "--models", log_level=None)
    assert result.returncode == 0, result.stderr
    assert "is ignored" not in result.stderr


@pytest.mark.parametrize(
    "name",
    [
        "refresh_token",
        "tenant_url",
        "client_secret",
        "refresh_token_file",
        "token_url",
        "start_date",
    ],
)
@pytest.mark.parametrize("blank", [" ", "\n", "\u00a0 "])
@pytest.mark.parametrize("option", [(), ("--check",), ("--login",)])
def test_blank_setting_is_an_error(
    serve: Serve, run_cli: RunCli, name: str, blank: str, option: tuple[str, ...]
) -> None:
    result = run_cli({**serve(people()), name: blank}, *option)
    assert result.returncode == 1
    told = result.stderr + result.stdout
    assert f"The setting {name} is blank: set it, or remove it." in told
    assert "RECORD" not in result.stdout


@pytest.mark.parametrize("setting", ["filters", "partition_by"])
@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_blank_filter_is_an_error(serve: Serve, run_cli: RunCli, setting: str, blank: str) -> None:
    result = run_cli({**serve(people()), setting: {STREAM: blank}})
    assert result.returncode == 1
    assert f"The setting {setting} has a blank entry for {STREAM}" in result.stderr


def test_line_break_after_a_filter_is_stripped(serve: Serve, run_cli: RunCli) -> None:
    tenant = people()
    result = run_cli({**serve(tenant), "filters": {STREAM: "\n SALARY gt 1\r\n"}})
    assert result.returncode == 0, result.stderr
    assert any(target.endswith("?$filter=SALARY%20gt%201&$count=true") for target in tenant.targets)


@pytest.mark.parametrize(
    "maps",
    [
        {"hr_pay_mastre": {"SALARY": "__NULL__"}},
        {"HR_PAY_MASTER": {"SALARY": "__NULL__"}},
        {"hr_*_masters": {"SALARY": "__NULL__"}},
        {"hr_pay_mastre": "__NULL__"},
        {"hr_pay_mastre": None},
        {"copy": {"__source__": "hr_pay_mastre", "SALARY": "__NULL__"}},
        {STREAM: {"SALARY": "__NULL__"}, "payroll_*": {"SALARY": "__NULL__"}},
    ],
)
@pytest.mark.parametrize("option", [(), ("--check",), ("--discover",)])
def test_map_of_a_stream_that_nothing_offers_is_an_error(
    serve: Serve, run_cli: RunCli, maps: dict[str, Any], option: tuple[str, ...]
) -> None:
    result = run_cli({**serve(people()), "stream_maps": maps}, *option)
    assert result.returncode == 1
    told = result.stderr + result.stdout
    assert re.search(r"The setting stream_maps has '\S+', which matches no stream: ", told)
    assert "RECORD" not in result.stdout


@pytest.mark.parametrize("is_readable", [False, True])
@pytest.mark.parametrize("pattern", [STREAM, "hr_pay_*", "hr_fact_data"])
@pytest.mark.parametrize("form", ["plain", "source"])
def test_map_of_a_model_that_is_not_read_is_a_warning(
    serve: Serve, run_cli: RunCli, pattern: str, form: str, *, is_readable: bool
) -> None:
    tenant = people()
    config = serve(tenant)
    rule = {"SALARY": "__NULL__"}
    maps = {pattern: rule} if form == "plain" else {"copy": {"__source__": pattern, **rule}}
    if is_readable:
        config["models"] = ["Sales"]
    else:
        tenant.fault = lambda request: (
            error_response(412, "live") if "C4HR/$metadata" in request.target else None
        )
    result = run_cli({**config, "stream_maps": maps})
    assert result.returncode == 0, result.stderr
    assert f"stream_maps has '{pattern}', which has no effect in this run" in result.stderr
    assert len(read_messages(result.stdout).records("sales_fact_data")) == 1


def test_map_of_a_misspelt_stream_is_an_error_although_another_model_is_not_read(
    serve: Serve, run_cli: RunCli
) -> None:
    tenant = StandIn(sales(sales_row(1), name="A B", model_id="C4AB"), sales(name="A"))
    config = {**serve(tenant), "models": ["A B"]}
    result = run_cli({**config, "stream_maps": {"a_b_fct_data": None}})
    assert result.returncode == 1
    assert "The setting stream_maps has 'a_b_fct_data', which matches no stream" in result.stderr


SPELLINGS = [
    ("salary", "'salary', which SAC spells 'SALARY'"),
    ("Salary", "'Salary', which SAC spells 'SALARY'"),
    ("SALARY ", "'SALARY ', which SAC spells 'SALARY'"),
    ("SAL ARY", "'SAL ARY', which SAC spells 'SALARY'"),
    ("SALARY\u00a0", r"'SALARY\xa0', which SAC spells 'SALARY'"),
    ("Gro\u0308\u00dfe", r"'Gro\u0308\xdfe', which SAC spells 'Gr\xf6\xdfe'"),
    ("Gr\u00f6sse", "'Gr\u00f6sse', which SAC spells 'Gr\u00f6\u00dfe'"),
]


@pytest.mark.parametrize(
    ("column", "shown", "rule", "place", "option"),
    [
        *((*spelling, "__NULL__", STREAM, ()) for spelling in SPELLINGS),
        *(
            (*SPELLINGS[0], *case)
            for case in product(["__NULL__", None, "'x'"], [STREAM, "hr_*", "copy"], [(), CHECK])
        ),
    ],
)
def test_map_of_a_column_in_another_spelling_is_refused(
    serve: Serve,
    run_cli: RunCli,
    column: str,
    shown: str,
    rule: str | None,
    place: str,
    option: tuple[str, ...],
) -> None:
    source = {"__source__": STREAM} if place == "copy" else {}
    maps = {place: {**source, column: rule}}
    result = run_cli({**serve(people()), "stream_maps": maps}, *option)
    assert result.returncode == 1
    assert f"The stream map of {STREAM} names the column {shown}" in result.stderr + result.stdout
    assert "RECORD" not in result.stdout


@pytest.mark.parametrize(
    ("definition", "columns"),
    [
        ({"SALARY": "__NULL__"}, {"ID", "Gr\u00f6\u00dfe"}),
        ({"PAY": "SALARY * 12"}, {"ID", "SALARY", "Gr\u00f6\u00dfe", "PAY"}),
        ({"PAY": "[x for x in [SALARY]][0]"}, {"ID", "SALARY", "Gr\u00f6\u00dfe", "PAY"}),
        (
            {"PAY": "md5(record['ID'] + str(Gr\u00f6\u00dfe))"},
            {"ID", "SALARY", "Gr\u00f6\u00dfe", "PAY"},
        ),
        ({"SALARY": "self * 2"}, {"ID", "SALARY", "Gr\u00f6\u00dfe"}),
        ({"salary": "SALARY", "SALARY": "__NULL__"}, {"ID", "salary", "Gr\u00f6\u00dfe"}),
        ({"salary": "SALARY", "ID": "ID", "__else__": None}, {"ID", "salary"}),
    ],
)
def test_map_of_real_and_new_columns_is_applied(
    serve: Serve, run_cli: RunCli, definition: dict[str, Any], columns: set[str]
) -> None:
    result = run_cli({**serve(people()), "stream_maps": {STREAM: definition}})
    assert result.returncode == 0, result.stderr
    (record,) = read_messages(result.stdout).records(STREAM)
    assert record.keys() == columns
    assert "stream map" not in result.stderr


@pytest.mark.parametrize("place", [STREAM, "*_master"])
def test_map_that_removes_no_column_is_a_warning(serve: Serve, run_cli: RunCli, place: str) -> None:
    result = run_cli({**serve(people()), "stream_maps": {place: {"SALRY": "__NULL__"}}})
    assert result.returncode == 0, result.stderr
    told = (
        f"map '{place}' removes the column 'SALRY', which its streams do not have: did you mean S"
    )
    assert told in result.stderr


def test_map_of_several_streams_that_reads_a_column_of_one_is_a_warning(
    serve: Serve, run_cli: RunCli
) -> None:
    maps = {"*_master": {"PAY": "SALARY * 12 if 'SALARY' in record else None"}}
    document = edmx(PayMaster=PAY, AgeMaster={"ID": "Edm.String*"})
    tenant = StandIn(Model("C4HR", "HR", document, {"PayMaster": [PERSON], "AgeMaster": []}))
    result = run_cli({**serve(tenant), "stream_maps": maps})
    assert result.returncode == 0, result.stderr
    assert "The stream map of hr_age_master reads 'SALARY' for PAY, which is" in result.stderr
    assert read_messages(result.stdout).records(STREAM)[0]["PAY"]


def test_map_of_several_streams_may_remove_a_column_of_one(serve: Serve, run_cli: RunCli) -> None:
    result = run_cli({**serve(people()), "stream_maps": {"*": {"SALARY": "__NULL__"}}})
    assert result.returncode == 0, result.stderr
    assert "SALARY" not in read_messages(result.stdout).records(STREAM)[0]
    assert "removes the column" not in result.stderr


def test_map_of_a_stream_that_is_not_selected_is_not_checked(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    config = serve(people())
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(select(discover(config), "sales_fact_data")))
    config["stream_maps"] = {STREAM: {"salary": "__NULL__"}}
    assert run_cli(config, "--catalog", str(path)).returncode == 0
