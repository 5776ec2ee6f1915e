"""Converts rows of an entity set to records that fit its schema."""

from __future__ import annotations

from abc import ABC, abstractmethod
from decimal import Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tap_sac.sac.errors import DataError
from tap_sac.sac.failures import Failure
from tap_sac.sac.odata.decimals import ENCODER
from tap_sac.sac.odata.pages import CONTEXTS, is_deletion, read_rows
from tap_sac.safety.masks import LONGEST_VALUE, excerpt
from tap_sac.singer.column_watch import ColumnWatch
from tap_sac.singer.decimal_limits import PrecisionError
from tap_sac.singer.edm import NotFiniteError, UnfitError, converter, edm_type, text_format
from tap_sac.singer.keys import Keys, key_reader
from tap_sac.singer.rows import RowReader
from tap_sac.singer.schema import type_text
from tap_sac.singer.text_formats import WrongFormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    import msgspec

    from tap_sac.sac.odata.model import EntitySet
    from tap_sac.sac.odata.pages import Page
    from tap_sac.singer.rows import Columns
    from tap_sac.singer.sums import Sums

    Row = Mapping[str, Any]
    Record = dict[str, Any]


class Records(ABC):
    """Some records of a stream, which may be made only when needed.

    Making them raises a `SACError` like `RecordMaker.records`.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of records."""

    @abstractmethod
    def __iter__(self) -> Iterator[Record]:
        """Make the records one by one."""

    @abstractmethod
    def lines(self, start: int, stop: int) -> bytes:
        """Write some of the records as JSON, each with a final newline."""

    def columns(self, start: int, stop: int) -> Columns | bytes:
        """Return some of the records by column, or as `lines` if a value needs conversion."""
        return self.lines(start, stop)


class MadeRecords(list["Record"], Records):
    """Records that already exist."""

    @override
    def lines(self, start: int, stop: int) -> bytes:
        return ENCODER.encode_lines(self[start:stop])


# Marks the end of a slice. When the generator is resumed, everything before it has been written and
# its file closed.
END_OF_SLICE = MadeRecords()


class PageRecords(Records):
    """The records of a page, made when needed."""

    def __init__(self, page: Page, maker: RecordMaker) -> None:
        """Create the records of a page, without making any."""
        self._page = page
        self._maker = maker

    @override
    def __len__(self) -> int:
        return len(self._page.items)

    @override
    def __iter__(self) -> Iterator[Record]:
        return self._maker.records(self._page.rows)

    @override
    def lines(self, start: int, stop: int) -> bytes:
        return self._maker.lines(self._page.items[start:stop], self._page.source)

    @override
    def columns(self, start: int, stop: int) -> Columns | bytes:
        return self._maker.columns(self._page.items[start:stop], self._page.source)


class RecordMaker:
    """Converts the rows of pages to records that fit the schema.

    Attributes:
        read_keys: Reads the keys of records, if there is a key.
    """

    def __init__(
        self,
        entity_set: EntitySet,
        schema: Mapping[str, Any],
        columns: Collection[str],
        *,
        sums: Sums | None = None,
        watch: ColumnWatch | None = None,
        on_keys: Callable[[Keys], None] | None = None,
    ) -> None:
        """Choose a conversion for each column.

        Args:
            entity_set: The columns by ``$metadata``; columns that the tap adds are null.
            schema: The JSON Schema of the records, which decides how decimals are written.
            columns: The selected columns of SAC.
            sums: Adds up the numbers of all records.
            watch: Watches which columns have values; several makers of a read may share it.
            on_keys: Gets the keys of all records, before they are written.
        """
        self._sums = sums
        self._watch = watch or ColumnWatch(entity_set, columns)
        self._entity_set = entity_set
        wanted = [column for column in entity_set.properties if column.name in columns]
        self._schemas: Mapping[str, Any] = schema["properties"]
        self._converts = {
            column.name: converter(column, self._schemas[column.name]) for column in wanted
        }
        self._key = [name for name in entity_set.key if name in self._converts]
        self._nulls: Record = {column.name: None for column in entity_set.own_columns}
        self._on_keys = on_keys if self._key else None
        if self._key:
            properties = {column.name: column for column in wanted}
            are_texts = [
                edm_type(properties[name]).struct is str and not text_format(self._schemas[name])
                for name in self._key
            ]
            self.read_keys = key_reader(itemgetter(*self._key), are_texts)
        self._row_reader = RowReader(
            wanted,
            self._schemas,
            key=self._key,
            null_columns=self._nulls,
            watch=self._watch,
            sums=sums,
            on_keys=self._on_keys,
        )

    def records(self, rows: Iterable[Row]) -> Iterator[Record]:
        """Make records; columns that a row lacks are null.

        Raises:
            DataError: If a value does not fit its column's type or scale, a key column has no
                value, or a row marks a deleted one.
        """
        for row in rows:
            if is_deletion(row):
                msg = f"A full read of {self._entity_set.name} contains a deleted row"
                raise DataError(msg, Failure.BROKEN_PROTOCOL)
            self._watch.observe(row)
            record = {}
            for name in self._converts:
                value = row.get(name)
                record[name] = None if value is None else self._convert(name, value, row)
            for name in self._key:
                if record[name] is None:
                    raise self._missing_key_error(name, row)
            if self._sums:
                self._sums.add_record(record)
            if self._on_keys:
                self._on_keys(Keys([record], self.read_keys))
            record.update(self._nulls)
            yield record

    def lines(self, items: list[msgspec.Raw], source: str) -> bytes:
        """Write the records of rows as JSON, each with a final newline.

        The result equals that of `records`, byte for byte, but is faster if no value is unusual.

        Raises:
            SACError: Like `records`.
        """
        lines = self._row_reader.lines(items)
        return self._converted_lines(items, source) if lines is None else lines

    def columns(self, items: list[msgspec.Raw], source: str) -> Columns | bytes:
        """Return the records of rows by column, or as `lines` if a value needs conversion."""
        columns = self._row_reader.columns(items)
        return self._converted_lines(items, source) if columns is None else columns

    def _converted_lines(self, items: list[msgspec.Raw], source: str) -> bytes:
        unusual = read_rows(items, source)
        lines = ENCODER.encode_lines(list(self.records(unusual)))
        self._row_reader.ignore({name for row in unusual for name in row} - CONTEXTS)
        return lines

    def key_record(self, key: Mapping[str, Any]) -> Record:
        """Make a record that has only the key, or raise a `DataError` if a value does not fit."""
        return {name: self._convert(name, value, key) for name, value in key.items()}

    def _convert(self, name: str, value: object, row: Row) -> object:
        try:
            return self._converts[name](value)
        except PrecisionError as error:
            raise self._precision_error(error) from None
        except UnfitError:
            raise self._unfit_error(name, row) from None
        except NotFiniteError as error:
            raise self._not_finite_error(name, error) from None
        except WrongFormatError:
            raise self._value_error(name, row, Failure.WRONG_FORMAT) from None
        except (ValueError, TypeError, AttributeError):
            raise self._value_error(name, row, Failure.WRONG_VALUE) from None

    def _precision_error(self, error: PrecisionError) -> DataError:
        return DataError(
            f"The column {error.limits.column} of {self._entity_set.name} holds a decimal that "
            f"targets would round: {error}, but $metadata declares scale {error.limits.scale}",
            Failure.MORE_DIGITS,
        )

    def _not_finite_error(self, name: str, error: NotFiniteError) -> DataError:
        return DataError(
            f"The column {name} of {self._entity_set.name} holds {error}, which "
            f"{self._declared(name)} allows but JSON numbers cannot express",
            Failure.NOT_FINITE,
        )

    def _unfit_error(self, name: str, row: Row) -> DataError:
        return DataError(
            f"{self._place(name, row)}, but the catalog declares "
            f"{type_text(self._schemas[name])}: run discovery again, and load into a new table or "
            "change the column in the target."
        )

    def _value_error(self, name: str, row: Row, failure: Failure) -> DataError:
        msg = f"{self._place(name, row)}, but $metadata declares {self._declared(name)}"
        return DataError(msg, failure)

    def _place(self, name: str, row: Row) -> str:
        key = ", ".join(f"{column} {_shown(row.get(column))}" for column in self._key)
        of_key = f" in the row of {key}" if key else ""
        return f"The column {name} of {self._entity_set.name} holds {_shown(row[name])}{of_key}"

    def _declared(self, name: str) -> str:
        return next(item.type for item in self._entity_set.properties if item.name == name)

    def _missing_key_error(self, name: str, row: Row) -> DataError:
        what = f"A row of {self._entity_set.name} has"
        if name in row:
            step = "correct it in SAC, or exclude it with the setting filters"
            return DataError(f"{what} null in its key column {name}: {step}.")
        return DataError(f"{what} no value in its key column {name}", Failure.MISSING_COLUMN)


def _shown(value: object) -> str:
    """Return a value in a form for messages."""
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return excerpt(text, LONGEST_VALUE)
