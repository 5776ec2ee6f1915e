"""``--check``: the way that a sync goes, step by step, and why it ends where it ends."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from tap_sac.csdl import CSDLError, read_csdl
from tap_sac.errors import (
    AUDIT_OFF,
    LIVE_MODEL,
    NEO_TENANT,
    NO_CONNECTION,
    NO_DATA_EXPORT,
    NOT_SHARED,
    UNTRUSTED_CERTIFICATE,
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

# The most likely causes of a failure at each step, in order.
_CAUSES: dict[str, tuple[Cause, ...]] = {
    "settings": (WRONG_TOKEN_URL, NEO_TENANT),
    "token": (WRONG_SECRET, WRONG_TOKEN_URL, NEO_TENANT, NO_CONNECTION),
    "models": (NO_DATA_EXPORT, WRONG_HOST, NEO_TENANT, NO_CONNECTION),
    "$metadata": (NOT_SHARED, LIVE_MODEL, NO_DATA_EXPORT),
    "rows": (NOT_SHARED, AUDIT_OFF, NO_DATA_EXPORT),
    "subscriptions": (NO_DATA_EXPORT, NOT_SHARED),
}
_CAUSE_BY_STATUS: dict[int, Cause] = {
    HTTPStatus.FORBIDDEN: NO_DATA_EXPORT,
    HTTPStatus.PRECONDITION_FAILED: LIVE_MODEL,
}


class CheckError(SACError):
    """A step failed.

    Attributes:
        step: Its name.
        causes: What most likely caused it, and what to do, the likeliest first.
    """

    def __init__(self, step: str, error: SACError) -> None:
        """Find the causes of an error."""
        super().__init__(str(error))
        self.step = step
        self.causes = list(dict.fromkeys((*_told_by(error), *_CAUSES[step])))


def _told_by(error: SACError) -> tuple[Cause, ...]:
    """Find the causes that the error alone tells, whatever the step."""
    if isinstance(error, ResponseError) and error.is_not_exported:
        told = [_CAUSE_BY_STATUS.get(error.status)]
    else:
        known = (UNTRUSTED_CERTIFICATE, NO_CONNECTION, WRONG_HOST)
        told = [cause for cause in known if cause.next_step in str(error)]
    return tuple(cause for cause in told if cause)


class Check:
    """Walks the way of a sync, as far as one row of one model."""

    def __init__(
        self,
        client: Callable[[], SACClient],
        choose: Callable[[Sequence[Provider]], list[Provider]],
        *,
        is_log_based: bool,
    ) -> None:
        """Keep what a sync would use.

        Args:
            client: Makes the client, from the settings.
            choose: Picks the models that the settings name.
            is_log_based: Whether changes are tracked.
        """
        self._make_client = client
        self._choose = choose
        self._is_log_based = is_log_based

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
            step = "models"
            providers = client.providers()
            chosen = self._choose(providers)
            yield step, f"{len(providers)} in SAC, {len(chosen)} chosen by the settings"
            step = "$metadata"
            provider, names = self._first_exported(client, chosen)
            label = f"{provider.name} ({provider.provider_id})"
            yield step, f"{label} has {len(names)} entity sets"
            step = "rows"
            name = "FactData" if "FactData" in names else names[0]
            page = next(client.pages(client.entity_set_url(provider, name)))
            yield step, f"the first page of {name} has {len(page.rows)}"
            if self._is_log_based:
                step = "subscriptions"
                yield step, f"{len(client.subscriptions(provider))} of the model"
        except CSDLError as error:
            raise CheckError(
                step, SACError(f"The model cannot be read, because {error}.")
            ) from None
        except SACError as error:
            raise CheckError(step, error) from None

    @staticmethod
    def _first_exported(
        client: SACClient, providers: Sequence[Provider]
    ) -> tuple[Provider, list[str]]:
        """Find a model that SAC exports, as a sync skips those that it does not."""
        reason = SACError("No model has an entity set: check that tenant_url is the right tenant.")
        for provider in providers:
            try:
                entity_sets = read_csdl(client.metadata(provider))
            except ResponseError as error:  # noqa: PERF203  (one request each)
                if not error.is_not_exported:
                    raise
                reason = error
            else:
                if entity_sets:
                    return provider, [item.name for item in entity_sets]
        raise reason
