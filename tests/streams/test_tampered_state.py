"""States that somebody has changed: what is wrong in them is as if it were not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.sac.errors import SACError
from tests.conftest import sync
from tests.helpers.pipeline import (
    STREAM,
    Pipeline,
)
from tests.helpers.tracking import (
    LINK,
    ROWS,
    TrackingStandIn,
    log_based,
)

if TYPE_CHECKING:
    from tests.conftest import Serve

from typing import TYPE_CHECKING

from tests.helpers.demo_client import ANNA
from tests.helpers.state_runs import (
    AUDIT,
    FACTS,
    REGIONS,
    SUMS,
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
from tests.helpers.states import VERSION, changes, golden, tampered

if TYPE_CHECKING:
    from tests.conftest import Serve


@pytest.mark.parametrize("change", changes("changes"))
@pytest.mark.parametrize("method", ["LOG_BASED", "FULL_TABLE"])
def test_bookmark_of_changes_that_was_tampered_with_is_not_followed(
    serve: Serve, caplog: pytest.LogCaptureFixture, change: dict[str, Any], method: str
) -> None:
    tenant, config = tracking(serve)
    tenant.fault = listing()
    caplog.set_level("DEBUG")
    settings = {**config, "default_replication_method": method}
    messages = sync(settings, state=of(tampered("changes_opened", change, config)))
    assert len(messages.records(FACTS)) == 3
    assert "ACTIVATE_VERSION" in kinds(messages)
    assert not any("deltaid" in target for target in tenant.targets)
    after = golden("changes_opened" if method == "LOG_BASED" else "full_read")
    assert after.items() <= written(messages, config).items()
    assert not any("\n" in text or "\x1b" in text for text in caplog.messages)
    assert config["client_secret"] not in caplog.text


@pytest.mark.parametrize("change", changes("changes that are still followed"))
def test_equivalent_bookmark_of_changes_is_followed(serve: Serve, change: dict[str, Any]) -> None:
    _, config = tracking(serve)
    bookmark = tampered("changes_opened", change, config)
    messages = sync(config, state=of(bookmark))
    assert len(messages.records(FACTS)) == 1
    assert version_of(messages) == VERSION
    assert written(messages, config) == golden("changes_read")


@pytest.mark.parametrize("change", changes("signature"))
@pytest.mark.parametrize("method", ["LOG_BASED", "FULL_TABLE"])
def test_signature_that_was_tampered_with_proves_nothing(
    serve: Serve, change: dict[str, Any], method: str
) -> None:
    tenant, config = tracking(serve)
    gone: list[str] = []
    tenant.fault = listing("A", deleted=gone)
    bookmark = tampered("changes_opened", change, config)
    settings = {**config, "default_replication_method": method}
    messages = sync(settings, state=of(bookmark))
    after = golden("changes_of_others" if method == "LOG_BASED" else "full_read")
    assert written(messages, config) == after
    assert not gone


@pytest.mark.parametrize("change", changes("full_read_filtered"))
def test_filter_that_was_tampered_with_is_not_compared(
    serve: Serve, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    config = full_config(serve)
    bookmark = tampered("full_read_filtered", change, config)
    messages = sync(config, state=of(bookmark))
    assert not warnings(caplog, "filter")
    assert version_of(messages) == VERSION + 1
    assert written(messages, config) == golden("full_read")


@pytest.mark.parametrize("change", changes("aggregation"))
def test_key_that_was_tampered_with_is_not_compared(
    serve: Serve, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    _, config = several_sets(serve)
    bookmark = tampered("aggregation", change, config)
    messages = sync(config, chosen(config, SUMS), of(bookmark, SUMS))
    assert not warnings(caplog, "The key of")
    assert version_of(messages, SUMS) == VERSION + 1
    assert written(messages, config, SUMS) == golden("aggregation")


@pytest.mark.parametrize("change", changes("version"))
def test_version_that_was_tampered_with_does_not_count(
    serve: Serve, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    config = full_config(serve)
    messages = sync(config, state=of(tampered("full_read_filtered", change, config)))
    assert version_of(messages) < VERSION
    assert warnings(caplog, "filter")
    assert written(messages, config) == golden("full_read")


@pytest.mark.parametrize("change", changes("slices"))
def test_replaced_slices_are_ignored(serve: Serve, change: dict[str, Any]) -> None:
    _, config = slicing(serve, stops=False)
    messages = sync(config, state=of(change))
    assert len(messages.records(FACTS)) == 10
    assert written(messages, config) == golden("full_read_after_slices")


@pytest.mark.parametrize("change", changes("members of slices"))
def test_slices_that_were_tampered_with_are_read_again(
    serve: Serve, change: dict[str, Any]
) -> None:
    _, config, bookmark = half_done(serve)
    slices = {**bookmark["slices"], **change}
    slices = {name: item for name, item in slices.items() if item != "<removed>"}
    messages = sync(config, state=of({"slices": slices}))
    assert len(messages.records(FACTS)) == 10
    assert "ACTIVATE_VERSION" in kinds(messages)
    assert version_of(messages) != VERSION
    assert written(messages, config) == golden("full_read_after_slices")


@pytest.mark.parametrize("change", changes("person of the client"))
def test_user_that_was_tampered_with_is_none(serve: Serve, change: dict[str, Any]) -> None:
    config = full_config(serve)
    messages = sync(config, state=of(tampered("user_full_read", change, config)))
    assert "ACTIVATE_VERSION" in kinds(messages)
    assert written(messages, config) == golden("full_read")


@pytest.mark.parametrize("change", changes("rows of a user"))
def test_rows_that_were_tampered_with_are_not_compared(
    serve: Serve, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    config = demo_config(serve, ANNA)
    bookmark = tampered("user_full_read", change, config)
    messages = sync(config, chosen(config, REGIONS), of(bookmark, REGIONS))
    assert "ACTIVATE_VERSION" in kinds(messages, REGIONS)
    assert not warnings(caplog)
    assert written(messages, config, REGIONS) == golden("user_full_read")


@pytest.mark.parametrize("change", changes("audit"))
def test_audit_time_that_was_tampered_with_ends_the_run(
    serve: Serve, change: dict[str, Any]
) -> None:
    _, config = several_sets(serve)
    bookmark = tampered("audit", change, config)
    with pytest.raises(SACError, match="replication_key_value"):
        sync(config, chosen(config, AUDIT), of(bookmark, AUDIT))


@pytest.mark.parametrize(
    "link",
    [
        "https://elsewhere.example" + LINK + "A",
        "http://127.0.0.1:1" + LINK + "A",
        "{origin}/api/v1/scim/Users?deltaid=A",
        "{origin}/api/v1/dataexport/providers/sac/C4OTHER/FactData?deltaid=A",
    ],
)
def test_tampered_link_cannot_make_the_tap_call_another_place(serve: Serve, link: str) -> None:
    tenant = TrackingStandIn(*ROWS)
    config = log_based(serve, tenant)
    state = sync(config).state
    bookmark = state["bookmarks"]["sales_fact_data"]
    bookmark["delta_link"] = link.replace("{origin}", config["tenant_url"])
    messages = sync(config, state=state)
    assert len(messages.records("sales_fact_data")) == 3
    assert not any("deltaid=A" in target for target in tenant.targets)


@pytest.mark.parametrize(
    "bookmark",
    [
        {"delta_link": 5},
        {"delta_link": "x", "version": "new", "question": {}},
        {"delta_link": "x", "version": None, "question": []},
        {"delta_link": "%", "version": 1, "question": {"key": 1}},
        {"delta_link": "http://[", "version": 1, "question": {}},
        {"delta_link": "x", "version": 10**4000, "question": {}},
    ],
)
def test_damaged_bookmark_leads_to_a_full_read(serve: Serve, bookmark: dict[str, Any]) -> None:
    state = {"bookmarks": {"sales_fact_data": bookmark}}
    messages = sync(log_based(serve, TrackingStandIn(*ROWS)), state=state)
    assert len(messages.records("sales_fact_data")) == 3


@pytest.mark.parametrize("version", ["new", -1, 1.5, True, 2**63])
def test_bookmark_with_an_invalid_version_leads_to_a_full_read(
    pipeline: Pipeline, version: object
) -> None:
    pipeline.run()
    pipeline.bookmark()["version"] = version
    messages = pipeline.run().of(STREAM)
    assert len(messages) == len(["SCHEMA", *["RECORD"] * 12, "ACTIVATE_VERSION"])
    assert {item["version"] for item in messages[1:]} == {pipeline.bookmark()["version"]}
    assert 1 < pipeline.bookmark()["version"] < 2**63
