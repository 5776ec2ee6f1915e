"""``--check``: the way that a sync goes, step by step, and why it ends where it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from singer_sdk.singerlib.catalog import REPLICATION_LOG_BASED

from tap_sac.errors import (
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
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tap_sac.client import Provider, SACClient
    from tap_sac.streams import EntitySetStream

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
        streams: Callable[[Sequence[Provider], Provider], list[EntitySetStream]],
    ) -> None:
        """Keep what a sync would use.

        Args:
            client: Makes the client, from the settings.
            choose: Picks the models that the settings and the catalog name.
            streams: Makes the selected streams of one of the tenant's models.
        """
        self._make_client = client
        self._choose = choose
        self._streams_of = streams

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
            yield step, ", ".join(client.namespaces())
            step = "providers"
            providers = client.providers()
            chosen = self._choose(providers)
            yield step, f"{len(providers)} in SAC, {len(chosen)} chosen"
            step = "$metadata"
            provider, streams = self._first_exported(providers, chosen)
            label = f"{provider.name} ({provider.provider_id})"
            yield step, f"{label} has {len(streams)} selected streams"
            step = "rows"
            for stream in _worth_a_page(streams):
                yield step, f"the first page of {stream.name} has {stream.read_first_page()}"
            if any(stream.replication_method == REPLICATION_LOG_BASED for stream in streams):
                step = "subscriptions"
                yield step, f"{len(client.subscriptions(provider))} of the model"
        except SACError as error:
            raise CheckError(step, error) from None

    def _first_exported(
        self, providers: Sequence[Provider], chosen: Sequence[Provider]
    ) -> tuple[Provider, list[EntitySetStream]]:
        """Find a model that SAC exports, as a sync skips those that it does not."""
        reason = SACError("No chosen model has a stream that is selected: select one.")
        for provider in chosen:
            try:
                streams = self._streams_of(providers, provider)
            except ResponseError as error:  # noqa: PERF203  (one request each)
                if not error.is_not_exported:
                    raise
                reason = error
            else:
                if streams:
                    return provider, streams
        raise reason


def _worth_a_page(streams: Sequence[EntitySetStream]) -> list[EntitySetStream]:
    """Pick the facts, or what comes first, and the audit data, which need more than the rest."""
    by_set = {stream.entity_set_name: stream for stream in streams}
    facts = by_set.get("FactData", streams[0])
    return [facts, *(stream for name, stream in by_set.items() if name == "AuditData")]
