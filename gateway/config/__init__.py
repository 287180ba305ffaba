"""Configuration: YAML into frozen typed objects, once, and the live cell that a reload replaces."""

from gateway.config.live import Live
from gateway.config.loader import Loaded, load
from gateway.config.membership import Membership
from gateway.config.reloading import reload
from gateway.config.rules import exposed, global_admins, known_tenants
from gateway.config.schema import Config
from gateway.config.source import Source
from gateway.config.values import Secret

__all__ = [
    "Config",
    "Live",
    "Loaded",
    "Membership",
    "Secret",
    "Source",
    "exposed",
    "global_admins",
    "known_tenants",
    "load",
    "reload",
]
