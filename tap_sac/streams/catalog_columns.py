"""Compares the columns in the catalog with those that SAC has now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import DataError, SACError
from tap_sac.singer.decimal_limits import SINGER_DECIMAL, decimals_without_scale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tap_sac.singer.page_stream import PageStream


class CatalogColumns:
    """The columns of a stream in the catalog."""

    def __init__(self, stream: PageStream) -> None:
        """Store the stream, which has its catalog applied."""
        self._stream = stream
        self._selection = stream.selection

    def check(self, *, needs_select: bool) -> list[str]:
        """Return the columns to read; warn if the catalog is out of date.

        Raises:
            DataError: If a column that the tap adds would replace one of SAC's, or no column is
                selected and SAC requires one.
            SACError: If rows would be written under a key other than SAC's.
        """
        replaced = self._selection.replaced_column(self._stream.metadata)
        if replaced:
            deselect = "" if replaced in self._selection.entity_set.key else "deselect it, or "
            msg = (
                f"SAC's column {replaced} of {self._stream.name} has the name of a column that the "
                f"tap adds to LOG_BASED streams: {deselect}replicate the stream FULL_TABLE."
            )
            raise DataError(msg)
        self._check_key()
        self._warn_of_changes()
        self._warn_of_decimals()
        columns = [column.name for column in self._selection.sac_columns]
        if not columns and needs_select:
            msg = (
                f"No column of {self._stream.name} is selected, but SAC requires at least one: "
                "select one in the catalog, or deselect the stream."
            )
            raise DataError(msg)
        return columns

    @property
    def _offered(self) -> set[str]:
        return {column.name for column in self._selection.entity_set.properties}

    @property
    def _known(self) -> set[str]:
        own = {column.name for column in self._selection.entity_set.own_columns}
        return set(self._stream.effective_schema["properties"]) - own

    def _check_key(self) -> None:
        sac_key, key = set(self._selection.entity_set.key), set(self._stream.primary_keys)
        changes = (sac_key - self._known) | (key - self._offered)
        if key and sac_key:  # No key at all is a choice: the target appends.
            changes |= sac_key ^ key
        if changes:
            msg = (
                f"The key of {self._stream.name} in SAC differs from that of the catalog "
                f"({', '.join(sorted(changes))}), so rows would overwrite each other: run "
                "discovery again (meltano --environment=prod run --refresh-catalog) and load into "
                "a new table."
            )
            raise SACError(msg)

    def _warn_of_changes(self) -> None:
        own = self._selection.entity_set.own_columns
        addable = self._offered | {item.name for item in own if item.is_deselectable}
        selected = {column.name for column in self._selection.sac_columns}
        self._warn(
            "The catalog lacks these columns of %s, so they are not read: %s. Run discovery again "
            "to load them.",
            sorted(addable - set(self._stream.effective_schema["properties"])),
        )
        self._warn(
            "SAC no longer has these columns of %s: %s. Run discovery again.",
            sorted(self._known - self._offered),
        )
        self._warn(
            "The catalog declares these columns of %s differently than SAC and the settings do "
            "now: %s. Run discovery again.",
            sorted(name for name in selected if not self._is_declared_alike(name)),
        )

    def _warn_of_decimals(self) -> None:
        self._warn(
            "$metadata does not give both precision and scale of these decimals of %s: %s. Some "
            "targets round them: check the column type there, or remove the format "
            f"{SINGER_DECIMAL} from the catalog to write plain text.",
            decimals_without_scale(self._selection.sac_columns, self._stream.effective_schema),
        )

    def _warn(self, message: str, columns: Sequence[str]) -> None:
        if columns:
            self._stream.logger.warning(message, self._stream.name, ", ".join(columns))

    def _is_declared_alike(self, column: str) -> bool:
        stream = self._stream
        declared, now = (
            _types(schema["properties"][column])
            for schema in (stream.effective_schema, stream.schema)
        )
        return declared == now


def _types(schema: Mapping[str, Any]) -> set[str | None]:
    """Return the types and the format of a column's schema."""
    types = schema.get("type", [])
    return {schema.get("format"), *([types] if isinstance(types, str) else types)}
