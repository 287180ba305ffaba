"""What comes from npm: the suite, the clients, and a node of its own where the machine's is too old.

python -m tests.conformance.npm           installs it, each package checked against its hash
python -m tests.conformance.npm lock      locks anew what npm/package.json names
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "npm"
MODULES = FOLDER / "node_modules"
SUITE = MODULES / "@modelcontextprotocol" / "conformance"
INSPECTOR = MODULES / ".bin" / "mcp-inspector"
LOCK = FOLDER / "package-lock.json"
# The suite imports what older ones do not have, although its package.json does not say so.
OLDEST = 22


class Missing(Exception):
    """Something that only the machine can provide is not there; the text says what to do."""


def machines_node(path: str | None = None) -> str | None:
    """Return the node on the search path (PATH), None where there is none or one that is too old."""
    found = shutil.which("node", path=path)
    if found is None:
        return None
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.", said)
    return found if version and int(version[1]) >= OLDEST else None


@cache
def node() -> str:
    """Return the node to run things with: the machine's, else the one from npm; raises Missing."""
    ours = MODULES / ".bin" / "node"
    found = machines_node() or (str(ours) if ours.exists() else None)
    if found is None:
        raise Missing(f"There is no node {OLDEST} or newer here, and npm has none for this platform; install one.")
    return found


def install() -> None:
    """Install exactly what is locked; scripts of packages are not run. Raises Missing."""
    # The only optional packages that are wanted are those that hold a node.
    _npm("ci", *(["--omit=optional"] if machines_node() else []))
    node()


def lock() -> None:
    """Resolve the named versions, and keep in the lock what npm reads of it: versions and hashes, no addresses."""
    _npm("install", "--package-lock-only")
    locked = json.loads(LOCK.read_text())
    for package in locked["packages"].values():
        package.pop("funding", None)
    LOCK.write_text(json.dumps(locked, indent=2) + "\n")


def _npm(*arguments: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is needed to install the conformance suite and the clients; it comes with node.")
    # Its only warnings are of packages that want a newer node than the one that npm itself runs on.
    subprocess.run([npm, *arguments, "--loglevel=error"], cwd=FOLDER, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    try:
        lock() if sys.argv[1:] == ["lock"] else install()
    except Missing as missing:
        sys.exit(str(missing))
