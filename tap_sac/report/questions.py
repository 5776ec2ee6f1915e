"""The questions of a report: requests, possible answers, expected answers, and their sources."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tap_sac.report.grammar import HEADERS, magnitude, refusal
from tap_sac.sac.export.asker import COUNT, NEXT_LINK, Number, page_of
from tap_sac.sac.export.kinds import AGGREGATION, FACTS
from tap_sac.sac.odata.model import NUMBERS
from tap_sac.sac.urls import other_origin
from tap_sac.safety.text import decimal_digits, origin_of

if TYPE_CHECKING:
    from tap_sac.report.scene import Scene
    from tap_sac.sac.export.asker import Page
    from tap_sac.sac.http.answer import Answer

Answers = Mapping[str, str | None]

# A question, its request, and its answers other than numbers, refusals and words of the grammar;
# then its parts: the request, the expected answers (or their beginnings), and the sources.
_TABLE = """
token | the answer of the Token URL | JWT opaque
 seconds | | 3599, 3600, 86399, 86400 | live
 kind | | | unknown
namespaces | administration/Namespaces, and the providers of each | served unlisted none some
 sac | | served | live
 sac_public_dimensions | | served, unlisted, 403, 404 | doc, live
 sac_currency_tables | | served, unlisted, 403, 404 | doc, live
 sac_unit_conversion | | served, unlisted, 403, 404 | doc, live
 others | | none | doc
$metadata | $metadata of each model | none written left out / ___ .
 namespace | | com.sap.cloudDataIntegration, sac | live, code
 Nullable | | left out | live
 types of measures | | Edm.Decimal | live
 key of sums | | left out | doc
 tracked | | FactData | live
 attributes | | ___ | live
first page | FactData without pagesize | linked whole cut
 link | | linked, whole | doc
 rows | | | unknown
pagesize | FactData with a third of these rows | linked whole cut honoured ignored another
 link | | linked, whole | live
 rows | | honoured | doc
links | the links of all pages | absolute relative root same other address elsewhere kept dropped
 form | | absolute, root, relative | live
 host | | same, other address | guess
 pagesize | | | unknown
$count | a count in each form | right missing another
 with rows | FactData?$count=true | right | live
 next page | | right | doc
 $top=0 | FactData?$count=true&$top=0 | right | live
 $filter | FactData?$count=true&$top=0&$filter={first} ne '{nothing}' | right | live
 few columns | FactData?$count=true&$top=1&$select={key} | missing | live
 sums | FactDataAggregation?$count=true&$top=0&$select={columns} | right | live
 members | {master}?$count=true&$top=0 | right | live
positions | order and keys of FactData | right ignored another kept changes never other same figures
 $orderby and $skip | | right | live
 order | | | unknown
 keys again | | never, other figures | live, conflict
values | the measures of these rows | written left out numbers texts /
 nulls | | written | live
 numbers | | numbers | doc
 zeros | | written, left out | doc
refusals | what does not exist, and what SAC is said to refuse or to ignore | served
 unknown set | {nothing} | 400 [3707], 404 [3707] | live
 unknown column | FactData?$top=1&$select={columns},{nothing} | 400 | guess
 unknown model | /providers/sac/{nothing}/FactData | 404 | guess
 unknown path | /administration/{nothing} | 404 [1305], 400 [1305] | live
 key column missing | FactData?$top=1&$select={others} | 400 [1402] | live
 in list | FactData?$top=1&$filter={first} in ('{nothing}') | 500 [1205] | live
 $pagesize | FactData?$top=1&$pagesize=1 | 400 | live
 $apply | FactData?$top=1&$apply=groupby(({first})) | served | live
 sums without $select | FactDataAggregation?$top=1 | 400 | live
 differences alone | FactDataDifference?$top=1 | 400, 404 [3707] | doc
 AuditData | AuditData?$top=1 | served, 400, 403, 404 [3707] | doc, conflict
 no hierarchy | {flat}WithHierarchy?$top=1 | 400, 404 [3707] | live
 distinct values | {first}___Distinct | served, 400, 404 | code
CSRF | x-csrf-token: fetch at /api/v1/csrf, and at administration/Namespaces | given served
 api | | given, 200, 404 | doc, live
 service | | given, served | live
changes | a subscription to changes, with --report-changes | uuid first-uuid other deltaLink \
deltalink same another unlisted StartTime null text left out done failed none
 link | | uuid, first-uuid | doc, live
 spelling | | deltaLink, deltalink | doc, live
 listed | | same, another | guess
 EndTime | | StartTime, null, text, left out | doc
 ExternalID | | null, text, left out | doc
 Timezone | | another, left out | doc
 deleted | | done | doc
pace | headers, and powers of ten: how long the first page took, and how many rows a second | none
 headers | | | unknown
 milliseconds | | | unknown
 rows per second | | | unknown
"""
NOTHING = "TapSACAsksForNothing"  # a set, a column, a member and a model that do not exist
_WRITTEN = ("left out", "written")
VERDICTS = AS_BELIEVED, OTHERWISE, SEEN, NOT_SEEN = "as believed", "otherwise", "seen", "not seen"


class Part(NamedTuple):
    """A part of a question: its request, if any, the expected answers, and their sources."""

    request: str
    believed: str
    mark: str

    def verdict(self, answer: str | None) -> str:
        """Compare an answer with the expected ones."""
        if answer is None or not self.believed:
            return NOT_SEEN if answer is None else SEEN
        starts = tuple(f"{text} " for text in self.believed.split(", "))
        fits = all(f"{part} ".startswith(starts) for part in answer.split(" / "))
        return AS_BELIEVED if fits else OTHERWISE


class Question(NamedTuple):
    """A question: its parts, and the function that finds their answers."""

    name: str
    request: str
    words: str
    parts: Mapping[str, Part]
    look: Callable[[Scene, Mapping[str, Part]], Answers]


def _token(scene: Scene, _: object) -> Answers:
    authenticator = scene.asker.client.authenticator
    life, is_jwt = authenticator.token_life, authenticator.has_readable_token
    kind = None if is_jwt is None else "JWT" if is_jwt else "opaque"
    return {"seconds": None if life is None else str(min(life, 999_999)), "kind": kind}


def _namespaces(scene: Scene, parts: Iterable[str]) -> Answers:
    client, known = scene.asker.client, [*parts][:-1]
    page = page_of(scene.asker.get(f"{client.administration}/Namespaces"))
    listed = {str(row.get("NamespaceID")) for row in page.get("value", ())}
    found: dict[str, str | None] = dict.fromkeys(known, "unlisted")
    for name in listed.intersection(known):
        found[name] = outcome_of(scene.asker.get(client.providers_url(name)))
    return {**found, "others": "some" if listed - {*known} else "none"} if listed else {}


def _shapes(scene: Scene, _: object) -> Answers:
    shapes = list(scene.shapes.values())
    sets = [{"key": (), "set": (), "columns": (), **i} for shape in shapes for i in shape["sets"]]
    columns = [(item, text.split()) for item in sets for text in item["columns"]]
    measures = [w[1] for i, w in columns if i["name"] == FACTS and w[0] not in i["key"]]
    attributes = [w[0] for i, w in columns if i["name"] == "MasterData"]
    notes = [(i["name"], term) for i in sets for term in i["set"] if "ChangeTracking" in term]
    tracked = " ".join(sorted({name for name, term in notes if term.endswith("=true")}))
    return {
        "namespace": _either(shape.get("namespace", "none") for shape in shapes),
        "Nullable": _either(_WRITTEN["Nullable=" in str(words)] for _, words in columns),
        "types of measures": _either(measures),
        "key of sums": _either(_WRITTEN[bool(i["key"])] for i in sets if i["name"] == AGGREGATION),
        "tracked": (tracked or "none") if notes else None,
        "attributes": _either(by for name in attributes for by in ("___", ".") if by in name),
    }


def _first_page(scene: Scene, _: object) -> Answers:
    link, rows, count = _paging(scene.first), scene.first.get("value"), scene.first.get(COUNT)
    pages = scene.asker.follow(scene.ask(FACTS, {"$count": "true"}), 2) if not count else []
    # If more rows follow, this is the size of a page, not of the table.
    is_short = rows and (int(count) > len(rows) if count else any(p["value"] for p in pages[1:]))
    return {"link": link, "rows": str(len(rows)) if rows and is_short else None}


def _sized_pages(scene: Scene, _: object) -> Answers:
    page, whole = next(iter(scene.pages), {}), len(scene.first.get("value", ()))
    sizes = {whole: "ignored", -(-whole // 3): "honoured"}
    size = sizes.get(len(page["value"]), "another") if page else None
    return {"link": _paging(page), "rows": size}


def _links(scene: Scene, _: object) -> Answers:
    found = (page[NEXT_LINK] for page in [*scene.pages, scene.first] if page.get(NEXT_LINK))
    if (link := next(found, None)) is None:
        return {}
    own = scene.asker.client.origin
    hosts = {own: "same", other_origin(own): "other address"}
    form = "absolute" if "://" in link else "root" if link[0] == "/" else "relative"
    host = hosts.get(origin_of(link), "elsewhere") if form == "absolute" else None
    kept = "kept" if "pagesize=" in link else "dropped"
    return {"form": form, "host": host, "pagesize": kept if scene.pages else None}


def _requests(scene: Scene, parts: Mapping[str, Part]) -> Iterable[tuple[str, Answer | None]]:
    """Send the parts that are single requests to the subject."""
    sets, facts = scene.sets, scene.sets.get(FACTS)
    columns = [item.name for item in facts.properties] if facts else []
    masters = [name for name in sets if name.endswith("Master")]
    flat = (name for name in masters if f"{name}WithHierarchy" not in sets)
    gaps = {"nothing": NOTHING, "columns": ",".join(columns), "others": ",".join(columns[1:])}
    gaps |= {"key": ",".join(facts.key) if facts else "", "flat": next(flat, NOTHING)}
    gaps |= {"first": (columns or [NOTHING])[0], "master": (masters or [NOTHING])[0]}
    for part, (request, _, _) in parts.items():
        path, *query = (text.format(**gaps) for text in re.split("[?&]", request))
        if path.startswith("/"):
            yield part, scene.asker.get(f"{scene.asker.client.service_root}{path}")
        elif path:
            yield part, scene.ask(path, {it.split("=", 1)[0]: it.split("=", 1)[1] for it in query})


def _counts(scene: Scene, parts: Mapping[str, Part]) -> Answers:
    found: dict[str, str | None] = {}
    for part, answer in _requests(scene, parts):
        page = page_of(answer)
        of_facts = scene.first.get(COUNT) if part not in {"sums", "members"} else None
        found[part] = _counted(page, of_facts) if page else outcome_of(answer)
    following = scene.pages[1:2]
    return {**found, "next page": _either(_counted(p, scene.first.get(COUNT)) for p in following)}


def _counted(page: Page, number: object) -> str:
    count = page.get(COUNT)
    return "missing" if count is None else "right" if number in {None, count} else "another"


def _positions(scene: Scene, _: object) -> Answers:
    key = scene.sets[FACTS].key if scene.subject else ()
    in_order = {"$orderby": ",".join(key)}
    three = page_of(scene.ask(FACTS, {**in_order, "$top": "3"})).get("value", ())
    answer = scene.ask(FACTS, {**in_order, "$skip": "1", "$top": "2"})
    words = {str(three[1:]): "right", str(three[:2]): "ignored"}
    later = page_of(answer).get("value")
    position = words.get(str(later), "another") if three[2:] else None
    plain = scene.ask(FACTS, {"$top": "3"})
    again = page_of(scene.asker.get(plain.url, {"Accept": "*/*"}) if plain else None)
    is_same = again.get("value") == page_of(plain).get("value")
    first: dict[str, Any] = {}
    rows = [row for page in scene.pages for row in page["value"]]
    pairs = [(first.setdefault(str([row.get(name) for name in key]), row), row) for row in rows]
    repeated = [before == row for before, row in pairs if before is not row]
    figures = "same figures" if all(repeated) else "other figures"
    return {
        "$orderby and $skip": outcome_of(answer) if later is None else position,
        "order": ("kept" if is_same else "changes") if again else None,
        "keys again": (figures if repeated else "never") if rows and key else None,
    }


def _values(scene: Scene, _: object) -> Answers:
    facts = scene.sets[FACTS].properties if scene.subject else ()
    rows = [row for page in (scene.first, *scene.pages) for row in page.get("value", ())]
    pairs = [(item, row) for row in rows for item in facts if item.type in NUMBERS]
    found = [(item.scale, row[item.name]) for item, row in pairs if row.get(item.name) is not None]
    zeros = [len(str(value).partition(".")[2]) == scale for scale, value in found if scale]
    return {
        "nulls": _either(_WRITTEN[i.name in row] for i, row in pairs if row.get(i.name) is None),
        "numbers": _either("numbers" if isinstance(v, Number) else "texts" for _, v in found),
        "zeros": _WRITTEN[all(zeros)] if zeros else None,
    }


def _csrf(scene: Scene, _: object) -> Answers:
    client = scene.asker.client
    urls = {"api": f"{client.origin}/api/v1/csrf", "service": f"{client.administration}/Namespaces"}
    asked = {part: scene.asker.get(url, {"x-csrf-token": "fetch"}) for part, url in urls.items()}
    given = {part: "given" for part, it in asked.items() if it and "x-csrf-token" in it.headers}
    return {part: given.get(part) or outcome_of(answer) for part, answer in asked.items()}


def _pace(scene: Scene, _: object) -> Answers:
    came = " ".join(name for name in HEADERS if name in scene.asker.headers) or "none"
    answer, rows = scene.ask(FACTS, {"$count": "true"}), scene.first.get("value")
    seconds = answer.seconds if answer and rows else 0.0
    took = scene.first.get("@des.processingTimeInMilliseconds", int(seconds * 1000))
    speed = str(magnitude(len(rows) / seconds)) if rows and seconds else None
    ours = None if (spent := decimal_digits(took)) is None else str(magnitude(spent))
    return {"headers": came, "milliseconds": ours, "rows per second": speed}


def outcome_of(answer: Answer | None) -> str | None:
    """Describe a refusal, or that rows were served; None without an answer."""
    return None if answer is None else "served" if page_of(answer) else refusal(answer)


def _either(words: Iterable[str]) -> str | None:
    return " / ".join(sorted(set(words))) or None


def _paging(page: Page) -> str | None:
    """Return whether a page links to others, is complete, or is truncated."""
    if page.get(NEXT_LINK) or COUNT not in page:
        return "linked" if page.get(NEXT_LINK) else None
    return "cut" if int(page[COUNT]) > len(page["value"]) else "whole"


def _questions() -> Iterable[Question]:
    looks: tuple[Callable[[Scene, Any], Answers], ...] = (
        *(_token, _namespaces, _shapes, _first_page, _sized_pages, _links, _counts, _positions),
        *(_values, lambda *it: {part: outcome_of(answer) for part, answer in _requests(*it)}),
        *(_csrf, lambda scene, _: scene.changes, _pace),
    )
    for block, look in zip(re.split(r"\n(?! |$)", _TABLE)[1:], looks, strict=True):
        head, *lines = (re.split(r" ?\| ?", line.strip()) for line in block.strip().split("\n"))
        name, request, words = head
        yield Question(name, request, words, {part: Part(*it) for part, *it in lines}, look)


QUESTIONS = tuple(_questions())
