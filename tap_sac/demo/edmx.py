"""The ``$metadata`` document of a model of the sample tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    from tap_sac.demo.company import Column, Model, Table

_ORIGINAL_TYPES = {
    "Edm.String": "NVARCHAR",
    "Edm.Decimal": "DECIMAL",
    "Edm.Int32": "INTEGER",
    "Edm.DateTimeOffset": "TIMESTAMP",
}
_FACETS = {"Edm.String": ' MaxLength="256"', "Edm.Decimal": ' Precision="31" Scale="7"'}


def edmx_document(model: Model) -> str:
    """Describe the entity sets of a model in CSDL XML."""
    types = "".join(_entity_type(table) for table in model.tables)
    sets = "".join(
        f"<EntitySet Name={quoteattr(table.name)} EntityType={quoteattr(f'sac.{table.name}')}/>"
        for table in model.tables
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">'
        "<edmx:DataServices>"
        '<Schema Namespace="sac" xmlns="http://docs.oasis-open.org/odata/ns/edm">'
        f'{types}<EntityContainer Name="EntityContainer">{sets}</EntityContainer>'
        "</Schema></edmx:DataServices></edmx:Edmx>"
    )


def _entity_type(table: Table) -> str:
    references = "".join(
        f"<PropertyRef Name={quoteattr(column.name)}/>" for column in table.columns if column.is_key
    )
    key = f"<Key>{references}</Key>" if references else ""
    properties = "".join(map(_property, table.columns))
    return f"<EntityType Name={quoteattr(table.name)}>{key}{properties}</EntityType>"


def _property(column: Column) -> str:
    annotations = (
        '<Annotation Term="Integration.OriginalDataType">'
        f"<String>{_ORIGINAL_TYPES[column.type]}</String></Annotation>"
    )
    if column.label:
        annotations += f'<Annotation Term="Common.Label" String={quoteattr(column.label)}/>'
    nullable = "false" if column.is_key else "true"
    return (
        f"<Property Name={quoteattr(column.name)} Type={quoteattr(column.type)} "
        f'Nullable="{nullable}"{_FACETS.get(column.type, "")}>{annotations}</Property>'
    )
