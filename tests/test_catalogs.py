"""What a catalog selects, and catalogs that are malformed."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import discover, read_messages, select, sync
from tests.helpers.stand_in import StandIn, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import RunCli, Serve


COLUMN = {"type": "string"}


def entry(**changes: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"A": COLUMN}}
    return {"tap_stream_id": "providers", "schema": schema, **changes}


def column(**schema: Any) -> dict[str, Any]:
    return entry(schema={"properties": {"A": schema}})


@pytest.mark.parametrize(
    "catalog_entry",
    [
        entry(key_properties=5),
        entry(key_properties=[1, "x"]),
        entry(metadata=[{"breadcrumb": [], "metadata": {"table-key-properties": [["a"]]}}]),
        entry(replication_method=5),
        column(type=5),
        column(type=[["x"]]),
        column(type="string", format=[]),
        column(type="array", items=5),
        column(type="object", properties=[1]),
        column(anyOf=False),
        column(type="\ud800"),
        entry(schema={"properties": {}, "items": 5}),
        entry(replication_key=[1]),
    ],
)
def test_malformed_catalog_is_refused(catalog_entry: dict[str, Any]) -> None:
    with pytest.raises(SACError, match=r"^The catalog "):
        TapSAC(config={"demo": True}, catalog={"streams": [catalog_entry]})


@pytest.mark.parametrize("is_selected", [True, False])
def test_duplicate_stream_in_a_catalog_is_refused(*, is_selected: bool) -> None:
    streams = [entry(selected=is_selected), entry(selected=not is_selected)]
    with pytest.raises(SACError, match=r"^The catalog has the stream providers twice: make a new "):
        TapSAC(config={"demo": True}, catalog={"streams": streams})


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
@pytest.mark.parametrize("keeps", [None, "columns", "nothing"])
def test_streams_without_a_selection_in_the_catalog_are_selected(
    serve: Serve, keeps: str | None, method: str
) -> None:
    config = {**serve(StandIn(sales(sales_row(1)))), "default_replication_method": method}
    catalog = select(discover(config), "sales_fact_data")
    for item in catalog["streams"]:
        item["metadata"] = [part for part in item["metadata"] if part["breadcrumb"] and keeps]
        if keeps is None:
            del item["metadata"]
        elif keeps == "nothing":
            item["metadata"] = []
    (record,) = sync(config, catalog).records("sales_fact_data")
    assert record["AMOUNT"] == "1.0000000"


NOT_SAID = object()


ROOTS = [
    pytest.param(None, id="no metadata"),
    pytest.param({"inclusion": "available"}, id="nothing said"),
    pytest.param({"selected": None}, id="null"),
    pytest.param({"selected": True}, id="selected"),
    pytest.param({"selected": False}, id="deselected"),
    pytest.param({"selected-by-default": True}, id="by default"),
    pytest.param({"selected-by-default": False}, id="not by default"),
]


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("beside", [NOT_SAID, None, True, False])
def test_metadata_overrides_the_selection_in_the_catalog_entry(
    serve: Serve, root: dict[str, Any] | None, beside: object
) -> None:
    config = serve(StandIn(sales(sales_row(1))))
    item = discover(config)["sales_fact_data"]
    item["metadata"] = [] if root is None else [{"breadcrumb": [], "metadata": root}]
    if beside is not NOT_SAID:
        item["selected"] = beside
    said = (root or {}).get("selected")
    if said is None:
        said = None if beside is NOT_SAID else beside
    if said is None:
        said = root is None or root.get("selected-by-default", False)
    messages = sync(config, {"streams": [item]})
    assert len(messages.records("sales_fact_data")) == (1 if said else 0)


not_a_choice = st.text(max_size=9) | st.integers(-9, 9) | st.lists(st.booleans(), max_size=2)


@given(
    value=not_a_choice,
    place=st.sampled_from(["the stream", "the column AMOUNT of the stream", "beside"]),
)
@example("true", "the stream")
@example(0, "the column AMOUNT of the stream")
@example("", "beside")
def test_selection_that_is_neither_true_nor_false_is_refused_by_name(
    value: object, place: str
) -> None:
    item = entry(metadata=[])
    breadcrumb = ["properties", "AMOUNT"] if "column" in place else []
    if place == "beside":
        item["selected"] = value
    else:
        item["metadata"] = [{"breadcrumb": breadcrumb, "metadata": {"selected": value}}]
    with pytest.raises(SACError) as caught:
        TapSAC(config={"demo": True}, catalog={"streams": [item]})
    told = str(caught.value)
    assert told.startswith("The catalog has selected: ")
    assert f" for {place.replace('beside', 'the stream')} providers, which is neither" in told
    assert told.isprintable()


@pytest.mark.parametrize("option", [[], ["--check"]])
def test_quoted_selection_is_reported_in_one_line(
    serve: Serve, run_cli: RunCli, tmp_path: Path, option: list[str]
) -> None:
    config = serve(StandIn(sales(sales_row(1))))
    catalog = select(discover(config), "sales_fact_data")
    catalog["streams"][-1]["metadata"][-1]["metadata"]["selected"] = "true"
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(catalog))
    result = run_cli(config, "--catalog", str(path), *option)
    assert result.returncode == 1
    assert 'selected: "true" for the stream sales_fact_data' in result.stderr
    assert not result.stdout


def catalogs_of_nothing(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"streams": []}
    yield copy.deepcopy(select(found))
    for item in found.values():
        item.update(metadata=[], selected=False)
    yield {"streams": list(found.values())}


def test_catalog_that_selects_nothing_is_a_warning_and_fails_the_check(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    config = serve(StandIn(sales(sales_row(1))))
    path = tmp_path / "catalog.json"
    for catalog in catalogs_of_nothing(discover(config)):
        path.write_text(json.dumps(catalog))
        result = run_cli(config, "--catalog", str(path))
        assert result.returncode == 0
        assert not read_messages(result.stdout).streams
        assert result.stderr.count("The catalog selects no stream, so nothing is read") == 1
        result = run_cli(config, "--catalog", str(path), "--check")
        assert result.returncode == 1
        failed = result.stdout.splitlines()[-1]
        assert failed.startswith("FAILED  rows: The catalog selects no stream")
        assert "set selected to true" in failed


def test_catalog_that_selects_something_is_not_a_warning(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    config = serve(StandIn(sales(sales_row(1))))
    path = tmp_path / "catalog.json"
    found = discover(config)
    for stream in found:
        path.write_text(json.dumps(select(found, stream)))
        result = run_cli(config, "--catalog", str(path))
        assert read_messages(result.stdout).streams == [stream]
        assert "selects no stream" not in result.stderr


@pytest.mark.parametrize(
    ("number", "also", "option"),
    [
        *[(1, (), []), (1, ("providers",), ["--check"])],
        *[(30, (), ["--check"]), (30, ("providers",), [])],
    ],
)
def test_catalog_without_a_stream_of_the_chosen_models_is_reported(
    serve: Serve,
    run_cli: RunCli,
    tmp_path: Path,
    number: int,
    also: tuple[str, ...],
    option: list[str],
) -> None:
    models = [
        sales(sales_row(1), model_id=f"C4{index}", name=f"Plan {index:02}")
        for index in range(number)
    ]
    other = sales(sales_row(1), model_id="C4B", name="Other")
    config = {**serve(StandIn(*models, other)), "models": ["Plan*"]}
    found = discover(config)
    catalog = select(found, *also, *(name for name in found if name != "providers"))
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(catalog))
    arguments = ["--catalog", str(path), *option]
    assert run_cli(config, *arguments).returncode == 0
    result = run_cli({**config, "models": ["Other"]}, *arguments)
    assert result.returncode == 1
    assert "RECORD" not in result.stdout
    (told,) = [
        line
        for line in (result.stdout + result.stderr).splitlines()
        if "does not offer: plan_00_fact_data" in line
    ]
    assert "--refresh-catalog" in told
    assert ("plan_09_fact_data and 20 more" in told) == (number == 30)


def test_stream_with_another_name_in_the_catalog_is_found_by_its_id(serve: Serve) -> None:
    config = serve(StandIn(sales(sales_row(1))))
    catalog = select(discover(config), "sales_fact_data")
    for item in catalog["streams"]:
        item["stream"] = f"my_{item['tap_stream_id']}"
    assert len(sync(config, catalog).records("sales_fact_data")) == 1
