"""What ``$metadata`` looks like: SAC's own names, stand-ins for the rest, types and annotations.

A column is one text, such as ``Measure1 Edm.Decimal Precision=31 Scale=7``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from defusedxml.ElementTree import fromstring

from tap_sac.report.grammar import FACETS, TERMS, TYPES, VALUES, one_of
from tap_sac.sac.export.kinds import FACTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    from tap_sac.report.grammar import StandIns

Shape = dict[str, Any]

_NUMBER = re.compile(r"0|[1-9][0-9]{0,4}")


class Document:
    """A ``$metadata`` document."""

    def __init__(self, text: bytes, provider_id: str) -> None:
        """Read a document that was read before, so that it is known to be one."""
        self._root = fromstring(text.lstrip(), forbid_dtd=True)
        self._provider_id = provider_id
        types = {item.get("Name", ""): item for item in _all(self._root, "EntityType")}
        sets = {
            item.get("Name", ""): types.get(item.get("EntityType", "").rpartition(".")[2])
            for item in _all(self._root, "EntitySet")
        }
        self._types = {name: item for name, item in sets.items() if item is not None} or types

    def number_facts(self, names: StandIns) -> None:
        """Give the columns of FactData their stand-ins, before any other column gets one."""
        for item in [self._types[FACTS]] if FACTS in self._types else []:
            key = _key(item)
            for column in _all(item, "Property"):
                name = column.get("Name", "")
                names.of(name, "Dimension" if name in key else "Measure")

    def shape(self, names: StandIns) -> Shape:
        """Describe the schema and the sets, in the order of their stand-ins."""
        (schema, *_) = _all(self._root, "Schema")
        given = {"namespace": schema.get("Namespace"), "alias": schema.get("Alias")}
        for container in _all(schema, "EntityContainer"):
            name = container.get("Name")
            given["container"] = "ProviderID" if name == self._provider_id else name
        words = {part: one_of(value, VALUES) for part, value in given.items() if value is not None}
        sets = [(names.of(name, "Set"), name) for name in self._types]
        sets.sort(key=lambda pair: _natural(pair[0]))
        return {**words, "sets": [self._set(name, raw, names) for name, raw in sets]}

    def _set(self, name: str, raw: str, names: StandIns) -> Shape:
        """Describe a set, with what the document notes of it, and of its type."""
        entity_type = self._types[raw]
        kind = "Attribute" if FACTS in self._types else "Column"
        places = [item for item in _all(self._root, "EntitySet") if item.get("Name") == raw]
        blocks = _all(self._root, "Annotations")
        places += (i for i in blocks if re.split("[./]", i.get("Target", ""))[-1] == raw)
        shape = {
            "name": name,
            "key": [names.of(column, kind) for column in _key(entity_type)],
            "columns": [
                _column(names.of(item.get("Name", ""), kind), item)
                for item in _all(entity_type, "Property")
            ],
            "type": list(_terms(entity_type)),
            "set": [term for place in places for term in _terms(place)],
        }
        return {part: value for part, value in shape.items() if value}


def _column(name: str, element: Element) -> str:
    given = ((facet, element.get(facet)) for facet in FACETS)
    facets = (f"{facet}={_value(value)}" for facet, value in given if value is not None)
    return " ".join([name, one_of(element.get("Type"), TYPES), *facets, *_terms(element)])


def _value(value: str | None) -> str:
    return value if value and _NUMBER.fullmatch(value) else one_of(value, VALUES)


def _terms(element: Element) -> Iterator[str]:
    """Describe the annotations of an element: their terms, and values that SAC gives."""
    for annotation in (item for item in element if _local(item) == "Annotation"):
        term = one_of(annotation.get("Term"), TERMS)
        texts = [annotation.get("String"), *(item.text for item in _all(annotation, "String"))]
        texts += [item.text for item in _all(annotation, "Bool")]
        texts += [item.get("Bool") for item in _all(annotation, "PropertyValue")]
        value = one_of(next(filter(None, texts), None), VALUES)
        yield term if value == "other" else f"{term}={value}"


def _key(element: Element) -> list[str]:
    return [item.get("Name", "") for item in _all(element, "PropertyRef")]


def _all(element: Element, name: str) -> Iterator[Element]:
    return (item for item in element.iter() if _local(item) == name)


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part or 0) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", text)]
