"""OData ``$metadata`` (CSDL XML) -> entity sets.

Pure: bytes in, dataclasses out. The format is OData CSDL XML 4.0 and 4.01; SAC's own documents
are not published, so everything that they may leave out or spell differently is accepted:
namespaces and prefixes of elements, a missing entity container, labels as child or attribute.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from tap_sac.sac.errors import CSDLError
from tap_sac.sac.model import EntitySet, Property

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element


_FACET = re.compile(r"[0-9]{1,9}")
# Types inside types may describe a column for each path through them, of which there is no end.
_MOST_COLUMNS = 100_000


def read_csdl(document: bytes) -> list[EntitySet]:
    """Read the entity sets of a service.

    Args:
        document: The EDMX document, in any encoding that XML can declare.

    Returns:
        The sets of the entity container; without a container, one for each entity type.

    Raises:
        CSDLError: If the document is not XML, has a document type declaration (which OData
            never has, and attacks need), or contradicts itself.
    """
    try:
        root = fromstring(document.lstrip(b"\r\n\t "), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        msg = f"$metadata is not a readable XML document ({error})"
        raise CSDLError(msg) from None
    try:
        return _Document(root).entity_sets()
    except RecursionError:
        msg = "$metadata nests its types too deeply"
        raise CSDLError(msg) from None


class _Document:
    """The declarations of a document, found by their qualified names."""

    def __init__(self, root: Element) -> None:
        self._entity_types: dict[str, Element] = {}
        self._other_types: dict[str, Element] = {}
        self._labels: dict[str, str] = {}
        self._tracks_changes: dict[str, bool] = {}
        self._aliases: dict[str, str] = {}
        self._sets: list[Element] = []
        self._columns_left = _MOST_COLUMNS
        schemas = [element for element in root.iter() if _local(element.tag) == "Schema"]
        if not schemas:
            msg = "$metadata has no Schema element, so it is not an OData document"
            raise CSDLError(msg)
        for schema in schemas:
            if alias := schema.get("Alias"):
                self._aliases[alias] = schema.get("Namespace", "")
        for schema in schemas:
            self._declare(schema)

    def entity_sets(self) -> list[EntitySet]:
        if not self._sets:
            return [
                self._entity_set(element.get("Name", ""), qualified_name)
                for qualified_name, element in self._entity_types.items()
                if element.get("Abstract") != "true"
            ]
        sets: dict[str, EntitySet] = {}
        for element in self._sets:
            name = element.get("Name", "")
            type_name = self._qualified(element.get("EntityType", ""))
            if type_name not in self._entity_types:
                msg = f"$metadata gives the entity set {name!r} the unknown type {type_name!r}"
                raise CSDLError(msg)
            entity_set = self._entity_set(name, type_name)
            if sets.setdefault(name, entity_set) != entity_set:
                msg = f"$metadata declares the entity set {name!r} twice, with other columns"
                raise CSDLError(msg)
        return list(sets.values())

    def _declare(self, schema: Element) -> None:
        namespace = schema.get("Namespace", "")
        for element in schema:
            kind = _local(element.tag)
            name = f"{namespace}.{element.get('Name', '')}"
            if kind == "EntityType":
                if name in self._entity_types:
                    msg = f"$metadata declares the entity type {name!r} twice"
                    raise CSDLError(msg)
                self._entity_types[name] = element
            elif kind in {"ComplexType", "EnumType", "TypeDefinition"}:
                self._other_types[name] = element
            elif kind == "EntityContainer":
                self._sets.extend(_children(element, "EntitySet"))
                for child in element:
                    tracks_changes = _tracks_changes(child)
                    if tracks_changes is not None:
                        self._tracks_changes[child.get("Name", "")] = tracks_changes
            elif kind == "Annotations":
                self._annotate(element)

    def _annotate(self, element: Element) -> None:
        """Keep what a block of annotations says of its target.

        Targets of entity sets are ``Schema.Container/Set`` in OData CSDL XML 4.0, 14.2.1, and
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
        properties: dict[str, Property] = {}
        key: tuple[str, ...] = ()
        for qualified_name in reversed(self._type_and_bases(type_name, self._entity_types)):
            element = self._entity_types[qualified_name]
            for item in self._properties(element, qualified_name, ()):
                if item.name in properties:
                    msg = f"$metadata declares the column {item.name!r} of {name!r} twice"
                    raise CSDLError(msg)
                properties[item.name] = item
            references = [
                reference.get("Name", "")
                for key_element in _children(element, "Key")
                for reference in _children(key_element, "PropertyRef")
            ]
            key = tuple(dict.fromkeys(references)) or key
        if any("/" in column for column in key):
            # A part of a complex column or of another entity cannot be the key of a record.
            key = ()
        for column in key:
            if column not in properties:
                msg = f"$metadata names {column!r} in the key of {name!r}, which is not a column"
                raise CSDLError(msg)
        return EntitySet(
            name, tuple(properties.values()), key, tracks_changes=self._tracks_changes.get(name)
        )

    def _type_and_bases(self, name: str, types: dict[str, Element]) -> list[str]:
        """Follow BaseType, from the type itself up to the root."""
        names = [name]
        while base := types[names[-1]].get("BaseType"):
            base = self._qualified(base)
            if base not in types or base in names:
                msg = f"$metadata derives {names[-1]!r} from {base!r}, which is unknown or itself"
                raise CSDLError(msg)
            names.append(base)
        return names

    def _properties(
        self, type_element: Element, owner: str, outer: tuple[str, ...]
    ) -> Iterator[Property]:
        for element in _children(type_element, "Property"):
            self._columns_left -= 1
            if self._columns_left < 0:
                msg = f"$metadata describes more than {_MOST_COLUMNS} columns"
                raise CSDLError(msg)
            name = element.get("Name", "")
            type_name = element.get("Type", "Edm.String")
            is_collection = type_name.startswith("Collection(") and type_name.endswith(")")
            if is_collection:
                type_name = type_name[len("Collection(") : -1]
            resolved = self._resolve(name, type_name, element, outer)
            if resolved.type == "Edm.Stream":
                continue
            yield dataclasses.replace(
                resolved,
                is_collection=is_collection,
                label=_label(element) or self._labels.get(f"{owner}/{name}"),
            )

    def _resolve(
        self, name: str, type_name: str, facets: Element, outer: tuple[str, ...]
    ) -> Property:
        """Reduce a type of the document's own to what JSON rows hold.

        Args:
            name: The column.
            type_name: Its type, as the document has it.
            facets: The element that holds precision and scale.
            outer: The complex types around it; one inside itself ends as Edm.Untyped.
        """
        if type_name.startswith("Edm."):
            return Property(
                name,
                type_name,
                precision=_facet(facets, "Precision"),
                scale=_facet(facets, "Scale"),
            )
        qualified_name = self._qualified(type_name)
        declared = self._other_types.get(qualified_name)
        kind = "" if declared is None else _local(declared.tag)
        if declared is None or qualified_name in outer:
            return Property(name, "Edm.Untyped")
        if kind == "EnumType":
            return Property(name, "Edm.String")
        if kind == "TypeDefinition":
            own_facets = facets if facets.get("Precision") or facets.get("Scale") else declared
            underlying = declared.get("UnderlyingType", "")
            return self._resolve(name, underlying, own_facets, (*outer, qualified_name))
        bases = self._type_and_bases(qualified_name, self._other_types)
        if any(self._other_types[base].get("OpenType") == "true" for base in bases):
            return Property(name, "Edm.ComplexType")
        parts = [
            part
            for base in reversed(bases)
            for part in self._properties(self._other_types[base], base, (*outer, qualified_name))
        ]
        return Property(name, "Edm.ComplexType", properties=tuple(parts))


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _children(element: Element, name: str) -> Iterator[Element]:
    return (child for child in element if _local(child.tag) == name)


def _facet(element: Element, name: str) -> int | None:
    """Read a number; ``Scale`` may also be the word ``variable`` or ``floating``."""
    value = element.get(name, "")
    return int(value) if _FACET.fullmatch(value) else None


def _tracks_changes(element: Element) -> bool | None:
    """Find ``Capabilities.ChangeTracking``, under any alias of its vocabulary."""
    for annotation in _children(element, "Annotation"):
        vocabulary, _, term = annotation.get("Term", "").rpartition(".")
        if term != "ChangeTracking" or "Capabilities" not in vocabulary:
            continue
        for value in annotation.iter():
            if _local(value.tag) == "PropertyValue" and value.get("Property") == "Supported":
                texts = [value.get("Bool"), *(child.text for child in _children(value, "Bool"))]
                return {"true": True, "false": False}.get(next(filter(None, texts), "").strip())
    return None


def _label(element: Element) -> str | None:
    """Find ``Common.Label``, under any alias of its vocabulary, or SAP's older ``sap:label``."""
    for annotation in _children(element, "Annotation"):
        vocabulary, _, term = annotation.get("Term", "").rpartition(".")
        if term == "Label" and "Common" in vocabulary:
            texts = [annotation.get("String")]
            texts += [child.text for child in _children(annotation, "String")]
            return next((text.strip() for text in texts if text and text.strip()), None)
    labels = (value for name, value in element.attrib.items() if _local(name) == "label")
    return next(labels, None)
