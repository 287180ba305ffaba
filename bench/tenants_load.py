"""What it costs to load tenants and their catalogs, and to load them again when one has changed.

    python -m bench.tenants_load                              # 10, 1,000 and 10,000 tenants; half a minute
    python -m bench.tenants_load --tenants 10000 --alike 1

Each tenant has two keys, quotas, and a catalog of five shared servers with an allow list and a deny list each. Of
`--alike` tenants one catalog is the same. CPU is this process's, memory what the first load added to it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gateway.config import Loaded, load
from gateway.config.contents import SETTLED_NS
from gateway.config.reloading import reload

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
SERVERS = tuple(f"server{number}" for number in range(20))
OFFERED, TOOLS = 5, 200
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of CPU for each load, and MiB."""

    first: float
    again: float
    changed: float
    noticed: float
    memory: float


def write(folder: Path, tenants: int, alike: int) -> None:
    """Write a configuration directory of this many tenants."""
    chance = random.Random(tenants)
    servers = "".join(f"  {id_}: {{mode: remote, endpoint: 'http://localhost:8080/{id_}'}}\n" for id_ in SERVERS)
    head = "tool_access: {mode: front_door}\nauth: {enabled: true}\ntenants_file: tenants.yaml\n"
    (folder / "config.yaml").write_text(f"{head}mcp_servers:\n{servers}")
    (folder / "tenants.yaml").write_text("tenants:\n" + "".join(map(row, range(tenants))))
    (folder / "catalogs").mkdir()
    catalogs = [catalog(chance) for _ in range(max(1, tenants // alike))]
    for number in range(tenants):
        (folder / "catalogs" / f"team-{number}.yaml").write_text(catalogs[number % len(catalogs)])


def row(number: int) -> str:
    """Return one tenant of tenants.yaml, as the documentation has it."""
    production, development = (hashlib.sha256(f"{number} {name}".encode()).hexdigest() for name in "pd")
    return f"""\
  - id: team-{number}
    display_name: Team {number}
    namespace: mcp-team-{number}
    catalog_file: catalogs/team-{number}.yaml
    api_keys:
      - key_hash: "sha256:{production}"
        name: "production"
      - key_hash: "sha256:{development}"
        name: "development"
    quotas:
      max_servers: 10
      max_concurrent_requests: 100
      requests_per_minute: 6000
"""


def catalog(chance: random.Random) -> str:
    """Return a catalog that offers a few servers, each with lists."""
    text = "servers:\n"
    for server in chance.sample(SERVERS, OFFERED):
        allowed, *denied = (f"tool_{chance.randrange(TOOLS)}" for _ in range(3))
        text += f"  {server}:\n    tools:\n      allow_list: [get_*, list_*, {allowed}]\n"
        text += f"      deny_list: [{', '.join(denied)}]\n"
    return text


def measured(folder: Path, tenants: int) -> Figures:
    """Load, load again, and load again after a change of one catalog."""
    before = resident()
    loaded, first = timed(lambda: load(folder / "config.yaml"))
    memory = resident() - before
    # Files that have just been written are read again until their file system's clock has moved on.
    time.sleep(SETTLED_NS / 1e9)
    loaded, _ = timed(lambda: reload(loaded))
    loaded, again = timed(lambda: reload(loaded))
    changed = folder / "catalogs" / f"team-{tenants // 2}.yaml"
    changed.write_text(changed.read_text().replace("get_*", "put_*"))
    _, noticed = timed(lambda: loaded.memory.fingerprint(loaded.files))
    fresh, one = timed(lambda: reload(loaded))
    require_one_changed(loaded, fresh)
    return Figures(first, again, one, noticed, memory)


def require_one_changed(before: Loaded, after: Loaded) -> None:
    """Stop where the reload made anything anew but the one tenant that changed."""
    changed = sum(old is not new for old, new in zip(before.config.tenants, after.config.tenants, strict=True))
    if changed != 1 or before.hash == after.hash or after.kept_back:
        raise SystemExit(f"{changed} tenants were made anew instead of one")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what the work returns, and its seconds of CPU."""
    begun = time.process_time()
    return work(), time.process_time() - begun


def resident() -> float:
    """Return the memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What loading tenants costs.")
    parser.add_argument("--tenants", type=int, nargs="+", default=[10, 1000, 10_000])
    parser.add_argument("--alike", type=int, default=20, help="how many tenants share one catalog's text")
    arguments = parser.parse_args()
    print(f"{'tenants':>8}{'first':>10}{'again':>10}{'one changed':>13}{'noticed':>10}{'memory':>12}")
    for tenants in arguments.tenants:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), tenants, arguments.alike)
            found = measured(Path(folder), tenants)
        times = "".join(
            f"{seconds * 1000:>{width}.0f} ms"
            for seconds, width in ((found.first, 7), (found.again, 7), (found.changed, 10), (found.noticed, 7))
        )
        print(f"{tenants:>8,}{times}{found.memory:>8.0f} MiB")


if __name__ == "__main__":
    main()
