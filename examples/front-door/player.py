"""Asks, shows what was asked and answered, and notes for each promise whether it was kept."""

from __future__ import annotations

import http.client
import json
import shlex
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

SHOWN_HEADERS = (
    "WWW-Authenticate",
    "Content-Type",
    "Portcullis-Revision",
    "Portcullis-Applied",
    "Portcullis-Matched",
    "Portcullis-Still-Withdrawn",
    "Retry-After",
)
JSON_TYPE = {"Content-Type": "application/json"}
LONGEST_BODY = 600
PATIENCE_SECONDS = 1
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, as it came."""

    status_line: str
    headers: Mapping[str, str]
    body: str

    @property
    def json(self) -> Any:
        """The body as JSON; None where it is not."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def tools(self) -> list[str] | None:
        """The names that a tool list shows, in order; None where this is no tool list."""
        try:
            return [tool["name"] for tool in self.json["result"]["tools"]]
        except (TypeError, KeyError):
            return None

    @property
    def text(self) -> str | None:
        """What a called tool said; None where the call failed."""
        try:
            result = self.json["result"]
            return None if result.get("isError") else str(result["content"][0]["text"])
        except (TypeError, KeyError, IndexError):
            return None


@dataclass(slots=True)
class Player:
    """One run of the tour. `secrets` maps a credential to the words that are shown in its place."""

    console: Console
    secrets: dict[str, str] = field(default_factory=dict)
    record: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    @property
    def broken(self) -> int:
        """How many promises were not kept so far."""
        return sum(not promise["kept"] for step in self.record for promise in step["promises"])

    def step(self, number: str, title: str) -> None:
        """Begin a step of the recipe."""
        self.record.append({"step": number, "title": title, "exchanges": [], "promises": []})
        self.console.print(Text(f"\n{number}  {title}", style="bold cyan"))

    def did(self, what: str, said: str) -> None:
        """Show something that was done, and what it said, without HTTP."""
        self.record[-1]["exchanges"].append({"request": what, "body": said})
        self._show(what, [], said)

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: str | None = None) -> Answer:
        """Send a request as curl would, show it and its answer, and return the answer."""
        answer = self._exchange(method, path, headers, body)
        request = self._curl(method, path, headers, body)
        shown = [f"{name}: {answer.headers[name]}" for name in SHOWN_HEADERS if name in answer.headers]
        exchange = {
            "request": request,
            "status": answer.status_line,
            "headers": shown,
            "body": answer.json or answer.body,
        }
        self.record[-1]["exchanges"].append(exchange)
        self._show(request, [answer.status_line, *shown], answer.body)
        return answer

    def promise(self, what: str, kept: bool) -> None:
        """Note whether the answer is as promised."""
        self.record[-1]["promises"].append({"promise": what, "kept": kept})
        mark, style = ("✓", "green") if kept else ("✗", "bold red")
        self.console.print(Text(f"   {mark} {what}", style=style), soft_wrap=True)

    def rpc(
        self,
        method: str,
        params: Mapping[str, Any],
        headers: Mapping[str, str],
        until: Callable[[Answer], bool] | None = None,
    ) -> Answer:
        """Post one JSON-RPC request to /mcp, with no other header than these and the content type.

        It is sent again for up to a second where the answer may take so long to become what is waited for.
        """
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})
        headers = JSON_TYPE | dict(headers)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while until and not until(self._exchange("POST", "/mcp", headers, body)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return self.ask("POST", "/mcp", headers, body)

    def _exchange(self, method: str, path: str, headers: Mapping[str, str], body: str | None) -> Answer:
        connection = http.client.HTTPConnection("localhost", self.port, timeout=30)
        try:
            connection.request(method, path, body.encode() if body is not None else None, dict(headers))
            response = connection.getresponse()
            line = f"HTTP/{response.version // 10}.{response.version % 10} {response.status} {response.reason}"
            return Answer(line, dict(response.getheaders()), response.read().decode())
        finally:
            connection.close()

    def _curl(self, method: str, path: str, headers: Mapping[str, str], body: str | None) -> str:
        parts = ["curl -s -i"] + (["-X POST"] if method == "POST" and body is None else [])
        parts.append(f"localhost:{self.port}{path}")
        parts += [f'-H "{name}: {self._masked(value)}"' for name, value in headers.items()]
        return " ".join(parts + ([f"-d {shlex.quote(body)}"] if body is not None else []))

    def _masked(self, value: str) -> str:
        for secret, shown in self.secrets.items():
            value = value.replace(secret, shown)
        return value

    def _show(self, request: str, head: list[str], body: str) -> None:
        cut = body if len(body) <= LONGEST_BODY else body[:LONGEST_BODY] + " …"
        self.console.print(Text(f"   $ {request}", style="yellow"), soft_wrap=True)
        for line in [*head, *cut.splitlines()]:
            self.console.print(Text(f"     {line}", style="dim"), soft_wrap=True)
