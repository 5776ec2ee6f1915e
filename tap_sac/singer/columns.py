"""The columns of a stream: SAC's, those that the tap adds, and which ones are selected."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from singer_sdk.singerlib.catalog import Metadata

from tap_sac.sac.errors import DataError
from tap_sac.singer.edm import declared_types, edm_type
from tap_sac.singer.schema import TABLE_VERSION, add_decimal_facets

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from singer_sdk.singerlib import MetadataMapping, SelectionMask

    from tap_sac.sac.odata.model import EntitySet, OwnColumn, Property


@dataclass(frozen=True)
class ColumnSelection:
    """The columns of an entity set that records have.

    Attributes:
        entity_set: The columns and the key, with the columns that the tap adds.
        known: The names of the columns in the catalog; of all columns without a catalog.
        mask: Whether the catalog selects a column.
    """

    entity_set: EntitySet
    known: Collection[str]
    mask: SelectionMask

    @property
    def sac_columns(self) -> list[Property]:
        """SAC's columns that the catalog selects, in SAC's order."""
        added = {column.name for column in self.entity_set.own_columns}
        columns = (item for item in self.entity_set.properties if item.name not in added)
        return [item for item in columns if item.name in self.known and self._selects(item.name)]

    @property
    def own_columns(self) -> list[OwnColumn]:
        """The columns that the tap adds, in their order."""
        return [
            item
            for item in self.entity_set.own_columns
            if not item.is_deselectable or (item.name in self.known and self._selects(item.name))
        ]

    def selected_key(self, key: Iterable[str]) -> tuple[str, ...]:
        """Return the key columns that the catalog selects."""
        return tuple(name for name in key if self._selects(name))

    def replaced_column(self, metadata: MetadataMapping) -> str | None:
        """Find a selected column of SAC that has the name of a column that the tap adds.

        Args:
            metadata: The catalog's; the mask does not help, because it selects all mandatory
                columns.
        """
        of_sac = {column.name for column in self.entity_set.properties}
        for column in mandatory_columns(self.entity_set):
            name = column.name
            is_key = name in self.entity_set.key
            is_deselected = metadata["properties", name].selected is False and not is_key
            if name in of_sac and name in self.known and not is_deselected:
                return name
        return None

    def _selects(self, name: str) -> bool:
        return self.mask["properties", name]


def mandatory_columns(entity_set: EntitySet) -> list[OwnColumn]:
    """Return the columns that the tap adds and that cannot be deselected."""
    return [item for item in entity_set.own_columns if not item.is_deselectable]


def set_inclusion(
    metadata: MetadataMapping, entity_set: EntitySet, *, has_optional_key: bool
) -> None:
    """Set in the catalog's metadata which columns can be deselected."""
    for column in mandatory_columns(entity_set):
        metadata["properties", column.name].inclusion = Metadata.InclusionType.AUTOMATIC
    for name in entity_set.key:
        of_column = metadata["properties", name]
        if not has_optional_key:  # Even if targets get no key.
            of_column.inclusion = Metadata.InclusionType.AUTOMATIC
            continue
        of_column.inclusion = Metadata.InclusionType.AVAILABLE
        if of_column.selected_by_default is None:
            of_column.selected_by_default = True


def typed_columns(
    selection: ColumnSelection, before: dict[str, Any], after: dict[str, Any]
) -> list[Property]:
    """Return the columns that still have the types of ``$metadata`` after a stream map.

    Args:
        selection: The columns before the map.
        before: The JSON Schema before it. (That of the SDK's map changes together with the other.)
        after: The JSON Schema after it.
    """
    schemas = deepcopy((before, after))
    for schema in schemas:
        add_decimal_facets(schema, selection.entity_set.properties)
    of_before, of_after = (schema["properties"] for schema in schemas)
    columns = [*selection.sac_columns, *selection.own_columns]
    same = [item for item in columns if of_before.get(item.name) == of_after.get(item.name)]
    return [_as_checked(item, of_before.get(item.name, {})) for item in same]


def _as_checked(column: Property, schema: dict[str, Any]) -> Property:
    """Treat what the catalog declares as plain text as such, such as numbers and dates."""
    format_, own = schema.get("format"), edm_type(column).schema
    is_text = format_ is None and declared_types(schema) == {"string"} != {own["type"]}
    is_unchecked = own.get("format") not in {None, format_}
    return replace(column, type="Edm.String") if is_text or is_unchecked else column


def version_column(stream: str, columns: Collection[str]) -> OwnColumn:
    """Return the version column of batch files; a `DataError` if records have one of its name."""
    if TABLE_VERSION.name in columns:
        msg = (
            f"{stream} has a column {TABLE_VERSION.name}, which batch files need for the version "
            "of a row: deselect it, rename it with the setting stream_maps, or set "
            "emit_activate_version_messages to false."
        )
        raise DataError(msg)
    return TABLE_VERSION
