"""Arrow files: the contract that Meltano documents, and what they share with Parquet files."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import ipc, parquet

from tap_sac.sac.errors import SACError
from tests.conftest import sync
from tests.helpers.batches import batch_config, files
from tests.helpers.stand_in import StandIn, sales, sales_row

if TYPE_CHECKING:
    from tests.conftest import Serve

STREAM = "sales_fact_data"
ROWS = [sales_row(number, f"{number}.5") for number in range(12_000)]
ROWS[1] = sales_row(1, "null")
ROWS[2] = sales_row(2, "123456789012345678901234.1234567")


@pytest.mark.parametrize("maps", [{}, {"stream_maps": {STREAM: {"COPY": "AMOUNT"}}}])
def test_arrow_files_hold_what_parquet_files_hold(
    serve: Serve, tmp_path: Path, maps: dict[str, Any]
) -> None:
    tenant = {**serve(StandIn(sales(*ROWS))), **maps, "page_size": 5_000}
    messages = sync({**tenant, **batch_config(tmp_path, "arrow", None, 11_000)})
    written = [ipc.open_file(path) for path in files(messages, STREAM)]
    of_arrow = [file.read_all() for file in written]
    other = sync({**tenant, **batch_config(tmp_path, "parquet", None, 11_000)})
    of_parquet = [parquet.ParquetFile(path).read() for path in files(other, STREAM)]
    assert [table.num_rows for table in of_arrow] == [11_000, 1_000]
    assert [file.num_record_batches for file in written] == ([1, 1] if maps else [2, 1])
    for arrow, table in zip(of_arrow, of_parquet, strict=True):
        assert arrow.schema.types == table.schema.types
        name = "_sdc_table_version"
        assert arrow.drop_columns([name]).to_pylist() == table.drop_columns([name]).to_pylist()
    version = messages.of(STREAM)[-1]["version"]
    assert set(of_arrow[0]["_sdc_table_version"].to_pylist()) == {version}
    encodings = {str(item["encoding"]) for item in messages.of(STREAM) if item["type"] == "BATCH"}
    assert encodings == {"{'format': 'arrow', 'compression': 'none'}"}


def test_without_a_storage_files_are_in_a_temporary_folder_for_their_owner_alone(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config = {**serve(StandIn(sales(*ROWS[:2]))), "batch_config": {"encoding": {"format": "arrow"}}}
    messages = sync(config)
    (path,) = map(Path, files(messages, STREAM))
    assert path.parent == tmp_path / "tap-sac"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    (batch,) = (item for item in messages.of(STREAM) if item["type"] == "BATCH")
    assert batch["encoding"] == {"format": "arrow"}
    assert batch["manifest"] == [path.as_uri()]
    path.unlink()  # As targets do.
    assert files(sync(config), STREAM) != [str(path)]


def test_digits_that_arrow_files_cannot_keep_fail_by_name(serve: Serve, tmp_path: Path) -> None:
    config = batch_config(tmp_path, "arrow", None, 10)
    with pytest.raises(SACError, match=r"AMOUNT does not fit into the batch file: 1\.12345678 req"):
        sync({**serve(StandIn(sales(sales_row(1, "1.12345678")))), **config})
