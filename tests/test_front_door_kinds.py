"""Prompts and resources through the front door: listed, got, read and completed under the policy that tools have."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.agents import EVERY_VERSION, ask
from tests.support.backend import FakeBackend, failure, prompt, resource, template, tool
from tests.support.gateway import MODERN, PATIENT, Portcullis, Reply, front_door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.issuer import Issuer

LEGACY = "2025-11-25"
EVERYBODY: dict[str, Any] = {"tenant:a": {}, "tenant:b": {}}
NARROWED = {"access": {"prompt": {"deny_list": ["draft"]}, "resource": {"deny_list": ["file:///secret*"]}}}
LISTS = {
    "prompts/list": ("prompts", "name"),
    "resources/list": ("resources", "uri"),
    "resources/templates/list": ("resourceTemplates", "uriTemplate"),
}
LIBRARY = {
    "prompts": [prompt("greet", arguments=[{"name": "who"}]), prompt("draft")],
    "resources": [resource("file:///index"), resource("file:///secret"), resource("shared://x")],
    "resourceTemplates": [template("file:///books/{name}")],
}
ARCHIVE = {
    "prompts": [prompt("sum up", title="Sum up")],
    "resources": [resource("old:///index"), resource("shared://x")],
}


@dataclass(frozen=True)
class Kinds:
    """A gateway before a modern server, the library, and an older one, the archive."""

    gateway: Portcullis
    library: FakeBackend
    archive: FakeBackend
    issuer: Issuer
    key: str

    def token(self, tenant: str = "tenant:a") -> str:
        """Return a token of a tenant."""
        return self.issuer.mint(tenant_id=tenant)

    async def ask(
        self, method: str, params: Any = None, *, tenant: str = "tenant:a", version: str = MODERN, **extra: str
    ) -> Reply:
        """Ask as an agent of a tenant."""
        return await ask(self.gateway, version, method, params, token=self.token(tenant), **extra)

    async def listed(self, method: str, tenant: str = "tenant:a", version: str = MODERN) -> list[str]:
        """Return what a tenant is listed, by name."""
        reply = await self.ask(method, tenant=tenant, version=version)
        assert reply.status == 200, reply
        member, name = LISTS[method]
        return [one[name] for one in reply.json["result"][member]]


@pytest.fixture(scope="module")
async def kinds(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Kinds]:
    async with AsyncExitStack() as stack:
        library = await stack.enter_async_context(FakeBackend(definitions=[tool("find")], others=LIBRARY).serve())
        old = FakeBackend("legacy", [tool("lend")], ARCHIVE, sessions=True)
        archive = await stack.enter_async_context(old.serve())
        servers = {
            name: {"mode": "remote", "endpoint": backend.url, "tool_access": {"member": members}}
            for name, backend, members in (
                ("library", library, {"tenant:a": {}, "tenant:b": NARROWED}),
                ("archive", archive, EVERYBODY),
            )
        }
        config = front_door("", issuer.url, mcp_servers=servers, opa=PATIENT)
        gateway = await stack.enter_async_context(Portcullis(tmp_path_factory.mktemp("kinds"), config))
        yield Kinds(gateway, library, archive, issuer, await gateway.key())


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_each_kind_is_listed_as_far_as_policy_shows_it(kinds: Kinds, version: str):
    assert await kinds.listed("prompts/list", "tenant:a", version) == ["sum up", "draft", "greet"]
    assert await kinds.listed("prompts/list", "tenant:b", version) == ["sum up", "greet"]
    everything = ["old:///index", "file:///index", "file:///secret"]
    assert await kinds.listed("resources/list", "tenant:a", version) == everything
    assert await kinds.listed("resources/list", "tenant:b", version) == everything[:2]
    assert await kinds.listed("resources/templates/list", "tenant:a", version) == ["file:///books/{name}"]


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_a_list_has_what_its_revision_knows_and_the_definitions_as_they_were_sent(kinds: Kinds, version: str):
    result = (await kinds.ask("prompts/list", version=version)).json["result"]
    assert result["prompts"][0] == ARCHIVE["prompts"][0]
    assert ({"resultType", "ttlMs", "cacheScope", "_meta"} <= result.keys()) is (version == MODERN)


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize(("name", "server"), [("greet", "library"), ("sum up", "archive")])
async def test_a_prompt_is_got_from_the_server_that_has_it(kinds: Kinds, version: str, name: str, server: str):
    backend: FakeBackend = getattr(kinds, server)
    before = len(backend.of("prompts/get"))
    reply = await kinds.ask("prompts/get", {"name": name, "arguments": {"who": "jo"}}, version=version, Mcp_Name=name)
    assert reply.status == 200, reply.body
    assert reply.json["result"]["messages"][0]["content"]["text"] == f'{name} {{"who": "jo"}}'
    assert len(backend.of("prompts/get")) == before + 1


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize("uri", ["file:///index", "old:///index", "file:///books/emma"])
async def test_a_resource_is_read_under_its_own_uri(kinds: Kinds, version: str, uri: str):
    reply = await kinds.ask("resources/read", {"uri": uri}, version=version, Mcp_Name=uri)
    assert reply.status == 200, reply.body
    result = reply.json["result"]
    assert result["contents"] == [{"uri": uri, "text": f"content of {uri}"}]
    cached = {"ttlMs": 0, "cacheScope": "private"} if version == MODERN else {}
    assert {name: result[name] for name in ("ttlMs", "cacheScope") if name in result} == cached


@pytest.mark.parametrize("ttl", [0, 60_000])
async def test_what_was_read_is_kept_for_as_long_as_its_server_says_and_by_its_reader_alone(kinds: Kinds, ttl: int):
    kinds.library.answer = lambda _: {"resultType": "complete", "contents": [], "ttlMs": ttl, "cacheScope": "public"}
    try:
        reply = await kinds.ask("resources/read", {"uri": "file:///index"}, Mcp_Name="file:///index")
    finally:
        kinds.library.answer = None
    assert {name: reply.json["result"][name] for name in ("ttlMs", "cacheScope")} == {
        "ttlMs": ttl,
        "cacheScope": "private",
    }


UNSEEN = [
    ("prompts/get", "name", "draft", "tenant:b", "Unknown prompt: draft"),
    ("prompts/get", "name", "nothing", "tenant:b", "Unknown prompt: nothing"),
    ("resources/read", "uri", "file:///secret", "tenant:b", "Resource not found: file:///secret"),
    ("resources/read", "uri", "file:///nothing", "tenant:b", "Resource not found: file:///nothing"),
    ("resources/read", "uri", "shared://x", "tenant:a", "Resource not found: shared://x"),
    ("resources/read", "uri", "file:///books/{name}", "tenant:a", "Resource not found: file:///books/{name}"),
]


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize(("method", "member", "name", "tenant", "text"), UNSEEN)
async def test_what_is_not_shown_answers_like_what_does_not_exist(
    kinds: Kinds, version: str, method: str, member: str, name: str, tenant: str, text: str
):
    before = len(kinds.library.passed_on) + len(kinds.archive.passed_on)
    reply = await kinds.ask(method, {member: name}, tenant=tenant, version=version, Mcp_Name=name)
    missing = -32002 if version != MODERN and method == "resources/read" else -32602
    assert reply.status == (400 if version == MODERN else 200)
    data = {"data": {"uri": name}} if method == "resources/read" else {}
    assert reply.json["error"] == {"code": missing, "message": text, **data}
    assert len(kinds.library.passed_on) + len(kinds.archive.passed_on) == before


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize(("server", "uri"), [("library", "file:///books/lost"), ("archive", "old:///index")])
async def test_a_resource_that_its_server_does_not_find_is_not_found_in_the_way_of_the_agents_revision(
    kinds: Kinds, version: str, server: str, uri: str
):
    async def lost(_: Any, message: Any) -> Any:
        return failure(message["id"], -32002, "lost") if message.get("method") == "resources/read" else None

    backend: FakeBackend = getattr(kinds, server)
    backend.misbehave = lost
    try:
        reply = await kinds.ask("resources/read", {"uri": uri}, version=version, Mcp_Name=uri)
    finally:
        backend.misbehave = None
    assert reply.json["error"]["code"] == (-32602 if version == MODERN else -32002)


async def test_a_uri_that_is_longer_than_policy_is_asked_about_matches_no_template(kinds: Kinds):
    for length, found in ((2048, True), (2049, False), (200_000, False)):
        uri = "file:///books/".ljust(length, "a")
        reply = await kinds.ask("resources/read", {"uri": uri}, version=LEGACY)
        assert ("result" in reply.json) is found


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize(
    ("ref", "value"),
    [
        ({"type": "ref/prompt", "name": "greet"}, "jo"),
        ({"type": "ref/resource", "uri": "file:///books/{name}"}, "em"),
    ],
)
async def test_an_argument_is_completed_by_the_server_of_what_it_is_of(
    kinds: Kinds, version: str, ref: dict[str, str], value: str
):
    params = {"ref": ref, "argument": {"name": "x", "value": value}}
    reply = await kinds.ask("completion/complete", params, version=version)
    assert reply.status == 200, reply.body
    found, completed = reply.json["result"]["completion"]["values"]
    assert (json.loads(found), completed) == (ref, value)


async def test_an_argument_of_what_is_not_shown_is_not_completed(kinds: Kinds):
    for name in ("draft", "nothing"):
        params = {"ref": {"type": "ref/prompt", "name": name}, "argument": {"name": "x", "value": ""}}
        reply = await kinds.ask("completion/complete", params, tenant="tenant:b")
        assert reply.json["error"] == {"code": -32602, "message": f"Unknown reference: {name}"}


@pytest.mark.parametrize(
    ("kind", "method", "name", "server"),
    [
        ("prompt", "prompts/list", "greet", "library"),
        ("resource", "resources/list", "old:///index", "archive"),
        ("resource", "resources/templates/list", "file:///books/{name}", "library"),
    ],
)
async def test_what_is_withdrawn_is_neither_listed_nor_to_be_had_until_it_is_restored(
    kinds: Kinds, kind: str, method: str, name: str, server: str
):
    had = {"prompt": ("prompts/get", {"name": name}), "resource": ("resources/read", {"uri": name})}[kind]
    asked = had[0], {member: text.replace("{name}", "emma") for member, text in had[1].items()}
    path = f"{server}/{name.replace('%', '%25').replace('/', '%2F').replace('{', '%7B').replace('}', '%7D')}"

    async def shown() -> tuple[bool, bool]:
        reply = await kinds.ask(*asked, tenant="tenant:b", Mcp_Name=next(iter(asked[1].values())))
        return name in await kinds.listed(method, "tenant:b"), "result" in reply.json

    assert await shown() == (True, True)
    done = await kinds.gateway.admin(f"{path}/withdraw", {"kind": kind, "tenant_id": "tenant:b"}, key=kinds.key)
    assert (done.status, done.headers.get("Portcullis-Matched")) == (200, None), done.body
    assert await shown() == (False, False)
    assert name in await kinds.listed(method, "tenant:a")
    await kinds.gateway.admin(f"{path}/restore", {"kind": kind, "tenant_id": "tenant:b"}, key=kinds.key)
    assert await shown() == (True, True)


@pytest.mark.parametrize("kind", ["prompt", "resource"])
async def test_withdrawing_what_no_server_has_says_that_nothing_matched(kinds: Kinds, kind: str):
    done = await kinds.gateway.admin("library/nothing/withdraw", {"kind": kind, "tenant_id": None}, key=kinds.key)
    assert done.headers["Portcullis-Matched"] == "0"
    await kinds.gateway.admin("library/nothing/restore", {"kind": kind, "tenant_id": None}, key=kinds.key)


async def test_every_kind_leaves_an_event_of_what_was_asked_and_of_what_it_was(kinds: Kinds):
    await kinds.ask("resources/read", {"uri": "file:///books/persuasion"}, Mcp_Name="file:///books/persuasion")
    event = (await kinds.gateway.events(type="ResourceRead"))[-1]
    assert event["target"]["name"] == "file:///books/persuasion"
    assert event["target"]["id"] == "library#resources/file:///books/{name}"
    assert event["target"]["templates"] == ["file:///books/{name}"]
    await kinds.ask("prompts/get", {"name": "draft"}, tenant="tenant:b", Mcp_Name="draft")
    event = (await kinds.gateway.events(type="AuthorizationDenied"))[-1]
    assert (event["reason"], event["target"]["id"]) == ("not_in_member_scope", "library#prompts/draft")


async def test_a_caller_who_may_list_and_not_use_is_told_so_in_a_protocol_error(kinds: Kinds):
    viewer = await kinds.gateway.key("service:viewer", "--tenant", "tenant:a", role="viewer")
    for method, member, name in (("prompts/get", "name", "greet"), ("resources/read", "uri", "file:///index")):
        reply = await ask(kinds.gateway, MODERN, method, {member: name}, token=None, Mcp_Name=name, X_API_Key=viewer)
        assert reply.json["error"] == {"code": 40300, "message": "Access denied: missing_permission"}
