"""Fixtures of the tests of streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tap_sac.demo import Behaviour
from tap_sac.demo.service import SampleService
from tests.helpers.pipeline import Pipeline, small

if TYPE_CHECKING:
    from tests.conftest import Serve


# What SAP documents, and what older notes and other readings of the documents say.
PICTURES = {
    "documented": Behaviour(),
    "other": Behaviour(
        sums_have_keys=True, differences_need_subscribers=False, lists_distinct_values=True
    ),
}


@pytest.fixture(params=[*PICTURES.values()], ids=[*PICTURES])
def picture(request: pytest.FixtureRequest) -> Behaviour:
    """The answers of a tenant, where they are not known for certain."""
    behaviour: Behaviour = request.param
    return behaviour


@pytest.fixture(params=[False, True], ids=["newer list", "older list"])
def pipeline(serve: Serve, request: pytest.FixtureRequest) -> Pipeline:
    """Make a pipeline, once for each way in which SAC may list subscriptions."""
    service = small(SampleService(Behaviour(older_subscriptions=request.param)))
    config = {
        **serve(service),
        "models": ["Sales Planning"],
        "default_replication_method": "LOG_BASED",
        "page_size": 5,
    }
    return Pipeline(service, config)
