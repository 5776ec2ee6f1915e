"""A SAC tenant: every call that the tap makes to it, once each.

The service is described in SAP Help, "SAP Analytics Cloud REST API", chapter "Data Export
Service".
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import requests

from tap_sac.sac.errors import ResponseError, SACError, TransientError, during
from tap_sac.sac.failures import Failure, Step
from tap_sac.sac.http.answer import Answer
from tap_sac.sac.http.refusals import refusal, response_error, web_page_error
from tap_sac.sac.http.transport import HEADER_VALUE, PAGE_LIMIT, Limit
from tap_sac.sac.odata.model import Provider
from tap_sac.sac.odata.pages import Page, follow, read_page, source_of
from tap_sac.sac.urls import path_segment, provider_key, string_literal, with_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tenacity import Retrying

    from tap_sac.sac.http.transport import Transport
    from tap_sac.sac.oauth.auth import BearerAuthenticator
    from tap_sac.sac.oauth.user import Person

ResponseObserver = Callable[[Answer], None]

logger = logging.getLogger(__name__)

_METADATA_LIMIT = Limit(512 * 1024**2, Failure.BROKEN_METADATA)
_JSON = {"Accept": "application/json"}
_TRACKED = {**_JSON, "Prefer": "odata.track-changes"}


class SACClient:
    """Makes every call to one tenant, from any number of threads."""

    def __init__(
        self, origin: str, *, transport: Transport, authenticator: BearerAuthenticator
    ) -> None:
        """Make a client; nothing is requested yet.

        Args:
            origin: Scheme, host and port (`tenant_origin`).
            transport: Sends the requests.
            authenticator: Puts the bearer token on them.
        """
        self.origin = origin
        self._service_root = f"{origin}/api/v1/dataexport"
        self._administration = f"{self._service_root}/administration"
        self._transport = transport
        self._authenticator = authenticator

    def stop(self) -> None:
        """Send no more requests, whatever is still to be done."""
        self._transport.stop()

    @property
    def max_tries(self) -> int:
        """How often a request is sent at most."""
        return self._transport.max_tries

    def tries(self) -> Retrying:
        """Try something as often as the settings allow (`Transport.tries`)."""
        return self._transport.tries()

    def sign(self, text: str) -> str:
        """Sign a text about this tenant, so that the same OAuth client knows it again."""
        return self._authenticator.sign(f"{self.origin}\n{text}")

    def authenticate(self) -> None:
        """Get a token now, which a request would do by itself.

        Raises:
            SACError: If no token can be obtained.
        """
        request = requests.Request("GET", self.origin)
        for attempt in self.tries():
            with attempt:
                self._authenticator(self._transport.session.prepare_request(request))

    @property
    def person(self) -> Person | None:
        """Whose rights decide on what SAC gives; None for the OAuth client itself (2-legged).

        Raises:
            SACError: If no token can be obtained.
        """
        if self._authenticator.acts_as_person and self._authenticator.person is None:
            self.authenticate()
        return self._authenticator.person

    def namespaces(self) -> list[str]:
        """List what providers are grouped by: ``sac`` for models.

        Raises:
            SACError: If SAC refuses.
        """
        return [
            str(row["NamespaceID"])
            for page in self.pages(f"{self._administration}/Namespaces", step=Step.NAMESPACES)
            for row in page.rows
            if row.get("NamespaceID")
        ]

    def providers(self, namespace: str, *, is_vital: bool = True) -> list[Provider]:
        """List the models, and the like, of a namespace.

        Args:
            namespace: Its id.
            is_vital: Whether to ask again for what may pass.

        Raises:
            SACError: If SAC does not list them.
        """
        url = self._providers_url(namespace)
        pages = (
            self.pages(url, step=Step.PROVIDERS)
            if is_vital
            else follow(url, lambda page_url: self.page(page_url, step=Step.PROVIDERS))
        )
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

    def provider_pages(
        self, namespace: str, query: Mapping[str, str], on_response: ResponseObserver
    ) -> Iterator[Page]:
        """Read the list of a namespace's providers, as SAC has it.

        Args:
            namespace: Its id.
            query: Query options such as ``$filter``.
            on_response: Is given each answer.

        Raises:
            SACError: If SAC does not list them.
        """
        url = with_query(self._providers_url(namespace), query)
        return self.pages(url, on_response, step=Step.PROVIDERS)

    def metadata(self, provider: Provider) -> bytes:
        """Read the CSDL document of a model.

        Raises:
            ResponseError: If SAC refuses.
            ForeignAnswerError: If somebody else does.
            SACError: If a web page comes instead, or no answer.
        """
        url = f"{self._provider_root(provider)}/$metadata"
        for attempt in self.tries():
            with attempt, during(Step.METADATA):
                answer = self._send(
                    "GET", url, {"Accept": "application/xml"}, limit=_METADATA_LIMIT
                )
                if answer.status == HTTPStatus.PRECONDITION_FAILED:
                    raise refusal(answer)  # Of a live connection, whatever the body.
                if answer.status != HTTPStatus.OK:
                    raise response_error(answer)
                document = _metadata_document(answer)
        return document

    def entity_set_url(self, provider: Provider, entity_set: str) -> str:
        """Return where the rows of an entity set are."""
        return f"{self._provider_root(provider)}/{path_segment(entity_set)}"

    def pages(
        self,
        url: str,
        on_response: ResponseObserver | None = None,
        *,
        track_changes: bool = False,
        step: Step = Step.ROWS,
    ) -> Iterator[Page]:
        """Read a table from its first page to its last, trying again what may pass.

        Args:
            url: The first page.
            on_response: Is given each answer, also those that are not a success.
            track_changes: Whether SAC shall remember this read, and give a link to what changes
                after it (OData Protocol 4.0, 8.2.8.6).
            step: What is read, for errors.

        Raises:
            SACError: As `page` and `follow` do.
        """

        def read(page_url: str) -> Page:
            for attempt in self.tries():
                with attempt:
                    page = self.page(page_url, on_response, track_changes=track_changes, step=step)
            return page

        return follow(url, read)

    def page(
        self,
        url: str,
        on_response: ResponseObserver | None = None,
        *,
        track_changes: bool = False,
        step: Step = Step.ROWS,
    ) -> Page:
        """Ask for one page, once.

        Args:
            url: Exactly where it is.
            on_response: As of `pages`, like `track_changes`.
            track_changes: Whether SAC shall remember this read.
            step: What is read, for errors.

        Raises:
            TransientError: If another try may succeed.
            SACError: If SAC refuses, or the answer is not a page.
        """
        headers = _TRACKED if track_changes else _JSON
        with during(step):
            return read_page(self._get(url, headers, on_response))

    def subscriptions(self, provider: Provider) -> list[dict[str, Any]]:
        """List the change-tracking subscriptions of a model, of this client and of others.

        SAC writes missing values as null, or as the string ``null``: both are left out.

        Raises:
            SACError: If SAC does not list them.
        """
        url = f"{self._administration}/Providers({provider_key(provider)})/Subscriptions"
        return [
            {name: value for name, value in row.items() if value not in (None, "null")}
            for page in self.pages(url, step=Step.SUBSCRIPTIONS)
            for row in page.rows
        ]

    def delete_chain(self, provider: Provider, subscription_id: str) -> None:
        """Delete the chain that a subscription belongs to.

        Writing needs a CSRF token, which is bound to the cookies of the session; SAC may ask for
        a new one.

        Raises:
            SACError: If SAC does not delete it.
        """
        literal = string_literal(subscription_id)
        url = (
            f"{self._administration}/Subscriptions"
            f"({provider_key(provider)},SubscriptionID={literal})?deleteChain=true"
        )
        with during(Step.SUBSCRIPTIONS):
            for _ in range(2):
                answer = self._send("DELETE", url, {"x-csrf-token": self._csrf_token()})
                if answer.headers.get("x-csrf-token", "").lower() != "required":
                    break
            if answer.status not in {HTTPStatus.NO_CONTENT, HTTPStatus.OK}:
                raise response_error(answer)

    def _csrf_token(self) -> str:
        """Fetch a token where SAC documents it, or else with the first of the service's own calls.

        Some tenants do not serve the documented endpoint.
        """
        headers = {**_JSON, "x-csrf-token": "fetch"}
        try:
            answer = self._get(f"{self.origin}/api/v1/csrf", headers)
        except (ResponseError, TransientError) as error:
            logger.debug("%s", error)
            token = ""
        else:
            token = answer.headers.get("x-csrf-token", "")
        if not HEADER_VALUE.fullmatch(token):
            answer = self._get(f"{self._administration}/Namespaces", headers)
            token = answer.headers.get("x-csrf-token", "")
        if not HEADER_VALUE.fullmatch(token):
            msg = "SAC gave no CSRF token, without which nothing can be written"
            raise SACError(msg, Failure.BROKEN_PROTOCOL)
        return token

    def _providers_url(self, namespace: str) -> str:
        return (
            f"{self._administration}/Namespaces(NamespaceID={string_literal(namespace)})/Providers"
        )

    def _provider_root(self, provider: Provider) -> str:
        namespace, model = path_segment(provider.namespace_id), path_segment(provider.provider_id)
        return f"{self._service_root}/providers/{namespace}/{model}"

    def _get(
        self, url: str, headers: Mapping[str, str], on_response: ResponseObserver | None = None
    ) -> Answer:
        answer = self._send("GET", url, headers, on_response)
        if answer.status != HTTPStatus.OK:
            raise response_error(answer)
        return answer

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        on_response: ResponseObserver | None = None,
        *,
        limit: Limit = PAGE_LIMIT,
    ) -> Answer:
        """Send a request, and send it again with a new token if SAC refuses the first one."""
        for is_last in (False, True):
            request = self._prepared(method, url, headers)
            answer = self._transport.send(request, limit)
            if on_response:
                on_response(answer)
            if answer.status != HTTPStatus.UNAUTHORIZED or is_last:
                break
            self._authenticator.expire(request)
        return answer

    def _prepared(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> requests.PreparedRequest:
        request = self._transport.session.prepare_request(
            requests.Request(
                method,
                url,
                headers={**headers, "x-sap-sac-custom-auth": "true"},
                auth=self._authenticator,
            ),
        )
        # requests would rewrite some of the escapes in a link that is opaque to us.
        request.url = url
        return request


def _metadata_document(answer: Answer) -> bytes:
    start = answer.body[:1000].lower()
    if b"<html" in start or b"<!doctype html" in start:
        raise web_page_error(answer)
    if b"<" in start and not answer.body.rstrip(b"\0 \t\r\n").endswith(b">"):
        msg = f"{source_of(answer)} is truncated"
        raise TransientError(msg, Failure.DAMAGED_ANSWER)
    return answer.body
