"""Keys are counted exactly, however many there are, and however little memory there is."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sac.sac.errors import SACError
from tap_sac.streams import key_counter
from tap_sac.streams.key_counter import KeyCounter
from tests.conftest import sync
from tests.helpers.disorder import DisorderlyStandIn, ids, load
from tests.helpers.target import Target

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serve

HASHES = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)


@given(st.lists(st.lists(HASHES, max_size=8), max_size=20), st.integers(1, 30))
def test_different_keys_are_counted_as_a_set_does(chunks: list[list[int]], memory: int) -> None:
    with pytest.MonkeyPatch.context() as patch, closing(KeyCounter()) as counter:
        patch.setattr(key_counter, "_MOST_IN_MEMORY", memory)
        patch.setattr(key_counter, "_AT_ONCE", 4)
        every: set[int] = set()
        for chunk in chunks:
            again = counter.add(chunk)
            times = {item: chunk.count(item) + (item in every) for item in chunk}
            assert all(1 < number <= times[item] for item, number in again.items())
            every.update(chunk)
            assert counter.count() == len(every)
            assert all(map(counter.knows, chunk))  # Also before others go into the file.
        assert all(map(counter.knows, every))
        assert not any(counter.knows(item + 1) for item in every if item + 1 not in every)


@given(st.lists(HASHES, min_size=1, max_size=8))
def test_key_that_is_repeated_soon_is_noticed(chunk: list[int]) -> None:
    with closing(KeyCounter()) as counter:
        assert bool(counter.add(chunk)) is (len({*chunk}) < len(chunk))
        assert counter.add(chunk) == {item: 1 + chunk.count(item) for item in chunk}


def test_memory_does_not_grow_with_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_counter, "_MOST_IN_MEMORY", 1000)
    with closing(KeyCounter()) as counter:
        counter.add([hash(str(number)) for number in range(1000)])
        tracemalloc.start()
        for start in range(1000, 50_000, 1000):
            counter.add([hash(str(number)) for number in range(start, start + 1000)])
        assert counter.count() == 50_000
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 500_000  # 50,000 hashes take 3 MB.


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_counter, "_MOST_IN_MEMORY", 3)


@pytest.mark.usefixtures("little_memory")
def test_row_that_is_repeated_much_later_is_noticed(serve: Serve) -> None:
    tenant = DisorderlyStandIn(rows=20)
    tenant.arrange = lambda rows: [*rows[:15], rows[0], *rows[16:]]
    config, target = serve(tenant), Target()
    assert not load(config, target)
    assert len(ids(target, tenant.stream)) == 20
    assert [options.get("$orderby") for options in tenant.first_pages()] == [None, "ID"]


@pytest.mark.usefixtures("little_memory")
def test_several_facts_of_a_key_that_are_far_apart_fail_the_stream(serve: Serve) -> None:
    tenant = DisorderlyStandIn(rows=20)
    tenant.arrange = list
    tenant.rows.append(tenant.rows[0].replace('"X": 0', '"X": 7'))
    assert "SAC stores several facts" in load(serve(tenant), Target())


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("order", ["sorted", "ignored", "refused"])
def test_member_listed_twice_far_apart_is_harmless(serve: Serve, order: str) -> None:
    tenant = DisorderlyStandIn("master", rows=20)
    tenant.arrange = list
    tenant.arrange_ordered = sorted if order == "sorted" else list
    tenant.refuses_order = order == "refused"
    config, target = serve(tenant), Target()
    assert not load(config, target)
    gone = tenant.rows.pop()
    tenant.rows.append(tenant.rows[0])
    assert not load(config, target)
    wanted = {json.loads(row)["ID"] for row in tenant.rows}
    # Where nobody knows which one came twice, nothing is deleted.
    left = set() if order == "sorted" else {json.loads(gone)["ID"]}
    assert set(ids(target, tenant.stream)) == wanted | left


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(("table", "rows"), [("facts", 20), ("master", 21)])
def test_rows_that_are_repeated_far_apart_in_any_order_fail_the_stream(
    serve: Serve, table: str, rows: int
) -> None:
    tenant = DisorderlyStandIn(table, rows=20)
    tenant.arrange = lambda found: [*found[:15], *found[: rows - 19], *found[16:]]
    tenant.arrange_ordered = tenant.arrange
    assert "even in key order" in load(serve(tenant), Target())


@pytest.mark.usefixtures("little_memory")
def test_full_disk_is_reported(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    tenant = DisorderlyStandIn(rows=20)
    tenant.arrange = list
    with pytest.raises(SACError, match="free disk space there"):
        sync(serve(tenant))


def test_keys_of_too_many_rows_are_not_compared(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tap_sac.streams.watched_keys._MOST_ROWS", 8)
    tenant = DisorderlyStandIn(rows=9)
    assert not load(serve(tenant), Target())
    assert len(tenant.first_pages()) == 1
    lines = [text for text in caplog.messages if "so their keys are not compared" in text]
    assert lines == ["t_fact_data has more than 8 rows, so their keys are not compared."]
