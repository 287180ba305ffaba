"""The recipe plays itself: each request, each answer, and whether it is exactly what was promised.

make tour                       in colour on a terminal; status 1 if one promise is not kept
make tour ARGS=--json           the same as one JSON document
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo import HERE, Demo, DemoError, adapted, free_ports, running, token
from player import JSON_TYPE, Answer, Player
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Mapping

RESOURCE = "https://hangar.example.com"
CHALLENGE = f'Bearer resource_metadata="{RESOURCE}/.well-known/oauth-protected-resource", ApiKey'
CHARGE = {"name": "charge", "arguments": {"amount": 10}}
REFUND = {"name": "refund", "arguments": {"receipt": 1}}


class Tour:
    """The recipe, asked of a gateway that runs: `issuer` is the URL of the demo's, `key` one of a global admin."""

    def __init__(self, player: Player, issuer: str, key: str) -> None:
        self.player = player
        self.issuer = issuer
        self.a = self._bearer("agent-a", "JWT of tenant:a")
        self.b = self._bearer("agent-b", "JWT of tenant:b")
        self.b_by_resource = self._bearer("agent-b", "JWT of tenant:b for the resource", RESOURCE)
        self.nobody = self._bearer("agent-without-tenant", "JWT without a tenant")
        player.secrets[key] = "<admin key>"
        self.admin = {"X-API-Key": key}

    def metadata(self) -> None:
        """Step 2: what protects this resource."""
        self.player.step("2", "the protected resource's metadata, without a token")
        answer = self.player.ask("GET", "/.well-known/oauth-protected-resource", {})
        document = answer.json or {}
        self.player.promise("200", answer.status_line == "HTTP/1.1 200 OK")
        self.player.promise(f"resource is {RESOURCE}", document.get("resource") == RESOURCE)
        self.player.promise(f"its issuer is {self.issuer}", document.get("authorization_servers") == [self.issuer])

    def challenge(self) -> None:
        """Step 3: no token, no list."""
        self.player.step("3", "no token: 401, and where to get one")
        answer = self.player.rpc("tools/list", {}, {})
        self.player.promise("HTTP/1.1 401 Unauthorized", answer.status_line == "HTTP/1.1 401 Unauthorized")
        self.player.promise(f"WWW-Authenticate: {CHALLENGE}", answer.headers.get("WWW-Authenticate") == CHALLENGE)

    def tenants(self) -> None:
        """Step 4: each tenant sees its own, calls what it sees, and nothing else exists."""
        self.player.step("4", "each tenant sees and calls its own")
        answer = self.sees("tenant:b", self.b, ["charge", "refund"])
        self.player.promise("plain JSON", answer.headers.get("Content-Type", "").startswith("application/json"))
        self.sees("tenant:a", self.a, ["charge"])
        self.sees("tenant:b, by a token for the resource,", self.b_by_resource, ["charge", "refund"])
        self.sees("a token without a tenant", self.nobody, [])
        for who, agent in (("tenant:a", self.a), ("tenant:b", self.b)):
            answer = self.player.rpc("tools/call", CHARGE, agent)
            self.player.promise(f"{who} charges", (answer.text or "").startswith("charged 10 EUR"))
        self.unknown("tenant:a", self.a, REFUND)
        self.unknown("tenant:a", self.a, {"name": "no_such_tool", "arguments": {}})
        for who, agent in (("tenant:a", self.a), ("tenant:b", self.b)):
            for tool in ("legacy_charge", "beta_tool"):
                self.unknown(who, agent, {"name": tool, "arguments": {}})

    def withdraw(self) -> None:
        """Step 5: an operator takes a tool away."""
        self.player.step("5", "withdrawn for tenant:b: the very next list and the very next call know it")
        self.changes("withdraw", "refund", "tenant:b", '{"tenant_id": "tenant:b"}')
        self.still_withdrawn()
        self.sees("tenant:a", self.a, ["charge"])

    def restore(self) -> None:
        """Step 6, first half: given back, and both for all tenants; the receipts show which calls arrived."""
        self.player.step("6", "restored; and both for everybody, without tenant_id or with null")
        self.changes("restore", "refund", "tenant:b", '{"tenant_id": "tenant:b"}')
        self.sees("tenant:b", self.b, ["charge", "refund"])
        self.player.promise("tenant:b refunds", self.player.rpc("tools/call", REFUND, self.b).text is not None)
        for body in ("{}", '{"tenant_id": null}'):
            first = receipt(self.player.rpc("tools/call", CHARGE, self.a))
            self.changes("withdraw", "charge", None, body)
            self.sees("tenant:a", self.a, [])
            self.sees("tenant:b", self.b, ["refund"])
            self.unknown("tenant:a", self.a, CHARGE)
            self.unknown("tenant:b", self.b, CHARGE)
            self.changes("restore", "charge", None, body)
            self.sees("tenant:a", self.a, ["charge"])
            second = receipt(self.player.rpc("tools/call", CHARGE, self.a))
            self.player.promise(
                "no refused call reached the server", None not in (first, second) and second == first + 1
            )

    def still_withdrawn(self) -> None:
        """Promise that what step 5 withdrew is withdrawn."""
        self.sees("tenant:b", self.b, ["charge"])
        self.unknown("tenant:b", self.b, REFUND)

    def sees(self, who: str, agent: Mapping[str, str], tools: list[str]) -> Answer:
        """Promise exactly this list."""
        answer = self.player.rpc("tools/list", {}, agent)
        self.player.promise(f"{who} sees {', '.join(tools) or 'nothing'}", answer.tools == tools)
        return answer

    def unknown(self, who: str, agent: Mapping[str, str], call: Mapping[str, Any]) -> None:
        """Promise exactly the answer that a tool gets which does not exist."""
        answer = self.player.rpc("tools/call", call, agent)
        error = {"code": -32602, "message": f"Unknown tool: {call['name']}"}
        exact = answer.json == {"jsonrpc": "2.0", "id": 1, "error": error} and answer.status_line == "HTTP/1.1 200 OK"
        self.player.promise(f"for {who} there is no {call['name']}", exact)

    def changes(self, verb: str, tool: str, tenant: str | None, body: str) -> None:
        """Withdraw or restore, and promise exactly the documented answer."""
        answer = self.player.ask("POST", f"/api/admin/tools/payments/{tool}/{verb}", self.admin | JSON_TYPE, body)
        done = {"withdraw": "withdrawn", "restore": "restored"}[verb]
        wanted = {done: True, "mcp_server": "payments", "tool": tool, "tenant_id": tenant}
        self.player.promise(json.dumps(wanted), answer.status_line == "HTTP/1.1 200 OK" and answer.json == wanted)
        self.player.promise("enforced by every replica", answer.headers.get("Portcullis-Applied") == "1/1")

    def _bearer(self, client: str, shown: str, resource: str | None = None) -> dict[str, str]:
        jwt = token(self.issuer, client, resource)
        self.player.secrets[jwt] = f"<{shown}>"
        return {"Authorization": f"Bearer {jwt}"}


def receipt(answer: Answer) -> int | None:
    """Return the number of a charge; the server counts them."""
    found = re.search(r"receipt (\d+)$", answer.text or "")
    return int(found[1]) if found else None


def start(player: Player, demo: Demo, config: Path) -> None:
    """Step 1: one command, one line when ready."""
    player.step("1", "portcullis up starts everything and prints one line")
    line = up(player, demo, config)
    player.promise("one line", len(line.splitlines()) == 1)
    wanted = ("front_door", f":{player.port}", r"OPA \d+\.\d+\.\d+", r"\br\d+\b", "1 server", "4 tools", "2 members")
    for pattern in wanted:
        player.promise(f"it says {pattern}", re.search(pattern, line) is not None)


def survive(tour: Tour, demo: Demo, config: Path) -> None:
    """Step 6, second half: what was withdrawn stays withdrawn, through the hardest of restarts."""
    player = tour.player
    player.step("6", "a withdrawal survives kill -9")
    tour.changes("withdraw", "refund", "tenant:b", '{"tenant_id": "tenant:b"}')
    gateway = demo.parts.pop()
    gateway.process.kill()
    gateway.process.wait()
    player.did(f"kill -9 {gateway.process.pid}", "")
    up(player, demo, config)
    tour.still_withdrawn()


def up(player: Player, demo: Demo, config: Path) -> str:
    """Start a gateway on the player's port, show it, and return the line that it prints."""
    line = demo.gateway(config, player.port).said.read_text().strip()
    player.did(f"portcullis up --config {config.name} --port {player.port}", line)
    return line


def egress(player: Player, demo: Demo, config: Path) -> None:
    """Play egress mode: no credentials, `server__tool`, and what holds nevertheless."""
    player.step("7", "egress, the default mode: no credentials, tools as server__tool")
    everything = ["payments__beta_tool", "payments__charge", "payments__refund"]
    player.promise("it says egress", "egress" in up(player, demo, config))
    answer = player.rpc("tools/list", {}, {})
    player.promise("server-level lists hold: no payments__legacy_charge", sorted(answer.tools or ()) == everything)
    call = CHARGE | {"name": "payments__charge"}
    player.promise("anybody charges", receipt(player.rpc("tools/call", call, {})) is not None)
    for verb, left in (("withdraw", everything[:2]), ("restore", everything)):
        command = ("tool", verb, "payments", "refund")
        player.did(f"portcullis {' '.join(command)}", demo.portcullis(config, *command))
        answer = player.rpc("tools/list", {}, {}, until=lambda answer, left=left: sorted(answer.tools or ()) == left)
        player.promise(f"within a second the list is {', '.join(left)}", sorted(answer.tools or ()) == left)
        answer = player.rpc("tools/call", REFUND | {"name": "payments__refund"}, {})
        listed = left == everything
        player.promise(f"payments__refund {'works' if listed else 'is refused'}", (answer.text is not None) == listed)


def play(player: Player, folder: Path) -> None:
    """Start the demo on free ports, and play every step on it."""
    tell = lambda name, where, seconds: player.console.print(f"  {name:<8} {where:<28} {seconds:.1f} s")  # noqa: E731
    issuer_port, server_port, front_door, trusted = free_ports(4)
    with running(folder, tell) as demo:
        issuer, endpoint = demo.issuer(issuer_port), demo.servers(server_port)
        config = adapted(HERE / "config.yaml", folder, issuer=issuer, endpoint=endpoint)
        player.port = front_door
        tour = Tour(player, issuer, demo.admin_key(config))
        start(player, demo, config)
        for step in (tour.metadata, tour.challenge, tour.tenants, tour.withdraw, tour.restore):
            step()
        survive(tour, demo, config)
        player.port = trusted
        egress(player, demo, adapted(HERE / "egress.yaml", folder, endpoint=endpoint))


def main() -> int:
    """Play it all; the status is 1 if one promise was not kept."""
    parser = argparse.ArgumentParser(description="Play the front-door recipe and check every answer.")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    options = parser.parse_args()
    player = Player(Console(quiet=options.json, highlight=False))
    failure = None
    try:
        with tempfile.TemporaryDirectory(prefix="portcullis-tour-") as folder:
            play(player, Path(folder))
    except KeyboardInterrupt:
        return 130
    except (DemoError, OSError) as error:
        failure = str(error)
    promises = sum(len(step["promises"]) for step in player.record)
    if options.json:
        print(
            json.dumps({"kept": not (player.broken or failure), "failure": failure, "steps": player.record}, indent=2)
        )
    ending = f", and it ended early: {failure}" if failure else ""
    player.console.print(
        f"\n{promises - player.broken} of {promises} promises kept{ending}", markup=False, soft_wrap=True
    )
    return 1 if player.broken or failure else 0


if __name__ == "__main__":
    sys.exit(main())
