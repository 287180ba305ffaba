"""`make run`: it says what is in its way, and it stops as one."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import Running, free_port, running
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = Path(__file__).parent.parent / "examples" / "front-door" / "run.py"
PORTS = ("--port", "--server-port", "--issuer-port")
START_SECONDS = 60
STOP_SECONDS = 30


@pytest.fixture
def ports() -> dict[str, int]:
    return {flag: free_port() for flag in PORTS}


@pytest.fixture
def demo(ports: dict[str, int], tmp_path: Path) -> Iterator[Running]:
    flags = [word for flag, port in ports.items() for word in (flag, port)]
    with running([sys.executable, RUN, *flags], tmp_path, name="demo") as process:
        yield process


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def started(demo: Running) -> None:
    await until(lambda: demo.require() or "Ctrl-C" in demo.out.read_text(), START_SECONDS, "the demo runs")


async def test_a_signal_stops_every_part_of_the_demo(demo: Running, ports: dict[str, int]):
    await started(demo)
    assert all(map(listens, ports.values()))
    demo.popen.send_signal(signal.SIGTERM)
    assert demo.popen.wait(STOP_SECONDS) == 0
    assert not any(map(listens, ports.values()))


async def test_a_rule_that_is_refused_is_told_while_the_demo_waits_and_once_it_is_mended_the_demo_runs(
    ports: dict[str, int], tmp_path: Path
):
    rule = tmp_path / "rules" / "never" / "never.rego"
    rule.parent.mkdir(parents=True)
    good = 'package custom.never\n\nimport future.keywords.not\n\ndeny contains "never" if input.request.time < 0\n'
    rule.write_text(good.replace("deny", "denny"))
    flags = [word for flag, port in ports.items() for word in (flag, port)]
    with running([sys.executable, RUN, *flags, "--policies", rule.parent.parent], tmp_path, name="demo") as demo:
        told = "`denny` is read by nothing and would change nothing; did you mean `deny`?"
        await until(lambda: demo.require() or told in demo.err.read_text(), START_SECONDS, "the mistake is told")
        assert "Ctrl-C" not in demo.out.read_text()
        rule.write_text(good)
        await started(demo)
        assert demo.err.read_text().count(told) == 1


async def test_when_one_part_dies_the_demo_says_which_and_stops_the_others(demo: Running, ports: dict[str, int]):
    await started(demo)
    os.kill(int(demo.out.with_name(".run").joinpath("state", "lock").read_text()), signal.SIGKILL)
    assert demo.popen.wait(STOP_SECONDS) == 1
    assert "gateway has ended with status -9" in demo.err.read_text()
    assert not any(map(listens, ports.values()))


def test_a_taken_port_is_named_with_the_flag_that_chooses_another(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        flags = ["--port", free_port(), "--server-port", port, "--issuer-port", free_port()]
        with running([sys.executable, RUN, *flags], tmp_path) as process:
            assert process.popen.wait(STOP_SECONDS) == 1
            assert f"port {port} is taken; choose another one with --server-port" in process.err.read_text()
    assert not (tmp_path / ".run").exists()


async def test_the_tokens_of_the_demo_are_readable_by_its_user_alone(demo: Running, tmp_path: Path):
    await started(demo)
    for path in (tmp_path / ".run", tmp_path / ".run" / "tokens.sh"):
        assert path.stat().st_mode & 0o077 == 0
