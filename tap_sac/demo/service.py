"""The sample tenant's services: tokens, administration, and one service per model.

They convert requests to responses, without sockets. The behavior follows SAP Help, "SAP Analytics
Cloud REST API", chapter "Data Export Service", and notes about live tenants. The texts of refusals
are made up, but not the numbers in them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tap_sac.demo.access import CLIENT_ID, CLIENT_SECRET, Access
from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.company import models
from tap_sac.demo.deltas import delta_entities
from tap_sac.demo.edmx import edmx_document
from tap_sac.demo.exchange import (
    Application,
    Refusal,
    Request,
    Response,
    error_answer,
    json_answer,
    link,
    other_address,
    page_answer,
)
from tap_sac.demo.queries import Query, QueryError, position, predicate
from tap_sac.demo.sets import distinct_table, dotted
from tap_sac.demo.sums import take_all_apart
from tap_sac.demo.tables import (
    AUDIT,
    DIFFERENCES,
    DISTINCT,
    FACTS,
    TRACKABLE,
    Model,
    Row,
    Table,
)
from tap_sac.demo.tracking import Subscription, Subscriptions, TrackedRows

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CHANGE_PATH",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "EXPIRE_PATH",
    "SALES_MODEL",
    "SERVICE_ROOT",
    "TOKEN_PATH",
    "Application",
    "Request",
    "Response",
    "SampleService",
]

SERVICE_ROOT = "/api/v1/dataexport"
SALES_MODEL = ("sac", "C4SALESPLK8M4X1QW6TBV2ZJ5C")
CHANGE_PATH = "/sample/change"
EXPIRE_PATH = "/sample/expire"
TOKEN_PATH = "/oauth/token"  # noqa: S105  (a path)
AUTHORIZE_PATH = "/oauth/authorize"

# SAC may also name a different host than the client uses; this one is the same on every start.
_PUBLIC_ROOT = f"https://alpenglow.example{SERVICE_ROOT}"
_TRACK_CHANGES = "odata.track-changes"

_NAMESPACE, _PROVIDER = r"NamespaceID='([^']+)'", r"ProviderID='([^']+)'"
_MODEL = r"/providers/([^/]+)/([^/]+)"
# The HTTP method, the path below the service root, and the method of the service.
_ROUTES = [
    ("GET", r"/administration/Namespaces", "_namespaces"),
    ("GET", rf"/administration/Namespaces\({_NAMESPACE}\)/Providers", "_providers"),
    ("GET", r"/administration/Namespaces\('([^']+)'\)/Providers", "_providers"),
    ("GET", r"/administration/Subscriptions", "_list_subscriptions"),
    (
        "GET",
        rf"/administration/Providers\({_NAMESPACE},{_PROVIDER}\)/Subscriptions",
        "_list_subscriptions",
    ),
    (
        "DELETE",
        rf"/administration/Subscriptions\({_NAMESPACE},{_PROVIDER},SubscriptionID='([^']+)'\)",
        "_delete_subscription",
    ),
    ("GET", rf"{_MODEL}/\$metadata", "_metadata"),
    ("GET", rf"{_MODEL}/?", "_service_document"),
    ("POST", rf"{_MODEL}/\$batch", "_not_offered"),
    ("POST", rf"{_MODEL}/([^/]+)/\$query", "_not_offered"),
    ("GET", rf"{_MODEL}/([^/]+)/\$count", "_number_alone"),
    ("GET", rf"{_MODEL}/([^/]+)", "_entity_set"),
]


class SampleService:
    """Answers the requests to one tenant.

    Attributes:
        behaviour: The differences from other tenants.
        models: The models and other providers, by NamespaceID and ProviderID.
        subscriptions: The change-tracking subscriptions.
    """

    def __init__(
        self, behaviour: Behaviour | None = None, founded: list[Model] | None = None
    ) -> None:
        """Create the tenant of a company; Alpenglow Outdoor by default."""
        self.behaviour = behaviour or Behaviour()
        founded = models() if founded is None else founded
        if self.behaviour.dotted_master_data:
            founded = [replace(model, tables=tuple(map(dotted, model.tables))) for model in founded]
        self.models = {(model.namespace, model.id): model for model in founded}
        self._facts = {
            (model.namespace, model.id): TrackedRows(table.rows, table.key)
            for model in self.models.values()
            for table in model.tables
            if table.name == FACTS
        }
        self.subscriptions = Subscriptions()
        self._access = Access(self.behaviour)
        self._changes = 0
        self._refusals: list[Refusal] = []

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        for refusal in self._refusals:
            if refusal.applies(request):
                return refusal.response
        if request.path == TOKEN_PATH:
            return self._access.give_token(request)
        if request.path == AUTHORIZE_PATH:
            return self._access.sign_in.answer(request)
        if request.method == "POST" and request.path in {CHANGE_PATH, EXPIRE_PATH}:
            return json_answer(self.change() if request.path == CHANGE_PATH else self.expire())
        if refusal_of_token := self._access.token_refusal(request):
            return refusal_of_token
        if self.behaviour.links_to_other_host:
            request = replace(request, base_url=other_address(request.base_url))
        return self._access.with_csrf_token(request, self._service(request))

    def _service(self, request: Request) -> Response:
        """Answer a request with a valid token."""
        if (request.method, request.path) == ("GET", "/api/v1/csrf"):
            return Response(HTTPStatus.OK, b"")
        for method, pattern, name in _ROUTES:
            match = re.fullmatch(re.escape(SERVICE_ROOT) + pattern, request.path)
            if match and method == request.method:
                if not self.behaviour.client_has_access:
                    msg = "The OAuth client is not allowed to use this API. [3401]"
                    return error_answer(HTTPStatus.BAD_REQUEST, msg)
                answer: Response = getattr(self, name)(request, *map(unquote, match.groups()))
                return answer
        msg = f"The endpoint {request.path} is not valid. [1305]"
        return error_answer(HTTPStatus.NOT_FOUND, msg)

    def change(self) -> dict[str, object]:
        """Insert, update and delete one fact of the model Sales Planning each; returns them.

        Their members are in the tables of the dimensions.
        """
        self._changes += 1
        facts = self._facts[SALES_MODEL]
        rows = [row for row in facts.rows if row is not None]
        updated = {**rows[self._changes], "REVENUE": Decimal(self._changes) + Decimal("0.0000001")}
        # A version without facts, but with a member.
        inserted = {**rows[self._changes], "Version": "public.Rolling Forecast"}
        deleted = facts.key_of(rows[-self._changes])
        facts.put(updated)
        facts.put(inserted)
        facts.delete(deleted)
        return {"updated": updated, "inserted": inserted, "deleted": list(deleted)}

    def expire(self) -> dict[str, object]:
        """Delete all subscriptions, so all delta links are lost."""
        expired = list(self.subscriptions)
        self.subscriptions.clear()
        return {"expired": expired}

    def sign_all_out(self) -> None:
        """Revoke the sign-ins of all users, like an administrator."""
        self._access.sign_in.end_all()

    def facts(self, model: tuple[str, str]) -> TrackedRows:
        """Return the facts of a model, by NamespaceID and ProviderID, so they can be changed."""
        return self._facts[model]

    def limit(self, model: tuple[str, str], rows: int) -> None:
        """Keep only the first facts of a model, before it is read."""
        self._facts[model] = self._facts[model].first(rows)

    def refuse(self, path_pattern: str, response: Response, times: int | None = None) -> None:
        """Answer some requests, even for tokens, with a fixed response.

        Args:
            path_pattern: A regular expression to search for in the path and query, after
                percent-decoding.
            response: The answer.
            times: How often; None for always.
        """
        self._refusals.append(Refusal(path_pattern, response, times))

    def _namespaces(self, _: Request) -> Response:
        namespaces = dict.fromkeys(namespace for namespace, _ in self.models)
        rows = [{"NamespaceID": name, "Description": f"{name} namespace"} for name in namespaces]
        return json_answer({"@odata.context": "$metadata#Namespaces", "value": rows})

    def _providers(self, request: Request, namespace: str) -> Response:
        """List the models; SAC applies the query option ``$filter``, but not ``$top``."""
        rows: list[Row] = [
            {
                "NamespaceID": model.namespace,
                "ProviderID": model.id,
                "ProviderName": model.name,
                "Description": model.description,
                "ServiceURL": f"{_PUBLIC_ROOT}/providers/{namespace}/{model.id}/",
            }
            for model in self.models.values()
            if model.namespace == namespace
        ]
        is_extra = namespace != SALES_MODEL[0]
        if not rows or (is_extra and not self.behaviour.extra_namespaces):
            return error_answer(HTTPStatus.NOT_FOUND, f"There is no namespace {namespace}.")
        if "$filter" in request.options:
            try:
                keeps = predicate(request.options["$filter"], rows[0].keys())
            except QueryError as error:
                return error_answer(error.status, str(error))
            rows = [row for row in rows if keeps(row)]
        return json_answer({"@odata.context": "$metadata#Providers", "value": rows})

    def _metadata(self, _: Request, *key: str) -> Response:
        model = self._model(*key)
        if isinstance(model, Response):
            return model
        if not model.tables:
            msg = "A live-connection model has no data."
            return error_answer(HTTPStatus.PRECONDITION_FAILED, msg)
        keyed = self.behaviour.sums_have_keys
        document = edmx_document(model, _PUBLIC_ROOT, sums_have_keys=keyed)
        return Response(HTTPStatus.OK, document.encode(), {"Content-Type": "application/xml"})

    def _service_document(self, _: Request, *key: str) -> Response:
        model = self._model(*key)
        if isinstance(model, Response):
            return model
        sets = [
            {"name": table.name, "kind": "EntitySet", "url": table.name} for table in model.tables
        ]
        return json_answer({"@odata.context": "$metadata", "value": sets})

    def _list_subscriptions(self, request: Request, *model: str) -> Response:
        describe = _older_row if self.behaviour.older_subscriptions else _subscription_row
        rows = [
            describe(item, request)
            for item in self.subscriptions.values()
            if not model or model == (item.namespace, item.model_id)
        ]
        return json_answer({"@odata.context": "$metadata#Subscriptions", "value": rows})

    def _delete_subscription(self, request: Request, *key: str) -> Response:
        if refusal := self._access.csrf_refusal(request):
            return refusal
        subscription = self.subscriptions.get(key[2])
        if subscription is None or (subscription.namespace, subscription.model_id) != key[:2]:
            return error_answer(HTTPStatus.NOT_FOUND, f"There is no subscription {key[2]}.")
        if request.options.get("deleteChain") == "true":
            self.subscriptions.delete_chain(subscription)
        else:
            del self.subscriptions[subscription.id]
        return Response(HTTPStatus.NO_CONTENT, b"")

    def _not_offered(self, request: Request, *_: str) -> Response:
        """Refuse a query in the body of a POST: with 405, or 403 without a CSRF token."""
        msg = "The method POST is not offered."
        refusal = self._access.csrf_refusal(request)
        return refusal or error_answer(HTTPStatus.METHOD_NOT_ALLOWED, msg)

    def _number_alone(self, _: Request, *__: str) -> Response:
        """Refuse ``/$count``, which would be plain text."""
        return error_answer(HTTPStatus.NOT_ACCEPTABLE, "A count alone is not supported.")

    def _entity_set(self, request: Request, *key: str) -> Response:
        model = self._model(*key[:2])
        if isinstance(model, Response):
            return model
        table = next((table for table in model.tables if table.name == key[2]), None)
        if table is None:
            of_facts = self.behaviour.lists_distinct_values
            table = distinct_table(key[2], model.tables, of_facts=of_facts)
        if table is None:
            msg = f"Entity set {key[2]} does not exist. [3707]"
            return error_answer(HTTPStatus.NOT_FOUND, msg)
        is_client_only = table.name == AUDIT and self.behaviour.audit_needs_client
        if is_client_only and self._access.person(request):
            msg = "Audit data is for the OAuth client alone."
            return error_answer(HTTPStatus.FORBIDDEN, msg)
        try:
            if "deltaid" in request.options:
                return self._changes_since(request, table, request.options)
            return self._rows(request, table, (model.namespace, model.id))
        except QueryError as error:
            return error_answer(error.status, str(error))

    def _model(self, namespace: str, model_id: str) -> Model | Response:
        msg = f"There is no provider {model_id}."
        return self.models.get((namespace, model_id)) or error_answer(HTTPStatus.NOT_FOUND, msg)

    def _rows(self, request: Request, table: Table, model: tuple[str, str]) -> Response:
        """Serve a page of rows; the last one has a delta link if changes are tracked."""
        options = request.options
        query = self._query(request, table, options)
        subscription_id = options.get("$skiptoken", "").partition("!")[2]
        is_tracked = request.headers.get("prefer") == _TRACK_CHANGES
        is_refused = self.behaviour.differences_need_subscribers and table.name == DIFFERENCES
        if is_refused and not (is_tracked or subscription_id):
            msg = f"{DIFFERENCES} needs the header Prefer: {_TRACK_CHANGES}, or a deltaid."
            raise QueryError(msg)
        if is_tracked and table.name in TRACKABLE and "$skiptoken" not in options:
            log_length = len(self._facts[model].log)
            chain = self.subscriptions.open(*model, table.name, options, log_length)
            subscription_id = chain.id
        page = query.page(self._source(table, model))
        links = {}
        if page.next is not None:
            token = f"{page.next}!{subscription_id}" if subscription_id else str(page.next)
            links["nextLink"] = link(request, {**options, "$skiptoken": token})
        elif subscription_id:
            links["deltaLink"] = link(request, {"deltaid": subscription_id})
        return page_answer(table.name, page.rows, links, page.count)

    def _query(self, request: Request, table: Table, options: dict[str, str]) -> Query:
        """Parse a query, limited to the rows that the user sees."""
        query = Query(table, options, self.behaviour)
        if person := self._access.person(request):
            sees, keeps = person.predicate(table), query.keeps
            query.keeps = lambda row: sees(row) and keeps(row)
        return query

    def _source(self, table: Table, model: tuple[str, str]) -> Iterable[Row | None]:
        """Return all rows of a set; deleted ones are None."""
        if not table.is_made_of_facts:
            return table.rows
        rows: Iterable[Row | None] = self._facts[model].rows
        if table.name.endswith(DISTINCT):
            (column,) = table.key
            return [{column: value} for value in {row[column]: None for row in rows if row}]
        if self.behaviour.facts_per_key > 1 and table.name != DIFFERENCES:
            rows = take_all_apart(rows, self.behaviour.facts_per_key)
        if table.widen is None:
            return rows
        return [row if row is None else table.widen(row) for row in rows]

    def _changes_since(self, request: Request, table: Table, options: dict[str, str]) -> Response:
        """Serve the changes in the window of a subscription."""
        subscription = self.subscriptions.get(options["deltaid"])
        if subscription is None or subscription.set_name != table.name:
            return error_answer(HTTPStatus.NOT_FOUND, "The delta link has expired.")
        facts = self._facts[subscription.namespace, subscription.model_id]
        following = self.subscriptions.read(subscription, len(facts.log))
        query = self._query(request, table, subscription.options)
        entities = delta_entities(
            subscription, facts, query, facts_per_key=self.behaviour.facts_per_key
        )
        begin = position(options)
        end = begin + query.page_size
        if end < len(entities):
            links = {"nextLink": link(request, {**options, "$skiptoken": str(end)})}
        else:
            links = {"deltaLink": link(request, {"deltaid": following.id})}
        return page_answer(f"{table.name}/$delta", entities[begin:end], links)


def _subscription_row(subscription: Subscription, request: Request) -> Row:
    """Describe a subscription like SAP's newest sample."""
    model = f"{subscription.namespace}/{subscription.model_id}"
    url = f"{request.base_url}{SERVICE_ROOT}/providers/{model}/{subscription.set_name}"
    ended_at = subscription.ended_at
    if subscription.previous is None:  # The full read has its own window.
        ended_at = subscription.started_at
    return {
        "NamespaceID": subscription.namespace,
        "ProviderID": subscription.model_id,
        "EntitySetName": subscription.set_name,
        "SubscriptionID": subscription.id,
        "ExternalID": None,
        "ChainID": subscription.chain_id,
        "PreviousSubscriptionID": subscription.previous.id if subscription.previous else None,
        "Filter": subscription.options.get("$filter"),
        "Selection": subscription.options.get("$select"),
        "Description": None,
        "StartTime": subscription.started_at,
        "EndTime": ended_at,
        "LastAccessed": ended_at,
        "Timezone": "UTC",
        "CurrentDeltaLink": f"{url}?deltaid={subscription.last.id}",
    }


def _older_row(subscription: Subscription, request: Request) -> Row:
    """Describe a subscription like SAP's older samples."""
    row = _subscription_row(subscription, request)
    row |= {"EndTime": subscription.ended_at, "LastAccessed": None}
    del row["Timezone"]
    return {name: "null" if value is None else value for name, value in row.items()}
