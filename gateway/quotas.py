"""What a tenant may use at most: how much at once, and how often. The limits come with each decision (docs/tenants.md).

Every request of a tenant that was decided on counts for its rate, whatever was decided: each has cost as much. A slot
is held while what was admitted is under way. Nothing waits here: what is over a limit is refused, and told when to
come back. One event loop's; several gateways enforce a share each.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import OverLimit
from gateway.gcra import Limiter, Rate
from gateway.model import UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from types import TracebackType

    from gateway.model import Limits, Principal, Verdict

RATE = "requests_per_minute"
SLOTS = "max_concurrent_requests"
# When a slot comes free nobody knows; soon enough to use it, and no flood.
SLOT_SECONDS = 1.0
# More than tenants with limits that anybody has; beyond, whoever was admitted longest ago starts anew.
MAX_TENANTS = 65_536
AT_ONCE = 60
FREE: AbstractContextManager[None] = nullcontext()


@dataclass(frozen=True, slots=True)
class _Share:
    """What this gateway holds a tenant to, made of `limits` as the configuration `config` has them."""

    tenant: str
    limits: Limits
    config: str
    rate: Rate | None
    slots: int | None
    key: Hashable


class _Slot:
    """One request under way; left on every way out of the block."""

    __slots__ = ("_quotas", "_share")

    def __init__(self, quotas: Quotas, share: _Share) -> None:
        self._quotas = quotas
        self._share = share

    def __enter__(self) -> None:
        self._quotas.occupy(self._share)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quotas.vacate(self._share.tenant)


class Quotas:
    """Slots and rates of every tenant that has limits. `clock` is in seconds and never runs backwards."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._gateways = 1
        self._requests = Limiter(max_keys=MAX_TENANTS)
        self._under_way: dict[str, int] = {}
        self._refused: dict[tuple[str, str], int] = {}
        # By whom a decision was for: only who was judged before is turned away unjudged.
        self._known: dict[Hashable, _Share] = {}

    def among(self, gateways: int) -> None:
        """Enforce one share of so many from now on; shares are rounded up, so that nobody is left without any."""
        if gateways != self._gateways and gateways > 0:
            self._gateways = gateways
            self._known.clear()

    def over(self, principal: Principal, config: str) -> OverLimit | None:
        """Return what a request is to be refused with before policy is asked, None if it is to be asked.

        Nobody is refused by what another configuration than `config` said, the one in force here.
        """
        share = self._known.get(_whose(principal))
        if share is None or share.config != config:
            return None
        if share.rate is not None and (seconds := self._requests.wait(share.key, share.rate, self._clock())):
            return self._refusal(share, RATE, seconds)
        if share.slots is not None and self._under_way.get(share.tenant, 0) >= share.slots:
            return self._refusal(share, SLOTS, SLOT_SECONDS)
        return None

    def slot(self, principal: Principal, verdict: Verdict) -> AbstractContextManager[None]:
        """Count a decided request for its tenant's rate and return what to do it in; that too may raise OverLimit.

        Whoever was refused to act for a tenant has used nothing of that tenant's.
        """
        if verdict.limits is UNLIMITED or (tenant := principal.for_tenant) is None:
            return FREE
        if principal.tenant is None and not verdict.allow:
            return FREE
        share = self._share(principal, tenant, verdict)
        if share.rate is not None and (seconds := self._requests.take(share.key, share.rate, self._clock())):
            raise self._refusal(share, RATE, seconds)
        return _Slot(self, share) if verdict.allow and share.slots is not None else FREE

    def occupy(self, share: _Share) -> None:
        """Take one of the tenant's slots; raises OverLimit."""
        count = self._under_way.get(share.tenant, 0)
        if share.slots is not None and count >= share.slots:
            raise self._refusal(share, SLOTS, SLOT_SECONDS)
        self._under_way[share.tenant] = count + 1

    def vacate(self, tenant: str) -> None:
        """Give a slot back."""
        left = self._under_way.pop(tenant) - 1
        if left:
            self._under_way[tenant] = left

    def under_way(self) -> Iterator[tuple[tuple[str], float]]:
        """Yield for each tenant whose slots are counted how many it uses."""
        yield from (((tenant,), count) for tenant, count in self._under_way.items())

    def refused(self) -> Iterator[tuple[tuple[str, str], float]]:
        """Yield how often a request was refused, by limit and tenant."""
        yield from self._refused.items()

    def retain(self, known: Callable[[str], bool]) -> None:
        """Forget the counts of tenants that are not known any more."""
        self._refused = {labels: count for labels, count in self._refused.items() if known(labels[1])}

    def _refusal(self, share: _Share, limit: str, seconds: float) -> OverLimit:
        labels = (limit, share.tenant)
        self._refused[labels] = self._refused.get(labels, 0) + 1
        return OverLimit(limit, seconds)

    def _share(self, principal: Principal, tenant: str, verdict: Verdict) -> _Share:
        whose = _whose(principal)
        share = self._known.get(whose)
        if share is None or share.config != verdict.config or share.limits != verdict.limits:
            share = self._share_of(tenant, verdict.limits, verdict.config)
            if len(self._known) >= MAX_TENANTS:
                del self._known[next(iter(self._known))]
            self._known[whose] = share
        return share

    def _share_of(self, tenant: str, limits: Limits, config: str) -> _Share:
        often, slots = (
            limit and -(-limit // self._gateways)
            for limit in (limits.requests_per_minute, limits.max_concurrent_requests)
        )
        # By the rate too: what was paid at one rate says nothing of what may come at another.
        return _Share(tenant, limits, config, rate_of(often) if often else None, slots, key=(tenant, often))


def rate_of(often: int) -> Rate:
    """Return a rate of so many a minute: ten seconds' worth may come at once, and of a small number all of it.

    Less would refuse an agent that lists and calls at once; more would let a flood through before it is one.
    """
    return Rate(often, min(often, max(AT_ONCE, often // 6)))


def _whose(principal: Principal) -> Hashable:
    """Return whose known limits count: a tenant's own people share them, who acts for one has been let to first."""
    return principal.tenant if principal.acting_for is None else principal.identity
