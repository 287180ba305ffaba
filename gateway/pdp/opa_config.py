"""OPA's configuration file: which bundles it fetches from sync, with what token, and by which keys it trusts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError, Mistake
from gateway.model import BUNDLES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LONG_POLL_SECONDS = 20
# OPA waits up to the longer one after an error, so a withdrawal that follows a bad answer is late by that much.
MIN_DELAY_SECONDS, MAX_DELAY_SECONDS = 1, 2


@dataclass(frozen=True, slots=True)
class OpaSettings:
    """What differs between OPAs. `keys` are sync's public keys in PEM by key id: one, or two while keys change.

    `token_path` is a file that OPA itself reads, again and again; `directory` is where OPA keeps its bundles.
    """

    sync_url: str
    replica: str
    token_path: Path
    keys: Mapping[str, str]
    directory: Path
    long_poll_seconds: int = LONG_POLL_SECONDS


def opa_config(settings: OpaSettings) -> dict[str, Any]:
    """Return the configuration as OPA reads it from JSON or YAML.

    Raises ConfigError without a key: OPA would start, and activate bundles that nobody signed.
    """
    if not settings.keys:
        raise ConfigError((Mistake("", "sync", None, "no public key of sync is known; start sync first"),))
    return {
        "labels": {"replica": settings.replica},
        "persistence_directory": str(settings.directory),
        "services": {"sync": _service(settings)},
        "keys": {name: {"algorithm": "ES256", "key": pem} for name, pem in sorted(settings.keys.items())},
        "bundles": {name: _bundle(name, settings) for name in BUNDLES},
        "status": {"service": "sync", "partition_name": settings.replica},
    }


def _service(settings: OpaSettings) -> dict[str, Any]:
    return {
        "url": settings.sync_url,
        "credentials": {"bearer": {"token_path": str(settings.token_path)}},
        "response_header_timeout_seconds": 10,
    }


def _bundle(name: str, settings: OpaSettings) -> dict[str, Any]:
    return {
        "service": "sync",
        "resource": f"/bundles/{name}",
        "persist": True,
        "polling": {
            "min_delay_seconds": MIN_DELAY_SECONDS,
            "max_delay_seconds": MAX_DELAY_SECONDS,
            "long_polling_timeout_seconds": settings.long_poll_seconds,
        },
        "signing": _signing(name, settings),
    }


def _signing(name: str, settings: OpaSettings) -> dict[str, str]:
    """Return what a signature must fulfil: a scope of its own, so that no bundle passes for another.

    A named key id overrides the one in the signature, so with two keys none is named and each bundle says which of
    the two signed it; OPA refuses an unsigned bundle either way (1.21.3 and newer).
    """
    only = next(iter(settings.keys)) if len(settings.keys) == 1 else None
    return {"scope": name, "keyid": only} if only else {"scope": name}
