"""Run a command that the kernel kills when the process that started it ends, however it ends.

Started as a script by `child.py`: `python leash.py <parent pid> <command> [argument…]`. Doing this after a fork inside
the gateway would run Python in a process with the locks of threads that no longer exist.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Become `command`; do nothing if the parent is already gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have ended before the line above; its signal would never come.
        if os.getppid() != parent:
            sys.exit(1)
    try:
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
