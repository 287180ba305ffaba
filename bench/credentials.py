"""What it costs to know who is asking: memory and time of 100,000 credentials, and CPU of each kind on a warm request.

    python -m bench.credentials            # a hundred thousand; a quarter of a minute
    python -m bench.credentials --quick    # a thousand: a smoke test, its figures are noise
    python -m bench.credentials --json     # for machines

The cost of a kind is what the gate spends on a request that carries it, above what it spends with authentication off
on one that carries none; HTTP is not in it. Of several slices the cheapest counts, because whatever else the machine
does makes a slice dearer and never cheaper.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import sys
import tempfile
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import make_mocked_request
from joserfc.jwk import ECKey, Key
from joserfc.jws import serialize_compact

from bench.population import KEY, TOKEN, fill, population
from bench.processes import load_average
from bench.report import console, machine
from gateway import keys
from gateway.audit import AuditTrail
from gateway.authn import Authn, CredentialIndex
from gateway.authn.discovery import KeySource
from gateway.authn.jwks import KeyCache
from gateway.authn.tenant_keys import TenantKey
from gateway.config import Config
from gateway.config.schema import Auth
from gateway.endpoints.gate import INFO, Door, Gate
from gateway.ledger.connect import open_ledger
from gateway.model import Credential, RequestInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from gateway.model import AuditEvent

BUDGET_US = {"api_key": 15, "tenant_token": 15, "tenant_key": 15, "jwt": 25}
SLICES = 15
ISSUER = "https://issuer.example.com"
OWN = keys.mint()
OIDC = {"enabled": True, "issuer": ISSUER, "audience": "bench", "resource_uri": "https://gateway.example.com"}


def bytes_each(count: int) -> int:
    """Return how much memory each of so many takes, with all that it keeps of what it was made from."""
    gc.collect()
    tracemalloc.start()
    index = CredentialIndex(population(count))
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return round(held / len(index))


def loaded(credentials: Sequence[Credential]) -> dict[str, float]:
    """Return what it costs to know these, and to learn that one of them was revoked."""
    index = CredentialIndex(credentials)
    seconds = min(timed(lambda: index.replace(credentials)) for _ in range(3))
    revoked = [replace(credentials[len(credentials) // 2], revoked_at=1)]
    put = min(timed(lambda: index.put(revoked)) for _ in range(20))
    digest = keys.digest(KEY)
    lookups = min(timed(lambda: [index.find(digest, 0) for _ in range(1000)]) for _ in range(10))
    return {
        "credentials": len(index),
        "load_ms": round(seconds * 1000, 1),
        "bytes_each": bytes_each(len(credentials)),
        "revocation_us": round(put * 1e6, 1),
        "lookup_us": round(lookups * 1000, 2),
    }


async def read(credentials: Sequence[Credential]) -> dict[str, float]:
    """Return how long it takes to read these from a ledger in SQLite, and what changed in it since."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        ledger = await open_ledger(f"sqlite:///{path}")
        try:
            await asyncio.to_thread(fill, path, credentials)
            revision = (await ledger.meta()).revision
            began = time.perf_counter()
            every = await ledger.credentials()
            whole, best = time.perf_counter() - began, float("inf")
            for _ in range(10):
                began = time.perf_counter()
                news = await ledger.credentials(since=revision - 1)
                best = min(best, time.perf_counter() - began)
                if len(every) != len(credentials) or len(news) != 1:
                    raise SystemExit(f"{len(every)} were read, and {len(news)} that changed")
        finally:
            await ledger.close()
    return {"read_ms": round(whole * 1000, 1), "read_change_ms": round(best * 1000, 2)}


def timed(work: Any) -> float:
    """Return how many seconds of CPU something takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def token_of(key: Key) -> str:
    """Return an access token as issuers make them."""
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "agent-7", "aud": "bench", "iat": now, "exp": now + 3600, "tenant_id": "tenant-7"}
    claims |= {"jti": "0190a1b2", "client_id": "agent-7", "scope": "mcp:tools", "groups": ["developers", "on-call"]}
    return serialize_compact({"alg": "ES256", "typ": "at+jwt", "kid": key.kid}, json.dumps(claims).encode(), key)


def request(headers: dict[str, str]) -> web.Request:
    """Return a request as agents send it."""
    usual = {"Host": "127.0.0.1:8000", "Content-Type": "application/json", "User-Agent": "bench", "Accept": "*/*"}
    made = make_mocked_request("POST", "/mcp", headers={**usual, **headers})
    made[INFO] = RequestInfo("0190", "127.0.0.1", 0)
    return made


async def warm(authn: Authn, config: Config, headers: dict[str, str], count: int) -> float:
    """Return the microseconds of CPU that the gate spends on one request, of the cheapest slice."""

    async def nowhere(_events: Sequence[AuditEvent]) -> None:
        """Keep no event."""

    door = Door(config, frozenset(), authn, *[None] * 7)  # type: ignore[arg-type]
    gate, asked = Gate(lambda: door, AuditTrail(nowhere)), request(headers)
    who = (await gate.identify(asked, door)).principal
    best = float("inf")
    for _ in range(SLICES):
        began = time.process_time()
        for _ in range(max(1, count // SLICES)):
            await gate.identify(asked, door)
        best = min(best, (time.process_time() - began) / max(1, count // SLICES))
    if bool(headers) is (who.credential is None):
        raise SystemExit(f"{headers} was not taken for what it is")
    return best * 1e6


async def warm_requests(credentials: Sequence[Credential], count: int) -> dict[str, float]:
    """Return the microseconds of each kind, above those of a request without authentication."""
    key = ECKey.generate_key("P-256", auto_kid=True)
    config = Config(auth=Auth.model_validate({"enabled": True, "oidc": OIDC}))

    async def load() -> Any:
        return {"keys": [key.as_dict(private=False)]}

    issuers = {KeySource.of(one): KeyCache(load) for one in config.auth.oidc.trusted}
    tenant_keys = {keys.digest(OWN): TenantKey("tenant-7", "production")}
    authn = Authn(config.auth, CredentialIndex(credentials), tenant_keys, clock=lambda: 1.79e9, keys=issuers)
    tokens = Authn(config.auth, CredentialIndex(credentials), keys=issuers)
    off = Config()
    base = await warm(Authn(off.auth, CredentialIndex()), off, {}, count)
    presented = {
        "api_key": (authn, {"X-API-Key": KEY}),
        "tenant_token": (authn, {"Authorization": f"Bearer {TOKEN}"}),
        "tenant_key": (authn, {"X-API-Key": OWN}),
        "jwt": (tokens, {"Authorization": f"Bearer {token_of(key)}"}),
    }
    found = {"none": round(base, 2)}
    for kind, (by, headers) in presented.items():
        found[kind] = round(await warm(by, config, headers, count) - base, 2)
    return found


def show(figures: dict[str, Any]) -> None:
    """Print the figures for people."""
    out, index = console(), figures["index"]
    count, each = f"{index['credentials']:,} credentials", f"{index['bytes_each']} bytes each"
    out.print(f"{count}: {index['read_ms']:g} ms to read from the ledger, {index['load_ms']:g} ms to load, {each}")
    change = f"{index['read_change_ms']:g} ms to read, {index['revocation_us']:g} µs to put in force"
    out.print(f"one revoked among them: {change}; one looked up: {index['lookup_us']:g} µs")
    requests = figures["warm_request_us"]
    out.print(f"a warm request without authentication: {requests['none']:g} µs at the gate; above that, for each kind:")
    for kind, budget in BUDGET_US.items():
        out.print(
            f"  {kind:14}{requests[kind]:>7.2f} µs   budget {budget}{'' if requests[kind] <= budget else ' over'}"
        )
    out.print(machine(figures))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a thousand credentials and few requests")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    count, requests = (1_000, 150) if options.quick else (100_000, 60_000)
    before, credentials = load_average(), list(population(count))
    figures = {
        "index": loaded(credentials) | asyncio.run(read(credentials)),
        "warm_request_us": asyncio.run(warm_requests(credentials, requests)),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
    }
    figures["load_average"] = [before, load_average()]
    if options.json:
        json.dump(figures, sys.stdout, indent=2)
    else:
        show(figures)


if __name__ == "__main__":
    main()
