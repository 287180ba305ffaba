"""Prometheus' own promtool, at the version that tests/prometheus/go.mod pins, built by go where there is one.

python -m tests.support.promtool           builds it into the user's cache, once
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "prometheus"
PACKAGE = "github.com/prometheus/prometheus/cmd/promtool"
BUILD_SECONDS = 1800


def version() -> str:
    """Return the pinned version."""
    found = re.search(r"github\.com/prometheus/prometheus (v\S+)", (FOLDER / "go.mod").read_text())
    assert found
    return found[1]


def place() -> Path:
    """Return where it is kept, or will be."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "portcullis" / "promtool" / version() / "promtool"


def binary() -> Path | None:
    """Return it, None where it was not built."""
    return place() if place().exists() else None


def build() -> str:
    """Build it unless it is there, without what finds servers in clouds; return what came of it, in words."""
    target = place()
    if target.exists():
        return f"promtool {version()} is at {target}"
    if shutil.which("go") is None:
        return "There is no go here: alerts and dashboard are tested without promtool"
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_suffix(".new")
    print(f"Building promtool {version()}, which takes some minutes once", flush=True)
    command = [
        "go",
        "build",
        "-mod=readonly",
        "-tags",
        "remove_all_sd",
        "-trimpath",
        "-ldflags=-s -w",
        "-o",
        new,
        PACKAGE,
    ]
    try:
        subprocess.run(command, cwd=FOLDER, check=True, capture_output=True, text=True, timeout=BUILD_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        why = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1:]
        return f"promtool could not be built, alerts and dashboard are tested without it: {' '.join(why)}"
    new.replace(target)
    return f"promtool {version()} is at {target}"


if __name__ == "__main__":
    print(build())
    sys.exit(0)
