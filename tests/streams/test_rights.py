"""Reads with a person's rights: what is missing there may be missing for that person alone."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo import Behaviour
from tap_sac.demo.service import SALES_MODEL, SampleService
from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import Messages, discover, read_messages, select, sync
from tests.helpers.demo_client import ANNA, BEN, refresh_token
from tests.helpers.pipeline import leave
from tests.helpers.selection import without
from tests.helpers.stand_in import StandIn, error_response, sales, sales_row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import RunCli, Serve

FACTS, REGIONS, AUDIT = (
    "sales_planning_fact_data",
    "sales_planning_xx_region_master",
    "workforce_planning_audit_data",
)
SUMS = "sales_planning_fact_data_aggregation"
WORKFORCE = ("sac", "C4WORKFRCK5M2X8QW3TBV1ZJ7B")
TRACKED: dict[str, Any] = {"default_replication_method": "LOG_BASED"}
SLICED: dict[str, Any] = {"partition_by": {FACTS: "Date"}}
UNVERSIONED: dict[str, Any] = {"emit_activate_version_messages": False}
ALL_FACTS, BENS_FACTS = 240, 90
AGAIN = "run with --full-refresh (or without --state)"


class Tenant:
    """A tenant with people, and what the tap does there as one of them, or as itself."""

    def __init__(self, serve: Serve) -> None:
        sets = ("FactData", "FactDataAggregation", "XX_REGIONMaster")
        self.service = leave(SampleService(), SALES_MODEL, *sets)
        self.service.limit(SALES_MODEL, ALL_FACTS)
        self.config: dict[str, Any] = {**serve(self.service), "models": ["Sales Planning"]}

    def config_of(self, person: str | None, **settings: Any) -> dict[str, Any]:
        token = {"refresh_token": refresh_token(self.config, person)} if person else {}
        return {**self.config, **token, **settings}

    def run(
        self, person: str | None, state: dict[str, Any] | None = None, **settings: Any
    ) -> Messages:
        config = self.config_of(person, **settings)
        catalog = select(discover(config), FACTS, REGIONS)
        return sync(config, catalog, state)

    def run_again(
        self,
        person: str | None,
        state: dict[str, Any],
        capsys: pytest.CaptureFixture[str],
        **settings: Any,
    ) -> tuple[Messages, str]:
        """Run and fail; returns what was written all the same, and the sentence."""
        config = self.config_of(person, **settings)
        catalog = select(discover(config), FACTS, REGIONS)
        capsys.readouterr()
        with pytest.raises(SACError) as error:
            TapSAC(config=config, catalog=catalog, state=state).sync_all()
        return read_messages(capsys.readouterr().out), str(error.value)


@pytest.fixture
def tenant(serve: Serve) -> Tenant:
    return Tenant(serve)


def kinds(messages: Messages, stream: str = FACTS) -> set[str]:
    return {message["type"] for message in messages.of(stream)}


def bookmarks(messages: Messages) -> dict[str, Any]:
    return messages.state["bookmarks"] if "STATE" in {item["type"] for item in messages} else {}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [item.getMessage() for item in caplog.records if item.levelno >= logging.WARNING]
    return [text for text in texts if "unsorted" not in text]  # what the SDK says of audit data


@pytest.mark.parametrize("person", [ANNA, BEN, None])
def test_same_person_again_is_as_ever(
    tenant: Tenant, caplog: pytest.LogCaptureFixture, person: str | None
) -> None:
    first = tenant.run(person)
    second = tenant.run(person, first.state)
    assert len(second.records(FACTS)) == (BENS_FACTS if person == BEN else ALL_FACTS)
    for messages in (first, second):
        assert kinds(messages) == {"SCHEMA", "RECORD", "ACTIVATE_VERSION"}
    assert not warnings(caplog)


@pytest.mark.parametrize("settings", [{}, SLICED], ids=["whole", "slices"])
@pytest.mark.parametrize(("before", "now"), [(ANNA, BEN), (BEN, ANNA), (None, ANNA), (BEN, None)])
def test_rows_of_another_person_are_written_and_not_activated(
    tenant: Tenant,
    capsys: pytest.CaptureFixture[str],
    before: str | None,
    now: str | None,
    settings: dict[str, Any],
) -> None:
    first = tenant.run(before, **settings)
    messages, sentence = tenant.run_again(now, first.state, capsys, **settings)
    assert len(messages.records(FACTS)) == (BENS_FACTS if now == BEN else ALL_FACTS)
    assert kinds(messages) == kinds(messages, REGIONS) == {"SCHEMA", "RECORD"}
    assert sentence.count(".") == 1
    assert AGAIN in sentence
    assert f"({FACTS}, {REGIONS})" in sentence
    for stream, bookmark in bookmarks(messages).items():
        assert bookmark == first.state["bookmarks"][stream]


def test_error_is_repeated_until_the_user_decides(
    tenant: Tenant, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tenant.run(ANNA)
    messages, _ = tenant.run_again(BEN, first.state, capsys)
    state = messages.state if bookmarks(messages) else first.state
    tenant.run_again(BEN, state, capsys)
    assert "ACTIVATE_VERSION" in kinds(tenant.run(ANNA, state))
    refreshed = tenant.run(BEN)  # As --full-refresh of Meltano does it: without a state.
    assert "ACTIVATE_VERSION" in kinds(tenant.run(BEN, refreshed.state))


def test_exit_code_and_log_report_it(tenant: Tenant, run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps(tenant.run(ANNA).state))
    result = run_cli(tenant.config_of(BEN), "--state", str(path))
    assert result.returncode == 1
    told = [line for line in result.stderr.splitlines() if AGAIN in line]
    assert len(told) == 1
    assert "Traceback" not in result.stderr


def test_state_does_not_reveal_the_user(tenant: Tenant) -> None:
    bookmark = tenant.run(BEN).state["bookmarks"][FACTS]
    assert re.fullmatch("[0-9a-f]{64}", bookmark["person"])
    assert bookmark["rows"] == BENS_FACTS
    assert not re.search(r"ben|9c2d7a84", json.dumps(bookmark), re.IGNORECASE)


def test_state_of_the_client_itself_names_no_person(tenant: Tenant) -> None:
    bookmark = tenant.run(None).state["bookmarks"][FACTS]
    assert bookmark.keys() == {"version", "filter", "types", "tenant"}


def test_without_versions_nothing_is_ever_removed(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    state = tenant.run(ANNA, **UNVERSIONED).state
    messages = tenant.run(BEN, state, **UNVERSIONED)
    assert len(messages.records(FACTS)) == BENS_FACTS
    assert bookmarks(messages)[FACTS]["person"] != state["bookmarks"][FACTS]["person"]
    assert not warnings(caplog)


def test_batch_files_of_another_person_are_not_activated(
    tenant: Tenant, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    batches: dict[str, Any] = {
        "batch_config": {
            "encoding": {"format": "jsonl", "compression": "none"},
            "storage": {"root": tmp_path.as_uri()},
        }
    }
    first = tenant.run(ANNA, **batches)
    assert "ACTIVATE_VERSION" in kinds(first)
    messages, sentence = tenant.run_again(BEN, first.state, capsys, **batches)
    assert kinds(messages) == {"SCHEMA", "BATCH"}
    assert AGAIN in sentence


def test_chain_of_another_person_is_left_alone(
    tenant: Tenant, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tenant.run(ANNA, **TRACKED)
    (chain,) = tenant.service.subscriptions
    tenant.service.change()
    messages, sentence = tenant.run_again(BEN, first.state, capsys, **TRACKED)
    assert AGAIN in sentence
    assert kinds(messages) == {"SCHEMA", "RECORD"}
    assert len(messages.records(FACTS)) >= BENS_FACTS
    assert list(tenant.service.subscriptions) == [chain]
    for stream, bookmark in bookmarks(messages).items():
        assert bookmark == first.state["bookmarks"][stream]
    again = tenant.run(ANNA, first.state, **TRACKED)
    assert len(again.records(FACTS)) == 3
    assert bookmarks(again)[FACTS]["person"] == first.state["bookmarks"][FACTS]["person"]


def test_new_user_opens_a_new_subscription_without_versions(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {**TRACKED, **UNVERSIONED}
    first = tenant.run(ANNA, **settings)
    (chain,) = tenant.service.subscriptions
    messages = tenant.run(BEN, first.state, **settings)
    assert len(messages.records(FACTS)) == BENS_FACTS
    assert chain not in tenant.service.subscriptions
    (warning,) = warnings(caplog)
    assert "because a different user is signed in" in warning
    tenant.service.change()
    changed = tenant.run(BEN, messages.state, **settings)
    assert 0 < len(changed.records(FACTS)) <= 3


def test_another_person_is_noticed_also_where_the_method_changes(
    tenant: Tenant, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tenant.run(ANNA, **TRACKED)
    messages, _ = tenant.run_again(BEN, first.state, capsys)
    assert kinds(messages) == {"SCHEMA", "RECORD"}
    assert "ACTIVATE_VERSION" in kinds(tenant.run(ANNA, first.state))


@pytest.mark.parametrize("settings", [{}, SLICED], ids=["whole", "slices"])
@pytest.mark.parametrize(("rows", "is_told"), [(ALL_FACTS // 2, False), (ALL_FACTS // 2 - 1, True)])
def test_fewer_than_half_the_rows_are_a_warning(
    tenant: Tenant,
    caplog: pytest.LogCaptureFixture,
    rows: int,
    settings: dict[str, Any],
    *,
    is_told: bool,
) -> None:
    state = tenant.run(ANNA, **settings).state
    tenant.service.limit(SALES_MODEL, rows)
    messages = tenant.run(ANNA, state, **settings)
    assert "ACTIVATE_VERSION" in kinds(messages)
    told = warnings(caplog)
    assert bool(told) == is_told
    if is_told:
        assert f"{FACTS} has 119 rows, but the last one had 240" in told[0]
        caplog.clear()
        tenant.run(ANNA, messages.state, **settings)
        assert not warnings(caplog)


@pytest.mark.parametrize(("person", "goes_on"), [(ANNA, True), (BEN, False), (None, False)])
def test_no_run_resumes_slices_of_another_person(
    tenant: Tenant,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    person: str | None,
    *,
    goes_on: bool,
) -> None:
    caplog.set_level("INFO")
    refusal = error_response(403, "no")
    tenant.service.refuse("Date eq '202403'", refusal, times=2)
    first, sentence = tenant.run_again(ANNA, {}, capsys, **SLICED)
    assert "SAC answered 403" in sentence
    messages = tenant.run(person, first.state, **SLICED)
    assert ("resuming the read" in caplog.text) == goes_on
    months = {row["Date"] for row in messages.records(FACTS)}
    assert ("202401" in months) != goes_on


def test_fewer_rows_of_the_client_itself_are_not_about_permissions(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    state = tenant.run(None).state
    tenant.service.limit(SALES_MODEL, 10)
    tenant.run(None, state)
    assert not warnings(caplog)


@pytest.mark.parametrize(("person", "is_emptied"), [(ANNA, False), (None, True)])
def test_count_for_a_person_is_not_a_proof_that_a_table_is_empty(
    tenant: Tenant,
    caplog: pytest.LogCaptureFixture,
    person: str | None,
    *,
    is_emptied: bool,
) -> None:
    state = tenant.run(person).state
    tenant.service.limit(SALES_MODEL, 0)
    messages = tenant.run(person, state)
    assert ("ACTIVATE_VERSION" in kinds(messages)) == is_emptied
    assert any("rows from earlier runs stay" in text for text in warnings(caplog)) != is_emptied
    if person:
        assert bookmarks(messages)[FACTS]["rows"] == ALL_FACTS


def test_token_without_a_user_is_reported_once_and_not_compared(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = {**serve(StandIn(sales(*map(sales_row, range(3))))), "refresh_token": "refresh-0"}
    first = sync(config)
    (warning,) = warnings(caplog)
    assert "does not identify the user" in warning
    assert "ACTIVATE_VERSION" in kinds(sync(config, state=first.state), "sales_fact_data")
    known = first.state
    for bookmark in known["bookmarks"].values():
        bookmark["person"] = "0" * 64
    assert "ACTIVATE_VERSION" in kinds(sync(config, state=known), "sales_fact_data")
    del config["refresh_token"]
    with pytest.raises(SACError, match="A different user is signed in"):
        sync(config, state=first.state)


@pytest.mark.parametrize("value", [7, None, ["x"], ""])
def test_state_that_was_tampered_with_ends_no_run(tenant: Tenant, value: object) -> None:
    state = tenant.run(None).state
    for bookmark in state["bookmarks"].values():
        bookmark |= {"person": value, "rows": value}
    assert "ACTIVATE_VERSION" in kinds(tenant.run(None, state))


class Auditor:
    """A tenant with audit data, and what the tap reads of it as somebody."""

    def __init__(self, serve: Serve, *, audit_needs_client: bool = False) -> None:
        service = SampleService(Behaviour(audit_needs_client=audit_needs_client))
        self.service = leave(service, WORKFORCE, "AuditData", "GradeMaster")
        self.config = {**serve(self.service), "models": ["Workforce Planning"]}

    def run(
        self, person: str | None, *others: str, state: dict[str, Any] | None = None, **settings: Any
    ) -> Messages:
        token = {"refresh_token": refresh_token(self.config, person)} if person else {}
        config = {**self.config, **token, **settings}
        return sync(config, select(discover(config), AUDIT, *others), state)


@pytest.mark.parametrize("person", [ANNA, None])
def test_user_reads_audit_data_from_the_bookmark(
    serve: Serve, caplog: pytest.LogCaptureFixture, person: str | None
) -> None:
    auditor = Auditor(serve)
    first = auditor.run(person)
    assert len(first.records(AUDIT)) == 300
    assert ("person" in first.state["bookmarks"][AUDIT]) == (person is not None)
    second = auditor.run(person, state=first.state)
    newest = max(record["Audit_Time"] for record in first.records(AUDIT))
    assert {record["Audit_Time"] for record in second.records(AUDIT)} == {newest}
    assert second.state["bookmarks"][AUDIT]["replication_key_value"] == newest
    assert not warnings(caplog)


@pytest.mark.parametrize(("before", "now"), [(ANNA, BEN), (BEN, ANNA), (None, ANNA), (ANNA, None)])
def test_audit_data_of_another_user_is_read_from_the_start_date(
    serve: Serve, caplog: pytest.LogCaptureFixture, before: str | None, now: str | None
) -> None:
    auditor = Auditor(serve)
    first = auditor.run(before)
    state = first.state
    bookmark = state["bookmarks"][AUDIT]
    bookmark["replication_key_value"] = "2026-11-12T00:00:00.000Z"
    caplog.clear()
    for _ in range(2):
        second = auditor.run(now, state=state, start_date="2026-11-10")
        assert min(record["Audit_Time"] for record in second.records(AUDIT))[:10] == "2026-11-10"
        (warning,) = warnings(caplog)
        assert "read from start_date, and its bookmark does not move" in warning
        caplog.clear()
        assert (
            bookmarks(second).get(AUDIT, bookmark)["replication_key_value"]
            == (bookmark["replication_key_value"])
        )
    third = auditor.run(before, state=first.state)
    assert len(third.records(AUDIT)) < 20
    assert not warnings(caplog)


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("status", [401, 403])
def test_audit_data_that_sac_refuses_to_a_user_is_skipped_alone(
    serve: Serve, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    auditor = Auditor(serve)
    state = auditor.run(ANNA).state
    auditor.service.refuse("/AuditData", error_response(status, "Only for administrators."))
    grades = "workforce_planning_grade_master"
    caplog.clear()
    messages = auditor.run(ANNA, grades, state=state)
    assert messages.records(grades)
    assert not messages.records(AUDIT)
    assert messages.state["bookmarks"][AUDIT] == state["bookmarks"][AUDIT]
    (warning,) = [text for text in warnings(caplog) if AUDIT in text]
    assert warning.startswith(f"Skipping the stream {AUDIT}: ")
    assert "Only for administrators." in warning


def test_audit_data_that_a_tenant_has_for_clients_alone_is_skipped(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    auditor = Auditor(serve, audit_needs_client=True)
    assert len(auditor.run(None).records(AUDIT)) == 300
    assert not auditor.run(ANNA).records(AUDIT)
    assert "Audit data is for the OAuth client alone." in warnings(caplog)[-1]


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("status", [401, 403])
def test_audit_data_is_not_skipped_if_sac_refuses_the_user_altogether(
    serve: Serve, status: int
) -> None:
    auditor = Auditor(serve)
    config = {**auditor.config, "refresh_token": refresh_token(auditor.config, ANNA)}
    catalog = select(discover(config), AUDIT)
    tap = TapSAC(config=config, catalog=catalog)
    auditor.service.refuse("dataexport", error_response(status, "Signed out."))
    with pytest.raises(SACError, match="Signed out"), contextlib.redirect_stdout(io.StringIO()):
        tap.sync_all()


def test_audit_data_that_sac_refuses_to_a_client_fails(serve: Serve) -> None:
    auditor = Auditor(serve)
    auditor.service.refuse("/AuditData", error_response(403, "Only for administrators."))
    with pytest.raises(SACError, match="Only for administrators"):
        auditor.run(None)


@pytest.mark.parametrize("method", ["LOG_BASED", "FULL_TABLE"])
def test_sums_of_other_rights_do_not_replace_those_of_the_last_person(
    tenant: Tenant, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    """Where nothing else has changed, no later change would put them right."""
    settings = {"default_replication_method": method}

    def run(person: str, state: dict[str, Any] | None = None) -> tuple[Messages, str]:
        config = tenant.config_of(person, **settings)
        catalog = without(config, "XX_REGION", "Product", "Currency", stream=SUMS)
        capsys.readouterr()
        try:
            TapSAC(config=config, catalog=catalog, state=state).sync_all()
        except SACError as error:
            return read_messages(capsys.readouterr().out), str(error)
        return read_messages(capsys.readouterr().out), ""

    first, failure = run(ANNA)
    assert not failure
    second, failure = run(BEN, first.state)
    assert not second.records(SUMS)
    assert f"{SUMS} depend on permissions" in failure
    assert AGAIN in failure
    state = second.state if bookmarks(second) else first.state
    assert state["bookmarks"][SUMS] == first.state["bookmarks"][SUMS]
    third, failure = run(ANNA, state)
    assert not failure
    assert len(third.records(SUMS)) == (0 if method == "LOG_BASED" else len(first.records(SUMS)))
    fourth, failure = run(BEN)  # As --full-refresh of Meltano does it.
    assert not failure
    assert fourth.records(SUMS)


@pytest.mark.parametrize("place", ["catalog", "map"])
def test_rows_of_other_rights_are_not_appended_to_those_of_the_last_person(
    tenant: Tenant, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    maps: dict[str, Any] = (
        {"stream_maps": {FACTS: {"__key_properties__": []}}} if place == "map" else {}
    )
    results = []
    state: dict[str, Any] | None = None
    for person in (ANNA, BEN):
        config = tenant.config_of(person, **maps)
        catalog = discover(config)
        if place == "catalog":
            catalog[FACTS]["key_properties"] = []
        tap = TapSAC(config=config, catalog=select(catalog, FACTS, REGIONS), state=state)
        capsys.readouterr()
        if state is None:
            tap.sync_all()
        else:
            with pytest.raises(SACError, match=f"{FACTS} have no key"):
                tap.sync_all()
        results.append(read_messages(capsys.readouterr().out))
        state = results[0].state
    first, second = results
    assert len(first.records(FACTS)) == ALL_FACTS
    assert not second.records(FACTS)
    assert second.records(REGIONS)
