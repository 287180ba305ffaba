"""Everything that may go wrong between a request and its answer, in the words that agents and operators read."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.addresses import AddressRefused
from gateway.dial import NameUnknown
from gateway.errors import UpstreamFailed
from gateway.http1.head import Malformed
from gateway.mcp.answers import Unusable
from gateway.mcp.sse import TooLong
from gateway.upstream.exchange import Closed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.upstream.target import Limits

MAX_ANSWER_BYTES = 16 * 1024 * 1024
BROKE_OFF = "broke off before it answered"
TENANT_WANTED = "is told each caller's tenant, and this caller has none"
# Nothing among them would be this gateway's own mistake.
FAILURES = (OSError, Malformed, Unusable, TooLong)


class BrokeOff(UpstreamFailed):
    """The connection, or the stream on it, ended before the answer had come."""


def failure(server: str, error: Exception) -> UpstreamFailed:
    """Return what goes on of one of `FAILURES`."""
    why = reason(error)
    return BrokeOff(server, why) if why == BROKE_OFF else UpstreamFailed(server, why)


@contextmanager
def named_failures(target: Limits, seconds: float | None = None) -> Iterator[None]:
    """Name the server in what went wrong; `seconds` is the time that it had, where that is not what any answer has."""
    try:
        yield
    except TimeoutError as error:
        had = target.timeout_seconds if seconds is None else seconds
        raise UpstreamFailed(target.server, f"gave no answer within {had:g} s") from error
    except Unusable as error:
        raise UpstreamFailed(target.server, str(error)) from error


def reason(error: Exception) -> str:
    """Say in a verb phrase what went wrong, without a word that the server chose."""
    match error:
        case Unusable():
            return str(error)
        case TooLong():
            return f"answered more than {MAX_ANSWER_BYTES // 1024 // 1024} MiB"
        case Malformed():
            return "does not speak HTTP"
        case Closed():
            return BROKE_OFF
        case NameUnknown():
            return "its name does not resolve"
        case AddressRefused():
            return "its address is not one to connect to"
        case ssl.SSLError():
            return "its certificate is not accepted"
        case _:
            return "cannot be reached"
