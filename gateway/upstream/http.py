"""Streamable HTTP as a client: one message out, one answer in, everything bounded, no redirect followed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from yarl import URL

from gateway.config.headers import CallerUnnamed
from gateway.config.servers import is_own_header
from gateway.errors import UpstreamFailed
from gateway.http1.request import BadField, field_lines
from gateway.upstream import outgoing
from gateway.upstream.failures import MAX_ANSWER_BYTES, TENANT_WANTED
from gateway.upstream.stream import Sending

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.mcp.answers import ServerRequest
    from gateway.model import Principal
    from gateway.upstream.connections import Connections
    from gateway.upstream.errands import Errands
    from gateway.upstream.stream import Reply
    from gateway.upstream.target import Target

_EVERY_REQUEST = {"User-Agent": "portcullis", "Accept-Encoding": "identity"}
_ACCEPTED = "application/json, text/event-stream"
# What each verb's requests carry beside; a GET waits for messages that answer nothing.
_OWN_HEADERS: Mapping[str, Mapping[str, str]] = {
    "POST": {"Accept": _ACCEPTED, "Content-Type": "application/json"},
    "GET": {"Accept": "text/event-stream"},
    "DELETE": {"Accept": _ACCEPTED},
}


class Endpoint:
    """One server's address; raises UpstreamFailed for whatever is not an HTTP answer of bounded size.

    No request is ever sent twice, and the deadline is the caller's: it spans probing, handshake and call, which no
    single request knows.
    """

    # It means an address where nothing answers, whatever would.
    silence_means_older = False
    is_one_session = False

    def __init__(
        self,
        target: Target,
        connections: Connections,
        errands: Errands,
        heard: Callable[[ServerRequest], None] = lambda _: None,
    ) -> None:
        """`heard` gets what the server tells and nobody waits for, such as that it offers something else."""
        self._server = target.server
        self._connections = connections
        self._errands = errands
        self._heard = heard
        self._configured = {name: value for name, value in target.headers.items() if not is_own_header(name)}
        self._url = URL(target.endpoint)
        self._naming = target.naming
        self._names = frozenset(map(str.lower, (*_EVERY_REQUEST, *self._configured)))
        self._heads = {verb: self._head(verb, {}) for verb in _OWN_HEADERS}

    def naming(self, caller: Principal) -> Mapping[str, str]:
        """Return the headers that each request for this caller is to have."""
        try:
            return self._naming.of(caller)
        except CallerUnnamed as error:
            raise UpstreamFailed(self._server, TENANT_WANTED) from error

    async def ask(self, id_: int, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Post request `id_` and return its answer; what the server asks on the way is refused."""
        async with self._sending("POST", headers, body, id_=id_, max_bytes=MAX_ANSWER_BYTES) as stream:
            async for message in stream:
                self.refuse(message, headers)
        return stream.reply

    def stream(self, id_: int, body: bytes, headers: Mapping[str, str], max_bytes: int | None = None) -> Sending:
        """Post request `id_`; what is entered with `async with` gives the messages before its answer, and then that.

        `max_bytes` bounds all of them together.
        """
        return self._sending("POST", headers, body, id_=id_, max_bytes=max_bytes)

    def listen(self, headers: Mapping[str, str], id_: int | None = None) -> Sending:
        """Get the stream on which an older server says what answers nothing; it lasts until the server ends it.

        With an id it is one that is taken up again, to the answer of that request.
        """
        return self._sending("GET", headers, id_=id_)

    def refuse(self, message: ServerRequest, headers: Mapping[str, str]) -> None:
        """Answer what a server asked on a stream with a no; what it only told is heard if it is of what it offers."""
        if message.id is None:
            self._heard(message)
        else:
            self._errands.run(self.courtesy(outgoing.refusal(message.id, message.method), headers))

    def abandon(self, id_: int, headers: Mapping[str, str]) -> None:
        """Tell an older server, to which a closed connection says nothing (2025-11-25, utilities/cancellation)."""
        body = outgoing.notification("notifications/cancelled", {"requestId": id_})
        self._errands.run(self.courtesy(body, headers))

    async def tell(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Post what wants no answer; what the server thinks of it is not asked."""
        async with self._sending("POST", headers, body, enough=True):
            pass

    async def courtesy(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Post what wants no answer and what may well get lost."""
        with suppress(UpstreamFailed):
            await self.tell(body, headers)

    async def leave(self, headers: Mapping[str, str]) -> None:
        """End a session; a server that does not care for that is left alone."""
        with suppress(UpstreamFailed):
            async with self._sending("DELETE", headers, enough=True):
                pass

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    def _sending(
        self,
        verb: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        id_: int | None = None,
        max_bytes: int | None = None,
        enough: bool = False,
    ) -> Sending:
        try:
            request = self._request(verb, headers, body)
        except BadField as error:
            raise UpstreamFailed(self._server, "would need a header that HTTP cannot carry") from error
        return Sending(self._server, self._connections, request, id_=id_, max_bytes=max_bytes, enough=enough)

    def _request(self, verb: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        if self._names.isdisjoint(map(str.lower, headers)):
            head, lines = self._heads[verb], field_lines(headers)
        else:
            head, lines = self._head(verb, headers), b""
        if body is None:
            return b"%b%b\r\n" % (head, lines)
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, lines, len(body), body)

    def _head(self, verb: str, headers: Mapping[str, str]) -> bytes:
        host = {"Host": self._url.host_port_subcomponent or ""}
        fields = _merged(host, _EVERY_REQUEST, self._configured, headers, _OWN_HEADERS[verb])
        return b"%b %b HTTP/1.1\r\n%b" % (verb.encode(), self._url.raw_path_qs.encode("ascii"), field_lines(fields))


def _merged(*groups: Mapping[str, str]) -> dict[str, str]:
    """Return each header once, however it is written: as the last group has it."""
    fields = {name.lower(): (name, value) for group in groups for name, value in group.items()}
    return dict(fields.values())
