"""Refusals by who met them, so that a flood is a number in the audit trail and not a flood of events. Pure values."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Network

from gateway.addresses import parsed

REPORTED = 10
WINDOW_SECONDS = 60
MAX_ADDRESSES = 10_000
OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Folded:
    """So many failures of one address beyond those reported one by one; `since` is in seconds, as given."""

    address: str
    count: int
    since: float


@dataclass(slots=True)
class _Window:
    since: float
    seen: int = 0


class FailureTally:
    """Counts failures by address and minute: the first `reported` are to be reported, the rest come out as one number.

    It remembers ten thousand addresses, an IPv6 address by its /64; what is forgotten early is counted under
    `others`. Time is an argument, in seconds on any clock that does not run backwards. What is no address, like a
    tenant, is counted by itself with `grouped=False`.
    """

    def __init__(self, *, reported: int = REPORTED, max_addresses: int = MAX_ADDRESSES, grouped: bool = True) -> None:
        self._reported = reported
        self._grouped = grouped
        self._max = max_addresses
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._ended: list[Folded] = []
        self._others = 0
        self._others_since = 0.0

    def note(self, address: str, now: float) -> bool:
        """Count one failure; True says that it is to be reported by itself, False that it was folded."""
        key = key_of(address) if self._grouped else address
        window = self._windows.get(key)
        if window is None or now - window.since >= WINDOW_SECONDS:
            self._end(key)
            window = self._windows[key] = _Window(now)
        self._windows.move_to_end(key)
        window.seen += 1
        if len(self._windows) > self._max:
            self._end(next(iter(self._windows)))
        return window.seen <= self._reported

    def due(self, now: float, *, everything: bool = False) -> tuple[Folded, ...]:
        """Take out what was folded in the minutes that are over, or in all of them (when shutting down)."""
        over = [key for key, window in self._windows.items() if everything or now - window.since >= WINDOW_SECONDS]
        for key in over:
            self._end(key)
        ended, self._ended = self._ended, []
        if self._others:
            ended.append(Folded(OTHERS, self._others, self._others_since))
            self._others = 0
        return tuple(ended)

    def _end(self, key: str) -> None:
        window = self._windows.pop(key, None)
        folded = window.seen - self._reported if window else 0
        if window is None or folded <= 0:
            return
        if len(self._ended) < self._max:
            self._ended.append(Folded(key, folded, window.since))
            return
        self._others_since = self._others_since if self._others else window.since
        self._others += folded


def key_of(address: str) -> str:
    """Return what an address is counted under: IPv4 as it is, IPv6 by the /64 that one customer is given."""
    ip = parsed(address)
    if ip is None:
        return address[:64]
    return str(ip) if ip.version == 4 else str(IPv6Network((int(ip), 64), strict=False))
