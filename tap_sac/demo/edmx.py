"""The ``$metadata`` document of a model of the sample tenant.

It has the shape of a live tenant's document: names of schema and container, facets, and annotations
with their targets. That document has only FactData, MasterData and the masters. It is documented
that FactDataAggregation has no key. The other sets, ``Common.Label``, and the ``CDataID`` of a
model without a package in its ID are guesses. By OData, the target of an annotated set is
``Schema.Container/Set`` (CSDL 4.0, 14.2.1), but the live document lacks the container.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

from tap_sac.demo.tables import AGGREGATION, TRACKABLE

if TYPE_CHECKING:
    from tap_sac.demo.tables import Column, Model, Table

_EDMX = "http://docs.oasis-open.org/odata/ns/edmx"
_EDM = "http://docs.oasis-open.org/odata/ns/edm"
_NAMESPACE = "com.sap.cloudDataIntegration"
_ALIAS = "CloudDataIntegration"
_VOCABULARIES = {
    "Core": "Org.OData.Core.V1",
    "Capabilities": "Org.OData.Capabilities.V1",
    "Integration": "com.sap.vocabularies.DataIntegration.v1",
}
_ORIGINAL_TYPES = {
    "Edm.String": "NVARCHAR",
    "Edm.Decimal": "DECIMAL",
    "Edm.Boolean": "BOOLEAN",
    "Edm.Int32": "INTEGER",
    "Edm.DateTimeOffset": "TIMESTAMP",
}
_DECIMAL_FACETS = {"MaxLength": "32", "Precision": "31", "Scale": "7"}
_TRUE, _FALSE = "<Bool>true</Bool>", "<Bool>false</Bool>"
_RESTRICTIONS = {
    "InsertRestrictions": "Insertable",
    "UpdateRestrictions": "Updatable",
    "DeleteRestrictions": "Deletable",
}


def edmx_document(model: Model, service_root: str, *, sums_have_keys: bool) -> str:
    """Describe the entity sets of a model in CSDL XML.

    Args:
        model: The model.
        service_root: The root URL of the vocabularies.
        sums_have_keys: Whether FactDataAggregation has a key.
    """
    references = (
        element(
            "edmx:Reference",
            element("edmx:Include", Namespace=namespace, Alias=alias),
            Uri=f"{service_root}/odata/{namespace}.xml",
        )
        for alias, namespace in _VOCABULARIES.items()
    )
    sets = (
        element("EntitySet", Name=table.name, EntityType=f"{_ALIAS}.{table.name}")
        for table in model.tables
    )
    container = element(
        "EntityContainer", *sets, _text("Integration.SourceSystem", "DataService"), Name=model.id
    )
    schema = element(
        "Schema",
        *(
            _entity_type(table, model, has_key=sums_have_keys or table.name != AGGREGATION)
            for table in model.tables
        ),
        container,
        *map(_annotations, model.tables),
        xmlns=_EDM,
        Namespace=_NAMESPACE,
        Alias=_ALIAS,
    )
    services = element("edmx:DataServices", schema)
    attributes = {"Version": "4.0", "xmlns:edmx": _EDMX}
    return '<?xml version="1.0" encoding="UTF-8"?>' + element(
        "edmx:Edmx", *references, services, **attributes
    )


def document_of(shape: dict[str, Any]) -> str:
    """Write ``$metadata`` by the shape in a report."""
    prefix = shape.get("alias") or shape["namespace"]
    sets = [(item["name"], item) for item in shape["sets"]]
    types = (
        element(
            "EntityType",
            *[element("Key", *(element("PropertyRef", Name=key) for key in item["key"]))]
            if "key" in item
            else [],
            *map(_noted_property, item.get("columns", ())),
            *map(_noted, item.get("type", ())),
            Name=name,
        )
        for name, item in sets
    )
    named = (element("EntitySet", Name=name, EntityType=f"{prefix}.{name}") for name, _ in sets)
    is_own = shape.get("container") == "ProviderID"
    container = element("EntityContainer", *named, Name=shape["name"] if is_own else "other")
    notes = (
        element("Annotations", *map(_noted, item["set"]), Target=f"{prefix}.{name}")
        for name, item in sets
        if "set" in item
    )
    parts = (*types, container if "container" in shape else "", *notes)
    names = {"Namespace": shape["namespace"], "Alias": shape.get("alias", "")}
    schema = element("Schema", *parts, **{name: text for name, text in names.items() if text})
    return element("Edmx", element("DataServices", schema), Version="4.0")


def _noted_property(text: str) -> str:
    name, kind, *words = text.split()
    # Terms have a dot, but facets do not.
    facets = dict(
        word.split("=") for word in words if "=" in word and "." not in word.split("=")[0]
    )
    terms = (word for word in words if word.split("=")[0] not in facets)
    return element("Property", *map(_noted, terms), Name=name, Type=kind, **facets)


def _noted(text: str) -> str:
    term, _, value = text.partition("=")
    inside = element("String", value) if value else ""
    if value in {"true", "false"}:
        inside = element("PropertyValue", element("Bool", value), Property="Supported")
    return element("Annotation", inside, Term=term)


def _entity_type(table: Table, model: Model, *, has_key: bool) -> str:
    references = [element("PropertyRef", Name=name) for name in table.key if has_key]
    package = model.id.partition(":")[0]
    data_id = f"{package}:{table.dimension}" if table.dimension else model.id
    return element(
        "EntityType",
        *([element("Key", *references)] if references else []),
        *map(_property, table.columns),
        _text("Integration.CDataID", data_id),
        Name=table.name,
    )


def _property(column: Column) -> str:
    facets: dict[str, str] = {}
    annotations = [
        _text("Integration.OriginalDataType", _ORIGINAL_TYPES.get(column.type, "NVARCHAR"))
    ]
    if column.type == "Edm.Decimal":
        facets = _DECIMAL_FACETS
    elif column.type == "Edm.String":
        facets = {"MaxLength": str(column.max_length)}
    if column.kind:
        annotations.append(_text("Integration.PropertyType", column.kind))
        if column.kind != "DESCRIPTION":  # Neither these nor the texts of facts have a scale.
            facets = {**facets, "Scale": "0"}
    if column.label:
        annotations.append(element("Annotation", Term="Common.Label", String=column.label))
    return element("Property", *annotations, Name=column.name, Type=column.type, **facets)


def _annotations(table: Table) -> str:
    """Write the annotations that state what a set supports."""
    filters = (
        _record(
            Property=element("Path", column.name),
            AllowedExpressions=element(
                "EnumMember",
                "MULTI_RANGE_OR_SEARCH_EXPRESSION"
                if column.type == "Edm.String"
                else "MULTI_RANGE",
            ),
        )
        for column in table.columns
    )
    capabilities = {
        **{term: _record(**{name: _FALSE}) for term, name in _RESTRICTIONS.items()},
        "ChangeTracking": _record(Supported=_TRUE if table.name in TRACKABLE else _FALSE),
        "FilterRestrictions": _record(
            Filterable=_TRUE,
            FilterExpressionRestrictions=element("Collection", *filters),
        ),
    }
    return element(
        "Annotations",
        *(
            element("Annotation", value, Term=f"Capabilities.{term}")
            for term, value in capabilities.items()
        ),
        element("Annotation", _TRUE, Term="Integration.Extractable"),
        Target=f"{_ALIAS}.{table.name}",
    )


def _text(term: str, text: str) -> str:
    return element("Annotation", element("String", escape(text)), Term=term)


def _record(**values: str) -> str:
    pairs = (element("PropertyValue", value, Property=name) for name, value in values.items())
    return element("Record", *pairs)


def element(name: str, *content: str, **attributes: str) -> str:
    """Write an XML element with XML content."""
    written = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    return f"<{name}{written}>{''.join(content)}</{name}>"
