"""The sections of config.yaml on how processes run: listener, OPA, sync, ledger, servers, audit, metrics, log."""

import re
import socket
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, InstanceOf, PlainSerializer, WithJsonSchema

from gateway.config.paths import FilePath
from gateway.config.sections import Section
from gateway.config.storage import storage_url
from gateway.config.values import (
    BindHost,
    Count,
    Flag,
    Host,
    HttpUrl,
    Listen,
    Network,
    Origin,
    Port,
    ReplicaName,
    Seconds,
    Secret,
)


def default_replica() -> str:
    """Return this machine's host name, as a replica's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname())[:64].strip("-") or "gateway"


# A token (RFC 9110), as W3C Baggage wants it.
BaggageKey = Annotated[str, Field(pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}$")]
StorageUrl = Annotated[
    InstanceOf[Secret] | str,
    BeforeValidator(storage_url),
    PlainSerializer(lambda value: value.reference if isinstance(value, Secret) else value),
    WithJsonSchema({"type": "string"}),
]


class Tls(Section):
    """The server's own certificate and key, in PEM."""

    cert_file: FilePath
    key_file: FilePath


class ServerSettings(Section):
    """The address and the limits of the gateway's own listener."""

    host: BindHost = "127.0.0.1"
    port: Port = 8000
    tls: Tls | None = None
    trusted_proxies: tuple[Network, ...] = ()
    allowed_hosts: tuple[Host, ...] = ()
    allowed_origins: tuple[Origin, ...] = ()
    max_body_bytes: Annotated[int, Field(strict=True, ge=1024, le=256 * 1024 * 1024)] = 4194304
    drain_seconds: Annotated[float, Field(strict=True, ge=0, le=3600, allow_inf_nan=False)] = 20.0


class Opa(Section):
    """How OPA is run and asked."""

    binary: FilePath | None = None
    on_stale: Literal["serve", "deny"] = "serve"
    max_staleness_seconds: Annotated[int, Field(strict=True, ge=1)] = 300
    deadline_ms: Annotated[int, Field(strict=True, ge=1, le=10000)] = 250
    max_arguments_bytes: Annotated[int, Field(strict=True, ge=0, le=16 * 1024 * 1024)] = 65536
    custom_policies: FilePath | None = None
    replica: ReplicaName = Field(default_factory=default_replica)


class Sync(Section):
    """Where the sync service listens, or is found, and the files that both sides share."""

    listen: Listen | None = None
    url: HttpUrl | None = None
    token_file: FilePath | None = None
    signing_key_file: FilePath | None = None


class Storage(Section):
    """Where the ledger lies; without `url` it is in the state directory."""

    url: StorageUrl | None = None

    @property
    def address(self) -> str | None:
        """The ledger's address as it is used, which may hold a password; None where none is named."""
        return self.url.reveal() if isinstance(self.url, Secret) else self.url


class Stdio(Section):
    """How the servers run that the gateway starts itself: how long each process, and how many there may be."""

    start_seconds: Seconds = 60.0
    idle_seconds: Seconds = 300.0
    max_processes: Count = 64
    max_processes_per_tenant: Count = 16


class AuditSettings(Section):
    """What becomes of audit events besides the ledger."""

    file: FilePath | None = None
    include_arguments: Flag = False
    retention_days: Count = 90


class MetricsSettings(Section):
    """A listener of its own for metrics; without `listen` they are served beside the rest, to who may read them."""

    listen: Listen | None = None


class TracingSettings(Section):
    """Whether traces are made, by OpenTelemetry; where they go is said by its own environment variables."""

    enabled: Flag = False
    trust_callers: Flag = False
    baggage: tuple[BaggageKey, ...] = ()


class LoggingSettings(Section):
    """How the process logs."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"
