"""What the questions are about: the models of a tenant, and one of them for rows."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote

from tap_sac.report.grammar import StandIns
from tap_sac.report.shapes import Document
from tap_sac.sac.errors import CSDLError
from tap_sac.sac.export.asker import COUNT, Page, page_of
from tap_sac.sac.export.kinds import FACTS
from tap_sac.sac.urls import with_query

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_sac.report.shapes import Shape
    from tap_sac.sac.export.asker import Asker
    from tap_sac.sac.http.answer import Answer
    from tap_sac.sac.odata.model import EntitySet, Provider

_MOST_PAGES, _PAGES = 5, 3  # maximum to read; and the number into which the first page is divided


class Scene:
    """A tenant, and the model (the subject) whose rows are read, if there is one."""

    def __init__(self, asker: Asker, models: Mapping[Provider, Mapping[str, EntitySet]]) -> None:
        """Use the model whose first page was read, if there is one."""
        self.asker = asker
        self.models = models
        self.names = StandIns()
        self.changes: dict[str, str] = {}
        self.sizes: dict[Provider, int] = {}
        self._with_facts = [model for model, sets in models.items() if FACTS in sets]
        self.subject = next((item for item in self._with_facts if self._first_of(item)), None)

    def choose(self) -> None:
        """Count the facts of each model, and choose the smallest one that has any."""
        for model in self._with_facts:
            page = page_of(self.asker.get(self.url(model, FACTS, {"$count": "true", "$top": "0"})))
            if COUNT in page:
                self.sizes[model] = int(page[COUNT])
        counted = sorted(filter(self.sizes.get, self.sizes), key=lambda model: self.sizes[model])
        self.subject = next(iter([*counted, *self._with_facts]), None)

    @property
    def sets(self) -> Mapping[str, EntitySet]:
        """The entity sets of the subject, by name."""
        return self.models[self.subject] if self.subject else {}

    def url(self, model: Provider, path: str, options: Mapping[str, str] | None = None) -> str:
        """Return the URL of an entity set of a model."""
        root = self.asker.client.entity_set_url(model, "")
        return with_query(f"{root}{quote(path, safe='$')}", options or {})

    def ask(self, path: str, options: Mapping[str, str] | None = None) -> Answer | None:
        """Request an entity set of the subject."""
        return self.asker.get(self.url(self.subject, path, options)) if self.subject else None

    @cached_property
    def first(self) -> Page:
        """The first page of facts, with SAC's own page size."""
        counted = self._first_of(self.subject) if self.subject else {}
        return counted or page_of(self.ask(FACTS))

    @cached_property
    def pages(self) -> list[Page]:
        """Several pages of facts, with a smaller page size."""
        size = -(-len(self.first.get("value", ())) // _PAGES)
        answer = self.ask(FACTS, {"pagesize": str(size), "$count": "true"}) if size else None
        return self.asker.follow(answer, _MOST_PAGES)

    @cached_property
    def shapes(self) -> dict[Provider, Shape]:
        """The shape of each model's ``$metadata``."""
        asked = {model: self.asker.get(self.url(model, "$metadata")) for model in self.models}
        documents = {}
        for model, answer in asked.items():
            with suppress(CSDLError):  # It was read before but not stored, and differs now.
                documents[model] = Document(answer.body if answer else b"", model.provider_id)
        for document in documents.values():
            document.number_facts(self.names)
        return {model: document.shape(self.names) for model, document in documents.items()}

    def _first_of(self, model: Provider) -> Page:
        return page_of(self.asker.get(self.url(model, FACTS, {"$count": "true"})))
