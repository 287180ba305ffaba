"""What is asked, of the gateway and of the server alike, and how an answer is known to be the right one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

MODERN = "2026-07-28"
SLOW_SECONDS = 1.0
COUNTS = (4, 50, 200)
ARGUMENTS = {"source": "DE02120300000000202051", "target": "savings", "amount": 12_500, "currency": "EUR"}
_RESERVED = "io.modelcontextprotocol/"


class WrongAnswer(Exception):
    """An answer was not the one that was asked for, so measuring it would mean nothing."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, the same each time; `count` is how many tools its server has."""

    name: str
    method: str
    count: int
    params: Mapping[str, Any] = field(default_factory=dict)

    def body(self, era: str) -> bytes:
        """Return the JSON-RPC request, in the words of an era (`legacy` or `modern`)."""
        params = dict(self.params)
        if era == "modern":
            params["_meta"] = {f"{_RESERVED}protocolVersion": MODERN, f"{_RESERVED}clientCapabilities": {}}
        return orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": self.method, "params": params})

    def headers(self, era: str) -> dict[str, str]:
        """Return the headers that go with the body: none but the media type in the legacy era, as curl sends it."""
        headers = {"Content-Type": "application/json"}
        if era == "modern":
            headers |= {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": MODERN}
            headers |= {"Mcp-Method": self.method} | ({"Mcp-Name": self.params["name"]} if self.params else {})
        return headers

    def require(self, status: int, body: bytes) -> None:
        """Raise WrongAnswer unless this is what was asked for."""
        try:
            result = orjson.loads(body)["result"]
            listed = self.method == "tools/list"
            good = len(result["tools"]) == self.count if listed else result["structuredContent"] == ARGUMENTS
        except (ValueError, KeyError, TypeError):
            good = False
        if status != 200 or not good:
            raise WrongAnswer(f"{self.name}: {status} {body[:300].decode(errors='replace')}")


def tool_name(count: int, index: int) -> str:
    """Return the name of one tool; no two servers offer the same."""
    return f"tool_{count}_{index:03}"


def listing(count: int) -> Ask:
    """Return the question for all tools of the server that has `count` of them."""
    return Ask(f"list {count}", "tools/list", count)


def calling(count: int, index: int = 0) -> Ask:
    """Return a call of one tool of the server that has `count` of them."""
    return Ask("call", "tools/call", count, {"name": tool_name(count, index), "arguments": ARGUMENTS})


def calling_slow(count: int) -> Ask:
    """Return a call of the tool that takes a second."""
    return Ask("slow call", "tools/call", count, {"name": f"slow_{count}", "arguments": ARGUMENTS})
