"""Entity sets whose changes SAC tracks: LOG_BASED."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from singer_sdk.singerlib.catalog import REPLICATION_FULL_TABLE, REPLICATION_LOG_BASED

from tap_sac.sac.errors import DeltaLostError, ResponseError, SACError
from tap_sac.sac.export.delta import Bookmark, DeltaQuery, is_delta
from tap_sac.sac.export.subscriptions import Subscriptions
from tap_sac.sac.odata.pages import follow
from tap_sac.singer.records import MadeRecords
from tap_sac.singer.schema import DELETED_AT
from tap_sac.streams.changes import Changes
from tap_sac.streams.entity_set import EntitySetStream
from tap_sac.streams.totals import warn_uncompared
from tap_sac.streams.whole import LastRead, WholeRead

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator

    from singer_sdk import Tap
    from singer_sdk.singerlib import Catalog

    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.records import Records


class Delivery(Enum):
    """How far a page of changes has come, as far as the tap can know.

    SAC gives changes once: whoever asks again may get nothing, or other changes.
    """

    UNASKED = auto()
    REFUSED = auto()  # SAC has certainly not given it.
    ASKED = auto()  # SAC may have given it, in an answer that did not arrive.
    TAKEN = auto()


class ChangeTrackedStream(EntitySetStream):
    """An entity set that SAC can track: LOG_BASED reads what changed since the last run.

    The first run reads the whole table and keeps a delta link in the state; the next ones follow
    it. When the changes cannot be had, or the query has changed, the whole table is read again
    under a new version.
    """

    replication_methods = (REPLICATION_FULL_TABLE, REPLICATION_LOG_BASED)
    offers_methods = True

    def __init__(self, tap: Tap, **parts: Any) -> None:
        """Make a stream that is LOG_BASED if the setting default_replication_method says so.

        Args:
            tap: The tap that it belongs to.
            parts: As of `EntitySetStream`.
        """
        super().__init__(tap, **parts)
        self.subscriptions = Subscriptions(
            self.client, self.provider, self.entity_set.name, stream=self.name
        )
        self._replicate(tap.config["default_replication_method"])

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        """Apply the catalog; without a key, targets could not tell which row has changed."""
        super().apply_catalog(catalog)
        if self.is_log_based and not self.primary_keys and not self.kind.is_additive:
            self.logger.warning(
                "%s for %s, so the whole table is read instead of LOG_BASED.",
                "The catalog has no key"
                if self.entity_set.key
                else "All dimensions are deselected",
                self.name,
            )
            self.forced_replication_method = REPLICATION_FULL_TABLE
        self._replicate(self.replication_method)

    @property
    def is_log_based(self) -> bool:
        """Whether only changes are read, after the first time."""
        return self.replication_method == REPLICATION_LOG_BASED

    @property
    @override
    def needs_key(self) -> bool:
        return super().needs_key and not self.kind.is_additive

    @property
    @override
    def has_last_read(self) -> bool:
        return super().has_last_read or Bookmark.from_state(self.stream_state) is not None

    @override
    def read_served(self, columns: list[str]) -> Iterator[Records]:
        bookmark = Bookmark.from_state(self.stream_state)
        self.check_withheld()
        if self.is_withheld:  # Before anything else changes the state.
            yield from WholeRead(self, columns).records()
            return
        if not self.is_log_based:
            if bookmark:
                self.subscriptions.delete_chain(bookmark)
                self._keep_bookmark(None)
                key = bookmark.query.key if self.has_optional_key else None
                read = LastRead(bookmark.version, bookmark.query.filter, key)
                self.put_last_read(read, self.stream_state)
            yield from super().read_served(columns)
            return
        query = DeltaQuery(list(self.entity_set.key), columns, self.filter, self.tables)
        if bookmark:
            try:
                yield from self._read_changes(bookmark, query)
            except DeltaLostError as error:
                self._report_lost(error)
                self.subscriptions.delete_chain(bookmark)
            else:
                return
        yield from self._open_chain(query)

    def _replicate(self, method: str) -> None:
        """Choose a method; records of changes have a mark for deleted rows."""
        self.forced_replication_method = method
        self.own(*([DELETED_AT] if self.is_log_based else []))

    def _open_chain(self, query: DeltaQuery) -> Iterator[Records]:
        """Read the whole table, and keep the link to what changes after that."""
        self.compare_with_last_read()
        if self.partition_by is not None:
            # A chain of each slice would miss the facts of a value that comes up later.
            self.warn_unsliced(
                "SAC would track the changes of each slice alone, and of no value that comes later"
            )
        # A dry run would leave a chain behind: it ends before it knows its id.
        whole = WholeRead(self, query.columns, track_changes=not self.is_dry_run)
        whole.prove_keys()
        try:
            yield from whole.records()
        except BaseException:  # Also when the consumer of the records gives up.
            self._delete_opened(whole, query)
            raise
        if not whole.verdict.is_complete:
            self._delete_opened(whole, query)
            return
        state = dict(self.stream_state)
        self.rights.keep(state, whole.rows)
        if whole.delta_link is None:
            if not self.is_dry_run:
                self.logger.warning(
                    "SAC gave no delta link for %s, so the next run reads the whole table again.",
                    self.name,
                )
            self._put_bookmark(None, state)
            self.put_last_read(LastRead(whole.version, self.filter, self.chosen_key), state)
            self.complete(state)
            return
        bookmark = self.subscriptions.signed(Bookmark(whole.delta_link, whole.version, query))
        self.logger.info(
            "SAC tracks the changes of %s with the subscription %s.",
            self.name,
            bookmark.subscription_id,
        )
        self._put_bookmark(bookmark, state)
        self.complete(state)

    def _delete_opened(self, whole: WholeRead, query: DeltaQuery) -> None:
        """Delete the subscription of an opening that the next run cannot continue from."""
        if whole.delta_link:
            opened = Bookmark(whole.delta_link, whole.version, query)
            self.subscriptions.delete_chain(self.subscriptions.signed(opened))

    def _read_changes(self, bookmark: Bookmark, query: DeltaQuery) -> Iterator[Records]:
        """Follow the delta link.

        Raises:
            DeltaLostError: If the changes cannot be had, or are not those of the query.
            SACError: If they may be had by the next run.
        """
        self._check_bookmark(bookmark, query)
        self._keep_bookmark(replace(bookmark, may_be_spent=True))
        self.write_state()
        self.version = bookmark.version if self.has_versions else None
        changes = Changes(
            self.entity_set,
            query.columns,
            self.record_maker(query.columns),
            aggregated=self.dropped_key,
        )
        delta_link = None
        rows = pages = 0
        try:
            for page in self._pages_of_changes(bookmark):
                rows += len(page.items)
                pages += 1
                yield MadeRecords(changes.records(page))
                delta_link = page.delta_url
        except ResponseError as error:
            if error.is_denied:
                raise
            msg = f"SAC answered {error.reason} to its delta link"
            raise DeltaLostError(msg) from None
        if delta_link is None:
            msg = "SAC gave no new delta link"
            raise DeltaLostError(msg)
        self.logger.info("%s: %s changes read, %s pages.", self.name, f"{rows:,}", f"{pages:,}")
        if self.verifies_totals:
            warn_uncompared(
                self.name,
                self.logger,
                "this run read changes only: run with --full-refresh to compare them",
            )
        is_own = self.subscriptions.is_proven(bookmark)
        after = Bookmark(delta_link, bookmark.version, query)
        state = dict(self.stream_state)
        self._put_bookmark(self.subscriptions.signed(after) if is_own else after, state)
        self.complete(state)

    def _pages_of_changes(self, bookmark: Bookmark) -> Iterator[Page]:
        """Read the pages behind a delta link.

        The first one is not read ahead: what becomes of it decides what the state says.
        """
        link = bookmark.delta_link
        first = self._page_of_changes(link, bookmark)
        return self.take(
            lambda: follow(link, lambda url: first if url == link else self._page_of_changes(url))
        )

    def _page_of_changes(self, url: str, bookmark: Bookmark | None = None) -> Page:
        """Ask for a page of changes, and again only if SAC does not count it as read by now.

        Args:
            url: Where it is.
            bookmark: The bookmark whose link it is; None for the pages that follow.

        Raises:
            DeltaLostError: If it has no changes, or SAC may have given them in an answer that did
                not arrive.
            SACError: If SAC refuses. Where nothing has happened to the link, the state says so.
        """
        delivery = Delivery.UNASKED
        try:
            for attempt in self.client.tries():
                with attempt:
                    if bookmark and delivery is Delivery.ASKED:
                        self.subscriptions.check_unread(
                            bookmark, "these changes were read by a request whose answer was lost"
                        )
                    try:
                        page = self.client.page(url, self.measure)
                    except SACError as error:
                        if delivery is not Delivery.ASKED:
                            delivery = Delivery.ASKED if error.may_have_run else Delivery.REFUSED
                        raise
            if (bookmark or page.context) and not is_delta(page.context):
                msg = "SAC answered its delta link with full data instead of changes"
                raise DeltaLostError(msg)
            may_be_second = delivery is Delivery.ASKED or (bookmark and bookmark.may_be_spent)
            if may_be_second and not page.items:
                msg = "SAC gave no changes, and may have given them in an answer that was lost"
                raise DeltaLostError(msg)
            delivery = Delivery.TAKEN
        finally:
            self.logger.debug("A page of changes of %s: %s", self.name, delivery.name.lower())
            if bookmark and delivery is Delivery.REFUSED:
                self._keep_bookmark(bookmark)
                self.write_state()
        return page

    def _check_bookmark(self, bookmark: Bookmark, query: DeltaQuery) -> None:
        """See that the delta link still answers the query, before following it.

        A link whose changes were read by a run that did not live to store its bookmark is
        closed; what SAC answers then is not documented, so it is not asked.

        Raises:
            DeltaLostError: If it does not.
        """
        if difference := bookmark.query.difference(query):
            raise DeltaLostError(difference)
        if self.rights.are_others:  # Without versions, where nothing is withheld.
            msg = "somebody else has signed in, whose rights may be others"
            raise DeltaLostError(msg)
        if not self.subscriptions.is_own_link(bookmark.delta_link):
            msg = "the delta link belongs to another tenant or model"
            raise DeltaLostError(msg)
        self.subscriptions.check_unread(
            bookmark, "an earlier run read these changes, but its bookmark was not stored"
        )

    def _report_lost(self, error: DeltaLostError) -> None:
        """Log why the table is read again, or stop, as the setting on_delta_lost says.

        Raises:
            SACError: If it says ``fail``.
        """
        if self.config["on_delta_lost"] == "fail":
            msg = (
                f"The changes of {self.name} since the last run are lost, because {error}: set "
                "on_delta_lost to full_refresh, or remove the state of the stream, to read the "
                "whole table again."
            )
            raise SACError(msg)
        self.logger.warning(
            "Reading the whole table of %s again%s, because %s.",
            self.name,
            " under a new version"
            if self.has_versions
            else ", which cannot remove what was deleted in SAC since the last run",
            error,
        )

    def _keep_bookmark(self, bookmark: Bookmark | None) -> None:
        """Put a bookmark, or none, into the state that will be written next."""
        self._put_bookmark(bookmark, self.stream_state)
        self.mark_state_changed()

    def _put_bookmark(self, bookmark: Bookmark | None, state: dict[str, Any]) -> None:
        """Replace the bookmark, or remove it, in a state of this stream."""
        self.put_last_read(None, state)
        Bookmark.remove_from(state)
        if bookmark:
            state.update(bookmark.to_state())
