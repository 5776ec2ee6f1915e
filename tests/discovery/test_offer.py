"""What discovery returns: one value, whatever is asked of it first."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.discovery.discover import discover
from tap_sac.inputs import Choice
from tap_sac.settings import SETTINGS, with_defaults
from tap_sac.tenant import connect
from tests.conftest import discover as catalog_of
from tests.conftest import select
from tests.helpers.stand_in import Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from pathlib import Path

    from tap_sac.discovery.offer import Offer
    from tests.conftest import RunCli, Serve

BAD_FACTS = edmx(
    FactData={"A": "Edm.String*"}, AMaster={"ID": "Edm.String*"}, BMaster={"ID": "Edm.String*"}
).replace('<PropertyRef Name="A"/>', '<PropertyRef Name="B"/>')


def tenant() -> StandIn:
    """Serve a good model, one whose facts cannot be described, and a live connection."""
    models = (
        sales(sales_row(1)),
        Model("C4B", "Bad", BAD_FACTS, {}),
        sales(model_id="C4L", name="Live"),
    )
    result = StandIn(*models)
    result.fault = lambda request: (
        error_response(412, "live") if "C4L/$metadata" in request.target else None
    )
    return result


def offer_of(config: dict[str, Any], **choice: Any) -> Offer:
    settings = with_defaults(config, SETTINGS)
    return discover(connect({**settings, "user_agent": "test"}), Choice(settings, **choice))


def test_offer_has_all_that_is_known_and_cannot_change(serve: Serve) -> None:
    offer = offer_of(serve(tenant()))
    assert [item.source.name for item in offer.streams] == [
        "sales_fact_data",
        "bad_a_master",
        "bad_b_master",
    ]
    assert [model.name for model in offer.skipped] == ["Live"]
    assert list(offer.missed) == ["bad_fact_data"]
    assert (offer.missing, offer.gone, offer.failures()) == ((), (), [])
    assert offer.stream_failures[0].startswith("bad_fact_data was not read. ")
    with pytest.raises(dataclasses.FrozenInstanceError):
        offer.missing = ("x",)  # type: ignore[misc]


def test_names_that_catalog_and_state_have_and_sac_has_not_are_in_the_offer(serve: Serve) -> None:
    catalog = {
        "sales_fact_data": True,
        "sales_gone_master": True,
        "sales_old_master": False,
        "live_fact_data": False,
        "nobodys_fact_data": False,
        "providers": False,
    }
    offer = offer_of(
        serve(tenant()), catalog=catalog, bookmarks={"bad_lost_master": {}, "sales_lost_master": {}}
    )
    assert offer.missing == ("sales_gone_master",)
    # Nobody knows what is in models that are not read: Live, and Bad, of which none is selected.
    assert offer.gone == (
        "nobodys_fact_data",
        "sales_gone_master",
        "sales_lost_master",
        "sales_old_master",
    )


def test_check_names_streams_that_no_longer_exist(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    config = serve(StandIn(sales(sales_row(1))))
    catalog = select(catalog_of(config), "sales_fact_data")
    (entry,) = (item for item in catalog["streams"] if item["tap_stream_id"] == "sales_fact_data")
    old = json.loads(json.dumps(entry).replace("sales_fact_data", "sales_old_master"))
    old["metadata"][-1]["metadata"]["selected"] = False
    catalog["streams"].append(old)
    paths = {name: tmp_path / f"the_{name}.json" for name in ("catalog", "state")}
    paths["catalog"].write_text(json.dumps(catalog))
    paths["state"].write_text(json.dumps({"bookmarks": {"sales_lost_master": {"version": 1}}}))
    arguments = [part for name in paths for part in (f"--{name}", str(paths[name]))]
    result = run_cli(config, *arguments, "--check")
    assert result.returncode == 0, result.stdout
    found = "in the catalog or the state, but not in SAC: sales_lost_master, sales_old_master"
    assert f"ok      $metadata: 1 stream, 1 of them selected; {found}\n" in result.stdout
