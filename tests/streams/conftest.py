"""Fixtures of the tests of streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tap_sac.demo.service import (
    SampleService,
)
from tests.helpers.pipeline import (
    Pipeline,
    small,
)

if TYPE_CHECKING:
    from tests.conftest import Serve


@pytest.fixture
def pipeline(serve: Serve) -> Pipeline:
    service = small(SampleService())
    config = {
        **serve(service),
        "models": ["Sales Planning"],
        "default_replication_method": "LOG_BASED",
        "page_size": 5,
    }
    return Pipeline(service, config)
