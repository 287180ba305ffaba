"""What a server answered: the envelope is read, everything within stays the bytes that were sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class RpcError:
    """A server's JSON-RPC error; `data` is the JSON text of that member, if there was one."""

    code: int
    message: str
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer to one request: either the members of its result, each as sent, or its error."""

    result: Mapping[str, Raw] = field(default_factory=dict)
    error: RpcError | None = None

    @property
    def is_error(self) -> bool:
        """Whether the server says that it failed, by either of the two ways there are."""
        # As text, because the member of a server talking nonsense may be anything, of any size.
        return self.error is not None or bytes(self.result.get("isError", b"")) == b"true"

    def member(self, name: str) -> Any:
        """Return one member of the result decoded, None where it is missing."""
        raw = self.result.get(name)
        return None if raw is None else msgspec.json.decode(raw)


def is_object(raw: Raw) -> bool:
    """Whether JSON text that was left undecoded is an object."""
    return memoryview(raw)[0] == ord("{")


class Unusable(ValueError):
    """A body is not an answer to what was asked; the text says why and is safe to show."""


class _Error(msgspec.Struct):
    code: int
    message: str
    data: Raw | UnsetType = UNSET


class _Envelope(msgspec.Struct):
    jsonrpc: str
    id: Raw | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: dict[str, Raw] | UnsetType = UNSET
    error: _Error | UnsetType = UNSET


# A struct, because a stream may have thousands: a dataclass takes four times as long to make.
class ServerRequest(msgspec.Struct):
    """Something a server asks or tells its client; `id` is JSON text, None for a notification, `body` the message.

    `event_id` and `retry` are what its event says of taking up the stream again. An event that says nothing else has no
    method.
    """

    method: str
    id: bytes | None
    body: bytes
    params: Raw | None = None
    event_id: bytes | None = None
    retry: int | None = None


def parse(body: bytes, id_: int | None) -> Answer | ServerRequest:
    """Return the answer to request `id_`, or what the server asks instead; raises Unusable.

    Without an `id_` there is nothing to answer.
    """
    envelope = _envelope(body)
    if envelope.method is not UNSET:
        return _request(envelope, envelope.method, body)
    if id_ is None or envelope.id is UNSET or bytes(envelope.id) != b"%d" % id_:
        raise Unusable("answered another request than the one sent")
    return _answer(envelope)


def parse_any(body: bytes) -> tuple[bytes, Answer] | ServerRequest:
    """Return an answer with the JSON text of the id that it names, or what the server asks; raises Unusable.

    For a pipe, on which the answers to several requests come in any order.
    """
    envelope = _envelope(body)
    if envelope.method is not UNSET:
        return _request(envelope, envelope.method, body)
    return b"null" if envelope.id is UNSET else bytes(envelope.id), _answer(envelope)


def _request(envelope: _Envelope, method: str, body: bytes) -> ServerRequest:
    id_ = None if envelope.id is UNSET else bytes(envelope.id)
    return ServerRequest(method, id_, body, None if envelope.params is UNSET else envelope.params)


def _answer(envelope: _Envelope) -> Answer:
    if envelope.error is not UNSET:
        fault = envelope.error
        return Answer(error=RpcError(fault.code, fault.message, None if fault.data is UNSET else bytes(fault.data)))
    if envelope.result is UNSET:
        raise Unusable("answered neither a result nor an error")
    return Answer(envelope.result)


def _envelope(body: bytes) -> _Envelope:
    try:
        # msgspec does not look into strings that it leaves alone.
        body.decode()
        envelope: _Envelope = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unusable("did not answer with a JSON-RPC object") from None
    if envelope.jsonrpc != "2.0":
        raise Unusable("did not answer with JSON-RPC 2.0")
    return envelope


_DECODER = msgspec.json.Decoder(_Envelope)
