"""Describes ``$metadata``; a column is a text such as ``Measure1 Edm.Decimal Scale=7``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tap_sac.report.grammar import FACETS, TERMS, TYPES, VALUES, one_of
from tap_sac.sac.export.kinds import FACTS
from tap_sac.sac.odata.csdl import root_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    from tap_sac.report.grammar import StandIns

Shape = dict[str, Any]

_NUMBER = re.compile(r"\A(?:0|[1-9][0-9]{0,4})\Z")


class Document:
    """A ``$metadata`` document."""

    def __init__(self, text: bytes, provider_id: str) -> None:
        """Parse a document; raises `CSDLError` if it is none."""
        self._root = root_of(text)
        self._provider_id = provider_id
        types = {item.get("Name", ""): item for item in _all(self._root, "EntityType")}
        found = {item.get("Name", ""): item for item in _all(self._root, "EntitySet")}
        named = ((name, it.get("EntityType", "").rpartition(".")[2]) for name, it in found.items())
        self._types = {name: types[it] for name, it in named if it in types} or types
        self._noted = {name: [item] for name, item in found.items()}
        for item in _all(self._root, "Annotations"):
            self._noted.setdefault(re.split("[./]", item.get("Target", ""))[-1], []).append(item)

    def number_facts(self, names: StandIns) -> None:
        """Give the columns of FactData their stand-ins before all other columns."""
        for item in (self._types[name] for name in (FACTS,) if name in self._types):
            for name in _names(item, "Property"):
                names.of(name, "Dimension" if name in _names(item, "PropertyRef") else "Measure")

    def shape(self, names: StandIns) -> Shape:
        """Describe the schema and the sets, in the order of their stand-ins."""
        schema = next(_all(self._root, "Schema"), self._root)
        given = {"namespace": schema.get("Namespace"), "alias": schema.get("Alias")}
        for name in _names(schema, "EntityContainer"):
            given["container"] = "ProviderID" if name == self._provider_id else name
        words = {part: one_of(value, VALUES) for part, value in given.items() if value is not None}
        sets = [(names.of(name, "Set"), name) for name in self._types]
        sets.sort(key=lambda pair: re.sub(r"\d+", lambda digits: digits[0].zfill(6), pair[0]))
        return {**words, "sets": [self._set(name, raw, names) for name, raw in sets]}

    def _set(self, name: str, raw: str, names: StandIns) -> Shape:
        """Describe a set, with the annotations of the set and its type."""
        kind, entity_type = "Attribute" if FACTS in self._types else "Column", self._types[raw]
        columns = zip(_names(entity_type, "Property"), _all(entity_type, "Property"), strict=True)
        shape = {
            "name": name,
            "key": [names.of(column, kind) for column in _names(entity_type, "PropertyRef")],
            "columns": [_column(names.of(column, kind), item) for column, item in columns],
            "type": list(_terms(entity_type)),
            "set": [term for item in self._noted.get(raw, ()) for term in _terms(item)],
        }
        return {part: value for part, value in shape.items() if value}


def _column(name: str, element: Element) -> str:
    given = ((facet, element.get(facet)) for facet in FACETS)
    facets = (f"{name}={one_of(it, [*VALUES, *_NUMBER.findall(it)])}" for name, it in given if it)
    return " ".join([name, one_of(element.get("Type"), TYPES), *facets, *_terms(element)])


def _terms(element: Element) -> Iterator[str]:
    """Describe the annotations of an element: their terms, and values that are SAC's own."""
    for annotation in element.iterfind("{*}Annotation"):
        term = one_of(annotation.get("Term"), TERMS)
        texts = [item.text for kind in ("String", "Bool") for item in _all(annotation, kind)]
        texts += [item.get("Bool") for item in _all(annotation, "PropertyValue")]
        value = one_of(next(filter(None, [annotation.get("String"), *texts]), None), VALUES)
        yield term if value == "other" else f"{term}={value}"


def _names(element: Element, kind: str) -> list[str]:
    return [item.get("Name", "") for item in _all(element, kind)]


def _all(element: Element, name: str) -> Iterator[Element]:
    return element.iterfind(f".//{{*}}{name}")
