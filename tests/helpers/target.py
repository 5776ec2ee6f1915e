"""The tables that a target makes of the tap's messages, as PostgreSQL would hold them."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_OWN = ("_sdc_deleted_at", "_sdc_table_version")


class Target:
    """Upserts by key, drops what an activated version does not have, and honours deletion marks.

    The columns of a table keep the types that its first SCHEMA message gave them.
    """

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self._columns: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, list[str]] = {}
        self._rows: dict[str, dict[Any, tuple[int | None, dict[str, Any]]]] = {}

    def load(self, messages: Iterable[dict[str, Any]]) -> None:
        for message in messages:
            name = message.get("stream", "")
            match message["type"]:
                case "STATE":
                    self.state = message["value"]
                case "SCHEMA":
                    known = self._columns.setdefault(name, {})
                    self._columns[name] = {**message["schema"]["properties"], **known}
                    self._keys[name] = message["key_properties"]
                    self._rows.setdefault(name, {})
                case "RECORD":
                    self._upsert(name, message)
                case "ACTIVATE_VERSION":
                    rows = self._rows[name]
                    self._rows[name] = {
                        key: (version, row)
                        for key, (version, row) in rows.items()
                        if version is not None and version >= message["version"]
                    }

    def rows(self, stream: str) -> list[dict[str, Any]]:
        """Return the rows that are not marked as deleted, without the columns of targets."""
        return [
            {name: value for name, value in row.items() if name not in _OWN}
            for _, row in self._rows[stream].values()
            if row.get("_sdc_deleted_at") is None
        ]

    def _upsert(self, stream: str, message: dict[str, Any]) -> None:
        rows, key_names = self._rows[stream], self._keys[stream]
        record = {
            name: _stored(value, self._columns[stream][name])
            for name, value in message["record"].items()
        }
        key = tuple(record[name] for name in key_names) if key_names else len(rows)
        before = rows.get(key, (None, {}))[1]
        rows[key] = (message.get("version"), {**before, **record})


def _stored(value: Any, column: dict[str, Any]) -> Any:  # noqa: ANN401  (JSON may be anything)
    """Convert a value as an INSERT does: silently, where the column has fewer digits."""
    types = column.get("type", [])
    if value is None:
        return None
    if "integer" in types:
        return int(Decimal(value).quantize(Decimal(1), ROUND_HALF_UP))
    if "scale" in column:
        return Decimal(value).quantize(Decimal(1).scaleb(-column["scale"]), ROUND_HALF_UP)
    return Decimal(value) if "number" in types else value
