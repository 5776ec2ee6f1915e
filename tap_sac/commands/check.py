"""``--check``: the way of a sync, step by step, and why it ends where it ends."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from tap_sac.causes import causes_of
from tap_sac.sac.errors import ResponseError, SACError, UnknownEntitySetError
from tap_sac.sac.export.kinds import FACTS
from tap_sac.sac.failures import Step
from tap_sac.safety.text import log_safe
from tap_sac.streams.entity_set import EntitySetStream
from tap_sac.streams.tracked import ChangeTrackedStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from singer_sdk import Stream

    from tap_sac.discovery.discover import Discovery
    from tap_sac.sac.oauth.user import User

logger = logging.getLogger(__name__)


class CheckError(Exception):
    """A step failed.

    Attributes:
        step: Its name.
        error: Why.
    """

    def __init__(self, step: str, error: SACError) -> None:
        """Note the step."""
        super().__init__(step)
        self.step = step
        self.error = error


class Check:
    """Walks the way of a sync, as far as the first rows of one model."""

    def __init__(
        self,
        discovery: Discovery,
        streams: Callable[[], Mapping[str, Stream]],
        *,
        is_sample: bool,
    ) -> None:
        """Keep what a sync would use.

        Args:
            discovery: What the tenant offers.
            streams: Makes the streams of that, as the catalog has them.
            is_sample: Whether the tenant is the sample tenant.
        """
        self._discovery = discovery
        self._streams = streams
        self._is_sample = is_sample

    def run(self, print_line: Callable[[str], None]) -> int:
        """Take the steps, and print what each found, or the causes of the failure.

        Returns:
            The exit code: 1 if a step failed, else 0.
        """
        try:
            for step, found in self.steps():
                print_line(f"ok      {step}: {found}")
        except CheckError as failed:
            causes = causes_of(failed.error)
            if len(causes) <= 1:
                print_line(f"FAILED  {failed.step}: {failed.error}")
                return 1
            print_line(f"FAILED  {failed.step}: {failed.error.what}")
            print_line("Most likely causes, in this order:")
            for number, cause in enumerate(causes, 1):
                print_line(f"{number}. {cause}")
            return 1
        return 0

    def steps(self) -> Iterator[tuple[str, str]]:
        """Take the steps; gives the name of each, and what it found.

        Raises:
            CheckError: If a step fails.
        """
        discovery = self._discovery
        step = "settings"
        try:
            client = discovery.client
            kind = "sample tenant, a made-up company, not SAC," if self._is_sample else "tenant"
            yield step, f"the {kind} is {client.origin}"
            step = Step.TOKEN.value
            client.authenticate()
            yield step, _reader(client.user)
            step = Step.NAMESPACES.value
            namespaces = discovery.namespaces
            yield step, ", ".join(map(log_safe, namespaces.chosen))
            step = Step.PROVIDERS.value
            found = f"{len(namespaces.everything)} in SAC, {len(discovery.chosen)} chosen"
            self._check_failure()  # Of a namespace: no model has been asked yet.
            yield step, found
            step = Step.METADATA.value
            streams = self._streams_of_models()
            selected = [stream for stream in streams if stream.selected]
            yield step, f"{len(streams)} streams, {len(selected)} of them selected"
            step = Step.ROWS.value
            # Audit data needs more than the rest: an administrator, and Data Audit.
            demanding = [stream for stream in selected if stream.kind.needs_administrator]
            others = [stream for stream in selected if stream not in demanding]
            for streams in filter(None, (others, demanding)):
                yield step, _first_page(streams)
            if not selected:
                discovery.check_selection()
                yield step, "no stream of a model is selected"
            if facts := [stream for stream in selected if stream.verifies_totals]:
                step = "totals"
                yield step, _compared(facts)
            tracked = [
                stream
                for stream in selected
                if isinstance(stream, ChangeTrackedStream) and stream.is_log_based
            ]
            if tracked:
                step = Step.SUBSCRIPTIONS.value
                yield step, _count_subscriptions(tracked[0])
        except SACError as error:
            raise CheckError(step, error) from None

    def _streams_of_models(self) -> list[EntitySetStream]:
        streams = self._streams()
        self._check_failure()
        found = (streams[offered.name] for offered in self._discovery.offered)
        return [stream for stream in found if isinstance(stream, EntitySetStream)]

    def _check_failure(self) -> None:
        if failure := self._discovery.failure or self._discovery.streams_failure:
            raise SACError(failure)


def _first_page(streams: Sequence[EntitySetStream]) -> str:
    """Read a page of facts, or of what SAC serves: a sync skips streams that it does not serve."""
    for stream in sorted(streams, key=lambda stream: stream.entity_set.name != FACTS):
        try:
            return f"the first page of {stream.name} has {stream.read_first_page()} rows"
        except UnknownEntitySetError as error:  # noqa: PERF203  (one request each)
            logger.warning("A sync will skip the stream %s: %s", stream.name, error)
    return f"SAC serves none of {', '.join(stream.name for stream in streams)}"


def _compared(streams: Sequence[EntitySetStream]) -> str:
    """Say whose totals a sync compares with SAC's own, which one of the streams tries out."""
    compared, others = 0, []
    for stream in streams:
        why = stream.hindrance_to_totals(stream.columns)
        if not why and not compared and (totals := stream.totals(stream.columns)):
            totals.begin()
            why = totals.refusal
        if why:
            others.append(f"; those of {stream.name} are not compared, because {log_safe(why)}")
        else:
            compared += 1
    return f"compared for {compared} of {len(streams)} streams of facts{''.join(others)}"


def _reader(person: User | None) -> str:
    """Say as whom SAC answers."""
    if person is None:
        return "the OAuth client gets one, and reads as itself (2-legged)"
    name = person.name or "somebody whom the token does not name"
    return f"it belongs to {name}, whose rights SAC applies (3-legged)"


def _count_subscriptions(stream: ChangeTrackedStream) -> str:
    """Count them where SAC lists them: a sync does without, where it does not."""
    try:
        return f"{len(stream.subscriptions.list())} to the changes of {stream.name}"
    except ResponseError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return "SAC does not list them here, so a sync will not delete any"
