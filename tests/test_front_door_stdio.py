"""Servers that the gateway starts itself, through the front door: a tenant's process is that tenant's alone."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.agents import ask
from tests.support.files import ROOT
from tests.support.gateway import MODERN, PATIENT, Portcullis, front_door
from tests.support.local import asked, command, sent
from tests.support.processes import alive
from tests.support.streaming import CAN, StreamingAgent
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.issuer import Issuer

NOTES = ROOT / "examples" / "stdio"
MEMBERS = {"tenant:a": {}, "tenant:b": {"deny_list": ["leave", "forget_notes"]}}


def servers(trace: Path) -> dict[str, Any]:
    """Return a stateful server of the official SDK, and one that does what it is told, with a secret of its own."""
    notes = {"mode": "stdio", "command": [sys.executable, "notes.py"], "cwd": str(NOTES)}
    local = {
        "mode": "stdio",
        "command": list(command("--trace", trace)),
        "env": {"API_TOKEN": "${env:HOME}/s3cret", "TENANT": "${tenant}"},
    }
    return {name: {**one, "tool_access": {"member": MEMBERS}} for name, one in {"notes": notes, "local": local}.items()}


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Portcullis]:
    folder = tmp_path_factory.mktemp("stdio")
    sections = {"opa": PATIENT, "logging": {"format": "text"}, "mcp_servers": servers(folder / "trace")}
    async with Portcullis(folder, front_door("http://127.0.0.1:1/", issuer.url, **sections)) as running:
        yield running


@pytest.fixture
def token(issuer: Issuer) -> Any:
    return lambda tenant, subject="jo": issuer.mint(tenant_id=tenant, sub=subject)


async def call(gateway: Portcullis, token: str, name: str, version: str = MODERN, **arguments: Any) -> Any:
    reply = await ask(gateway, version, "tools/call", {"name": name, "arguments": arguments}, token=token)
    return reply.json.get("result") or reply.json["error"]


async def text(gateway: Portcullis, token: str, name: str, **arguments: Any) -> str:
    found: str = (await call(gateway, token, name, **arguments))["content"][0]["text"]
    return found


async def about(gateway: Portcullis, token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await text(gateway, token, "about"))
    return found


async def test_nothing_that_one_tenant_told_a_stateful_server_is_seen_by_another(gateway: Portcullis, token: Any):
    a, b = token("tenant:a"), token("tenant:b")
    for version in (MODERN, "2025-11-25"):
        await call(gateway, a, "write_note", version, text=f"a's, in {version}")
        assert (await call(gateway, b, "read_notes", version)).get("structuredContent", {}).get("result") == []
    mine = await call(gateway, token("tenant:a", "somebody else of the tenant"), "read_notes")
    assert mine["structuredContent"]["result"] == [f"a's, in {MODERN}", "a's, in 2025-11-25"]
    await call(gateway, b, "write_note", text="b's")
    assert (await call(gateway, b, "read_notes"))["structuredContent"]["result"] == ["b's"]
    assert len((await call(gateway, a, "read_notes"))["structuredContent"]["result"]) == 2


async def test_policy_decides_about_a_server_that_is_started_here_as_about_any_other(gateway: Portcullis, token: Any):
    b = token("tenant:b")
    names = await gateway.tools(b)
    assert {"write_note", "read_notes", "about"} <= set(names)
    assert not {"forget_notes", "leave"} & set(names)
    before = len(asked(gateway.folder / "trace", "leave"))
    refused = await call(gateway, b, "leave", status=0)
    assert refused == {"code": -32602, "message": "Unknown tool: leave"}
    assert len(asked(gateway.folder / "trace", "leave")) == before


async def test_a_process_is_told_its_tenant_and_its_secrets_by_its_environment_alone(gateway: Portcullis, token: Any):
    for tenant in ("tenant:a", "tenant:b"):
        found = await about(gateway, token(tenant))
        assert found["environment"]["TENANT"] == tenant
        assert found["environment"]["API_TOKEN"].endswith("/s3cret")
        assert not [word for word in found["argv"] if "s3cret" in word or tenant in word]
        assert not [name for name in found["environment"] if name.startswith(("PYTEST", "PORTCULLIS", "VIRTUAL"))]


@pytest.mark.parametrize("version", [MODERN, "2025-11-25"])
async def test_progress_of_a_process_is_told_on_the_stream_of_the_call_that_it_is_of(
    gateway: Portcullis, token: Any, version: str
):
    async with StreamingAgent(gateway.url, {"Authorization": f"Bearer {token('tenant:a')}"}, version) as agent:
        if version != MODERN:
            # An agent in a session shakes hands with no process that runs already.
            await agent.open()
        async with agent.call("progress", {"steps": 3}, _meta={"progressToken": "mine"}) as answer:
            *told, last = await answer.rest()
    assert [one["params"] for one in told] == [
        {"progressToken": "mine", "progress": step, "message": ""} for step in range(3)
    ]
    assert last["result"]["content"][0]["text"] != "mine"
    shaken = [one for one in sent(gateway.folder / "trace") if one["method"] == "initialize"]
    started = [one for one in gateway.log.splitlines() if " local (" in one and "is started" in one]
    assert len(shaken) <= len(started)


async def test_a_process_that_many_agents_share_asks_none_of_them_anything(gateway: Portcullis, token: Any):
    credential = {"Authorization": f"Bearer {token('tenant:a')}"}
    async with StreamingAgent(gateway.url, credential, "2025-11-25", CAN) as agent:
        await agent.open()
        for method in ("sampling/createMessage", "elicitation/create", "roots/list"):
            answered = await agent.result("ask", {"method": method}, _meta={"progressToken": 1})
            assert json.loads(answered["result"]["content"][0]["text"])["code"] == -32601


async def test_what_a_process_says_on_stderr_is_a_line_of_the_log_that_turns_no_terminal(
    gateway: Portcullis, token: Any
):
    await call(gateway, token("tenant:a"), "complain", text="\x1b[2J\rforged")
    line = await until(lambda: [one for one in gateway.log.splitlines() if "forged" in one])
    assert line[0].endswith(r"local (tenant tenant:a) says: \x1b[2J\rforged")


async def test_a_call_that_was_under_way_when_its_process_ended_fails_clearly_and_is_audited(
    gateway: Portcullis, token: Any
):
    a = token("tenant:a")
    before = (await about(gateway, a))["pid"]
    failed = await call(gateway, a, "leave", status=3)
    assert failed == {"code": 50200, "message": "Server local: ended before it answered"}
    (event,) = await gateway.events(target__id="local/leave", reason="upstream_failed")
    assert event["target"]["detail"] == "ended before it answered"

    async def again():
        found = await call(gateway, a, "about")
        return "content" in found and json.loads(found["content"][0]["text"])["pid"] != before

    await until(again)
    # The other tenant's process is not concerned.
    assert "content" in await call(gateway, token("tenant:b"), "about")


async def test_a_gateway_that_ends_takes_every_process_with_it_however_it_ends(tmp_path: Path, issuer: Issuer):
    sections = {"opa": PATIENT, "mcp_servers": servers(tmp_path / "trace")}
    async with Portcullis(tmp_path, front_door("http://127.0.0.1:1/", issuer.url, **sections)) as gateway:
        a = issuer.mint(tenant_id="tenant:a")

        async def everything() -> list[int]:
            found = await about(gateway, a)
            return [found["pid"], found["parent"], int(await text(gateway, a, "spawn"))]

        running = await everything()
        assert all(map(alive, running))
        await gateway.kill()
        await until(lambda: not any(map(alive, running)))
        await gateway.start()
        running = await everything()
        assert await gateway.stop() == 0
        assert not any(map(alive, running))


async def test_a_server_whose_command_is_missing_is_a_mistake_for_check_and_down_for_a_gateway(tmp_path: Path):
    config = {
        "tool_access": {"mode": "egress"},
        "mcp_servers": {
            "gone": {"mode": "stdio", "command": ["no-such-program"]},
            "lost": {"mode": "stdio", "command": ["cat"], "cwd": "nowhere"},
            "here": {"mode": "stdio", "command": list(command())},
        },
    }
    async with Portcullis(tmp_path, config) as gateway:
        status, out, err = await check(gateway)
        assert status == 1
        assert "mcp_servers.gone.command: there is no program no-such-program in the PATH" in err
        assert f"mcp_servers.lost.cwd: {tmp_path / 'nowhere'} is not a folder" in err
        assert "mcp_servers.here" not in out + err
        assert {name.partition("__")[0] for name in await gateway.tools()} == {"here"}


async def check(gateway: Portcullis) -> tuple[int, str, str]:
    words = (sys.executable, "-m", "gateway", "check", "--config", str(gateway.config_path))
    process = await asyncio.create_subprocess_exec(*words, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_callers_without_a_tenant_share_a_process_only_while_nobody_knows_who_they_are(tmp_path: Path):
    server = {"mode": "stdio", "command": list(command())}
    wants = {**server, "env": {"TENANT": "${tenant}"}}
    auth = {"enabled": True, "allow_anonymous": True}
    config = {"tool_access": {"mode": "egress"}, "auth": auth, "mcp_servers": {"local": server, "told": wants}}
    async with Portcullis(tmp_path, {**config, "opa": PATIENT}) as gateway:
        keys = [await gateway.key(f"user:{name}", role="developer") for name in ("jo", "al")]

        async def remembers(**headers: str) -> str:
            reply = await gateway.rpc("tools/call", {"name": "local__recall", "arguments": {}}, **headers)
            found: str = reply.json["result"]["content"][0]["text"]
            return found

        for who, headers in (("jo", {"X_API_Key": keys[0]}), ("al", {"X_API_Key": keys[1]}), ("nobody", {})):
            arguments = {"name": "local__remember", "arguments": {"what": who}}
            await gateway.rpc("tools/call", arguments, **headers)
        assert [await remembers(X_API_Key=keys[0]), await remembers(X_API_Key=keys[1])] == ["jo", "al"]
        assert await remembers() == "nobody"
        told = await gateway.rpc("tools/call", {"name": "told__recall", "arguments": {}})
        assert told.json["error"]["message"] == "Server told: is told each caller's tenant, and this caller has none"
