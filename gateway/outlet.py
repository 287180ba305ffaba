"""The agent's side of one request, as whoever works for it sees it: what can be said before the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Check = Callable[[], Awaitable[int]]


class Outlet(Protocol):
    """Says things to the agent of one request before its answer, no faster than the agent takes them."""

    check: Check | None
    """Asks again whether the agent may have what it is having, and returns the revision that said so.

    Raises GatewayError where it may not any more.
    """

    @property
    def open(self) -> bool:
        """Whether something can be said before the answer."""

    async def tell(self, message: bytes, event_id: str | None = None, retry: int | None = None) -> bool:
        """Say one message and wait until there is room for the next; False where the agent cannot hear it.

        `event_id` is what the agent can come back with, `retry` in how many milliseconds at the earliest.
        """

    def on_gone(self, left: Callable[[], None]) -> None:
        """Call `left` once the agent is not there any more, though its request goes on."""
