"""A SAC tenant over HTTP: URLs, headers, retries, errors and following pages.

The service is described in SAP Help, "SAP Analytics Cloud REST API", chapter "Data Export
Service"; paging is that of OData JSON Format 4.0, 4.5.5.
"""

from __future__ import annotations

import codecs
import ipaddress
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote, urljoin, urlsplit

import backoff
import msgspec
import requests

from tap_sac.sac.decimals import read_json
from tap_sac.sac.errors import (
    BROKEN_PROTOCOL,
    DAMAGED_ANSWER,
    SERVER_FAULT,
    WRONG_HOST,
    ResponseError,
    SACError,
    TransientError,
    decimal_digits,
    error_reason,
    looks_like_web_page,
    one_line,
    origin_of,
    response_error,
    web_page_error,
)
from tap_sac.sac.pages import Page, not_a_page_error
from tap_sac.sac.transport import HEADER_VALUE, exchange

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from backoff.types import Details

    from tap_sac.sac.auth import ClientCredentialsAuthenticator

_Result = TypeVar("_Result")
ResponseObserver = Callable[[requests.Response], None]

logger = logging.getLogger(__name__)

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST_BACKOFF_SECONDS = 60
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*|[0-9a-f:.]*:[0-9a-f:.]*", re.IGNORECASE)
_MOST_EMPTY_PAGES = 10_000
_MODELS_NAMESPACE = "sac"
_SAFE_IN_QUERY = "(),':*@$/"


@dataclass(frozen=True)
class Provider:
    """A model, or another thing that SAC exports, such as a public dimension.

    Attributes:
        namespace_id: ``sac`` for models.
        provider_id: Its id: opaque, and its case matters.
        name: Its name, which others may share.
    """

    namespace_id: str
    provider_id: str
    name: str


class _Answer(msgspec.Struct):
    """The members of a page, by their most frequent spellings."""

    items: list[msgspec.Raw] | msgspec.UnsetType = msgspec.field(
        name="value", default=msgspec.UNSET
    )
    error: Any = None
    next_link: Any = msgspec.field(name="@odata.nextLink", default=None)
    context: Any = msgspec.field(name="@odata.context", default=None)
    entities_in_page: Any = msgspec.field(name="@des.entitiesInPage", default=None)
    milliseconds: Any = msgspec.field(name="@des.processingTimeInMilliseconds", default=None)


_ANSWER = msgspec.json.Decoder(_Answer)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def checked_url(text: str, setting: str) -> str:
    """Complete an address that a user pastes: a missing scheme is https.

    Args:
        text: Such as ``acme.eu10.hcs.cloud.sap/``.
        setting: Where it comes from, for the error.

    Raises:
        SACError: If there is no host, or credentials would travel in clear text.
    """
    url = text.strip()
    url = url if "://" in url else f"https://{url}"
    scheme, host, _ = _server(url)
    if not _HOST.fullmatch(host or "") or scheme not in _DEFAULT_PORTS:
        msg = f"The setting {setting} is no address: write it like https://acme.eu10.hcs.cloud.sap."
        raise SACError(msg)
    if scheme == "http" and not _is_loopback(host or ""):
        msg = (
            f"The setting {setting} would send credentials in clear text: write it with https "
            "instead of http."
        )
        raise SACError(msg)
    return url


def tenant_origin(tenant_url: str) -> str:
    """Reduce what a user pastes to scheme, host and port; a path or trailing slash is dropped.

    Raises:
        SACError: As of `checked_url`.
    """
    parts = urlsplit(checked_url(tenant_url, "tenant_url"))
    return f"{parts.scheme}://{parts.netloc}"


class SACClient:
    """Makes every call to one tenant, from any number of threads."""

    def __init__(
        self,
        origin: str,
        *,
        session: requests.Session,
        authenticator: ClientCredentialsAuthenticator,
        request_timeout: float,
        max_tries: int,
        max_parallel_requests: int,
    ) -> None:
        """Make a client; nothing is requested yet.

        Args:
            origin: Scheme, host and port (`tenant_origin`).
            session: Sends the requests, and holds the User-Agent.
            authenticator: Puts the bearer token on them.
            request_timeout: Seconds without a byte before a request counts as failed.
            max_tries: How often a request is sent at most.
            max_parallel_requests: How many requests are under way at once at most.
        """
        self._origin = origin
        self._service_root = f"{origin}/api/v1/dataexport"
        self._administration = f"{self._service_root}/administration"
        self._session = session
        self._authenticator = authenticator
        self._request_timeout = request_timeout
        self._slots = threading.BoundedSemaphore(max_parallel_requests)
        self._is_stopped = False
        self._retry = backoff.on_exception(
            _waits,
            TransientError,
            max_tries=max_tries,
            jitter=None,
            on_backoff=_log_retry,
            logger=None,
        )

    @property
    def origin(self) -> str:
        """Scheme, host and port of the tenant."""
        return self._origin

    def stop(self) -> None:
        """Send no more requests, whatever is still to be done."""
        self._is_stopped = True

    def authenticate(self) -> None:
        """Get a token now, which a request would do by itself.

        Raises:
            SACError: If there is none.
        """
        request = requests.Request("GET", self._origin)
        self._retry(self._authenticator)(self._session.prepare_request(request))

    def providers(self) -> list[Provider]:
        """List the models, and the like, of every namespace.

        Raises:
            SACError: As of `provider_pages`.
        """
        providers = (
            Provider(
                namespace_id=str(row["NamespaceID"]),
                provider_id=str(row["ProviderID"]),
                name=str(row.get("ProviderName") or ""),
            )
            for page in self.provider_pages()
            for row in page.rows
            if row.get("NamespaceID") and row.get("ProviderID")
        )
        return list(dict.fromkeys(providers))

    def namespaces(self, on_response: ResponseObserver | None = None) -> list[str]:
        """List what providers are grouped by: ``sac`` for models.

        Raises:
            SACError: If SAC refuses.
        """
        return [
            str(row["NamespaceID"])
            for page in self.pages(f"{self._administration}/Namespaces", on_response)
            for row in page.rows
            if row.get("NamespaceID")
        ]

    def provider_pages(
        self, query: Mapping[str, str] | None = None, on_response: ResponseObserver | None = None
    ) -> Iterator[Page]:
        """Read the providers of every namespace.

        A namespace that SAC lists but does not serve is left out with a warning: the newer ones
        (public dimensions, currencies, units) answer 404 on some tenants.

        Raises:
            SACError: If SAC refuses the models' own namespace or the token, or may answer later.
        """
        for namespace in self.namespaces(on_response):
            predicate = f"NamespaceID={_string_literal(namespace)}"
            url = f"{self._administration}/Namespaces({predicate})/Providers"
            try:
                yield from self.pages(with_query(url, query or {}), on_response)
            except ResponseError as error:
                if namespace == _MODELS_NAMESPACE or error.status == HTTPStatus.UNAUTHORIZED:
                    raise
                logger.warning("Skipping the namespace %s: %s", one_line(namespace), error)

    def metadata(self, provider: Provider) -> bytes:
        """Read the CSDL document of a model.

        Raises:
            ResponseError: If SAC refuses.
            SACError: If a web page comes instead, or no answer.
        """
        return self._get(
            f"{self._provider_root(provider)}/$metadata",
            {"Accept": "application/xml"},
            _metadata_document,
        )

    def serves(self, url: str) -> bool:
        """Tell whether a URL leads to this tenant's server, and nowhere else."""
        return _server(url) == _server(self._origin)

    def subscriptions(self, provider: Provider) -> list[dict[str, Any]]:
        """List the change-tracking subscriptions of a model, of this client and of others.

        SAC writes missing values as null, or as the string ``null``: both are left out.

        Raises:
            SACError: If SAC does not list them.
        """
        url = f"{self._administration}/Providers({_provider_key(provider)})/Subscriptions"
        return [
            {name: value for name, value in row.items() if value not in (None, "null")}
            for page in self.pages(url)
            for row in page.rows
        ]

    def delete_chain(self, provider: Provider, subscription_id: str) -> None:
        """Delete the chain that a subscription belongs to.

        Writing needs a CSRF token, which is bound to the cookies of the session; SAC may ask for
        a new one.

        Raises:
            SACError: If SAC does not delete it.
        """
        literal = _string_literal(subscription_id)
        url = (
            f"{self._administration}/Subscriptions"
            f"({_provider_key(provider)},SubscriptionID={literal})?deleteChain=true"
        )
        for _ in range(2):
            response = self._send("DELETE", url, {"x-csrf-token": self._csrf_token()})
            if response.headers.get("x-csrf-token", "").lower() != "required":
                break
        if response.status_code not in {HTTPStatus.NO_CONTENT, HTTPStatus.OK}:
            raise response_error(response)

    def _csrf_token(self) -> str:
        headers = {"Accept": "application/json", "x-csrf-token": "fetch"}
        response = self._send("GET", f"{self._origin}/api/v1/csrf", headers)
        token = response.headers.get("x-csrf-token", "")
        if response.status_code != HTTPStatus.OK:
            raise response_error(response)
        if not HEADER_VALUE.fullmatch(token):
            msg = "SAC gave no CSRF token, without which it lets nobody write"
            raise SACError(msg, BROKEN_PROTOCOL)
        return token

    def entity_set_url(self, provider: Provider, entity_set: str) -> str:
        """Tell where the rows of an entity set are."""
        return f"{self._provider_root(provider)}/{_path_segment(entity_set)}"

    def pages(
        self,
        url: str,
        on_response: ResponseObserver | None = None,
        *,
        track_changes: bool = False,
        before_retry: Callable[[], None] | None = None,
    ) -> Iterator[Page]:
        """Follow an entity set from its first page to its last.

        Each page is requested when the one before it has been consumed, at exactly the URL that
        the server gave for it.

        Args:
            url: The first page.
            on_response: Told of each answer, also of those that are not a success.
            track_changes: Whether SAC shall remember this read, and give a link to what changes
                after it (OData Protocol 4.0, 8.2.8.6).
            before_retry: Called before the first page is asked for again although SAC may have
                given it already; stops that by raising.

        Raises:
            SACError: If SAC refuses, a link leads away from the tenant, in a circle or to ever more
                empty pages, or an answer is no page.
        """
        headers = {"Accept": "application/json"}
        if track_changes:
            headers["Prefer"] = "odata.track-changes"
        seen: set[str] = set()
        empty_pages = 0
        next_url: str | None = url
        while next_url:
            if next_url in seen:
                msg = (
                    f"SAC's pages of {urlsplit(url).path} lead in a circle, so they would never end"
                )
                raise SACError(msg, BROKEN_PROTOCOL)
            page = self._page(next_url, headers, on_response, None if seen else before_retry)
            seen.add(next_url)
            empty_pages = 0 if page.items else empty_pages + 1
            if empty_pages > _MOST_EMPTY_PAGES:
                msg = f"SAC's pages of {urlsplit(url).path} go on without rows, with ever new links"
                raise SACError(msg, BROKEN_PROTOCOL)
            yield page
            next_url = page.next_url

    def _page(
        self,
        url: str,
        headers: Mapping[str, str],
        on_response: ResponseObserver | None,
        before_retry: Callable[[], None] | None,
    ) -> Page:
        is_repeated = False

        def on_retry(*, is_refusal: bool) -> None:
            nonlocal is_repeated
            if not is_refusal:
                is_repeated = True
                if before_retry:
                    before_retry()

        page = self._get(url, headers, self._read_page, on_response, on_retry)
        return replace(page, is_repeated=is_repeated)

    def _provider_root(self, provider: Provider) -> str:
        namespace, model = _path_segment(provider.namespace_id), _path_segment(provider.provider_id)
        return f"{self._service_root}/providers/{namespace}/{model}"

    def _get(
        self,
        url: str,
        headers: Mapping[str, str],
        read: Callable[[requests.Response], _Result],
        on_response: ResponseObserver | None = None,
        on_retry: Callable[..., None] = lambda **_: None,
    ) -> _Result:
        """Request and read, both again if either fails for a reason that may pass."""
        # Not the errors themselves, which would keep their answers in memory for longer.
        refusals: list[bool] = []

        def attempt() -> _Result:
            if refusals:
                on_retry(is_refusal=refusals[-1])
            try:
                response = self._send("GET", url, headers, on_response)
                if response.status_code != HTTPStatus.OK:
                    raise response_error(response)
                return read(response)
            except TransientError as error:
                refusals.append(error.is_refusal)
                raise

        return self._retry(attempt)()

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        on_response: ResponseObserver | None = None,
    ) -> requests.Response:
        """Send a request, and send it again with a new token if SAC refuses the first one."""
        response = self._send_once(method, url, headers, on_response)
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            self._authenticator.expire(response.request)
            response = self._send_once(method, url, headers, on_response)
        return response

    def _send_once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        on_response: ResponseObserver | None,
    ) -> requests.Response:
        request = self._session.prepare_request(
            requests.Request(
                method,
                url,
                headers={**headers, "x-sap-sac-custom-auth": "true"},
                auth=self._authenticator,
            ),
        )
        # requests would rewrite some of the escapes in a link that is opaque to us.
        request.url = url
        if self._is_stopped:
            msg = "The tap was stopped, and asks SAC for nothing more."
            raise SACError(msg)
        with self._slots:
            response = exchange(self._session, request, timeout=self._request_timeout)
        if on_response:
            on_response(response)
        return response

    def _read_page(self, response: requests.Response) -> Page:
        source = _answer_of(response)
        body = response.content.removeprefix(codecs.BOM_UTF8)
        try:
            if not body.isascii():
                body.decode()
            answer = _ANSWER.decode(body)
            members = _annotations(body) if _may_lack_members(answer) else {}
        except msgspec.ValidationError:
            raise not_a_page_error(source) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if looks_like_web_page(response):
                raise web_page_error(response) from None
            raise _damage(body, error, source) from None
        if answer.error is not None:
            msg = f"{source} breaks off with {error_reason(response)}"
            raise TransientError(msg, SERVER_FAULT)
        if isinstance(answer.items, msgspec.UnsetType):
            raise not_a_page_error(source)
        announced = decimal_digits(answer.entities_in_page)
        if announced is not None and len(answer.items) < announced:
            msg = f"{source} has {len(answer.items)} rows of {announced} announced"
            raise TransientError(msg, DAMAGED_ANSWER)
        next_link = answer.next_link
        if next_link is None:
            next_link = annotation(members, "nextLink")
        context = answer.context or annotation(members, "context")
        return Page(
            answer.items,
            next_url=self._link(next_link, "nextLink", response),
            delta_url=self._link(annotation(members, "deltaLink"), "deltaLink", response),
            context=context if isinstance(context, str) else None,
            server_milliseconds=decimal_digits(answer.milliseconds) or 0,
            source=source,
        )

    def _link(self, link: object, name: str, response: requests.Response) -> str | None:
        """Make a link absolute, but keep the token from another server."""
        if link is None or link == "":
            return None
        try:
            url = _absolute(link, response.request.url or "")
        except (TypeError, ValueError):
            msg = f"{_answer_of(response)} has a {name} that is no link"
            raise SACError(msg, BROKEN_PROTOCOL) from None
        if not self.serves(url):
            msg = (
                f"{_answer_of(response)} continues on another server, {origin_of(url)}, which "
                "must not see the token"
            )
            raise SACError(msg, WRONG_HOST)
        return url


def with_query(url: str, options: Mapping[str, str]) -> str:
    """Add query options: blanks as ``%20``, never ``+``; ``$`` in names as it is."""
    if not options:
        return url
    pairs = (f"{name}={quote(value, safe=_SAFE_IN_QUERY)}" for name, value in options.items())
    return f"{url}?{'&'.join(pairs)}"


def annotation(body: Mapping[str, Any], name: str) -> object:
    """Find a control information by name, with or without ``odata.``, in any case.

    SAC's documentation and its answers spell them differently (``deltalink``, ``deltaLink``).
    """
    spellings = {f"@odata.{name}".lower(), f"@{name}".lower()}
    return next((value for key, value in body.items() if key.lower() in spellings), None)


def _absolute(link: object, page_url: str) -> str:
    """Resolve a link against its page, or, if it begins as the page's path ends, in its place.

    The latter is a link relative to the service root, of a set with more than one path segment.

    Raises:
        TypeError: If it is no text.
        ValueError: If it is no URL.
    """
    if not isinstance(link, str):
        raise TypeError
    if urlsplit(link).scheme:
        return link
    page_path, link_path = unquote(urlsplit(page_url).path), unquote(urlsplit(link).path)
    if not link.startswith("/") and page_path.endswith(f"/{link_path}"):
        depth = link_path.count("/")
        return urljoin(page_url, "../" * depth + link)
    return urljoin(page_url, link)


def _path_segment(text: str) -> str:
    return quote(text, safe="")


def _string_literal(text: str) -> str:
    """Write a string in a key predicate of a URL."""
    return "'" + _path_segment(text.replace("'", "''")) + "'"


def _provider_key(provider: Provider) -> str:
    namespace, model = map(_string_literal, (provider.namespace_id, provider.provider_id))
    return f"NamespaceID={namespace},ProviderID={model}"


def _server(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", None, None
    if "@" in parts.netloc or "\\" in parts.netloc:  # Parsers do not agree on such hosts.
        return parts.scheme, None, None
    try:
        return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return parts.scheme, None, None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _metadata_document(response: requests.Response) -> bytes:
    start = response.content[:1000].lower()
    if b"<html" in start or b"<!doctype html" in start:
        raise web_page_error(response)
    if b"<" in start and not response.content.rstrip(b"\0 \t\r\n").endswith(b">"):
        msg = f"{_answer_of(response)} was cut short"
        raise TransientError(msg, DAMAGED_ANSWER)
    return response.content


def _answer_of(response: requests.Response) -> str:
    return f"SAC's answer to GET {urlsplit(response.request.url or '').path}"


def _may_lack_members(answer: _Answer) -> bool:
    """Tell whether members may be there in another spelling, or a delta link."""
    return answer.next_link in (None, "") or answer.context is None


def _annotations(body: bytes) -> dict[str, Any]:
    return {
        name: msgspec.json.decode(value)
        for name, value in _MEMBERS.decode(body).items()
        if name.startswith("@")
    }


def _damage(body: bytes, error: Exception, source: str) -> SACError:
    """Tell why a body cannot be read, in the words of Python's JSON reader where it can."""
    try:
        read_json(body.decode())
    except (ValueError, RecursionError) as found:
        return TransientError(f"{source} is damaged or was cut short ({found})", DAMAGED_ANSWER)
    # What is left is text of which JSON's grammar allows half a pair, and UTF-8 does not.
    msg = (
        f"{source} has text that is not Unicode (half of a surrogate pair; {error}): correct it "
        "in SAC, or deselect its column."
    )
    return SACError(msg)


def _waits() -> Generator[float, TransientError, None]:
    """Wait longer each time, or as long as the server asks for."""
    exponential = backoff.expo(max_value=_LONGEST_BACKOFF_SECONDS)
    next(exponential)
    error = yield 0
    while True:
        wait = backoff.random_jitter(next(exponential))
        error = yield wait if error.retry_after is None else error.retry_after


def _log_retry(details: Details) -> None:
    logger.warning(
        "%s Trying again in %.1f seconds (%d tries so far).",
        details["exception"],
        details["wait"],
        details["tries"],
    )
