"""A listener: where it is, and how many are connected to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.errors import ConfigError, Mistake

if TYPE_CHECKING:
    import ssl
    from contextlib import AsyncExitStack

    from gateway.endpoints.listener import Runner, Server


async def listening(
    stack: AsyncExitStack, runner: Runner, host: str, port: int, key: str, tls: ssl.SSLContext | None = None
) -> tuple[str, Server]:
    """Listen until the stack unwinds and return the URL and what counts its connections.

    Raises ConfigError, naming the key, where that cannot be.
    """
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        why = f"cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}; choose another"
        raise ConfigError((Mistake("", key, None, why),)) from error
    return address_of(site, runner), runner.listener


def address_of(site: web.TCPSite, runner: Runner) -> str:
    """Return the URL that a site listens on, with the port that it was given where none was asked for."""
    return site.name.rpartition(":")[0] + f":{runner.addresses[0][1]}"
