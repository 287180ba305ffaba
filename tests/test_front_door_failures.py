"""What a part that dies does to a running gateway: nothing denied gets through, and it heals by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.conftest import TOOLS
from tests.support.backend import FakeBackend, tool
from tests.support.gateway import Portcullis, front_door
from tests.support.opa import opa_binary
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.issuer import Issuer


@pytest.fixture
async def server() -> AsyncIterator[FakeBackend]:
    async with FakeBackend(definitions=[tool(name) for name in TOOLS]).serve() as serving:
        yield serving


@pytest.fixture
async def gateway(tmp_path: Path, server: FakeBackend, issuer: Issuer) -> AsyncIterator[Portcullis]:
    async with Portcullis(tmp_path, front_door(server.url, issuer.url)) as running:
        yield running


async def ready(gateway: Portcullis) -> bool:
    return (await gateway.http("GET", "/health/ready")).status == 200


async def test_while_opa_is_dead_everything_is_503_and_audited_and_it_heals(
    tmp_path: Path, server: FakeBackend, issuer: Issuer
) -> None:
    token = issuer.mint(tenant_id="tenant:b")
    binary = tmp_path / "opa"
    binary.symlink_to(opa_binary())
    async with Portcullis(tmp_path, front_door(server.url, issuer.url, opa={"binary": str(binary)})) as gateway:
        # While its binary is not there, nothing can start it again.
        away = binary.rename(tmp_path / "away")
        os.kill(gateway.child("opa"), signal.SIGKILL)

        async def answers(status: int) -> bool:
            return (await gateway.call("charge", token=token)).status == status

        await until(lambda: answers(503))
        reached = len(server.calls)
        for reply in (await gateway.call("charge", token=token), await gateway.rpc("tools/list", token=token)):
            assert reply.status == 503
            assert int(reply.headers["Retry-After"]) > 0
        assert len(server.calls) == reached
        away.rename(binary)
        await until(lambda: answers(200), 15)
        assert await gateway.tools(token) == ["charge", "refund"]
        assert "refund" not in await gateway.tools(issuer.mint(tenant_id="tenant:a"))
        events = await gateway.events(reason="engine_unavailable", outcome="error")
    assert {event["target"]["action"] for event in events} == {"tools/call", "tools/list"}


async def test_a_stopped_opa_denies_with_503_is_noticed_by_readiness_and_reaches_no_server(
    gateway: Portcullis, server: FakeBackend, issuer: Issuer
) -> None:
    token = issuer.mint(tenant_id="tenant:b")
    opa = gateway.child("opa")
    before = len(server.calls)
    os.kill(opa, signal.SIGSTOP)
    try:
        reply = await gateway.call("charge", token=token)
        assert reply.status == 503
        assert reply.json["error"]["code"] == 50300
        assert len(server.calls) == before
        assert not await ready(gateway)
    finally:
        os.kill(opa, signal.SIGCONT)
    events = await gateway.events(reason="engine_unavailable")
    assert events[0]["outcome"] == "error"

    async def answers() -> bool:
        return (await gateway.call("charge", token=token)).status == 200

    await until(answers, 15)
    await until(lambda: ready(gateway))


async def test_a_dead_sync_stops_no_call_and_is_back_for_the_next_withdrawal(
    gateway: Portcullis, issuer: Issuer
) -> None:
    key, token = await gateway.key(), issuer.mint(tenant_id="tenant:b")
    first = gateway.child("sync")
    os.kill(first, signal.SIGKILL)
    assert await gateway.tools(token) == ["charge", "refund"]

    async def enforced() -> bool:
        reply = await gateway.admin("payments/refund/withdraw", {"tenant_id": "tenant:b"}, key=key)
        assert reply.status in (200, 202)
        assert reply.json["withdrawn"] is True
        return reply.status == 200

    await until(enforced, 20)
    assert await gateway.tools(token) == ["charge"]


async def test_withdrawals_survive_kill_9_and_a_restart_with_sync_down(
    tmp_path: Path, server: FakeBackend, issuer: Issuer
) -> None:
    token = issuer.mint(tenant_id="tenant:b")
    config = front_door(server.url, issuer.url)
    async with Portcullis(tmp_path, config) as gateway:
        key = await gateway.key()
        reply = await gateway.admin("payments/refund/withdraw", {"tenant_id": "tenant:b"}, key=key)
        assert reply.status == 200
        await gateway.kill()
        # The same gateway without a sync service: OPA has only what it kept on its disk.
        gateway.write_config({**config, "sync": {"url": "http://127.0.0.1:9"}})
        gateway.command = "serve"
        await gateway.start()
        assert await gateway.tools(token) == ["charge"]
        reply = await gateway.call("refund", token=token)
        assert reply.json["error"]["message"] == "Unknown tool: refund"
        # What is withdrawn now is in the ledger, and the answer says that nobody enforces it yet.
        reply = await gateway.admin("payments/charge/withdraw", None, key=key)
        assert (reply.status, reply.headers["Portcullis-Applied"]) == (202, "0/1")
        await gateway.stop()
        gateway.write_config(config)
        gateway.command = "up"
        await gateway.start()
        assert await gateway.tools(token) == []


async def test_nothing_of_a_killed_gateway_is_left_running(gateway: Portcullis) -> None:
    pids = [gateway.child("opa"), gateway.child("sync")]
    await gateway.kill()
    await until(lambda: not any(alive(pid) for pid in pids))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


async def test_a_server_that_is_down_is_one_clear_error_and_the_others_go_on(
    tmp_path: Path, server: FakeBackend, issuer: Issuer
) -> None:
    async with FakeBackend(definitions=[tool("report")]).serve() as other:
        member = {"member": {"tenant:b": {}}}
        config = front_door(server.url, issuer.url)
        config["mcp_servers"]["reports"] = {"mode": "remote", "endpoint": other.url, "tool_access": member}
        async with Portcullis(tmp_path, config) as gateway:
            token = issuer.mint(tenant_id="tenant:b")
            assert await gateway.tools(token) == ["charge", "refund", "report"]
            port = other.port
            server.misbehave = hang_up
            reply = await gateway.call("charge", token=token)
            assert reply.status == 200
            assert reply.json["error"]["code"] == 50200
            assert "payments" in reply.json["error"]["message"]
            assert (await gateway.call("report", token=token)).json["result"]
            assert await gateway.tools(token) == ["charge", "refund", "report"]
            assert (await gateway.events(reason="upstream_failed"))[0]["target"]["server"] == "payments"
            assert port == other.port


async def hang_up(request: object, message: object) -> None:
    request.transport.abort()  # type: ignore[attr-defined]


async def test_sigterm_fails_readiness_and_lets_a_call_in_flight_finish(
    gateway: Portcullis, server: FakeBackend, issuer: Issuer
) -> None:
    server.delay = asyncio.Event()
    token = issuer.mint(tenant_id="tenant:b")
    call = asyncio.create_task(gateway.call("charge", token=token))
    await until(lambda: server.calls)
    gateway.process.send_signal(signal.SIGTERM)

    async def fails() -> bool:
        return not await ready(gateway)

    await until(fails)
    server.delay.set()
    assert (await call).json["result"]
    assert await gateway.stop() == 0


async def test_a_second_interrupt_ends_the_draining(gateway: Portcullis, server: FakeBackend, issuer: Issuer) -> None:
    server.delay = asyncio.Event()
    token = issuer.mint(tenant_id="tenant:b")
    call = asyncio.create_task(gateway.call("charge", token=token))
    await until(lambda: server.calls)
    gateway.process.send_signal(signal.SIGINT)
    await until(lambda: "draining" in gateway.log)
    gateway.process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(gateway.process.wait(), 15) == 130
    assert "Traceback" not in gateway.log
    with contextlib.suppress(aiohttp.ClientError):
        await call


async def test_a_second_up_on_the_same_state_is_refused(gateway: Portcullis) -> None:
    status, _, err = await gateway.cli("up", "--port", "0")
    assert status == 1
    assert str(gateway.process.pid) in err


async def test_a_rolled_back_live_bundle_is_refused_by_the_high_water_mark(
    tmp_path: Path, server: FakeBackend, issuer: Issuer
) -> None:
    """A replayed older bundle is signed as well as any; the gateway's own mark is what denies it."""
    token = issuer.mint(tenant_id="tenant:b")
    config = front_door(server.url, issuer.url)
    async with Portcullis(tmp_path, config) as gateway:
        key = await gateway.key()
        live = gateway.state / "opa" / "bundles" / "live" / "bundle.tar.gz"
        await until(live.exists)
        old = live.read_bytes()
        reply = await gateway.admin("payments/refund/withdraw", None, key=key)
        assert reply.status == 200
        assert await gateway.tools(token) == ["charge"]
        # Raised at once and written behind: a crash within that moment would lose the raise.
        decided = int(reply.headers["Portcullis-Revision"].removeprefix("r"))
        await until(lambda: marked(gateway) >= decided)
        await gateway.kill()
        live.write_bytes(old)
        gateway.write_config({**config, "sync": {"url": "http://127.0.0.1:9"}})
        gateway.command, gateway.wait_ready = "serve", False
        gateway.options = ("--port", str(free_port()))
        gateway.url = f"http://127.0.0.1:{gateway.options[1]}"
        await gateway.start()

        async def listening() -> bool:
            try:
                return (await gateway.http("GET", "/health/live")).status == 200
            except OSError:
                return False

        await until(listening, 15)
        await until(lambda: older_is_refused(gateway), 15)
        assert (await gateway.rpc("tools/list", token=token)).status == 503


def marked(gateway: Portcullis) -> int:
    return int(json.loads((gateway.state / "high-water.json").read_text())["revision"])


async def older_is_refused(gateway: Portcullis) -> bool:
    return (await gateway.http("GET", "/health/ready")).json["waiting_for"] == ["policy"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
