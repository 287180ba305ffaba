"""Run a command with all that it starts, and end all of it once whoever started this is gone, however that went.

Started as a script by `upstream/process.py`: `python guard.py <lifeline> <command> [argument…]`. The lifeline is the
reading end of a pipe of which nobody but the gateway holds the other: when that is closed, by the gateway or by its
end, everything is killed. SIGTERM is passed on. The command has the streams and the environment that this was given.

`leash.py` would reach the command alone: what a launcher such as `npx` has started would live on.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
NOT_RUN = 127
KILL_AGAIN_SECONDS = 0.01


def main(lifeline: int, command: list[str]) -> int:
    """Run `command` to its end, or to that of the lifeline, and return the status to end with."""
    # What loses its parent becomes our child, even if it has made a session of its own.
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    bell = _bell()
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(lifeline)
        _become(command, guard)
    # Both sides do this, because it is not known which of them is first.
    _if_there(os.setpgid, child, child)
    signal.signal(signal.SIGTERM, lambda *_: _if_there(os.killpg, child, signal.SIGTERM))
    _let_go_of_streams()
    code = None
    while code is None:
        readable, _, _ = select.select([lifeline, bell], [], [])
        if lifeline in readable:
            break
        os.read(bell, 512)
        code = _reaped(child)
    return _end_all(child, code)


def _become(command: list[str], guard: int) -> None:
    """Turn into the command; of this process nothing but its streams and its environment is left."""
    signal.set_wakeup_fd(-1)
    for one in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(one, signal.SIG_DFL)
    _if_there(os.setpgid, 0, 0)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The guard may have ended before the line above; its signal would never come.
    if os.getppid() == guard:
        try:
            os.execvp(command[0], command)  # noqa: S606
        except OSError as error:
            os.write(2, f"{command[0]} cannot be run: {error.strerror}\n".encode())
    os._exit(NOT_RUN)


def _bell() -> int:
    """Return what is readable once a child may have ended."""
    bell, rope = os.pipe()
    os.set_blocking(rope, False)
    signal.set_wakeup_fd(rope, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return bell


def _let_go_of_streams() -> None:
    """Close the command's streams here, so that their ends are its own to close."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)


def _reaped(child: int) -> int | None:
    """Reap who has ended, adopted ones too, and return the child's status as a shell has it, None while it runs."""
    code = None
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == child:
                code = os.waitstatus_to_exitcode(found[1])
    except ChildProcessError:
        pass  # that was the last one
    return code if code is None or code >= 0 else 128 - code


def _end_all(child: int, code: int | None) -> int:
    """Kill everything that is left, whatever it starts meanwhile, and return the child's status."""
    _if_there(os.killpg, child, signal.SIGKILL)
    while code is None or _children():
        for pid in _children():
            _if_there(os.kill, pid, signal.SIGKILL)
        time.sleep(KILL_AGAIN_SECONDS)
        code = _reaped(child) if code is None else code
        _reaped(0)
    return code


def _children() -> list[int]:
    """Return our children, dead or alive: nobody else reaps them, so their numbers are not given away."""
    try:
        listing = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY)
    except OSError:
        return []  # not Linux: what left the group is out of reach, and is not our child either
    try:
        return list(map(int, os.read(listing, 1 << 20).split()))
    finally:
        os.close(listing)


def _if_there(call: Callable[..., None], *arguments: int) -> None:
    """Make a system call about what may have ended, or changed, by itself."""
    try:  # noqa: SIM105 (contextlib would cost every process of every server half a megabyte)
        call(*arguments)
    except (ProcessLookupError, PermissionError):
        pass


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
