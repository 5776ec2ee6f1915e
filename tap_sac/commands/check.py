"""``--check``: runs the steps of a sync one by one, and prints the likely causes of a failure."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from tap_sac.causes import causes_of
from tap_sac.discovery.discover import offer_streams
from tap_sac.discovery.namespaces import list_models, models_to_read, read_namespaces
from tap_sac.discovery.naming import some_of
from tap_sac.inputs import Choice
from tap_sac.sac.errors import ResponseError, SACError, UnknownEntitySetError
from tap_sac.sac.export.asker import Asker
from tap_sac.sac.export.kinds import FACTS
from tap_sac.sac.failures import Failure, Step
from tap_sac.sac.urls import other_origin, tenant_origin
from tap_sac.safety.masks import one_line
from tap_sac.safety.text import log_safe, plural
from tap_sac.streams.run import Run
from tap_sac.streams.stream import SACStream
from tap_sac.streams.totals import Totals, obstacle_to_totals
from tap_sac.tenant import check_bookmarks
from tap_sac.terminal import PROGRESS_LINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from singer_sdk import Stream

    from tap_sac.discovery.offer import Offer
    from tap_sac.sac.export.client import SACClient
    from tap_sac.sac.oauth.user import User
    from tap_sac.sac.odata.model import EntitySet, Provider

logger = logging.getLogger(__name__)

_MOST_KEY_COLUMNS = 32  # of PostgreSQL
MOST_MODELS = 20  # in a report
# SAC itself answered, so another address would not help.
_ANSWERED = {Failure.CLIENT_NOT_ALLOWED, Failure.TOO_MANY_REQUESTS}


@dataclass
class Found:
    """What the steps have found.

    Attributes:
        most_models: The maximum number of models to inspect.
        most_requests: The maximum number of requests.
        steps: The steps, with the error of the one that failed.
        asker: Has the answers; None without a client.
        offer: What SAC offers; None if unknown.
    """

    most_models: int | None = None
    most_requests: int | None = None
    steps: dict[str, SACError | None] = field(default_factory=dict)
    asker: Asker | None = None
    offer: Offer | None = None

    @property
    def models(self) -> dict[Provider, Mapping[str, EntitySet]]:
        """The entity sets of each inspected model, in SAC's order."""
        if self.offer is None:
            return {}
        found = {item.source.provider: item.source.siblings for item in self.offer.streams}
        listed = (model for model in self.offer.listing.available if model in found)
        return {model: found[model] for model in islice(listed, MOST_MODELS)}

    def narrowed(self, choice: Choice, models: Sequence[Provider]) -> Choice:
        """Narrow the choice to the models to inspect, and drop settings for other streams."""
        if self.most_models is None or len(models) <= self.most_models:
            return choice
        ids = [model.provider_id for model in models[: self.most_models]]
        names: dict[str, Any] = {"filters": {}, "partition_by": {}, "stream_maps": {}}
        return Choice({**choice.settings, **names, "models": ids})


class CheckedTap(Protocol):
    """The parts of the tap that a check needs."""

    @property
    def choice(self) -> Choice:
        """The settings, the catalog and the state."""

    @property
    def client(self) -> SACClient:
        """The client of the tenant."""

    def connect_to(self, tenant_url: str) -> SACClient:
        """Make a client for another address."""

    def streams_of(self, offer: Offer) -> Mapping[str, Stream]:
        """Make the streams of an offer, like a sync."""


def check(tap: CheckedTap, print_line: Callable[[str], None], found: Found | None = None) -> int:
    """Run the steps of a sync, up to the first page of one stream.

    Then print where SAC's answers differ from what the tap expects, without further requests; for a
    report, `found` collects the results.

    Returns:
        The exit code: 1 if a step failed, else 0.
    """
    step, seen = "", found or Found()
    failure: SACError | None = None
    try:
        for step, text in _steps(tap, seen):
            seen.steps[step] = None
            if text:
                print_line(one_line(f"ok      {step}: {text}"))
    except SACError as error:
        failure = seen.steps[step] = error
    if found is None:
        _print_differences(seen, print_line)
    if failure is None:
        return 0
    _explain(step, failure, print_line)
    if step == Step.NAMESPACES.value and failure.failure not in _ANSWERED:
        _try_other_address(tap, print_line)
    return 1


def _explain(step: str, error: SACError, print_line: Callable[[str], None]) -> None:
    """Print why a step failed, and its likely causes."""
    causes = causes_of(error)
    has_several = len(causes) > 1
    print_line(one_line(f"FAILED  {step}: {error.what if has_several else error}"))
    if has_several:
        print_line("Likely causes, most likely first:")
        for number, cause in enumerate(causes, 1):
            print_line(one_line(f"{number}. {cause}"))


def _print_differences(found: Found, print_line: Callable[[str], None]) -> None:
    """Print where SAC's answers differ from what the tap expects."""
    # Imported late, because no sync needs them.
    from tap_sac.report.questions import OTHERWISE, QUESTIONS  # noqa: PLC0415
    from tap_sac.report.scene import Scene  # noqa: PLC0415

    if found.asker is None:
        return
    scene = Scene(found.asker, found.models)
    for question in QUESTIONS:
        answers = question.look(scene, question.parts)
        for name, part in question.parts.items():
            if part.verdict(answers.get(name)) == OTHERWISE:
                what = f"{question.name}, {name}: {answers[name]}, not {part.believed}"
                print_line(f"differs {what}. Please send a report (tap-sac --report report.json).")


def _try_other_address(tap: CheckedTap, print_line: Callable[[str], None]) -> None:
    """Print whether the tenant answers at its address with ``.api``, or without it."""
    settings = tap.choice.settings
    if settings["demo"]:
        return
    other = other_origin(tenant_origin(settings["tenant_url"], "The setting tenant_url"))
    if other is None:
        return
    try:
        tap.connect_to(other).namespaces()
    except SACError as error:
        text = f"The other address of the tenant, {other}, does not work either: {error.what}."
    else:
        text = f"The other address of the tenant works: set tenant_url to {other}."
    print_line(one_line(text))


def _steps(tap: CheckedTap, found: Found) -> Iterator[tuple[str, str]]:
    """Run the steps; yields the name of each when it starts, and again with its result."""
    step, choice = "settings", tap.choice
    yield step, ""
    client = tap.client
    found.asker = Asker(client)
    if found.most_requests:
        client.transport.requests_left = found.most_requests
    check_bookmarks(choice.bookmarks, choice.settings, client.origin)
    is_sample = choice.settings["demo"]
    kind = "sample tenant, a made-up company, not SAC," if is_sample else "tenant"
    yield step, f"the {kind} is {client.origin}"
    yield (step := Step.TOKEN.value), ""
    client.authenticate()
    yield step, _describe_user(client.user)
    yield (step := Step.NAMESPACES.value), ""
    namespaces = read_namespaces(client, choice)
    yield step, ", ".join(map(log_safe, namespaces.chosen))
    yield (step := Step.PROVIDERS.value), ""
    listing = list_models(client, namespaces, choice)
    models = models_to_read(listing, choice)
    _raise_if(listing.failures())
    yield step, f"{len(listing.prefixes)} in SAC, {len(models)} chosen"
    yield (step := Step.METADATA.value), ""
    with PROGRESS_LINE.shown(beside_output=True):
        found.offer = offer = offer_streams(client, listing, found.narrowed(choice, models))
    made = tap.streams_of(offer)
    _raise_if([*offer.failures(), *offer.stream_failures])
    offered_streams = [made[offered.source.name] for offered in offer.streams]
    streams = [stream for stream in offered_streams if isinstance(stream, SACStream)]
    selected = [stream for stream in streams if stream.selected]
    yield step, _describe_streams(len(streams), selected, offer)
    if not selected:
        yield (step := Step.ROWS.value), ""
        choice.check_selection()
        yield step, "no stream of any model is selected"
    yield from _reads(selected)


def _reads(selected: Sequence[SACStream]) -> Iterator[tuple[str, str]]:
    """Run the steps that read from a stream; yields like `_steps`."""
    # Audit data needs more than the rest: an administrator, and Data Audit.
    demanding = [stream for stream in selected if stream.kind.needs_administrator]
    others = [stream for stream in selected if stream not in demanding]
    for group in filter(None, (others, demanding)):
        yield Step.ROWS.value, ""
        yield Step.ROWS.value, _read_first_page(group)
    if facts := [stream for stream in selected if stream.verifies_totals]:
        yield "totals", ""
        yield "totals", _try_totals(facts)
    for stream in selected:
        if stream.is_log_based:
            yield Step.SUBSCRIPTIONS.value, ""
            yield Step.SUBSCRIPTIONS.value, _count_subscriptions(stream)
            return


def _raise_if(failures: Sequence[str]) -> None:
    """Fail with the error that a sync raises at its end."""
    if failures:
        raise SACError(" ".join(failures))


def _describe_user(user: User | None) -> str:
    """Describe who the token is issued to."""
    if user is None:
        return "issued to the OAuth client itself (2-legged)"
    name = user.name or "a user whom the token does not name"
    return f"issued for {name}; SAC applies this user's permissions (3-legged)"


def _describe_streams(total: int, selected: Sequence[SACStream], offer: Offer) -> str:
    found = f"{plural(total, 'stream')}, {len(selected):,} of them selected"
    if wide := [item.name for item in selected if len(item.primary_keys) > _MOST_KEY_COLUMNS]:
        most = f"more than {_MOST_KEY_COLUMNS} key columns, which target-postgres cannot load"
        found += f"; {most}: {some_of(wide)}"
    if offer.gone:
        found += f"; in the catalog or the state, but not in SAC: {some_of(offer.gone)}"
    return found


def _read_first_page(streams: Sequence[SACStream]) -> str:
    """Read a page of facts, or of the first stream that SAC serves; a sync skips the others."""
    for stream in sorted(streams, key=lambda stream: stream.entity_set.name != FACTS):
        if stream.kind.is_additive:  # Its first read would open a subscription.
            if why := stream.skip_reason:
                logger.warning("A sync will skip the stream %s, because %s.", stream.name, why)
            continue
        try:
            rows = Run(stream).read_first_page()
        except UnknownEntitySetError as error:
            logger.warning("A sync will skip the stream %s: %s", stream.name, error)
        else:
            return f"the first page of {stream.name} has {plural(rows, 'row')}"
    if others := [stream.name for stream in streams if not stream.kind.is_additive]:
        return f"SAC serves none of {', '.join(others)}"
    names = ", ".join(stream.name for stream in streams)
    return f"{names} cannot be tested without opening a subscription"


def _try_totals(streams: Sequence[SACStream]) -> str:
    """Describe which streams' totals a sync compares with SAC's, and test one of them."""
    compared, others = 0, []
    for stream in streams:
        source = stream.entity_set_source
        why = obstacle_to_totals(source, stream.columns)
        if not why and not compared:
            totals = Totals(source, stream.columns)
            totals.begin()
            why = totals.refusal
        if why:
            others.append(f"; not compared for {stream.name}, because {log_safe(why)}")
        else:
            compared += 1
    return f"compared for {compared} of {plural(len(streams), 'stream')} of facts{''.join(others)}"


def _count_subscriptions(stream: SACStream) -> str:
    """Count the subscriptions, if SAC lists them; a sync does not need the list."""
    try:
        subscriptions = plural(len(stream.subscriptions.list()), "change-tracking subscription")
    except ResponseError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return "SAC does not list subscriptions, so a sync will not delete any"
    return f"{subscriptions} for {stream.name}"
