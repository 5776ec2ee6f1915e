"""A sample tenant of which every name and value is a random text that no report may have."""

from __future__ import annotations

import json
import random
import re
import string
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from tap_sac.demo.service import TOKEN_PATH, Request, Response, SampleService

if TYPE_CHECKING:
    from tap_sac.demo import Behaviour

LENGTH = 16
# Names that a company gives, which the sample tenant has in names of sets, too.
OF_COLUMNS = (
    *("Account", "CostCenter", "Currency", "Grade", "Product", "XX_REGION", "Status", "City"),
    *("AMOUNT", "FTE", "QUANTITY", "REVENUE", "LOYALTY_POINTS", "BUDGET", "Brand"),
)
OF_MODELS = (
    *("C4FINPLANK2M9X7QW1TBV0ZJ8A", "C4WORKFRCK5M2X8QW3TBV1ZJ7B", "C4SALESPLK8M4X1QW6TBV2ZJ5C"),
    *("C4BUDGETQ7W2E9R5T1Y8U3I6OA", "C4BUDGETQ7W2E9R5T1Y8U3I6OB", "C4LIVEX3M8K1P6T9R2V5Y7Z0QA"),
    *("ALPENGLOW_RATES", "ALPENGLOW_UNITS", "Alpenglow_"),
)
_PLACED = re.compile(
    r'(?<=[":./,=\'(#> ])(?:Old_|New_|Delta_|Flag_|sap\.epm\.)?(?P<name>'
    rf"{'|'.join((*OF_COLUMNS, *OF_MODELS))})(?=[\"'/,=)<(&: ?.]|Master|___|:)"
)


class Marked:
    """Serves the sample tenant under other names.

    Attributes:
        markers: All that were planted.
    """

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self._service = SampleService(behaviour)
        self._random = random.Random(27)  # noqa: S311  (no secret)
        self.markers: set[str] = set()
        self._names = {name: self.plant() for name in (*OF_COLUMNS, *OF_MODELS)}
        self._originals = {marker: name for name, marker in self._names.items()}
        self._to_names = re.compile("|".join(self._originals))
        self._to_markers = re.compile("|".join(sorted(self._names, key=len, reverse=True)))

    def plant(self) -> str:
        marker = "".join(self._random.choices(string.ascii_letters, k=LENGTH))
        self.markers.add(marker)
        return marker

    def __call__(self, request: Request) -> Response:
        target = self._to_names.sub(lambda m: self._originals[m[0]], unquote(request.target))
        answer = self._service(replace(request, target=quote(target, safe="/$=&?,'():;!")))
        if request.path == TOKEN_PATH:
            return answer
        body = answer.body.decode()
        if answer.headers.get("Content-Type") == "application/xml":
            body = self._marked_document(body)
        elif body:
            body = json.dumps(self._marked_page(json.loads(body)))
        headers = {**answer.headers, f"x-{self.plant()}": self.plant(), "etag": self.plant()}
        headers |= {"x-correlationid": self.plant(), "Set-Cookie": f"{self.plant()}={self.plant()}"}
        return replace(answer, body=body.encode(), headers=headers)

    def _marked(self, text: str) -> str:
        return self._to_markers.sub(lambda m: self._names[m[0]], text)

    def _marked_document(self, text: str) -> str:
        text = re.sub(r'(?<= String=")[^"]*', lambda _: self.plant(), text)
        text = re.sub(r"(?<=<String>)[^<]*", lambda _: self.plant(), text)
        text = text.replace("com.sap.cloudDataIntegration", self.plant())
        text = re.sub(r'CloudDataIntegration(?=[".])', self._alias(), text)
        text = re.sub(r'(?<=MaxLength=")\d+', lambda _: self.plant(), text, count=5)
        text = text.replace('Type="Edm.Int32"', f'Type="{self._alias()}.{self.plant()}"')
        return self._marked(text)

    def _alias(self) -> str:
        return self._names.setdefault("alias", self.plant())

    def _marked_page(self, page: dict[str, Any]) -> dict[str, Any]:
        if "error" in page:
            text = f"{self.plant()} {page['error']['message']} {self.plant()} {self.plant()}"
            number = re.search(r"\[\d{4}\]", text)
            text = (
                re.sub(r"\[\d{4}\]", "", text) + f" '{self.plant()}' {number[0] if number else ''}"
            )
            return {"error": {"code": self.plant(), "message": self._marked(text)}}
        page[f"@{self.plant()}"] = self.plant()
        if "@odata.nextLink" in page:
            page["@odata.nextLink"] += f"&{self.plant()}={self.plant()}"
        page["value"] = [self._marked_row(row) for row in page["value"]]
        return page

    def _marked_row(self, row: dict[str, Any]) -> dict[str, Any]:
        if "NamespaceID" in row:  # What must come back as it went.
            kept = {name: row[name] for name in ("NamespaceID", "ProviderID") if name in row}
            others = {name: f"{self.plant()} {self.plant()}" for name in row if name not in kept}
            return {name: self._marked(value) for name, value in kept.items()} | others
        return {
            self._marked(name): self.plant() if isinstance(value, str) else value
            for name, value in row.items()
        }
