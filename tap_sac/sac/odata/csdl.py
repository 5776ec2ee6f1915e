"""Reads entity sets from OData ``$metadata`` (CSDL XML).

The format is OData CSDL XML 4.0 and 4.01. Few of SAC's own documents are public, so any XML
namespaces and a missing entity container are accepted. Entity sets with contradictory declarations
are skipped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from tap_sac.sac.errors import CSDLError
from tap_sac.sac.odata.model import EntitySet, Property

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

_FACET = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Metadata:
    """The contents of a ``$metadata`` document.

    Attributes:
        entity_sets: The sets that can be read.
        unreadable: The names of the other sets, with the reasons.
    """

    entity_sets: tuple[EntitySet, ...]
    unreadable: dict[str, str]


def read_csdl(document: bytes) -> Metadata:
    """Read the entity sets of a service from its EDMX document.

    Returns:
        The sets of the entity container; without a container, one for each entity type.

    Raises:
        CSDLError: If the document is not XML, has a document type declaration (which only attacks
            need), or has no readable sets.
    """
    root = root_of(document)
    try:
        entity_sets, unreadable = _Document(root).entity_sets()
    except RecursionError:
        msg = "$metadata nests its elements too deeply"
        raise CSDLError(msg) from None
    if unreadable and not entity_sets:
        raise CSDLError(next(iter(unreadable.values())))
    return Metadata(tuple(entity_sets), unreadable)


def root_of(document: bytes) -> Element:
    """Read a document, and none that only attacks need.

    Raises:
        CSDLError: If it is not XML, or has no schema.
    """
    try:
        root = fromstring(document.lstrip(), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        msg = f"$metadata is not a readable XML document ({error})"
        raise CSDLError(msg) from None
    if not any(_local(element.tag) == "Schema" for element in root.iter()):
        msg = "$metadata has no Schema element, so it is not an OData document"
        raise CSDLError(msg)
    return root


class _Document:
    """The declarations of a document, found by their qualified names."""

    def __init__(self, root: Element) -> None:
        self._types: dict[str, Element] = {}
        self._labels: dict[str, str] = {}
        self._tracks_changes: dict[str, bool] = {}
        self._aliases: dict[str, str] = {}
        self._sets: list[tuple[str, str]] = []
        self._contradictory: set[str] = set()
        schemas = [element for element in root.iter() if _local(element.tag) == "Schema"]
        for schema in schemas:
            if alias := schema.get("Alias"):
                self._aliases[alias] = schema.get("Namespace", "")
        for schema in schemas:
            self._declare(schema)

    def entity_sets(self) -> tuple[list[EntitySet], dict[str, str]]:
        """Return the readable sets, and the reasons why the others are not."""
        sets: dict[str, EntitySet] = {}
        unreadable: dict[str, str] = {}
        for name, type_name in self._sets or self._types_as_sets():
            try:
                entity_set = self._entity_set(name, type_name)
            except CSDLError as error:
                unreadable[name] = str(error)
                continue
            if sets.setdefault(name, entity_set) != entity_set:
                unreadable[name] = (
                    f"$metadata declares the entity set {name!r} twice, with other columns"
                )
        return [item for name, item in sets.items() if name not in unreadable], unreadable

    def _types_as_sets(self) -> list[tuple[str, str]]:
        return [
            (element.get("Name", ""), qualified_name)
            for qualified_name, element in self._types.items()
            if _local(element.tag) == "EntityType" and element.get("Abstract") != "true"
        ]

    def _declare(self, schema: Element) -> None:
        namespace = schema.get("Namespace", "")
        for element in schema:
            kind = _local(element.tag)
            if kind in {"EntityType", "EnumType", "TypeDefinition"}:
                name = f"{namespace}.{element.get('Name', '')}"
                if not _is_same(self._types.setdefault(name, element), element):
                    self._contradictory.add(name)
            elif kind == "EntityContainer":
                self._sets.extend(
                    (item.get("Name", ""), self._qualified(item.get("EntityType", "")))
                    for item in _children(element, "EntitySet")
                )
                for child in element:
                    tracks_changes = _tracks_changes(child)
                    if tracks_changes is not None:
                        self._tracks_changes[child.get("Name", "")] = tracks_changes
            elif kind == "Annotations":
                self._annotate(element)

    def _annotate(self, element: Element) -> None:
        """Store the annotations of a target.

        The target of an entity set is ``Schema.Container/Set`` by OData CSDL XML 4.0, 14.2.1, but
        ``Alias.Set`` in SAC's documents.
        """
        target, _, path = element.get("Target", "").partition("/")
        if label := _label(element):
            self._labels[f"{self._qualified(target)}/{path}"] = label
        tracks_changes = _tracks_changes(element)
        if tracks_changes is not None:
            self._tracks_changes[path or target.rpartition(".")[2]] = tracks_changes

    def _qualified(self, name: str) -> str:
        namespace, _, local = name.rpartition(".")
        return f"{self._aliases.get(namespace, namespace)}.{local}"

    def _entity_set(self, name: str, type_name: str) -> EntitySet:
        """Read an entity set with its columns."""
        if type_name not in self._types:
            msg = f"$metadata gives the entity set {name!r} the unknown type {type_name!r}"
            raise CSDLError(msg)
        properties: list[Property] = []
        key: tuple[str, ...] = ()
        for qualified_name in reversed(self._type_and_bases(type_name)):
            element = self._types[qualified_name]
            columns = (
                self._column(item, qualified_name) for item in _children(element, "Property")
            )
            properties += (column for column in columns if column.type != "Edm.Stream")
            references = element.iterfind("{*}Key/{*}PropertyRef")
            key = tuple(dict.fromkeys(item.get("Name", "") for item in references)) or key
        unique = _unique_columns(properties, name)
        if any("/" in column for column in key):
            # unseen: a key inside a complex column or another entity, which records do not have
            key = ()
        for column_name in key:
            if column_name not in {item.name for item in unique}:
                msg = (
                    f"$metadata names {column_name!r} in the key of {name!r}, which is not a column"
                )
                raise CSDLError(msg)
        return EntitySet(name, unique, key, tracks_changes=self._tracks_changes.get(name))

    def _type_and_bases(self, name: str) -> list[str]:
        """Follow BaseType, from the type itself up to the root."""
        # unseen: derived types
        names = [name]
        while base := self._types[names[-1]].get("BaseType"):
            base = self._qualified(base)
            if base not in self._types or base in names:
                msg = f"$metadata derives {names[-1]!r} from {base!r}, which is unknown or itself"
                raise CSDLError(msg)
            names.append(base)
        for contradictory in self._contradictory.intersection(names):
            msg = f"$metadata declares the type {contradictory!r} twice, with other contents"
            raise CSDLError(msg)
        return names

    def _column(self, element: Element, owner: str) -> Property:
        """Read a column, and resolve a type declared in the document to its form in JSON rows."""
        name, type_name = element.get("Name", ""), element.get("Type", "Edm.String")
        facets = element
        if not type_name.startswith("Edm."):
            # unseen: type definitions and enumerations; lists and objects, which stay as they are
            qualified_name = self._qualified(type_name)
            declared = self._types.get(qualified_name, element)
            type_name = {
                "EnumType": "Edm.String",
                "TypeDefinition": declared.get("UnderlyingType", ""),
            }.get(_local(declared.tag), "Edm.Untyped")
            if qualified_name in self._contradictory:
                type_name = "Edm.Untyped"
            if not (facets.get("Precision") or facets.get("Scale")):
                facets = declared
        return Property(
            name,
            type_name,
            precision=_facet(facets, "Precision"),
            scale=_facet(facets, "Scale"),
            label=_label(element) or self._labels.get(f"{owner}/{name}"),
        )


def _unique_columns(properties: list[Property], owner: str) -> tuple[Property, ...]:
    """Read the columns, without repeated equal declarations."""
    columns: dict[str, Property] = {}
    for item in properties:
        if columns.setdefault(item.name, item) != item:
            msg = f"$metadata declares the column {item.name!r} of {owner!r} twice, differently"
            raise CSDLError(msg)
    return tuple(columns.values())


def _is_same(element: Element, other: Element) -> bool:
    """Compare elements, ignoring white space around their texts."""
    return element is other or (
        element.tag == other.tag
        and element.attrib == other.attrib
        and (element.text or "").strip() == (other.text or "").strip()
        and len(element) == len(other)
        and all(map(_is_same, element, other))
    )


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _children(element: Element, name: str) -> Iterator[Element]:
    return element.iterfind(f"{{*}}{name}")


def _facet(element: Element, name: str) -> int | None:
    """Read a number; ``Scale`` may also be ``variable`` or ``floating``."""
    value = element.get(name, "")
    return int(value) if _FACET.fullmatch(value) else None


def _tracks_changes(element: Element) -> bool | None:
    """Find ``Capabilities.ChangeTracking``, with any alias of its vocabulary."""
    for annotation in _children(element, "Annotation"):
        vocabulary, _, term = annotation.get("Term", "").rpartition(".")
        if term != "ChangeTracking" or "Capabilities" not in vocabulary:
            continue
        for value in annotation.iterfind(".//{*}PropertyValue"):
            if value.get("Property") == "Supported":
                texts = [value.get("Bool"), *(child.text for child in _children(value, "Bool"))]
                return {"true": True, "false": False}.get(next(filter(None, texts), "").strip())
    return None


def _label(element: Element) -> str | None:
    """Find ``Common.Label``, with any alias of its vocabulary, or SAP's older ``sap:label``."""
    for annotation in _children(element, "Annotation"):
        vocabulary, _, term = annotation.get("Term", "").rpartition(".")
        if term == "Label" and "Common" in vocabulary:
            texts = [annotation.get("String")]
            texts += [child.text for child in _children(annotation, "String")]
            return next((text.strip() for text in texts if text and text.strip()), None)
    # unseen: sap:label
    labels = (value for name, value in element.attrib.items() if _local(name) == "label")
    return next(labels, None)
