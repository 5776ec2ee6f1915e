"""A stand-in for a tenant that answers as a test tells it to, over a real socket."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

from tap_sac.demo.service import SERVICE_ROOT, TOKEN_PATH, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

JSON = {"Content-Type": "application/json"}
PAGE_SIZE = 2

LinkForm = Literal["absolute", "root-relative", "service-relative"]


@dataclass
class Model:
    """A model of the stand-in.

    `sets` holds rows as JSON text, so that a test decides on every digit.
    """

    id: str
    name: str
    edmx: str
    sets: dict[str, Sequence[str]] = field(default_factory=dict)
    namespace: str = "sac"


def edmx(**sets: dict[str, str]) -> str:
    """Write a document of sets with columns; a type with a star makes a key column."""
    types = ""
    for name, columns in sets.items():
        key = [column for column, type_name in columns.items() if type_name.endswith("*")]
        references = "".join(f"<PropertyRef Name={quoteattr(column)}/>" for column in key)
        properties = "".join(
            f"<Property Name={quoteattr(column)} {_type_attributes(type_name)}/>"
            for column, type_name in columns.items()
        )
        types += f'<EntityType Name="{name}"><Key>{references}</Key>{properties}</EntityType>'
    return f'<Edmx><DataServices><Schema Namespace="sac">{types}</Schema></DataServices></Edmx>'


def _type_attributes(type_name: str) -> str:
    facets = ' Precision="31" Scale="7"' if type_name.startswith("Edm.Decimal") else ""
    return f'Type="{type_name.rstrip("*")}"{facets}'


SALES_EDMX = edmx(
    FactData={"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"}
)


def sales(*rows: str, model_id: str = "C4SALES", name: str = "Sales") -> Model:
    """Make a model with two dimensions and a measure."""
    return Model(model_id, name, SALES_EDMX, {"FactData": rows})


def sales_row(number: int, amount: str = "1.0000000") -> str:
    return f'{{"Version":"public.Actual","Date":"{number:06}","AMOUNT":{amount}}}'


class StandIn:
    """Answers like SAC, in the variant that the test chooses.

    `fault` sees each request for data first; what it returns is the answer.
    """

    def __init__(self, *models: Model, link_form: LinkForm = "absolute") -> None:
        self.models = models
        self.link_form = link_form
        self.link_first = False
        self.counts = True
        self.skips = True
        self.requests: list[Request] = []
        self.token_requests: list[Request] = []
        self.token_seconds: Any = 3600
        self.fault: Callable[[Request], Response | None] = lambda _: None

    @property
    def targets(self) -> list[str]:
        """Paths and queries of the requests for data, below the service root."""
        return [request.target.removeprefix(SERVICE_ROOT) for request in self.requests]

    def reads(self, path: str) -> list[str]:
        """Return the targets of requests for rows, without those that only ask for a count."""
        return [target for target in self.targets if path in target and "$top=0" not in target]

    def __call__(self, request: Request) -> Response:
        if request.target == TOKEN_PATH:
            self.token_requests.append(request)
            token = {
                "access_token": f"token-{len(self.token_requests)}",
                "token_type": "bearer",
                "expires_in": self.token_seconds,
            }
            return Response(200, json.dumps(token).encode(), JSON)
        self.requests.append(request)
        return self.fault(request) or self._answer(request)

    def _answer(self, request: Request) -> Response:
        path = unquote(urlsplit(request.target).path).removeprefix(SERVICE_ROOT)
        namespaces = dict.fromkeys(model.namespace for model in self.models)
        if path == "/administration/Namespaces":
            return self.page(request, [json.dumps({"NamespaceID": name}) for name in namespaces])
        for namespace in namespaces:
            models = [model for model in self.models if model.namespace == namespace]
            if path == f"/administration/Namespaces(NamespaceID='{namespace}')/Providers":
                rows = [
                    {"NamespaceID": namespace, "ProviderID": model.id, "ProviderName": model.name}
                    for model in models
                ]
                return Response(200, json.dumps({"value": rows}).encode(), JSON)
            for model in models:
                root = f"/providers/{namespace}/{model.id}"
                if path == f"{root}/$metadata":
                    return Response(200, model.edmx.encode())
                for name, rows_of_set in model.sets.items():
                    if path == f"{root}/{name}":
                        return self.page(request, rows_of_set)
        return error_response(404, f"{path} is not valid [1305]")

    def page(self, request: Request, rows: Sequence[str]) -> Response:
        parts = urlsplit(request.target)
        options = parse_qs(parts.query)
        start = int(options.get("$skiptoken", ["0"])[0])
        page_size = int(options.get("pagesize", [str(PAGE_SIZE)])[0])
        if "$top" in options:
            start = int(options.get("$skip", ["0"])[0]) if self.skips else 0
            page_size = int(options["$top"][0])
        members = [f'"value":[{",".join(rows[start : start + page_size])}]']
        if "$count" in options and self.counts:
            members.append(f'"@odata.count":{len(rows)}')
        if start + page_size < len(rows) and "$top" not in options:
            kept = "".join(
                f"{name}={quote(values[0])}&"
                for name, values in options.items()
                if name not in {"$skiptoken", "$count"}
            )
            query = f"?{kept}$skiptoken={start + page_size}"
            base = {
                "absolute": f"{request.base_url}{parts.path}",
                "root-relative": parts.path,
                "service-relative": parts.path.rpartition("/")[2],
            }[self.link_form]
            link = f'"@odata.nextLink":{json.dumps(base + query)}'
            members.insert(0 if self.link_first else 1, link)
        return Response(200, f"{{{','.join(members)}}}".encode(), JSON)


def error_response(status: int, message: object, **headers: str) -> Response:
    body = {"error": {"code": "6f1c2f0e-3f1a-4a55-8a7c-2d6b9f4f1c7e", "message": message}}
    return Response(status, json.dumps(body).encode(), {**JSON, **headers})
