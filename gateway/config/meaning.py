"""What a configuration means, as a hash: no order, formatting, defaults or secrets, and nothing of one machine."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import orjson
from pydantic import BaseModel

from gateway.config.headers import Template
from gateway.config.values import Secret

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from gateway.config.schema import Config
    from gateway.config.tenants import Tenant

# What belongs to one machine and not to the meaning that replicas share; the hash leaves it out.
MACHINE_LOCAL: tuple[tuple[str, ...], ...] = (
    ("server", "host"), ("server", "port"), ("server", "tls"), ("auth", "opa", "url"), ("opa", "binary"),
    ("opa", "replica"), ("opa", "custom_policies"), ("sync",), ("storage",), ("stdio",), ("tenants_file",),
    ("tenants", "catalog_file"), ("tenants", "secrets_dir"), ("audit", "file"), ("metrics",), ("tracing",),
    ("logging",),
)  # fmt: skip
# Lists are sets, and their order means nothing, but for these.
ORDERED = frozenset(("command",))

# Keys to leave out, as a tree: below the last key of a path there is None.
Local = dict[str, Any]
_NOTHING: Local = {}


def config_hash(config: Config, folder: Path, tenants: Iterable[str]) -> str:
    """Return the SHA-256 of what a configuration means, its tenants given by their digests."""
    rest = _section(config, {**_local(), "tenants": None}, folder)
    return hashlib.sha256(orjson.dumps([rest, *sorted(tenants)], option=orjson.OPT_SORT_KEYS)).hexdigest()


def tenant_digest(tenant: Tenant, folder: Path) -> str:
    """Return the SHA-256 of what is said of one tenant, its catalog included; `folder` is that of tenants.yaml."""
    meaning = _section(tenant, _local()["tenants"], folder)
    return hashlib.sha256(orjson.dumps(meaning, option=orjson.OPT_SORT_KEYS)).hexdigest()


@functools.cache
def _local() -> Local:
    tree: Local = {}
    for *parents, last in MACHINE_LOCAL:
        functools.reduce(lambda at, step: at.setdefault(step, {}), parents, tree)[last] = None
    return tree


def _section(value: Any, local: Local, folder: Path) -> Mapping[str, Any]:
    """Return what a section says that is not so by default."""
    found = {}
    for name, default in _defaults(cast("Hashable", type(value))):
        given = getattr(value, name)
        if given != default and (below := local.get(name, _NOTHING)) is not None:
            meaning = _meaning(given, below, folder, ordered=name in ORDERED)
            if meaning != {}:
                found[name] = meaning
    return found


_REQUIRED = object()


@functools.cache
def _defaults(section: Any) -> tuple[tuple[str, Any], ...]:
    """Return the keys of a section with what they are by default."""
    if issubclass(section, BaseModel):
        fields = section.model_fields.items()
        return tuple((n, _REQUIRED if f.is_required() else f.get_default(call_default_factory=True)) for n, f in fields)
    return tuple((one.name, _default(one)) for one in dataclasses.fields(section))


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return _REQUIRED if field.default is dataclasses.MISSING else field.default


def _meaning(value: Any, local: Local, folder: Path, *, ordered: bool = False) -> Any:
    if type(value) is str:
        return value
    if isinstance(value, tuple):
        found = [one if type(one) is str else _meaning(one, local, folder) for one in value]
        return found if ordered else _sorted(found)
    if isinstance(value, dict):
        return {key: _meaning(one, local.get(key, _NOTHING), folder) for key, one in value.items()}
    if isinstance(value, Secret | Template):
        return value.reference
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        return _section(value, local, folder)
    if isinstance(value, Path):
        return str(value.relative_to(folder) if value.is_relative_to(folder) else value)
    return value if isinstance(value, bool | int | float | None) else str(value)


def _sorted(found: list[Any]) -> list[Any]:
    """Return each thing once, in an order that depends on nothing but the things."""
    if all(isinstance(one, str) for one in found):
        return sorted(set(found))
    by_text = {orjson.dumps(one, option=orjson.OPT_SORT_KEYS): one for one in found}
    return [by_text[text] for text in sorted(by_text)]
