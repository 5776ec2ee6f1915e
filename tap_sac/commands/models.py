"""``--models``: the models of a tenant, their size, and whether SAC exports them."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tap_sac.causes import causes_of
from tap_sac.discovery.discover import read_each_model, read_metadata
from tap_sac.discovery.namespaces import list_models, models_to_read, read_namespaces
from tap_sac.discovery.naming import stream_names
from tap_sac.sac.errors import ResponseError, SACError
from tap_sac.sac.export.kinds import FACTS
from tap_sac.sac.export.tables import CountedTable, CountRequest
from tap_sac.safety.masks import one_line
from tap_sac.safety.text import none_of
from tap_sac.terminal import PROGRESS_LINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tap_sac.discovery.namespaces import Listing
    from tap_sac.inputs import Choice
    from tap_sac.sac.export.client import SACClient
    from tap_sac.sac.odata.model import Provider

logger = logging.getLogger(__name__)

_HEADINGS = ("ID", "NAME", "NAMESPACE", "DIMENSIONS", "MEASURES", "ROWS", "EXPORTABLE")
_NUMBERS = ("DIMENSIONS", "MEASURES", "ROWS")
_UNKNOWN = "-"


@dataclass(frozen=True)
class ListedModel:
    """A model, or another provider that SAC exports, as ``--models=json`` prints it.

    Attributes:
        id: The ID, unique within the namespace.
        name: The name, which may not be unique.
        namespace: ``sac`` for models.
        dimensions: The dimensions of its facts; None if it has no facts, or is not exportable.
        measures: The measures of its facts; None like `dimensions`.
        rows: SAC's count of the facts, or of the rows of its first table if it has no facts; None
            if unknown.
        exportable: Whether it can be read.
        reason: Why it cannot be read; else None.
        streams: The names of its streams.
    """

    id: str
    name: str
    namespace: str
    dimensions: tuple[str, ...] | None = None
    measures: tuple[str, ...] | None = None
    rows: int | None = None
    exportable: bool = False
    reason: str | None = None
    streams: tuple[str, ...] = ()

    def cells(self) -> tuple[str, ...]:
        """Return the cells of its row in the table."""
        return (
            self.id,
            self.name,
            self.namespace,
            _UNKNOWN if self.dimensions is None else str(len(self.dimensions)),
            _UNKNOWN if self.measures is None else str(len(self.measures)),
            _UNKNOWN if self.rows is None else f"{self.rows:,}",
            f"no: {self.reason}" if self.reason else "yes",
        )


def models(
    choice: Choice, client: SACClient, print_line: Callable[[str], None], *, as_json: bool
) -> int:
    """Print the models that the settings choose, once SAC has described all of them.

    Returns:
        The exit code: 1 if no model can be read, or a required namespace is missing.

    Raises:
        SACError: If SAC refuses the sign-in, or a setting names something that does not exist.
    """
    listing = list_models(client, read_namespaces(client, choice), choice)
    listed = list(_list(client, listing, choice))
    if as_json:
        print_line(json.dumps([asdict(model) for model in listed], ensure_ascii=False, indent=2))
    else:
        for line in _table([_HEADINGS, *(model.cells() for model in listed)]):
            print_line(line)
    failures = listing.failures()
    if not any(model.exportable for model in listed):
        failures = [f"{none_of(len(listed), 'model')} be read: {listed[0].reason}"]
    if failures:
        logger.error("%s", " ".join(failures))
    return 1 if failures else 0


def _list(client: SACClient, listing: Listing, choice: Choice) -> Iterator[ListedModel]:
    """Request all models from SAC, with a progress line."""
    chosen = models_to_read(listing, choice)
    found = read_each_model(
        choice.settings["max_parallel_requests"],
        chosen,
        lambda model: _describe(client, model, listing),
    )
    with PROGRESS_LINE.shown(beside_output=True):
        for model, result in found:
            yield _unreadable(model, _why(result)) if isinstance(result, SACError) else result


def _describe(client: SACClient, model: Provider, listing: Listing) -> ListedModel:
    """Request the ``$metadata`` of a model, and the number of its rows."""
    metadata = read_metadata(client, model)
    if reason := metadata.unreadable.get(FACTS):
        return _unreadable(model, reason)
    if not metadata.entity_sets:
        return _unreadable(model, "$metadata describes no table")
    dimensions = measures = None
    for facts in metadata.entity_sets:
        if facts.name == FACTS:
            names = (item.name for item in facts.properties if item.name not in facts.key)
            dimensions, measures = facts.key, tuple(names)
    entity_sets = [item.name for item in metadata.entity_sets]
    streams = stream_names(
        listing.prefixes, ((model, name) for name in (*entity_sets, *metadata.unreadable))
    )
    return ListedModel(
        id=model.provider_id,
        name=model.name,
        namespace=model.namespace_id,
        dimensions=dimensions,
        measures=measures,
        rows=_count(client, model, FACTS if FACTS in entity_sets else entity_sets[0]),
        exportable=True,
        streams=tuple(streams[model, name] for name in entity_sets),
    )


def _count(client: SACClient, model: Provider, entity_set: str) -> int | None:
    return CountedTable(
        client,
        client.entity_set_url(model, entity_set),
        {},
        order=(),
        count_request=CountRequest.WITH_READ,
    ).count()


def _unreadable(model: Provider, reason: str) -> ListedModel:
    return ListedModel(model.provider_id, model.name, model.namespace_id, reason=one_line(reason))


def _why(error: SACError) -> str:
    """Explain briefly, for a table cell, why a model cannot be read."""
    causes = causes_of(error)
    if not isinstance(error, ResponseError) or not causes[0].what:
        return str(error)
    return f"{causes[0].what}; SAC answered {error.reason}"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Align the columns: text to the left, numbers to the right."""
    safe = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*safe, strict=True)]
    for row in safe:
        cells = [
            f"{cell:>{width}}" if heading in _NUMBERS else f"{cell:<{width}}"
            for cell, width, heading in zip(row, widths, _HEADINGS, strict=True)
        ]
        yield "  ".join(cells).rstrip()
