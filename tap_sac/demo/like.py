"""A sample tenant that answers like a report: ``python -m tap_sac.demo --like report.json``.

It changes the answers of the sample tenant's own service to those in the report.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.edmx import document_of
from tap_sac.demo.exchange import Request, Response, described_answer, json_answer
from tap_sac.demo.exchange import link as link_to
from tap_sac.demo.service import SERVICE_ROOT, SampleService
from tap_sac.demo.shapes import model_of
from tap_sac.demo.tables import AGGREGATION, AUDIT, DIFFERENCES, DISTINCT, FACTS

if TYPE_CHECKING:
    from collections.abc import Mapping

Page = dict[str, Any]

_MOST_ROWS = 10**5
_UNKNOWN = 2  # the magnitude of tables that SAC does not count
_ALL = 10**9  # the size of pages that have all rows
_MISSING = {"null": None, "text": "null", "another": "Xx"}  # how a list writes what it lacks
_PREFIXES = {"first-uuid": "first-", "other": "Xx"}  # of ids in links
_SERVED, _COUNT, _LINK, _DELTA = "served", "@odata.count", "@odata.nextLink", "@odata.deltaLink"
_MODEL = re.compile(rf"{SERVICE_ROOT}/providers/([^/]+)/([^/]+)/([^/]+)")
_PROVIDERS = re.compile(r".*/Namespaces\(NamespaceID='([^']+)'\)/Providers")
_UNKNOWN_PATH = re.compile(r".*/administration/(?!Namespaces$|Subscriptions$)[^/(]*")
# The options that a tenant ignores if it serves requests that the sample tenant refuses.
_IGNORED = {"in list": "$filter", "$pagesize": "$pagesize", "$apply": "$apply"} | dict.fromkeys(
    ("unknown column", "key column missing"), "$select"
)


class LikeReport:
    """Answers like the tenant of a report.

    Attributes:
        service: The sample tenant behind it, with the models of the report.
    """

    def __init__(self, report: Mapping[str, Any]) -> None:
        """Read the report.

        Raises:
            ValueError: If the file is not a report.
        """
        try:
            found = {name: item for name, item in report["answers"].items() if name != "about"}
            self._answers: dict[str, dict[str, str]] = {
                name: {part: seen[1] for part, seen in parts.items() if seen[1:]}
                for name, parts in found.items()
            }
            self._shapes = {shape["name"]: shape for shape in report["models"]["list"]}
            self._subject: str = report["models"].get("subject", "")
            behaviour = self._behaviour(report["steps"])
        except (TypeError, KeyError, AttributeError):
            msg = "This is not a report of tap-sac"
            raise ValueError(msg) from None
        kinds = self._of("values").keys() & {"nulls", "numbers"}
        shapes, per_key = self._shapes.values(), behaviour.facts_per_key
        models = [model_of(shape, self._keys(shape, per_key), kinds) for shape in shapes]
        self.service = SampleService(behaviour, models)
        self._sets = {model.id: {table.name: table for table in model.tables} for model in models}
        self._links: dict[str, str] = {}
        self._step = 1

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        path, shown = unquote(request.path), request.options
        link = self._links.get(shown.get("$skiptoken", ""))
        target = re.sub(r"(first-|Xx)+(?=[0-9a-f]{8}-)", "", link or request.target)
        request = replace(request, target=target)
        part = self._part(path, request)
        said = self._of("refusals").get(part, "")
        answer = self.service(self._changed(request, part if said == _SERVED else ""))
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return answer  # Without a token, nothing else is answered.
        answer = self._instead(path, request, answer, said) or answer
        match = _MODEL.fullmatch(path)
        if match and answer.status == HTTPStatus.OK and b'"value":' in answer.body:
            form = "next page" if link else _form(match[3], request.options)
            page = json.loads(answer.body, parse_float=Decimal)
            answer = self._page(form, request, shown, page)
        if request.headers.get("x-csrf-token") == "fetch":
            said = self._of("CSRF").get("api" if path == "/api/v1/csrf" else "service", "given")
            kept = {name: it for name, it in answer.headers.items() if name != "x-csrf-token"}
            answer = answer if said == "given" else replace(answer, headers=kept)
            answer = described_answer(said) or answer
        names = self._of("pace").get("headers", "none").replace("none", "").split()
        return replace(answer, headers={**dict.fromkeys(names, "1"), **answer.headers})

    def _of(self, question: str) -> dict[str, str]:
        return self._answers.get(question, {})

    def _keys(self, shape: Mapping[str, Any], facts_per_key: int) -> int:
        """Return the number of keys of a model's facts; the subject has the fewest facts."""
        size = int(shape.get("magnitude", _UNKNOWN))
        subject = self._shapes.get(self._subject, shape)
        smallest = int(10.0 ** int(subject.get("magnitude", _UNKNOWN)))
        sized, known = self._of("pagesize"), self._of("positions").keys()
        if "order" in known and "$orderby and $skip" not in known:  # fewer than three
            smallest = len(sized) and 1 + (sized.get("link") in {"linked", "cut"})
            size = size if "magnitude" in shape else 0
        smallest = smallest if smallest != 1 or "$orderby and $skip" not in known else 8
        if rows := self._of("first page").get("rows"):
            smallest = max(smallest, int(rows) + 1)
        more = shape is not subject
        keys = -(-min(max(size and 10**size, smallest), _MOST_ROWS) // facts_per_key)
        return keys + more if size >= 0 else 0

    def _behaviour(self, steps: Mapping[str, str]) -> Behaviour:
        first, refusals, csrf = self._of("first page"), self._of("refusals"), self._of("CSRF")
        rows = int(first.get("rows", 0)) or (_ALL if first.get("link") == "whole" else 1000)
        sized, positions = self._of("pagesize"), self._of("positions")
        return Behaviour(
            page_size=rows,
            page_cap=rows if first.get("link") == "cut" else None,
            pagesize_lifts_cap="rows" not in sized or sized.get("link", "cut") != "cut",
            facts_per_key=1 + (positions.get("keys again") == "other figures"),
            differences_need_subscribers=refusals.get("differences alone") != _SERVED,
            lists_distinct_values=refusals.get("distinct values") == _SERVED,
            client_has_access="CLIENT_NOT_ALLOWED" not in steps.get("namespaces", ""),
            missing_grant="client_credentials" if "GRANT" in steps.get("token", "") else None,
            ignores_skip=positions.get("$orderby and $skip") == "ignored",
            is_api_host=bool(csrf) and "given" not in csrf.values(),
            token_seconds=int(self._of("token").get("seconds", 3600)),
            readable_tokens=self._of("token").get("kind") == "JWT",
        )

    def _part(self, path: str, request: Request) -> str:
        """Return which question about refusals a request asks; empty for others."""
        match, options = _MODEL.fullmatch(path), request.options
        if match is None:
            return "unknown path" if _UNKNOWN_PATH.fullmatch(path) else ""
        tables, name = self._sets.get(match[2]), match[3]
        if tables is None or name == "$metadata":
            return "unknown model" if tables is None else ""
        if name not in tables:
            ends = {DISTINCT: "distinct values", "WithHierarchy": "no hierarchy"}
            ends |= {AUDIT: "AuditData", "": "unknown set"}
            found = next(part for end, part in ends.items() if name.endswith(end))
            return found if FACTS in tables else ""
        columns = {column.name for column in tables[name].columns}
        selected = {*options["$select"].split(",")} if "$select" in options else None
        opens = "prefer" in request.headers or bool({"deltaid", "$skiptoken"} & options.keys())
        lacks_key = selected is not None and not {*tables[name].key} <= selected
        applies = {
            "AuditData": name == AUDIT,
            "sums without $select": name == AGGREGATION and selected is None,
            "differences alone": name == DIFFERENCES and not opens,
            "in list": " in (" in options.get("$filter", ""),
            "$pagesize": "$pagesize" in options,
            "$apply": "$apply" in options,
            "unknown column": selected is not None and not selected <= columns,
            "key column missing": name == FACTS and lacks_key,
        }
        return next((part for part, is_it in applies.items() if is_it), "")

    def _changed(self, request: Request, ignored: str) -> Request:
        """Change the options that a tenant interprets differently from the sample tenant."""
        options, sizes = request.options, self._of("pagesize").get("rows")
        options.pop(_IGNORED.get(ignored, ""), None)
        if "pagesize" in options and sizes in {"ignored", "another"}:
            size = int(options.pop("pagesize"))
            options |= {} if sizes == "ignored" else {"pagesize": str(2 * size)}
        if "$skip" in options and self._of("positions").get("$orderby and $skip") == "another":
            options["$skip"] = str(int(options["$skip"]) + 1)
        if ignored == "sums without $select":
            model = unquote(request.path).split("/")[-2]
            columns = (column.name for column in self._sets[model][AGGREGATION].columns)
            options["$select"] = ",".join(columns)
        return replace(request, target=link_to(request, options))

    def _instead(self, path: str, request: Request, answer: Response, said: str) -> Response | None:
        """Respond by the report, if that is not a page of the sample tenant."""
        match, providers = _MODEL.fullmatch(path), _PROVIDERS.fullmatch(path)
        if path.endswith("/administration/Namespaces") and answer.status == HTTPStatus.OK:
            names = dict.fromkeys(shape["namespace_id"] for shape in self._shapes.values())
            known = self._of("namespaces").items()
            names |= dict.fromkeys(it for it, at in known if at not in {"unlisted", "none"})
            listed = ("Namespace1" if name == "others" else name for name in names)
            rows = json_answer({"value": [{"NamespaceID": name} for name in dict.fromkeys(listed)]})
            return replace(answer, body=rows.body)
        if providers:
            said = self._of("namespaces").get(providers[1], _SERVED)
        if match and match[3] == "$metadata" and match[2] in self._shapes:
            shape = self._shapes[match[2]]
            said = shape.get("refused", "")
            if "sets" in shape and answer.status == HTTPStatus.OK:
                return replace(answer, body=document_of(shape).encode())
        if "/Subscriptions" in path and answer.status < HTTPStatus.BAD_REQUEST:
            return self._subscriptions(request, answer)
        if match and "prefer" in request.headers:
            said = self._of("changes").get("link", "")
        if match and {"$orderby", "$skip"} <= request.options.keys():
            said = said or self._of("positions").get("$orderby and $skip", "")
        is_empty = said == _SERVED and answer.status != HTTPStatus.OK
        return json_answer({"value": []}) if is_empty else described_answer(said)

    def _subscriptions(self, request: Request, answer: Response) -> Response | None:
        """List subscriptions as the tenant does, or refuse to list or to delete them."""
        said = self._of("changes")
        if request.method == "DELETE":
            return described_answer("403 empty" if said.get("deleted") == "failed" else "")
        rows, listed = json.loads(answer.body)["value"], said.get("listed", "")
        first = _PREFIXES.get(said.get("link", ""), "")
        if listed == "another":
            first = "" if first == "first-" else "first-"
        for row in rows:
            row["SubscriptionID"] = f"{first}{row['SubscriptionID']}"
            is_read = row["EndTime"] != row["StartTime"]
            for name in ("EndTime", "ExternalID", "Timezone")[is_read:]:
                row[name] = _MISSING.get(said.get(name, ""), row[name])
                if said.get(name) == "left out":
                    del row[name]
        page = json_answer({"value": [] if listed == "unlisted" else rows})
        return described_answer(listed) or page

    def _page(self, form: str, request: Request, shown: dict[str, str], page: Page) -> Response:
        """Return a page by the report."""
        if "$count" in request.options:
            said = self._of("$count").get(form, "")
            if refused := described_answer(said):
                return refused
            page = self._counted(page, request, said)
        page["value"] = [self._row(row, number) for number, row in enumerate(page["value"])]
        if self._of("positions").get("order") == "changes" and "$orderby" not in request.options:
            self._step = -self._step
            page["value"] = page["value"][:: self._step]
        is_cut = "pagesize" in shown and not self.service.behaviour.pagesize_lifts_cap
        if (link := page.pop(_LINK, "")) and not (is_cut and "$skiptoken" not in shown):
            page[_LINK] = self._link(link, request, shown)
        changes, how = self._of("changes"), self._of("changes").get("link", "")
        if (delta := page.pop(_DELTA, "")) and how != "none":
            delta = delta.replace("deltaid=", f"deltaid={_PREFIXES.get(how, '')}")
            page[f"@odata.{changes.get('spelling', 'deltaLink')}"] = delta
        return json_answer(page)

    def _counted(self, page: Page, request: Request, said: str) -> Page:
        """Add a count that the sample tenant does not return, or remove one."""
        if said == "missing":
            return {name: value for name, value in page.items() if name != _COUNT}
        if said and _COUNT not in page:
            kept = {name: it for name, it in request.options.items() if name == "$filter"}
            target = link_to(request, {**kept, "$count": "true", "$top": "0"})
            page = {**json.loads(self.service(replace(request, target=target)).body), **page}
        return {**page, _COUNT: page[_COUNT] + 1} if said == "another" else page

    def _link(self, link: str, request: Request, shown: Mapping[str, str]) -> str:
        """Write a next link in the tenant's format, and remember its page."""
        said, token = self._of("links"), str(len(self._links) + 1)
        if self._of("positions").get("keys again") == "same figures":
            link = re.sub(r"(?<=skiptoken=)\d+", lambda found: str(int(found[0]) - 1), link)
        self._links[token] = link
        options = {**shown, "$skiptoken": token}
        if said.get("pagesize") == "dropped":
            options.pop("pagesize", None)
        target = link_to(request, options).removeprefix(request.base_url)
        forms = {"root": target, "relative": target.rpartition("/")[2]}
        return forms.get(said.get("form", ""), f"{request.base_url}{target}")

    def _row(self, row: Mapping[str, Any], turn: int) -> dict[str, Any]:
        """Write numbers and nulls like the tenant, alternating if it has both forms."""
        values = {part: words.split(" / ") for part, words in self._of("values").items()}
        nulls, numbers = values.get("nulls", [""]), values.get("numbers", [""])
        found = {}
        for name, value in row.items():
            if isinstance(value, Decimal):
                number = value.normalize() if values.get("zeros") == ["left out"] else value
                is_text = numbers[turn // 2 % len(numbers)] == "texts"
                found[name] = f"{number:f}" if is_text else number
            elif value is not None or nulls[turn // 2 % len(nulls)] != "left out":
                found[name] = value
        return found


def _form(name: str, options: Mapping[str, str]) -> str:
    """Return which question about counts a request for a first page asks."""
    if name != FACTS:
        return "sums" if name == AGGREGATION else "members"
    if "$select" in options or options.get("$top") != "0":
        return "few columns" if "$select" in options else "with rows"
    return "$filter" if "$filter" in options else "$top=0"
