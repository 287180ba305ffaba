"""What a caller can send to blind the audit trail, to overfill it, or to read from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway import audit
from gateway.audit import AuditTrail
from gateway.audit_file import AuditFile
from gateway.config import Config
from gateway.endpoints.gate import INFO, Door, Gate
from gateway.errors import GatewayError, Unavailable
from gateway.model import RequestInfo
from tests.support.gateway import Portcullis, front_door
from tests.support.issuer import trusting
from tests.support.raw import exchange, request, status
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from gateway.model import AuditEvent
    from tests.support.backend import FakeBackend
    from tests.support.issuer import Issuer

LIST = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}).encode()
HUGE = 2**70


@pytest.fixture(scope="module")
async def audited(
    tmp_path_factory: pytest.TempPathFactory, backend: FakeBackend, issuer: Issuer
) -> AsyncIterator[Portcullis]:
    """A gateway that writes arguments into an audit file."""
    folder = tmp_path_factory.mktemp("audited")
    sections = {"audit": {"file": str(folder / "audit.jsonl"), "include_arguments": True}}
    async with Portcullis(folder, front_door(f"http://127.0.0.1:{backend.port}/mcp", issuer.url, **sections)) as one:
        yield one


def in_file(gateway: Portcullis) -> list[dict[str, Any]]:
    file = gateway.folder / "audit.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.parametrize("header", ["X-Tenant-ID: \xff\xfe", "X-Tenant-ID: tenant:\xed\xa0\x80"])
async def test_a35_a_header_that_is_no_text_does_not_stop_the_trail(
    audited: Portcullis, issuer: Issuer, header: str
) -> None:
    token = issuer.mint(tenant_id="tenant:a")
    lines = [f"Authorization: Bearer {token}", "Content-Type: application/json", header]
    assert status(await exchange(audited.url, request("POST /mcp HTTP/1.1", *lines, body=LIST))) == 403
    before = len(in_file(audited))
    assert await audited.tools(token) == ["charge"]
    await until(lambda: len(in_file(audited)) > before, what="events are still written to the file")
    assert all(event["target"]["tenant"].isprintable() for event in await audited.events(reason="tenant_mismatch"))


async def test_a35_an_argument_of_any_size_does_not_stop_the_trail(audited: Portcullis, issuer: Issuer) -> None:
    reply = await audited.call("charge", {"amount": HUGE}, token=issuer.mint(tenant_id="tenant:a"))
    assert reply.status == 200

    def written() -> bool:
        return any(event["target"].get("arguments") == {"amount": HUGE} for event in in_file(audited))

    await until(written, what="the call is in the file with its argument")


def test_an_event_is_one_line_of_the_file_whatever_is_in_it(tmp_path: Path) -> None:
    one = audit.event("ToolCalled", "success", target={"arguments": {"n": HUGE, "text": "a\ud800\n\u2028"}})
    AuditFile(tmp_path / "audit.jsonl").write([one, audit.event("ToolCalled", "success")])
    lines = (tmp_path / "audit.jsonl").read_bytes().split(b"\n")
    assert len(lines) == 3
    assert json.loads(lines[0])["target"]["arguments"]["n"] == HUGE


async def test_a35_refusals_that_cannot_be_recorded_do_not_pile_up_in_memory(issuer: Issuer) -> None:
    kept: list[AuditEvent] = []

    async def away(_events: Sequence[AuditEvent]) -> None:
        raise Unavailable("the ledger is locked")

    trail = AuditTrail(away, observe=kept.append, capacity=4)
    gate = Gate(lambda: door, trail)
    async with trusting(issuer) as authn:
        # What a request needs before policy is asked; nothing behind that is reached.
        door = Door(Config(), frozenset(), authn, *[None] * 7)  # type: ignore[arg-type]

        async def post(request: web.Request) -> web.Response:
            request[INFO] = RequestInfo("id", "127.0.0.1", 0)
            try:
                await gate.identify(request, door)
            except GatewayError as error:
                return web.Response(text=type(error).__name__)
            return web.Response()

        app = web.Application()
        app.router.add_post("/mcp", post)
        async with TestClient(TestServer(app)) as client:
            headers = {"Authorization": f"Bearer {issuer.mint()}", "X-Tenant-ID": "tenant:b"}
            said = [await (await client.post("/mcp", headers=headers)).text() for _ in range(6)]
    assert said == ["TenantMismatch"] * 3 + ["Unavailable"] * 3
    # That the token is used here at all is an event too, once.
    assert [one.type for one in kept] == ["AuthenticationSucceeded"] + ["AuthorizationDenied"] * 3
