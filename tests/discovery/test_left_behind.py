"""Streams that the catalog or the state has, and that are not offered any more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import discover, select
from tests.helpers.runs import run
from tests.helpers.stand_in import Model, StandIn, edmx, error_response

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import RunCli, Serve

BOOKMARKS = "The state has bookmarks of streams that SAC no longer offers: "
OLD, MASTER, OTHER = "old_plan_fact_data", "old_plan_d_master", "other_fact_data"


def model(name: str, model_id: str, *sets: str, namespace: str = "sac") -> Model:
    names = sets or ("FactData", "DMaster")
    document = edmx(**{item: {"ID": "Edm.String*"} for item in names})
    return Model(model_id, name, document, {item: ['{"ID":"a"}'] for item in names}, namespace)


OTHERS = (model("Other", "C4OTHER"), model("Rates", "C4RATES", "Rates", namespace="sac_currency"))
OLD_PLAN = model("Old Plan", "C4PLAN")
# What became of the model Old Plan.
BEFORE = (OLD_PLAN, *OTHERS)
RENAMED = (model("Plan", "C4PLAN"), *OTHERS)
COPIED = (OLD_PLAN, model("Old Plan", "C4COPY"), *OTHERS)
DELETED = OTHERS
NARROWED = (model("Old Plan", "C4PLAN", "EMaster"), *OTHERS)


def warnings(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [text for text in caplog.messages if part in text]


@pytest.mark.parametrize(
    ("models", "settings", "lost"),
    [
        (RENAMED, {}, True),
        (COPIED, {}, True),
        (DELETED, {}, True),
        (DELETED, {"models": ["*"]}, True),
        (BEFORE, {}, False),
        (RENAMED, {"stream_naming": "id"}, True),
        (RENAMED, {"models": ["*", "!Rates"]}, False),
        (DELETED, {"models": ["Other"]}, False),
        (DELETED, {"namespaces": ["sac"]}, False),
    ],
)
def test_stale_bookmarks_are_warned_about_by_name(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    models: tuple[Model, ...],
    settings: dict[str, Any],
    *,
    lost: bool,
) -> None:
    first, failure = run(serve(StandIn(*BEFORE)))
    assert not failure
    state = first.state
    for bookmark in state["bookmarks"].values():
        del bookmark["tenant"]
    _, failure = run({**serve(StandIn(*models)), **settings}, state=state)
    assert not failure
    found = warnings(caplog, BOOKMARKS)
    assert len(found) == lost
    if "stream_naming" in settings:
        assert "stream_naming" not in found[0]
    elif lost:
        assert found[0] == (
            f"{BOOKMARKS}{MASTER}, {OLD}. If their models were copied or renamed, set "
            "stream_naming to id, which keeps names."
        )


def test_bookmark_of_a_model_that_cannot_be_read_is_not_left_behind(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = StandIn(*BEFORE)
    tenant.fault = lambda request: (
        error_response(412, "live") if "C4PLAN/$metadata" in request.target else None
    )
    run(serve(tenant), state={"bookmarks": {OLD: {}}})
    assert "Skipping the model 'Old Plan'" in caplog.text
    assert not warnings(caplog, BOOKMARKS)


@pytest.mark.parametrize(
    ("models", "settings", "fails"),
    [
        (RENAMED, {}, True),
        (COPIED, {}, True),
        (DELETED, {}, True),
        (NARROWED, {}, True),
        (DELETED, {"models": ["O*"]}, True),
        (DELETED, {"models": ["!Rates"]}, True),
        (DELETED[:1], {"namespaces": ["sac"]}, True),
        (RENAMED, {"models": ["Other", "C4PLAN"]}, True),
        (BEFORE, {}, False),
        (BEFORE, {"models": ["Other"]}, False),
        (RENAMED, {"models": ["Other"]}, False),
        (DELETED, {"models": ["Other"]}, False),
        ((*DELETED, model("Kept", "C4PLAN2")), {"models": ["*", "!C4PLAN*"]}, False),
    ],
)
def test_selected_stale_facts_fail_the_run_after_other_streams(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    models: tuple[Model, ...],
    settings: dict[str, Any],
    *,
    fails: bool,
) -> None:
    catalog = discover(serve(StandIn(*BEFORE)))
    config = {**serve(StandIn(*models)), **settings}
    messages, failure = run(config, catalog=select(catalog, *catalog))
    assert messages.records(OTHER)
    assert failure.startswith(f"{OLD} was not read. SAC no longer offers it" if fails else "")
    assert bool(failure) == fails
    assert len(warnings(caplog, f"does not offer: {MASTER}, {OLD}. Deselect")) == fails
    assert len(warnings(caplog, "does not offer: ")) == fails


def test_check_fails_on_stale_facts(serve: Serve, run_cli: RunCli, tmp_path: Path) -> None:
    catalog = discover(serve(StandIn(*BEFORE)))
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(select(catalog, *catalog)))
    result = run_cli(serve(StandIn(*DELETED)), "--catalog", str(path), "--check")
    assert result.returncode == 1
    assert f"{OLD} was not read. SAC no longer offers it" in result.stdout


def test_catalog_without_metadata_of_origin_is_judged_by_names(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = discover(serve(StandIn(*BEFORE)))
    for entry in catalog.values():
        for item in entry["metadata"]:
            for name in [name for name in item["metadata"] if name.startswith("sac-")]:
                del item["metadata"][name]
    chosen = select(catalog, *catalog)
    _, failure = run(serve(StandIn(*DELETED)), catalog=chosen)
    assert not failure
    assert warnings(caplog, f"does not offer: {MASTER}, {OLD}. Deselect")
    caplog.clear()
    _, failure = run({**serve(StandIn(*BEFORE)), "models": ["Other"]}, catalog=chosen)
    assert not failure
    assert not warnings(caplog, "does not offer")


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("NamespaceID='sac_currency'", "The namespace sac_currency was not read"),
        ("C4RATES/$metadata", "The model 'Rates' (C4RATES) was not read"),
    ],
)
def test_facts_that_may_exist_are_not_stale(serve: Serve, part: str, told: str) -> None:
    tenant = StandIn(OTHERS[0], model("Rates", "C4RATES", "FactData", namespace="sac_currency"))
    config = serve(tenant)
    catalog = discover(config)
    tenant.fault = lambda request: error_response(404, "no") if part in request.target else None
    _, failure = run(config, catalog=select(catalog, *catalog))
    assert told in failure
    assert "rates_fact_data was not read" not in failure
