"""Which streams there are, what they are asked for, and what they write in which order."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo import Behaviour
from tap_sac.demo.service import SampleService
from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import discover, select, sync
from tests.helpers.stand_in import Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from tap_sac.demo.service import Request, Response
    from tests.conftest import Serve

ROWS = [sales_row(number) for number in range(5)]
BUDGETS = [
    sales(*ROWS, model_id="C4A", name="Budget 2026"),
    sales(*ROWS, model_id="C4B", name="Budget 2027"),
    sales(*ROWS, model_id="C4C", name="Plan [x]"),
]


def metadata_of(entry: dict[str, Any], *breadcrumb: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        item["metadata"] for item in entry["metadata"] if item["breadcrumb"] == list(breadcrumb)
    )
    return found


def test_redundant_entity_sets_are_not_selected_by_default() -> None:
    selected = {
        name: metadata_of(entry)["selected"] for name, entry in discover({"demo": True}).items()
    }
    assert selected["providers"]
    assert selected["workforce_planning_fact_data"]
    assert selected["workforce_planning_grade_master"]
    assert selected["workforce_planning_account_master_with_hierarchy"]
    assert not selected["workforce_planning_master_data"]
    assert not selected["workforce_planning_fact_data_aggregation"]
    assert not selected["workforce_planning_fact_data_difference"]
    assert not selected["workforce_planning_audit_data"]
    assert set(sync({"demo": True}).streams) == {name for name in selected if selected[name]}


def test_activate_version_follows_the_last_row(serve: Serve) -> None:
    messages = sync(serve(StandIn(sales(*ROWS)))).of("sales_fact_data")
    assert [item["type"] for item in messages] == [
        "SCHEMA",
        *["RECORD"] * len(ROWS),
        "ACTIVATE_VERSION",
    ]
    versions = {item["version"] for item in messages if "version" in item}
    assert len(versions) == 1


def test_failed_read_activates_no_version(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = lambda request: (
        error_response(400, "gone") if request.target.endswith("$skiptoken=2") else None
    )
    with pytest.raises(SACError):
        TapSAC(config=serve(tenant)).sync_all()
    written = capsys.readouterr().out
    assert written.count('"RECORD","stream":"sales_fact_data"') == 2
    assert '"ACTIVATE_VERSION","stream":"sales_fact_data"' not in written


def test_activate_version_can_be_switched_off(serve: Serve) -> None:
    config = {**serve(StandIn(sales(*ROWS))), "emit_activate_version_messages": False}
    messages = sync(config)
    assert "ACTIVATE_VERSION" not in {item["type"] for item in messages}
    assert all("version" not in item for item in messages)


def test_identical_rows_without_a_key_are_all_written(serve: Serve) -> None:
    config = serve(StandIn(sales(*[sales_row(1)] * 3)))
    catalog = discover(config)
    catalog["sales_fact_data"]["key_properties"] = []
    messages = sync(config, select(catalog, "sales_fact_data"))
    assert len(messages.records("sales_fact_data")) == 3


def test_deselected_columns_are_not_requested(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))
    config = serve(tenant)
    catalog = discover(config)
    entry = catalog["sales_fact_data"]
    assert metadata_of(entry, "properties", "Date")["inclusion"] == "automatic"
    for column in ("Version", "Date", "AMOUNT"):
        metadata_of(entry, "properties", column)["selected"] = False
    messages = sync(config, select(catalog, "sales_fact_data"))
    assert tenant.reads("/FactData")[0].endswith("/FactData?$select=Version,Date")
    assert set(messages.schema("sales_fact_data")["schema"]["properties"]) == {"Version", "Date"}
    assert all(set(item) == {"Version", "Date"} for item in messages.records("sales_fact_data"))


def test_aggregation_is_always_requested_by_columns(serve: Serve) -> None:
    model = sales(*ROWS)
    model.edmx = model.edmx.replace("FactData", "FactDataAggregation")
    model.sets = {"FactDataAggregation": ROWS}
    tenant = StandIn(model)
    config = serve(tenant)
    sync(config, select(discover(config), "sales_fact_data_aggregation"))
    first = tenant.reads("/FactDataAggregation")[0]
    assert first.endswith("/FactDataAggregation?$select=Version,Date,AMOUNT&$count=true")


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (["C4A"], ["C4A"]),
        (["Budget 2027"], ["C4B"]),
        (["Budget*"], ["C4A", "C4B"]),
        (["C4?", "C4A"], ["C4A", "C4B", "C4C"]),
        (["Plan [x]"], ["C4C"]),
        (["*[x]"], ["C4C"]),
        (["!Budget*"], ["C4C"]),
        (["!C4A"], ["C4B", "C4C"]),
        (["!C4A", "!Plan [x]"], ["C4B"]),
        (["*", "!Budget 2026"], ["C4B", "C4C"]),
        (["!Budget 2026", "Budget*"], ["C4B"]),
        (["Budget*", "!*2026", "C4A"], ["C4B"]),
        (["C4C", "!Budget*"], ["C4C"]),
    ],
)
def test_models_are_chosen_by_id_name_or_glob(
    serve: Serve, models: list[str], expected: list[str]
) -> None:
    tenant = StandIn(*BUDGETS)
    discover({**serve(tenant), "models": models})
    asked = [target.split("/")[3] for target in tenant.targets if target.endswith("$metadata")]
    assert sorted(asked) == expected


@pytest.mark.parametrize("entry", ["budget 2026", "Budgte 2026", "Budget  2026"])
def test_model_that_matches_nothing_is_an_error_with_near_misses(serve: Serve, entry: str) -> None:
    with pytest.raises(SACError, match=r"models has .*matches no model: did you .*Budget 2026"):
        discover({**serve(StandIn(*BUDGETS)), "models": [entry]})


@pytest.mark.parametrize("models", [["!Budgte 2026"], ["*", "!Budget  2026"], ["!", "C4A"]])
def test_exclusion_that_matches_no_model_is_an_error(serve: Serve, models: list[str]) -> None:
    with pytest.raises(SACError, match=r"models has '!.*matches no model: .*Budget 2026"):
        discover({**serve(StandIn(*BUDGETS)), "models": models})


@pytest.mark.parametrize(
    ("models", "named"),
    [
        (["!*"], r"Budget 2026, Budget 2027, Plan \[x\]\): .*entries '!\*'\."),
        (["Budget*", "!C4A", "!*7"], r"\(Budget 2026, Budget 2027\): .*entries '!C4A', '!\*7'\."),
    ],
)
def test_excluding_all_models_is_an_error(serve: Serve, models: list[str], named: str) -> None:
    with pytest.raises(SACError, match=rf"setting models excludes every .*{named}"):
        discover({**serve(StandIn(*BUDGETS)), "models": models})


def test_model_whose_name_begins_with_an_exclamation_mark_can_be_chosen(serve: Serve) -> None:
    odd = sales(*ROWS, model_id="C4D", name="!Test")
    tenant = StandIn(*BUDGETS, odd)
    config = serve(tenant)
    assert list(discover({**config, "models": ["?Test"]})) == ["providers", "test_fact_data"]
    assert "test_fact_data" not in discover({**config, "models": ["!!Test"]})


def test_stream_names_do_not_depend_on_the_chosen_models(serve: Serve) -> None:
    twins = [sales(*ROWS, model_id=model_id, name="Budget") for model_id in ("C4A", "C4B")]
    assert list(discover({**serve(StandIn(*twins)), "models": ["C4B"]})) == [
        "budget_c4b_fact_data",
        "providers",
    ]


def test_streams_can_be_named_by_id(serve: Serve) -> None:
    assert list(discover({**serve(StandIn(*BUDGETS)), "stream_naming": "id"})) == [
        "c4a_fact_data",
        "c4b_fact_data",
        "c4c_fact_data",
        "providers",
    ]


def test_filters_are_sent_to_the_matching_streams(serve: Serve) -> None:
    tenant = StandIn(*BUDGETS)
    filters = {
        "budget_*_fact_data": "Version eq 'public.Actual'",
        "*_2027_*": "Date ge '202601'",
    }
    sync({**serve(tenant), "filters": filters})
    both = "(Version%20eq%20'public.Actual')%20and%20(Date%20ge%20'202601')"
    facts = [target for target in tenant.targets if "FactData" in target]
    first_pages = [target for target in facts if "skiptoken" not in target]
    assert sorted(first_pages) == [
        "/providers/sac/C4A/FactData?$filter=Version%20eq%20'public.Actual'&$count=true",
        f"/providers/sac/C4B/FactData?$filter={both}&$count=true",
        "/providers/sac/C4C/FactData?$count=true",
    ]


@pytest.mark.parametrize("column", ["Product___ID", "Product.ID"])
def test_master_data_is_filtered_by_either_spelling_of_its_columns(
    serve: Serve, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    service = SampleService(Behaviour(dotted_master_data="." in column))
    filters = {"*_master_data": f"{column} eq 'P-001'"}
    config = {**serve(service), "models": ["Sales Planning"], "filters": filters}
    catalog = select(discover(config), "sales_planning_master_data")
    records = sync(config, catalog).records("sales_planning_master_data")
    assert {record[column] for record in records} == {"P-001"}
    assert "is not a column" not in caplog.text


def test_filter_that_matches_no_stream_is_an_error_with_near_misses(serve: Serve) -> None:
    config = {**serve(StandIn(*BUDGETS)), "filters": {"budget_2026_factdata": "x eq 'y'"}}
    with pytest.raises(SACError, match=r"filters has .*no stream: .*budget_2026_fact_data"):
        discover(config)


def test_filter_for_a_stream_that_is_not_selected_is_not_an_error(serve: Serve) -> None:
    config = serve(StandIn(*BUDGETS))
    catalog = select(discover(config), "budget_2026_fact_data")
    config["filters"] = {"budget_2027_fact_data": "Version eq 'x'"}
    assert sync(config, catalog).streams == ["budget_2026_fact_data"]


def test_filter_that_sac_refuses_is_reported(serve: Serve) -> None:
    tenant = StandIn(*BUDGETS)
    tenant.fault = lambda request: (
        error_response(400, "malformed") if "$filter" in request.target else None
    )
    config = {**serve(tenant), "filters": {"budget_2026_fact_data": "Version = 1"}}
    with pytest.raises(SACError, match=r"malformed.*'Version = 1'.*budget_2026.*setting filters"):
        sync(config)


@pytest.mark.parametrize("status", [403, 404, 412])
def test_model_that_sac_does_not_export_is_skipped_with_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    tenant = StandIn(*BUDGETS)
    tenant.fault = lambda request: (
        error_response(status, "no") if request.target.endswith("C4B/$metadata") else None
    )
    assert sync(serve(tenant)).streams == [
        "budget_2026_fact_data",
        "plan_x_fact_data",
        "providers",
    ]
    assert "Skipping the model 'Budget 2027' (C4B)" in caplog.text
    assert ' To exclude it, add "!Budget 2027" to models.' in caplog.text


@pytest.mark.parametrize("name", ["Sales", "Sales*"])
def test_suggested_entry_excludes_only_the_skipped_model(
    serve: Serve, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    tenant = StandIn(sales(*ROWS), sales(*ROWS, model_id="C4B", name=name))
    tenant.fault = lambda request: (
        error_response(412, "no") if request.target.endswith("C4B/$metadata") else None
    )
    sync(serve(tenant))
    assert ' To exclude it, add "!C4B" to models.' in caplog.text


def test_tenant_without_a_readable_model_is_an_error(serve: Serve) -> None:
    tenant = StandIn(*BUDGETS)
    tenant.fault = lambda request: (
        error_response(412, "live") if request.target.endswith("/$metadata") else None
    )
    with pytest.raises(SACError, match="None of the 3 models can be read"):
        sync(serve(tenant))


def test_model_with_unreadable_metadata_alone_stops_the_run(serve: Serve) -> None:
    broken = Model("C4X", "Broken", "<Edmx><Schema>")
    with pytest.raises(SACError, match=r"model 'Broken' \(C4X\).*not a readable XML.*models"):
        sync(serve(StandIn(broken)))


def test_entity_set_that_sac_does_not_serve_is_skipped_with_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    model = sales(*ROWS)
    columns = {"ID": "Edm.String*"}
    model.edmx = edmx(
        DateMasterWithHierarchy=columns,
        FlatMasterWithHierarchy=columns,
        GoneMaster=columns,
        HiddenMaster=columns,
        FactData={"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"},
    )
    tenant = StandIn(model)

    def fault(request: Request) -> Response | None:
        if "FlatMaster" in request.target:
            return error_response(400, "no hierarchy")
        if "HiddenMaster" in request.target:
            return error_response(405, "hidden")
        if "Master" in request.target:
            return error_response(404, {"lang": "en", "value": "does not exist [3707]"})
        return None

    tenant.fault = fault
    messages = sync(serve(tenant))
    assert len(messages.records("sales_fact_data")) == len(ROWS)
    skipped = [text for text in caplog.messages if text.startswith("Skipping the stream")]
    assert len(skipped) == 4
    activated = {item["stream"] for item in messages if item["type"] == "ACTIVATE_VERSION"}
    assert activated == {"sales_fact_data", "providers"}


@pytest.mark.parametrize("changes", [{"page_size": 5}, {"filters": {"*_hierarchy": "ID eq '1'"}}])
def test_dimension_without_hierarchy_differs_from_a_refused_query(
    serve: Serve, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    model = sales(*ROWS)
    model.edmx = edmx(FlatMasterWithHierarchy={"ID": "Edm.String*"})
    tenant = StandIn(model)
    tenant.fault = lambda request: (
        error_response(400, "no") if "Hierarchy" in request.target else None
    )
    config = {**serve(tenant), **changes}
    assert sync(config).records("sales_flat_master_with_hierarchy") == []
    assert "Skipping the stream sales_flat_master_with_hierarchy" in caplog.text
    model.sets = {"FlatMasterWithHierarchy": []}
    tenant.fault = lambda request: (
        error_response(400, "no") if "Hierarchy?" in request.target else None
    )
    with pytest.raises(SACError, match=r"page_size|setting filters"):
        sync(config)


def test_missing_page_fails_although_a_missing_entity_set_is_skipped(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = lambda request: (
        error_response(404, "gone [3707]") if "$skiptoken=2" in request.target else None
    )
    with pytest.raises(SACError, match="3707"):
        sync(serve(tenant))


def test_audit_data_that_is_off_is_reported(serve: Serve) -> None:
    model = sales(*ROWS)
    model.edmx = model.edmx.replace("FactData", "AuditData")
    tenant = StandIn(model)
    tenant.fault = lambda request: (
        error_response(400, "not enabled [3905]") if "AuditData" in request.target else None
    )
    config = serve(tenant)
    with pytest.raises(SACError, match=r"\[3905\].*Data Audit"):
        sync(config, select(discover(config), "sales_audit_data"))


def test_new_dimension_stops_a_run_with_an_old_catalog(serve: Serve) -> None:
    config = serve(StandIn(sales(*ROWS)))
    catalog = select(discover(config), "sales_fact_data")
    del catalog["streams"][1]["schema"]["properties"]["Date"]
    with pytest.raises(SACError, match=r"key of sales_fact_data in SAC differs .*Date.*discovery"):
        sync(config, catalog)


def test_removed_dimension_stops_a_run_with_an_old_catalog(serve: Serve) -> None:
    config = serve(StandIn(sales(*ROWS)))
    catalog = select(discover(config), "sales_fact_data")
    newer = sales('{"Version":"a","AMOUNT":1}')
    newer.edmx = edmx(FactData={"Version": "Edm.String*", "AMOUNT": "Edm.Decimal"})
    with pytest.raises(SACError, match=r"key of sales_fact_data in SAC differs .*Date"):
        sync(serve(StandIn(newer)), catalog)


def test_added_and_removed_measures_are_warned_about(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = serve(StandIn(sales(*ROWS)))
    catalog = select(discover(config), "sales_fact_data")
    newer = sales('{"Version":"a","Date":"b","PRICE":1}')
    newer.edmx = newer.edmx.replace("AMOUNT", "PRICE")
    tenant = StandIn(newer)
    messages = sync(serve(tenant), catalog)
    assert messages.records("sales_fact_data") == [{"Version": "a", "Date": "b"}]
    assert "are not read: PRICE" in caplog.text
    assert "no longer has these columns of sales_fact_data: AMOUNT" in caplog.text
    assert tenant.reads("/FactData")[-1].endswith("?$select=Version,Date")


def test_selecting_only_streams_that_no_longer_exist_is_an_error(serve: Serve) -> None:
    config = serve(StandIn(*BUDGETS))
    catalog = select(discover(config), "plan_x_fact_data")
    with pytest.raises(SACError, match="does not offer: plan_x_fact_data"):
        sync(serve(StandIn(*BUDGETS[:2])), catalog)


def test_metrics_are_those_of_other_taps(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sync(serve(StandIn(sales(*ROWS))))
    points = [
        json.loads(text.removeprefix("METRIC: "))
        for text in caplog.messages
        if text.startswith("METRIC: ")
    ]
    facts = [point for point in points if point["tags"]["stream"] == "sales_fact_data"]
    (duration,) = [point for point in facts if point["metric"] == "http_request_duration"]
    assert duration["value"] > 0
    assert duration["tags"]["endpoint"] == "FactData"
    assert duration["tags"]["status"] == "succeeded"
    counts = [point["value"] for point in facts if point["metric"] == "http_request_count"]
    assert counts == [3]


def test_key_of_the_catalog_that_is_not_sacs_stops_the_run(serve: Serve) -> None:
    config = serve(StandIn(sales(*ROWS)))
    catalog = select(discover(config), "sales_fact_data")
    for entry in catalog["streams"]:
        entry["key_properties"] = ["Version"]
    with pytest.raises(SACError, match=r"differs from that of the catalog \(Date\)"):
        sync(config, catalog)


@pytest.mark.parametrize("place", ["entry", "metadata"])
def test_empty_key_in_the_catalog_means_no_key(serve: Serve, place: str) -> None:
    config = serve(StandIn(sales(ROWS[0], ROWS[0])))
    catalog = discover(config)
    entry = catalog["sales_fact_data"]
    if place == "entry":
        entry["key_properties"] = []
    else:
        metadata_of(entry)["table-key-properties"] = []
    messages = sync(config, select(catalog, "sales_fact_data"))
    assert messages.schema("sales_fact_data")["key_properties"] == []
    assert len(messages.records("sales_fact_data")) == 2


def test_hierarchy_that_is_refused_for_another_reason_is_not_skipped(serve: Serve) -> None:
    model = sales(*ROWS)
    model.edmx = edmx(CostCenterMasterWithHierarchy={"ID": "Edm.String*"})
    tenant = StandIn(model)
    tenant.fault = lambda request: (
        error_response(400, "page too large [1234]") if "Hierarchy" in request.target else None
    )
    with pytest.raises(SACError, match=r"\[1234\]"):
        sync(serve(tenant))


def test_tenant_without_models_is_an_error(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.models = ()
    with pytest.raises(SACError, match="lists no models for the OAuth client"):
        sync(serve(tenant))


def test_type_in_the_catalog_may_be_a_list(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    config = serve(StandIn(sales(*ROWS)))
    catalog = select(discover(config), "sales_fact_data")
    for entry in catalog["streams"]:
        if entry["tap_stream_id"] == "sales_fact_data":
            entry["schema"]["properties"]["Version"]["type"] = ["string"]
    assert len(sync(config, catalog).records("sales_fact_data")) == len(ROWS)
    assert "another way" not in caplog.text
