"""People insert, change and delete while the tap reads: no healthy read fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hypothesis import example, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from tap_sac.demo.service import Response
from tests.conftest import examples, served
from tests.helpers.disorder import load
from tests.helpers.slicing import FACTS, SlicingStandIn, fact, kept
from tests.helpers.stand_in import JSON
from tests.helpers.target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_sac.demo.service import Request

# A write: before which request for rows, what, and to which of the rows.
Write = tuple[int, str, int]
WRITES = st.tuples(
    st.integers(1, 12), st.sampled_from(["insert", "change", "delete"]), st.integers(0, 15)
)
SIZE = 10
WAYS = ["by key", "by offset", "by number", "slices"]
# The entity sets, each with its stream.
TABLES = {"FactData": FACTS, "DMaster": "sales_d_master"}


def key_of(row: str) -> tuple[str, str]:
    members = json.loads(row)
    return members["Version"], members["Date"]


def numbered(number: int, amount: str = "1.0000000") -> str:
    return fact("AB"[number % 2], number, amount)


class WrittenStandIn(SlicingStandIn):
    """Writes while it is read, as a history says, and pages in one of several ways.

    Attributes:
        stable: The keys that were there all the time.
    """

    def __init__(self, table: str, way: str, history: list[Write], page_size: int) -> None:
        super().__init__({})
        self.page_size = page_size
        model = self.models[0]
        model.edmx = model.edmx.replace('"FactData"', f'"{table}"')
        model.sets[table] = model.sets.pop("FactData")
        self.table = table
        self.rows = sorted((numbered(number) for number in range(0, 2 * SIZE, 2)), key=key_of)
        self.rows += [numbered(number) for number in range(1, SIZE, 2)]
        self.rows.sort(key=key_of)
        self.way = way
        self.history = history
        self.stable = set(map(key_of, self.rows))
        self.reads_seen = 0

    def write(self) -> None:
        self.reads_seen += 1
        for when, what, number in self.history:
            if when != self.reads_seen:
                continue
            row = numbered(number, "2.0000000" if what == "change" else "1.0000000")
            there = [item for item in self.rows if key_of(item) == key_of(row)]
            if what != "insert" and not there:
                continue
            self.rows = [item for item in self.rows if key_of(item) != key_of(row)]
            if what == "delete":
                self.stable.discard(key_of(row))
            else:
                self.rows.append(row)
            self.rows.sort(key=key_of)

    @override
    def page(self, request: Request, rows: Sequence[str]) -> Response:
        if not request.path.endswith(f"/{self.table}"):
            return super().page(request, rows)
        self.write()
        options = request.options
        there = kept(request, self.rows)
        start, size = int(options.get("$skip", "0")), int(options.get("$top", self.page_size))
        token = options.get("$skiptoken", "")
        if token and self.way == "by offset":
            start = int(token)
        elif token:
            start = sum(key_of(row) <= tuple(token.split("|")) for row in there)
        page = there[start : start + size]
        members: dict[str, Any] = {"@odata.count": len(there), "value": "ROWS"}
        if start + size < len(there) and "$top" not in options and self.way != "by number":
            next_ = str(start + size) if self.way == "by offset" else "|".join(key_of(page[-1]))
            others = {name: text for name, text in options.items() if name != "$skiptoken"}
            query = {**others, "$skiptoken": next_}
            link = "&".join(f"{name}={quote(text)}" for name, text in query.items())
            members["@odata.nextLink"] = f"{self.table}?{link}"
        if "$count" not in options or not self.counts:
            members.pop("@odata.count")
        text = json.dumps(members).replace('"ROWS"', f"[{','.join(page)}]")
        return Response(200, text.encode(), JSON)


def counted(table: str, way: str, *history: Write, page_size: int = 3) -> example:
    """Try a history in a table that SAC counts."""
    return example(table=table, way=way, history=[*history], counts=True, page_size=page_size)


@counted("FactData", "by number", (2, "delete", 0), (9, "insert", 11))
@counted("FactData", "by number", (4, "delete", 0), (9, "insert", 11), page_size=1)
@counted("FactData", "by key", (2, "delete", 14), (6, "insert", 13))
@counted("FactData", "by offset", (4, "delete", 9), (6, "insert", 13))
@counted("DMaster", "by number", (4, "delete", 0), (4, "delete", 2))
@settings(max_examples=examples(120))
@given(
    table=st.sampled_from([*TABLES]),
    way=st.sampled_from(WAYS),
    history=st.lists(WRITES, max_size=6),
    counts=st.booleans(),
    page_size=st.sampled_from([1, 3]),
)
def test_writes_while_the_tap_reads_are_harmless(
    *, table: str, way: str, history: list[Write], counts: bool, page_size: int
) -> None:
    """Offset links with a delete behind the reader lose a row that nobody can know of."""
    tenant = WrittenStandIn(table, way, history, page_size)
    stream = TABLES[table]
    # Without a count or a link, nobody can know of more pages.
    tenant.counts = counts or way in {"by number", "slices"}
    target = Target()
    with served(tenant) as server:
        config = {
            **server.settings,
            **({"partition_by": {stream: "Version"}} if way == "slices" else {}),
        }
        tenant.history = []
        assert not load(config, target)
        tenant.history, tenant.reads_seen = history, 0
        assert not load(config, target)
        loaded = {(row["Version"], row["Date"]) for row in target.rows(stream)}
        has_lost = way == "by offset" and any(what == "delete" for _, what, _ in history)
        assert has_lost or tenant.stable <= loaded
        tenant.history, tenant.counts = [], True
        assert not load(config, target)
    wanted = sorted((*key_of(row), json.loads(row)["AMOUNT"]) for row in tenant.rows)
    found = sorted((row["Version"], row["Date"], row["AMOUNT"]) for row in target.rows(stream))
    assert found == wanted
