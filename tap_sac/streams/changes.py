"""LOG_BASED: the read that opens a chain of changes, and the read that follows a delta link."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tap_sac.sac.errors import DeltaLostError, ResponseError, SACError
from tap_sac.sac.export.delta import DeltaLink, is_delta
from tap_sac.sac.odata.links import follow
from tap_sac.safety.text import plural
from tap_sac.singer.records import MadeRecords
from tap_sac.streams.change_records import ChangeRecords
from tap_sac.streams.full import FullRead
from tap_sac.streams.state import Bookmark

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator

    from tap_sac.sac.export.subscriptions import Subscriptions
    from tap_sac.sac.odata.model import EntitySet
    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.records import Records
    from tap_sac.streams.reading import Changes, Outcome, Reading
    from tap_sac.streams.state import DeltaQuery


@dataclass(frozen=True)
class Tracking:
    """How SAC tracks the changes of a stream.

    Attributes:
        query: What the subscription covers.
        subscriptions: SAC's subscriptions to the entity set.
        entity_set: The columns, with those that the tap adds.
        dropped_key: Dimensions that SAC aggregates over.
        has_changed_user: Whether a different user is signed in than in the last read.
    """

    query: DeltaQuery
    subscriptions: Subscriptions
    entity_set: EntitySet
    dropped_key: Collection[str] = ()
    has_changed_user: bool = False


@dataclass(frozen=True)
class OpeningRead:
    """A full read that makes SAC track the changes after it.

    A read that fails, or is not proven, leaves no subscription behind. A dry run opens none,
    because it ends before it could delete it.
    """

    reading: Reading
    tracking: Tracking
    is_dry_run: bool

    def records(self) -> Generator[Records, None, tuple[Outcome, Bookmark | None]]:
        """Read as `FullRead` does; returns what was found, and where the changes after it are."""
        whole = FullRead(self.reading, tracks_changes=not self.is_dry_run)
        extra_facts = whole.prove_keys()
        try:
            outcome = yield from whole.records()
        except BaseException:  # Even if the consumer stops early.
            self._unsubscribe(whole.delta_link)
            raise
        if not outcome.verdict.is_complete:
            self._unsubscribe(whole.delta_link)
            return outcome, None
        reading = self.reading
        if whole.delta_link is None:
            if not self.is_dry_run:
                reading.logger.warning(
                    "SAC returned no delta link for %s: the next run reads the whole table again.",
                    reading.name,
                )
            return outcome, None
        link = self.tracking.subscriptions.signed(DeltaLink(whole.delta_link))
        reading.logger.info(
            "SAC tracks the changes of %s with the subscription %s.",
            reading.name,
            link.subscription_id,
        )
        return outcome, Bookmark(link, outcome.version, self.tracking.query, extra_facts)

    def _unsubscribe(self, delta_link: str | None) -> None:
        if delta_link:
            subscriptions = self.tracking.subscriptions
            subscriptions.delete_chain(subscriptions.signed(DeltaLink(delta_link)))


class ChangesRead:
    """A read of the changes behind a delta link."""

    def __init__(self, reading: Reading, tracking: Tracking, bookmark: Bookmark) -> None:
        """Prepare a read; nothing is requested yet."""
        self._reading = reading
        self._tracking = tracking
        self._bookmark = bookmark
        self._link = bookmark.link

    def check(self) -> None:
        """Check that the delta link still fits the query, before following it.

        If a run read the changes but was killed before it stored its bookmark, the link is used up.
        What SAC answers then is not documented, so the link is not requested.

        Raises:
            DeltaLostError: If it does not fit.
        """
        if difference := self._bookmark.query.difference(self._tracking.query):
            raise DeltaLostError(difference)
        if self._tracking.has_changed_user:  # Without versions, nothing else protects rows.
            msg = "a different user is signed in, whose permissions may differ"
            raise DeltaLostError(msg)
        if not self._tracking.subscriptions.is_own_link(self._link.url):
            msg = "the delta link belongs to another tenant or model"
            raise DeltaLostError(msg)
        self._tracking.subscriptions.check_unread(
            self._link, "an earlier run read these changes, but its bookmark was not stored"
        )

    def records(self) -> Generator[Records, None, tuple[Changes, Bookmark]]:
        """Read the records of the changes; returns their number, and the bookmark for the next.

        Raises:
            DeltaLostError: If the changes cannot be read, or do not fit the query.
            SACError: If the next run may be able to read them.
        """
        reading, tracking = self._reading, self._tracking
        self._save(replace(self._link, may_be_spent=True))
        changes = ChangeRecords(reading, tracking.entity_set, aggregated=tracking.dropped_key)
        with closing(changes):
            delta_link = yield from self._all_records(changes)
            if delta_link is None:
                msg = "SAC returned no new delta link"
                raise DeltaLostError(msg)
            changes.check_keys(self._bookmark.extra_facts)
        link = DeltaLink(delta_link)
        if tracking.subscriptions.is_proven(self._link):
            link = tracking.subscriptions.signed(link)
        return changes.found, replace(self._bookmark, link=link, query=tracking.query)

    def _all_records(self, changes: ChangeRecords) -> Generator[Records, None, str | None]:
        """Read the records of all pages; returns the new delta link."""
        delta_link = None
        pages = 0
        try:
            for page in self._pages():
                pages += 1
                yield MadeRecords(changes.records(page))
                delta_link = page.delta_url
        except ResponseError as error:
            if error.is_denied:
                raise
            msg = f"SAC answered {error.reason} to the delta link"
            raise DeltaLostError(msg) from None
        name, found = self._reading.name, changes.found.text(" read")
        self._reading.logger.info("%s: %s, %s.", name, found, plural(pages, "page"))
        return delta_link

    def _pages(self) -> Iterator[Page]:
        """Read the pages behind the delta link.

        The first page is not read ahead, because the state depends on whether it was delivered.
        """
        url = self._tracking.subscriptions.on_own_host(self._link.url)
        first = self._page(url, is_first=True)
        return self._reading.take(
            lambda: follow(url, lambda link: first if link == url else self._page(link))
        )

    def _page(self, url: str, *, is_first: bool = False) -> Page:
        """Request a page of changes; retry only if SAC does not consider it read.

        SAC sends changes only once: a repeated request may return nothing, or other changes.

        Raises:
            DeltaLostError: If it has no changes, or SAC may have sent them in a response that was
                lost.
            SACError: If SAC refuses. If the link was certainly not used, the state says so.
        """
        source = self._reading.source
        is_refused = may_be_given = False
        try:
            for attempt in source.client.transport.tries():
                with attempt:
                    if is_first and may_be_given:
                        self._tracking.subscriptions.check_unread(
                            self._link,
                            "these changes were read by a request whose response was lost",
                        )
                    try:
                        page = source.client.page(url, source.on_response, repeats=False)
                    except SACError as error:
                        may_be_given = may_be_given or error.may_have_run
                        is_refused = not may_be_given
                        raise
            self._check_page(page, is_first=is_first, may_be_given=may_be_given)
            is_refused = False
        finally:
            if is_first and is_refused:  # Nothing has happened to the link.
                self._save(self._link)
        return page

    def _check_page(self, page: Page, *, is_first: bool, may_be_given: bool) -> None:
        if (is_first or page.context) and not is_delta(page.context):
            msg = "SAC answered the delta link with full data instead of changes"
            raise DeltaLostError(msg)
        may_be_second = may_be_given or (is_first and self._link.may_be_spent)
        if may_be_second and not page.items:
            msg = "SAC returned no changes, but may have sent them in a response that was lost"
            raise DeltaLostError(msg)

    def _save(self, link: DeltaLink) -> None:
        bookmark = replace(self._bookmark, link=link)
        self._reading.save(self._reading.state().tracking(bookmark))
