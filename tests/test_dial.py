"""Connections to admitted addresses only (threats A21 and A22), with TLS that knows whom it speaks to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from gateway.addresses import Addresses, AddressRefused
from gateway.dial import Dialer, NameUnknown
from gateway.upstream.failures import reason
from tests.support.https import contexts
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ANY, PUBLIC = Addresses.of_server(), Addresses.of_issuer()


class Names:
    """A resolver that answers each question with the next of its lists of addresses, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, host: str, port: int) -> Any:
        self.asked += 1
        await self.gate.wait()
        return [self._info(address, port) for address in self.answers[min(self.asked, len(self.answers)) - 1]]

    @staticmethod
    def _info(address: str, port: int) -> Any:
        if ":" in address:
            return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
        return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))


class Door:
    """Counts who comes in."""

    def __init__(self) -> None:
        self.port = 0
        self.came: list[asyncio.StreamWriter] = []
        self.open = 0
        self.names: list[str | None] = []

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came.append(writer)
        self.open += 1
        with contextlib.suppress(ConnectionError):
            await reader.read()
        self.open -= 1
        writer.close()

    def name(self, _: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        self.names.append(name)


@asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Door]:
    door = Door()
    if tls is not None:
        tls.sni_callback = door.name
    server = await asyncio.start_server(door.greet, host, 0, ssl=tls)
    door.port = server.sockets[0].getsockname()[1]
    try:
        yield door
    finally:
        server.close()
        for writer in door.came:
            writer.close()
        await until(lambda: not door.open)


class Guest(asyncio.Protocol):
    """Keeps its transport."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]


async def dial(door: Door, host: str = "127.0.0.1", addresses: Addresses = ANY, **options: Any) -> Guest:
    """Come in, and go again."""
    guest = await Dialer(addresses, host, door.port, **options).connect(Guest)
    guest.transport.abort()
    return guest


async def test_a_server_is_reached_by_address_and_by_name():
    async with listening() as door:
        await dial(door)
        await dial(door, "server.test", look_up=Names(["127.0.0.1"]))
        await dial(door, "localhost")
        await until(lambda: len(door.came) == 3)


async def test_a_server_is_reached_by_its_ipv6_address():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with listening(host="::1") as door:
        await dial(door, "::1")
        await dial(door, "server.test", look_up=Names(["::1"]))
        await until(lambda: len(door.came) == 2)


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1", "127.0.0.2", "::1", "169.254.169.254"])
async def test_a_literal_address_that_no_resolver_sees_is_refused(host: str):
    async with listening() as door:
        with pytest.raises(AddressRefused, match="not an address to connect to"):
            await dial(door, host, PUBLIC)
        assert not door.came


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1"])
async def test_an_address_in_disguise_is_refused(host: str):
    async with listening() as door:
        with pytest.raises((AddressRefused, NameUnknown)):
            await dial(door, host, PUBLIC)
        assert not door.came


@pytest.mark.parametrize(
    "answers",
    [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["127.0.0.1", "93.184.216.34"], ["::ffff:127.0.0.1"]],
)
async def test_one_refused_answer_among_several_refuses_the_name(answers: list[str]):
    async with listening() as door:
        with pytest.raises(AddressRefused):
            await dial(door, "server.test", PUBLIC, look_up=Names(answers))
        assert not door.came


async def test_a_metadata_address_is_refused_even_where_the_others_are_not():
    async with listening() as door:
        with pytest.raises(AddressRefused, match=r"169\.254\.169\.254"):
            await dial(door, "server.test", look_up=Names(["127.0.0.1", "169.254.169.254"]))
        assert not door.came


async def test_a_name_that_is_rebound_after_its_first_use_is_refused_at_the_next_connection():
    loopback = Addresses.of_issuer(loopback=True)
    async with listening() as door:
        dialer = Dialer(loopback, "server.test", door.port, look_up=Names(["127.0.0.1"], ["10.0.0.1"]))
        (await dialer.connect(Guest)).transport.abort()
        with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
            await dialer.connect(Guest)
        await until(lambda: len(door.came) == 1)


async def test_an_address_that_changes_its_class_between_look_up_and_connection_is_refused_at_the_socket():
    """The second look is at the address itself, right before it is connected to."""

    class Fickle(Addresses):
        asked = 0

        def admit(self, address: str) -> bool:
            Fickle.asked += 1
            return Fickle.asked == 1

    async with listening() as door:
        with pytest.raises(AddressRefused):
            await dial(door, "server.test", Fickle(), look_up=Names(["127.0.0.1"]))
        assert not door.came


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".test", "a..b"])
async def test_a_name_without_an_address_is_said_to_have_none(host: str):
    with pytest.raises(NameUnknown) as unknown:
        await Dialer(ANY, host, 80).connect(Guest)
    assert reason(unknown.value) == "its name does not resolve"


async def test_a_resolver_that_finds_nothing_finds_no_address():
    with pytest.raises(NameUnknown):
        await Dialer(ANY, "server.test", 80, look_up=Names([])).connect(Guest)


async def test_the_second_address_is_tried_where_the_first_does_not_answer():
    async with listening() as door:
        await dial(door, "server.test", look_up=Names(["127.0.0.9", "127.0.0.1"]))
        await until(lambda: len(door.came) == 1)


async def test_nobody_there_is_an_error_of_the_connection():
    async with listening() as door:
        pass
    with pytest.raises(ConnectionRefusedError) as refused:
        await dial(door)
    assert reason(refused.value) == "cannot be reached"


async def test_many_connections_at_once_look_a_name_up_once():
    names = Names(["127.0.0.1"])
    names.gate.clear()
    async with listening() as door:
        dialer = Dialer(ANY, "server.test", door.port, look_up=names)
        coming = [asyncio.create_task(dialer.connect(Guest)) for _ in range(5)]
        await until(lambda: names.asked)
        names.gate.set()
        for guest in await asyncio.gather(*coming):
            guest.transport.abort()
        await until(lambda: len(door.came) == 5)
        assert names.asked == 1
        (await dialer.connect(Guest)).transport.abort()
        assert names.asked == 2


# --- TLS ------------------------------------------------------------------------------------------------------------


async def test_a_certificate_of_the_host_is_accepted_and_the_host_is_named_to_the_server(tmp_path: Path):
    inward, outward = contexts(tmp_path)
    async with listening(inward) as door:
        await dial(door, tls=outward)
        with pytest.raises(ssl.SSLError):
            await dial(door, "server.test.", tls=outward, look_up=Names(["127.0.0.1"]))
        assert door.names == [None, "server.test"]


async def test_a_certificate_of_another_host_is_not_accepted(tmp_path: Path):
    inward, outward = contexts(tmp_path)
    async with listening(inward) as door:
        with pytest.raises(ssl.SSLCertVerificationError) as refused:
            await dial(door, "server.test", tls=outward, look_up=Names(["127.0.0.1"]))
    async with listening(inward, "127.0.0.2") as door:
        with pytest.raises(ssl.SSLCertVerificationError):
            await dial(door, "127.0.0.2", tls=outward)
    assert reason(refused.value) == "its certificate is not accepted"


async def test_a_certificate_that_nobody_vouches_for_is_not_accepted(tmp_path: Path):
    inward, _ = contexts(tmp_path)
    async with listening(inward) as door:
        with pytest.raises(ssl.SSLCertVerificationError):
            await dial(door, tls=ssl.create_default_context())


async def test_a_handshake_that_is_given_up_leaves_no_connection(tmp_path: Path):
    _, outward = contexts(tmp_path)
    async with listening() as door:
        coming = asyncio.create_task(dial(door, tls=outward))
        await until(lambda: door.open)
        coming.cancel()
        await asyncio.wait([coming])
        await until(lambda: not door.open)


async def test_it_is_the_same_on_the_loop_that_the_gateway_runs_on(tmp_path: Path):
    async def everything() -> None:
        await test_a_server_is_reached_by_address_and_by_name()
        await test_a_literal_address_that_no_resolver_sees_is_refused("127.0.0.1")
        await test_one_refused_answer_among_several_refuses_the_name(["93.184.216.34", "127.0.0.1"])
        await test_the_second_address_is_tried_where_the_first_does_not_answer()
        await test_nobody_there_is_an_error_of_the_connection()
        await test_a_name_without_an_address_is_said_to_have_none("nowhere.invalid")
        await test_a_certificate_of_another_host_is_not_accepted(tmp_path)
        await test_a_certificate_of_the_host_is_accepted_and_the_host_is_named_to_the_server(tmp_path)
        await test_a_handshake_that_is_given_up_leaves_no_connection(tmp_path)

    await asyncio.to_thread(uvloop.run, everything())
