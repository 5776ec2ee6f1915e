"""Watches the columns in the rows of a read: one that never appears may be misspelled."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import DataError
from tap_sac.safety.text import folded, log_safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tap_sac.sac.odata.model import EntitySet

logger = logging.getLogger(__name__)


class ColumnWatch:
    """Watches a read for declared columns without values, and for undeclared columns.

    Attributes:
        missing: The selected columns that no row has had so far.
        has_rows: Whether there were rows.
    """

    def __init__(self, entity_set: EntitySet, columns: Iterable[str]) -> None:
        """Watch these columns, except for the key: a row without one of its columns is an error."""
        self.missing = set(columns) - set(entity_set.key)
        self.has_rows = False
        self._name = entity_set.name
        self._known = {column.name for column in entity_set.properties}
        self._unknown: set[str] = set()

    def observe(self, row: Mapping[str, Any]) -> None:
        """Note the columns of a row; warn of each undeclared one once."""
        self.has_rows = True
        self.missing.difference_update(row)
        if row.keys() <= self._known:
            return
        unknown = {name for name in row.keys() - self._known if "@" not in name}
        if new := sorted(unknown - self._unknown):
            self._unknown.update(new)
            logger.warning(
                "Dropping columns of %s that are not in $metadata: %s",
                self._name,
                log_safe(", ".join(new)),
            )

    def check(self, stream: str, *, is_full: bool) -> None:
        """Check, after the last row, that no column has another spelling in the rows.

        SAC may omit nulls, so a column without any value is not worth a warning.

        Raises:
            DataError: If one has, so it would be null in every row.
        """
        if not self.has_rows:
            return
        spelled = {folded(name): name for name in self._unknown}
        for name in sorted(self.missing):
            if other := spelled.get(folded(name)):
                msg = (
                    f"$metadata declares the column {name} of {self._name}, but its rows have "
                    f"{log_safe(ascii(other))}, so {name} would always be null: rename it in SAC, "
                    "or deselect it."
                )
                raise DataError(msg)
        if self.missing and is_full:
            names = log_safe(", ".join(sorted(self.missing)))
            logger.info("No row read from %s has the columns %s, so they are null.", stream, names)
