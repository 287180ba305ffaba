"""Messages over a pipe: one a line, those of several requests on the same one (basic/transports/stdio)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, UnsetType

if TYPE_CHECKING:
    from gateway.mcp.answers import ServerRequest

Token = int | str


def one_line(message: bytes) -> bytes:
    """Return a JSON text without line ends, which can only be blanks between what it says (RFC 8259, section 2).

    What others wrote may hold some, and after each of them a line that only looks like a message.
    """
    return message.replace(b"\n", b" ").replace(b"\r", b" ")


class Lines:
    """Feed it what came through a pipe; it gives back the lines that are whole, blank ones too.

    None stands for one of more than `max_bytes`, of which nothing is kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pending: list[bytes] = []
        self._size = 0
        self._skipping = False

    def feed(self, chunk: bytes) -> list[bytes | None]:
        """Return the lines that this chunk completes."""
        if self._skipping:
            _, end, chunk = chunk.partition(b"\n")
            self._skipping = not end
        # Joining only where a line ends keeps a long line in small chunks from being copied each time.
        self._pending.append(chunk)
        self._size += len(chunk)
        if b"\n" not in chunk:
            return self._begun()
        *lines, rest = b"".join(self._pending).split(b"\n")
        self._pending, self._size = [rest], len(rest)
        return [line if len(line) <= self._max_bytes else None for line in lines] + self._begun()

    def rest(self) -> bytes:
        """Return what was left without an end, when nothing more comes."""
        rest = b"".join(self._pending)
        self._pending, self._size = [], 0
        return rest

    def _begun(self) -> list[bytes | None]:
        """Give up a line that has become too long before its end."""
        if self._size <= self._max_bytes:
            return []
        self._pending, self._size, self._skipping = [], 0, True
        return [None]


class _Meta(msgspec.Struct):
    subscription: Token | UnsetType = msgspec.field(name="io.modelcontextprotocol/subscriptionId", default=UNSET)
    progress: Token | UnsetType = msgspec.field(name="progressToken", default=UNSET)


class _Params(msgspec.Struct):
    progress: Token | UnsetType = msgspec.field(name="progressToken", default=UNSET)
    request: Token | UnsetType = msgspec.field(name="requestId", default=UNSET)
    meta: _Meta | UnsetType = msgspec.field(name="_meta", default=UNSET)


class _Message(msgspec.Struct):
    params: _Params | UnsetType = UNSET


_DECODER = msgspec.json.Decoder(_Message)


def progress_token(request: bytes) -> Token | None:
    """Return the token under which a request wants to hear of its progress."""
    params = _params(request)
    meta = params.meta if params else UNSET
    return meta.progress if meta is not UNSET and meta.progress is not UNSET else None


def topic(message: ServerRequest) -> tuple[Token | None, Token | None]:
    """Return which request a notification is about, by its progress token or by its id; None where it does not say.

    A subscription goes by the id of the request that made it, and only that is taken back (2026-07-28).
    """
    params = _params(message.body)
    if params is None:
        return None, None
    if message.method == "notifications/progress":
        return params.progress if params.progress is not UNSET else None, None
    named = params.request if message.method == "notifications/cancelled" else UNSET
    if named is UNSET and params.meta is not UNSET:
        named = params.meta.subscription
    return None, named if named is not UNSET else None


def _params(body: bytes) -> _Params | None:
    try:
        params = _DECODER.decode(body).params
    except (msgspec.MsgspecError, RecursionError):
        return None
    return params if params is not UNSET else None
