"""`portcullis sync` and `portcullis opa config` as processes: how they start, what they print, how they end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from gateway.facts import Replica
from gateway.ledger.connect import open_ledger
from gateway.state import StateDir
from tests.support.opa import running_opa
from tests.support.sync import FRONT_DOOR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PORTCULLIS = (sys.executable, "-m", "gateway")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(FRONT_DOOR)
    return path


@pytest.fixture
def listener() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        yield bound


def arguments(config: Path, listener: socket.socket) -> list[str]:
    """Return how the supervisor starts sync: on a socket of its own."""
    state = str(config.parent / "state")
    return ["sync", "--config", str(config), "--state-dir", state, "--listen", f"fd:{listener.fileno()}"]


def url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.asynccontextmanager
async def started(config: Path, listener: socket.socket, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run sync until the block ends; its log is on `stderr`."""
    process = await asyncio.create_subprocess_exec(
        *PORTCULLIS, *arguments(config, listener), *more,
        stderr=asyncio.subprocess.PIPE, pass_fds=(listener.fileno(),),
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def put(target: Path, source: Path | str) -> None:
    """Write a file, with a text or with what is in another one."""
    target.write_text(source if isinstance(source, str) else source.read_text())


async def line(process: asyncio.subprocess.Process) -> Any:
    """Return the next line of the log."""
    assert process.stderr is not None
    async with asyncio.timeout(15):
        return json.loads(await process.stderr.readline())


async def health(listener: socket.socket) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{url(listener)}/health") as response:
        return await response.json()


async def command(*given: str | Path) -> tuple[int | None, str, str]:
    """Run a command of portcullis to its end."""
    process = await asyncio.create_subprocess_exec(
        *PORTCULLIS, *given, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_one_line_says_that_it_is_ready_and_sigterm_ends_it_cleanly(
    config: Path, listener: socket.socket
) -> None:
    async with started(config, listener) as process:
        ready = await line(process)
        assert re.fullmatch(rf"sync is ready at 127.0.0.1:{listener.getsockname()[1]}, r\d+", ready["message"])
        assert (await health(listener))["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert process.stderr is not None
        assert await process.stderr.read() == b""


async def test_every_mistake_is_printed_and_nothing_is_started(config: Path, listener: socket.socket) -> None:
    put(config, FRONT_DOOR.replace("mode: remote", "mode: remot") + "metric: {}\n")
    async with started(config, listener) as process:
        _, err = await process.communicate()
        assert process.returncode == 1
        assert b"mcp_servers.payments.mode" in err
        assert b"metric" in err
    assert not (config.parent / "state" / "portcullis.db").exists()


@pytest.mark.parametrize("listen", ["fd:999", "fd:x", "256.1.1.1:1", "127.0.0.1:99999", "nonsense"])
async def test_an_address_that_cannot_be_had_is_a_mistake(config: Path, listen: str) -> None:
    status, _, err = await command(
        "sync", "--config", config, "--state-dir", config.parent / "state", "--listen", listen
    )
    assert status == 1
    assert "Traceback" not in err
    assert listen in err


async def test_sighup_has_the_key_read_again(config: Path, listener: socket.socket) -> None:
    async with started(config, listener) as process:
        await line(process)
        other = StateDir.open(config.parent / "other").signing_keys()[0]
        put(config.parent / "state" / "signing.pem", other)
        process.send_signal(signal.SIGHUP)
        assert (await line(process))["message"].startswith("bundles are signed with sync-")


async def test_it_ends_with_its_parent_if_told_so(config: Path, listener: socket.socket) -> None:
    program = "import subprocess, sys; subprocess.Popen(sys.argv[2:], pass_fds=[int(sys.argv[1])]).wait()"
    started_by = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(listener.fileno()),
        *PORTCULLIS, *arguments(config, listener), "--with-parent",
        stderr=asyncio.subprocess.PIPE, pass_fds=(listener.fileno(),),
    )  # fmt: skip
    await line(started_by)
    started_by.kill()
    assert started_by.stderr is not None
    # Sync holds the other end of this pipe for as long as it runs.
    await asyncio.wait_for(started_by.stderr.read(), 10)
    await started_by.wait()


async def test_a_second_life_on_the_same_socket_is_found_where_the_first_was(
    config: Path, listener: socket.socket
) -> None:
    for _ in range(2):
        async with started(config, listener) as process:
            await line(process)
            assert (await health(listener))["status"] == "ok"


async def test_the_printed_configuration_makes_a_foreign_opa_a_replica(config: Path, listener: socket.socket) -> None:
    state = StateDir.open(config.parent / "state")
    ledger = await open_ledger(state.ledger_url)
    token = state.secret(state.replica_token("gw-1"))
    await ledger.register_replica(Replica("gw-1", hashlib.sha256(token.encode()).hexdigest(), 1))
    await ledger.close()
    async with started(config, listener) as process:
        await line(process)
        status, out, err = await command(
            "opa", "config", "--config", config, "--state-dir", state.path, "--replica", "gw-1",
            "--sync-url", url(listener),
        )  # fmt: skip
        assert (status, err) == (0, "")
        assert token not in out
        async with running_opa(json.loads(out), config.parent / "opa") as opa:
            await opa.activated("policy", "custom", "tenants", "live")


async def test_no_configuration_is_printed_before_there_is_a_key_to_trust(config: Path) -> None:
    status, out, err = await command(
        "opa", "config", "--config", config, "--state-dir", config.parent / "new", "--sync-url", "http://sync:8180"
    )
    assert (status, out) == (1, "")
    assert "no public key" in err


async def test_secrets_in_the_state_directory_are_nobody_elses(config: Path, listener: socket.socket) -> None:
    async with started(config, listener) as process:
        await line(process)
    for name in ("signing.pem", "sync.token"):
        assert (config.parent / "state" / name).stat().st_mode & 0o077 == 0
