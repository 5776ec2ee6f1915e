"""``--check``: the way that a sync goes, step by step, and why it ends where it ends."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from tap_sac.csdl import CSDLError, read_csdl
from tap_sac.errors import APP_INTEGRATION, ResponseError, SACError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tap_sac.client import Provider, SACClient

_NO_DATA_EXPORT = (
    f"The OAuth client lacks the access Data Export Service: tick it under {APP_INTEGRATION}."
)
_WRONG_HOST = (
    "The host is of the wrong family: some tenants answer on only one of *.hcs.cloud.sap and "
    "*.sapanalytics.cloud, so try the other one in the setting tenant_url."
)
_NEO = (
    "The tenant is on SAP's Neo platform (a region of one digit, such as eu1), which has no Data "
    "Export Service."
)
_NETWORK = (
    "A proxy or a certificate is in the way: set HTTPS_PROXY, or name your company's CA bundle in "
    "REQUESTS_CA_BUNDLE."
)
_NOT_SHARED = (
    "The model is not shared with the OAuth client, or was deleted: look for it in SAC's files, or "
    "leave it out of the setting models."
)
_LIVE = (
    "The model is a live connection, whose rows are not in SAC: leave it out of the setting models."
)
_AUDIT = (
    "Data Audit is off (3905): switch it on in the model's settings, or deselect its audit data."
)
_WRONG_TOKEN_URL = (
    "The Token URL is that of another tenant, or the OAuth2SAML Token URL: copy the Token URL that "
    f"SAC shows under {APP_INTEGRATION} into the setting token_url."
)
_SECRET = (
    "The secret has expired or is mistyped: make a new one under "
    f"{APP_INTEGRATION}, and set client_id and client_secret."
)

# The most likely causes of a failure at each step, in order.
_CAUSES: dict[str, tuple[str, ...]] = {
    "settings": (_WRONG_TOKEN_URL, _NEO),
    "token": (_SECRET, _WRONG_TOKEN_URL, _NEO, _NETWORK),
    "models": (_NO_DATA_EXPORT, _WRONG_HOST, _NEO, _NETWORK),
    "$metadata": (_NOT_SHARED, _LIVE, _NO_DATA_EXPORT),
    "rows": (_NOT_SHARED, _AUDIT, _NO_DATA_EXPORT),
    "subscriptions": (_NO_DATA_EXPORT, _NOT_SHARED),
}
_CAUSE_BY_STATUS: dict[int, str] = {
    HTTPStatus.FORBIDDEN: _NO_DATA_EXPORT,
    HTTPStatus.PRECONDITION_FAILED: _LIVE,
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


def _told_by(error: SACError) -> tuple[str, ...]:
    """Find the causes that the error alone tells, whatever the step."""
    if isinstance(error, TransientError):
        return (_NETWORK,)
    if isinstance(error, ResponseError) and error.status in _CAUSE_BY_STATUS:
        return (_CAUSE_BY_STATUS[error.status],)
    return ()


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
