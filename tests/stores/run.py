"""Write batch files to servers of S3, Azure and SFTP: `uvx --with tox-uv tox -e stores`.

npm installs Azurite, which serves Azure's blobs, into a temporary directory.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import subprocess
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
from fsspec.core import url_to_fs
from pyarrow import parquet
from typing_extensions import override

from tap_sac.sac.errors import SACError
from tests.conftest import discover, select, sync
from tests.helpers import servers
from tests.helpers.stand_in import StandIn, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Serve

    Store = tuple[str, dict[str, Any], dict[str, Any]]  # The root, and params: right ones and wrong


@contextmanager
def s3(_: Path) -> Iterator[Store]:
    """Serve S3, with the secret in the settings."""
    with servers.s3() as url:
        params = {"endpoint_url": url, "key": "key", "secret": "secret"}
        url_to_fs("s3://lake", **params)[0].mkdir("lake")
        yield "s3://lake", params, params | {"secret": None}


@contextmanager
def azure(folder: Path) -> Iterator[Store]:
    """Serve Azure's blobs, with the secret in the environment."""
    subprocess.run(["npm", "install", "--silent", "azurite"], cwd=folder, check=True)  # noqa: S607
    key, other = (base64.b64encode(secrets.token_bytes(64)).decode() for _ in range(2))
    options = ["--blobPort=0", "--skipApiVersionCheck", "--disableTelemetry"]
    command = ["node_modules/.bin/azurite-blob", *options]
    os.environ["AZURITE_ACCOUNTS"] = f"lake:{key}"
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        try:
            lines = server.stdout or ()
            url = next(line.split()[-1] for line in lines if "successfully listens" in line)
            login = f"AccountName=lake;AccountKey={{}};BlobEndpoint={url}/lake;"
            os.environ["AZURE_STORAGE_CONNECTION_STRING"] = login.format(key)
            url_to_fs("az://lake")[0].mkdir("lake")
            yield "az://lake", {}, {"connection_string": login.format(other)}
        finally:
            server.terminate()


class Login(asyncssh.SSHServer):
    """Lets in who has the password."""

    password = secrets.token_urlsafe()

    @override
    def password_auth_supported(self) -> bool:
        return True

    @override
    def validate_password(self, username: str, password: str) -> bool:
        return password == self.password


@contextmanager
def sftp(folder: Path) -> Iterator[Store]:
    """Serve SFTP, with the secret in a key file."""
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    user.write_private_key(folder / "key")
    authorized = asyncssh.import_authorized_keys(user.export_public_key().decode())

    async def listen() -> object:
        keys = {"server_host_keys": [host], "authorized_client_keys": authorized}
        return (
            await asyncssh.listen("127.0.0.1", 0, server_factory=Login, sftp_factory=True, **keys)
        ).get_port()

    loop = asyncio.new_event_loop()
    Thread(target=loop.run_forever, daemon=True).start()
    port = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    known = f"[127.0.0.1]:{port} {host.export_public_key().decode()}"
    (folder / "known").write_text(known, encoding="utf-8")
    params = {"client_keys": [str(folder / "key")], "known_hosts": str(folder / "known")}
    (folder / "files").mkdir()
    root = f"sftp://someone@127.0.0.1:{port}{folder}/files"
    yield root, params, params | {"known_hosts": os.devnull}


@contextmanager
def sftp_password(folder: Path) -> Iterator[Store]:
    """Serve SFTP, with a password in the settings."""
    with sftp(folder) as (root, params, _):
        right = {"known_hosts": params["known_hosts"], "password": Login.password}
        yield root, right, right | {"password": "wrong"}


@pytest.fixture(params=[s3, azure, sftp, sftp_password], ids=lambda serve: serve.__name__)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with request.param(tmp_path) as store:
        yield store


def write(serve: Serve, root: str, params: dict[str, Any], fault: Callable[[], Any]) -> list[str]:
    """Write five rows to two files; returns their URLs."""
    tenant = StandIn(sales(*(sales_row(number, f"{number}.1234567") for number in range(5))))
    tenant.fault = lambda request: fault() if "skiptoken=4" in request.target else None
    batches = {"encoding": {"format": "parquet"}, "storage": {"root": root, "params": params}}
    config = {**serve(tenant), "batch_config": {**batches, "batch_size": 3}}
    messages = sync(config, select(discover(config), "sales_fact_data"))
    return [url for item in messages.of("sales_fact_data") for url in item.get("manifest", ())]


@pytest.mark.usefixtures("waits")
def test_files_are_complete_or_absent_and_failures_are_explained(
    serve: Serve, store: Store
) -> None:
    root, right, wrong = store
    amounts: list[str] = []
    for url in write(serve, f"{root}/whole", right, lambda: None):
        system, path = url_to_fs(url, **right)
        table = parquet.read_table(path, filesystem=system)
        amounts += map(str, table["AMOUNT"].to_pylist())
    assert amounts == [f"{number}.1234567" for number in range(5)]

    with pytest.raises(SACError, match="no more"):
        write(serve, f"{root}/broken", right, lambda: error_response(400, "no more"))
    system, path = url_to_fs(root, **right, skip_instance_cache=True)
    (only,) = system.find(f"{path}/broken")
    assert only.endswith("-1.parquet")

    with pytest.raises(SACError, match="check the storage of the setting") as refused:
        write(serve, f"{root}/refused", wrong, lambda: None)
    assert "AccountKey" not in str(refused.value)
    assert "wrong" not in str(refused.value)

    def lose() -> None:
        system.rm(path, recursive=True)
        if root.startswith("sftp"):
            system.pipe_file(path, b"no folder")

    with pytest.raises(SACError, match=r"^The batch file tap-sac--sales_fact_data-.* cannot be "):
        write(serve, f"{root}/lost", right, lose)
