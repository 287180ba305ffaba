"""`portcullis tool`: take tools away and give them back, in the ledger whether or not a gateway runs, or by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bundles.overlay import config_withdrawals
from gateway.audit import event, now_ms
from gateway.cli.common import moment, operator, together
from gateway.cli.desk import caution
from gateway.cli.office import Office, in_the_office
from gateway.config import known_tenants
from gateway.config.membership import own_key, own_servers
from gateway.errors import NotFound
from gateway.ids import Kind, Ref
from gateway.model import Withdrawal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from gateway.config import Loaded
    from gateway.facts import ServerInventory
    from gateway.ledger import Ledger
    from gateway.model import AuditEvent

    Locally = Callable[[Ledger, Loaded | None, Ref, str | None], Awaitable[int]]


@click.group()
def tool() -> None:
    """Tools at runtime: withdraw, restore, list."""


target_options = together(
    click.argument("server"),
    click.argument("name", metavar="NAME"),
    in_the_office,
    click.option(
        "--kind",
        type=click.Choice([kind.value for kind in Kind]),
        default=Kind.TOOL.value,
        help="What it is; by default a tool.",
    ),
    click.option("--tenant", help="One tenant; without it, everybody."),
)


@tool.command()
@target_options
def withdraw(office: Office, server: str, name: str, kind: str, tenant: str | None) -> None:
    """Withdraw a tool, prompt or resource. A running gateway enforces it within a tenth of a second."""
    _do(office, "withdrawTool", "withdrawn", Ref(server, Kind(kind), name), tenant, _withdraw)


@tool.command()
@target_options
def restore(office: Office, server: str, name: str, kind: str, tenant: str | None) -> None:
    """Lift a withdrawal made at runtime. Without --tenant, every one of it; what config withdraws stays so."""
    _do(office, "restoreTool", "restored", Ref(server, Kind(kind), name), tenant, _restore)


@tool.command("list")
@in_the_office
def list_(office: Office) -> None:
    """List what is withdrawn at runtime."""
    found = office.do("listWithdrawals")["withdrawals"] if office.server else office.look(_withdrawals)
    rows = ((_id(one), one["tenant_id"] or "everybody", one.get("by", ""), moment(one["at"])) for one in found)
    office.show(("what", "withdrawn from", "by", "at"), rows, found, empty="nothing is withdrawn at runtime")


async def _withdrawals(ledger: Ledger) -> list[dict[str, Any]]:
    found = await ledger.withdrawals()
    return [_named(one.ref, one.tenant) | {"by": one.by, "at": one.at} for one in found]


def _id(named: dict[str, Any]) -> str:
    kind = next(kind for kind in Kind if kind.value in named)
    return str(Ref(named["mcp_server"], kind, named[kind.value]))


async def _withdraw(ledger: Ledger, loaded: Loaded | None, ref: Ref, tenant: str | None) -> int:
    _require_known(loaded, ref, tenant)
    withdrawal = Withdrawal(ref, tenant, operator()["principal"], now_ms())
    revision = await ledger.withdraw(withdrawal, _event("ToolWithdrawn", ref, tenant))
    await caution(ledger, *_unmatched(ref, await ledger.inventory()))
    return revision


async def _restore(ledger: Ledger, loaded: Loaded | None, ref: Ref, tenant: str | None) -> int:
    _require_known(loaded, ref, tenant)
    revision, _ = await ledger.restore(ref, tenant, _event("ToolRestored", ref, tenant))
    left = [one for one in await ledger.withdrawals() if one.ref == ref and one.tenant is None]
    by_config = _by_config(loaded, ref, tenant)
    runtime = ["it is still withdrawn from everybody at runtime; restore it without --tenant"] if left else []
    await caution(ledger, *by_config, *runtime)
    return revision


def _unmatched(ref: Ref, inventory: Sequence[ServerInventory]) -> Iterator[str]:
    """Yield a caution where the server is known and has no such thing: the name may be mistyped."""
    for one in inventory:
        found = sorted(other.name for other in one.refs if other.kind is ref.kind)
        if one.server == ref.server and ref.name not in found:
            names = ", ".join(found) or "none"
            yield f"{ref.server} has no {ref.kind} {ref.name!r} now, so nothing is taken from anybody; it has {names}"


def _by_config(loaded: Loaded | None, ref: Ref, tenant: str | None) -> Iterator[str]:
    if loaded is None:
        return
    found = config_withdrawals(loaded.config)
    whose = [one for one, ids in found["tenant"].items() if tenant in (None, one) and str(ref) in ids]
    if str(ref) in found["global"] or whose:
        who = "everybody" if str(ref) in found["global"] else ", ".join(sorted(whose))
        yield f"{loaded.path} withdraws it from {who} all the same; see tool_projection there"


def _require_known(loaded: Loaded | None, ref: Ref, tenant: str | None) -> None:
    """Raise NotFound for what the configuration does not have: a withdrawal with a typing error protects nobody."""
    if not ref.is_possible:
        raise NotFound(f"{ref.name!r} of {ref.server!r} is not a {ref.kind}'s name")
    if loaded is None:
        return
    own = {own_key(owner.id, id_) for owner, id_, _ in own_servers(loaded.config)}
    servers, tenants = {*loaded.config.mcp_servers, *own}, known_tenants(loaded.config)
    if ref.server not in servers:
        raise NotFound(f"no server {ref.server!r}; there is {', '.join(sorted(servers)) or 'none'}")
    if tenant is not None and tenant not in tenants:
        raise NotFound(f"no tenant {tenant!r}; there is {', '.join(sorted(tenants)) or 'none'}")


def _event(type_: str, ref: Ref, tenant: str | None) -> AuditEvent:
    target = {"action": "mcp_servers:lifecycle", "server": ref.server, "name": ref.name, "id": str(ref)}
    return event(type_, "success", actor=operator(), target={**target, "tenant": tenant})


def _named(ref: Ref, tenant: str | None) -> dict[str, Any]:
    return {"mcp_server": ref.server, ref.kind.value: ref.name, "tenant_id": tenant}


def _do(office: Office, operation: str, word: str, ref: Ref, tenant: str | None, locally: Locally) -> None:
    """Do it where the office is, and say what came of it."""
    if office.server is None:
        revision = office.work(lambda ledger, loaded: locally(ledger, loaded, ref, tenant))
        told = {word: True, **_named(ref, tenant), "revision": f"r{revision}"}
    else:
        body = {"kind": ref.kind.value, "tenant_id": tenant}
        told = office.do(operation, body, at={"server": ref.server, "tool": ref.name})
    office.say(f"{ref} is {word} for {tenant or 'everybody'} as {told['revision']}", told)
