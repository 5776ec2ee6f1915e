"""The state of a stream between two runs, with one reader and one writer.

The names in the state must not change, because older versions of the tap wrote them. Unknown or
malformed contents are ignored; they are not errors.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import urlsplit

from tap_sac.sac.export.delta import DeltaLink
from tap_sac.safety.masks import contains_secret, has_control_characters

if TYPE_CHECKING:
    from collections.abc import Mapping

_LAST_VERSION = 2**63 - 1
_DAY = 24 * 60 * 60 * 1000  # milliseconds
_DIGEST_LENGTH = 16
_OF_LINK = ("delta_link", "question", "is_followed", "signature")
_OF_READ = ("version", "filter", "key", "slices", "person", "rows", "types", "in_order", "tenant")
_NAMES = {*_OF_LINK, "extra_facts", *_OF_READ, "future_rows"}


@dataclass(frozen=True)
class LastRead:
    """The last completed read of a table.

    Attributes:
        version: The version of its rows in the target; None without versions.
        filter: The ``$filter`` that it was read with; None without one.
        key: Its key, if the catalog may choose it; else None.
    """

    version: int | None
    filter: str | None
    key: list[str] | None = None


@dataclass(frozen=True)
class DeltaQuery:
    """What a subscription covers: another query needs another subscription.

    Attributes:
        columns: The selected columns.
        filter: The ``$filter`` that is sent.
        tables: The target tables with their keys; None in older states.
    """

    key: list[str]
    columns: list[str]
    filter: str | None
    tables: list[tuple[str, list[str]]] | None = None

    def difference(self, other: DeltaQuery) -> str | None:
        """Describe how another query differs; None if it differs only in the order of columns."""
        for name, label in (("key", "key"), ("columns", "selected columns"), ("filter", "filter")):
            before, after = getattr(self, name), getattr(other, name)
            if _unordered(before) != _unordered(after):
                hint = ", which needs a new table in the target" if name == "key" else ""
                return f"the {label} changed from {before} to {after}{hint}"
        if self.tables and _unordered(self.tables) != _unordered(other.tables):
            return "stream_maps changed the target table's name or key, so it lacks earlier rows"
        return None


@dataclass(frozen=True)
class Bookmark:
    """The link to the changes since the last LOG_BASED read.

    Attributes:
        version: The version of the records in the target; None without ACTIVATE_VERSION.
        query: The query of the last full read.
        extra_facts: How many more facts than keys SAC counted at the last full read.
    """

    link: DeltaLink
    version: int | None
    query: DeltaQuery
    extra_facts: int = 0


@dataclass(frozen=True)
class UnfinishedRead:
    """A read in slices that the next run can resume.

    In the state, `done` is a list of pairs: programs that merge states, such as Meltano after a
    failure, would merge two objects.

    Attributes:
        version: The version of its rows in the target; None without versions.
        query_hash: The digest of its query.
        started_at: When it started, in milliseconds since 1970.
        done: The number of rows of each proven slice, by the digest of its condition.
    """

    version: int | None
    query_hash: str
    started_at: int
    done: Mapping[str, int]

    def obstacle(self, query_hash: str, now: int, *, has_versions: bool) -> str | None:
        """Return why a run cannot resume it; None if it can."""
        if self.query_hash != query_hash:
            return (
                "its output (types, stream maps, flattening, batch files), filter, columns, key or "
                "partition_by have changed"
            )
        if (self.version is not None) != has_versions:
            return "emit_activate_version_messages has changed"
        if not 0 <= now - self.started_at <= _DAY:
            return "it did not start within the last 24 hours"
        return None


@dataclass(frozen=True)
class StreamState:
    """The state of a stream.

    Attributes:
        last: The last completed read, if SAC does not track changes.
        bookmark: The link to the changes, if SAC tracks them.
        unfinished: A read in slices to resume.
        user: The hash of the user whose permissions applied to the last completed read.
        rows: The number of rows of that read.
        types: The column types in its SCHEMA; None in older states.
        version: The version in the state, whichever read wrote it.
        needs_order: Whether a read could only be proven in key order.
        had_slices: Whether the state has `slices`: if removed, a merge of states would restore
            them.
        tenant: The hash of the tenant.
        future_rows: Digests of written audit rows with a time in the future.
        others: What the SDK stores.
    """

    last: LastRead | None = None
    bookmark: Bookmark | None = None
    unfinished: UnfinishedRead | None = None
    user: str | None = None
    rows: int | None = None
    types: Mapping[str, str] | None = None
    version: int | None = None
    needs_order: bool = False
    had_slices: bool = False
    tenant: str | None = None
    future_rows: tuple[str, ...] = ()
    others: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> StreamState:
        """Read the state of a stream from Singer's format."""
        user, rows, version = state.get("person"), state.get("rows"), state.get("version")
        return cls(
            last=_last_read(state),
            bookmark=_bookmark(state),
            unfinished=_unfinished(state.get("slices")),
            user=user if isinstance(user, str) and user else None,
            rows=rows if isinstance(rows, int) else None,
            types=_types(state.get("types")),
            version=version if is_version(version) else None,
            needs_order=state.get("in_order") is True,
            had_slices="slices" in state,
            future_rows=_texts(state.get("future_rows")),
            others={name: value for name, value in state.items() if name not in _NAMES},
        )

    def write(self) -> dict[str, Any]:
        """Return the state of the stream in Singer's format."""
        future_rows = {"future_rows": [*self.future_rows]} if self.future_rows else {}
        state: dict[str, Any] = {**self.others, **future_rows}
        if self.version is not None:
            state["version"] = self.version
        if self.last:
            state["filter"] = self.last.filter
            if self.last.key is not None:
                state["key"] = self.last.key
        if self.bookmark:
            state |= _written(self.bookmark)
        if self.unfinished:
            state["slices"] = {
                "version": self.unfinished.version,
                "question": self.unfinished.query_hash,
                "started_at": self.unfinished.started_at,
                "done": [list(item) for item in self.unfinished.done.items()],
            }
        elif self.had_slices:
            state["slices"] = None
        if self.needs_order:
            state["in_order"] = True
        if self.user:
            state |= {"person": self.user, "rows": self.rows or 0}
        if self.types is not None:
            state["types"] = dict(self.types)
        return {**state, "tenant": self.tenant} if state and self.tenant else state

    @property
    def has_last_read(self) -> bool:
        """Whether a read of any kind was completed."""
        return bool(self.last or self.bookmark or "replication_key_value" in self.others)

    def next_version(self, started_at: int) -> int:
        """Return the version of a new read: when the run started, but above all known versions.

        The SDK uses seconds: a run that starts in the same second in which another was killed would
        keep deleted rows of that run. And the clocks of two machines may differ.
        """
        versions = [self.version, self.unfinished.version if self.unfinished else None]
        return max(started_at, *(item + 1 for item in versions if item is not None), 0)

    def has_completed(self, version: int | None) -> bool:
        """Return whether a read of this version or a later one was completed."""
        return version is not None and self.version is not None and version <= self.version

    def completed(self, read: LastRead) -> StreamState:
        """Return the state after a completed read without a delta link."""
        return replace(self, last=read, version=read.version, bookmark=None, unfinished=None)

    def tracking(self, bookmark: Bookmark) -> StreamState:
        """Return the state after a completed read with a delta link, or before following it."""
        return replace(
            self, bookmark=bookmark, version=bookmark.version, last=None, unfinished=None
        )

    def slicing(self, unfinished: UnfinishedRead | None) -> StreamState:
        """Return the state with a read in slices to resume, or None."""
        has_slices = self.had_slices or unfinished is not None
        return replace(self, unfinished=unfinished, had_slices=has_slices)


def digest(text: str) -> str:
    """Shorten a text, because a state is written after each slice and passed to other programs."""
    return sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]


def is_version(value: object) -> TypeGuard[int]:
    """Return whether a value of a state can be a version."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LAST_VERSION


def _last_read(state: Mapping[str, Any]) -> LastRead | None:
    version, odata_filter, key = map(state.get, ("version", "filter", "key"))
    if "filter" not in state or not (odata_filter is None or isinstance(odata_filter, str)):
        return None
    return LastRead(
        version if is_version(version) else None,
        odata_filter,
        [*map(str, key)] if isinstance(key, list) else None,
    )


def _bookmark(state: Mapping[str, Any]) -> Bookmark | None:
    url, query, may_be_spent, signature = map(state.get, _OF_LINK)
    version = state.get("version")
    if not (
        isinstance(url, str)
        and _is_url(url)
        and not has_control_characters(url)
        and not contains_secret(url)
        and (version is None or is_version(version))
        and isinstance(query, dict)
    ):
        return None
    asked: dict[str, Any] = {item.name: query.get(item.name) for item in fields(DeltaQuery)}
    signature = signature if isinstance(signature, str) else None
    link = DeltaLink(url, may_be_spent is True, signature)
    extra = state.get("extra_facts")
    return Bookmark(link, version, DeltaQuery(**asked), extra if is_version(extra) else 0)


def _written(bookmark: Bookmark) -> dict[str, Any]:
    link = bookmark.link
    values = (link.url, asdict(bookmark.query), link.may_be_spent, link.signature)
    state = {"version": bookmark.version, **dict(zip(_OF_LINK, values, strict=True))}
    return {**state, "extra_facts": bookmark.extra_facts} if bookmark.extra_facts else state


def _types(value: object) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    return {name: type_ for name, type_ in value.items() if isinstance(type_, str)}


def _texts(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else ()
    return tuple(item for item in items if isinstance(item, str))


def _unfinished(value: object) -> UnfinishedRead | None:
    if not isinstance(value, dict):
        return None
    version, query_hash = value.get("version"), value.get("question")
    started_at, done = value.get("started_at"), value.get("done")
    if not (
        (version is None or is_version(version))
        and isinstance(query_hash, str)
        and is_version(started_at)
        and isinstance(done, list)
        and all(map(_is_done, done))
    ):
        return None
    return UnfinishedRead(version, query_hash, started_at, dict(done))


def _is_done(item: object) -> bool:
    match item:
        case [str(), rows]:
            return is_version(rows)
    return False


def _is_url(text: str) -> bool:
    try:
        urlsplit(text)
    except ValueError:
        return False
    return True


def _unordered(value: object) -> object:
    """Make lists equal that differ only in order, or by JSON's conversion of tuples."""
    return sorted(map(json.dumps, value)) if isinstance(value, list) else value
