"""A home for a process that may run beside others: its OPA and its bundles are its own, the ledger is everybody's.

What a process that was killed has left behind, the next one clears.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from typing import TYPE_CHECKING

from gateway.sidecars import Home
from gateway.state import StateDir, default_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.config import Config, Source

FOLDER = "stdio"


def state_for(source: Source) -> Path:
    """Return the state directory that processes with this configuration share while none is named."""
    files = "\0".join(str(one.absolute()) for one in (source.config, source.tenants) if one is not None)
    return default_path() / FOLDER / hashlib.sha256(files.encode()).hexdigest()[:16]


@contextlib.contextmanager
def private_home(state: StateDir, config: Config) -> Iterator[Home]:
    """Make a home within a state directory, for as long as the block lasts."""
    name = f"stdio-{os.getpid()}"
    folder = state.path / FOLDER
    with contextlib.ExitStack() as stack:
        with _locked(StateDir.open(folder).path):
            _clear(folder)
            private = StateDir.open(folder / name)
            # Held until the end, by which others know that somebody is at home.
            stack.enter_context(private.lock())
        stack.callback(shutil.rmtree, private.path, ignore_errors=True)
        yield Home(private, config.storage.address or state.ledger_url, name, counted=False)


def _clear(folder: Path) -> None:
    for home in folder.iterdir():
        if home.is_dir():
            with contextlib.suppress(BlockingIOError), _locked(home, wait=False):
                shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a folder; raises BlockingIOError where somebody has it and is not to be waited for."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)
