"""A world of tests/cases on stage: a gateway on its config.yaml, its servers, and one case at a time."""

from __future__ import annotations

import hashlib
import itertools
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml

from gateway import keys
from gateway.audit import event, now_ms
from gateway.ids import SERVER_ID, TENANT_ID, Ref
from gateway.ledger.connect import open_ledger
from gateway.ledger.values import Admins
from gateway.model import Credential, Withdrawal
from gateway.templates import Template
from tests.support.backend import LISTS, FakeBackend, prompt, resource, template, tool
from tests.support.files import written
from tests.support.gateway import Portcullis, Reply, elsewhere
from tests.support.issuer import ABSENT
from tests.support.wait import until
from tests.support.worlds import WORLDS, Case, inventory

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.ledger import Ledger
    from gateway.model import AuditEvent
    from tests.support.issuer import Issuer

# What names the thing that is asked for, in the parameters of each method that asks for one.
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri", "completion/complete": "ref"}
ACTIONS = {*LISTS, *NAMED, "mcp_servers:lifecycle", "mcp_servers:read"}
KINDS = ("jwt", "api_key", "anonymous")


def stageable(case: Case) -> bool:
    """Whether requests and operators' actions can bring the case about; the rest is asked of OPA alone."""
    question = case.question()
    principal, target = question["principal"], question["target"]
    said = {"v", "mode"} if case.input["action"] == "completion/complete" else {"v", "mode", "kind"}
    derived = case.playable and case.input["action"] in ACTIONS and not said & case.input.keys()
    derived = derived and question["kind"] in ("tool", "prompt", "resource", None) and as_matched(case, target)
    seen_so = principal["kind"] != "jwt" or principal["subject"].startswith("user:")
    as_authenticated = (principal["credential"] or {}).get("scope") is None and principal["kind"] in KINDS
    as_authenticated = as_authenticated and principal["acting_for"] is None
    revoked = case.given.get("portcullis_live", {}).get("revoked")
    own_by_default = case.input["action"] == "mcp_servers:read" and principal["tenant"] and not target.get("tenant")
    return (
        derived
        and not own_by_default
        and seen_so
        and as_authenticated
        and (not revoked or principal["kind"] == "api_key")
        and (question["view"] == "flat" or has_such_path(principal["tenant"], target["server"]))
        and "arguments_omitted" not in target
        and not ("arguments" in target and target["arguments"] is None)
        and not (case.entrypoint == "call" and case.world == "custom" and "arguments" not in target)
        and (case.entrypoint != "call" or isinstance(target["name"], str))
        and (case.input["action"] != "mcp_servers:lifecycle" or isinstance(target.get("name"), str))
    )


def has_such_path(tenant: str | None, server: str | None) -> bool:
    """Whether there is an address at which a server is asked for alone, of whatever name."""
    return bool(tenant and server and TENANT_ID.fullmatch(tenant) and SERVER_ID.fullmatch(server))


def as_matched(case: Case, target: dict[str, Any]) -> bool:
    """Whether the gateway finds the templates that a case names; one that the URI needs not is as good as none."""
    if case.input["action"] != "resources/read" or not isinstance(target["name"], str):
        return case.input["action"] != "completion/complete" or case.input["kind"] != "tool"
    every = inventory(case.world)
    found = {one for each in every for one in each.templates if Template(one).matches(target["name"])}
    registered = any(target["name"] in each.resources for each in every)
    return set(target["templates"]) == found or (registered and set(target["templates"]) <= found)


@dataclass
class Stage:
    """One world, running. `play` brings a case about and returns the answer and its audit event."""

    world: str
    folder: Path
    issuer: Issuer
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    gateway: Portcullis = field(init=False)
    ledger: Ledger = field(init=False)

    async def open(self) -> None:
        """Start servers and gateway."""
        source = WORLDS / self.world
        config = yaml.safe_load((source / "config.yaml").read_text())
        config["auth"]["oidc"]["issuer"] = self.issuer.url
        if "custom_policies" in config.get("opa", {}):
            config["opa"]["custom_policies"] = str(source / config["opa"]["custom_policies"])
        config.setdefault("opa", {})["deadline_ms"] = 2000
        config["server"] = {"trusted_proxies": ["127.0.0.1/32"]}
        await self._serve(config["mcp_servers"])
        if "tenants_file" in config:
            await self._bring_tenants(source)
        self.gateway = Portcullis(self.folder, config)
        await self.stack.enter_async_context(self.gateway)
        self.ledger = await open_ledger(f"sqlite:///{self.gateway.state / 'portcullis.db'}")
        self.stack.push_async_callback(self.ledger.close)

    async def _serve(self, servers: dict[str, Any], prefix: str = "") -> None:
        """Start the servers of a section, and write into it where they are."""
        offered = {one.server: one for one in inventory(self.world)}
        for server, section in servers.items():
            one = offered.get(prefix + server)
            backend = FakeBackend(definitions=[tool(name) for name in one.tools] if one else [])
            if one and (one.prompts or one.resources or one.templates):
                backend.others = {
                    "prompts": list(map(prompt, one.prompts)),
                    "resources": list(map(resource, one.resources)),
                    "resourceTemplates": list(map(template, one.templates)),
                }
            await self.stack.enter_async_context(backend.serve())
            section["endpoint"] = backend.url

    async def _bring_tenants(self, source: Path) -> None:
        """Copy the tenants and their catalogs, with servers of their own started."""
        tenants = yaml.safe_load((source / "tenants.yaml").read_text())
        for tenant in tenants["tenants"]:
            tenant["allowed_networks"] = ["127.0.0.0/8"]
            if name := tenant.get("catalog_file"):
                catalog = yaml.safe_load((source / name).read_text())
                await self._serve(catalog.get("mcp_servers", {}), f"{tenant['id']}:")
                written(self.folder, yaml.safe_dump(catalog), name)
        written(self.folder, yaml.safe_dump(tenants), "tenants.yaml")

    async def play(self, case: Case) -> tuple[Reply, AuditEvent | None]:
        """Bring the case about, ask, and put things back as they were."""
        withdrawn = tuple(withdrawals(case))
        headers = await self._credential(case) | {"X_Forwarded_For": elsewhere()}
        revision = 0
        for one in withdrawn:
            revision = await self.ledger.withdraw(one, event("ToolWithdrawn", "success"))
        await self._applied(revision)
        try:
            reply = await self._ask(case, headers)
            # Failed logins are folded into counts when there are many; every decision has its event.
            return reply, None if reply.status == 401 else await until(lambda: self._event(reply))
        finally:
            for one in withdrawn:
                revision, _ = await self.ledger.restore(one.ref, one.tenant, event("ToolRestored", "success"))
            await self._applied(revision)

    async def _ask(self, case: Case, headers: dict[str, str]) -> Reply:
        target, action = case.question()["target"], case.input["action"]
        if action in LISTS or action in NAMED:
            question = case.question()
            path = "/mcp"
            if question["view"] == "server":
                path = f"/tenant/{question['principal']['tenant']}/servers/{target['server']}/mcp"
            message = {"jsonrpc": "2.0", "id": 1, "method": action, "params": params_of(case, target)}
            return await self.gateway.http("POST", path, message, **headers)
        if action == "mcp_servers:read":
            query = f"?tenant_id={target['tenant']}" if target.get("tenant") else ""
            return await self.gateway.http("GET", f"/api/admin/withdrawals{query}", **headers)
        path = f"/api/admin/tools/{target['server']}/{target['name']}"
        reply = await self.gateway.http("POST", f"{path}/withdraw", {"tenant_id": target["tenant"]}, **headers)
        if reply.status < 300:
            await self.gateway.http("POST", f"{path}/restore", {"tenant_id": target["tenant"]}, **headers)
        return reply

    async def _credential(self, case: Case) -> dict[str, str]:
        principal = case.question()["principal"]
        if principal["kind"] == "anonymous":
            return {}
        if principal["kind"] == "jwt":
            subject = principal["subject"].removeprefix("user:")
            tenant = ABSENT if principal["tenant"] is None else principal["tenant"]
            claims = {"sub": subject, "tenant_id": tenant, "groups": principal["groups"]}
            return {"Authorization": f"Bearer {self.issuer.mint(**claims)}"}
        secret, now = keys.mint(), now_ms()
        credential = Credential(
            id=f"c_{next(self.numbers)}",
            hash=hashlib.sha256(secret.encode()).hexdigest(),
            prefix=secret[:12],
            principal=principal["subject"],
            name="",
            role=(principal["credential"] or {}).get("role"),
            tenant=principal["tenant"],
            created_at=now,
            created_by="tests",
            expires_at=now + 3_600_000,
        )
        await self.ledger.add_credential(credential, event("KeyCreated", "success"))
        headers = {"X_API_Key": secret}
        await self.gateway.knows(**headers)
        if case.given.get("portcullis_live", {}).get("revoked"):
            revoked = event("KeyRevoked", "success")
            revision = await self.ledger.revoke_credential(credential.id, "tests", now, revoked, admins=Admins(1))
            await self._applied(revision or 0)
        return headers

    async def _applied(self, revision: int) -> None:
        """Return when the gateway's OPA has applied a revision of the ledger."""
        if not revision:
            return
        url = json.loads((self.gateway.state / "opa.json").read_text())["services"]["sync"]["url"]
        headers = {"Authorization": f"Bearer {(self.gateway.state / 'sync.token').read_text()}"}

        async def done() -> bool:
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.get(f"{url}/revisions/{revision}?wait=2") as response,
            ):
                progress = await response.json()
                return progress["applied"] == progress["replicas"]

        await until(done)

    async def _event(self, reply: Reply) -> AuditEvent | None:
        """Return the event of a request."""
        newest = await self.ledger.newest_audit()  # type: ignore[attr-defined]
        recent = await self.ledger.audit(100, after=max(0, newest - 100))
        decisions = [one for _, one in recent if one.type != "AuthenticationSucceeded"]
        wanted = reply.headers["X-Request-Id"]
        return next((one for one in decisions if one.source.get("request_id") == wanted), None)


def params_of(case: Case, target: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with which a case is asked for."""
    match case.input["action"]:
        case "tools/call" | "prompts/get":
            return {"name": target["name"], "arguments": target.get("arguments", {})}
        case "resources/read":
            return {"uri": target["name"]}
        case "completion/complete":
            member = "name" if case.input["kind"] == "prompt" else "uri"
            ref = {"type": f"ref/{case.input['kind']}", member: target["name"]}
            return {"ref": ref, "argument": {"name": "x", "value": ""}}
        case _:
            return {}


def withdrawals(case: Case) -> list[Withdrawal]:
    """Return what is withdrawn at runtime in the case."""
    given = case.given.get("portcullis_live", {}).get("withdrawn", {})
    everybody = [(None, id_) for id_ in given.get("global", {})]
    tenants = [(tenant, id_) for tenant, ids in given.get("tenant", {}).items() for id_ in ids]
    return [Withdrawal(Ref.parse(id_), tenant, "user:root", 1) for tenant, id_ in everybody + tenants]
