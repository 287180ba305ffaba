"""`portcullis check`: what is wrong with the files, before anything is started."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from bundles.custom import read_custom
from bundles.expand import Expander
from bundles.globs import Glob
from gateway.audit import now_ms
from gateway.cli.common import AT_ONCE, config_option, counted, json_option, print_json, run
from gateway.config import exposed, load
from gateway.config.headers import filled
from gateway.config.reloading import standing_of
from gateway.config.warnings_tenants import several
from gateway.endpoints.tls import tls_context
from gateway.errors import ConfigError, EngineMissing, UpstreamFailed
from gateway.facts import ServerInventory
from gateway.known import inventory_of
from gateway.pdp.opa_binary import find
from gateway.rooms import server_keys, upstream_targets
from gateway.upstream.command import environment, problem
from gateway.upstream.pool import Upstreams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bundles.expand import Collision
    from gateway.config import Config, Loaded, Source
    from gateway.errors import Mistake


@dataclass(frozen=True, slots=True)
class Found:
    """What a check has to say; an error makes `check` fail, a warning does not. `mistake` is one that is in a file."""

    text: str
    error: bool = False
    mistake: Mistake | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The same for programs."""
        level = "error" if self.error else "warning"
        return {"level": level, "text": self.text, **(asdict(self.mistake) if self.mistake else {})}


KEYS = ("allow_list", "deny_list")
Check = Callable[["Loaded"], Awaitable[tuple[Found, ...]]]


async def warnings_of(loaded: Loaded) -> tuple[Found, ...]:
    """Say what is allowed in the configuration and rarely meant."""
    danger = exposed(loaded.config)
    return tuple(
        Found(text) for text in (*loaded.warnings, *([f"up and serve refuse this: {danger}"] if danger else []))
    )


async def catalogs_of(loaded: Loaded) -> tuple[Found, ...]:
    """Say what is wrong with catalogs, and with what tenants are offered: each mistake suspends its tenant alone."""
    return tuple(
        Found(f"{mistake} ({standing_of(one)})", error=True, mistake=mistake)
        for one in loaded.kept_back
        for mistake in one.mistakes
    )


async def tls_of(loaded: Loaded) -> tuple[Found, ...]:
    """Read the gateway's own certificate and key."""
    try:
        tls_context(loaded.config)
    except ConfigError as error:
        return _mistaken(error)
    return ()


async def policy_of(loaded: Loaded) -> tuple[Found, ...]:
    """Check users' Rego as sync does before it publishes it; without an OPA it cannot be, which is wrong too."""
    folder = loaded.config.opa.custom_policies
    if folder is None:
        return ()
    try:
        binary = await asyncio.to_thread(find, loaded.config.opa.binary)
        await asyncio.to_thread(read_custom, folder, binary.path)
    except ConfigError as error:
        return _mistaken(error)
    except EngineMissing as error:
        return (Found(f"{folder}: {error}", error=True),)
    return ()


async def commands_of(loaded: Loaded) -> tuple[Found, ...]:
    """Say which servers cannot be started here, because what is to be run is not on this machine."""
    own = {
        f"{tenant.id}: mcp_servers.{id_}": server
        for tenant in loaded.config.tenants
        for id_, server in (tenant.catalog.own if tenant.catalog else {}).items()
    }
    shared = {f"mcp_servers.{id_}": server for id_, server in loaded.config.mcp_servers.items()}
    started = ((at, server) for at, server in {**shared, **own}.items() if server.mode == "stdio")
    found = ((at, problem(server.command, server.cwd, environment(filled(server.env, None)))) for at, server in started)
    return tuple(Found(f"{at}.{wrong[0]}: {wrong[1]}", error=True) for at, wrong in found if wrong)


async def servers_of(loaded: Loaded) -> tuple[Found, ...]:
    """Ask every server for its tools, and say which names collide; one that is down now may be up later."""
    upstreams = Upstreams(upstream_targets(loaded.config))
    try:
        turns = asyncio.Semaphore(AT_ONCE)
        listed = await asyncio.gather(*(_listed(upstreams, name, turns) for name in server_keys(loaded.config)))
    finally:
        await upstreams.close()
    inventory = [one for one in listed if isinstance(one, ServerInventory)]
    collisions = Expander().expand(loaded.config, loaded.hash, inventory).collisions
    shared = [one for one in inventory if one.server in loaded.config.mcp_servers]
    unmatched = (Found(text) for one in shared for text in _unmatched(loaded.config, one))
    return (*(one for one in listed if isinstance(one, Found)), *unmatched, *map(_colliding, collisions))


async def _listed(upstreams: Upstreams, name: str, turns: asyncio.Semaphore) -> ServerInventory | Found:
    try:
        async with turns:
            offered = await upstreams.offered(name)
    except UpstreamFailed as error:
        return Found(f"server {name} cannot be listed: it {error.why}")
    return inventory_of(name, "", offered, now_ms())


def _unmatched(config: Config, listed: ServerInventory) -> Iterator[str]:
    """Yield the entries of a server's lists that match none of its tools: a mistyped deny_list denies nothing."""
    server, at = config.mcp_servers[listed.server], f"mcp_servers.{listed.server}"
    lists = [(f"{at}.tools", server.tools)]
    lists += [(f"{at}.tool_access.member.{tenant}", own) for tenant, own in server.tool_access.member.items()]
    entries = [(f"{where}.{key}", getattr(own, key)) for where, own in lists for key in KEYS]
    entries += _offered(config, listed.server)
    entries.append((f"{at}.tool_projection.withdrawn", server.tool_projection.withdrawn))
    for tenant, override in server.tool_projection.tenant_overrides.items():
        entries.append((f"{at}.tool_projection.tenant_overrides.{tenant}.withdrawn", override.withdrawn))
    for where, patterns in entries:
        for pattern in patterns:
            if not any(Glob(pattern).matches(name) for name in listed.tools):
                names = ", ".join(sorted(listed.tools)) or "none"
                yield f"{where}: {pattern} matches no tool that {listed.server} has now ({names})"


def _offered(config: Config, server: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the entries of catalogs about a server, each with the tenants whose catalogs have it."""
    tenants: dict[tuple[str, str], set[str]] = {}
    for tenant in config.tenants:
        offer = tenant.catalog.servers.get(server) if tenant.catalog else None
        for key in KEYS:
            for pattern in getattr(offer.tools, key) if offer else ():
                tenants.setdefault((key, pattern), set()).add(tenant.id)
    for (key, pattern), ids in sorted(tenants.items()):
        yield f"catalog of {several(ids)}: servers.{server}.tools.{key}", (pattern,)


def _colliding(one: Collision) -> Found:
    return Found(f"the name {one.name!r} of {', '.join(one.ids)} is offered by none of them, because several have it")


CHECKS: tuple[Check, ...] = (warnings_of, tls_of, catalogs_of, policy_of, commands_of, servers_of)


@click.command()
@config_option
@json_option
def check(config_path: Source, as_json: bool) -> None:
    """Check configuration, custom policy and servers. Status 1 where there is an error, 0 with warnings alone."""
    found = run(_found(config_path))
    failed = any(one.error for one in found)
    if as_json:
        print_json({"ok": not failed, "found": [one.document for one in found]})
    else:
        _print(config_path, found)
    if failed:
        raise click.exceptions.Exit(1)


async def _found(config_path: Source) -> tuple[Found, ...]:
    try:
        loaded = load(config_path)
    except ConfigError as error:
        return _mistaken(error)
    return tuple([one for check_ in CHECKS for one in await check_(loaded)])


def _mistaken(error: ConfigError) -> tuple[Found, ...]:
    return tuple(Found(str(mistake), error=True, mistake=mistake) for mistake in error.mistakes)


def _print(config_path: Source, found: tuple[Found, ...]) -> None:
    for one in found:
        click.echo(f"{'error' if one.error else 'warning'}: {one.text}", err=one.error)
    errors = sum(one.error for one in found)
    click.echo(
        f"{config_path}: {counted(errors, 'error')}, {counted(len(found) - errors, 'warning')}", err=bool(errors)
    )
