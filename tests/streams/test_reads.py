"""Each read by itself, without a tap: what it finds, what it writes into the state."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import pytest
import requests_mock

from tap_sac.demo.service import Request, Response
from tap_sac.read_ahead import Extent, ReadAhead
from tap_sac.sac.errors import DataError, DeltaLostError
from tap_sac.sac.export.delta import DeltaLink
from tap_sac.sac.export.subscriptions import Subscriptions
from tap_sac.sac.odata.csdl import read_csdl
from tap_sac.sac.odata.model import Provider
from tap_sac.singer.records import RecordMaker
from tap_sac.singer.schema import DELETED_AT, json_schema
from tap_sac.streams.changes import ChangesRead, OpeningRead, Tracking
from tap_sac.streams.full import FullRead
from tap_sac.streams.reading import Outcome, Reading, Verdict
from tap_sac.streams.slice_reader import Slicing
from tap_sac.streams.sliced import SlicedRead
from tap_sac.streams.source import Source
from tap_sac.streams.state import Bookmark, DeltaQuery, StreamState, UnfinishedRead
from tap_sac.tap import TapSAC
from tap_sac.tenant import connect
from tests.helpers.slicing import SlicingStandIn
from tests.helpers.stand_in import JSON, StandIn, error_response, sales, sales_row
from tests.helpers.tracking import LINK, TrackingStandIn, changed, deleted, delta

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tap_sac.singer.records import Record, Records

TENANT = "https://acme.eu10.hcs.cloud.sap"
COLUMNS = ["Version", "Date", "AMOUNT"]
ROWS = [sales_row(number) for number in range(5)]


@contextmanager
def answering(tenant: StandIn) -> Iterator[None]:
    """Let a stand-in answer all requests of this process."""

    def answer(request: Any, context: Any) -> bytes:  # noqa: ANN401  (without types)
        url = urlsplit(request.url)
        target = f"{url.path}?{url.query}" if url.query else url.path
        if "/oauth/token" in target:
            target = "/oauth/token"
        headers = {name.lower(): value for name, value in request.headers.items()}
        response = tenant(Request(request.method, TENANT, target, headers, request.body or b""))
        context.status_code, context.headers = response.status, dict(response.headers)
        return response.body

    with requests_mock.Mocker() as mock:
        mock.register_uri(requests_mock.ANY, requests_mock.ANY, content=answer)
        yield


_Result = TypeVar("_Result")


class Bench:
    """What a read needs, and what came of it."""

    def __init__(self, tenant: StandIn, **settings: Any) -> None:
        defaults = {
            name: item["default"]
            for name, item in TapSAC.config_jsonschema["properties"].items()
            if "default" in item
        }
        config = {"tenant_url": TENANT, "client_id": "id", "client_secret": "secret"}
        others = {"backoff_max_tries": 2, "user_agent": "test"}
        client = connect({**defaults, **config, **others})
        provider = Provider("sac", "C4SALES", "Sales")
        described = read_csdl(tenant.models[0].edmx.encode())
        sets = {item.name: item for item in described.entity_sets}
        facts = sets["FactData"]
        self.tenant = tenant
        self.source = Source("facts", client, provider, facts, sets, facts.key, **settings)
        self.state = StreamState()
        self.states: list[StreamState] = []
        self.records: list[Record] = []
        subscriptions = Subscriptions(client, provider, "FactData", stream="facts")
        query = DeltaQuery([*facts.key], COLUMNS, None)
        self.tracking = Tracking(query, subscriptions, facts)

    def save(self, state: StreamState) -> None:
        self.state = state
        self.states.append(state)

    def reading(self, *, has_key: bool = True, fails: bool = True) -> Reading:
        facts = self.source.entity_set
        schema = json_schema(facts, use_singer_decimal=False)
        return Reading(
            name="facts",
            logger=logging.getLogger("facts"),
            source=self.source,
            columns=COLUMNS,
            query=self.source.query(COLUMNS),
            version=7,
            has_key=has_key,
            fails=fails,
            make=lambda sums, on_keys: RecordMaker(
                facts, schema, COLUMNS, sums=sums, on_keys=on_keys
            ),
            take=lambda pages: pages(),
            totals=None,
            save=self.save,
            state=lambda: self.state,
            begin_version=lambda _: None,
        )

    def slicing(self) -> Slicing:
        column = self.source.entity_set.properties[0]
        ahead: ReadAhead[Any] = ReadAhead(1, dict, lambda page: Extent(page.size, True, page.size))  # noqa: FBT003
        return Slicing(column, self.source, "query", 1, ahead.of_slices)

    def read(self, reads: Generator[Records, None, _Result]) -> _Result:
        """Take all records of a read; returns what it found."""
        found: list[_Result] = []

        def records() -> Iterator[Records]:
            found.append((yield from reads))

        for some in records():
            self.records += some
        return found[0]


def full(bench: Bench, **settings: bool) -> Outcome:
    with answering(bench.tenant):
        return bench.read(FullRead(bench.reading(**settings)).records())


def sliced(bench: Bench, **settings: bool) -> Outcome:
    with answering(bench.tenant):
        return bench.read(SlicedRead(bench.reading(**settings), bench.slicing()).records())


def lacking(request: Request) -> Response | None:
    """Send no row that is not `ROWS[0]`, and say that there are five."""
    if "/FactData" not in request.target:
        return None
    rows = "" if "$top=0" in request.target else ROWS[0]
    return Response(200, f'{{"@odata.count":5,"value":[{rows}]}}'.encode(), JSON)


def test_full_read_with_all_rows_is_proven() -> None:
    bench = Bench(StandIn(sales(*ROWS)))
    assert full(bench) == Outcome(Verdict.PROVEN, 5, 7, may_delete=True)
    assert [record["Date"] for record in bench.records] == [f"{number:06}" for number in range(5)]
    assert not bench.states


@pytest.mark.parametrize("settings", [{}, {"is_counted": False}])
def test_uncounted_full_read_is_complete(settings: dict[str, bool]) -> None:
    bench = Bench(StandIn(sales(*ROWS)), **settings)
    bench.tenant.counts = bool(settings)
    assert full(bench) == Outcome(Verdict.NOT_COUNTED, 5, 7, may_delete=True)


def test_full_read_that_lacks_rows_is_unproven() -> None:
    bench = Bench(StandIn(sales(*ROWS)))
    bench.tenant.fault = lacking
    assert full(bench) == Outcome(Verdict.UNPROVEN, 1, 7, may_delete=False)


@pytest.mark.parametrize("fails", [True, False])
def test_full_read_without_a_key_and_with_a_row_twice_is_disproved(*, fails: bool) -> None:
    bench = Bench(StandIn(sales(*ROWS)))
    bench.tenant.fault = lambda request: (
        Response(200, f'{{"@odata.count":1,"value":[{ROWS[0]},{ROWS[0]}]}}'.encode(), JSON)
        if "/FactData" in request.target
        else None
    )
    if fails:
        with pytest.raises(DataError, match="so some were sent twice"):
            full(bench, has_key=False)
        return
    outcome = full(bench, has_key=False, fails=False)
    assert outcome == Outcome(Verdict.DISPROVED, 2, 7, may_delete=False)


def test_full_read_forgets_a_read_to_resume() -> None:
    bench = Bench(StandIn(sales(*ROWS)))
    bench.state = StreamState(unfinished=UnfinishedRead(3, "query", 1, {}))
    full(bench)
    assert [state.unfinished for state in bench.states] == [None]


SIZES = {"A": 3, "B": 1, "C": 2}


def test_sliced_read_with_all_rows_is_proven() -> None:
    bench = Bench(SlicingStandIn(SIZES))
    assert sliced(bench) == Outcome(Verdict.PROVEN, 6, 7, may_delete=True)
    assert [record["Version"] for record in bench.records] == [*"AAABCC"]
    done = [len(state.unfinished.done) for state in bench.states if state.unfinished]
    assert done == [1, 2, 3]


@pytest.mark.parametrize("is_fixed", [True, False])
def test_sliced_read_resumes_what_is_done(*, is_fixed: bool) -> None:
    bench = Bench(SlicingStandIn(SIZES))
    sliced(bench)
    bench.records.clear()
    if not is_fixed:
        bench.source = replace(bench.source, key=("Date",))
    outcome = sliced(bench)
    rows_of_earlier_run = 6 if is_fixed else 0
    assert outcome == Outcome(
        Verdict.PROVEN, 6, 7, may_delete=True, rows_of_earlier_run=rows_of_earlier_run
    )
    assert len(bench.records) == 6 - rows_of_earlier_run


def test_uncounted_sliced_read_deletes_nothing() -> None:
    bench = Bench(SlicingStandIn(SIZES))
    bench.tenant.counts = False
    assert sliced(bench) == Outcome(Verdict.NOT_COUNTED, 6, 7, may_delete=False)


def test_sliced_read_of_rows_that_move_is_unproven() -> None:
    tenant = SlicingStandIn(SIZES)
    bench = Bench(tenant)
    bench.source = replace(bench.source, key=("Date",))

    def move(request: Request) -> None:
        if "'C'" in request.options.get("$filter", "") and "$top" not in request.options:
            tenant.rows[:] = [row.replace('"B"', '"A"') for row in tenant.rows]

    tenant.fault = move
    assert sliced(bench) == Outcome(Verdict.UNPROVEN, 6, 7, may_delete=False)


def opened(bench: Bench) -> tuple[Outcome, Bookmark | None]:
    with answering(bench.tenant):
        read = OpeningRead(bench.reading(), bench.tracking, is_dry_run=False)
        return bench.read(read.records())


def test_opening_has_the_link_to_the_changes() -> None:
    bench = Bench(TrackingStandIn(*ROWS))
    outcome, bookmark = opened(bench)
    assert (outcome.verdict, outcome.rows) == (Verdict.PROVEN, 5)
    assert bookmark
    assert bookmark.link.subscription_id == "A"
    assert bookmark.link.signature
    assert (bookmark.version, bookmark.query) == (7, bench.tracking.query)


def test_opening_that_is_not_proven_has_no_link() -> None:
    bench = Bench(TrackingStandIn(*ROWS))
    bench.tenant.fault = lacking
    outcome, bookmark = opened(bench)
    assert (outcome.verdict, bookmark) == (Verdict.UNPROVEN, None)


def followed(bench: Bench, link: DeltaLink) -> Bookmark:
    bookmark = Bookmark(link, 7, bench.tracking.query)
    with answering(bench.tenant):
        changes = ChangesRead(bench.reading(), bench.tracking, bookmark)
        changes.check()
        return bench.read(changes.records())[1]


def test_changes_are_followed_by_the_next_link() -> None:
    tenant = TrackingStandIn(*ROWS)
    bench = Bench(tenant)
    entity = "FactData(Version='public.Actual',Date='000001')"
    tenant.deltas["A"] = delta(changed(sales_row(0, "9.0000000")), deleted(entity))
    after = followed(bench, DeltaLink(f"{TENANT}{LINK}A"))
    assert after.link.url == f"{TENANT}{LINK}B"
    assert not after.link.may_be_spent
    (first,) = bench.states
    assert first.bookmark
    assert first.bookmark.link == DeltaLink(f"{TENANT}{LINK}A", may_be_spent=True)
    assert [bool(record.get(DELETED_AT.name)) for record in bench.records] == [False, True]


@pytest.mark.parametrize(
    "link",
    [
        DeltaLink(f"https://elsewhere.example{LINK}A"),
        DeltaLink(f"{TENANT}{LINK}A".replace("C4SALES", "C4OTHER")),
        DeltaLink(f"{TENANT}{LINK}A", may_be_spent=True),
        DeltaLink(f"{TENANT}{LINK}refused"),
    ],
)
def test_changes_that_cannot_be_had_are_lost(link: DeltaLink) -> None:
    tenant = TrackingStandIn(*ROWS)
    tenant.deltas |= {"A": delta(), "refused": error_response(404, "expired")}
    bench = Bench(tenant)
    with pytest.raises(DeltaLostError):
        followed(bench, link)
    assert not bench.records
