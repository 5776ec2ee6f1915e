"""The tap does not wait for what it could have asked for: over a real socket, with real threads."""

from __future__ import annotations

import contextlib
import io
import threading
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from typing_extensions import override

from tap_sac.read_ahead import Extent, ReadAhead
from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import discover, read_messages, select, sync
from tests.helpers.gauge import (
    PATIENCE,
    Gauge,
)
from tests.helpers.stand_in import Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from tap_sac.demo.service import Request, Response
    from tests.conftest import Messages, RunCli, Serve


class Output(io.StringIO):
    """Standard output that tells a test of each record, before it is taken."""

    def __init__(self, on_record: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._on_record = on_record

    @override
    def write(self, text: str) -> int:
        for message in read_messages(text):
            if message["type"] == "RECORD":
                self._on_record(message)
        return super().write(text)


def many_sets(count: int) -> StandIn:
    names = [f"D{number:02}Master" for number in range(count)]
    model = Model("C4M", "M", edmx(**{name: {"ID": "Edm.String*"} for name in names}))
    model.sets |= {name: [f'{{"ID":"{name}"}}'] for name in names}
    return StandIn(model)


def numbered(names: str, rows: int) -> list[Model]:
    """Make models with facts whose dates are 0 to `rows`, except the first one: it has one row."""
    return [
        sales(
            *(sales_row(row) for row in range(1 if name == names[0] else rows)),
            model_id=f"C4{name}",
            name=name,
        )
        for name in names
    ]


def pages_asked_for(tenant: StandIn, model: str) -> list[int]:
    """Return the first rows of the pages that were requested of a model, in order."""
    return [
        int(parse_qs(urlsplit(target).query).get("$skiptoken", ["0"])[0])
        for target in tenant.targets
        if f"/C4{model}/FactData" in target
    ]


@pytest.fixture
def wait_for_readers() -> Callable[[], None]:
    """Return what waits until every table that is being read has come to its end by itself."""
    left_behind = set(threading.enumerate())

    def wait() -> None:
        for thread in set(threading.enumerate()) - left_behind:
            if thread.name.startswith("tap-sac reader"):
                thread.join(PATIENCE)
                assert not thread.is_alive()

    return wait


def sync_facts(
    settings: dict[str, Any], names: str, on_first_record: Callable[[str], None]
) -> Messages:
    """Read the facts of models in their order; tell of the first record of each before it ends."""
    streams = [f"{name.lower()}_fact_data" for name in names]
    catalog = select(discover(settings), *streams)
    told = set()

    def on_record(message: dict[str, Any]) -> None:
        stream = message["stream"]
        if stream not in told:
            told.add(stream)
            on_first_record(names[streams.index(stream)])

    with contextlib.redirect_stdout(Output(on_record)) as output:
        TapSAC(config=settings, catalog=catalog).sync_all()
    return read_messages(output.getvalue())


def dates(messages: Messages, model: str) -> list[int]:
    return [int(record["Date"]) for record in messages.records(f"{model.lower()}_fact_data")]


def test_next_page_is_requested_while_one_is_written(serve: Serve) -> None:
    tenant = StandIn(sales(*(sales_row(number) for number in range(6))))
    settings = serve(tenant)
    is_requested = threading.Event()

    def fault(request: Request) -> None:
        if "$skiptoken=2" in request.target:
            is_requested.set()

    tenant.fault = fault

    def on_record(message: dict[str, Any]) -> None:
        if message["stream"] == "sales_fact_data":
            assert is_requested.wait(PATIENCE)

    with contextlib.redirect_stdout(Output(on_record)) as output:
        TapSAC(config=settings).sync_all()
    assert len(read_messages(output.getvalue()).records("sales_fact_data")) == 6


def test_slow_target_slows_the_reader_down(serve: Serve) -> None:
    pages = 40
    tenant = StandIn(sales(*(sales_row(number) for number in range(2 * pages))))
    settings = serve(tenant)
    # Alone: what another stream gives time for is read ahead of its turn, and not held back.
    catalog = select(discover(settings), "sales_fact_data")
    written = 0
    ahead = []

    def on_record(message: dict[str, Any]) -> None:
        nonlocal written
        if message["stream"] == "sales_fact_data":
            if written == 0:
                for _ in range(5 * pages):  # The time in which a reader could read it all.
                    requests.get(settings["tenant_url"], timeout=PATIENCE)
            written += 1
            requested = sum("FactData" in target for target in tenant.targets)
            ahead.append(requested - written / 2)

    with contextlib.redirect_stdout(Output(on_record)):
        TapSAC(config=settings, catalog=catalog).sync_all()
    assert max(ahead) <= 3.5
    assert written == 2 * pages


@pytest.mark.parametrize("parallel", [1, 4])
def test_small_streams_are_read_at_once_and_written_in_order(serve: Serve, parallel: int) -> None:
    tenant = many_sets(20)
    config = {**serve(tenant), "max_parallel_requests": parallel}
    gauge = Gauge(parallel)

    def fault(request: Request) -> None:
        if "Master" in request.target:
            gauge()

    tenant.fault = fault
    messages = sync(config)
    assert gauge.most == parallel
    records = [item["stream"] for item in messages if item["type"] == "RECORD"]
    assert records == [*(f"m_d{number:02}_master" for number in range(20)), "providers"]


def test_models_are_discovered_at_once(serve: Serve) -> None:
    models = [
        Model(f"C4{number:02}", f"M{number:02}", edmx(S={"ID": "Edm.String*"}))
        for number in range(8)
    ]
    tenant = StandIn(*models)
    gauge = Gauge(4)

    def fault(request: Request) -> None:
        if "$metadata" in request.target:
            gauge()

    tenant.fault = fault
    assert len(discover(serve(tenant))) == 9
    assert gauge.most == 4


def test_changes_are_not_read_before_their_turn(serve: Serve) -> None:
    tenant = StandIn(sales(sales_row(1), name="A", model_id="C4A"), sales(sales_row(1), name="B"))
    settings = {**serve(tenant), "default_replication_method": "LOG_BASED"}
    seen = {}

    def on_record(message: dict[str, Any]) -> None:
        seen[message["stream"]] = tenant.reads("FactData")

    with contextlib.redirect_stdout(Output(on_record)):
        TapSAC(config=settings).sync_all()
    assert seen["a_fact_data"] == ["/providers/sac/C4A/FactData"]


def test_failure_does_not_wait_for_other_requests(serve: Serve, run_process: RunCli) -> None:
    tenant = many_sets(3)
    settings = serve(tenant)
    is_over = threading.Event()
    waited_in_vain = []

    def fault(request: Request) -> Response | None:
        if "D00Master" in request.target:
            return error_response(403, "no")
        if "D01Master" in request.target and not is_over.wait(PATIENCE):
            waited_in_vain.append(request.target)
        return None

    tenant.fault = fault
    try:
        result = run_process(settings)
        assert not waited_in_vain
    finally:
        is_over.set()
    assert result.returncode == 1
    assert "403" in result.stderr
    assert read_messages(result.stdout).streams == ["m_d00_master"]


def test_small_tables_are_read_completely_before_their_turn(
    serve: Serve, wait_for_readers: Callable[[], None]
) -> None:
    names = "ABCD"
    tenant = StandIn(*numbered(names, 10))
    settings = {**serve(tenant), "max_parallel_requests": 3}
    asked: dict[str, list[int]] = {}

    def on_first_record(name: str) -> None:
        if name == "A":
            wait_for_readers()
            asked.update((model, pages_asked_for(tenant, model)) for model in names)

    messages = sync_facts(settings, names, on_first_record)
    every_page = [0, 2, 4, 6, 8]
    assert asked == {"A": [0], "B": every_page, "C": every_page, "D": []}
    for name in "BCD":
        assert pages_asked_for(tenant, name) == every_page
        assert dates(messages, name) == list(range(10))
    assert messages.streams == [f"{name.lower()}_fact_data" for name in names]


def test_large_table_is_read_again_from_the_start_at_its_turn(
    serve: Serve, wait_for_readers: Callable[[], None]
) -> None:
    megabyte = "x" * 1_000_000
    tenant = StandIn(*numbered("AB", 24))
    rows = [sales_row(number).replace("public.Actual", megabyte) for number in range(24)]
    tenant.models[1].sets["FactData"] = rows
    settings = serve(tenant)
    ahead: list[int] = []
    requests_before = 0

    def on_first_record(name: str) -> None:
        nonlocal requests_before
        if name == "A":
            wait_for_readers()
            ahead.extend(pages_asked_for(tenant, "B"))
            requests_before = len(tenant.targets)

    messages = sync_facts(settings, "AB", on_first_record)
    every_page = list(range(0, 24, 2))
    assert 0 < len(ahead) <= 16 / 2
    assert ahead == every_page[: len(ahead)]
    assert pages_asked_for(tenant, "B") == ahead + every_page
    assert all("/C4B/FactData" in target for target in tenant.targets[requests_before:])
    assert dates(messages, "B") == list(range(24))


def test_dropped_table_makes_room_for_another(
    serve: Serve, wait_for_readers: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tap_sac.read_ahead.MOST_BYTES_OF_A_TABLE", 2_000)
    names = "ABCDEF"
    tenant = StandIn(*numbered(names, 4))
    tenant.models[2].sets["FactData"] = [sales_row(number) for number in range(1_000)]
    settings = {**serve(tenant), "max_parallel_requests": 3}
    asked = {}
    # C must not be thrown away before it is settled what is read at the turn of A.
    is_begun = threading.Event()

    def fault(request: Request) -> None:
        if "/C4C/FactData" in request.target:
            assert is_begun.wait(PATIENCE)

    tenant.fault = fault

    def on_first_record(name: str) -> None:
        is_begun.set()
        if name in "AB":
            wait_for_readers()
            asked[name] = [model for model in names if pages_asked_for(tenant, model)]

    messages = sync_facts(settings, names, on_first_record)
    assert asked == {"A": ["A", "B", "C"], "B": ["A", "B", "C", "D", "E"]}
    assert [len(dates(messages, name)) for name in names] == [1, 4, 1_000, 4, 4, 4]


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("change", ["deleted", "inserted"])
def test_row_that_stays_is_read_once_while_others_are_inserted_or_deleted(
    serve: Serve,
    wait_for_readers: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    *,
    is_large: bool,
) -> None:
    if is_large:
        monkeypatch.setattr("tap_sac.read_ahead.MOST_BYTES_OF_A_TABLE", 1_000)
    tenant = StandIn(*numbered("AB", 40))
    rows = [sales_row(number) for number in range(40)]
    tenant.models[1].sets["FactData"] = rows
    settings = serve(tenant)
    staying = set(range(40))

    def on_first_record(name: str) -> None:
        if name == "A":
            wait_for_readers()
            assert (len(pages_asked_for(tenant, "B")) < 20) is is_large
            if change == "deleted":
                staying.difference_update(range(3))
                del rows[:3]
            else:
                rows[:0] = [sales_row(number) for number in range(100, 103)]

    read = dates(sync_facts(settings, "AB", on_first_record), "B")
    assert len(read) == len(set(read))
    assert staying <= set(read)


def test_memory_is_bounded_however_many_tables_are_read_at_once(
    serve: Serve, wait_for_readers: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 10_000
    monkeypatch.setattr("tap_sac.read_ahead.MOST_BYTES_OF_A_TABLE", 3_000)
    monkeypatch.setattr("tap_sac.read_ahead.MOST_BYTES", most)
    names = "ABCDEFGHIJKLMNOPQRST"
    tenant = StandIn(*numbered(names, 16))
    endless = [sales_row(number) for number in range(1_000)]
    tenant.models[1].sets["FactData"] = tenant.models[4].sets["FactData"] = endless
    settings = {**serve(tenant), "max_parallel_requests": 50}
    waiting = []

    def on_first_record(name: str) -> None:
        if name == "A":
            wait_for_readers()
        later = names[names.index(name) + 1 :]
        pages = sum(len(pages_asked_for(tenant, model)) for model in later)
        waiting.append(2 * pages * len(endless[0]))

    messages = sync_facts(settings, names, on_first_record)
    assert 0 < max(waiting) <= most
    for name in names[1:]:
        assert dates(messages, name) == list(range(1_000 if name in "BE" else 16))


def test_failure_is_raised_at_the_turn_of_its_table_and_stops_no_other(
    serve: Serve, wait_for_readers: Callable[[], None]
) -> None:
    tenant = StandIn(*numbered("ABC", 6))
    settings = serve(tenant)
    tenant.fault = lambda request: (
        error_response(403, "no") if "/C4B/FactData?$skiptoken=2" in request.target else None
    )
    begun = []

    def on_first_record(name: str) -> None:
        begun.append(name)
        if name == "A":
            wait_for_readers()

    with pytest.raises(SACError, match="403"):
        sync_facts(settings, "ABC", on_first_record)
    assert begun == ["A", "B"]
    assert pages_asked_for(tenant, "C") == [0, 2, 4]


class Sources:
    """Tables of numbers, which note what is asked for, and which threads begin and end them.

    `hold` sees each item of each table before it is there.
    """

    def __init__(self, names: str, extent: Extent | None = None, *, length: int = 5) -> None:
        self.asked: defaultdict[str, list[int]] = defaultdict(list)
        self.begun_by: dict[str, int] = {}
        self.ended_by: dict[str, int] = {}
        self.hold: Callable[[str, int], None] = lambda _name, _number: None
        self._length = length
        # They keep what they gave, so that nothing ends because nobody knows it any more.
        self._given: list[Iterator[int]] = []
        self.read_ahead = ReadAhead(
            len(names),
            lambda: {name: partial(self._give, name) for name in names},
            None if extent is None else lambda _: extent,
        )

    def read(self, name: str) -> Generator[int, None, None]:
        return self.read_ahead.read(name, self.begin(name))

    def begin(self, name: str) -> Callable[[], Iterator[int]]:
        return partial(self._give, name)

    def parts(self, names: str) -> ReadAhead[int]:
        return self.read_ahead.of_slices({name: self.begin(name) for name in names})

    def _give(self, name: str) -> Iterator[int]:
        self._given.append(self._items(name))
        return self._given[-1]

    def _items(self, name: str) -> Iterator[int]:
        self.begun_by[name] = threading.get_ident()
        try:
            for number in range(self._length):
                self.asked[name].append(number)
                self.hold(name, number)
                yield number
        finally:
            self.ended_by[name] = threading.get_ident()


def test_table_that_announces_a_large_size_is_dropped_at_once(
    wait_for_readers: Callable[[], None],
) -> None:
    sources = Sources("AB", Extent(1, is_last=False, whole=10**12))
    items = sources.read("A")
    assert next(items) == 0
    items.close()
    wait_for_readers()
    assert sources.asked["B"] == [0]
    assert list(sources.read("B")) == list(range(5))
    assert sources.asked["B"] == [0, *range(5)]


@pytest.mark.parametrize(
    ("megabytes", "is_last", "is_kept"), [(10, True, True), (10, False, False), (100, True, False)]
)
def test_table_of_one_item_is_kept_if_it_and_the_expected_rest_fit(
    wait_for_readers: Callable[[], None], megabytes: int, *, is_last: bool, is_kept: bool
) -> None:
    sources = Sources("AB", Extent(megabytes * 1_000_000, is_last), length=1)
    assert list(sources.read("A")) == [0]
    wait_for_readers()
    assert list(sources.read("B")) == [0]
    assert sources.asked["B"] == ([0] if is_kept else [0, 0])


@pytest.mark.parametrize("is_its_turn", [False, True])
def test_one_table_can_be_dropped_without_the_others(
    wait_for_readers: Callable[[], None], *, is_its_turn: bool
) -> None:
    sources = Sources("ABC")
    is_asked, is_dropped = threading.Event(), threading.Event()

    def hold(name: str, number: int) -> None:
        if name == "B" and number == 1:
            is_asked.set()
            assert is_dropped.wait(PATIENCE)

    sources.hold = hold
    first = sources.read("A")
    assert next(first) == 0
    if is_its_turn:
        assert list(first) == list(range(1, 5))
        items = sources.read("B")
        assert next(items) == 0
    assert is_asked.wait(PATIENCE)
    sources.read_ahead.drop("B")
    is_dropped.set()
    if is_its_turn:
        with pytest.raises(RuntimeError, match="dropped"):
            next(items)
    else:
        assert list(first) == list(range(1, 5))
    wait_for_readers()
    assert sources.asked["B"] == [0, 1]
    assert sources.ended_by["B"] == sources.begun_by["B"] != threading.get_ident()
    assert list(sources.read("C")) == list(range(5))
    assert sources.asked["C"] == list(range(5))


def test_closing_the_generator_ends_the_reader(
    wait_for_readers: Callable[[], None],
) -> None:
    sources = Sources("A")
    items = sources.read("A")
    assert next(items) == 0
    items.close()
    wait_for_readers()
    assert len(sources.asked["A"]) <= 3
    assert sources.ended_by == sources.begun_by


def test_parts_may_take_more_memory_than_tables(wait_for_readers: Callable[[], None]) -> None:
    sources = Sources("ABCD", Extent(50_000_000, is_last=True), length=1)
    parts = sources.parts("ABCD")
    assert list(parts.read("A", sources.begin("A"))) == [0]
    wait_for_readers()
    for name in "BCD":
        assert list(parts.read(name, sources.begin(name))) == [0]
    assert dict(sources.asked) == {name: [0] for name in "ABCD"}


def test_large_part_is_read_at_its_turn(wait_for_readers: Callable[[], None]) -> None:
    sources = Sources("ABCD", Extent(30_000_000, is_last=False))
    parts = sources.parts("ABCD")
    items = parts.read("A", sources.begin("A"))
    assert next(items) == 0
    items.close()
    wait_for_readers()
    assert sources.asked["B"] == [0, 1]
    assert list(parts.read("B", sources.begin("B"))) == list(range(5))
    assert sources.asked["B"] == [0, 1, *range(5)]


def test_small_parts_do_not_wait_for_a_large_one() -> None:
    sources = Sources("AB")
    parts = sources.parts("ABCDE")
    readers: dict[str, threading.Thread] = {}
    is_begun: defaultdict[str, threading.Event] = defaultdict(threading.Event)

    def hold(name: str, number: int) -> None:
        """Let each item of A but the first wait for another part to come to its end."""
        readers[name] = threading.current_thread()
        is_begun[name].set()
        if name == "A" and number:
            other = "ABCDE"[number]
            assert is_begun[other].wait(PATIENCE)
            readers[other].join(PATIENCE)

    sources.hold = hold
    assert list(parts.read("A", sources.begin("A"))) == list(range(5))
    for name in "BCDE":
        assert list(parts.read(name, sources.begin(name))) == list(range(5))
    assert dict(sources.asked) == {name: [*range(5)] for name in "ABCDE"}
