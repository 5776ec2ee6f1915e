"""A stand-in whose tables can be read in slices, and what a run asked of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tap_sac.demo.odata_filter import parse_filter
from tests.conftest import discover, select
from tests.helpers.stand_in import Model, StandIn, edmx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pytest

    from tap_sac.demo.service import Request, Response
    from tests.conftest import Messages

FACTS = "sales_fact_data"
COLOURED = {"partition_by": {"a_product_master": "Colour"}}
SLICED = {"partition_by": {FACTS: "Version"}}
SIZES = {"public.Actual": 5, "public.Plan": 3, "public.Budget": 1, "public.Old": 4}
COLUMNS = {"Version": "Edm.String*", "Date": "Edm.String*", "AMOUNT": "Edm.Decimal"}


def fact(version: str, number: int, amount: str = "1.0000000") -> str:
    """Write a fact of a version."""
    members = {"Version": version, "Date": f"{number:06}"}
    return f'{json.dumps(members)[:-1]},"AMOUNT":{amount}}}'


def facts(sizes: dict[str, int]) -> list[str]:
    """Write so many facts of each version."""
    return [fact(version, number) for version, size in sizes.items() for number in range(size)]


class SlicingStandIn(StandIn):
    """Serves facts, of which it evaluates filters, and the values of a column.

    Attributes:
        rows: The facts; a test may change them at any time.
        values: What ``<column>___Distinct`` lists; None for what the facts have.
    """

    def __init__(self, sizes: dict[str, int]) -> None:
        document = edmx(
            FactData=COLUMNS,
            Version___Distinct={"Version": "Edm.String*"},
            Date___Distinct={"Date": "Edm.String*"},
        )
        super().__init__(Model("C4SALES", "Sales", document, {}))
        self.rows = facts(sizes)
        self.values: Sequence[str] | None = None
        distinct = ("Version___Distinct", "Date___Distinct")
        self.models[0].sets |= {"FactData": self.rows, **dict.fromkeys(distinct, ())}

    @override
    def page(self, request: Request, rows: Sequence[str]) -> Response:
        if request.path.endswith("___Distinct"):
            column = request.path.rpartition("/")[2].removesuffix("___Distinct")
            known = dict.fromkeys(json.loads(row)[column] for row in self.rows)
            values = known if self.values is None else self.values
            rows = [json.dumps({column: value}) for value in values]
        return super().page(request, kept(request, rows))

    def asked(self, *, counts: bool = False) -> list[str]:
        """Return the filters of first pages of facts, or of counts alone, in order."""
        return [
            options.get("$filter", "")
            for options in (request.options for request in self.requests if is_of_facts(request))
            if "$skiptoken" not in options and ("$top" in options) is counts
        ]


def is_of_facts(request: Request) -> bool:
    return request.path.endswith("/FactData")


def kept(request: Request, rows: Iterable[str]) -> list[str]:
    """Return the rows that the filter of a request keeps."""
    text = request.options.get("$filter")
    if text is None:
        return [*rows]
    made = [(row, json.loads(row)) for row in rows]
    names = {name for _, row in made for name in row}
    keeps = parse_filter(text, names | {"Version", "Date", "AMOUNT"})
    return [text for text, row in made if keeps(row)]


def at_slice(
    version: str, act: Callable[[Request], Response | None], *, skiptoken: str | None = None
) -> Callable[[Request], Response | None]:
    """Do something when rows of a version are asked for, with its first page or with another."""

    def fault(request: Request) -> Response | None:
        options = request.options
        is_slice = f"Version eq '{version}'" in options.get("$filter", "")
        if not (is_of_facts(request) and is_slice) or "$top" in options:
            return None
        return act(request) if options.get("$skiptoken") == skiptoken else None

    return fault


def without_link(answer: Response) -> Response:
    """Cut an answer short, without a word."""
    members: dict[str, Any] = json.loads(answer.body, parse_float=str)
    members.pop("@odata.nextLink")
    return replace(answer, body=json.dumps(members).encode())


def versions(messages: Messages) -> list[str]:
    return [record["Version"] for record in messages.records(FACTS)]


def warnings(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelname == "WARNING" and part in record.getMessage()
    ]


def members(colour_type: str, colours: Sequence[object]) -> StandIn:
    """Serve a master with two members of each colour, and the list of the colours."""
    document = edmx(
        ProductMaster={"ID": "Edm.String*", "Colour": colour_type},
        Colour___Distinct={"Colour": colour_type},
    )
    rows = [
        json.dumps({"ID": f"{number}-{copy}"} | ({} if colour is None else {"Colour": colour}))
        for number, colour in enumerate(colours)
        for copy in range(2)
    ]
    listed = [json.dumps({} if colour is None else {"Colour": colour}) for colour in colours]
    sets: dict[str, Sequence[str]] = {"ProductMaster": rows, "Colour___Distinct": listed}

    class Tenant(StandIn):
        @override
        def page(self, request: Request, rows: Sequence[str]) -> Response:
            return super().page(request, kept(request, rows))

    return Tenant(Model("C4A", "A", document, sets))


def without_key(config: dict[str, Any]) -> dict[str, Any]:
    catalog = discover(config)
    catalog[FACTS]["key_properties"] = []
    return select(catalog, FACTS)
