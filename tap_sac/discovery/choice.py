"""What decides which streams of a tenant are read: the settings, the catalog and the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import SACError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True)
class Choice:
    """The settings, the catalog and the state of a run.

    Attributes:
        settings: With their defaults.
        catalog: Whether each stream of the catalog is selected; None without a catalog.
        bookmarked: The streams that the state has bookmarks of.
    """

    settings: Mapping[str, Any]
    catalog: Mapping[str, bool] | None = None
    bookmarked: Collection[str] = ()

    @property
    def selected(self) -> set[str] | None:
        """The streams that the catalog selects; None without a catalog."""
        if self.catalog is None:
            return None
        return {name for name, is_selected in self.catalog.items() if is_selected}

    def check_selection(self) -> None:
        """Check that the catalog, if there is one, selects a stream.

        Raises:
            SACError: If it selects none.
        """
        if self.selected == set():
            msg = (
                "The catalog selects no stream, so nothing is read: set selected to true in the "
                "metadata of the streams to read (with Meltano: meltano select)."
            )
            raise SACError(msg)
