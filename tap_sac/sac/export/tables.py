"""Reads a table page by page, counts its rows, and completes truncated responses.

SAC may silently truncate a response: a page without a next link need not be the last. ``$count``
(OData URL Conventions 4.0, 5.1.7) returns the number of rows; it was seen on live tenants for
facts, master data and masters, also with ``$top=0``. It is ignored with a ``$select`` of some
columns, except on FactDataAggregation.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import replace
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from tap_sac.sac.errors import ResponseError, SACError, may_retry
from tap_sac.sac.odata.conditions import both
from tap_sac.sac.odata.links import follow
from tap_sac.sac.odata.pages import read_rows
from tap_sac.sac.urls import with_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import msgspec

    from tap_sac.sac.export.client import ResponseObserver, SACClient
    from tap_sac.sac.odata.pages import Page

logger = logging.getLogger(__name__)

# The maximum number of attempts to get a count with a page that the read needs anyway.
_MOST_TRIES_WITH_COUNT = 2
_COUNT = {"$count": "true"}


class CountRequest(Enum):
    """Which requests can ask SAC for a count."""

    WITH_READ = auto()  # the read itself, which selects all columns
    WITH_SELECT = auto()  # the read itself, always with its $select
    SEPARATE = auto()  # a separate request, because the read does not select all columns


class Table(ABC):
    """Rows to read; SAC may not answer other questions about them."""

    @abstractmethod
    def pages(self) -> Iterator[Page]:
        """Read the pages; the first one has SAC's count, if any.

        Raises:
            SACError: If SAC refuses, or its pages violate the protocol.
        """

    def count(self, *, is_filtered: bool = True) -> int | None:  # noqa: ARG002
        """Ask SAC for the current count, also without the filter; None if SAC does not answer."""
        return None

    def row_at(self, position: int) -> list[msgspec.Raw] | None:  # noqa: ARG002
        """Request the row at a position, counted from 0.

        Returns:
            The row; empty if there is none or SAC ignores ``$skip``; None if SAC does not answer.
        """
        return None

    def first_rows(self, number: int, condition: str) -> list[msgspec.Raw] | None:  # noqa: ARG002
        """Request the first rows that match a condition; None if SAC does not answer."""
        return None


class UncountedTable(Table):
    """Rows without a count."""

    def __init__(self, pages: Iterator[Page]) -> None:
        """Store the pages."""
        self._pages = pages

    @override
    def pages(self) -> Iterator[Page]:
        return self._pages


class CountedTable(Table):
    """An entity set with query options, whose rows SAC can count."""

    def __init__(
        self,
        client: SACClient,
        url: str,
        options: Mapping[str, str],
        *,
        order: Sequence[str],
        count_request: CountRequest,
        key: Sequence[str] = (),
        track_changes: bool = False,
        on_response: ResponseObserver | None = None,
    ) -> None:
        """Prepare the requests; nothing is requested yet.

        Args:
            client: Asks SAC.
            url: The URL of the entity set, without options.
            options: The query options of the read.
            order: Columns that identify rows: the key and all measures.
            count_request: Which requests can ask for the count.
            key: The key columns, if any.
            track_changes: Whether SAC should track changes after this read; then no page is
                counted.
            on_response: Gets each answer.
        """
        self._client = client
        self._url = url
        self._options = dict(options)
        self._key = tuple(key)
        self._order = ",".join(order)
        self._count_request = count_request
        # Leaves one more attempt, without the count.
        self._counts_pages = (
            count_request is not CountRequest.SEPARATE
            and not track_changes
            and client.transport.max_tries > 1
        )
        self._track_changes = track_changes
        self._on_response = on_response
        self._counted: int | None = None

    @override
    def pages(self) -> Iterator[Page]:
        """Read the pages.

        If the first page has fewer rows than SAC counts but no next link, the other rows are
        requested in other ways.
        """
        count = self._counted
        if count is None and not self._counts_pages:
            count = self.count()
        first = self._first_page(self._options)
        if first.count is None:
            if count is None and self._counts_pages:
                count = self.count()
            first = replace(first, count=count)
        yield from self._completed(first)

    @override
    def count(self, *, is_filtered: bool = True) -> int | None:
        options = {**_COUNT, "$top": "0"}
        if is_filtered and "$filter" in self._options:
            options["$filter"] = self._options["$filter"]
        if self._count_request is CountRequest.WITH_SELECT:
            options["$select"] = self._options["$select"]
        page = self._probe(with_query(self._url, options))
        self._counted = page.count if page else None
        return self._counted

    @override
    def row_at(self, position: int) -> list[msgspec.Raw] | None:
        """Request the row at a position.

        Requests are retried as usual. If SAC refuses ``$orderby``, its own order is used.
        """
        options = {name: text for name, text in self._options.items() if name != "pagesize"}
        options["$top"] = "1"
        found = self._row_at(position, {**options, **self._ordered})
        return self._row_at(position, options) if found is None and self._ordered else found

    @override
    def first_rows(self, number: int, condition: str) -> list[msgspec.Raw] | None:
        left_out = {"pagesize", "$orderby"}
        options = {name: text for name, text in self._options.items() if name not in left_out}
        options["$filter"] = both(options.get("$filter"), condition)
        url: str | None = with_query(self._url, {**options, "$top": str(number)})
        rows: list[msgspec.Raw] = []
        while url and len(rows) < number:
            page = self._probe(url)
            if page is None:
                return None
            rows += page.items
            url = page.next_url if page.items else None
        return rows

    @property
    def _ordered(self) -> dict[str, str]:
        return {"$orderby": self._order} if self._order else {}

    def _row_at(self, position: int, options: Mapping[str, str]) -> list[msgspec.Raw] | None:
        try:
            found = self._page_with_tries({**options, "$skip": str(position)}).items[:1]
            if found and position:
                is_first = self._page_with_tries(options).items[:1] == found
                return [] if is_first else found
        except SACError as error:
            logger.debug("SAC does not return the row at position %d: %s", position, error)
            return None
        return found

    def _first_page(self, options: Mapping[str, str]) -> Page:
        """Request the first page with a count, or without one if SAC refuses that."""
        counts = self._counts_pages
        most_tries = min(_MOST_TRIES_WITH_COUNT, self._client.transport.max_tries - 1)
        for attempt in self._client.transport.tries():
            with attempt:
                counts = counts and attempt.retry_state.attempt_number <= most_tries
                try:
                    page = self._page({**options, **_COUNT} if counts else options, counts=counts)
                except SACError as error:
                    if not counts or may_retry(error):
                        raise
                    # Only a refusal without the count is one of the read.
                    counts = False
                    page = self._page(options)
        return page

    def _completed(self, first: Page) -> Iterator[Page]:
        """Continue after the first page, in another way if SAC seems to have truncated it."""
        size = len(first.items)
        if first.next_url or first.count is None or not 0 < size < first.count:
            yield from self._follow(first)
            return
        logger.warning(
            "SAC counts %s rows of %s, but sent %s and no next link, so the tap requests pages "
            "of %s.",
            f"{first.count:,}",
            self._url.rpartition("/")[2],
            f"{size:,}",
            f"{size:,}",
        )
        if self._track_changes:  # A second request would open another subscription.
            yield from self._follow(first)
            return
        if self._options.get("pagesize") != str(size):
            sized = self._first_page({**self._options, "pagesize": str(size)})
            if sized.next_url:
                yield from self._follow(replace(sized, count=first.count))
                return
        yield from self._by_offset(first, size, first.count)

    def _follow(self, first: Page) -> Iterator[Page]:
        yield first
        if first.next_url:
            plain = with_query(self._url, self._options)
            yield from follow(first.next_url, self._page_at, seen=[plain], table=self._url)

    def _by_offset(self, first: Page, size: int, count: int) -> Iterator[Page]:
        """Read with ``$skip`` and ``$top``, ordered so that rows are neither repeated nor missed.

        Each page starts at the last row of the previous one: if its first row is another one, rows
        were written, or SAC has no fixed order. (Rows that are equal in every column may change
        places.) If SAC returns no more rows, the first page is all there is.
        """
        options = {name: text for name, text in self._options.items() if name != "pagesize"}
        options |= self._ordered
        before: list[msgspec.Raw] = []
        skip, may_overlap = 0, True
        while skip < count:
            overlap = 1 if skip and may_overlap else 0
            start = {"$top": str(size + overlap), "$skip": str(skip - overlap)}
            try:
                page = self._page_with_tries({**options, **start})
            except ResponseError:
                if skip:
                    raise
                yield first
                return
            is_ignored = len(before) > overlap and page.items[: len(before)] == before
            if not page.items or is_ignored:
                return  # The end, or SAC ignores $skip.
            has_shifted = bool(overlap) and not self._begins_with(page, before[-1])
            rows = page.items if has_shifted else page.items[overlap:]
            if size == 1 and not rows:  # Perhaps SAC sends one row, however many are requested.
                may_overlap = False
                continue
            # Fewer rows than SAC's count: rows were deleted, or are not served.
            has_shifted = has_shifted or not (rows and may_overlap)
            counted = None if skip else count
            yield replace(page, items=rows, next_url=None, count=counted, has_shifted=has_shifted)
            if not rows:
                return
            before = page.items
            skip += len(page.items) - overlap

    def _begins_with(self, page: Page, row: msgspec.Raw) -> bool:
        """Compare the keys of rows, or whole rows if there is no key."""
        first, last = read_rows([page.items[0], row], page.source)
        return all(first.get(name) == last.get(name) for name in self._key or {**first, **last})

    def _page(self, options: Mapping[str, str], *, counts: bool = False) -> Page:
        return self._client.page(
            with_query(self._url, options),
            self._on_response,
            track_changes=self._track_changes,
            repeats=not counts,
            is_optional=counts,
        )

    def _page_with_tries(self, options: Mapping[str, str]) -> Page:
        return self._client.page_with_retries(with_query(self._url, options), self._on_response)

    def _page_at(self, url: str) -> Page:
        return self._client.page_with_retries(
            url, self._on_response, track_changes=self._track_changes
        )

    def _probe(self, url: str) -> Page | None:
        """Request something optional, at most twice; None if SAC does not return it."""
        read = partial(self._client.page, url, self._on_response, repeats=False, is_optional=True)
        try:
            try:
                return read()
            except SACError as error:
                return read() if may_retry(error) else None
        except SACError:
            return None
