"""$metadata documents, in every form that SAC may send."""

from __future__ import annotations

import pytest

from tap_sac.sac.errors import CSDLError
from tap_sac.sac.odata.csdl import Metadata, read_csdl
from tap_sac.sac.odata.model import EntitySet, Property

FACTS = """
  <EntityType Name="FactData">
    <Key><PropertyRef Name="Version"/><PropertyRef Name="Date"/></Key>
    <Property Name="Version" Type="Edm.String" Nullable="false" MaxLength="256">
      <Annotation Term="Integration.OriginalDataType"><String>NVARCHAR</String></Annotation>
    </Property>
    <Property Name="Date" Type="Edm.String" Nullable="false"/>
    <Property Name="AMOUNT" Type="Edm.Decimal" Precision="31" Scale="7"/>
  </EntityType>
"""
FACT_DATA = EntitySet(
    "FactData",
    (
        Property("Version", "Edm.String"),
        Property("Date", "Edm.String"),
        Property("AMOUNT", "Edm.Decimal", precision=31, scale=7),
    ),
    ("Version", "Date"),
)


def document(schema: str, attributes: str = "") -> bytes:
    return (
        '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">'
        '<edmx:DataServices><Schema Namespace="sac" '
        f'xmlns="http://docs.oasis-open.org/odata/ns/edm" {attributes}>{schema}</Schema>'
        "</edmx:DataServices></edmx:Edmx>"
    ).encode()


def columns(properties: str, others: str = "", attributes: str = "") -> tuple[Property, ...]:
    """Read a type with these properties."""
    entity_type = f'<EntityType Name="T">{properties}</EntityType>'
    return read_csdl(document(entity_type + others, attributes)).entity_sets[0].properties


def test_types_are_sets_without_a_container() -> None:
    assert read_csdl(document(FACTS)).entity_sets == (FACT_DATA,)


def test_sets_of_the_container_are_read_and_other_types_are_not() -> None:
    container = (
        '<EntityType Name="FactDataOfNoSet"/><EntityContainer Name="C">'
        '<EntitySet Name="FactData" EntityType="sac.FactData"/></EntityContainer>'
    )
    assert read_csdl(document(FACTS + container)).entity_sets == (FACT_DATA,)


def test_a_set_may_be_called_other_than_its_type() -> None:
    container = (
        '<EntityContainer Name="C"><EntitySet Name="Facts" EntityType="S.FactData"/>'
        '<Singleton Name="Me" Type="S.FactData"/></EntityContainer>'
    )
    read = read_csdl(document(FACTS + container, 'Alias="S"')).entity_sets
    assert [(item.name, item.key) for item in read] == [("Facts", ("Version", "Date"))]


@pytest.mark.parametrize(
    "text",
    [
        f'<Edmx><Schema Namespace="sac">{FACTS}</Schema></Edmx>',
        f'<x:E xmlns:x="urn:a"><x:Schema xmlns="urn:b" Namespace="sac">{FACTS}</x:Schema></x:E>',
        f'<?xml version="1.0" encoding="utf-16"?><E><Schema Namespace="sac">{FACTS}</Schema></E>',
    ],
    ids=["no-namespaces", "other-namespaces", "utf-16"],
)
def test_namespaces_and_encodings_do_not_matter(text: str) -> None:
    encoding = "utf-16" if "utf-16" in text else "utf-8"
    assert read_csdl(text.encode(encoding)) == Metadata((FACT_DATA,), {})


@pytest.mark.parametrize(
    "annotation",
    [
        '<Annotation Term="Common.Label" String="Amount"/>',
        '<Annotation Term="Common.Label"><String> Amount </String></Annotation>',
        '<Annotation Term="com.sap.vocabularies.Common.v1.Label" String="Amount"/>',
        '<Annotation Term="a.OriginalDataType"/><Annotation Term="Common.Label" String="Amount"/>',
    ],
)
def test_labels_of_a_property(annotation: str) -> None:
    (column,) = columns(f'<Property Name="A" Type="Edm.Int32">{annotation}</Property>')
    assert column == Property("A", "Edm.Int32", label="Amount")


@pytest.mark.parametrize("namespace", ["sac", "Alias"])
def test_labels_next_to_the_types(namespace: str) -> None:
    annotations = (
        f'<Annotations Target="{namespace}.T/A">'
        '<Annotation Term="Common.Label" String="Amount"/></Annotations>'
    )
    (column,) = columns('<Property Name="A" Type="Edm.Int32"/>', annotations, 'Alias="Alias"')
    assert column.label == "Amount"


def test_own_types_are_reduced_to_what_rows_hold() -> None:
    others = (
        '<EnumType Name="Color"><Member Name="Red"/></EnumType>'
        '<TypeDefinition Name="Money" UnderlyingType="Edm.Decimal" Precision="9" Scale="2"/>'
        '<ComplexType Name="Address"><Property Name="Next" Type="sac.Address"/></ComplexType>'
    )
    read = columns(
        '<Property Name="Color" Type="sac.Color"/>'
        '<Property Name="Money" Type="sac.Money"/>'
        '<Property Name="Address" Type="sac.Address"/>'
        '<Property Name="Tags" Type="Collection(Edm.String)"/>'
        '<Property Name="Odd" Type="sac.Missing"/>'
        '<Property Name="Photo" Type="Edm.Stream"/>'
        '<Property Name="Rate" Type="Edm.Decimal" Scale="variable"/>'
        '<NavigationProperty Name="Other" Type="sac.T"/>',
        others,
    )
    assert read == (
        Property("Color", "Edm.String"),
        Property("Money", "Edm.Decimal", precision=9, scale=2),
        Property("Address", "Edm.Untyped"),
        Property("Tags", "Edm.Untyped"),
        Property("Odd", "Edm.Untyped"),
        Property("Rate", "Edm.Decimal"),
    )


def test_key_that_is_not_a_column_but_a_path_is_not_a_key() -> None:
    key = '<Key><PropertyRef Name="ID"/><PropertyRef Name="cc/ID" Alias="cc"/></Key>'
    properties = '<Property Name="ID" Type="Edm.Guid"/>'
    (entity_set,) = read_csdl(
        document(f'<EntityType Name="T">{key}{properties}</EntityType>')
    ).entity_sets
    assert entity_set.key == ()


def test_columns_and_key_of_base_types_are_inherited() -> None:
    derived = (
        '<EntityType Name="Root" Abstract="true"><Key><PropertyRef Name="ID"/></Key>'
        '<Property Name="ID" Type="Edm.Guid"/></EntityType>'
        '<EntityType Name="Leaf" BaseType="sac.Root"><Property Name="A" Type="Edm.Date"/>'
        "</EntityType>"
    )
    assert read_csdl(document(derived)).entity_sets == (
        EntitySet("Leaf", (Property("ID", "Edm.Guid"), Property("A", "Edm.Date")), ("ID",)),
    )


def test_a_missing_key_is_not_a_key() -> None:
    (entity_set,) = read_csdl(
        document('<EntityType Name="T"><Property Name="A" Type="Edm.Byte"/></EntityType>')
    ).entity_sets
    assert entity_set.key == ()


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><x>&b;</x>'
DEEP = f'<EntityType Name="T">{"<A>" * 5_000}{"</A>" * 5_000}</EntityType>'
FILE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "not a readable XML"),
        (b"<html><body>Log in", "not a readable XML"),
        (document(FACTS)[:-30], "not a readable XML"),
        (BOMB, "not a readable XML"),
        (FILE, "not a readable XML"),
        (b"<!DOCTYPE html><html></html>", "not a readable XML"),
        (b"<html></html>", "no Schema element"),
        (document(FACTS + FACTS.replace("31", "30")), "'sac.FactData' twice"),
        (document(FACTS.replace('"Date"/>', '"Day"/>')), "'Day' in the key"),
        (document(FACTS.replace("AMOUNT", "Version")), "'Version' of 'FactData' twice"),
        (document('<EntityType Name="T" BaseType="sac.T"/>'), "derives 'sac.T'"),
        (
            document('<EntityContainer><EntitySet Name="X" EntityType="sac.X"/></EntityContainer>'),
            "'X' the unknown type 'sac.X'",
        ),
        (document(f"{DEEP}{DEEP}"), "nests its elements too deeply"),
        (
            document(
                '<EntityType Name="T"><Property Name="A"/></EntityType><EntityType Name="U"/>'
                '<EntityContainer><EntitySet Name="S" EntityType="sac.T"/>'
                '<EntitySet Name="S" EntityType="sac.U"/></EntityContainer>'
            ),
            "declares the entity set 'S' twice",
        ),
    ],
)
def test_document_that_cannot_be_trusted_is_refused_by_name(text: bytes, told: str) -> None:
    with pytest.raises(CSDLError, match=told):
        read_csdl(text)


def test_facets_without_end_are_none() -> None:
    (column,) = columns(f'<Property Name="A" Type="Edm.Decimal" Precision="{"9" * 5000}"/>')
    assert column.precision is None


def test_equal_duplicate_declarations_are_read_once() -> None:
    twice = FACTS.replace("</EntityType>", '<Property Name="Date" Type="Edm.String"/></EntityType>')
    assert read_csdl(document(twice)) == Metadata((FACT_DATA,), {})
    assert read_csdl(document(FACTS + FACTS.replace("\n", "\n  "))) == Metadata((FACT_DATA,), {})


REGION_ID = '<Property Name="ID" Type="Edm.String"/>'
REGION = f'<EntityType Name="Region">{REGION_ID}</EntityType>'
BAD_TYPE, OTHER_TYPE = '<EntityType Name="Bad">', '<EntityType Name="B">'
TWICE = '<Property Name="A"/><Property Name="A" Type="Edm.Date"/>'
REGIONS = EntitySet("Regions", (Property("ID", "Edm.String"),), ())


def sets(**types: str) -> str:
    """Write a container."""
    entries = (f'<EntitySet Name="{name}" EntityType="sac.{types[name]}"/>' for name in types)
    return f'<EntityContainer Name="C">{"".join(entries)}</EntityContainer>'


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ("", "unknown type 'sac.Bad'"),
        (f'<EntityType Name="Bad">{TWICE}', "'A' of 'Bads' twice"),
        ('<EntityType Name="Bad" BaseType="other.Thing"><Property Name="A"/>', "'other.Thing'"),
        ('<EntityType Name="Bad"><Key><PropertyRef Name="K"/></Key>', "'K' in the key"),
        (
            '<EntityType Name="Bad"/><EntityType Name="Bad"><Property Name="A"/>',
            "'sac.Bad' twice",
        ),
        (
            f'{BAD_TYPE[:-1]} BaseType="sac.B"/><EntityType Name="B"/>{OTHER_TYPE}{REGION_ID}',
            "'sac.B' twice",
        ),
    ],
)
def test_set_that_is_not_described_does_not_spoil_the_others(others: str, told: str) -> None:
    types = f"{others}</EntityType>" if others else ""
    read = read_csdl(document(types + REGION + sets(Bads="Bad", Regions="Region")))
    assert read.entity_sets == (REGIONS,)
    assert read.unreadable.keys() == {"Bads"}
    assert told in read.unreadable["Bads"]


def test_type_definition_that_is_declared_in_two_ways_explains_nothing() -> None:
    text, number = "Edm.String", "Edm.Int32"
    others = "".join(f'<TypeDefinition Name="P" UnderlyingType="{x}"/>' for x in (text, number))
    assert columns('<Property Name="X" Type="sac.P"/>', others) == (Property("X", "Edm.Untyped"),)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_document_is_read_in_the_encoding_that_it_declares(encoding: str) -> None:
    types = '<EntityType Name="T"><Property Name="Größe"/></EntityType>'
    declaration = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>'
    read = read_csdl((declaration + document(types).decode()).encode(encoding))
    assert [item.name for item in read.entity_sets[0].properties] == ["Größe"]


@pytest.mark.parametrize("label", ["R&D", "A\x01B", "A&#0;"])
def test_document_that_is_not_xml_is_refused(label: str) -> None:
    types = f'<EntityType Name="T"><Property Name="A" label="{label}"/></EntityType>'
    with pytest.raises(CSDLError, match="is not a readable XML document"):
        read_csdl(document(types))
