"""The state of a stream: what runs write, and what they make of it, and of older ones.

The files in ``states`` are bookmarks of one stream. What a run writes must stay as it is there,
because an older version may read it, and later versions must understand it.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import sync
from tests.helpers.demo_client import ANNA, BEN, refresh_token
from tests.helpers.runs import run
from tests.helpers.state_runs import (
    AUDIT,
    AUDIT_ROWS,
    DEMO_FACTS,
    DENIED,
    FACTS,
    REGIONS,
    SUMS,
    Bookmark,
    bookmark_of,
    chosen,
    demo_config,
    full_config,
    half_done,
    kinds,
    listing,
    of,
    several_sets,
    slicing,
    tracking,
    version_of,
    warnings,
    written,
)
from tests.helpers.states import STATES, VERSION, filled, golden
from tests.helpers.tracking import ROWS, changed, delta

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Serve

FILTERED: dict[str, Any] = {"filters": {FACTS: "Date ge '000000'"}}
UNVERSIONED: dict[str, Any] = {"emit_activate_version_messages": False}


# What a run writes


def write_changes(serve: Serve, **settings: Any) -> Bookmark:
    _, config = tracking(serve)
    config |= settings
    return written(sync(config), config)


def write_full(serve: Serve, **settings: Any) -> Bookmark:
    config = {**full_config(serve), **settings}
    return written(sync(config), config)


def write_followed(serve: Serve, **change: Any) -> Bookmark:
    _, config = tracking(serve)
    bookmark = {**bookmark_of(sync(config)), **change}
    return written(sync(config, state=of(bookmark)), config)


def write_half_read(serve: Serve) -> Bookmark:
    first_page = delta(changed(ROWS[0]), link="B", spelling="@odata.nextLink")
    _, config = tracking(serve, first_page, DENIED)
    messages, failure = run(config, state=sync(config).state)
    assert failure
    return written(messages, config)


def write_slices(serve: Serve, *, stops: bool) -> Bookmark:
    tenant, config = slicing(serve, stops=True)
    messages, failure = run(config)
    assert failure
    if not stops:
        tenant.fault = lambda _: None
        messages = sync(config, state=messages.state)
    return written(messages, config)


def write_changes_after_slices(serve: Serve) -> Bookmark:
    _, config = tracking(serve)
    values = {"query": "0" * 16, "started_at": 1}
    unfinished = filled(golden("slices_half_done"), config, **values)
    return written(sync(config, state=of(unfinished)), config)


def write_sums(serve: Serve) -> Bookmark:
    _, config = several_sets(serve)
    return written(sync(config, chosen(config, SUMS)), config, SUMS)


def write_audit(serve: Serve, *audit_rows: str, state: dict[str, Any] | None = None) -> Bookmark:
    _, config = several_sets(serve, *audit_rows)
    catalog = chosen(config, AUDIT, SUMS)
    messages, _ = run(config, catalog=catalog, state=state)
    return written(messages, config, AUDIT)


def write_as_user(serve: Serve, stream: str, **settings: Any) -> Bookmark:
    config = demo_config(serve, ANNA, **settings)
    return written(sync(config, chosen(config, stream)), config, stream)


def write_unidentified(serve: Serve) -> Bookmark:
    config = {**full_config(serve), "refresh_token": "refresh-0"}
    return written(sync(config), config)


BAD_AUDIT = [*AUDIT_ROWS[:2], '{"Audit_Time":null,"Action":"Change"}']
WRITERS: dict[str, Callable[[Serve], Bookmark]] = {
    "full_read": write_full,
    "full_read_filtered": lambda serve: write_full(serve, **FILTERED),
    "full_read_unversioned": lambda serve: write_full(serve, **UNVERSIONED),
    "full_read_after_slices": lambda serve: write_slices(serve, stops=False),
    "slices_half_done": lambda serve: write_slices(serve, stops=True),
    "aggregation": write_sums,
    "changes_opened": write_changes,
    "changes_opened_filtered": lambda serve: write_changes(serve, **FILTERED),
    "changes_unversioned": lambda serve: write_changes(serve, **UNVERSIONED),
    "changes_read": write_followed,
    "changes_read_extra_facts": lambda serve: write_followed(serve, extra_facts=2),
    "changes_of_others": lambda serve: write_followed(serve, signature=None),
    "changes_half_read": write_half_read,
    "changes_after_slices": write_changes_after_slices,
    "audit": write_audit,
    "audit_failed": lambda serve: write_audit(serve, *BAD_AUDIT),
    "audit_failed_again": lambda serve: write_audit(
        serve, *BAD_AUDIT, state=of(golden("audit"), AUDIT)
    ),
    "user_full_read": lambda serve: write_as_user(serve, REGIONS),
    "user_changes": lambda serve: write_as_user(
        serve, DEMO_FACTS, default_replication_method="LOG_BASED"
    ),
    "user_unidentified": write_unidentified,
}
EXPECTED = sorted({path.stem for path in STATES.glob("*.json")} - {"tampered"})


@pytest.mark.parametrize("name", EXPECTED)
def test_state_that_is_written_stays_as_it_was(serve: Serve, name: str) -> None:
    assert WRITERS[name](serve) == golden(name)


# What a full read makes of a state


@pytest.mark.parametrize(
    ("before", "after", "settings"),
    [
        ("full_read", "full_read", {}),
        ("full_read_filtered", "full_read_filtered", FILTERED),
        ("full_read_after_slices", "full_read_after_slices", {}),
        ("changes_opened", "full_read", {}),
        ("changes_half_read", "full_read", {}),
        ("changes_of_others", "full_read", {}),
        ("changes_opened_filtered", "full_read_filtered", FILTERED),
        ("changes_after_slices", "full_read_after_slices", {}),
        ("older/changes_0_1_0", "full_read", {}),
        ("older/changes_without_tables", "full_read", {}),
        ("older/changes_without_signature", "full_read", {}),
        ("older/full_read_without_filter", "full_read", {}),
    ],
)
def test_full_read_has_a_version_above_that_of_the_state(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    before: str,
    after: str,
    settings: dict[str, Any],
) -> None:
    config = {**full_config(serve), **settings}
    messages = sync(config, state=of(filled(golden(before), config)))
    assert len(messages.records(FACTS)) == 3
    assert "ACTIVATE_VERSION" in kinds(messages)
    assert version_of(messages) == VERSION + 1 == bookmark_of(messages)["version"]
    assert written(messages, config) == golden(after)
    assert not warnings(caplog, "filter")


def test_full_read_without_versions_stores_no_version(serve: Serve) -> None:
    config = {**full_config(serve), **UNVERSIONED}
    for before in ("full_read", "full_read_unversioned", "changes_opened", "changes_unversioned"):
        messages = sync(config, state=of(filled(golden(before), config)))
        assert kinds(messages) == {"SCHEMA", "RECORD"}
        assert written(messages, config) == golden("full_read_unversioned")


@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
@pytest.mark.parametrize(
    ("before", "settings"),
    [("full_read", FILTERED), ("full_read_filtered", {}), ("changes_opened", FILTERED)],
)
def test_filter_of_the_state_is_compared(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    before: str,
    settings: dict[str, Any],
    method: str,
) -> None:
    _, config = tracking(serve)
    config |= {**settings, "default_replication_method": method}
    messages = sync(config, state=of(filled(golden(before), config)))
    assert "ACTIVATE_VERSION" in kinds(messages)
    assert version_of(messages) == VERSION + 1
    assert warnings(caplog, "filter")


@pytest.mark.parametrize(
    ("before", "is_compared"), [("aggregation", True), ("older/aggregation_without_key", False)]
)
@pytest.mark.parametrize("without", ["", "Date"])
def test_key_of_the_state_is_compared(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    before: str,
    without: str,
    *,
    is_compared: bool,
) -> None:
    tenant, config = several_sets(serve)
    if without:
        tenant.models[0].sets["FactDataAggregation"] = ['{"Version":"public.Actual","AMOUNT":3}']
    catalog = chosen(config, SUMS, without=without)
    messages = sync(config, catalog, of(filled(golden(before), config), SUMS))
    assert bool(warnings(caplog, "The key of")) == (is_compared and bool(without))
    assert version_of(messages, SUMS) == VERSION + 1
    key = {"key": ["Version"]} if without else {}
    assert written(messages, config, SUMS) == {**golden("aggregation"), **key}


def test_read_that_fails_after_another_method_has_the_state_of_a_full_read(serve: Serve) -> None:
    tenant, config = several_sets(serve)
    tenant.models[0].sets["FactData"] = ['{"Version":"public.Actual","AMOUNT":"no number"}']
    state = of(filled(golden("changes_opened"), config))
    messages, failure = run(config, catalog=chosen(config, FACTS, SUMS), state=state)
    assert "AMOUNT" in failure
    assert written(messages, config) == golden("full_read")
    assert bookmark_of(messages)["version"] == VERSION


# What a LOG_BASED read makes of a state


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("changes_opened", "changes_read"),
        ("changes_after_slices", "changes_read"),
        ("older/changes_without_tables", "changes_read"),
        ("older/changes_without_is_followed", "changes_read"),
        ("older/changes_without_signature", "changes_of_others"),
        ("older/changes_0_1_0", "changes_of_others"),
        ("changes_of_others", "changes_of_others"),
    ],
)
def test_changes_are_read_under_the_version_of_the_state(
    serve: Serve, before: str, after: str
) -> None:
    tenant, config = tracking(serve)
    tenant.deltas["B"] = tenant.deltas["A"]
    bookmark = filled(golden(before), config)
    messages = sync(config, state=of(bookmark))
    assert [record["Date"] for record in messages.records(FACTS)] == ["000000"]
    assert kinds(messages) == {"SCHEMA", "RECORD"}
    assert version_of(messages) == VERSION == bookmark_of(messages)["version"]
    kept = {"slices": None} if "slices" in bookmark else {}
    assert written(messages, config) == {**golden(after), **kept}


def test_changes_without_versions_are_read_under_none(serve: Serve) -> None:
    _, config = tracking(serve)
    config |= UNVERSIONED
    messages = sync(config, state=of(filled(golden("changes_unversioned"), config)))
    assert kinds(messages) == {"SCHEMA", "RECORD"}
    assert not any("version" in item for item in messages)
    assert written(messages, config) == {**golden("changes_read"), "version": None}


@pytest.mark.parametrize("before", ["changes_half_read", "older/changes_half_read_0_1_0"])
def test_link_that_may_be_spent_is_not_trusted_unless_sac_lists_it(
    serve: Serve, before: str
) -> None:
    tenant, config = tracking(serve)
    bookmark = filled(golden(before), config)
    messages = sync(config, state=of(bookmark))
    assert not any("deltaid" in target for target in tenant.targets)
    assert version_of(messages) == VERSION + 1
    assert written(messages, config) == golden("changes_opened")
    tenant.fault = listing("A")
    messages = sync(config, state=of(bookmark))
    assert version_of(messages) == VERSION
    assert len(messages.records(FACTS)) == 1


@pytest.mark.parametrize(
    ("before", "is_deleted"),
    [
        ("changes_opened", True),
        ("changes_half_read", True),
        ("changes_read", True),
        ("older/changes_without_tables", True),
        ("changes_of_others", False),
        ("older/changes_without_signature", False),
        ("older/changes_0_1_0", False),
    ],
)
@pytest.mark.parametrize(
    "settings",
    [{"default_replication_method": "FULL_TABLE"}, FILTERED],
    ids=["full read", "other filter"],
)
def test_unneeded_subscription_is_deleted_if_the_state_proves_ownership(
    serve: Serve, before: str, settings: dict[str, Any], *, is_deleted: bool
) -> None:
    tenant, config = tracking(serve)
    gone: list[str] = []
    tenant.fault = listing("A", "B", deleted=gone)
    sync({**config, **settings}, state=of(filled(golden(before), config)))
    assert bool(gone) == is_deleted


@pytest.mark.parametrize(
    ("before", "is_compared"), [("changes_opened", True), ("older/changes_without_tables", False)]
)
def test_table_of_the_state_is_compared(serve: Serve, before: str, *, is_compared: bool) -> None:
    _, config = tracking(serve)
    config |= {"stream_maps": {FACTS: {"__alias__": "facts"}}}
    messages = sync(config, state=of(filled(golden(before), config)))
    assert version_of(messages, "facts") == VERSION + is_compared
    assert len(messages.records("facts")) == (3 if is_compared else 1)


@pytest.mark.parametrize("before", ["full_read", "full_read_after_slices", "aggregation"])
def test_chain_is_opened_after_full_reads(serve: Serve, before: str) -> None:
    _, config = tracking(serve)
    bookmark = filled(golden(before), config)
    messages = sync(config, state=of(bookmark))
    assert version_of(messages) == VERSION + 1
    kept = {"slices": None} if "slices" in bookmark else {}
    assert written(messages, config) == {**golden("changes_opened"), **kept}


# What a read in slices makes of a state


def test_slices_that_are_left_are_read_under_the_version_of_the_state(serve: Serve) -> None:
    tenant, config, bookmark = half_done(serve)
    messages = sync(config, state=of(bookmark))
    assert tenant.asked() == ["Version eq 'C'"]
    assert version_of(messages) == VERSION == bookmark_of(messages)["version"]
    assert "ACTIVATE_VERSION" in kinds(messages)
    assert written(messages, config) == golden("full_read_after_slices")


def test_other_reads_are_not_mixed_with_the_slices_that_are_done(serve: Serve) -> None:
    _, config, bookmark = half_done(serve)
    for partition_by in ({}, {FACTS: "Date"}):
        messages = sync({**config, "partition_by": partition_by}, state=of(bookmark))
        assert len(messages.records(FACTS)) == 10
        assert version_of(messages) == VERSION + 1
        assert written(messages, config) == golden("full_read_after_slices")


def test_slices_of_a_read_that_was_completed_are_not_taken_up(serve: Serve) -> None:
    """A program that merges states may put them back."""
    _, config, bookmark = half_done(serve)
    merged = {**filled(golden("full_read"), config), **bookmark}
    messages = sync(config, state=of(merged))
    assert len(messages.records(FACTS)) == 10
    assert version_of(messages) == VERSION + 1


# What the reads of a user make of a state


def test_user_of_the_state_is_compared(serve: Serve) -> None:
    config = demo_config(serve, ANNA)
    catalog = chosen(config, REGIONS)
    state = of(filled(golden("user_full_read"), config), REGIONS)
    messages = sync(config, copy.deepcopy(catalog), copy.deepcopy(state))
    assert version_of(messages, REGIONS) == VERSION + 1
    assert written(messages, config, REGIONS) == golden("user_full_read")
    others = {**config, "refresh_token": refresh_token(config, BEN)}
    client = {name: value for name, value in config.items() if name != "refresh_token"}
    for settings in (others, client):
        messages, failure = run(settings, catalog=copy.deepcopy(catalog), state=state)
        assert "--full-refresh" in failure
        assert kinds(messages, REGIONS) == {"SCHEMA", "RECORD"}
        after = messages.state["bookmarks"][REGIONS]
        assert {**after, "tenant": None} == {**state["bookmarks"][REGIONS], "tenant": None}


def test_state_of_the_client_is_not_that_of_a_user(serve: Serve) -> None:
    config = demo_config(serve, ANNA)
    state = of(filled(golden("full_read"), config), REGIONS)
    messages, failure = run(config, catalog=chosen(config, REGIONS), state=state)
    assert failure
    assert "ACTIVATE_VERSION" not in kinds(messages, REGIONS)
    # Without a completed read, there is nothing to compare with.
    state = of(filled(golden("older/full_read_without_filter"), config), REGIONS)
    messages = sync(config, chosen(config, REGIONS), state)
    assert "ACTIVATE_VERSION" in kinds(messages, REGIONS)


def test_rows_of_the_state_are_compared(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    config = demo_config(serve, ANNA)
    bookmark = {**filled(golden("user_full_read"), config), "rows": 17}
    messages = sync(config, chosen(config, REGIONS), of(bookmark, REGIONS))
    assert warnings(caplog, " 17")
    assert written(messages, config, REGIONS) == golden("user_full_read")


def test_unidentified_user_is_not_compared(serve: Serve) -> None:
    config = {**full_config(serve), "refresh_token": "refresh-0"}
    for name in ("user_unidentified", "user_full_read"):
        messages = sync(config, state=of(filled(golden(name), config)))
        assert version_of(messages) == VERSION + 1
        assert "ACTIVATE_VERSION" in kinds(messages)
        assert written(messages, config) == golden("user_unidentified")


# What reads of audit data make of a state


@pytest.mark.parametrize(
    ("before", "is_continued"),
    [
        ("audit", True),
        ("audit_failed_again", True),
        ("audit_failed", False),
        ("older/audit_time_alone", False),
    ],
)
def test_audit_data_are_read_from_the_time_of_the_state(
    serve: Serve, before: str, *, is_continued: bool
) -> None:
    tenant, config = several_sets(serve)
    bookmark = filled(golden(before), config, signpost="2026-11-29T14:00:00.000000+00:00")
    messages = sync(config, chosen(config, AUDIT), of(bookmark, AUDIT))
    target = next(item for item in tenant.targets if "/AuditData" in item)
    assert ("Audit_Time%20ge%202026-11-03T00:00:00.000Z" in target) == is_continued
    after = {"Audit_Time": bookmark["Audit_Time"]} if "Audit_Time" in bookmark else {}
    assert written(messages, config, AUDIT) == {**golden("audit"), **after}
