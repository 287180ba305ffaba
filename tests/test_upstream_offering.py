"""What a server offers: each list that it declares, and what becomes of those that it does not give."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import UpstreamFailed
from gateway.mcp.sections import SECTIONS
from gateway.upstream.pool import Upstreams
from gateway.upstream.target import Target
from tests.support.backend import FakeBackend, failure, prompt, resource, template, tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
EVERYTHING = {
    "prompts": [prompt("greet"), prompt("sum up")],
    "resources": [resource("file:///index")],
    "resourceTemplates": [template("file:///{name}")],
}


@asynccontextmanager
async def offering(backend: FakeBackend) -> AsyncIterator[Upstreams]:
    """Serve a server, with nothing between it and who lists it."""
    async with backend.serve():
        upstreams = Upstreams({"s": Target("s", backend.url)})
        try:
            yield upstreams
        finally:
            await upstreams.close()


async def names(upstreams: Upstreams) -> dict[str, list[str]]:
    return {method: [one.name for one in some] for method, some in (await upstreams.offered("s")).items()}


def refusing(backend: FakeBackend, *methods: str, code: int = -32603) -> None:
    """Have a server answer some methods by an error."""

    async def misbehave(_: web.Request, message: Any) -> web.StreamResponse | None:
        if message.get("method") not in methods:
            return None
        return failure(message["id"], code, "no", 404 if code == -32601 and backend.era == "modern" else 200)

    backend.misbehave = misbehave


@ERAS
@pytest.mark.parametrize("page_size", [None, 1])
async def test_every_list_that_a_server_declares_is_fetched_page_by_page(era: str, page_size: int | None):
    backend = FakeBackend(era, [tool("find")], EVERYTHING, page_size=page_size)
    async with offering(backend) as upstreams:
        assert await names(upstreams) == {
            "tools/list": ["find"],
            "prompts/list": ["greet", "sum up"],
            "resources/list": ["file:///index"],
            "resources/templates/list": ["file:///{name}"],
        }


@ERAS
async def test_a_list_that_a_server_does_not_declare_is_not_asked_for(era: str):
    backend = FakeBackend(era, [tool("find")])
    async with offering(backend) as upstreams:
        assert await names(upstreams) == {"tools/list": ["find"]}
    assert not [method for method in SECTIONS if method != "tools/list" and backend.of(method)]


@ERAS
async def test_a_server_of_resources_that_knows_no_templates_has_none(era: str):
    backend = FakeBackend(era, [tool("find")], EVERYTHING)
    refusing(backend, "resources/templates/list", code=-32601)
    async with offering(backend) as upstreams:
        found = await names(upstreams)
    assert (found["resources/list"], found["resources/templates/list"]) == (["file:///index"], [])


@ERAS
async def test_of_a_list_that_a_server_does_not_give_what_it_gave_last_stays_and_its_tools_are_new(era: str):
    backend = FakeBackend(era, [tool("find")], EVERYTHING)
    async with offering(backend) as upstreams:
        refusing(backend, "prompts/list")
        assert (await names(upstreams))["prompts/list"] == []
        backend.misbehave = None
        before = await names(upstreams)
        refusing(backend, "prompts/list")
        backend.definitions = [tool("lend")]
        assert await names(upstreams) == before | {"tools/list": ["lend"]}


@ERAS
async def test_a_server_that_does_not_give_its_tools_is_not_listed(era: str):
    backend = FakeBackend(era, [tool("find")], EVERYTHING)
    refusing(backend, "tools/list")
    async with offering(backend) as upstreams:
        with pytest.raises(UpstreamFailed, match="refused to list its tools"):
            await upstreams.offered("s")


async def test_of_more_templates_than_policy_is_asked_about_none_is_offered():
    many = [template(f"file:///{number}/{{x}}") for number in range(SECTIONS["resources/templates/list"].most + 1)]
    backend = FakeBackend("modern", [tool("find")], {**EVERYTHING, "resourceTemplates": many})
    async with offering(backend) as upstreams:
        found = await names(upstreams)
        assert (found["resources/templates/list"], found["resources/list"]) == ([], ["file:///index"])
        many.pop()
        assert len((await names(upstreams))["resources/templates/list"]) == len(many)
