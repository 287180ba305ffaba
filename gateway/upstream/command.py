"""What a server's process is started with, and whether it can be: no shell, and nothing of the gateway's own."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# What programs need to run at all, and where secrets do not lie. All else has to be named in `env`.
INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")
# Where the gateway itself was given no language: without one, programs take every text for ASCII.
LANGUAGE = {"LANG": "C.UTF-8"}


def environment(configured: Mapping[str, str], ours: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the whole environment of a process: the little that it inherits, and what is configured."""
    return {**LANGUAGE, **{name: ours[name] for name in INHERITED if name in ours}, **configured}


def problem(command: Sequence[str], directory: Path, variables: Mapping[str, str]) -> tuple[str, str] | None:
    """Return which key is wrong, `command` or `cwd`, and how, where the command surely cannot be run; else None."""
    if not directory.is_dir():
        return "cwd", f"{directory} is not a folder"
    program = command[0]
    if "/" not in program:
        found = shutil.which(program, path=variables.get("PATH", os.defpath))
        return None if found else ("command", f"there is no program {program} in the PATH")
    file = directory / program
    if not file.is_file():
        return "command", f"there is no program {file}"
    return None if os.access(file, os.X_OK) else ("command", f"{file} may not be executed")
