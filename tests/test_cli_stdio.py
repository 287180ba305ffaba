"""`portcullis stdio`: one agent over stdin and stdout, in both eras, through the same corridor as everybody."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from mcp import Client, MCPError, StdioServerParameters

from gateway.cli.private import state_for
from gateway.config import Source
from tests.support.backend import FakeBackend, prompt, resource, template
from tests.support.gateway import MODERN, PATIENT, Portcullis, children, payments
from tests.support.local import asked, sent
from tests.support.local import command as local_command
from tests.support.processes import alive, free_port
from tests.support.stdio_agent import StdioAgent, command, stdio_agent
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RULE = """package custom.local

import future.keywords.not

deny contains {"code": "not_over_stdio"} if input.principal.kind == "local"
"""
SPOKEN = {"legacy": "2025-11-25", "auto": MODERN, MODERN: MODERN}


def configuration(*arguments: object, **sections: Any) -> dict[str, Any]:
    """Return a front door for two tenants, of which one may not do everything, with a server that is started here."""
    member = {"dev": {}, "team-a": {"deny_list": ["leave"]}}
    server = {"mode": "stdio", "command": list(local_command(*arguments)), "tool_access": {"member": member}}
    return {
        "tool_access": {"mode": "front_door"},
        "auth": {"enabled": True},
        "opa": PATIENT,
        "logging": {"format": "text"},
        "mcp_servers": {"local": server},
        **sections,
    }


@pytest.fixture(scope="module")
async def agent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StdioAgent]:
    """One that runs for all tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("stdio")
    server = {"max_body_bytes": 100_000, "port": free_port()}
    config = configuration("--trace", folder / "trace", server=server)
    async with stdio_agent(folder, config, "--tenant", "team-a") as running:
        await running.ask("initialize", {"protocolVersion": "2025-06-18", "clientInfo": {"name": "tests"}})
        running.send("notifications/initialized")
        yield running


@pytest.mark.parametrize("mode", SPOKEN)
async def test_the_official_client_lists_and_calls_over_stdio_in_both_eras(mode: str, tmp_path: Path):
    (tmp_path / "config.yaml").write_text(json.dumps(configuration()))
    python, *arguments = command(tmp_path)
    async with Client(StdioServerParameters(command=python, args=arguments), mode=mode) as client:
        assert client.protocol_version == SPOKEN[mode]
        assert "leave" in {tool.name for tool in (await client.list_tools()).tools}
        outcomes = await asyncio.gather(*(client.call_tool("remember", {"what": str(n)}) for n in range(20)))
        assert not any(outcome.is_error for outcome in outcomes)
        (content,) = (await client.call_tool("recall", {})).content
        assert sorted(content.text.split(","), key=int) == [str(n) for n in range(20)]
        with pytest.raises(MCPError, match="Unknown tool: nothing"):
            await client.call_tool("nothing", {})


async def test_both_eras_may_speak_on_one_pipe_and_policy_holds_in_both(agent: StdioAgent):
    for modern in (False, True):
        listed = await agent.ask("tools/list", modern=modern)
        assert ("resultType" in listed["result"]) is modern
        assert "leave" not in {tool["name"] for tool in listed["result"]["tools"]}
        refused = await agent.call("leave", modern=modern, status=0)
        assert refused["error"] == {"code": -32602, "message": "Unknown tool: leave"}
        answered = await agent.call("echo", modern=modern, number=2**70)
        assert answered["result"]["arguments"] == {"number": 2**70}
    assert (await agent.ask("server/discover", modern=True))["result"]["supportedVersions"][0] == MODERN
    assert (await agent.ask("ping"))["result"] == {}


async def test_progress_of_a_call_is_told_before_its_answer_under_the_agents_own_token(agent: StdioAgent):
    for modern in (False, True):
        params = {"name": "progress", "arguments": {"steps": 2}, "_meta": {"progressToken": "mine"}}
        agent.send("tools/call", params, "p", modern=modern)
        told = [await agent.receive() for _ in range(3)]
        assert [one.get("method") for one in told] == ["notifications/progress"] * 2 + [None]
        assert [one["params"]["progressToken"] for one in told[:2]] == ["mine"] * 2
        assert [one["params"]["progress"] for one in told[:2]] == [0, 1]
        # The server was given another one.
        assert told[2]["result"]["content"][0]["text"].isdigit()


async def test_nothing_is_promised_over_stdio_that_is_told_on_streams_alone(agent: StdioAgent):
    answers = [
        await agent.ask("initialize", {"protocolVersion": "2025-06-18"}),
        await agent.ask("server/discover", modern=True),
    ]
    served: dict[str, Any] = {"tools": {}, "prompts": {}, "resources": {}, "completions": {}}
    assert [one["result"]["capabilities"] for one in answers] == [served] * 2
    refused = [
        await agent.ask("logging/setLevel", {"level": "info"}),
        await agent.ask("subscriptions/listen", modern=True),
        await agent.ask("resources/subscribe", {"uri": "file:///index"}),
    ]
    assert [one["error"]["code"] for one in refused] == [-32601] * 3


async def test_prompts_and_resources_are_served_over_stdio_in_both_eras(tmp_path: Path):
    others = {
        "prompts": [prompt("greet")],
        "resources": [resource("file:///index")],
        "resourceTemplates": [template("file:///{name}")],
    }
    async with FakeBackend(others=others).serve() as backend:
        server = {"mode": "remote", "endpoint": backend.url, "tool_access": {"member": {"dev": {}}}}
        config = configuration(mcp_servers={"library": server})
        async with stdio_agent(tmp_path, config) as agent:
            for modern in (False, True):
                listed = await agent.ask("prompts/list", modern=modern)
                assert [one["name"] for one in listed["result"]["prompts"]] == ["greet"]
                got = await agent.ask("prompts/get", {"name": "greet"}, modern=modern)
                assert got["result"]["messages"][0]["content"]["text"].startswith("greet")
                for uri in ("file:///index", "file:///other"):
                    read = await agent.ask("resources/read", {"uri": uri}, modern=modern)
                    assert read["result"]["contents"][0]["uri"] == uri
                unknown = await agent.ask("resources/read", {"uri": "file:///a/b"}, modern=modern)
                assert unknown["error"]["code"] == (-32602 if modern else -32002)


async def test_answers_come_in_the_order_in_which_they_are_ready(agent: StdioAgent):
    agent.send("tools/call", {"name": "hold", "arguments": {"key": "k"}}, "first")
    agent.send("tools/call", {"name": "release", "arguments": {"key": "k"}}, 2)
    agent.send("ping", None, "third")
    order = [(await agent.receive())["id"] for _ in range(3)]
    assert order == ["third", "first", 2]


async def test_a_call_that_is_cancelled_gets_no_answer_and_is_taken_back_at_the_server(agent: StdioAgent):
    trace = agent.folder / "trace"
    for number, modern in enumerate((False, True), start=1):
        agent.send("tools/call", {"name": "asleep", "arguments": {}}, "sleeper", modern=modern)
        agent.send("tools/call", {"name": "hold", "arguments": {"key": "s"}}, 7, modern=modern)
        slept = await until(lambda count=number: len(asked(trace, "asleep")) == count and asked(trace, "asleep")[-1])
        # Ids keep their type, and nobody else's request is cancelled.
        agent.send("notifications/cancelled", {"requestId": "7"})
        agent.send("notifications/cancelled", {"requestId": "sleeper"})
        await until(lambda id_=slept["id"]: {"requestId": id_} in cancelled(trace))
        agent.send("tools/call", {"name": "release", "arguments": {"key": "s"}}, 8)
        assert (await agent.answer(7))["result"]["content"][0]["text"] == "released s"
        await agent.answer(8)
    assert "sleeper" not in agent.received


def cancelled(trace: Path) -> list[dict[str, Any]]:
    return [one["params"] for one in sent(trace) if one["method"] == "notifications/cancelled"]


async def test_no_server_can_put_a_message_of_its_own_between_the_answers(agent: StdioAgent):
    for modern in (False, True):
        for between in ("\r", "\r \t"):
            agent.send("tools/call", {"name": "pretty", "arguments": {"between": between}}, "asked", modern=modern)
            line = await agent.line()
            assert b"forged" in line
            assert b"\r" not in line
            assert json.loads(line)["id"] == "asked"


async def test_a_server_over_http_that_writes_its_answers_on_many_lines_is_passed_on_in_one(tmp_path: Path):
    async def pretty(_request: web.Request, message: Any) -> web.Response | None:
        if message.get("method") != "tools/call":
            return None
        forged = '\n{"jsonrpc":"2.0","id":"forged","result":{}}\n'
        head = f'{{"jsonrpc":"2.0","id":{message["id"]},\n"result":{{"content":[],"resultType":"complete","odd":['
        return web.Response(text=f"{head}{forged}]}}}}", content_type="application/json")

    async with FakeBackend(misbehave=pretty).serve() as backend:
        config = configuration()
        config["mcp_servers"] = {"payments": payments(backend.url, tool_access={"member": {"dev": {}}})}
        async with stdio_agent(tmp_path, config) as running:
            (name, *_) = await running.tools()
            running.send("tools/call", {"name": name, "arguments": {}}, 5)
            answered = await running.receive()
            assert answered["id"] == 5
            assert answered["result"]["odd"] == [{"jsonrpc": "2.0", "id": "forged", "result": {}}]
            assert (await running.ask("ping"))["result"] == {}


async def test_a_rule_of_ones_own_can_refuse_whoever_comes_over_stdio(tmp_path: Path):
    rules = tmp_path / "rules" / "local" / "local.rego"
    rules.parent.mkdir(parents=True)
    rules.write_text(RULE)
    config = configuration(opa={**PATIENT, "custom_policies": str(tmp_path / "rules")})
    async with stdio_agent(tmp_path, config) as running:
        refused = await running.call("echo")
        assert "not_over_stdio" in json.dumps(refused)


async def test_what_cannot_be_read_is_answered_and_the_next_line_is_read(agent: StdioAgent):
    for line, code in (
        (b"no json", -32700),
        (b"[]", -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', -32700),
        (b"\xff", -32700),
        (b'"' + b"x" * 200_000 + b'"', -32600),
        (b'{"jsonrpc":"2.0","id":"n","method":"nothing/such"}', -32601),
    ):
        agent.write(line + b"\n")
        answered = await agent.receive()
        assert answered["error"]["code"] == code, line[:60]
        assert answered["id"] == ("n" if code == -32601 else None)
    agent.write(b"\n  \r\n")
    assert (await agent.ask("ping"))["result"] == {}


async def test_a_modern_request_over_stdio_passes_the_same_rungs_as_over_http_but_for_headers(agent: StdioAgent):
    version, capabilities = "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"
    for meta, code in (
        ({version: "2027-01-01", capabilities: {}}, -32022),
        ({version: MODERN}, -32602),
        ({version: MODERN, capabilities: []}, -32602),
        ({version: [], capabilities: {}}, -32022),
    ):
        assert (await agent.ask("tools/list", {"_meta": meta}))["error"]["code"] == code
    assert (await agent.ask("initialize", modern=True))["error"]["code"] == -32601
    assert (await agent.ask("ping", modern=True))["error"]["code"] == -32601
    bad = await agent.ask("tools/call", {"name": 5}, modern=True)
    assert bad["error"] == {"code": -32602, "message": "params.name must be a string"}


async def test_an_id_that_is_under_way_is_not_taken_twice_and_notifications_are_never_answered(agent: StdioAgent):
    agent.send("tools/call", {"name": "hold", "arguments": {"key": "twice"}}, 5)
    agent.send("ping", None, 5)
    refused = await agent.receive()
    assert (refused["id"], refused["error"]["code"]) == (5, -32600)
    for method in ("notifications/roots/list_changed", "notifications/nothing", "nothing"):
        agent.send(method)
    agent.write(b'{"jsonrpc":"2.0","id":99,"result":{}}\n')
    agent.send("tools/call", {"name": "release", "arguments": {"key": "twice"}}, 6)
    assert {(await agent.receive())["id"], (await agent.receive())["id"]} == {5, 6}


async def test_only_so_many_requests_are_under_way_and_the_next_is_told(agent: StdioAgent):
    for number in range(256):
        agent.send("tools/call", {"name": "hold", "arguments": {"key": f"many{number}"}}, number)
    agent.send("ping", None, "one more")
    assert (await agent.answer("one more"))["error"]["code"] == 42900
    for number in range(256):
        agent.send("notifications/cancelled", {"requestId": number})

    async def room():
        return "result" in await agent.ask("ping", id_="room")

    await until(room)


async def test_nobody_listens_for_http(agent: StdioAgent):
    port = int((agent.folder / "config.yaml").read_text().split("port: ")[1].split()[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1).close()


async def test_every_request_is_in_the_trail_as_the_tenants_own_local_agent(agent: StdioAgent):
    await agent.call("echo", id_="recorded")

    async def events():
        status, out, err = await cli(agent.folder, "audit", "tail", "--json", "-n", "500")
        assert status == 0, err
        return [one for one in map(json.loads, out.splitlines()) if one["type"] == "ToolCalled"]

    event = (await until(events))[-1]
    assert event["tenant"] == "team-a"
    assert event["actor"]["principal"] == "service:stdio"
    assert event["actor"]["kind"] == "local"


async def test_a_tool_that_is_withdrawn_beside_it_is_gone_at_once(agent: StdioAgent):
    assert "flood" in await agent.tools()
    status, _, err = await cli(agent.folder, "tool", "withdraw", "local", "flood")
    assert status == 0, err

    async def withdrawn():
        return "flood" not in await agent.tools()

    await until(withdrawn)
    assert "Unknown tool" in (await agent.call("flood"))["error"]["message"]
    status, _, err = await cli(agent.folder, "tool", "restore", "local", "flood")
    assert status == 0, err


async def cli(folder: Path, *arguments: str) -> tuple[int, str, str]:
    return await Portcullis(folder, {}).cli(*arguments)


@pytest.mark.parametrize(
    ("options", "environment", "tenant"),
    [
        (("--tenant", "team-a"), {"STDIO_TENANT_ID": "team-b"}, "team-a"),
        ((), {"STDIO_TENANT_ID": "team-a"}, "team-a"),
        ((), {"STDIO_TENANT_ID": ""}, "dev"),
    ],
)
async def test_the_tenant_is_named_by_option_else_by_variable_else_dev_and_said_loudly(
    tmp_path: Path, options: tuple[str, ...], environment: dict[str, str], tenant: str
):
    async with stdio_agent(tmp_path, configuration(), *options, environment=environment) as running:
        assert await running.hang_up() == 0
        assert f"NOT FOR PRODUCTION: whoever can start this process is the tenant {tenant}" in running.log


async def test_a_tenant_that_nobody_knows_sees_nothing_whatever_its_agent_says_of_tenants(tmp_path: Path):
    async with stdio_agent(tmp_path, configuration(), "--tenant", "team-z") as running:
        meta = {"tenant": "dev", "X-Tenant-ID": "dev", "authorization": "Bearer mcp_x"}
        params = {"protocolVersion": "2025-11-25", "clientInfo": {"name": "dev"}, "tenant": "dev", "_meta": meta}
        await running.ask("initialize", params)
        for extra in ({}, {"_meta": meta}, {"tenant": "dev"}):
            assert (await running.ask("tools/list", extra))["result"]["tools"] == []
        assert "Unknown tool" in (await running.call("echo"))["error"]["message"]
        assert "knows the tenant team-z, so it will see nothing" in running.log


async def test_a_tenant_id_that_is_none_starts_nothing(tmp_path: Path):
    async with stdio_agent(tmp_path, configuration(), "--tenant", "../x") as running:
        assert await running.hang_up() == 2


async def test_the_end_of_stdin_lets_what_is_under_way_finish_and_ends_with_zero(tmp_path: Path):
    async with stdio_agent(tmp_path, configuration()) as running:
        await running.call("complain", text="to stderr")
        await running.call("write", line="no message")
        running.send("tools/call", {"name": "hold", "arguments": {"key": "k"}}, 1)
        running.send("tools/call", {"name": "release", "arguments": {"key": "k"}}, 2)
        # The last line needs no end.
        running.write(b'{"jsonrpc":"2.0","id":3,"method":"ping"}')
        assert running.process.stdin is not None
        running.process.stdin.close()
        assert {(await running.receive())["id"] for _ in range(3)} == {1, 2, 3}
        # Whatever else prints, prints to stderr.
        assert await running.receive() is None
        assert "local (tenant dev) says: to stderr" in running.log
        assert await running.process.wait() == 0
    assert not list((tmp_path / "state" / "stdio").glob("stdio-*"))


async def test_a_signal_ends_it_cleanly_with_all_that_it_has_started(tmp_path: Path):
    async with stdio_agent(tmp_path, configuration()) as running:
        about = json.loads((await running.call("about"))["result"]["content"][0]["text"])
        below = children(running.process.pid)
        assert len(below) == 3
        running.process.send_signal(signal.SIGTERM)
        assert await running.process.wait() == 0
        assert not any(map(alive, (*below, about["pid"])))
        assert "Traceback" not in running.log


async def test_a_kill_leaves_no_process_behind_and_the_next_start_clears_what_is_left(tmp_path: Path):
    async with stdio_agent(tmp_path, configuration()) as running:
        child = int((await running.call("spawn"))["result"]["content"][0]["text"])
        about = json.loads((await running.call("about"))["result"]["content"][0]["text"])
        everything = [child, about["pid"], *children(running.process.pid)]
        running.process.kill()
        await running.process.wait()
        await until(lambda: not any(map(alive, everything)))
    home = tmp_path / "state" / "stdio"
    (left,) = home.glob("stdio-*")
    async with stdio_agent(tmp_path, None) as running:
        assert await running.tools()
        (mine,) = home.glob("stdio-*")
        assert mine != left


async def test_several_run_beside_a_gateway_on_its_ledger_and_nobody_waits_for_them(tmp_path: Path):
    config = configuration()
    async with Portcullis(tmp_path, config) as gateway:
        async with stdio_agent(tmp_path, None) as one, stdio_agent(tmp_path, None, "--tenant", "team-a") as other:
            assert "flood" in await one.tools()
            assert "flood" in await other.tools()
            key = await gateway.key()
            path = "/api/admin/tools/local/flood/withdraw"
            reply = await gateway.http("POST", path, {"tenant_id": None}, X_API_Key=key)
            assert (reply.status, reply.headers["Portcullis-Applied"]) == (200, "1/1")

            async def gone():
                return not {"flood"} & {*await one.tools(), *await other.tools()}

            await until(gone)
            processes = {
                json.loads((await agent.call("about"))["result"]["content"][0]["text"])["pid"] for agent in (one, other)
            }
            assert len(processes) == 2
        assert (await gateway.rpc("ping", X_API_Key=key)).status == 200


async def test_a_configuration_whose_opa_others_start_is_refused_and_so_is_a_broken_one(tmp_path: Path):
    external = configuration(auth={"enabled": True, "opa": {"url": "http://127.0.0.1:8181"}})
    for config, why in ((external, "auth.opa.url"), ({"tool_acces": {}}, "tool_acces: unknown key")):
        async with stdio_agent(tmp_path, config) as running:
            assert await running.receive() is None
            assert await running.process.wait() == 1
            assert why in running.log


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_an_address_of_the_ledger_that_is_configured_is_in_no_list_of_processes(tmp_path: Path):
    config = configuration(storage={"url": f"sqlite:///{tmp_path / 'elsewhere.db'}"})
    async with stdio_agent(tmp_path, config) as running:
        assert "echo" in await running.tools()
        lines = list(map(command_line, children(running.process.pid)))
        assert any(b"--resident" in line for line in lines)
        assert not any(b"elsewhere.db" in line for line in lines)
    assert (tmp_path / "elsewhere.db").exists()
    assert not (tmp_path / "state" / "portcullis.db").exists()


async def test_without_a_state_directory_each_configuration_has_its_own(tmp_path: Path):
    first, second = Source(tmp_path / "a.yaml"), Source(tmp_path / "b.yaml")
    assert state_for(first) == state_for(Source(tmp_path / "a.yaml"))
    assert len({state_for(first), state_for(second), state_for(Source(first.config, tmp_path / "t.yaml"))}) == 3


async def test_an_edited_configuration_is_in_force_without_a_restart(tmp_path: Path):
    config = configuration()
    async with stdio_agent(tmp_path, config, "--tenant", "team-a") as running:
        assert "leave" not in await running.tools()
        config["mcp_servers"]["local"]["tool_access"]["member"]["team-a"] = {"deny_list": ["echo"]}
        Portcullis(tmp_path, {}).write_config(config)

        async def in_force():
            names = await running.tools()
            return "leave" in names and "echo" not in names

        await until(in_force)
        running.process.send_signal(signal.SIGINT)
        assert await running.process.wait() == 0
