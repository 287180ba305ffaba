"""How soon sync has a tenants' bundle ready again after the catalog of one tenant changed, and how large it is.

    python -m bench.publish                     # 10, 1,000 and 10,000 tenants
    python -m bench.publish --tenants 10000

Every tenant has a catalog of four servers of fifty tools, and denies three of its own choice. Measured is what sync
does with a configuration that is read: expanding, writing, hashing and signing; neither reading the files (which is
`bench.tenants_load`) nor OPA's part, which is activating the bundle.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from bench.tenants import SERVERS, TOOLS, config, inventory
from bundles.bundle import Content, build, canonical
from bundles.expand import Expander
from bundles.signing import SigningKey
from gateway.config.tenants import Catalog, Tenant

if TYPE_CHECKING:
    from gateway.config import Config

_CATALOG = TypeAdapter(Catalog)


def with_catalogs(tenants: int) -> Config:
    """Return a configuration with this many tenants; the same number makes the same one."""
    draw = random.Random(1)
    found = tuple(Tenant(id=f"tenant:{number}", catalog=_catalog(draw)) for number in range(tenants))
    return config(0).model_copy(update={"tenants": found})


def with_one_changed(before: Config) -> Config:
    """Return the configuration with another catalog for one of its tenants."""
    *others, last = before.tenants
    return before.model_copy(update={"tenants": (*others, replace(last, catalog=_catalog(random.Random(2))))})


def _catalog(draw: random.Random) -> Catalog:
    servers: dict[str, Any] = {server: {} for server in SERVERS}
    servers["s0"] = {"tools": {"deny_list": [f"tool_0_{tool}" for tool in draw.sample(range(TOOLS), 3)]}}
    return _CATALOG.validate_python({"servers": servers})


def measured(expander: Expander, asked: Config, key: SigningKey) -> tuple[float, int, int]:
    """Return the seconds until the bundle is signed, the bytes of its data, and those of the archive."""
    start = time.perf_counter()
    content = Content.document("portcullis_data", expander.expand(asked, "0" * 64, inventory()).data)
    content.digest()
    archive = build("tenants", content, 1, key)
    return time.perf_counter() - start, len(content.files["portcullis_data/data.json"]), len(archive)


def main() -> None:
    """Print one line for each number of tenants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, nargs="+", default=[10, 1_000, 10_000])
    options = parser.parse_args()
    key = SigningKey.generate()
    catalog = len(canonical(Expander().expand(config(0), "0" * 64, inventory()).data))
    print(f"{'tenants':>8}{'first, s':>10}{'one changed, s':>16}{'B a tenant':>12}{'archive, kB':>13}")
    for tenants in options.tenants:
        expander, before = Expander(), with_catalogs(tenants)
        first, size, archive = measured(expander, before, key)
        changed, _, _ = measured(expander, with_one_changed(before), key)
        each = (size - catalog) / tenants
        print(f"{tenants:>8,}{first:>10.3f}{changed:>16.3f}{each:>12.0f}{archive / 1000:>13.0f}")


if __name__ == "__main__":
    main()
