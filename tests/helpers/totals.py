"""Tenants whose totals are compared, and what the log says of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tap_sac.demo.service import SALES_MODEL, Request, Response, SampleService

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tap_sac.demo.behaviour import Behaviour
    from tests.conftest import Serve


def small_tenant(behaviour: Behaviour | None = None) -> SampleService:
    service = SampleService(behaviour)
    service.limit(SALES_MODEL, 240)
    return service


def totals_config(
    serve: Serve, application: Callable[[Request], Response], **settings: Any
) -> dict[str, Any]:
    few = {"models": ["Sales Planning"], "page_size": 100}
    return {**serve(application), **few, "verify_totals": True, **settings}


def uncompared(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings about totals that are not compared."""
    return [
        item.message
        for item in caplog.records
        if item.levelname == "WARNING" and "not compared" in item.message
    ]


def verdicts(text: str) -> dict[str, str]:
    """Return what the log says of each measure."""
    found = re.findall(r"  (\w+) +[-\d.]+  [-\d.]+  (.+)$", text, re.MULTILINE)
    return dict(found)
