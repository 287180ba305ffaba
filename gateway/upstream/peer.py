"""Whom messages go to, whatever carries them: an address over HTTP, a process over its standard streams.

`http` and `stdio` have one each. Who speaks to a server knows no more of them than this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from gateway.mcp.answers import ServerRequest
    from gateway.model import Principal
    from gateway.upstream.stream import Reply


class Incoming(Protocol):
    """What comes back for one request: everything before the answer as it is iterated over, and at the end `reply`."""

    @property
    def status(self) -> int:
        """The HTTP status, 200 where there is no HTTP."""

    @property
    def last_event_id(self) -> bytes | None:
        """Where the messages can be taken up again, None where they cannot."""

    @property
    def retry(self) -> int | None:
        """In how many milliseconds that may be done at the earliest, None where the server does not say."""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""

    @property
    def reply(self) -> Reply:
        """What came at the end; raises UpstreamFailed before it."""

    def __aiter__(self) -> Self:
        """Iterate over the messages."""

    async def __anext__(self) -> ServerRequest:
        """Return the next message; raises UpstreamFailed where none can come any more and the answer has not."""


class Peer(Protocol):
    """Takes messages; raises UpstreamFailed for whatever keeps one from being sent or answered.

    No message is ever sent twice. Headers are for who has them; deadlines are the caller's.
    """

    @property
    def silence_means_older(self) -> bool:
        """Whether no answer to a probe is one: that the server is of the older era (basic/transports/stdio)."""

    @property
    def is_one_session(self) -> bool:
        """Whether everything said is one session, so that hands are shaken once."""

    def naming(self, caller: Principal) -> Mapping[str, str]:
        """Return the headers that each request for a caller is to have; raises UpstreamFailed where there are none.

        None of them is one that a request has of itself.
        """

    async def ask(self, id_: int, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send request `id_` and return its answer; what the server asks on the way is refused."""

    def stream(
        self, id_: int, body: bytes, headers: Mapping[str, str], max_bytes: int | None = None
    ) -> AbstractAsyncContextManager[Incoming]:
        """Send request `id_` when entered; left before the answer, the server is told that nobody waits for it.

        `max_bytes` bounds all messages together.
        """

    def listen(self, headers: Mapping[str, str], id_: int | None = None) -> AbstractAsyncContextManager[Incoming]:
        """Hear what an older server says that answers nothing; with an id, the rest of that request's answer."""

    def refuse(self, message: ServerRequest, headers: Mapping[str, str]) -> None:
        """Answer what a server asked with a no; what it only told needs no answer."""

    def abandon(self, id_: int, headers: Mapping[str, str]) -> None:
        """Tell an older server that nobody waits for an answer, where leaving its stream has not said so."""

    async def tell(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Send what wants no answer."""

    async def courtesy(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Send what wants no answer and what may well get lost; raises nothing."""

    async def leave(self, headers: Mapping[str, str]) -> None:
        """End a session."""

    async def close(self) -> None:
        """End everything; what is under way fails."""
