"""How an OPA on TCP fares, for people: its health, and which of its bundles are not active. It decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp
from opa_client import AsyncOpaClient

from gateway.pdp.client import Address

TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class OpaHealth:
    """Whether an OPA is fit to decide, and what was found, in words."""

    ok: bool
    text: str


async def health_of(url: str) -> OpaHealth:
    """Ask the OPA (or its diagnostic address) at `http(s)://host[:port]`; raises ValueError for any other address."""
    address = Address.parse(url)
    if address.path is not None:
        raise ValueError(f"not an address on TCP: {url!r}")
    host = f"[{address.host}]" if ":" in address.host else address.host
    # No retries: what is asked once and waited for a second is what a person at a terminal wants to know.
    async with AsyncOpaClient(
        host=host, port=address.port, ssl=address.tls, retries=0, timeout=TIMEOUT_SECONDS
    ) as client:
        if not await client.check_health():
            return OpaHealth(ok=False, text=f"{url} does not say that it is healthy")
        if await client.check_health({"bundles": True, "plugins": True}):
            return OpaHealth(ok=True, text=f"{url} is healthy, all of its bundles are active")
        return OpaHealth(ok=False, text=f"{url} answers, and is not ready: {await _missing(client)}")


async def _missing(client: Any) -> str:
    """Name the bundles that are not active, with what OPA says of them; only its status plugin can tell."""
    try:
        status = await client.get_status()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return "some of its bundles are not active"
    result = status.get("result") if isinstance(status, dict) else None
    bundles = result.get("bundles") if isinstance(result, dict) else None
    troubles = [_trouble(name, bundle) for name, bundle in sorted((bundles or {}).items()) if isinstance(bundle, dict)]
    return "; ".join(filter(None, troubles)) or "some of its bundles are not active"


def _trouble(name: str, bundle: dict[str, Any]) -> str:
    if bundle.get("last_successful_activation", "0001").startswith("0001"):
        return f"bundle {name} is not active" + (f" ({bundle['message']})" if bundle.get("message") else "")
    return f"bundle {name}: {bundle['message']}" if bundle.get("message") else ""
