"""What of an MCP request its trace begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from gateway.mcp.headers import NAMED_BY
from gateway.mcp.trace_context import TRACEPARENT, TRACESTATE

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from multidict import CIMultiDictProxy

    from gateway.mcp.envelope import Request
    from gateway.recording import Caller
    from gateway.tracing import Trace, Tracing

T = TypeVar("T")
MAX_ID_CHARACTERS = 128


def begun(tracing: Tracing, headers: CIMultiDictProxy[str], caller: Caller, version: str, message: Request) -> Trace:
    """Return the trace of a request; of what the agent sent, only its names are in it."""
    name, tenant = message.params.get(NAMED_BY.get(message.method, "name")), caller.principal.tenant
    attributes: dict[str, str | bool | int | float] = {
        "jsonrpc.request.id": str(message.id)[:MAX_ID_CHARACTERS],
        "mcp.protocol.version": version,
        "network.transport": "tcp",
        "network.protocol.name": "http",
        "client.address": caller.request.ip,
        "portcullis.request.id": caller.request.id,
        "portcullis.principal.kind": caller.principal.kind.value,
    }
    if tenant is not None:
        attributes["portcullis.tenant"] = tenant
    return tracing.begin(message.method, attributes, name if isinstance(name, str) else None, claims(headers, message))


async def carried_out(trace: Trace, work: Coroutine[Any, Any, T]) -> T:
    """Await what a request wants, all of it within its span."""
    with trace:
        return await work


def claims(headers: CIMultiDictProxy[str], message: Request) -> Iterator[tuple[Any, Any]]:
    """Yield what the agent says of its trace: in the message, which counts first (SEP-414), then in the headers."""
    yield message.meta.get(TRACEPARENT), message.meta.get(TRACESTATE)
    sent = headers.getall(TRACEPARENT, [])
    if len(sent) == 1:
        yield sent[0], ",".join(headers.getall(TRACESTATE, []))
