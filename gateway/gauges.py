"""What is looked up when somebody reads the metrics: the state of the gateway and of what it hangs on.

docs/metrics.md has every one of them; a test holds the page to this list.
"""

from __future__ import annotations

import math
import platform
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from gateway import __version__
from gateway.families import MAX_SERVERS
from gateway.series import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.known import Listing
    from gateway.operation import Gateway
    from gateway.quotas import Quotas
    from gateway.series import Labels

    Rows = Iterator[tuple[Labels, float]]

COUNTER = "counter"


class One(NamedTuple):
    """A number of its own. `name` is without the prefix."""

    name: str
    text: str
    value: Callable[[Gateway], float]
    kind: str = "gauge"


class Several(NamedTuple):
    """A number for each of several things, which a label tells apart."""

    name: str
    text: str
    label: str
    rows: Callable[[Gateway], Rows]
    kind: str = "gauge"


def add(gateway: Gateway) -> None:
    """Have all of it read with the gateway's metrics."""
    metrics = gateway.rooms.metrics
    for one in ALONE:
        metrics.add(Reading(f"portcullis_{one.name}", one.text, (), partial(_alone, one, gateway), one.kind))
    for each in BY_LABEL:
        metrics.add(
            Reading(f"portcullis_{each.name}", each.text, (each.label,), partial(each.rows, gateway), each.kind)
        )
    for series in of_quotas(gateway.rooms.allowance.quotas):
        metrics.add(series)
    made_of = (gateway.sidecars.opa_version, platform.python_version(), __version__)
    labels = ("opa", "python", "version")
    metrics.add(Reading("portcullis_build_info", "What runs; always 1.", labels, lambda: [(made_of, 1)]))


def of_quotas(quotas: Quotas) -> tuple[Reading, Reading]:
    """Return the series of tenants that have limits."""
    return (
        Reading("portcullis_tenant_requests_in_flight", "Slots in use.", ("tenant",), quotas.under_way),
        Reading("portcullis_tenant_refusals", "Requests over a limit.", ("limit", "tenant"), quotas.refused, COUNTER),
    )


def _alone(one: One, gateway: Gateway) -> Rows:
    yield (), one.value(gateway)


def _age(gateway: Gateway) -> float:
    """Return how old OPA's live data is in seconds, infinite before OPA has said anything."""
    return time.time() - gateway.generated_at if gateway.generated_at else math.inf


def _sync(gateway: Gateway) -> tuple[int, int, int]:
    """Return how many replicas count, how many of them are behind, and how much is wrong with sync."""
    health = gateway.sync_health
    return (health.replicas, health.behind, len(health.problems)) if health else (0, 0, 0)


def _issuers(value: str) -> Callable[[Gateway], Rows]:
    def rows(gateway: Gateway) -> Rows:
        for issuer, keys in gateway.live.value.authn.keys.items():
            yield (issuer,), getattr(keys, value)

    return rows


def _listings(value: Callable[[Listing], float]) -> Callable[[Gateway], Rows]:
    """Return what reads the last listing of each server, the shared ones before those of tenants."""

    def rows(gateway: Gateway) -> Rows:
        listings = sorted(gateway.rooms.inventory.listings.items(), key=lambda item: (":" in item[0], item[0]))
        for server, listing in listings[:MAX_SERVERS]:
            yield (server,), value(listing)

    return rows


def _refused(gateway: Gateway) -> Rows:
    dropped = gateway.rooms.upstreams.dropped
    for server in sorted(dropped, key=lambda name: (":" in name, name))[:MAX_SERVERS]:
        yield (server,), dropped[server]


def _down(gateway: Gateway) -> int:
    return sum(listing.failure is not None for listing in gateway.rooms.inventory.listings.values())


ALONE: tuple[One, ...] = (
    One("requests_in_flight", "Requests under way.", lambda it: it.rooms.gate.in_flight.count),
    One("connections_open", "Connections of agents and admins.", lambda it: it.open_connections()),
    One("streams_open", "Streams that are open to agents.", lambda it: len(it.rooms.streams)),
    One("draining", "1 once it was told to stop.", lambda it: it.draining),
    One("audit_pending", "Audit events that wait to be written.", lambda it: it.rooms.trail.pending),
    One("audit_room", "How many more may wait before nothing is decided.", lambda it: it.rooms.trail.room),
    One("audit_write_failures", "Writings that failed.", lambda it: it.rooms.trail.failures, COUNTER),
    One("ledger_reachable", "1 while the ledger can be read.", lambda it: it.rooms.follower.reachable),
    One("ledger_revision", "Newest revision of the ledger.", lambda it: it.rooms.follower.revision),
    One("policy_revision", "Revision that OPA decides on.", lambda it: it.revision),
    One("policy_age_seconds", "Age of the live data that OPA decides on.", _age),
    One("bundles_distrusted", "1 while OPA's bundles are not.", lambda it: bool(it.rooms.provenance.distrust())),
    One("names_contested", "Tools that share their flat name with another's.", lambda it: it.contested),
    One("config_drift", "1 while OPA decides by another configuration than this gateway's.", lambda it: it.drifted),
    One("catalogs_kept_back", "Tenants whose catalog is not in force.", lambda it: len(it.loaded.kept_back)),
    One("tenants", "Tenants that are known.", lambda it: len(it.live.value.tenants)),
    One("opa_available", "0 while OPA leaves questions without an answer.", lambda it: it.rooms.opa.available),
    One("opa_waiting", "Questions that wait for their turn.", lambda it: it.rooms.opa.waiting),
    One("opa_restarts", "Restarts of the supervised OPA.", lambda it: it.sidecars.opa_life(), COUNTER),
    One("sync_restarts", "Restarts of the supervised sync.", lambda it: it.sidecars.sync_restarts, COUNTER),
    One("sync_reachable", "1 while sync says how it is.", lambda it: it.sync_health is not None),
    One("sync_problems", "How much sync says is wrong.", lambda it: _sync(it)[2]),
    One("replica_counted", "1 while this gateway counts as a replica.", lambda it: it.registration.counted),
    One("replicas", "Replicas that count.", lambda it: _sync(it)[0]),
    One("replicas_behind", "Replicas that have not applied what is five seconds old.", lambda it: _sync(it)[1]),
    One("upstreams_down", "Servers whose last listing failed.", _down),
    One("definitions_missing", "Left out of lists.", lambda it: it.rooms.inventory.left_out, COUNTER),
)
BY_LABEL: tuple[Several, ...] = (
    Several("upstream_up", "1 if the last listing of a server went well.", "server",
            _listings(lambda listing: listing.failure is None)),
    Several("upstream_tools", "Tools of a server that are known.", "server", _listings(lambda listing: listing.tools)),
    Several("upstream_listed_timestamp_seconds", "When a server was listed last.", "server",
            _listings(lambda listing: listing.at)),
    Several("definitions_refused", "Definitions of a server that nobody is offered.", "server", _refused),
    Several("jwks_age_seconds", "Age of an issuer's keys.", "issuer", _issuers("age")),
    Several("jwks_failures", "Fetches of an issuer's keys that failed.", "issuer", _issuers("failures"), COUNTER),
)  # fmt: skip
