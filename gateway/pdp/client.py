"""The client that asks OPA: HTTP/1.1 on a unix socket or TCP, one deadline a question, no answer no admission."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import msgspec

from gateway.errors import DecisionUnavailable
from gateway.pdp.connection import Closed, Connection, Late
from gateway.pdp.deadlines import Deadlines
from gateway.pdp.lanes import Lanes

if TYPE_CHECKING:
    from types import TracebackType

    from gateway.pdp.deadlines import Deadline
    from gateway.pdp.http1 import Answer

# More questions at once than OPA has cores to decide on only make each of them late (measured: bench.gateway).
CONNECTIONS = max(8, min(32, 4 * (os.cpu_count() or 1)))
WAITING_PER_LANE = 256
MAX_ANSWER_BYTES = 4 * 1024 * 1024
FAILURES_BEFORE_PROBING = 5


@dataclass(frozen=True, slots=True)
class Address:
    """Where OPA listens: a unix socket's path, or host and port, with TLS if `tls`. `host` is as in the Host header."""

    path: str | None
    host: str
    port: int = 0
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read `unix:///path`, `http://host[:port]` or `https://host[:port]`; raises ValueError for all else."""
        parts = urlsplit(url)
        if url.startswith("unix:///") and len(parts.path) > 1 and not (parts.query or parts.fragment):
            return cls(path=parts.path, host="opa")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"not an address of OPA: {url!r}")
        if parts.username or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError(f"not an address of OPA: {url!r}")
        tls = parts.scheme == "https"
        return cls(path=None, host=parts.hostname, port=parts.port or (443 if tls else 80), tls=tls)

    @property
    def authority(self) -> str:
        """The Host header's value (RFC 9110 section 7.2)."""
        if self.path is not None:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class OpaClient:
    """Asks one OPA. Lanes are tenants: a tenant that floods waits for its own turn and takes nobody else's.

    After `FAILURES_BEFORE_PROBING` failures in a row to get any answer, one question at a time first asks OPA's
    /health; all others fail at once until that is answered. An OPA that answers, whatever it says, is no failure.
    """

    def __init__(
        self,
        url: str,
        *,
        deadline: float = 0.25,
        connections: int = CONNECTIONS,
        waiting_per_lane: int = WAITING_PER_LANE,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`deadline` is in seconds, for waiting, connecting and the answer; `tls` defaults to the system's trust."""
        self.address = Address.parse(url)
        self._tls = (tls or ssl.create_default_context()) if self.address.tls else None
        self._deadlines = Deadlines(deadline)
        self._limit = max_answer_bytes
        self._lanes = Lanes(connections, waiting_per_lane)
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._failures = 0
        self._probing = False
        self._host = self.address.authority.encode("ascii")
        self._heads: dict[str, bytes] = {}

    async def query(self, path: str, body: bytes, *, lane: str) -> bytes:
        """POST `body` to `path` and return the body of OPA's 200; anything else raises DecisionUnavailable.

        `path` is one of the gateway's own constants, never made of what a caller sent.
        """
        deadline = self._deadlines.begin()
        try:
            answer = await self._answer(b"%b%d\r\n\r\n%b" % (self._head(path), len(body), body), lane, deadline)
        finally:
            self._deadlines.end(deadline)
        if answer.status != 200:
            raise DecisionUnavailable(complaint(answer.status, answer.body))
        return answer.body

    @property
    def available(self) -> bool:
        """False while OPA has left too many questions in a row without any answer."""
        return self._failures < FAILURES_BEFORE_PROBING

    @property
    def waiting(self) -> int:
        """How many questions wait for a connection."""
        return self._lanes.waiting

    async def close(self) -> None:
        """Close every connection; questions under way fail."""
        for connection in tuple(self._connections):
            connection.close()
        self._idle.clear()
        self._connections.clear()
        self._deadlines.close()
        await asyncio.sleep(0)  # lets the transports report their end before the loop may stop

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _head(self, path: str) -> bytes:
        head = self._heads.get(path)
        if head is None:
            head = b"POST %b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\nContent-Length: "
            self._heads[path] = head = head % (path.encode("ascii"), self._host)
        return head

    async def _answer(self, request: bytes, lane: str, deadline: Deadline) -> Answer:
        if self._failures >= FAILURES_BEFORE_PROBING:
            await self._probe(deadline)
        if not self._lanes.try_enter():
            await self._lanes.enter(lane, deadline)
        try:
            answer = await self._exchange(request, deadline)
        except DecisionUnavailable:
            self._failures += 1
            raise
        finally:
            self._lanes.leave()
        self._failures = 0
        return answer

    async def _exchange(self, request: bytes, deadline: Deadline) -> Answer:
        while self._idle:
            connection = self._idle.pop()
            if connection.idle:
                try:
                    return await self._ask(connection, request, deadline)
                except Closed as error:
                    if not error.untouched:
                        raise
                    break  # OPA had let go of an idle connection: the one case that is asked again, on a new one
            self._connections.discard(connection)
        return await self._ask(await self._open(deadline), request, deadline)

    async def _ask(self, connection: Connection, request: bytes, deadline: Deadline) -> Answer:
        try:
            return await connection.ask(request, deadline)
        finally:
            if connection.idle:
                self._idle.append(connection)
            else:
                self._connections.discard(connection)

    async def _open(self, deadline: Deadline) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, self._limit)
        address = self.address
        try:
            async with asyncio.timeout_at(deadline.at):
                if address.path is not None:
                    await loop.create_unix_connection(lambda: connection, address.path)
                else:
                    await loop.create_connection(lambda: connection, address.host, address.port, ssl=self._tls)
        except TimeoutError:
            raise Late from None
        except OSError as error:
            raise DecisionUnavailable(f"OPA cannot be reached: {error.strerror or error}") from error
        self._connections.add(connection)
        return connection

    async def _probe(self, deadline: Deadline) -> None:
        """Ask OPA's /health, alone, on a connection of its own: a tenant's slow questions cannot answer for it."""
        if self._probing:
            raise DecisionUnavailable("OPA does not answer")
        self._probing = True
        try:
            connection = await self._open(deadline)
            try:
                await connection.ask(b"GET /health HTTP/1.1\r\nHost: %b\r\n\r\n" % self._host, deadline)
            finally:
                self._connections.discard(connection)
                connection.close()
            self._failures = 0
        finally:
            self._probing = False


def complaint(status: int, body: bytes) -> str:
    """Say for the log what OPA answered instead of a decision: codes and places, never its text or stack trace."""
    text = f"OPA answered {status}"
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        return text
    places = [f"{e.code} at {e.location.file}:{e.location.row}" for e in problem.errors[:3]]
    return f"{text}: {problem.code[:80]}" + "".join(f", {place[:200]}" for place in places)


class _Location(msgspec.Struct):
    file: str = ""
    row: int = 0


class _Error(msgspec.Struct):
    code: str = ""
    location: _Location = msgspec.field(default_factory=_Location)


class _Problem(msgspec.Struct):
    """OPA's error document, without the members that may repeat the input (`message`, `stack_trace`)."""

    code: str = ""
    errors: list[_Error] = []
