"""The client of a SAC tenant: each endpoint once.

The service is described in SAP Help, "SAP Analytics Cloud REST API", chapter "Data Export
Service".
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import requests

from tap_sac.sac.errors import SACError, TransientError, during
from tap_sac.sac.failures import Failure, Step
from tap_sac.sac.http.answer import Answer
from tap_sac.sac.http.refusals import (
    asks_for_csrf_token,
    refusal,
    response_error,
    web_page_error,
)
from tap_sac.sac.http.transport import HEADER_VALUE, Limit
from tap_sac.sac.oauth.sender import Sender
from tap_sac.sac.odata.links import follow
from tap_sac.sac.odata.model import Provider
from tap_sac.sac.odata.pages import Page, read_page, source_of
from tap_sac.sac.urls import (
    is_api_host,
    other_origin,
    path_segment,
    provider_key,
    string_literal,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_sac.sac.http.transport import Transport
    from tap_sac.sac.oauth.bearer import BearerAuthenticator
    from tap_sac.sac.oauth.user import User

ResponseObserver = Callable[[Answer], None]

_ASKED_LIMIT = Limit(64 * 1024**2, Failure.HUGE_PAGE)
_METADATA_LIMIT = Limit(512 * 1024**2, Failure.BROKEN_METADATA)
_JSON = {"Accept": "application/json"}
_TRACKED = {**_JSON, "Prefer": "odata.track-changes"}


class SACClient:
    """Sends all requests to one tenant, from any number of threads.

    Methods that send requests raise a `SACError` if SAC refuses or does not answer, or if there is
    no token.

    Attributes:
        origin: Scheme, host and port of the tenant.
        service_root: The root URL of the service.
        administration: The URL of the administration service: namespaces, providers, subscriptions.
        authenticator: Adds tokens to the requests.
    """

    def __init__(
        self, origin: str, *, transport: Transport, authenticator: BearerAuthenticator
    ) -> None:
        """Make a client for an origin (`tenant_origin`); nothing is requested yet."""
        self.origin = origin
        # One of the tenant's two addresses, which identifies it in states.
        self.tenant = (other_origin(origin) if is_api_host(origin) else None) or origin
        self.service_root = f"{origin}/api/v1/dataexport"
        self.administration = f"{self.service_root}/administration"
        self.transport = transport
        self.authenticator = authenticator
        self._sender = Sender(transport, authenticator)

    def sign(self, text: str) -> str:
        """Sign a text about this tenant, so that the same OAuth client can verify it."""
        return self.authenticator.sign(f"{self.tenant.lower()}\n{text}")

    def has_signed(self, text: str, signature: str) -> bool:
        """Return whether this OAuth client signed the text about this tenant."""
        # Older versions signed with the address as configured.
        made = (self.sign(text), self.authenticator.sign(f"{self.origin}\n{text}"))
        return signature.isascii() and any(hmac.compare_digest(item, signature) for item in made)

    def authenticate(self) -> None:
        """Fetch a token eagerly; requests do so on demand."""
        request = requests.Request("GET", self.origin)
        for attempt in self.transport.tries():
            with attempt:
                self.authenticator(self.transport.session.prepare_request(request))

    @property
    def user(self) -> User | None:
        """The user whose permissions SAC applies; None for the OAuth client itself (2-legged)."""
        if self.authenticator.acts_as_user and self.authenticator.user is None:
            self.authenticate()
        return self.authenticator.user

    def namespaces(self) -> list[str]:
        """List the namespaces; ``sac`` has the models."""
        return [
            str(row["NamespaceID"])
            for page in self.pages(f"{self.administration}/Namespaces", step=Step.NAMESPACES)
            for row in page.rows
            if row.get("NamespaceID")
        ]

    def providers(self, namespace: str, *, is_vital: bool = True) -> list[Provider]:
        """List the providers of a namespace: its models, public dimensions and the like.

        Only a vital list is retried.
        """
        read = self.page_with_retries if is_vital else partial(self.page, repeats=False)
        pages = follow(self.providers_url(namespace), partial(read, step=Step.PROVIDERS))
        return [
            Provider(
                namespace_id=str(row["NamespaceID"]),
                provider_id=str(row["ProviderID"]),
                name=str(row.get("ProviderName") or ""),
            )
            for page in pages
            for row in page.rows
            if row.get("NamespaceID") and row.get("ProviderID")
        ]

    def metadata(self, provider: Provider) -> bytes:
        """Read the CSDL document of a model; a `ForeignAnswerError` if a gateway answers."""
        url = f"{self._provider_root(provider)}/$metadata"
        for attempt in self.transport.tries():
            with attempt, during(Step.METADATA):
                answer = self._sender.send(
                    "GET", url, {"Accept": "application/xml"}, limit=_METADATA_LIMIT
                )
                if answer.status == HTTPStatus.PRECONDITION_FAILED:
                    raise refusal(answer)  # A live connection, whatever the body says.
                if answer.status != HTTPStatus.OK:
                    raise response_error(answer)
                document = _metadata_document(answer)
        return document

    def entity_set_url(self, provider: Provider, entity_set: str) -> str:
        """Return the URL of an entity set."""
        return f"{self._provider_root(provider)}/{path_segment(entity_set)}"

    def pages(
        self,
        url: str,
        on_response: ResponseObserver | None = None,
        *,
        track_changes: bool = False,
        step: Step = Step.ROWS,
    ) -> Iterator[Page]:
        """Read an entity set page by page, as `page` and `follow` do, with retries."""
        read = partial(
            self.page_with_retries, on_response=on_response, track_changes=track_changes, step=step
        )
        return follow(url, read)

    def page_with_retries(
        self,
        url: str,
        on_response: ResponseObserver | None = None,
        *,
        track_changes: bool = False,
        step: Step = Step.ROWS,
    ) -> Page:
        """Request one page like `page`, with retries."""
        for attempt in self.transport.tries():
            with attempt:
                page = self.page(url, on_response, track_changes=track_changes, step=step)
        return page

    def page(
        self,
        url: str,
        on_response: ResponseObserver | None = None,
        *,
        track_changes: bool = False,
        step: Step = Step.ROWS,
        repeats: bool = True,
        is_optional: bool = False,
    ) -> Page:
        """Request one page, without retries.

        Args:
            url: The exact URL.
            on_response: Observes the answer, even a refusal.
            track_changes: Whether SAC should track changes from now on, and return a delta link
                (OData Protocol 4.0, 8.2.8.6).
            step: The step, for errors.
            repeats: Whether to wait and retry after a 503 with Retry-After, as always after a 429.
            is_optional: Whether the read can do without it, so that the tap waits less long.

        Raises:
            TransientError: If a retry may succeed.
            SACError: If SAC refuses, or the answer is not a page.
        """
        headers = _TRACKED if track_changes else _JSON
        with during(step):
            answer = self._sender.send(
                "GET", url, headers, on_response, repeats=repeats, is_optional=is_optional
            )
            if answer.status != HTTPStatus.OK:
                raise response_error(answer)
            return read_page(answer)

    def ask(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        """Send one request, and return any answer: refusals are informative, too."""
        return self._sender.send(method, url, {**_JSON, **headers}, limit=_ASKED_LIMIT)

    def subscriptions(self, provider: Provider) -> list[dict[str, Any]]:
        """List the change-tracking subscriptions of a model, including those of other clients.

        SAC writes missing values as null, or as the string ``null``; both are dropped.
        """
        url = f"{self.administration}/Providers({provider_key(provider)})/Subscriptions"
        return [
            {name: value for name, value in row.items() if value not in (None, "null")}
            for page in self.pages(url, step=Step.SUBSCRIPTIONS)
            for row in page.rows
        ]

    def delete_chain(self, provider: Provider, subscription_id: str) -> None:
        """Delete a subscription with its whole chain.

        Writing needs a CSRF token, which is bound to the session cookies. The direct API host needs
        none, so none is fetched there unless SAC asks for it (SAP Help, "CSRF").
        """
        literal = string_literal(subscription_id)
        url = (
            f"{self.administration}/Subscriptions"
            f"({provider_key(provider)},SubscriptionID={literal})?deleteChain=true"
        )
        with during(Step.SUBSCRIPTIONS):
            headers = {} if is_api_host(self.origin) else self._csrf_headers()
            answer = self._sender.send("DELETE", url, headers, repeats=False)
            if asks_for_csrf_token(answer) and (headers := self._csrf_headers()):
                answer = self._sender.send("DELETE", url, headers, repeats=False)
            if answer.status not in {HTTPStatus.NO_CONTENT, HTTPStatus.OK}:
                raise response_error(answer)

    def _csrf_headers(self) -> dict[str, str]:
        """Fetch a CSRF token from the documented endpoint, or with a request to the service itself.

        Some tenants do not serve the documented endpoint. If SAC returns no token, the request is
        sent without one.
        """
        for url in (f"{self.origin}/api/v1/csrf", f"{self.administration}/Namespaces"):
            with suppress(SACError):
                answer = self._sender.send("GET", url, {**_JSON, "x-csrf-token": "fetch"})
                token = answer.headers.get("x-csrf-token", "")
                if HEADER_VALUE.fullmatch(token) and token.lower() != "required":
                    return {"x-csrf-token": token}
        return {}

    def providers_url(self, namespace: str) -> str:
        """Return the URL that lists the providers of a namespace."""
        return (
            f"{self.administration}/Namespaces(NamespaceID={string_literal(namespace)})/Providers"
        )

    def _provider_root(self, provider: Provider) -> str:
        namespace, model = path_segment(provider.namespace_id), path_segment(provider.provider_id)
        return f"{self.service_root}/providers/{namespace}/{model}"


def _metadata_document(answer: Answer) -> bytes:
    start = answer.body[:1000].lower()
    if b"<html" in start or b"<!doctype html" in start:
        raise web_page_error(answer)
    if b"<" in start and not answer.body.rstrip(b"\0 \t\r\n").endswith(b">"):
        msg = f"{source_of(answer)} is truncated"
        raise TransientError(msg, Failure.DAMAGED_ANSWER)
    return answer.body
