"""TLS of the gateway's own: what is spoken, and what is said of files that are no certificate and its key."""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization

from gateway.cli import main
from tests.support.gateway import PATIENT, Portcullis, front_door
from tests.support.https import certificate
from tests.support.raw import exchange, request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.backend import FakeBackend
    from tests.support.issuer import Issuer


def config(issuer: str, endpoint: str, files: tuple[Path, Path]) -> dict[str, Any]:
    tls = {"cert_file": str(files[0]), "key_file": str(files[1])}
    return front_door(endpoint, issuer, server={"tls": tls}, opa=PATIENT)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
async def test_the_front_door_speaks_tls_with_its_own_certificate_and_nothing_older_than_1_2(
    tmp_path: Path, issuer: Issuer, backend: FakeBackend
) -> None:
    files = certificate(tmp_path)
    trusting, outdated = (ssl.create_default_context(cafile=str(files[0])) for _ in range(2))
    outdated.set_ciphers("DEFAULT:@SECLEVEL=0")
    outdated.minimum_version = outdated.maximum_version = ssl.TLSVersion.TLSv1_1
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"Authorization": f"Bearer {issuer.mint(tenant_id='tenant:a')}"}
    async with (
        Portcullis(tmp_path, config(issuer.url, backend.url, files)) as gateway,
        aiohttp.ClientSession() as session,
    ):
        assert gateway.url.startswith("https://")
        async with session.post(f"{gateway.url}/mcp", json=listing, headers=headers, ssl=trusting) as reply:
            assert [tool["name"] for tool in (await reply.json())["result"]["tools"]] == ["charge"]
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"{gateway.url}/health/live", ssl=outdated)
        assert await exchange(gateway.url, request("GET /health/live HTTP/1.1")) == b""


def unfit(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Return pairs of files that no TLS can be spoken with."""
    for name in ("a", "b"):
        (folder / name).mkdir()
    cert_file, key_file = certificate(folder / "a")
    _, foreign = certificate(folder / "b")
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    encrypted = folder / "encrypted.key"
    encrypted.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    return {
        "no certificate": (key_file, key_file),
        "another's key": (cert_file, foreign),
        "an encrypted key": (cert_file, encrypted),
        "no file": (folder / "gone.crt", key_file),
    }


def written(folder: Path, name: str, issuer: str, files: tuple[Path, Path]) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config(issuer, "http://127.0.0.1:9/mcp", files)))
    return file


async def test_files_that_are_no_certificate_and_its_key_start_nothing_and_are_named(tmp_path: Path) -> None:
    async def refused(name: str, files: tuple[Path, Path]) -> None:
        file, state = written(tmp_path, name, "https://idp.example.com", files), tmp_path / name
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "up", "--config", file, "--state-dir", state, "--port", "0",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert (name, process.returncode, out) == (name, 1, b"")
        assert f"server.tls: {files[0]} and {files[1]}" in err.decode()
        assert "Traceback" not in err.decode()
        assert not (state / "opa").exists()

    await asyncio.gather(*(refused(*case) for case in unfit(tmp_path).items()))


def test_check_names_files_that_are_no_certificate_and_its_key(tmp_path: Path) -> None:
    for name, files in unfit(tmp_path).items():
        file = written(tmp_path, name, "https://idp.example.com", files)
        done = CliRunner().invoke(main, ["check", "--config", str(file)])
        assert (name, done.exit_code) == (name, 1)
        assert f"error: server.tls: {files[0]} and {files[1]}" in done.stderr
