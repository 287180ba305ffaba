"""A server over stdio that does what it is told, in either era; a script of the standard library, which starts fast.

`python local_server.py [--era …] [--trace FILE]`: with a trace, every line that it is sent is kept there.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
TOOLS = (
    "echo", "remember", "recall", "about", "hold", "release", "progress", "log", "ask", "flood", "long", "write",
    "complain", "leave", "spawn", "grow", "asleep", "babble", "hop", "pretty",
)  # fmt: skip


class Server:
    """One process."""

    def __init__(self, era: str, trace: Path | None) -> None:
        self.era = era
        self.trace = trace
        self.shaken = False
        self.memory: list[str] = []
        self.held: dict[str, Any] = {}
        self.cancelled: list[Any] = []
        self.extra: list[str] = []
        self.writing = threading.Lock()

    def say(self, message: dict[str, Any]) -> None:
        """Write one message."""
        self.write(json.dumps({"jsonrpc": "2.0", **message}))

    def write(self, text: str) -> None:
        """Write one line."""
        with self.writing:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def run(self) -> None:
        """Read until nothing more comes."""
        for line in sys.stdin:
            if self.trace:
                with self.trace.open("a") as kept:
                    kept.write(line)
            self.heard(json.loads(line))

    def heard(self, message: dict[str, Any]) -> None:
        """Do what one message asks."""
        method = message.get("method")
        if method == "notifications/cancelled":
            self.cancelled.append(message["params"]["requestId"])
        if method is None or "id" not in message:
            self.answered(message)
            return
        if self.era == "strict" and not self.shaken and method != "initialize":
            sys.exit("expected initialize")
        if self.era == "mute" and not self.shaken and method != "initialize":
            return
        if method == "initialize" and self.era != "modern":
            self.part()
            self.shaken = True
            info = {"name": "local", "version": "1"}
            result = {"protocolVersion": LEGACY, "capabilities": {"tools": {}}, "serverInfo": info}
            self.say({"id": message["id"], "result": result})
        elif method == "server/discover" and self.era in ("modern", "parting"):
            self.result(message, supportedVersions=[MODERN], capabilities={"tools": {}}, ttlMs=0, cacheScope="private")
            self.part()
        elif method == "tools/list":
            schema = {"type": "object"}
            names = (*TOOLS, *self.extra)
            self.result(message, tools=[{"name": name, "inputSchema": schema} for name in names])
        elif method == "tools/call":
            threading.Thread(target=self.call, args=(message,), daemon=True).start()
        else:
            self.say({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})

    def part(self) -> None:
        """Be gone, if that is what this one does; the end of the pipe is then seen together with what was said last."""
        if self.era == "parting":
            os.close(1)
            os._exit(0)

    def answered(self, message: dict[str, Any]) -> None:
        """Take what the client answers to `ask`."""
        held = self.held.pop(str(message.get("id")), None)
        if held is not None:
            self.text(held, json.dumps(message.get("error") or message.get("result")))

    def result(self, message: dict[str, Any], **members: Any) -> None:
        """Answer a request."""
        kind = {"resultType": "complete"} if self.era == "modern" else {}
        self.say({"id": message["id"], "result": {**kind, **members}})

    def text(self, message: dict[str, Any], text: str) -> None:
        """Answer a call."""
        self.result(message, content=[{"type": "text", "text": text}])

    def call(self, message: dict[str, Any]) -> None:
        """Do what a tool does."""
        params = message["params"]
        getattr(self, f"do_{params['name']}")(message, **params.get("arguments", {}))

    def do_echo(self, message: dict[str, Any], **arguments: Any) -> None:
        """Give back what came."""
        self.result(message, content=[], arguments=arguments)

    def do_remember(self, message: dict[str, Any], what: str) -> None:
        """Keep something."""
        self.memory.append(what)
        self.text(message, "kept")

    def do_recall(self, message: dict[str, Any]) -> None:
        """Give back all that was kept."""
        self.text(message, ",".join(self.memory))

    def do_about(self, message: dict[str, Any]) -> None:
        """Say what this process is."""
        about = {
            "pid": os.getpid(), "parent": os.getppid(), "argv": sys.argv, "cwd": str(Path.cwd()),
            "environment": dict(os.environ), "cancelled": self.cancelled,
        }  # fmt: skip
        self.text(message, json.dumps(about))

    def do_hold(self, message: dict[str, Any], key: str) -> None:
        """Answer when it is released."""
        self.held[key] = message

    def do_release(self, message: dict[str, Any], key: str) -> None:
        """Answer what is held, and then this."""
        while key not in self.held:
            time.sleep(0.001)
        self.text(self.held.pop(key), f"released {key}")
        self.text(message, "done")

    def do_progress(self, message: dict[str, Any], steps: int, padding: int = 0) -> None:
        """Report progress under the token that came along, and under one that nobody has."""
        token = message["params"].get("_meta", {}).get("progressToken")
        for step in range(steps):
            for one, message_ in ((token, "x" * padding), ("nobody's", "")):
                params = {"progressToken": one, "progress": step, "message": message_}
                self.say({"method": "notifications/progress", "params": params})
        self.text(message, str(token))

    def do_log(self, message: dict[str, Any], text: str) -> None:
        """Send a log message, which says nothing of the request that it belongs to."""
        self.say({"method": "notifications/message", "params": {"level": "info", "data": text}})
        self.text(message, "logged")

    def do_ask(self, message: dict[str, Any], method: str) -> None:
        """Ask the client something and answer with what it said."""
        self.held[f"q{message['id']}"] = message
        self.say({"id": f"q{message['id']}", "method": method, "params": {}})

    def do_flood(self, message: dict[str, Any], size: int) -> None:
        """Say much that nobody asked for, and never answer."""
        line = {"method": "notifications/message", "params": {"level": "info", "data": "x" * 100_000}}
        for _ in range(size // 100_000):
            self.say(line)

    def do_long(self, message: dict[str, Any], size: int) -> None:
        """Answer at length."""
        self.text(message, "x" * size)

    def do_write(self, message: dict[str, Any], line: str) -> None:
        """Write something else than a message to stdout."""
        self.write(line)
        self.text(message, "written")

    def do_complain(self, message: dict[str, Any], text: str, times: int = 1) -> None:
        """Write to stderr."""
        sys.stderr.write(f"{text}\n" * times)
        sys.stderr.flush()
        self.text(message, "complained")

    def do_leave(self, message: dict[str, Any], status: int) -> None:
        """End without an answer."""
        os._exit(status)

    def do_spawn(self, message: dict[str, Any]) -> None:
        """Start a process that outlives this one if it can: in a session of its own, deaf to everything but SIGKILL."""
        pid = os.fork()
        if pid == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(60)
        self.text(message, str(pid))

    def do_grow(self, message: dict[str, Any], name: str) -> None:
        """Offer another tool, and say so."""
        self.extra.append(name)
        self.say({"method": "notifications/tools/list_changed"})
        self.text(message, "grown")

    def do_babble(self, message: dict[str, Any], line: str, times: int) -> None:
        """Write the same line over and over, and never answer."""
        self.write("\n".join([line] * times))

    def do_pretty(self, message: dict[str, Any], between: str) -> None:
        """Answer with blank space of one's own between what is said, and what looks like a message within it."""
        forged = json.dumps({"jsonrpc": "2.0", "id": "forged", "result": {}})
        head = f'{{"jsonrpc":"2.0","id":{message["id"]},"result":{{"content":[],"resultType":"complete","odd":['
        self.write(between.join((head, forged, "]}}")))

    def do_hop(self, message: dict[str, Any], file: str) -> None:
        """Start a chain that holds a lock: each link has a session of its own and is over before it can be killed."""
        if os.fork() == 0:
            # In case nothing ends it; the lock is free when the last link has gone.
            end = time.monotonic() + 30
            fcntl.flock(os.open(file, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
            while time.monotonic() < end:
                if os.fork():
                    os._exit(0)
                os.setsid()
            os._exit(0)
        self.text(message, "hopping")

    def do_asleep(self, message: dict[str, Any]) -> None:
        """Never answer."""


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--era", default="modern", choices=("modern", "legacy", "strict", "mute", "parting"))
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--stubborn", action="store_true", help="Heed neither the end of stdin nor SIGTERM.")
    parser.add_argument("--lingering", action="store_true", help="Heed SIGTERM, but not the end of stdin.")
    parser.add_argument("--deaf", action="store_true", help="Read nothing at all.")
    parser.add_argument("--gate", type=Path, help="Read nothing before this file is there.")
    options = parser.parse_args()
    while options.gate and not options.gate.exists():
        time.sleep(0.01)
    if options.lingering:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.deaf:
        time.sleep(600)
    Server(options.era, options.trace).run()
    if options.stubborn or options.lingering:
        time.sleep(600)


if __name__ == "__main__":
    main()
