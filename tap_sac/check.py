"""``--check``: the way that a sync goes, step by step, and why it ends where it ends."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from tap_sac.sac.errors import (
    LIVE_MODEL,
    NEO_TENANT,
    NO_DATA_EXPORT,
    NOT_SHARED,
    OTHER_REGION,
    WRONG_HOST,
    WRONG_SECRET,
    WRONG_TOKEN_URL,
    Cause,
    ResponseError,
    SACError,
    UnknownEntitySetError,
    one_line,
)
from tap_sac.streams import ChangeTrackedStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tap_sac.sac.client import Provider, SACClient
    from tap_sac.streams import EntitySetStream

logger = logging.getLogger(__name__)

# What a refusal may mean at each step, the likeliest first: a step that was taken rules out most
# of what would have ended it. What an error tells of itself, such as a timeout, is not here.
_LIKELY: dict[str, tuple[Cause, ...]] = {
    "settings": (),
    "token": (WRONG_SECRET, WRONG_TOKEN_URL, NEO_TENANT),
    "namespaces": (NO_DATA_EXPORT, WRONG_HOST, OTHER_REGION, NEO_TENANT),
    "providers": (NO_DATA_EXPORT, WRONG_HOST),
    "$metadata": (NOT_SHARED, LIVE_MODEL, NO_DATA_EXPORT, WRONG_HOST),
    "rows": (NOT_SHARED, NO_DATA_EXPORT, WRONG_HOST),
    "subscriptions": (NO_DATA_EXPORT, NOT_SHARED, WRONG_HOST),
}


class CheckError(SACError):
    """A step failed.

    Attributes:
        step: Its name.
        causes: What most likely caused it, and what to do, the likeliest first; none if the
            message says it all.
    """

    def __init__(self, step: str, error: SACError) -> None:
        """Find the causes of an error, in the light of the steps before it."""
        super().__init__(str(error))
        self.step = step
        told, likely = error.causes, _LIKELY[step]
        if told and set(told) <= set(likely):
            told = tuple(sorted(likely, key=lambda cause: cause not in told))
        self.causes = told


class Check:
    """Walks the way of a sync, as far as the first rows of one model."""

    def __init__(
        self,
        client: Callable[[], SACClient],
        choose: Callable[[Sequence[Provider]], list[Provider]],
        discover: Callable[[Sequence[Provider], Sequence[Provider]], list[EntitySetStream]],
    ) -> None:
        """Keep what a sync would use.

        Args:
            client: Makes the client, from the settings.
            choose: Picks the models that the settings and the catalog name.
            discover: Finds the streams of those, given all of the tenant's models and the chosen.
        """
        self._make_client = client
        self._choose = choose
        self._discover = discover

    def steps(self) -> Iterator[tuple[str, str]]:
        """Take the steps; gives the name of each, and what it found.

        Raises:
            CheckError: If a step fails.
        """
        step = "settings"
        try:
            client = self._make_client()
            yield step, f"the tenant is {client.origin}"
            step = "token"
            client.authenticate()
            yield step, "the OAuth client gets one"
            step = "namespaces"
            yield step, ", ".join(map(one_line, client.namespaces()))
            step = "providers"
            providers = client.providers()
            chosen = self._choose(providers)
            yield step, f"{len(providers)} in SAC, {len(chosen)} chosen"
            step = "$metadata"
            streams = self._discover(providers, chosen)
            selected = [stream for stream in streams if stream.selected]
            yield step, f"{len(streams)} streams of models, {len(selected)} of them selected"
            step = "rows"
            # Audit data needs more than the rest: an administrator, and Data Audit.
            audit_data = [item for item in selected if item.entity_set_name == "AuditData"]
            others = [stream for stream in selected if stream not in audit_data]
            for streams in filter(None, (others, audit_data)):
                yield step, _first_page(streams)
            if not selected:
                yield step, "no stream of a model is selected"
            tracked = [
                stream
                for stream in selected
                if isinstance(stream, ChangeTrackedStream) and stream.is_log_based
            ]
            if tracked:
                step = "subscriptions"
                yield step, _count_subscriptions(tracked[0])
        except SACError as error:
            raise CheckError(step, error) from None


def _first_page(streams: Sequence[EntitySetStream]) -> str:
    """Read a page of facts, or of what SAC serves: a sync skips streams that it does not serve."""
    for stream in sorted(streams, key=lambda stream: stream.entity_set_name != "FactData"):
        try:
            return f"the first page of {stream.name} has {stream.read_first_page()} rows"
        except UnknownEntitySetError as error:  # noqa: PERF203  (one request each)
            logger.warning("A sync will skip the stream %s: %s", stream.name, error)
    return f"SAC serves none of {', '.join(stream.name for stream in streams)}"


def _count_subscriptions(stream: ChangeTrackedStream) -> str:
    """Count them where SAC lists them: a sync does without, where it does not."""
    try:
        return f"{len(stream.subscriptions())} to the changes of {stream.name}"
    except ResponseError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return "SAC does not list them here, so that a sync will not delete any"
