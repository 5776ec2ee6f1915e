"""What SAC may answer to a delta link, and the records that the tap makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.service import (
    Response,
)
from tests.conftest import sync
from tests.helpers.stand_in import JSON, edmx, error_response, sales_row
from tests.helpers.tracking import (
    ROWS,
    TrackingStandIn,
    changed,
    deleted,
    delta,
    log_based,
    with_link,
)

if TYPE_CHECKING:
    from tests.conftest import Serve


@pytest.mark.parametrize("spelling", ["@odata.deltaLink", "@odata.deltalink", "@deltaLink"])
@pytest.mark.parametrize("first_link", ["0b7e2f34-5d0c", "first-0b7e2f34-5d0c", "anything"])
def test_links_are_opaque_in_each_spelling(serve: Serve, spelling: str, first_link: str) -> None:
    tenant = TrackingStandIn(*ROWS, first_link=first_link, spelling=spelling)
    tenant.deltas[first_link] = delta(
        changed(sales_row(1, "5.5")), deleted("FactData(Version='public.Actual',Date='000002')")
    )
    config = log_based(serve, tenant)
    first = sync(config)
    assert tenant.prefer == ["odata.track-changes"] * 2
    second = sync(config, state=first.state)
    update, deletion = second.records("sales_fact_data")
    assert update == {
        "Version": "public.Actual",
        "Date": "000001",
        "AMOUNT": "5.5",
        "_sdc_deleted_at": None,
    }
    assert deletion["Date"] == "000002"
    assert deletion["_sdc_deleted_at"]
    bookmark = second.state["bookmarks"]["sales_fact_data"]
    assert bookmark["delta_link"].endswith("deltaid=B")


@pytest.mark.parametrize(
    ("path", "is_own"),
    [
        ("/api/v1/dataexport/providers/sac/C4SALES/FactData()", True),
        ("/api/v1/dataexport/providers/sac/C4SALES/FactData/", True),
        ("/dataexport/providers/sac/C4SALES/Fact%44ata", True),
        ("/api/v1/dataexport/providers/sac/C4PLAN/FactData", False),
        ("/api/v1/dataexport/providers/sac/C4SALES/FactDataAggregation", False),
        ("/api/v1/dataexport/providers/sac/C4SALES/FactData/Other", False),
        ("/api/v1/dataexport/providers/sac/C4SALES/FactData/../../C4PLAN/FactData", False),
    ],
)
def test_equivalent_links_to_the_same_table_are_followed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str, *, is_own: bool
) -> None:
    monkeypatch.setattr("tests.helpers.tracking.LINK", f"{path}?deltaid=")
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(changed(sales_row(1, "5.5")))
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state)
    assert len(messages.records("sales_fact_data")) == (1 if is_own else len(ROWS))


@pytest.mark.parametrize(
    "answer",
    [
        delta(*ROWS, context="$metadata#FactData"),
        Response(200, f'{{"value":[{ROWS[0]}]}}'.encode(), JSON),
        with_link(f'{{"value":[{ROWS[0]}]}}'.encode(), "@odata.deltaLink", "B"),
        delta(ROWS[0], link=None),
        delta(deleted("FactData(Day='1')")),
        delta(deleted("nonsense")),
        Response(204, b""),
        error_response(400, "unknown"),
        error_response(404, "gone"),
        error_response(410, "gone"),
        error_response(422, "gone"),
    ],
    ids=[
        "full",
        "no-context",
        "no-context-but-a-link",
        "no-link",
        "other-key",
        "no-key",
        "204",
        "400",
        "404",
        "410",
        "422",
    ],
)
def test_response_that_is_not_a_delta_leads_to_a_full_read(serve: Serve, answer: Response) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = answer
    config = log_based(serve, tenant)
    first = sync(config)
    second = sync(config, state=first.state).of("sales_fact_data")
    version = second[-1]["version"]
    assert second[-1]["type"] == "ACTIVATE_VERSION"
    assert version > first.of("sales_fact_data")[-1]["version"]
    reloaded = [item for item in second if item["type"] == "RECORD" and item["version"] == version]
    assert [item["record"]["Date"] for item in reloaded] == ["000000", "000001", "000002"]


def test_full_data_on_the_second_page_of_changes_is_not_a_delta(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(changed(ROWS[0]), link="A2", spelling="@odata.nextLink")
    tenant.deltas["A2"] = delta(ROWS[1], context="$metadata#FactData")
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state).of("sales_fact_data")
    assert messages[-1]["type"] == "ACTIVATE_VERSION"


@pytest.mark.parametrize("name", ["@odata.context", "@context"])
def test_changes_on_several_pages_are_read_in_each_spelling_of_the_context(
    serve: Serve, name: str
) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(changed(ROWS[0]), link="A2", spelling="@odata.nextLink")
    tenant.deltas["A2"] = delta(changed(ROWS[1]))
    for key, response in tenant.deltas.items():
        body = response.body.replace(b"@odata.context", name.encode(), 1)
        tenant.deltas[key] = replace(response, body=body)
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state)
    assert [record["Date"] for record in messages.records("sales_fact_data")] == [
        "000000",
        "000001",
    ]


def test_deletion_has_every_column(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(deleted("FactData(Version='public.Actual',Date='000002')"))
    config = log_based(serve, tenant)
    (record,) = sync(config, state=sync(config).state).records("sales_fact_data")
    assert list(record) == ["Version", "Date", "AMOUNT", "_sdc_deleted_at"]
    assert record["AMOUNT"] is None


@pytest.mark.parametrize("name", ["id", "@id", "@odata.id"])
@pytest.mark.parametrize(
    "mark",
    [
        {"@odata.context": "#FactData/$deletedEntity"},
        {"@context": "#FactData/$deletedEntity"},
        {"@removed": {"reason": "deleted"}},
        {"@odata.removed": {"reason": "changed"}},
    ],
)
def test_deletion_is_read_in_each_odata_format(
    serve: Serve, mark: dict[str, Any], name: str
) -> None:
    tenant = TrackingStandIn(*ROWS)
    entity_id = "FactData(Version='public.Actual',Date='000002')"
    tenant.deltas["A"] = delta(json.dumps({**mark, name: entity_id}))
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state)
    (record,) = messages.records("sales_fact_data")
    assert record["Date"] == "000002"
    assert record["_sdc_deleted_at"]


@pytest.mark.parametrize(
    "rows",
    [
        [changed(ROWS[0]), changed('{"Version":"public.Actual","Date":"000001"}')],
        [changed('{"Version":"public.Actual","Date":"000001"}'), changed(ROWS[0])],
        [changed(ROWS[0]), deleted("FactData(Version='a',Date=null)")],
        [changed(ROWS[0]), deleted("FactData(Version='50%25',Date='x')")],
    ],
    ids=["lacks a column", "lacked a column", "no value", "ambiguous"],
)
def test_changes_that_cannot_be_trusted_are_lost(serve: Serve, rows: list[str]) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(*rows)
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state)
    assert messages.of("sales_fact_data")[-1]["type"] == "ACTIVATE_VERSION"
    assert [record["Date"] for record in messages.records("sales_fact_data")][-3:] == [
        "000000",
        "000001",
        "000002",
    ]


PARTIAL = '{"Version":"public.Actual","Date":"000001"}'


@pytest.mark.parametrize("rows", [(ROWS[0], PARTIAL), (PARTIAL, ROWS[0])])
def test_column_that_is_missing_on_another_page_is_not_null(
    serve: Serve, rows: tuple[str, str]
) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas["A"] = delta(changed(rows[0]), link="A2", spelling="@odata.nextLink")
    tenant.deltas["A2"] = delta(changed(rows[1]))
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state).of("sales_fact_data")
    assert messages[-1]["type"] == "ACTIVATE_VERSION"


@pytest.mark.parametrize(("text", "date"), [("a b", "50%"), ("a%20b", "50%25")])
@pytest.mark.parametrize("order", ["before it", "after it", "on the page before"])
def test_changed_rows_of_a_response_show_which_row_was_deleted(
    serve: Serve, order: str, text: str, date: str
) -> None:
    update = json.dumps(
        {
            "@odata.id": "FactData(Version='public.Actual',Date='a%20b')",
            "Version": "public.Actual",
            "Date": text,
            "AMOUNT": 1,
        }
    )
    deletion = deleted("FactData(Version='public.Actual',Date='50%25')")
    tenant = TrackingStandIn(*ROWS)
    if order == "on the page before":
        tenant.deltas["A"] = delta(update, link="A2", spelling="@odata.nextLink")
        tenant.deltas["A2"] = delta(deletion)
    else:
        rows = [update, deletion] if order == "before it" else [deletion, update]
        tenant.deltas["A"] = delta(*rows)
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state)
    assert "ACTIVATE_VERSION" not in {item["type"] for item in messages.of("sales_fact_data")}
    (gone,) = [item for item in messages.records("sales_fact_data") if item["_sdc_deleted_at"]]
    assert gone["Date"] == date


def test_column_that_all_rows_lack_is_null(serve: Serve) -> None:
    tenant = TrackingStandIn(*ROWS)
    columns = {"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"}
    tenant.models[0].edmx = edmx(FactData={**columns, "OTHER": "Edm.Decimal"})
    tenant.deltas["A"] = delta(changed('{"Version":"public.Actual","Date":"000001","OTHER":1}'))
    config = log_based(serve, tenant)
    messages = sync(config, state=sync(config).state)
    (record,) = messages.records("sales_fact_data")
    assert record["AMOUNT"] is None
    assert "ACTIVATE_VERSION" not in {item["type"] for item in messages.of("sales_fact_data")}
