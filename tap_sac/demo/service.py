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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tap_sac.demo.company import Row, Table, models
from tap_sac.demo.edmx import edmx_document
from tap_sac.demo.odata_filter import FilterError, parse_filter

CLIENT_ID = "sb-2f0e8a1c-demo!b1|client!b1"
CLIENT_SECRET = "demo$not-secret=+/%:é"  # noqa: S105  (opens nothing but made-up data)
SERVICE_ROOT = "/api/v1/dataexport"
TOKEN_PATH = "/oauth/token"  # noqa: S105  (a path)

# SAC too may name another host than the one that a client uses; and it is the same on every start.
_PUBLIC_URL = "https://alpenglow.example"
_TOKEN_SECONDS = 3600
_PAGE_SIZE = 1000


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
    """Answers the requests of clients of one tenant."""

    def __init__(self) -> None:
        """Found the company."""
        self._models = {(model.namespace, model.id): model for model in models()}
        self._tokens: dict[str, float] = {}

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        path = urlsplit(request.target).path
        if path == TOKEN_PATH:
            return self._token(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or self._tokens.get(token, 0) < time.monotonic():
            return _error(HTTPStatus.UNAUTHORIZED, "The access token is missing or has expired.")
        if request.method != "GET":
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET is offered here.")
        for pattern, answer in (
            (r"/administration/Namespaces", self._namespaces),
            (
                r"/administration/Namespaces\((?:NamespaceID=)?'([^']+)'\)/Providers",
                self._providers,
            ),
            (r"/providers/([^/]+)/([^/]+)/\$metadata", self._metadata),
            (r"/providers/([^/]+)/([^/]+)/?", self._service_document),
            (r"/providers/([^/]+)/([^/]+)/([^/]+)", self._entity_set),
        ):
            if match := re.fullmatch(re.escape(SERVICE_ROOT) + pattern, path):
                return answer(request, *map(unquote, match.groups()))
        return _error(HTTPStatus.NOT_FOUND, f"The endpoint {path} is not valid. [1305]")

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
        namespaces = dict.fromkeys(namespace for namespace, _ in self._models)
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
            for model in self._models.values()
            if model.namespace == namespace
        ]
        if not rows:
            return _error(HTTPStatus.NOT_FOUND, f"There is no namespace {namespace}.")
        options = _options(request)
        if "$filter" in options:
            try:
                keeps = parse_filter(options["$filter"], rows[0].keys())
            except FilterError as error:
                return _malformed_filter(error)
            rows = [row for row in rows if keeps(row)]
        return _json({"@odata.context": "$metadata#Providers", "value": rows})

    def _metadata(self, _: Request, namespace: str, model_id: str) -> Response:
        model = self._models.get((namespace, model_id))
        if model is None:
            return _unknown_model(model_id)
        if not model.tables:
            return _error(HTTPStatus.PRECONDITION_FAILED, "A live-connection model has no data.")
        return Response(
            HTTPStatus.OK, edmx_document(model).encode(), {"Content-Type": "application/xml"}
        )

    def _service_document(self, _: Request, namespace: str, model_id: str) -> Response:
        model = self._models.get((namespace, model_id))
        if model is None:
            return _unknown_model(model_id)
        sets = [
            {"name": table.name, "kind": "EntitySet", "url": table.name} for table in model.tables
        ]
        return _json({"@odata.context": "$metadata", "value": sets})

    def _entity_set(
        self, request: Request, namespace: str, model_id: str, set_name: str
    ) -> Response:
        model = self._models.get((namespace, model_id))
        if model is None:
            return _unknown_model(model_id)
        table = next((table for table in model.tables if table.name == set_name), None)
        if table is None:
            return _error(HTTPStatus.NOT_FOUND, f"Entity set {set_name} does not exist. [3707]")
        return _page(request, table)


def _page(request: Request, table: Table) -> Response:
    """Serve a page of a table; SAC ignores options that it does not know."""
    started = time.monotonic()
    options = _options(request)
    names = [column.name for column in table.columns]
    selected = options["$select"].split(",") if options.get("$select") else names
    if unknown := [name for name in selected if name not in names]:
        return _error(HTTPStatus.BAD_REQUEST, f"There is no column {unknown[0]!r}.")
    key = [column.name for column in table.columns if column.is_key]
    if table.select_needs_key and not set(key) <= set(selected):
        return _error(HTTPStatus.BAD_REQUEST, "$select lacks key columns. [1402]")
    rows = table.rows
    if "$filter" in options:
        try:
            keeps = parse_filter(options["$filter"], names)
        except FilterError as error:
            return _malformed_filter(error)
        rows = [row for row in rows if keeps(row)]
    page_size, start = options.get("pagesize", str(_PAGE_SIZE)), options.get("$skiptoken", "0")
    if not page_size.isdecimal() or not int(page_size) or not start.isdecimal():
        return _error(HTTPStatus.BAD_REQUEST, "pagesize must be a number above 0.")
    end = int(start) + int(page_size)
    page = [{name: row[name] for name in selected if name in row} for row in rows[int(start) : end]]
    body = {
        "@odata.context": f"$metadata#{table.name}",
        "@des.entitiesInPage": str(len(page)),
        "@des.processingTimeInMilliseconds": str(int((time.monotonic() - started) * 1000)),
        "value": page,
    }
    if end < len(rows):
        query = "&".join(
            f"{name}={quote(value, safe='')}"
            for name, value in {**options, "$skiptoken": str(end)}.items()
        )
        path = urlsplit(request.target).path
        body["@odata.nextLink"] = f"{request.base_url}{path}?{query}"
    return _json(body)


def _options(request: Request) -> dict[str, str]:
    """Read the query options; unlike in forms, a plus is a plus."""
    query = urlsplit(request.target).query
    pairs = (part.partition("=") for part in query.split("&") if part)
    return {unquote(name): unquote(value) for name, _, value in pairs}


def _error(status: HTTPStatus, message: str) -> Response:
    """Answer as SAC does: the code is an id of this request, the number is in the message."""
    return _json({"error": {"code": str(uuid.uuid4()), "message": message}}, status)


def _malformed_filter(error: FilterError) -> Response:
    return _error(HTTPStatus.BAD_REQUEST, f"The $filter is malformed: {error}.")


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
