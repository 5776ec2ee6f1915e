"""A stand-in whose pages have rows twice or never, unless they are asked for in order."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tap_sac.demo.odata_filter import parse_filter
from tap_sac.demo.service import Response
from tests.helpers.runs import run
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, error_response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tap_sac.demo.service import Request
    from tests.helpers.target import Target

    Arrange = Callable[[list[str]], list[str]]

# Of each kind of table with a key: its namespace, its entity set and its columns.
TABLES = {
    "facts": ("sac", "FactData", {"ID": "Edm.String*", "X": "Edm.Decimal"}),
    "numbered": ("sac", "FactData", {"ID": "Edm.Int64*", "X": "Edm.Decimal"}),
    "dated": ("sac", "FactData", {"ID": "Edm.Date*", "X": "Edm.Decimal"}),
    "timed": ("sac", "FactData", {"ID": "Edm.DateTimeOffset*", "X": "Edm.Decimal"}),
    "precise": ("sac", "FactData", {"ID": "Edm.Decimal*", "X": "Edm.Decimal"}),
    "two": ("sac", "FactData", {"A": "Edm.String*", "ID": "Edm.String*", "X": "Edm.Decimal"}),
    "master": ("sac", "DMaster", {"ID": "Edm.String*", "X": "Edm.String"}),
    "hierarchy": ("sac", "DMasterWithHierarchy", {"ID": "Edm.String*", "H_PARENTID": "Edm.String"}),
    "public": ("sac_public_dimensions", "PublicDimensionData", {"ID": "Edm.String*"}),
}


def member(table: str, number: int) -> str:
    """Write a row of a table."""
    columns = TABLES[table][2]
    values: dict[str, Any] = {
        "Edm.String*": f"M{number:03}",
        "Edm.Int64*": number - 5,  # -1 and -2 have one hash in Python.
        "Edm.Date*": f"2026-01-{number + 1:02}",
        "Edm.DateTimeOffset*": f"2026-01-{number + 1:02}T00:00:00.50Z",
        "Edm.Decimal*": number + 0.5,
        "Edm.Decimal": number,
        "Edm.String": "",
    }
    row = {name: values[type_name] for name, type_name in columns.items()}
    return json.dumps(row | ({"A": "A"} if "A" in columns else {}))


def overlapping(rows: list[str]) -> list[str]:
    """Have the third row twice, and the fifth one never, as pages that overlap do."""
    return [*rows[:3], rows[2], rows[3], *rows[5:]]


class DisorderlyStandIn(StandIn):
    """Serves one table, whose rows it evaluates filters of, and counts as they are.

    Attributes:
        rows: The rows that the table has.
        arrange: Makes what SAC sends of them without an order.
        arrange_ordered: The same where it is asked for an order.
        refuses_order: Whether SAC refuses to sort.
        can_filter: Whether it heeds ``$filter``.
        has_links: Whether a page has a link to the next one.
    """

    def __init__(self, table: str = "facts", rows: int = 9) -> None:
        namespace, name, columns = TABLES[table]
        self.set_name = name
        self.rows = [member(table, number) for number in range(rows)]
        self.arrange: Arrange = overlapping
        self.arrange_ordered: Arrange = sorted
        self.refuses_order = False
        self.can_filter = self.has_links = True
        super().__init__(Model("C4T", "T", edmx(**{name: columns}), {name: ()}, namespace))

    @property
    def stream(self) -> str:
        names = {
            "FactData": "fact_data",
            "DMaster": "d_master",
            "DMasterWithHierarchy": "d_master_with_hierarchy",
        }
        return f"t_{names.get(self.set_name, 'public_dimension_data')}"

    @override
    def page(self, request: Request, rows: Sequence[str]) -> Response:
        if not request.path.endswith(f"/{self.set_name}"):
            return super().page(request, rows)
        options = request.options
        if self.refuses_order and "$orderby" in options:
            return error_response(400, "no")
        there = self._kept(options.get("$filter") if self.can_filter else None)
        is_question = "$top" in options and "$skip" not in options
        arrange = self.arrange_ordered if "$orderby" in options else self.arrange
        answer = super().page(request, there if is_question else arrange([*there]))
        members = json.loads(answer.body, parse_float=str)
        if "@odata.count" in members:
            members["@odata.count"] = len(there)
        if not self.has_links:
            members.pop("@odata.nextLink", None)
        return Response(200, json.dumps(members).encode(), JSON)

    def _kept(self, odata_filter: str | None) -> list[str]:
        """Return the rows that a filter keeps; dates and times, without quotes, are as texts."""
        if odata_filter is None:
            return [*self.rows]
        text = re.sub(r"\d{4}-\d\d-\d\d(T[\d:.]+Z)?", r"'\g<0>'", odata_filter)
        keeps = parse_filter(text, {*json.loads(self.rows[0])})
        return [row for row in self.rows if keeps(json.loads(row))]

    def first_pages(self) -> list[dict[str, str]]:
        """Return the options of requests for first pages of rows, in order."""
        return [
            request.options
            for request in self.requests
            if request.path.endswith(f"/{self.set_name}")
            and not {"$top", "$skip", "$skiptoken"} & {*request.options}
        ]

    def questions(self) -> list[str]:
        """Return the filters of requests for the rows of a key."""
        return [
            request.options["$filter"]
            for request in self.requests
            if request.options.get("$top", "0") > "1" and "$skip" not in request.options
        ]


def load(config: dict[str, Any], target: Target, **inputs: Any) -> str:
    """Run the tap into a target, from its state; returns why it failed."""
    state = {"bookmarks": {**target.state.get("bookmarks", {})}}
    messages, failure = run(config, state=state, **inputs)
    target.load(messages)
    return failure


def ids(target: Target, stream: str) -> list[Any]:
    """Return the ids of the rows in a target."""
    return sorted(row["ID"] for row in target.rows(stream))
