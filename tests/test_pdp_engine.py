"""OPA as a supervised child: private, restarted, and gone with its gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.errors import EngineMissing
from gateway.pdp import opa_binary, orphan
from gateway.pdp.engine import MAX_SOCKET_PATH, Engine
from tests.support.engine import answering, supervised_opa
from tests.support.fake_opa import short_directory
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short directory with an empty OPA configuration in it."""
    with short_directory() as directory:
        (directory / "config.yaml").write_text("{}")
        yield directory


def engine(folder: Path, **rest: object) -> Engine:
    return Engine(opa_binary.find().path, folder / "config.yaml", folder / "run", **rest)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def socket_of(opa: Engine) -> Path:
    return Path(opa.url.removeprefix("unix://"))


def environment_of(opa: Engine) -> set[str]:
    return {line.partition("=")[0] for line in Path(f"/proc/{opa.pid}/environ").read_text().split("\0")}


async def test_the_socket_is_for_its_owner_alone_in_a_directory_that_is_too(folder: Path):
    async with engine(folder) as opa:
        await answering(opa)
        socket = socket_of(opa)
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert not list((folder / "run").iterdir())
    assert opa.pid is None


async def test_opa_inherits_no_secret_from_the_gateway(folder: Path):
    environment = {"API_TOKEN": "secret", "HTTP_PROXY": "http://proxy", "HOME": "/x", "GOMAXPROCS": "1"}
    async with engine(folder, environment=environment) as opa:
        await answering(opa)
        names = environment_of(opa)
    assert "GOMAXPROCS" in names
    assert not names & {"API_TOKEN", "HTTP_PROXY", "HOME"}


async def test_a_killed_opa_is_started_again_on_the_same_address(folder: Path):
    async with engine(folder) as opa:
        for count in range(1, 3):
            await answering(opa)
            killed = opa.pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            await until(lambda killed=killed: opa.pid not in (killed, None))
            assert opa.restarts == count
        await answering(opa)


async def test_an_opa_that_cannot_start_is_tried_again_and_its_last_words_are_kept(
    folder: Path, caplog: pytest.LogCaptureFixture
):
    (folder / "config.yaml").write_text("services: 5")
    async with engine(folder) as opa:
        await until(lambda: opa.restarts >= 2)
        trouble = await until(lambda: opa.trouble)
        assert trouble.startswith("OPA is not running: ")
        assert "unmarshal" in trouble
        assert "unmarshal" in caplog.text
        (folder / "config.yaml").write_text("{}")
        await answering(opa)
        assert opa.trouble is None


async def test_an_engine_without_a_binary_says_so(folder: Path):
    async with Engine(folder / "none", folder / "config.yaml", folder / "run") as opa:
        assert "none cannot be run: No such file" in await until(lambda: opa.trouble if opa.restarts else "")


async def test_what_opa_says_is_logged_without_control_characters(folder: Path, caplog: pytest.LogCaptureFixture):
    talker = folder / "opa"
    talker.write_text(
        '#!/bin/sh\nprintf \'{"level":"error","msg":"a\\\\u001b[2Jb","name":"live"}\\nplain\\033[2J\' >&2\n'
    )
    talker.chmod(0o755)
    async with Engine(talker, folder / "config.yaml", folder / "run") as opa:
        await until(lambda: opa.restarts)
    assert r"opa: live: a\x1b[2Jb" in caplog.text
    assert r"opa: plain\x1b[2J" in caplog.text
    assert "\x1b" not in caplog.text


async def test_an_opa_that_ignores_sigterm_is_killed(folder: Path):
    stubborn = folder / "opa"
    stubborn.write_text("#!/bin/sh\ntrap '' TERM\necho up >&2\nwhile :; do sleep 0.1; done\n")
    stubborn.chmod(0o755)
    opa = Engine(stubborn, folder / "config.yaml", folder / "run", grace_seconds=0.1)
    async with opa:
        await until(lambda: opa.pid is not None)
        pid = opa.pid
    assert pid is not None
    assert not alive(pid)


async def test_a_stopping_opa_that_is_frozen_is_killed(folder: Path):
    async with engine(folder, grace_seconds=0.1) as opa:
        await answering(opa)
        pid = opa.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    assert not alive(pid)


async def test_a_path_too_long_for_a_socket_is_replaced_by_a_private_one(folder: Path):
    deep = folder / ("d" * 120)
    deep.mkdir()
    async with Engine(opa_binary.find().path, folder / "config.yaml", deep) as opa:
        await answering(opa)
        socket = socket_of(opa)
        assert len(os.fsencode(socket)) <= MAX_SOCKET_PATH
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert not socket.parent.exists()


SUPERVISOR = """
    import asyncio, sys
    from pathlib import Path
    from gateway.pdp.engine import Engine

    async def main():
        async with Engine(*map(Path, sys.argv[1:])) as opa:
            while opa.pid is None:
                await asyncio.sleep(0.01)
            print(opa.pid, flush=True)
            await asyncio.sleep(600)

    asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a process to its parent")
async def test_opa_ends_with_a_gateway_that_is_killed(folder: Path):
    arguments = [opa_binary.find().path, folder / "config.yaml", folder / "run"]
    code = textwrap.dedent(SUPERVISOR)
    gateway = await asyncio.create_subprocess_exec(sys.executable, "-c", code, *arguments, stdout=subprocess.PIPE)
    assert gateway.stdout is not None
    pid = int(await gateway.stdout.readline())
    await until((folder / "run" / "opa.sock").exists, what="OPA itself runs, and no longer what started it")
    assert alive(pid)
    gateway.kill()
    await gateway.wait()
    await until(lambda: not alive(pid))


@contextlib.contextmanager
def outliving(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that the engine's trace names and nobody supervises: an OPA on its address, or another `command`."""
    directory = folder / "run"
    directory.mkdir()
    address = f"unix://{directory / 'opa.sock'}"
    serving = (opa_binary.find().path, "run", "--server", "--addr", address)
    process = subprocess.Popen(command or serving, stderr=subprocess.DEVNULL)
    orphan.leave(directory / "opa.pid", orphan.Trace(process.pid, supervisor=1, address=address))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_an_opa_that_outlived_its_gateway_is_ended_before_a_new_one_starts(folder: Path):
    with outliving(folder) as old:
        async with engine(folder) as opa:
            await answering(opa)
            assert old.wait() == -signal.SIGKILL
            assert opa.pid != old.pid


async def test_a_process_that_merely_has_the_number_of_an_old_opa_is_left_alone(folder: Path):
    with outliving(folder, "/bin/sleep", "600") as bystander:
        async with engine(folder) as opa:
            await answering(opa)
        assert bystander.poll() is None


async def test_an_opa_whose_gateway_lives_is_left_alone_and_no_second_one_starts(folder: Path):
    async with engine(folder) as opa:
        await answering(opa)
        with pytest.raises(EngineMissing, match="already runs an OPA"):
            await engine(folder).start()
        await answering(opa)
        assert opa.restarts == 0


@pytest.mark.parametrize("content", ["", "{}", json.dumps({"pid": 1, "supervisor": 2, "address": "x"}), "[]"])
async def test_a_trace_that_says_nothing_ends_nothing(folder: Path, content: str):
    trace = folder / "opa.pid"
    trace.write_text(content)
    assert orphan.sweep(trace) is None


async def test_files_are_loaded_at_the_start(folder: Path):
    rego = folder / "x.rego"
    rego.write_text("package x\ny := 1\n")
    async with supervised_opa(rego) as opa:
        assert opa.trouble is None
