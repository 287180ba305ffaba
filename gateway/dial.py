"""Connections to admitted addresses (`addresses.py`) and to no other, for protocols of our own.

The rule is applied twice to every connection: to all answers for a name, where one bad answer refuses the name, and
to the address that is connected to in the end.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from typing import TYPE_CHECKING, TypeVar

import aiohappyeyeballs

from gateway.addresses import AddressRefused, parsed
from gateway.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from aiohappyeyeballs import AddrInfoType

    from gateway.addresses import Addresses

P = TypeVar("P", bound=asyncio.BaseProtocol)

# RFC 8305, section 8: how long one address is given before the next is tried beside it.
_HEAD_START_SECONDS = 0.25


class NameUnknown(OSError):
    """A name has no address."""


async def look_up(host: str, port: int) -> Sequence[AddrInfoType]:
    """Return the addresses that this machine's resolver has for a name; raises NameUnknown."""
    try:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except (socket.gaierror, UnicodeError) as error:
        raise NameUnknown(f"{host} has no address") from error


@functools.cache
def trust() -> ssl.SSLContext:
    """Return what servers' certificates are checked by: this machine's trust store, loaded once, as it takes 20 ms."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Dialer:
    """Opens connections to one place, for one policy."""

    def __init__(
        self,
        addresses: Addresses,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        look_up: Callable[[str, int], Coroutine[None, None, Sequence[AddrInfoType]]] = look_up,
    ) -> None:
        """`host` is a name or a literal address without brackets; with `tls` its certificate must name it."""
        self._addresses = addresses
        self._host = host
        self._port = port
        self._tls = tls
        # One at a time: a flood of calls to one slow name would take the threads that look up all others.
        self._looking_up = SingleFlight(functools.partial(look_up, host, port))

    async def connect(self, factory: Callable[[], P]) -> P:
        """Return the protocol of a new connection, TLS and all.

        Raises AddressRefused, NameUnknown, ssl.SSLError, or any other OSError.
        """
        found = await self._admitted()
        try:
            sock = await aiohappyeyeballs.start_connection(
                found, happy_eyeballs_delay=_HEAD_START_SECONDS, socket_factory=self._socket
            )
        except RuntimeError as error:
            # uvloop says so where a descriptor of a closed connection has just been given out anew.
            raise OSError(str(error)) from error
        # A certificate names its host without the dot that ends a full name.
        name = self._host.rstrip(".") if self._tls else None
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(factory, sock=sock, ssl=self._tls, server_hostname=name)
        return protocol

    async def _admitted(self) -> Sequence[AddrInfoType]:
        found = _literal(self._host, self._port) or await self._looking_up()
        if not found:
            raise NameUnknown(f"{self._host} has no address")
        for *_, where in found:
            self._require(where)
        return found

    def _socket(self, info: AddrInfoType) -> socket.socket:
        family, kind, proto, _, where = info
        self._require(where)
        return socket.socket(family, kind, proto)

    def _require(self, where: Sequence[object]) -> None:
        if not self._addresses.admit(str(where[0])):
            raise AddressRefused(f"{self._host} is at {where[0]}, which is not an address to connect to")


def _literal(host: str, port: int) -> Sequence[AddrInfoType]:
    """Return where a literal address is, nothing for a name; one with a zone is the resolver's business."""
    address = parsed(host)
    if address is None or "%" in host:
        return ()
    if ":" in host:
        return [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))]
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
