"""A tenant whose pages are rendered before anybody asks, so that it is never the bottleneck."""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import time
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from tap_sac.demo.server import SampleTenant
from tap_sac.demo.service import SERVICE_ROOT, TOKEN_PATH, Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = {"Content-Type": "application/json"}
DIMENSIONS = (
    "Version",
    "Date",
    "Account",
    "CostCenter",
    "Product",
    "Region",
    "Customer",
    "Currency",
)
MEASURES = ("AMOUNT", "QUANTITY")
SLICES = 12
SLICED_SECONDS_PER_PAGE = 2.0
SECONDS_OF_A_COUNT = 0.2
SMALL_SETS = 60
SMALL_SET_SECONDS = 2.0
MANY_MODELS = 300
METADATA_SECONDS = 0.2
SAC_ROWS_PER_SECOND = 30_000
ROWS_IN_PART = 10_000
PARTS = 100


@dataclass(frozen=True)
class Facts:
    """A model with facts."""

    rows: int
    page_size: int
    rows_per_second: int | None = None
    kind: str = "usual"


FACTS = {
    "PAGES10K": Facts(1_000_000, 10_000),
    "SHUFFLED": Facts(1_000_000, 10_000, kind="shuffled"),
    "PAGES100K": Facts(1_000_000, 100_000),
    "SHORT10K": Facts(200_000, 10_000),
    "SHORT100K": Facts(200_000, 100_000),
    "LONG": Facts(5_000_000, 10_000),
    "SOAK": Facts(20_000_000, 10_000),
    "PACED": Facts(1_000_000, 10_000, SAC_ROWS_PER_SECOND),
    "SLICED": Facts(960_000, 10_000),
}
# The digits of AMOUNT before the point, by kind of rows. A float has 15 to 17, on both sides of it.
DIGITS = {"usual": 9, "digits": 20, "shuffled": 9}
# Has no factor in common with the number of rows, so that it brings all of them out of order.
SHUFFLE = 387_420_489
TEXT = "text"  # the kind without measures
_MEASURES = re.compile(rb'"AMOUNT":(\d+)\.(\d{7}),"QUANTITY":(\d+)\.(\d{7})')


@dataclass
class Tenant:
    """Answers with what is rendered; knows when it was first asked for rows."""

    models: dict[str, Facts] = field(default_factory=lambda: FACTS)
    parts: dict[str, list[bytes]] = field(init=False)
    fault_every: int | None = None
    first_request: float | None = None
    requests: int = 0
    lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Render the rows."""
        self.parts = {kind: list(render(kind)) for kind in {f.kind for f in self.models.values()}}

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        path = urlsplit(request.target).path.removeprefix(SERVICE_ROOT)
        if answer := self._about(path):
            return answer
        model, _, name = path.removeprefix("/providers/sac/").partition("/")
        if name == "$metadata":
            return Response(200, _metadata(model, self.models.get(model)))
        with self.lock:
            self.first_request = self.first_request or time.time()
            self.requests += 1
            number = self.requests
        if model == "SLICED":
            return self._sliced(request, name, self.models[model])
        if model == "SMALL":
            time.sleep(SMALL_SET_SECONDS)
            counted = {"@odata.count": 1} if "$count=true" in request.target else {}
            return _json(
                {"@odata.context": f"$metadata#{name}", **counted, "value": [{"ID": name}]}
            )
        page = self._page(request, self.models[model])
        if self.fault_every and number % self.fault_every == 0:
            return _faulty(page, number // self.fault_every)
        return page

    def _sliced(self, request: Request, name: str, facts: Facts) -> Response:
        """Answer about facts of which each month is a slice, in the order of months."""
        options = request.options
        months = [f"2026{number:02}" for number in range(1, SLICES + 1)]
        if name == "Date___Distinct":
            time.sleep(SECONDS_OF_A_COUNT)
            return _json({"value": [{"Date": month} for month in months]})
        due = time.monotonic() + SLICED_SECONDS_PER_PAGE
        asked = re.fullmatch(r"Date eq '(\d+)'", options.get("$filter", ""))
        rows = facts.rows // SLICES if asked else facts.rows
        counted = f'"@odata.count":{rows},' if options.get("$count") == "true" else ""
        if options.get("$top") == "0":
            time.sleep(SECONDS_OF_A_COUNT)
            return Response(200, f'{{{counted}"value":[]}}'.encode(), JSON)
        start = int(options.get("$skiptoken", "0"))
        first = start + (months.index(asked[1]) * rows if asked else 0)
        month = months[first // (facts.rows // SLICES)]
        page = self.parts[facts.kind][first // ROWS_IN_PART]
        page = re.sub(rb'"Date":"\d+"', f'"Date":"{month}"'.encode(), page)
        end = ""
        if start + facts.page_size < rows:
            kept = f"$filter={quote(options['$filter'])}&" if asked else ""
            path = urlsplit(request.target).path
            link = f"{request.base_url}{path}?{kept}$skiptoken={start + facts.page_size}"
            end = f',"@odata.nextLink":"{link}"'
        body = b'{%b"value":[%b]%b}' % (counted.encode(), page, end.encode())
        time.sleep(max(0.0, due - time.monotonic()))
        return Response(200, body, JSON)

    def _about(self, path: str) -> Response | None:
        """Answer what is not about one model."""
        if path == TOKEN_PATH:
            return _json({"access_token": "token", "token_type": "bearer", "expires_in": 3600})
        if path == "/first-request":
            first, self.first_request = self.first_request, None
            return _json(first)
        if path == "/administration/Namespaces":
            return _json({"value": [{"NamespaceID": "sac"}]})
        if path.endswith("/Providers"):
            many = (f"MODEL{number}" for number in range(MANY_MODELS))
            models = [*self.models, "SMALL", *many]
            rows = [
                {"NamespaceID": "sac", "ProviderID": name, "ProviderName": name} for name in models
            ]
            return _json({"value": rows})
        return None

    def _page(self, request: Request, facts: Facts) -> Response:
        parts = urlsplit(request.target)
        counted = f'"@odata.count":{facts.rows},' if "$count" in request.options else ""
        if request.options.get("$top") == "0":
            return Response(200, f'{{{counted}"value":[]}}'.encode(), JSON)
        start = int(parse_qs(parts.query).get("$skiptoken", ["0"])[0])
        due = time.monotonic()
        if facts.rows_per_second:
            due += facts.page_size / facts.rows_per_second
        first = start // ROWS_IN_PART
        count = facts.page_size // ROWS_IN_PART
        parts_of_kind = self.parts[facts.kind]
        rows = b",".join(_part(parts_of_kind, number) for number in range(first, first + count))
        end = b""
        if start + facts.page_size < facts.rows:
            link = f"{request.base_url}{parts.path}?$skiptoken={start + facts.page_size}"
            end = f',"@odata.nextLink":"{link}"'.encode()
        begin = (
            f'{{{counted}"@odata.context":"$metadata#FactData","@des.entitiesInPage":"{facts.page_size}",'
            '"@des.processingTimeInMilliseconds":"97","value":['
        )
        body = b"%b%b]%b}" % (begin.encode(), rows, end)
        time.sleep(max(0.0, due - time.monotonic()))
        return Response(200, body, JSON)


def render(kind: str = "usual", parts: int = PARTS) -> Iterator[bytes]:
    """Write the rows of which every page is made."""
    number = random.Random(1)  # noqa: S311  (the same rows in every run)
    for part in range(parts):
        rows = []
        for place in range(part * ROWS_IN_PART, (part + 1) * ROWS_IN_PART):
            row = place * SHUFFLE % (parts * ROWS_IN_PART) if kind == "shuffled" else place
            members = (
                "public.Actual",
                f"2026{row % 12 + 1:02}",
                f"4000{row % 97:02}",
                f"CC{row % 503:04}",
                f"PRD-{row % 9973:06}",
                "EMEA",
                f"CUST{row:08}",
                "EUR",
            )
            texts = [f'"{name}":"{text}"' for name, text in zip(DIMENSIONS, members, strict=True)]
            if kind != TEXT:
                amount = f"{number.randrange(10 ** DIGITS[kind])}.{number.randrange(10**7):07}"
                texts.append(f'"AMOUNT":{amount},"QUANTITY":{number.randrange(10**4)}.0000000')
            rows.append("{" + ",".join(texts) + "}")
        yield ",".join(rows).encode()


def _part(parts: list[bytes], number: int) -> bytes:
    """Return a part of the rows, with keys that no earlier part has."""
    again, place = divmod(number, PARTS)
    return parts[place].replace(b'"CUST', b'"C%03d' % again) if again else parts[place]


def totals(text: bytes) -> tuple[int, int, int]:
    """Count rows, and add up their decimals in ten-millionths."""
    found = _MEASURES.findall(text)
    return (
        len(found),
        sum(int(whole + rest) for whole, rest, _, _ in found),
        sum(int(whole + rest) for _, _, whole, rest in found),
    )


def _faulty(page: Response, number: int) -> Response:
    """Spoil an answer in one of several ways, in turn."""
    half = page.body[: len(page.body) // 2]
    ending = {**JSON, "Connection": "close"}
    faults = (
        Response(503, b"<html>busy</html>", {"Retry-After": "0"}),
        Response(200, half, {**ending, "Content-Length": str(len(page.body))}),
        Response(429, b"{}", {"Retry-After": "0"}),
        Response(200, half, ending),
        Response(200, gzip.compress(half, 1), {**ending, "Content-Encoding": "gzip"}),
    )
    return faults[number % len(faults)]


def _metadata(model: str, facts: Facts | None) -> bytes:
    if facts:
        columns = "".join(f'<Property Name="{name}" Type="Edm.String"/>' for name in DIMENSIONS)
        columns += "".join(
            f'<Property Name="{name}" Type="Edm.Decimal" Precision="31" Scale="7"/>'
            for name in MEASURES
            if facts.kind != TEXT
        )
        key = "".join(f'<PropertyRef Name="{name}"/>' for name in DIMENSIONS)
        types = f'<EntityType Name="FactData"><Key>{key}</Key>{columns}</EntityType>'
        if model == "SLICED":
            date = '<Property Name="Date" Type="Edm.String"/>'
            types += f'<EntityType Name="Date___Distinct">{date}</EntityType>'
    elif model == "SMALL":
        types = "".join(
            f'<EntityType Name="D{number:02}Master"><Key><PropertyRef Name="ID"/></Key>'
            '<Property Name="ID" Type="Edm.String"/></EntityType>'
            for number in range(SMALL_SETS)
        )
    else:
        time.sleep(METADATA_SECONDS)
        types = '<EntityType Name="S"><Property Name="ID" Type="Edm.String"/></EntityType>'
    schema = f'<Schema Namespace="sac">{types}</Schema>'
    return f"<Edmx><DataServices>{schema}</DataServices></Edmx>".encode()


def _json(value: object) -> Response:
    return Response(200, json.dumps(value).encode(), JSON)


def main() -> None:
    """Serve until the process is ended; prints the address when it is ready."""
    parser = argparse.ArgumentParser(description="A tenant for benchmarks.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fault-every", type=int)
    parser.add_argument(
        "--model",
        action="append",
        nargs=3,
        metavar=("NAME", "KIND", "ROWS"),
        help="serve this model instead of the usual ones; may be given several times",
    )
    arguments = parser.parse_args()
    models = {
        name: Facts(int(rows), ROWS_IN_PART, kind=kind)
        for name, kind, rows in arguments.model or []
    }
    application = Tenant(models or FACTS, fault_every=arguments.fault_every)
    with SampleTenant(application, port=arguments.port) as tenant:
        print(tenant.url, flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
