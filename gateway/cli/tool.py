"""`portcullis tool`: take tools away and give them back, straight in the ledger, whether or not a gateway runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bundles.catalog import Catalog
from bundles.overlay import config_withdrawals
from gateway.audit import event, now_ms
from gateway.cli.common import (
    installation_options,
    json_option,
    ledger_of,
    moment,
    operator,
    print_json,
    print_table,
    run,
    together,
    unheard,
    warn,
)
from gateway.config import known_tenants
from gateway.errors import NotFound
from gateway.model import TOOL_NAME, ToolRef, Withdrawal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.config import Loaded
    from gateway.model import AuditEvent, ServerInventory


@click.group()
def tool() -> None:
    """Tools at runtime: withdraw, restore, list."""


target_options = together(
    click.argument("server"),
    click.argument("name", metavar="TOOL"),
    installation_options,
    click.option("--tenant", help="One tenant; without it, everybody."),
    json_option,
)


@tool.command()
@target_options
def withdraw(
    server: str, name: str, config_path: Path, state_dir: Path | None, tenant: str | None, as_json: bool
) -> None:
    """Withdraw a tool. A running gateway enforces it within a tenth of a second."""
    revision, cautions = run(_withdraw(ToolRef(server, name), tenant, config_path, state_dir))
    _say("withdrawn", ToolRef(server, name), tenant, revision, as_json=as_json)
    for caution in cautions:
        warn(caution)


@tool.command()
@target_options
def restore(
    server: str, name: str, config_path: Path, state_dir: Path | None, tenant: str | None, as_json: bool
) -> None:
    """Lift a withdrawal made at runtime. Without --tenant, every one of the tool; what config withdraws stays so."""
    revision, cautions = run(_restore(ToolRef(server, name), tenant, config_path, state_dir))
    _say("restored", ToolRef(server, name), tenant, revision, as_json=as_json)
    for caution in cautions:
        warn(caution)


@tool.command("list")
@installation_options
@json_option
def list_(config_path: Path, state_dir: Path | None, as_json: bool) -> None:
    """List what is withdrawn at runtime."""
    found = run(_withdrawals(config_path, state_dir))
    if as_json:
        print_json([_named(one.ref, one.tenant) | {"by": one.by, "at": one.at} for one in found])
        return
    rows = [(str(one.ref), one.tenant or "everybody", one.by, moment(one.at)) for one in found]
    print_table(("tool", "withdrawn from", "by", "at"), rows, empty="nothing is withdrawn at runtime")


async def _withdraw(
    ref: ToolRef, tenant: str | None, config_path: Path, state_dir: Path | None
) -> tuple[int, tuple[str, ...]]:
    async with ledger_of(config_path, state_dir) as (ledger, loaded):
        _require_known(loaded, ref, tenant)
        withdrawal = Withdrawal(ref, tenant, operator()["principal"], now_ms())
        revision = await ledger.withdraw(withdrawal, _event("ToolWithdrawn", ref, tenant))
        return revision, (*_unmatched(ref, await ledger.inventory()), *await unheard(ledger))


async def _restore(
    ref: ToolRef, tenant: str | None, config_path: Path, state_dir: Path | None
) -> tuple[int, tuple[str, ...]]:
    async with ledger_of(config_path, state_dir) as (ledger, loaded):
        _require_known(loaded, ref, tenant)
        revision, _ = await ledger.restore(ref, tenant, _event("ToolRestored", ref, tenant))
        left = [one for one in await ledger.withdrawals() if one.ref == ref and one.tenant is None]
        by_config = _by_config(loaded, ref, tenant, await ledger.inventory())
        runtime = ["it is still withdrawn from everybody at runtime; restore it without --tenant"] if left else []
        return revision, (*by_config, *runtime, *await unheard(ledger))


def _unmatched(ref: ToolRef, inventory: Sequence[ServerInventory]) -> Iterator[str]:
    """Yield a caution where the server is known and has no such tool: the name may be mistyped."""
    for one in inventory:
        if one.server == ref.server and ref.tool not in one.tools:
            names = ", ".join(sorted(one.tools)) or "none"
            yield f"{ref.server} has no tool {ref.tool!r} now, so nothing is taken from anybody; it has {names}"


def _by_config(
    loaded: Loaded | None, ref: ToolRef, tenant: str | None, inventory: Sequence[ServerInventory]
) -> Iterator[str]:
    if loaded is None:
        return
    names = {one.server: one.tools for one in inventory}
    mode = loaded.config.tool_access.mode
    catalogs = {id_: Catalog(id_, names.get(id_, ()), mode) for id_ in loaded.config.mcp_servers}
    found = config_withdrawals(loaded.config, catalogs)
    whose = [one for one, ids in found["tenant"].items() if tenant in (None, one) and str(ref) in ids]
    if str(ref) in found["global"] or whose:
        who = "everybody" if str(ref) in found["global"] else ", ".join(sorted(whose))
        yield f"{loaded.path} withdraws it from {who} all the same; see tool_projection there"


async def _withdrawals(config_path: Path, state_dir: Path | None) -> tuple[Withdrawal, ...]:
    async with ledger_of(config_path, state_dir) as (ledger, _):
        return await ledger.withdrawals()


def _require_known(loaded: Loaded | None, ref: ToolRef, tenant: str | None) -> None:
    """Raise NotFound for what the configuration does not have: a withdrawal with a typing error protects nobody."""
    if not TOOL_NAME.fullmatch(ref.tool):
        raise NotFound(f"{ref.tool!r} is not a tool's name")
    if loaded is None:
        return
    servers, tenants = loaded.config.mcp_servers, known_tenants(loaded.config)
    if ref.server not in servers:
        raise NotFound(f"no server {ref.server!r}; there is {', '.join(sorted(servers)) or 'none'}")
    if tenant is not None and tenant not in tenants:
        raise NotFound(f"no tenant {tenant!r}; there is {', '.join(sorted(tenants)) or 'none'}")


def _event(type_: str, ref: ToolRef, tenant: str | None) -> AuditEvent:
    target = {"action": "mcp_servers:lifecycle", "server": ref.server, "name": ref.tool, "id": str(ref)}
    return event(type_, "success", actor=operator(), target={**target, "tenant": tenant})


def _named(ref: ToolRef, tenant: str | None) -> dict[str, Any]:
    return {"mcp_server": ref.server, "tool": ref.tool, "tenant_id": tenant}


def _say(word: str, ref: ToolRef, tenant: str | None, revision: int, *, as_json: bool) -> None:
    if as_json:
        print_json({word: True} | _named(ref, tenant) | {"revision": f"r{revision}"})
    else:
        click.echo(f"{ref} is {word} for {tenant or 'everybody'} as r{revision}")
