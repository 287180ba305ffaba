"""Clients that others wrote, in front of the gateway: the TypeScript SDKs in both eras, and the Inspector's command
line. They come from npm, so they run in `make clients` and `make conformance`."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance import npm
from tests.conformance.names import exposed
from tests.conformance.stage import gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.npm

MODERN = "2026-07-28"
# Script, mode, and the version that is then spoken; 1.x has but one mode.
CLIENTS = [
    ("v1.mjs", "legacy", "2025-11-25"),
    ("v2.mjs", "legacy", "2025-11-25"),
    ("v2.mjs", "auto", MODERN),
    ("v2.mjs", MODERN, MODERN),
]
clients = pytest.mark.parametrize(("script", "mode", "version"), CLIENTS)
eras = pytest.mark.parametrize("era", ["legacy", "auto", "modern"])
CALLS = [
    {"name": "greet", "arguments": {"name": "na\u00efve"}},
    {"name": "test_error_handling", "arguments": {}},
    {"name": "test_x_mcp_header", "arguments": {"region": "eu-west"}},
    {"name": "no_such_tool", "arguments": {}},
]


@dataclass(frozen=True)
class Door:
    """The front door of the fixture, the key that opens it, and where a client may keep what it keeps."""

    url: str
    key: str
    storage: str

    async def visit(self, script: str, mode: str, **plan: Any) -> dict[str, Any]:
        """Have a TypeScript client do what `visit.mjs` says, and return what it saw."""
        told = {"url": self.url, "headers": {"X-API-Key": self.key}, "mode": mode, **plan}
        status, out, err = await _run(str(npm.FOLDER / script), json.dumps(told))
        assert status == 0, err
        seen: dict[str, Any] = json.loads(out)
        return seen

    async def inspect(self, era: str, *arguments: str) -> tuple[int, Any]:
        """Run the Inspector's command line and return its status and what it printed, decoded."""
        where = ("--cli", self.url, "--transport", "http", "--header", f"X-API-Key: {self.key}", "--protocol-era", era)
        options = ("--format", "json", "--quiet", *arguments)
        status, out, err = await _run(str(npm.INSPECTOR), *where, *options, MCP_STORAGE_DIR=self.storage)
        return status, json.loads(out or err)


async def _run(*command: str, **environment: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        npm.node(),
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture(scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    folder: Path = tmp_path_factory.mktemp("clients")
    async with gateway(folder) as (portcullis, key):
        yield Door(f"{portcullis.url}/mcp", key, str(folder / "storage"))


@clients
async def test_a_typescript_client_lists_every_tool_and_calls_it_in_its_revision(
    door: Door, script: str, mode: str, version: str
) -> None:
    seen = await door.visit(script, mode, calls=CALLS)
    assert seen["version"] == version
    assert {tool["name"] for tool in seen["tools"]} == exposed("tools")
    greeted, failed, regional, unknown = seen["calls"]
    assert greeted["result"]["content"] == [{"type": "text", "text": "Hello, na\u00efve!"}]
    assert failed["result"]["isError"] is True
    assert regional["result"]["content"][0]["text"] == "region=eu-west"
    assert unknown["error"]["code"] == -32602
    assert unknown["error"]["message"].endswith("Unknown tool: no_such_tool")


@clients
async def test_a_typescript_client_gets_and_reads_all_that_the_gateway_declares(
    door: Door, script: str, mode: str, version: str
) -> None:
    arguments = {"arg1": "one", "arg2": "two"}
    seen = await door.visit(
        script,
        mode,
        gets=[{"name": "test_prompt_with_arguments", "arguments": arguments}],
        reads=[{"uri": "test://static-text"}, {"uri": "test://template/7/data"}],
    )
    if "prompts" in seen["capabilities"]:
        assert {prompt["name"] for prompt in seen["prompts"]} == exposed("prompts")
        assert "arg1='one'" in seen["gets"][0]["result"]["messages"][0]["content"]["text"]
    if "resources" in seen["capabilities"]:
        assert {resource["uri"] for resource in seen["resources"]} == exposed("resources")
        assert {template["uriTemplate"] for template in seen["templates"]} == exposed("templates")
        assert ["text" in read["result"]["contents"][0] for read in seen["reads"]] == [True, True]


@eras
async def test_the_inspector_lists_every_tool(door: Door, era: str) -> None:
    status, printed = await door.inspect(era, "--method", "tools/list")
    assert status == 0, printed
    assert {tool["name"] for tool in printed["result"]["tools"]} == exposed("tools")


@eras
async def test_the_inspector_calls_a_tool(door: Door, era: str) -> None:
    status, printed = await door.inspect(
        era, "--method", "tools/call", "--tool-name", "greet", "--tool-arg", "name=Inspector"
    )
    assert status == 0, printed
    assert printed["result"]["content"] == [{"type": "text", "text": "Hello, Inspector!"}]
