"""Everything that may go wrong between a request and its answer, in the words that agents and operators read."""

from __future__ import annotations

import ssl

from gateway.addresses import AddressRefused
from gateway.dial import NameUnknown
from gateway.http1.head import Malformed
from gateway.mcp.answers import Unusable
from gateway.mcp.sse import TooLong
from gateway.upstream.exchange import Closed

MAX_ANSWER_BYTES = 16 * 1024 * 1024
BROKE_OFF = "broke off before it answered"
# Nothing among them would be this gateway's own mistake.
FAILURES = (OSError, Malformed, Unusable, TooLong)


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
