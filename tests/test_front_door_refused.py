"""What is refused before any decision leaves an event, too: who tries malformed requests should be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.agents import EVERY_VERSION, ask
from tests.support.gateway import MODERN, elsewhere

if TYPE_CHECKING:
    from tests.conftest import World


def call(params: dict[str, object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


@pytest.mark.parametrize(
    ("body", "headers", "detail"),
    [
        (b"{", {}, "the body is not JSON"),
        ([], {}, "batches are not served"),
        ({"jsonrpc": "2.0", "id": 1, "method": "tasks/list"}, {}, "Method not found: tasks/list"),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "2"}}, {}, "params.cursor is none"),
        (call({"name": ["charge"]}), {}, "params.name must be a string"),
        (call({"name": "charge", "arguments": [1]}), {}, "params.arguments must be an object"),
        (b"{}", {"Content_Type": "text/plain"}, "Content-Type must be application/json"),
    ],
)
async def test_a_request_that_no_decision_was_asked_for_is_recorded_with_its_fault(
    guarded: World, body: object, headers: dict[str, str], detail: str
) -> None:
    token = guarded.token("tenant:a")
    # An address of their own: of one that other tests use as well, the eleventh in a minute would only be counted.
    headers = {"X_Forwarded_For": "192.0.2.80", **headers}
    reply = await guarded.gateway.http("POST", "/mcp", body, Authorization=f"Bearer {token}", **headers)
    (event,) = await guarded.gateway.events(type="RequestRefused", source__request_id=reply.headers["X-Request-Id"])
    assert event["reason"] == "malformed_request"
    assert event["target"]["detail"].startswith(detail)


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize(
    ("method", "params", "detail"),
    [
        ("tools/call", {"name": "charge", "arguments": [1]}, "params.arguments must be an object"),
        ("tools/call", {"name": 5, "arguments": {}}, "params.name must be a string"),
        ("tools/call", {"arguments": {}}, "params.name must be a string"),
        ("tools/list", {"cursor": "of another's making"}, "params.cursor is none that was handed out"),
        ("tools/list", {"cursor": 5}, "params.cursor is none that was handed out"),
    ],
)
async def test_params_that_mean_nothing_are_invalid_and_recorded_with_their_fault_in_every_revision(
    guarded: World, version: str, method: str, params: dict[str, object], detail: str
) -> None:
    token, address = guarded.token("tenant:a"), elsewhere()
    reply = await ask(guarded.gateway, version, method, params, token=token, X_Forwarded_For=address)
    error = reply.json["error"]
    if version == MODERN and method == "tools/call":
        # There a call is refused before that where it disagrees with its headers, as one without a name does.
        assert error["code"] in (-32602, -32020)
    else:
        assert (error["code"], error["message"]) == (-32602, detail)
    (event,) = await guarded.gateway.events(type="RequestRefused", source__request_id=reply.headers["X-Request-Id"])
    assert (event["reason"], event["target"]["detail"]) == ("malformed_request", error["message"])
    assert event["actor"]["principal"] == "user:jo"


async def test_a_cursor_that_is_null_is_none(guarded: World) -> None:
    reply = await ask(guarded.gateway, MODERN, "tools/list", {"cursor": None}, token=guarded.token("tenant:a"))
    assert [tool["name"] for tool in reply.json["result"]["tools"]] == ["charge"]


async def test_an_admin_body_with_a_mistake_is_recorded(guarded: World) -> None:
    path, sent = "/api/admin/tools/payments/charge/withdraw", {"X_API_Key": guarded.admin_key}
    reply = await guarded.gateway.http("POST", path, {"tenant_id": 5}, X_Forwarded_For="192.0.2.81", **sent)
    assert reply.status == 400
    assert await guarded.gateway.events(type="RequestRefused", source__request_id=reply.headers["X-Request-Id"])
