"""The sample tenant's services: tokens, administration, and one provider service per model.

A request goes in, a response comes out; nothing here knows of sockets. What the services answer
follows SAP Help, "SAP Analytics Cloud REST API", chapter "Data Export Service".
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from http import HTTPStatus
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tap_sac.demo.company import Row, Table, models
from tap_sac.demo.edmx import edmx_document
from tap_sac.demo.odata_filter import FilterError, Predicate, parse_filter
from tap_sac.demo.tracking import Subscription, Subscriptions, TrackedRows

CLIENT_ID = "sb-2f0e8a1c-demo!b1|client!b1"
CLIENT_SECRET = "demo$not-secret=+/%:é"  # noqa: S105  (opens nothing but made-up data)
SERVICE_ROOT = "/api/v1/dataexport"
SALES_MODEL = ("sac", "C4SALESPLK8M4X1QW6TBV2ZJ5C")
CHANGE_PATH = "/sample/change"
EXPIRE_PATH = "/sample/expire"
TOKEN_PATH = "/oauth/token"  # noqa: S105  (a path)

# SAC too may name another host than the one that a client uses; and it is the same on every start.
_PUBLIC_URL = "https://alpenglow.example"
_TOKEN_SECONDS = 3600
_PAGE_SIZE = 1000
_SESSION = "JSESSIONID"
_TRACKABLE = {"FactData", "FactDataAggregation", "FactDataDifference"}
_DELETED = "$deleted"


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        method: Such as GET.
        base_url: Scheme, host and port under which the client reached the server.
        target: Path and query, as sent.
        headers: Names in lower case.
        body: As sent.
    """

    method: str
    base_url: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """An answer.

    Attributes:
        status: The HTTP status code.
        body: The whole body.
        headers: Its headers; the server adds Content-Length where it is not among them.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


Application = Callable[[Request], Response]


class SampleService:
    """Answers the requests of clients of one tenant.

    Attributes:
        models: What it serves, by NamespaceID and ProviderID.
        subscriptions: Who is told of changes.
    """

    def __init__(self) -> None:
        """Found the company."""
        self.models = {(model.namespace, model.id): model for model in models()}
        self._facts = {
            (model.namespace, model.id): TrackedRows(table.rows, table.key)
            for model in self.models.values()
            for table in model.tables
            if table.name == "FactData"
        }
        self.subscriptions = Subscriptions()
        self._tokens: dict[str, float] = {}
        self._csrf_tokens: dict[str, str] = {}
        self._changes = 0

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        path = urlsplit(request.target).path
        if path == TOKEN_PATH:
            return self._token(request)
        if request.method == "POST" and path in {CHANGE_PATH, EXPIRE_PATH}:
            return _json(self.change() if path == CHANGE_PATH else self.expire())
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or self._tokens.get(token, 0) < time.monotonic():
            return _error(HTTPStatus.UNAUTHORIZED, "The access token is missing or has expired.")
        if request.method == "GET" and path == "/api/v1/csrf":
            return self._csrf()
        namespace, provider = r"NamespaceID='([^']+)'", r"ProviderID='([^']+)'"
        subscription = rf"{namespace},{provider},SubscriptionID='([^']+)'"
        administration, model = r"/administration", r"/providers/([^/]+)/([^/]+)"
        for method, pattern, answer in (
            ("GET", rf"{administration}/Namespaces", self._namespaces),
            ("GET", rf"{administration}/Namespaces\({namespace}\)/Providers", self._providers),
            ("GET", rf"{administration}/Namespaces\('([^']+)'\)/Providers", self._providers),
            ("GET", rf"{administration}/Subscriptions", self._list_subscriptions),
            (
                "GET",
                rf"{administration}/Providers\({namespace},{provider}\)/Subscriptions",
                self._list_subscriptions,
            ),
            (
                "DELETE",
                rf"{administration}/Subscriptions\({subscription}\)",
                self._delete_subscription,
            ),
            ("GET", rf"{model}/\$metadata", self._metadata),
            ("GET", rf"{model}/?", self._service_document),
            ("GET", rf"{model}/([^/]+)", self._entity_set),
        ):
            match = re.fullmatch(re.escape(SERVICE_ROOT) + pattern, path)
            if match and method == request.method:
                return answer(request, *map(unquote, match.groups()))
        return _error(HTTPStatus.NOT_FOUND, f"The endpoint {path} is not valid. [1305]")

    def change(self) -> dict[str, object]:
        """Insert, update and delete facts of the model Sales Planning; tell which."""
        self._changes += 1
        facts = self._facts[SALES_MODEL]
        rows = [row for row in facts.rows if row is not None]
        updated = {**rows[self._changes], "REVENUE": Decimal(self._changes) + Decimal("0.0000001")}
        inserted = {**rows[0], "Date": f"2027{self._changes:02}"}
        deleted = facts.key_of(rows[-self._changes])
        facts.put(updated)
        facts.put(inserted)
        facts.delete(deleted)
        return {"updated": updated, "inserted": inserted, "deleted": list(deleted)}

    def expire(self) -> dict[str, object]:
        """Forget all subscriptions, so that every delta link is lost."""
        expired = list(self.subscriptions)
        self.subscriptions.clear()
        return {"expired": expired}

    def facts(self, model: tuple[str, str]) -> TrackedRows:
        """Return the facts of a model, by NamespaceID and ProviderID, to change them."""
        return self._facts[model]

    def _token(self, request: Request) -> Response:
        """Give a token for client credentials, in the Basic header or in the body."""
        form = parse_qs(request.body.decode() or urlsplit(request.target).query)
        credentials = [form.get(name, [""])[0] for name in ("client_id", "client_secret")]
        scheme, _, basic = request.headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            try:
                credentials = base64.b64decode(basic, validate=True).decode().split(":", 1)
            except (binascii.Error, UnicodeDecodeError):
                credentials = []
        if form.get("grant_type") != ["client_credentials"] or credentials != [
            CLIENT_ID,
            CLIENT_SECRET,
        ]:
            answer = {"error": "invalid_client", "error_description": "Bad credentials"}
            return _json(answer, HTTPStatus.UNAUTHORIZED)
        token = secrets.token_urlsafe()
        self._tokens[token] = time.monotonic() + _TOKEN_SECONDS
        return _json({"access_token": token, "token_type": "bearer", "expires_in": _TOKEN_SECONDS})

    def _namespaces(self, _: Request) -> Response:
        namespaces = dict.fromkeys(namespace for namespace, _ in self.models)
        rows = [{"NamespaceID": name, "Description": f"{name} namespace"} for name in namespaces]
        return _json({"@odata.context": "$metadata#Namespaces", "value": rows})

    def _providers(self, request: Request, namespace: str) -> Response:
        rows: list[Row] = [
            {
                "NamespaceID": model.namespace,
                "ProviderID": model.id,
                "ProviderName": model.name,
                "Description": model.description,
                "ServiceURL": f"{_PUBLIC_URL}{SERVICE_ROOT}/providers/{namespace}/{model.id}/",
            }
            for model in self.models.values()
            if model.namespace == namespace
        ]
        if not rows:
            return _error(HTTPStatus.NOT_FOUND, f"There is no namespace {namespace}.")
        options = _options(request)
        if "$filter" in options:
            try:
                keeps = parse_filter(options["$filter"], rows[0].keys())
            except FilterError as error:
                return _error(HTTPStatus.BAD_REQUEST, f"The $filter is malformed: {error}.")
            rows = [row for row in rows if keeps(row)]
        return _json({"@odata.context": "$metadata#Providers", "value": rows})

    def _metadata(self, _: Request, namespace: str, model_id: str) -> Response:
        model = self.models.get((namespace, model_id))
        if model is None:
            return _unknown_model(model_id)
        if not model.tables:
            return _error(HTTPStatus.PRECONDITION_FAILED, "A live-connection model has no data.")
        return Response(
            HTTPStatus.OK, edmx_document(model).encode(), {"Content-Type": "application/xml"}
        )

    def _service_document(self, _: Request, namespace: str, model_id: str) -> Response:
        model = self.models.get((namespace, model_id))
        if model is None:
            return _unknown_model(model_id)
        sets = [
            {"name": table.name, "kind": "EntitySet", "url": table.name} for table in model.tables
        ]
        return _json({"@odata.context": "$metadata", "value": sets})

    def _csrf(self) -> Response:
        """Give a token that is good for writing in the session of the cookie."""
        session, token = secrets.token_urlsafe(), secrets.token_urlsafe()
        self._csrf_tokens[session] = token
        headers = {"x-csrf-token": token, "Set-Cookie": f"{_SESSION}={session}; Path=/"}
        return Response(HTTPStatus.OK, b"", headers)

    def _list_subscriptions(self, request: Request, *model: str) -> Response:
        rows = [
            _subscription_row(item, request)
            for item in self.subscriptions.values()
            if not model or model == (item.namespace, item.model_id)
        ]
        return _json({"@odata.context": "$metadata#Subscriptions", "value": rows})

    def _delete_subscription(self, request: Request, *key: str) -> Response:
        cookies = SimpleCookie(request.headers.get("cookie", ""))
        session = cookies[_SESSION].value if _SESSION in cookies else ""
        expected = self._csrf_tokens.get(session)
        if expected is None or request.headers.get("x-csrf-token") != expected:
            refusal = _error(HTTPStatus.FORBIDDEN, "A CSRF token is required.")
            return replace(refusal, headers={**refusal.headers, "x-csrf-token": "Required"})
        subscription = self.subscriptions.get(key[2])
        if subscription is None or (subscription.namespace, subscription.model_id) != key[:2]:
            return _error(HTTPStatus.NOT_FOUND, f"There is no subscription {key[2]}.")
        if _options(request).get("deleteChain") == "true":
            self.subscriptions.delete_chain(subscription)
        else:
            del self.subscriptions[subscription.id]
        return Response(HTTPStatus.NO_CONTENT, b"")

    def _entity_set(
        self, request: Request, namespace: str, model_id: str, set_name: str
    ) -> Response:
        model = self.models.get((namespace, model_id))
        if model is None:
            return _unknown_model(model_id)
        table = next((table for table in model.tables if table.name == set_name), None)
        if table is None:
            return _error(HTTPStatus.NOT_FOUND, f"Entity set {set_name} does not exist. [3707]")
        options = _options(request)
        try:
            if "deltaid" in options:
                return self._changes_since(request, table, options)
            return self._rows(request, table, options, (namespace, model_id))
        except _BadRequestError as error:
            return _error(HTTPStatus.BAD_REQUEST, str(error))

    def _rows(
        self, request: Request, table: Table, options: dict[str, str], model: tuple[str, str]
    ) -> Response:
        """Serve a page of rows, and with the last one a delta link if changes are tracked."""
        view = _View(table, options)
        rows = self._facts[model].rows if table.is_made_of_facts else table.rows
        position, _, subscription_id = options.get("$skiptoken", "0").partition("!")
        is_tracked = request.headers.get("prefer") == "odata.track-changes"
        if is_tracked and table.name in _TRACKABLE and "$skiptoken" not in options:
            log_length = len(self._facts[model].log)
            chain = self.subscriptions.open(*model, table.name, options, log_length)
            subscription_id = chain.id
        page, rest = view.page(rows, position)
        body = _page_body(table.name, [view.project(row) for row in page])
        if rest is not None:
            token = f"{rest}!{subscription_id}" if subscription_id else str(rest)
            body["@odata.nextLink"] = _link(request, {**options, "$skiptoken": token})
        elif subscription_id:
            body["@odata.deltaLink"] = _link(request, {"deltaid": subscription_id})
        return _json(body)

    def _changes_since(self, request: Request, table: Table, options: dict[str, str]) -> Response:
        """Serve what changed in the window of a subscription: one net change for each key."""
        subscription = self.subscriptions.get(options["deltaid"])
        if subscription is None or subscription.set_name != table.name:
            return _error(HTTPStatus.NOT_FOUND, "The delta link has expired.")
        facts = self._facts[subscription.namespace, subscription.model_id]
        following = self.subscriptions.read(subscription, len(facts.log))
        view = _View(table, subscription.options)
        rows: list[Row | None] = [
            dict(zip(table.key, key, strict=True)) | (row or {_DELETED: True})
            for key, row in dict(facts.log[subscription.start : subscription.end]).items()
        ]
        page, rest = view.page(rows, options.get("$skiptoken", "0"))
        body = _page_body(f"{table.name}/$delta", [_delta_entity(view, row) for row in page])
        if rest is not None:
            body["@odata.nextLink"] = _link(request, {**options, "$skiptoken": str(rest)})
        else:
            body["@odata.deltaLink"] = _link(request, {"deltaid": following.id})
        return _json(body)


class _BadRequestError(ValueError):
    """Query options that SAC refuses."""


class _View:
    """What the query options of a request show of a table; SAC ignores those it does not know."""

    def __init__(self, table: Table, options: Mapping[str, str]) -> None:
        names = [column.name for column in table.columns]
        self.table = table
        self._selected = options["$select"].split(",") if options.get("$select") else names
        if unknown := [name for name in self._selected if name not in names]:
            msg = f"There is no column {unknown[0]!r}."
            raise _BadRequestError(msg)
        if table.select_needs_key and not set(table.key) <= set(self._selected):
            msg = "$select lacks key columns. [1402]"
            raise _BadRequestError(msg)
        page_size = options.get("pagesize", str(_PAGE_SIZE))
        if not page_size.isdecimal() or not int(page_size):
            msg = "pagesize must be a number above 0."
            raise _BadRequestError(msg)
        self._page_size = int(page_size)
        self._keeps: Predicate = lambda _: True
        if "$filter" in options:
            try:
                self._keeps = parse_filter(options["$filter"], names)
            except FilterError as error:
                msg = f"The $filter is malformed: {error}."
                raise _BadRequestError(msg) from None

    def page(self, rows: Sequence[Row | None], position: str) -> tuple[list[Row], int | None]:
        """Take a page from a position on; returns it, and where the next one begins."""
        if not position.isdecimal():
            msg = "The $skiptoken is malformed."
            raise _BadRequestError(msg)
        page: list[Row] = []
        for number in range(int(position), len(rows)):
            row = rows[number]
            if row is not None and self._keeps(row):
                if len(page) == self._page_size:
                    return page, number
                page.append(row)
        return page, None

    def project(self, row: Row) -> Row:
        """Leave the selected columns."""
        return {name: row[name] for name in self._selected if name in row}


def _delta_entity(view: _View, row: Row) -> Row:
    """Write a changed row with all its columns, and a deleted one with its id alone."""
    name = view.table.name
    literals = (str(row[column]).replace("'", "''") for column in view.table.key)
    pairs = (f"{column}='{text}'" for column, text in zip(view.table.key, literals, strict=True))
    entity_id = f"{name}({','.join(pairs)})"
    if _DELETED in row:
        return {"@odata.context": f"#{name}/$deletedEntity", "id": entity_id}
    context: Row = {"@odata.context": f"#{name}/$entity", "@odata.id": entity_id}
    return context | view.project(row)


def _page_body(context: str, rows: list[Row]) -> dict[str, object]:
    return {
        "@odata.context": f"$metadata#{context}",
        "@des.entitiesInPage": str(len(rows)),
        "@des.processingTimeInMilliseconds": "1",
        "value": rows,
    }


def _subscription_row(subscription: Subscription, request: Request) -> Row:
    """Describe a subscription; SAP's sample has missing values as the text null."""
    model = f"{subscription.namespace}/{subscription.model_id}"
    url = f"{request.base_url}{SERVICE_ROOT}/providers/{model}/{subscription.set_name}"
    return {
        "NamespaceID": subscription.namespace,
        "ProviderID": subscription.model_id,
        "EntitySetName": subscription.set_name,
        "SubscriptionID": subscription.id,
        "ExternalID": "null",
        "ChainID": subscription.chain_id,
        "PreviousSubscriptionID": subscription.previous.id if subscription.previous else "null",
        "Filter": subscription.options.get("$filter", "null"),
        "Selection": subscription.options.get("$select", "null"),
        "Description": "null",
        "StartTime": subscription.started_at,
        "EndTime": subscription.ended_at or "null",
        "LastAccessed": "null",
        "CurrentDeltaLink": f"{url}?deltaid={subscription.last.id}",
    }


def _link(request: Request, options: Mapping[str, str]) -> str:
    """Write an absolute link to the entity set of a request."""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    return f"{request.base_url}{urlsplit(request.target).path}?{query}"


def _options(request: Request) -> dict[str, str]:
    """Read the query options; unlike in forms, a plus is a plus."""
    query = urlsplit(request.target).query
    pairs = (part.partition("=") for part in query.split("&") if part)
    return {unquote(name): unquote(value) for name, _, value in pairs}


def _error(status: HTTPStatus, message: str) -> Response:
    """Answer as SAC does: the code is an id of this request, the number is in the message."""
    return _json({"error": {"code": str(uuid.uuid4()), "message": message}}, status)


def _unknown_model(model_id: str) -> Response:
    return _error(HTTPStatus.NOT_FOUND, f"There is no provider {model_id}.")


def _json(body: Mapping[str, object], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(status, _json_text(body).encode(), {"Content-Type": "application/json"})


def _json_text(value: object) -> str:
    """Write JSON with all digits of decimals, trailing zeros too."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        members = (f"{json.dumps(name)}:{_json_text(item)}" for name, item in value.items())
        return f"{{{','.join(members)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_json_text, value))}]"
    return json.dumps(value)
