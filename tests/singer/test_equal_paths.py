"""Many records at a time are what the SDK would have written, also of changes and into files."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import tempfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit
from urllib.request import url2pathname

from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from singer_sdk import Stream
from singer_sdk.exceptions import SingerSDKError

from tap_sac.demo.service import Response
from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import examples, read_messages, served
from tests.helpers.rows import COLUMNS, outcome, row_text, unusual_rows, usual_rows
from tests.helpers.stand_in import JSON, Model, StandIn, edmx

if TYPE_CHECKING:
    from tap_sac.demo.service import Request

STREAM = "t_fact_data"
MAPS = {"stream_maps": {STREAM: {"__filter__": "1 == 1"}}}
LINK = "/api/v1/dataexport/providers/sac/C4T/FactData?deltaid="

rows = st.lists((usual_rows | unusual_rows).map(row_text), max_size=6)
keys = st.fixed_dictionaries(
    {
        "ID": st.sampled_from(["'k'", "'it''s'", "'#'"]),
        "NUMBER": st.sampled_from(["1", "-2.0", "0.000000010"]),
    }
)
deletions = keys.map(
    lambda key: json.dumps(
        {
            "@odata.context": "#FactData/$deletedEntity",
            "id": f"FactData(ID={key['ID']},NUMBER={key['NUMBER']})",
        }
    )
)


def tracking_tenant(whole: list[str], changes: list[str]) -> StandIn:
    """Serve rows, and with the delta link A what has changed since."""
    tenant = StandIn(Model("C4T", "T", edmx(FactData=COLUMNS), {"FactData": whole}))

    def fault(request: Request) -> Response | None:
        if "/FactData" not in request.target:
            return None
        is_delta = "deltaid" in parse_qs(urlsplit(request.target).query)
        items, context, link = (changes, "/$delta", "B") if is_delta else (whole, "", "A")
        body = (
            f'{{"@odata.context":"$metadata#FactData{context}","value":[{",".join(items)}],'
            f'"@odata.deltaLink":"{LINK}{link}"}}'
        )
        return Response(200, body.encode(), JSON)

    tenant.fault = fault
    return tenant


@settings(max_examples=examples(30, least=10))
@given(
    whole=rows,
    changes=st.lists((usual_rows | unusual_rows).map(row_text) | deletions, max_size=6),
    use_singer_decimal=st.booleans(),
)
def test_log_based(whole: list[str], changes: list[str], *, use_singer_decimal: bool) -> None:
    with served(tracking_tenant(whole, changes)) as server:
        config = {
            **server.settings,
            "use_singer_decimal": use_singer_decimal,
            "default_replication_method": "LOG_BASED",
        }
        assert outcome(config) == outcome({**config, **MAPS})
        state = {
            "bookmarks": {
                STREAM: {
                    "delta_link": f"{server.url}{LINK}A",
                    "version": 1,
                    "question": {
                        "key": ["ID", "NUMBER"],
                        "columns": list(COLUMNS),
                        "filter": None,
                    },
                    "is_followed": False,
                }
            }
        }
        assert outcome(config, state) == outcome({**config, **MAPS}, state)


@settings(max_examples=examples(30, least=10))
@given(whole=rows, size=st.integers(1, 4), use_singer_decimal=st.booleans())
def test_batch(whole: list[str], size: int, *, use_singer_decimal: bool) -> None:
    with (
        served(tracking_tenant(whole, [])) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        config = {
            **server.settings,
            "use_singer_decimal": use_singer_decimal,
            **batches(folder, size),
        }
        assert files_of_the_tap(config) == files_of_the_sdk(config)


PARQUET_COLUMNS = {
    "ID": "Edm.String*",
    "TEXT": "Edm.String",
    "AMOUNT": "Edm.Decimal",
    "RATE": "Edm.Double",
    "COUNT": "Edm.Int64",
    "FLAG": "Edm.Boolean",
    "BYTE": "Edm.Byte",
    "DAY": "Edm.Date",
    "AT": "Edm.DateTimeOffset",
    "GUID": "Edm.Guid",
}
# Most have too many digits before or behind the point, or zeros that do not count.
long_numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,45})(\.[0-9]{0,7}[1-9]?0{1,40})?", fullmatch=True)
plain_numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,12})(\.[0-9]{1,7})?", fullmatch=True)
numbers = st.just("null") | plain_numbers
texts = st.text(st.characters(codec="utf-8"), max_size=5).map(json.dumps)
parquet_rows = st.fixed_dictionaries(
    {"ID": texts, "AMOUNT": numbers, "RATE": numbers},
    optional={
        "TEXT": texts | st.just("null"),
        "COUNT": st.integers(-(2**63), 2**63).map(str) | st.just("null"),
        "FLAG": st.sampled_from(["true", "false", "null"]),
        "BYTE": st.sampled_from(["0", "255", "null"]),
        "DAY": st.sampled_from(['"2026-02-28"', '"0001-01-01"', "null"]),
        "AT": st.sampled_from(['"2026-11-02T05:12:44.123Z"', "null"]),
        "GUID": st.sampled_from(['"21ec2020-3aea-1069-a2dd-08002b30309d"', "null"]),
    },
)
odd_parquet_rows = st.fixed_dictionaries(
    {"ID": texts},
    optional={
        "AMOUNT": long_numbers | st.sampled_from(['"1.50"', "15E-1", "1E30", '"x"', "-0"]),
        "RATE": long_numbers | st.sampled_from(["1e-3", "1E400", '"INF"', '"0.5"']),
        "COUNT": st.sampled_from(['"7"', "2.0", "1.5"]),
        "BYTE": st.sampled_from(["256", '"7"']),
        "DAY": st.sampled_from(['"2026-02-30"', '"2026-\\u00302-28"']),
        "NEW": texts,
    },
)


@settings(max_examples=examples(30, least=10))
@given(
    whole=st.lists((parquet_rows | odd_parquet_rows).map(row_text), max_size=6),
    size=st.integers(1, 4),
    page_size=st.integers(1, 4),
    use_singer_decimal=st.booleans(),
)
def test_parquet(whole: list[str], size: int, page_size: int, *, use_singer_decimal: bool) -> None:
    tenant = StandIn(Model("C4T", "T", edmx(FactData=PARQUET_COLUMNS), {"FactData": whole}))
    with served(tenant) as server, tempfile.TemporaryDirectory() as folder:
        config = {
            **server.settings,
            "page_size": page_size,
            "use_singer_decimal": use_singer_decimal,
            "verify_counts": "off",
        }
        fast = parquet_files({**config, **batches(folder, size, "parquet")})
        assert fast == parquet_files({**config, **MAPS, **batches(folder, size, "parquet")})
        if not isinstance(fast, str):
            lines = files_of_the_tap({**config, **batches(folder, size)})
            assert [list(map(numbers_of, file)) for file in fast] == [
                list(map(numbers_of, file)) for file in cast("list[list[Any]]", lines)
            ]


def numbers_of(record: dict[str, Any]) -> dict[str, Any]:
    """Read the numbers and dates of a record, which JSON has as text."""
    kinds: dict[str, Any] = {
        "AMOUNT": Decimal,
        "RATE": float,
        "COUNT": int,
        "BYTE": int,
        "DAY": lambda value: date.fromisoformat(str(value)),
    }
    return {
        name: kinds[name](value) if name in kinds and value is not None else value
        for name, value in record.items()
    }


def parquet_files(config: dict[str, Any]) -> list[list[Any]] | str:
    """Return the rows of each Parquet file, or that a value was refused.

    Of several values that do not fit, each way meets another one first.
    """
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            tap = TapSAC(config=copy.deepcopy(config))
            tap.sync_all()
        except SACError as error:
            if not str(error).startswith("1 of 2 streams failed; the others were read."):
                raise
            return "refused"
    found = []
    for item in read_messages(output.getvalue()).of(STREAM):
        for url in item.get("manifest", ()):
            table = parquet.ParquetFile(url2pathname(urlsplit(url).path)).read()
            versions = set(table["_sdc_table_version"].to_pylist())
            assert versions == {tap.initialized_at}
            found.append(table.drop_columns("_sdc_table_version").to_pylist())
    return found


# A deleted row has its key and no other column.
MAPPINGS: list[dict[str, Any]] = [
    {},
    {"stream_maps": {STREAM: {"TEXT": "md5(record.get('TEXT') or 'none')", "FLAG": None}}},
    {"stream_maps": {STREAM: {"__filter__": "record.get('COUNT') == 1"}}},
    {
        "stream_maps": {
            STREAM: {"__else__": None, "ID": "ID", "NUMBER": "self", "COPY": "record.get('TEXT')"}
        }
    },
    {
        "stream_maps": {
            "t_*": {"__alias__": "facts", "DOUBLE": "(record.get('AMOUNT') or 0) * 2"},
            "__else__": None,
        }
    },
    {"stream_maps": {STREAM: {"__key_properties__": ["ID"], "ID": "'x' + TEXT"}}},
    {"stream_maps": {STREAM: None}},
    {"stream_maps": {"__else__": None}},
    {"flattening_enabled": True, "flattening_max_depth": 1},
    {"emit_activate_version_messages": False},
]


@settings(max_examples=examples(30, least=10))
@given(
    whole=rows,
    changes=st.lists((usual_rows | unusual_rows).map(row_text) | deletions, max_size=6),
    size=st.integers(1, 4),
    mapping=st.sampled_from(MAPPINGS),
    method=st.sampled_from(["FULL_TABLE", "LOG_BASED"]),
    use_singer_decimal=st.booleans(),
)
def test_batch_has_what_record_messages_have(
    whole: list[str],
    changes: list[str],
    size: int,
    mapping: dict[str, Any],
    method: str,
    *,
    use_singer_decimal: bool,
) -> None:
    with (
        served(tracking_tenant(whole, changes)) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        config = {
            **server.settings,
            **mapping,
            "use_singer_decimal": use_singer_decimal,
            "default_replication_method": method,
        }
        with_files = {**config, **batches(folder, size)}
        assert unpacked(with_files) == unpacked(config)
        state = {
            "bookmarks": {
                STREAM: {
                    "delta_link": f"{server.url}{LINK}A",
                    "version": 1,
                    "question": {
                        "key": ["ID", "NUMBER"],
                        "columns": list(COLUMNS),
                        "filter": None,
                    },
                    "is_followed": False,
                }
            }
        }
        assert unpacked(with_files, state) == unpacked(config, state)


def batches(folder: str, size: int, format_: str = "jsonl") -> dict[str, Any]:
    return {
        "batch_config": {
            "encoding": {"format": format_, "compression": "gzip"},
            "storage": {"root": Path(folder).as_uri()},
            "batch_size": size,
        }
    }


def unpacked(config: dict[str, Any], state: dict[str, Any] | None = None) -> list[Any] | str:
    """Return schemas, records and versions as they are written, or why the run failed.

    Records in files are taken for the RECORD messages that they replace.
    """
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            tap = TapSAC(config=copy.deepcopy(config), state=copy.deepcopy(state))
            tap.sync_all()
        except (SACError, SingerSDKError) as error:
            return str(error)
    started_at = tap.initialized_at
    told: list[Any] = []
    for line in output.getvalue().splitlines():
        message = json.loads(line, parse_float=str, parse_int=str)
        kind = message["type"]
        if kind in {"RECORD", "BATCH"}:
            written = (
                [(message["record"], message.get("version"))]
                if kind == "RECORD"
                else [
                    (record, record.pop("_sdc_table_version", None))
                    for record in read_file(*message["manifest"])
                ]
            )
            for record, version in written:
                mark = record.get("_sdc_deleted_at")
                told.append(
                    (
                        message["stream"],
                        list((record | ({"_sdc_deleted_at": "then"} if mark else {})).items()),
                        "this run" if version == str(started_at) else version,
                    )
                )
        elif kind == "ACTIVATE_VERSION":
            version = message["version"]
            told.append((message["stream"], "this run" if version == str(started_at) else version))
        elif kind == "SCHEMA":
            told.append(message)
    return told


def read_file(url: str) -> list[Any]:
    """Read the records of a file, with numbers as they are written."""
    with gzip.open(url2pathname(urlsplit(url).path), "rt", encoding="utf-8") as file:
        return [json.loads(line, parse_float=str, parse_int=str) for line in file if line.strip()]


def files_of_the_tap(config: dict[str, Any]) -> list[list[Any]] | str:
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            tap = TapSAC(config=dict(config))
            tap.sync_all()
        except SACError as error:
            return str(error).rpartition(f"{STREAM}: ")[2]
    messages = read_messages(output.getvalue()).of(STREAM)
    files = [read_file(*item["manifest"]) for item in messages if item["type"] == "BATCH"]
    for record in (record for records in files for record in records):
        assert record.pop("_sdc_table_version") == str(tap.initialized_at)
    return files


def files_of_the_sdk(config: dict[str, Any]) -> list[list[Any]] | str:
    """Let the SDK itself make the files, of the same records."""
    tap = TapSAC(config=dict(config))
    stream = tap.streams[STREAM]
    batch_config = stream.get_batch_config(stream.config)
    assert batch_config
    try:
        return [read_file(*manifest) for _, manifest in Stream.get_batches(stream, batch_config)]
    except SACError as error:
        return str(error)
