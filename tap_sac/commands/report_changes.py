"""``--report-changes``: opens a subscription to changes, describes it, and deletes it."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from tap_sac.report.questions import NOTHING, outcome_of
from tap_sac.sac.errors import SACError
from tap_sac.sac.export.asker import page_of
from tap_sac.sac.export.delta import bare_id
from tap_sac.sac.export.kinds import FACTS
from tap_sac.sac.urls import provider_key
from tap_sac.safety.text import log_safe
from tap_sac.safety.waiting import deferred_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tap_sac.report.scene import Scene
    from tap_sac.sac.export.client import SACClient
    from tap_sac.sac.odata.model import Provider

_LEFT = "If Data Management > API Subscriptions has a new subscription, delete it."
_REQUESTS = 5  # to open, list and delete the subscription
_UUID = re.compile(r"(first-)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def try_changes(
    scene: Scene, tell: Callable[[str], None], connect_again: Callable[[], SACClient]
) -> None:
    """Open a subscription, inspect it and delete it, even if a signal ends the run.

    It is opened by a read with a filter that no row passes, so that has a single page.

    Args:
        scene: The tenant, with its smallest table of facts; collects the answers.
        tell: Writes a line for the user.
        connect_again: Makes another client, because a signal may have stopped the first one.
    """
    model, client = scene.subject, scene.asker.client
    if model is None or not scene.sets[FACTS].key or scene.asker.is_over:
        return
    tell(
        f"Opening one change-tracking subscription for {FACTS} of {log_safe(model.name)} "
        f"({log_safe(model.provider_id)}), which is deleted at the end."
    )
    client.transport.requests_left += _REQUESTS
    nobody = {"$filter": f"{scene.sets[FACTS].key[0]} eq '{NOTHING}'"}
    found, opened = scene.changes, None
    try:
        with deferred_signals():  # Without the delta link, the subscription cannot be deleted.
            url = scene.url(model, FACTS, nobody)
            answer = client.ask("GET", url, {"Prefer": "odata.track-changes"})
            page = page_of(answer)
            opened = _opened(page)
        if opened:
            found.update(_of_link(*opened))
            found.update(_of_list(client, model, opened[1]))
        else:
            found["link"] = "none" if page else outcome_of(answer) or "none"
            refused = "SAC refused to open the subscription."
            tell(f"SAC returned no delta link. {_LEFT}" if page else refused)
    except SACError as error:
        tell(f"The subscription cannot be inspected: {error}{'' if opened else f' {_LEFT}'}")
    finally:
        if opened:
            found["deleted"] = _delete(client, model, opened[1], tell, connect_again)


def _opened(page: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the name of the delta link of a page, and the ID in the link."""
    for name in filter(lambda name: name.lower() == "@odata.deltalink", page):
        if found := re.search(r"[?&]deltaid=([^&#]+)", str(page[name])):
            return name, unquote_plus(found[1])
    return None


def _delete(
    client: SACClient,
    model: Provider,
    own: str,
    tell: Callable[[str], None],
    connect_again: Callable[[], SACClient],
) -> str:
    try:
        try:
            _delete_with(client, model, own)
        except SACError:
            _delete_with(connect_again(), model, own)
    except BaseException as error:
        tell(
            f"The subscription {log_safe(own)} of {log_safe(model.name)} could not be deleted: "
            "delete it under Data Management > API Subscriptions."
        )
        if not isinstance(error, SACError):
            raise
        return "failed"
    tell("The subscription is deleted.")
    return "done"


def _delete_with(client: SACClient, model: Provider, own: str) -> None:
    ids = []
    with suppress(SACError):
        listed = (str(row.get("SubscriptionID")) for row in client.subscriptions(model))
        ids = [name for name in listed if bare_id(name) == bare_id(own)]
    client.delete_chain(model, next(iter(ids), own))


def _of_link(name: str, own: str) -> dict[str, str]:
    match = _UUID.fullmatch(own)
    return {
        "link": "other" if match is None else "first-uuid" if match[1] else "uuid",
        "spelling": "deltaLink" if name.endswith("deltaLink") else "deltalink",
    }


def _of_list(client: SACClient, model: Provider, own: str) -> Iterator[tuple[str, str]]:
    """Find a subscription in SAC's list, and describe how the list writes missing values."""
    url = f"{client.administration}/Providers({provider_key(model)})/Subscriptions"
    answer = client.ask("GET", url, {})
    rows = page_of(answer).get("value")
    row = next((it for it in rows or () if bare_id(it.get("SubscriptionID")) == bare_id(own)), None)
    if row is None:
        yield "listed", "unlisted" if rows is not None else outcome_of(answer) or "none"
        return
    yield "listed", "same" if row["SubscriptionID"] == own else "another"
    end, start = row.get("EndTime"), row.get("StartTime")
    yield "EndTime", "StartTime" if end and end == start else _missing(row, "EndTime")
    yield "ExternalID", _missing(row, "ExternalID")
    yield "Timezone", _missing(row, "Timezone")


def _missing(row: Mapping[str, Any], name: str) -> str:
    words = {"None": "null", "null": "text"}
    return words.get(str(row[name]), "another") if name in row else "left out"
