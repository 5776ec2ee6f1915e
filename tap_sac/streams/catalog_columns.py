"""The columns of a catalog, compared with those that SAC has now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import DataError, SACError
from tap_sac.singer.decimal_limits import SINGER_DECIMAL, decimals_without_scale

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Mapping, Sequence

    from tap_sac.singer.columns import ColumnSelection


@dataclass(frozen=True)
class CatalogColumns:
    """The columns of a stream in the catalog.

    Attributes:
        name: The stream name, for messages.
        selection: The columns that SAC has now, and which of them are selected.
        schema: The JSON Schema of the catalog.
        current: The JSON Schema that discovery would write now.
        key: The key of the catalog.
        replaced: A selected column of SAC's with the name of a column that the tap adds.
        logger: Takes warnings.
    """

    name: str
    selection: ColumnSelection
    schema: Mapping[str, Any]
    current: Mapping[str, Any]
    key: Collection[str]
    replaced: str | None
    logger: logging.Logger

    def check(self, *, needs_select: bool) -> list[str]:
        """Return the columns to read; warn if the catalog is out of date.

        Args:
            needs_select: Whether SAC requires at least one column.

        Raises:
            DataError: If a column that the tap adds would replace one of SAC's, or no column is
                selected and SAC requires one.
            SACError: If rows would be written under another key than SAC's.
        """
        if self.replaced:
            deselect = "" if self.replaced in self.selection.entity_set.key else "deselect it, or "
            msg = (
                f"SAC's column {self.replaced} of {self.name} has the name of a column that the "
                f"tap adds to LOG_BASED streams: {deselect}replicate the stream FULL_TABLE."
            )
            raise DataError(msg)
        self._check_key()
        self._warn_of_changes()
        self._warn_of_decimals()
        columns = [column.name for column in self.selection.sac_columns]
        if not columns and needs_select:
            msg = (
                f"No column of {self.name} is selected, but SAC requires at least one: select one "
                "in the catalog, or deselect the stream."
            )
            raise DataError(msg)
        return columns

    @property
    def _offered(self) -> set[str]:
        return {column.name for column in self.selection.entity_set.properties}

    @property
    def _known(self) -> set[str]:
        own = {column.name for column in self.selection.entity_set.own_columns}
        return set(self.schema["properties"]) - own

    def _check_key(self) -> None:
        sac_key, key = set(self.selection.entity_set.key), set(self.key)
        changes = (sac_key - self._known) | (key - self._offered)
        if key and sac_key:  # None at all is a choice: such targets append.
            changes |= sac_key ^ key
        if changes:
            msg = (
                f"The key of {self.name} in SAC differs from that of the catalog "
                f"({', '.join(sorted(changes))}), so rows would overwrite each other: run the "
                "discovery again (meltano run --refresh-catalog) and load into a new table."
            )
            raise SACError(msg)

    def _warn_of_changes(self) -> None:
        own = self.selection.entity_set.own_columns
        addable = self._offered | {item.name for item in own if item.is_deselectable}
        selected = {column.name for column in self.selection.sac_columns}
        self._warn(
            "The catalog lacks these columns of %s, so they are not read: %s. Run the discovery "
            "again to load them.",
            sorted(addable - set(self.schema["properties"])),
        )
        self._warn(
            "SAC no longer has these columns of %s: %s. Run the discovery again.",
            sorted(self._known - self._offered),
        )
        self._warn(
            "The catalog declares these columns of %s differently than SAC and the settings do "
            "now: %s. Run the discovery again.",
            sorted(name for name in selected if not self._is_declared_alike(name)),
        )

    def _warn_of_decimals(self) -> None:
        self._warn(
            "$metadata does not give both precision and scale of these decimals of %s: %s. Some "
            "targets round them to whole numbers: check their type in the target, or remove the "
            f"format {SINGER_DECIMAL} from them in the catalog, to write them as plain text.",
            decimals_without_scale(self.selection.sac_columns, self.schema),
        )

    def _warn(self, message: str, columns: Sequence[str]) -> None:
        if columns:
            self.logger.warning(message, self.name, ", ".join(columns))

    def _is_declared_alike(self, column: str) -> bool:
        declared, now = (
            _types(schema["properties"][column]) for schema in (self.schema, self.current)
        )
        return declared == now


def _types(schema: Mapping[str, Any]) -> set[str | None]:
    """Reduce a column's schema to its types, in a list or alone, and its format."""
    types = schema.get("type", [])
    return {schema.get("format"), *([types] if isinstance(types, str) else types)}
