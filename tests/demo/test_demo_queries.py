"""What the sample tenant answers to query options, as an HTTP client meets it."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests

from tap_sac.demo import Behaviour, SampleTenant
from tap_sac.demo.service import SALES_MODEL, SampleService
from tests.helpers.demo_client import BUDGET, FINANCE, SALES, WORKFORCE, Client

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.conftest import Serve

REGIONS = f"{SALES}/XX_REGIONMaster"
ROOT = "/api/v1/dataexport"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with SampleTenant() as tenant:
        yield Client(tenant.settings)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("ID eq 'AT'", "AT"),
        ("ID ne 'AT' and ID lt 'DE'", "# CH"),
        ("ID gt 'FR' and (ID le 'IT' or ID ge 'SI')", "ID IT SI"),
        ("not (contains(Description,'a') or startswith(ID,'S'))", ""),
        ("not contains(Description, 'an') and endswith(Description,'a')", "AT SI ID"),
        ("startswith(Description,'I')", "IT ID"),
        ("ID eq '#'", "#"),
        ("Description eq 'It''s'", ""),
        ("ID eq 'AT' or ID eq 'CH' and Description eq 'x'", "AT"),
        ("Description ne null and ID eq 'DE'", "DE"),
    ],
)
def test_filters(client: Client, expression: str, expected: str) -> None:
    rows = client.page(REGIONS, f"$filter={expression}")["value"]
    assert sorted(row["ID"] for row in rows) == sorted(expected.split())


def test_values_of_a_column_where_models_list_them(serve: Serve) -> None:
    client = Client(serve(SampleService(Behaviour(lists_distinct_values=True))))
    values = [row["XX_REGION"] for row in client.rows(f"{SALES}/XX_REGION___Distinct")]
    assert len(values) == len(set(values))
    assert set(values) == {row["XX_REGION"] for row in client.rows(f"{SALES}/FactData")}
    assert len(client.rows(f"{SALES}/XX_REGION___Distinct", "pagesize=3")) == len(values)
    for path in (f"{SALES}/X___Distinct", f"{SALES}/___Distinct", f"{SALES}/FactData___Distinct"):
        assert client.get(path).status_code == 404


def test_values_of_columns_are_those_of_currency_tables(client: Client) -> None:
    root = f"{ROOT}/providers/sac_currency_tables/ALPENGLOW_RATES"
    answer = client.page(f"{root}/toCurr___fromCurr___Distinct")
    assert answer["@odata.context"].endswith("#CurrencyTable")
    assert all(set(row) == {"toCurr", "fromCurr", "rate"} for row in answer["value"])
    assert {row["fromCurr"] for row in answer["value"]} == {"CHF", "GBP", "IDR", "USD"}
    assert client.get(f"{root}/toCurr___x___Distinct").status_code == 404
    refusal = client.get(f"{SALES}/XX_REGION___Distinct")
    assert refusal.status_code == 404
    assert "[3707]" in refusal.json()["error"]["message"]


@pytest.mark.parametrize(
    "expression",
    [
        "ID = 'AT'",
        "ID eq 'AT",
        "NAME eq 'x'",
        "(ID eq 'AT'",
        "ID eq 'AT')",
        "",
        "ID eq",
        "and",
        "eq 1 1",
        "ID in 'AT'",
    ],
)
def test_malformed_filters_are_refused(client: Client, expression: str) -> None:
    url = f"{client.url(REGIONS)}?$filter={quote(expression)}"
    answer = client.session.get(url, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"]
    assert "$filter is malformed" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        (f"{ROOT}/nothing", 404, "[1305]"),
        (f"{SALES}/XX_RIVERMaster", 404, "[3707]"),
        (f"{SALES}/FactData?$select=Version", 400, "[1402]"),
        (f"{REGIONS}?$filter=ID in ('AT','CH')", 500, "SQL Statement cannot be prepared. [1205]"),
        (f"{REGIONS}?$filter=ID eq 'CH' or ID in ('AT')", 500, "[1205]"),
        (f"{REGIONS}?$select=ID, Description", 400, "Description"),
        (f"{REGIONS}?$orderby=Name", 400, "$orderby"),
        (f"{REGIONS}?$orderby=ID up", 400, "$orderby"),
        (f"{REGIONS}?pagesize=0", 400, "pagesize"),
        (f"{REGIONS}?$pagesize=5", 400, "$pagesize"),
        (f"{REGIONS}?$top=-1", 400, "$top"),
        (f"{REGIONS}?$skip=x", 400, "$skip"),
        (f"{REGIONS}?$skiptoken=x", 400, "$skiptoken"),
        (f"{REGIONS}/$count", 406, "count"),
        (f"{SALES}/FactDataAggregation", 400, "$select"),
        (f"{SALES}/FactDataAggregation?$select=Date&$orderby=REVENUE", 400, "$orderby"),
    ],
)
def test_errors_are_as_sac_has_them(client: Client, path: str, status: int, text: str) -> None:
    path, _, query = path.partition("?")
    answer = client.get(path, query)
    assert answer.status_code == status
    assert text in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", [f"{SALES}/$batch", f"{SALES}/FactData/$query"])
def test_queries_in_a_body_are_not_offered(client: Client, path: str) -> None:
    token = client.get("/api/v1/csrf", **{"x-csrf-token": "fetch"}).headers["x-csrf-token"]
    headers = {"x-csrf-token": token}
    answer = client.session.post(client.url(path), headers=headers, timeout=5)
    assert answer.status_code == 405
    answer = client.session.post(client.url(path), timeout=5)
    assert answer.status_code == 403
    assert answer.headers["x-csrf-token"] == "Required"


def test_without_a_token_nothing_is_served(client: Client) -> None:
    assert requests.get(client.url(REGIONS), timeout=5).status_code == 401


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (f"{SALES}/FactData", ""),
        (f"{SALES}/FactData", "$filter=Version eq 'public.Plan' and REVENUE lt 0"),
        (f"{SALES}/MasterData", "$filter=Date___YEAR eq '2025'"),
        (f"{SALES}/ProductMaster", ""),
        (f"{SALES}/ProductMasterWithHierarchy", "$filter=H1_PARENTID eq 'P-ALL'"),
        (f"{SALES}/FactDataAggregation", "$select=Date,Product"),
        (f"{SALES}/FactDataAggregation", "$select=XX_REGION&$filter=Product eq 'P-001'"),
        (f"{WORKFORCE}/AuditData", "$filter=Audit_User eq 'PLANNER1'"),
    ],
)
def test_rows_are_counted_on_every_page(client: Client, path: str, query: str) -> None:
    rows = client.rows(path, query)
    assert rows
    query = f"{query}&$count=true"
    counted = client.page(path, f"{query}&pagesize=7")
    assert counted["@odata.count"] == len(rows)
    assert len(counted["value"]) == min(7, len(rows))
    if "@odata.nextLink" in counted:
        assert client.follow(counted["@odata.nextLink"])["@odata.count"] == len(rows)
    alone = client.page(path, f"{query}&$top=0")
    assert alone["@odata.count"] == len(rows)
    assert alone["value"] == []
    assert "@odata.nextLink" not in alone
    assert client.page(path, f"{query}&$skip=3&$top=1")["@odata.count"] == len(rows)


@pytest.mark.parametrize(
    "query",
    ["$select=ID&$count=true", "$count=false", "", "$select=Description&$count=true&$top=0"],
)
def test_rows_of_which_a_part_is_selected_are_not_counted(client: Client, query: str) -> None:
    assert "@odata.count" not in client.page(REGIONS, query)


def test_rows_of_which_all_is_selected_are_counted(client: Client) -> None:
    page = client.page(REGIONS, "$select=Description,ID&$count=true")
    assert page["@odata.count"] == 8


def test_top_cuts_and_skip_continues(client: Client) -> None:
    path = f"{FINANCE}/FactData"
    rows = client.rows(path)
    page = client.page(path, "$top=1500")
    assert page["value"] == rows[:1500]
    assert "@odata.nextLink" not in page
    assert client.page(path, "$skip=8630&$top=100")["value"] == rows[8630:]
    assert client.page(path, "$skip=9000")["value"] == []
    assert client.rows(path, "$skip=10&pagesize=3000") == rows[10:]


def test_rows_are_ordered_by_several_columns(client: Client) -> None:
    path = f"{SALES}/FactData"
    rows = client.rows(path, "$orderby=Date desc,Product asc,REVENUE&pagesize=500")
    expected = sorted(client.rows(path), key=lambda row: (row["Product"], row["REVENUE"]))
    expected.sort(key=lambda row: row["Date"], reverse=True)
    assert rows == expected


def test_nulls_come_first_in_ascending_order(client: Client) -> None:
    amounts = [row["AMOUNT"] for row in client.rows(f"{WORKFORCE}/FactData", "$orderby=AMOUNT")]
    nulls = amounts.count(None)
    assert nulls
    assert amounts[:nulls] == [None] * nulls
    assert amounts[nulls:] == sorted(amounts[nulls:])
    page = client.page(f"{WORKFORCE}/FactData", "$orderby=AMOUNT desc&$top=1")
    assert page["value"][0]["AMOUNT"] == amounts[-1]


def test_providers_are_listed_completely_without_counts(client: Client) -> None:
    page = client.page(
        f"{ROOT}/administration/Namespaces(NamespaceID='sac')/Providers", "$top=1&$count=true"
    )
    assert len(page["value"]) == 6
    assert "@odata.count" not in page


def exact_sum(values: Iterable[Decimal | None]) -> Decimal | None:
    numbers = [value for value in values if value is not None]
    with localcontext() as context:
        context.prec = 100
        return sum(numbers, start=Decimal(0)) if numbers else None


def test_aggregation_adds_up_over_what_is_left_out(client: Client) -> None:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in client.rows(f"{SALES}/FactData"):
        groups.setdefault((row["XX_REGION"], row["Version"]), []).append(row)
    rows = client.rows(
        f"{SALES}/FactDataAggregation", "$select=XX_REGION,REVENUE,Version,LOYALTY_POINTS"
    )
    assert rows == [
        {
            "XX_REGION": region,
            "REVENUE": exact_sum(row["REVENUE"] for row in group),
            "Version": version,
            "LOYALTY_POINTS": exact_sum(row["LOYALTY_POINTS"] for row in group),
        }
        for (region, version), group in groups.items()
    ]


def test_aggregation_over_all_dimensions_repeats_the_facts(client: Client) -> None:
    columns = "Version,Date,Account,CostCenter,Grade,Currency,AMOUNT,FTE"
    rows = client.rows(f"{WORKFORCE}/FactDataAggregation", f"$select={columns}")
    assert rows == client.rows(f"{WORKFORCE}/FactData")


def test_aggregation_of_nulls_is_null(client: Client) -> None:
    page = client.page(f"{WORKFORCE}/FactDataAggregation", "$select=Account,AMOUNT,FTE")
    sums = {row["Account"]: row for row in page["value"]}
    assert sums["NOT_IN_HIERARCHY"]["AMOUNT"] is None
    assert sums["NOT_IN_HIERARCHY"]["FTE"] > 0
    assert sums["510000"]["FTE"] is None


def test_aggregation_filters_facts_and_orders_sums(client: Client) -> None:
    totals = Counter[str]()
    for row in client.rows(f"{BUDGET}/FactData", "$filter=Date ge '202601' and BUDGET gt 0"):
        totals[row["CostCenter"]] += row["BUDGET"]
    page = client.page(
        f"{BUDGET}/FactDataAggregation",
        "$select=CostCenter,BUDGET&$filter=Date ge '202601' and BUDGET gt 0"
        "&$orderby=BUDGET desc&$top=3",
    )
    ordered = sorted(totals.items(), key=lambda item: -item[1])
    assert [(row["CostCenter"], row["BUDGET"]) for row in page["value"]] == ordered[:3]


def test_aggregation_of_everything_is_one_row(client: Client) -> None:
    page = client.page(f"{BUDGET}/FactDataAggregation", "$select=BUDGET&$count=true")
    facts = client.rows(f"{BUDGET}/FactData")
    assert page["value"] == [{"BUDGET": exact_sum(row["BUDGET"] for row in facts)}]
    assert page["@odata.count"] == 1


@pytest.fixture
def service() -> SampleService:
    service = SampleService()
    service.limit(SALES_MODEL, 12)
    return service


def track(client: Client, path: str, query: str = "") -> str:
    """Begin to track changes; returns the delta link."""
    page = client.page(path, query, Prefer="odata.track-changes")
    link: str = page["@odata.deltaLink"]
    return link


@pytest.mark.parametrize(("odata_filter", "changes"), [("", 4), ("&$filter=Product eq 'P-001'", 3)])
def test_changed_sums_are_tracked(
    serve: Serve, service: SampleService, odata_filter: str, changes: int
) -> None:
    client = Client(serve(service))
    query = "$select=XX_REGION,REVENUE" + odata_filter
    path = f"{SALES}/FactDataAggregation"
    link = track(client, path, query)
    facts = service.facts(SALES_MODEL)
    before = {row["XX_REGION"]: row["REVENUE"] for row in client.rows(path, query)}
    rows = [row for row in facts.rows if row is not None]
    facts.put({**rows[0], "REVENUE": Decimal("0.0000001")})
    facts.put({**rows[1], "QUANTITY": Decimal("5.0000000")})
    facts.put({**rows[2], "XX_REGION": "XX"})
    assert (rows[1]["Product"], rows[9]["Product"]) == ("P-001", "P-002")
    facts.put({**rows[9], "REVENUE": Decimal("1.5000000")})
    for row in rows:
        if row["XX_REGION"] == rows[3]["XX_REGION"]:
            facts.delete(facts.key_of(row))
    after = {row["XX_REGION"]: row["REVENUE"] for row in client.rows(path, query)}
    page = client.follow(link)
    assert page["@odata.context"].endswith("FactDataAggregation/$delta")
    table = dict(before)
    for row in page["value"]:
        if row["@odata.context"].endswith("$deletedEntity"):
            gone = rows[3]["XX_REGION"]
            assert row["id"] == f"FactDataAggregation(XX_REGION='{gone}')"
            del table[str(gone)]
        else:
            assert row["@odata.id"] == f"FactDataAggregation(XX_REGION='{row['XX_REGION']}')"
            table[row["XX_REGION"]] = row["REVENUE"]
    assert table == after
    assert table != before
    assert len(page["value"]) == changes
    assert client.follow(page["@odata.deltaLink"])["value"] == []
    assert client.follow(link)["value"] == page["value"]


def test_fact_that_leaves_the_filter_is_deleted(serve: Serve, service: SampleService) -> None:
    client = Client(serve(service))
    facts = service.facts(SALES_MODEL)
    first, second = (row for row in facts.rows[:2] if row is not None)
    facts.put({**first, "QUANTITY": Decimal("7.0000000")})
    facts.put({**second, "QUANTITY": Decimal("3.0000000")})
    link = track(client, f"{SALES}/FactData", "$filter=QUANTITY gt 5")
    facts.put({**first, "QUANTITY": Decimal("4.0000000")})
    facts.put({**second, "QUANTITY": Decimal("2.0000000")})
    (change,) = client.follow(link)["value"]
    assert change["@odata.context"] == "#FactData/$deletedEntity"
    assert f"Product='{first['Product']}',XX_REGION='{first['XX_REGION']}'" in change["id"]
