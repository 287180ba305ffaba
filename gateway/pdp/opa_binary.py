"""Which `opa` this gateway runs: the operator's, else the machine's, else the one in its own cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import EngineMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

PINNED = "1.22.0"
# Older ones accept a delta bundle that nobody signed (GHSA-g2pf-6v5v-qcc8).
OLDEST = (1, 21, 3)
_VERSION_LINE = re.compile(r"^Version: (\d+)\.(\d+)\.(\d+)(\S*)$", re.MULTILINE)
_ADVICE = "`portcullis opa install` gets one"


@dataclass(frozen=True, slots=True)
class OpaBinary:
    """An OPA that has said its version, and the version is one that may be used."""

    path: Path
    version: str


def cached(environment: Mapping[str, str] = os.environ, version: str = PINNED) -> Path:
    """Return where this gateway keeps its own OPA, present or not."""
    home = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or Path.home(), ".cache")
    return Path(home, "portcullis", "opa", version, "opa")


def find(configured: Path | None = None, environment: Mapping[str, str] = os.environ) -> OpaBinary:
    """Return the OPA to run: `configured`, else OPA_BIN, else one on the PATH, else the cached one.

    Raises EngineMissing. One that was named must be good; one that only lies on the PATH is passed over if it is not.
    """
    named = configured or (Path(environment["OPA_BIN"]) if environment.get("OPA_BIN") else None)
    if named is not None:
        return inspect(named)
    refusals = []
    for candidate in (shutil.which("opa", path=environment.get("PATH")), cached(environment)):
        if candidate is None or not Path(candidate).exists():
            continue
        try:
            return inspect(Path(candidate))
        except EngineMissing as error:
            refusals.append(str(error))
    raise EngineMissing("; ".join([*refusals, _ADVICE]) if refusals else f"there is no OPA on this machine; {_ADVICE}")


def inspect(path: Path) -> OpaBinary:
    """Ask a binary for its version; raises EngineMissing if it is no OPA, or one that is too old to be trusted."""
    try:
        said = subprocess.run(  # noqa: S603
            [path, "version"], capture_output=True, text=True, timeout=30, check=True, env={}, errors="replace"
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineMissing(f"{path} is not an OPA that runs here ({error})") from error
    match = _VERSION_LINE.search(said)
    if match is None:
        raise EngineMissing(f"{path} does not say which version of OPA it is")
    version = ".".join(match.group(1, 2, 3)) + match[4]
    # A pre-release of the oldest good version is older than it.
    number = (int(match[1]), int(match[2]), int(match[3]))
    if number < OLDEST or (number == OLDEST and match[4].startswith("-")):
        oldest = ".".join(map(str, OLDEST))
        raise EngineMissing(f"{path} is OPA {version}; below {oldest} it accepts forged delta bundles")
    return OpaBinary(path, version)
