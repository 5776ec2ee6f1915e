"""Where batch files go: a local folder, and S3."""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import url2pathname

import pytest
from pyarrow import parquet

from tap_sac.sac.errors import SACError
from tests.conftest import sync
from tests.helpers import servers
from tests.helpers.batches import batch_config
from tests.helpers.stand_in import StandIn, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Messages, RunCli, Serve

STREAM = "sales_fact_data"
AMOUNTS = ("1.1234567", "-0.0000001", "123456789012345678901234.1234567", "null", '"2.5"')
ROWS = [sales_row(number, amount) for number, amount in enumerate(AMOUNTS)]
NUMBERS = [None if text == "null" else Decimal(text.strip('"')) for text in AMOUNTS]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Serve S3 on loopback, with a bucket named lake."""
    with servers.s3() as url:
        file_system(url).mkdir("lake")
        yield url


def file_system(url: str) -> Any:  # noqa: ANN401  (s3fs has no types)
    import s3fs  # noqa: PLC0415  (each worker collects all tests, and few need it)

    return s3fs.S3FileSystem(endpoint_url=url, key="key", secret="secret", use_listings_cache=False)


def in_s3(
    url: str, folder: str, format_: str, compression: str | None, size: int
) -> dict[str, Any]:
    return {
        "batch_config": {
            "encoding": {"format": format_, "compression": compression or "none"},
            "storage": {
                "root": f"s3://lake/{folder}",
                "params": {"endpoint_url": url, "key": "key", "secret": "secret"},
            },
            "batch_size": size,
        }
    }


def paths(messages: Messages) -> list[str]:
    return [
        url
        for message in messages.of(STREAM)
        if message["type"] == "BATCH"
        for url in message["manifest"]
    ]


def test_parquet_in_s3(serve: Serve, s3: str) -> None:
    messages = sync({**serve(StandIn(sales(*ROWS))), **in_s3(s3, "parquet", "parquet", None, 3)})
    written = paths(messages)
    assert all(path.startswith("s3://lake/parquet/tap-sac--sales_fact_data-") for path in written)
    rows: list[Any] = []
    for path, number in zip(written, (3, 2), strict=True):
        with file_system(s3).open(path) as file:
            table = parquet.ParquetFile(file).read()
        assert table.num_rows == number
        rows += table["AMOUNT"].to_pylist()
    assert rows == NUMBERS


def test_compressed_lines_in_s3_with_settings_of_aws(
    serve: Serve, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    config = in_s3(s3, "lines", "jsonl", "gzip", 3)
    del config["batch_config"]["storage"]["params"]
    messages = sync({**serve(StandIn(sales(*ROWS))), **config})
    records = []
    for path in paths(messages):
        with file_system(s3).open(path) as file:
            lines = gzip.decompress(file.read()).splitlines()
        records += [json.loads(line, parse_float=Decimal) for line in lines]
    assert [record["AMOUNT"] for record in records] == NUMBERS


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_failed_run_leaves_no_incomplete_file(
    serve: Serve, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    tenant = StandIn(sales(*ROWS))
    tenant.fault = lambda request: (
        error_response(400, "no more") if "skiptoken=4" in request.target else None
    )
    temporary, folder = tmp_path / "temporary", tmp_path / "folder"
    temporary.mkdir()
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for config in (
        batch_config(folder, format_, None, 3),
        in_s3(s3, f"failed-{format_}", format_, None, 3),
    ):
        with pytest.raises(SACError, match="no more"):
            sync({**serve(tenant), **config})
    (whole,) = (path.name for path in folder.iterdir() if STREAM in path.name)
    assert "-1." in whole
    assert not list(temporary.iterdir())
    (whole,) = (path for path in file_system(s3).find(f"lake/failed-{format_}") if STREAM in path)
    assert "-1." in whole
    assert not file_system(s3).call_s3("list_multipart_uploads", Bucket="lake").get("Uploads")


def test_local_files_are_written_in_their_final_folder(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    config = batch_config(tmp_path, "parquet", None, 3)
    config["batch_config"]["storage"]["prefix"] = "folder/"
    messages = sync({**serve(StandIn(sales(*ROWS))), **config})
    written = {Path(url2pathname(path.removeprefix("file://"))) for path in paths(messages)}
    assert len(written) == 2
    assert written < {*(tmp_path / "folder").iterdir()}
    assert all(path.suffix == ".parquet" for path in (tmp_path / "folder").iterdir())
    assert all(path.stat().st_mode & 0o044 for path in written)


def test_secrets_among_the_parameters_of_a_storage_are_masked(
    serve: Serve, run_cli: RunCli
) -> None:
    params = {"token": "hidden-word-hidden-word"}
    storage = {"root": "nope://hidden-word-hidden-word", "params": params}
    config = {"batch_config": {"encoding": {"format": "jsonl"}, "storage": storage}}
    result = run_cli({**serve(StandIn(sales(*ROWS))), **config})
    assert "check the storage of the setting batch_config" in result.stderr
    assert "hidden-word" not in result.stderr + result.stdout


@pytest.mark.parametrize(
    ("scheme", "package", "extra"),
    [("s3", "s3fs", "s3"), ("az", "adlfs", "azure"), ("sftp", "sshfs", "sftp")],
)
def test_storage_without_its_package_is_an_error_that_names_the_extra(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, scheme: str, package: str, extra: str
) -> None:
    # What fsspec has imported for the tests before this one.
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, scheme, raising=False)  # noqa: SLF001
    for name in (package, "paramiko"):
        monkeypatch.setitem(sys.modules, name, None)
    config = in_s3("", "x", "jsonl", None, 3)
    storage = {"root": f"{scheme}://lake/x", "params": {"known_hosts": None}}
    config["batch_config"]["storage"] = storage
    message = (
        rf"^The setting batch_config asks for storage in {scheme}://, which needs {package}: "
        rf"install tap-sac\[{extra}\], or use another storage\.$"
    )
    with pytest.raises(SACError, match=message):
        sync({**serve(StandIn(sales(*ROWS))), **config})


def test_other_storage_without_its_package_is_an_error_that_names_it(
    serve: Serve, tmp_path: Path
) -> None:
    config = batch_config(tmp_path, "jsonl", None, 3)
    config["batch_config"]["storage"]["root"] = "gs://lake/x"
    with pytest.raises(SACError, match=r"storage in gs://, which needs a package .*gcsfs"):
        sync({**serve(StandIn(sales(*ROWS))), **config})


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"key": None, "secret": None}, "Unable to locate credentials"),
        ({"endpoint_url": "http://127.0.0.1:9"}, "Could not connect to the endpoint"),
    ],
)
def test_storage_that_cannot_be_reached_stops_the_run_with_a_sentence(
    serve: Serve,
    s3: str,
    run_cli: RunCli,
    monkeypatch: pytest.MonkeyPatch,
    params: dict[str, Any],
    reason: str,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    config = in_s3(s3, "x", "jsonl", None, 3)
    once = {"config_kwargs": {"retries": {"total_max_attempts": 1}}}
    config["batch_config"]["storage"]["params"].update(once | params)
    result = run_cli({**serve(StandIn(sales(*ROWS))), **config})
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert reason in result.stderr
    assert "check the storage of the setting batch_config" in result.stderr
