"""The client's address behind trusted proxies."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.addresses import parsed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.addresses import Network

# Some proxies write the port too: `192.0.2.1:4711`, `[2001:db8::1]:4711`.
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([0-9.]+):\d{1,5}")


def is_trusted(peer: str, trusted: Iterable[Network]) -> bool:
    """Say whether a connection's peer is a trusted proxy."""
    address = parsed(peer)
    return address is not None and any(address in network for network in trusted)


def client_address(peer: str, forwarded_for: Iterable[str], trusted: tuple[Network, ...]) -> str:
    """Return the address to hold responsible for a request.

    It is the connection's peer, unless that is a trusted proxy: then the hops of all X-Forwarded-For headers, in
    order of arrival, are walked from the last to the first one that is not trusted. A hop that is no address ends the
    walk at the last trusted one, because what stands before it could have been written by anybody.
    """
    if not trusted:
        return _written(peer)
    current = parsed(peer)
    if current is None:
        return peer
    if not any(current in network for network in trusted):
        return str(current)
    hops = [hop for value in forwarded_for for hop in value.split(",")]
    for hop in reversed(hops):
        address = parsed(_without_port(hop.strip(" \t")))
        if address is None:
            break
        current = address
        if not any(current in network for network in trusted):
            break
    return str(current)


# A peer sends many requests, and reading its address costs as much as all of its other headers.
@lru_cache(maxsize=4096)
def _written(peer: str) -> str:
    address = parsed(peer)
    return peer if address is None else str(address)


def _without_port(hop: str) -> str:
    match = _WITH_PORT.fullmatch(hop)
    return (match[1] or match[2]) if match else hop
