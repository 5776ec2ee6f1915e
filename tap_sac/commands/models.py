"""``--models``: what is in a tenant, how large it is, and whether SAC exports it."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tap_sac.causes import causes_of
from tap_sac.sac.errors import ResponseError, SACError
from tap_sac.sac.export.kinds import FACTS
from tap_sac.sac.export.tables import CountedTable, CountsWith
from tap_sac.safety.masks import one_line
from tap_sac.terminal import STATUS_LINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tap_sac.discovery.discover import Discovery
    from tap_sac.sac.odata.csdl import Metadata
    from tap_sac.sac.odata.model import Provider

logger = logging.getLogger(__name__)

_HEADINGS = ("ID", "NAME", "NAMESPACE", "DIMENSIONS", "MEASURES", "ROWS", "EXPORTABLE")
_NUMBERS = ("DIMENSIONS", "MEASURES", "ROWS")
_UNKNOWN = "-"


@dataclass(frozen=True)
class ListedModel:
    """A model, or another thing that SAC exports, as programs get it.

    Attributes:
        id: Its id, which is unique within its namespace.
        name: Its name, which others may share.
        namespace: ``sac`` for models.
        dimensions: The dimensions of its facts; None if it has no facts, or is not exportable.
        measures: The measures of its facts; None like `dimensions`.
        rows: How many facts SAC counts, or rows of its first table if it has no facts; None if SAC
            does not say.
        exportable: Whether it can be read.
        reason: Why not; None if it can.
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
        """Write it as a row of the table."""
        return (
            self.id,
            self.name,
            self.namespace,
            _UNKNOWN if self.dimensions is None else str(len(self.dimensions)),
            _UNKNOWN if self.measures is None else str(len(self.measures)),
            _UNKNOWN if self.rows is None else f"{self.rows:,}",
            f"no: {self.reason}" if self.reason else "yes",
        )


class Models:
    """Lists the models that the settings choose."""

    def __init__(self, discovery: Discovery) -> None:
        """Keep what a sync would use.

        Args:
            discovery: What the tenant offers.
        """
        self._discovery = discovery

    def run(self, print_line: Callable[[str], None], *, as_json: bool) -> int:
        """Ask SAC for all models, and print them when all have answered.

        Args:
            print_line: Writes to standard output.
            as_json: Whether to write JSON for programs, instead of a table for people.

        Returns:
            The exit code: 1 if no model can be read, or a namespace that must not be missing is.

        Raises:
            SACError: If SAC refuses the sign-in, a setting names what is not there, or the like.
        """
        models = list(self._with_progress(self._list()))
        if as_json:
            print_line(
                json.dumps([asdict(model) for model in models], ensure_ascii=False, indent=2)
            )
        else:
            for line in _table([_HEADINGS, *(model.cells() for model in models)]):
                print_line(line)
        failure = self._discovery.failure
        if not any(model.exportable for model in models):
            failure = f"None of the {len(models)} models can be read: {models[0].reason}"
        if failure:
            logger.error("%s", failure)
        return 1 if failure else 0

    def _list(self) -> Iterator[ListedModel]:
        for provider, found in self._discovery.of_each_model(self._look_at):
            yield _unreadable(provider, _why(found)) if isinstance(found, SACError) else found

    def _look_at(self, provider: Provider) -> ListedModel:
        """Ask for the description of a model, and for the number of its rows.

        Raises:
            SACError: If the description cannot be had.
        """
        metadata = self._discovery.metadata_of(provider)
        if reason := metadata.unreadable.get(FACTS):
            return _unreadable(provider, reason)
        if not metadata.entity_sets:
            return _unreadable(provider, "$metadata describes no table")
        dimensions = measures = None
        for facts in metadata.entity_sets:
            if facts.name == FACTS:
                names = (item.name for item in facts.properties if item.name not in facts.key)
                dimensions, measures = facts.key, tuple(names)
        streams = self._discovery.stream_names(
            (provider, name)
            for name in (*(item.name for item in metadata.entity_sets), *metadata.unreadable)
        )
        return ListedModel(
            id=provider.provider_id,
            name=provider.name,
            namespace=provider.namespace_id,
            dimensions=dimensions,
            measures=measures,
            rows=self._count(provider, metadata),
            exportable=True,
            streams=tuple(streams[provider, item.name] for item in metadata.entity_sets),
        )

    def _count(self, provider: Provider, metadata: Metadata) -> int | None:
        names = [item.name for item in metadata.entity_sets]
        client = self._discovery.client
        return CountedTable(
            client,
            client.entity_set_url(provider, FACTS if FACTS in names else names[0]),
            {},
            order=(),
            counts_with=CountsWith.THE_READ,
        ).count()

    def _with_progress(self, models: Iterator[ListedModel]) -> Iterator[ListedModel]:
        """Show a person how far it is."""
        total = len(self._discovery.chosen)
        with STATUS_LINE.shown(beside_output=True):
            for number, model in enumerate(models, 1):
                STATUS_LINE.say(f"{number} of {total} models")
                yield model


def _unreadable(provider: Provider, reason: str) -> ListedModel:
    return ListedModel(
        provider.provider_id, provider.name, provider.namespace_id, reason=one_line(reason)
    )


def _why(error: SACError) -> str:
    """Say why a model cannot be read, in a cell of a table."""
    causes = causes_of(error)
    if not isinstance(error, ResponseError) or not causes[0].what:
        return str(error)
    return f"{causes[0].what}; SAC answered {error.reason}"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Align columns: texts on the left, numbers on the right, the last one as it is."""
    safe = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*safe, strict=True)]
    for row in safe:
        cells = [
            f"{cell:>{width}}" if heading in _NUMBERS else f"{cell:<{width}}"
            for cell, width, heading in zip(row, widths, _HEADINGS, strict=True)
        ]
        yield "  ".join(cells).rstrip()
