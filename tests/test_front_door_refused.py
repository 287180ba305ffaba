"""What is refused before any decision leaves an event, too: who tries malformed requests should be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import World


def call(params: dict[str, object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


@pytest.mark.parametrize(
    ("body", "headers", "detail"),
    [
        (b"{", {}, "the body is not JSON"),
        ([], {}, "batches are not served"),
        ({"jsonrpc": "2.0", "id": 1, "method": "resources/list"}, {}, "Method not found: resources/list"),
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


async def test_an_admin_body_with_a_mistake_is_recorded(guarded: World) -> None:
    path, sent = "/api/admin/tools/payments/charge/withdraw", {"X_API_Key": guarded.admin_key}
    reply = await guarded.gateway.http("POST", path, {"tenant_id": 5}, X_Forwarded_For="192.0.2.81", **sent)
    assert reply.status == 400
    assert await guarded.gateway.events(type="RequestRefused", source__request_id=reply.headers["X-Request-Id"])
