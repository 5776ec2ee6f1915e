"""Many records at a time are what the SDK would have written, also of changes and into files."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import url2pathname

from hypothesis import given
from hypothesis import strategies as st
from singer_sdk import Stream

from tap_sac.demo.service import Response
from tap_sac.sac.errors import SACError
from tap_sac.tap import TapSAC
from tests.conftest import served, sync
from tests.stand_in import JSON, Model, StandIn, edmx
from tests.test_records import COLUMNS, outcome, row_text, unusual_rows, usual_rows

if TYPE_CHECKING:
    from tap_sac.demo.service import Request

STREAM = "t_fact_data"
MAPS = {"stream_maps": {STREAM: {"__filter__": "1 == 1"}}}
LINK = "/api/v1/dataexport/providers/sac/C4T/FactData?deltaid="

rows = st.lists((usual_rows | unusual_rows).map(row_text), max_size=6)
keys = st.fixed_dictionaries(
    {"ID": st.sampled_from(["'k'", "'it''s'", "'#'"]), "NUMBER": st.sampled_from(["1", "-2.0"])}
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


@given(whole=rows, size=st.integers(1, 4), use_singer_decimal=st.booleans())
def test_batch(whole: list[str], size: int, *, use_singer_decimal: bool) -> None:
    with (
        served(tracking_tenant(whole, [])) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        config = {
            **server.settings,
            "use_singer_decimal": use_singer_decimal,
            "batch_config": {
                "encoding": {"format": "jsonl", "compression": "gzip"},
                "storage": {"root": Path(folder).as_uri()},
                "batch_size": size,
            },
        }
        assert files_of_the_tap(config) == files_of_the_sdk(config)


def read_file(url: str) -> list[Any]:
    """Read the records of a file, with numbers as they are written."""
    with gzip.open(url2pathname(urlsplit(url).path), "rt", encoding="utf-8") as file:
        return [json.loads(line, parse_float=str, parse_int=str) for line in file if line.strip()]


def files_of_the_tap(config: dict[str, Any]) -> list[list[Any]] | str:
    try:
        batches = [item for item in sync(config).of(STREAM) if item["type"] == "BATCH"]
    except SACError as error:
        return str(error)
    return [read_file(*item["manifest"]) for item in batches]


def files_of_the_sdk(config: dict[str, Any]) -> list[list[Any]] | str:
    """Let the SDK itself make the files, of the same records."""
    stream = TapSAC(config=dict(config)).streams[STREAM]
    batch_config = stream.get_batch_config(stream.config)
    assert batch_config
    try:
        return [read_file(*manifest) for _, manifest in Stream.get_batches(stream, batch_config)]
    except SACError as error:
        return str(error)
