"""What the sample tenant says of its models, and what their rows look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from defusedxml.ElementTree import fromstring

from tap_sac.demo import Behaviour, SampleTenant
from tap_sac.demo.service import SampleService
from tests.helpers.demo_client import FINANCE, SALES, WORKFORCE, Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    from tests.conftest import Serve

EDM = "{http://docs.oasis-open.org/odata/ns/edm}"
EDMX = "{http://docs.oasis-open.org/odata/ns/edmx}"
ROOT = "/api/v1/dataexport"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with SampleTenant() as tenant:
        yield Client(tenant.settings)


def metadata(client: Client, model: str) -> Element:
    answer = client.get(f"{model}/$metadata")
    assert b"Nullable" not in answer.content
    root: Element = fromstring(answer.content)
    return root


def find(parent: Element, path: str) -> Element:
    found = parent.find("/".join(f"{EDM}{step}" for step in path.split("/")))
    assert found is not None, path
    return found


def schema_of(document: Element) -> Element:
    found = document.find(f"{EDMX}DataServices/{EDM}Schema")
    assert found is not None
    return found


def properties(schema: Element, type_name: str) -> dict[str, dict[str, str]]:
    """Return the columns of a type: their attributes, and their kinds as one more."""
    entity_type = find(schema, f"EntityType[@Name='{type_name}']")
    columns = {}
    for item in entity_type.iter(f"{EDM}Property"):
        attributes = dict(item.attrib)
        kind = item.find(f"{EDM}Annotation[@Term='Integration.PropertyType']/{EDM}String")
        if kind is not None:
            attributes["kind"] = str(kind.text)
        columns[attributes.pop("Name")] = attributes
    return columns


def test_document_has_the_names_that_live_ones_have(client: Client) -> None:
    document = metadata(client, SALES)
    assert [item.get("Alias") for item in document.iter(f"{EDMX}Include")] == [
        "Core",
        "Capabilities",
        "Integration",
    ]
    for reference in document.iter(f"{EDMX}Reference"):
        assert f"{ROOT}/odata/" in reference.get("Uri", "")
    schema = schema_of(document)
    assert schema.get("Namespace") == "com.sap.cloudDataIntegration"
    assert schema.get("Alias") == "CloudDataIntegration"
    container = find(schema, "EntityContainer")
    assert container.get("Name") == SALES
    assert find(container, "Annotation[@Term='Integration.SourceSystem']/String").text == (
        "DataService"
    )
    sets = {item.get("Name"): item.get("EntityType") for item in container.iter(f"{EDM}EntitySet")}
    assert sets == {name: f"CloudDataIntegration.{name}" for name in sets}
    served = client.page(f"{SALES}/")["value"]
    assert [item["name"] for item in served] == list(sets)


def test_columns_have_the_facets_that_live_ones_have(client: Client) -> None:
    schema = schema_of(metadata(client, FINANCE))
    text = {"Type": "Edm.String", "MaxLength": "256"}
    code = {"Type": "Edm.String", "MaxLength": "127", "Scale": "0"}
    decimal = {"Type": "Edm.Decimal", "MaxLength": "32", "Precision": "31", "Scale": "7"}
    facts = properties(schema, "FactData")
    assert facts["Version"] == {"Type": "Edm.String", "MaxLength": "300"}
    assert facts["Account"] == text
    assert facts["SignedData"] == decimal
    accounts = properties(schema, "AccountMaster")
    assert list(accounts) == ["ID", "accType", "Description"]
    assert accounts["ID"] == {**text, "Scale": "0", "kind": "ID"}
    assert accounts["accType"] == {**code, "kind": "ACCOUNT_TYPE"}
    assert accounts["Description"] == {**text, "kind": "DESCRIPTION"}
    version = {"Type": "Edm.String", "MaxLength": "300", "Scale": "0"}
    assert properties(schema, "VersionMaster") == {
        "ID": {**version, "kind": "ID"},
        "VERSION": {**version, "kind": "VERSION"},
        "CATEGORY": {**code, "kind": "CATEGORY"},
        "CURRENCY_CONVERSION_CATEGORY": {**code, "kind": "CURRENCY_CONVERSION_CATEGORY"},
        "RATE_VERSION": {**code, "kind": "RATE_VERSION"},
        "Description": {**text, "kind": "DESCRIPTION"},
    }


def test_master_data_has_a_key_of_its_own(client: Client) -> None:
    schema = schema_of(metadata(client, FINANCE))
    columns = properties(schema, "MasterData")
    key = [
        item.get("Name")
        for item in find(schema, "EntityType[@Name='MasterData']/Key").iter(f"{EDM}PropertyRef")
    ]
    assert key == [
        f"{name}___ID" for name in ("Version", "Date", "Account", "CostCenter", "Currency")
    ]
    assert columns["Version___ID"]["MaxLength"] == "300"
    assert columns["Account___accType"]["kind"] == "ACCOUNT_TYPE"
    assert {"CostCenter___City", "Date___CALMONTH", "SignedData"} < columns.keys()
    assert not {"Version", "Date", "Account", "CostCenter", "Currency"} & columns.keys()


@pytest.mark.parametrize("has_keys", [False, True])
def test_sums_have_no_key_by_default(serve: Serve, *, has_keys: bool) -> None:
    client = Client(serve(SampleService(Behaviour(sums_have_keys=has_keys))))
    schema = schema_of(metadata(client, FINANCE))
    (sums,) = schema.iterfind(f"{EDM}EntityType[@Name='FactDataAggregation']")
    assert (sums.find(f"{EDM}Key") is not None) is has_keys


def test_each_set_declares_its_capabilities(client: Client) -> None:
    schema = schema_of(metadata(client, WORKFORCE))
    capabilities = {
        str(item.get("Target")).removeprefix("CloudDataIntegration."): item
        for item in schema.iter(f"{EDM}Annotations")
    }
    sets = [item.get("Name") for item in schema.iter(f"{EDM}EntitySet")]
    assert list(capabilities) == sets

    def boolean(name: str, term: str) -> str | None:
        return find(
            capabilities[name], f"Annotation[@Term='{term}']/Record/PropertyValue/Bool"
        ).text

    trackable = {
        name for name in sets if boolean(str(name), "Capabilities.ChangeTracking") == "true"
    }
    assert trackable == {"FactData", "FactDataAggregation", "FactDataDifference"}
    for name, element in capabilities.items():
        for verb in ("Insert", "Update", "Delete"):
            assert boolean(name, f"Capabilities.{verb}Restrictions") == "false"
        extractable = find(element, "Annotation[@Term='Integration.Extractable']/Bool")
        assert extractable.text == "true"
    records = capabilities["FactData"].iter(f"{EDM}Record")
    expressions = {
        record.findtext(f"{EDM}PropertyValue/{EDM}Path"): record.findtext(
            f"{EDM}PropertyValue/{EDM}EnumMember"
        )
        for record in records
    }
    assert expressions["Grade"] == "MULTI_RANGE_OR_SEARCH_EXPRESSION"
    assert expressions["FTE"] == "MULTI_RANGE"


def test_each_type_names_its_dimension(client: Client) -> None:
    schema = schema_of(metadata(client, SALES))
    ids = {
        item.get("Name"): find(item, "Annotation[@Term='Integration.CDataID']/String").text
        for item in schema.iter(f"{EDM}EntityType")
    }
    assert ids["FactData"] == SALES
    assert ids["ProductMaster"] == f"{SALES}:Product"
    assert ids["ProductMasterWithHierarchy"] == f"{SALES}:Product"


def test_provider_with_dots_and_a_colon_in_its_id_is_served(client: Client) -> None:
    providers = client.page(f"{ROOT}/administration/Namespaces('sac_public_dimensions')/Providers")[
        "value"
    ]
    model_id = providers[0]["ProviderID"]
    assert model_id == "sap.epm.Alpenglow_Product:Product"
    path = f"{ROOT}/providers/sac_public_dimensions/{quote(model_id, safe='')}"
    schema = schema_of(fromstring(client.get(f"{path}/$metadata").content))
    assert find(schema, "EntityContainer").get("Name") == model_id
    data_id = find(schema, "EntityType/Annotation[@Term='Integration.CDataID']/String")
    assert data_id.text == "sap.epm.Alpenglow_Product:Product"
    assert len(client.rows(f"{path}/PublicDimensionData")) == 14


def test_master_data_joins_facts_with_attributes(client: Client) -> None:
    facts = client.rows(f"{FINANCE}/FactData")
    joined = client.rows(f"{FINANCE}/MasterData")
    accounts = {row["ID"]: row for row in client.rows(f"{FINANCE}/AccountMaster")}
    assert len(joined) == len(facts)
    for fact, row in zip(facts, joined, strict=True):
        assert row["Account___ID"] == fact["Account"]
        assert row["SignedData"] == fact["SignedData"]
        assert row["Account___accType"] == accounts[fact["Account"]]["accType"]
    assert joined[0]["Date___MONTHDESC"] == "Jan (2024)"
    assert joined[0]["Version___CATEGORY"] == "Actual"
    assert "Currency___Description" not in joined[0]


def test_columns_of_master_data_can_have_dots(serve: Serve) -> None:
    client = Client(serve(SampleService(Behaviour(dotted_master_data=True))))
    usual = Client(serve(SampleService()))
    expected = [
        {name.replace("___", "."): value for name, value in row.items()}
        for row in usual.page(f"{FINANCE}/MasterData", "$filter=Account___ID eq 'A1000'")["value"]
    ]
    query = "$filter=Account.ID eq 'A1000'"
    assert client.page(f"{FINANCE}/MasterData", query)["value"] == expected
    assert "Account.accType" in properties(schema_of(metadata(client, FINANCE)), "MasterData")
    facts = f"{FINANCE}/FactData"
    assert client.page(facts)["value"] == usual.page(facts)["value"]


def test_members_that_no_master_lists_have_no_attributes(client: Client) -> None:
    query = "$filter=Account___ID eq 'NOT_IN_HIERARCHY'&$top=1"
    (row,) = client.page(f"{WORKFORCE}/MasterData", query)["value"]
    assert row["Account___accType"] is None
    assert row["FTE"]


def test_versions_have_what_sac_plans_with(client: Client) -> None:
    row = client.page(f"{SALES}/VersionMaster")["value"][1]
    assert list(row.items()) == [
        ("ID", "public.Plan"),
        ("VERSION", "Plan"),
        ("CATEGORY", "Planning"),
        ("CURRENCY_CONVERSION_CATEGORY", "Planning"),
        ("RATE_VERSION", None),
        ("Description", "Plan"),
    ]


def test_both_forms_of_date_masters_are_there(client: Client) -> None:
    months: dict[str, dict[str, Any]] = {
        model: client.page(f"{model}/DateMaster")["value"][1] for model in (SALES, WORKFORCE)
    }
    assert months[SALES] == {
        "DATE": "202402",
        "YEAR": "2024",
        "CALMONTH": "202402",
        "MONTHDESC": "Feb (2024)",
    }
    assert months[WORKFORCE] == {"ID": "202402", "Description": "Feb (2024)"}


def test_hierarchies_have_parents_and_an_order(client: Client) -> None:
    rows = {
        row["ID"]: row for row in client.page(f"{FINANCE}/CostCenterMasterWithHierarchy")["value"]
    }
    assert rows["ALL"] == {
        "ID": "ALL",
        "Description": "All cost centers",
        "H1_ORDERID": 0,
        "H2_ORDERID": 0,
    }
    assert (rows["HQ"]["H1_PARENTID"], rows["HQ"]["H1_ORDERID"]) == ("ALL", 0)
    assert "H1_PREVID" not in rows["HQ"]
    assert (rows["SHOPS"]["H1_PREVID"], rows["SHOPS"]["H1_ORDERID"]) == ("HQ", 1)
    assert (rows["1500"]["H2_PARENTID"], rows["1500"]["H2_PREVID"]) == ("FIXED", "1300")
