"""compose.yaml without containers: the same services as processes of this machine, in the same order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from gateway.pdp.opa_binary import find
from tests.support.processes import Running, free_port, running
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
HEALTHY_SECONDS = 40


def compose() -> dict[str, Any]:
    """Return compose.yaml with its anchors resolved."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return document


def entrypoint(service: Mapping[str, Any]) -> str:
    """Return the program that a service's image runs; an image of our own says so in the Dockerfile."""
    if "build" not in service:
        return "/opa"
    stage = re.search(
        rf"^FROM \S+ AS {service['build']['target']}\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL
    )
    assert stage, f"the Dockerfile has no stage {service['build']['target']}"
    found = re.search(r'^ENTRYPOINT \["([^"]+)"\]$', stage[1], re.MULTILINE)
    assert found
    return found[1]


DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROGRAMS = {
    "portcullis": BIN / "portcullis",
    "/opa": find().path,
    "python": Path(sys.executable),
    "/opt/tools/bin/python": Path(sys.executable),
}
PORTS = (8000, 8080, 8180, 9090)


@dataclass
class Processes:
    """The services of compose.yaml as processes; only paths, ports and host names differ. `folder` has a short path."""

    folder: Path
    ports: dict[int, int] = field(default_factory=lambda: {usual: free_port() for usual in PORTS})
    services: dict[str, Any] = field(default_factory=lambda: compose()["services"])
    processes: dict[str, Running] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        for name in ("state", "opa", "run"):
            (self.folder / name).mkdir()
        config = (ROOT / "deploy/compose/config.yaml").read_text()
        (self.folder / "config.yaml").write_text(self.here(config))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def here(self, text: str) -> str:
        """Return text as it reads on this machine."""
        for usual, own in self.ports.items():
            text = re.sub(rf"(?<!\d){usual}(?!\d)", str(own), text)
        places = {
            "/etc/portcullis/config.yaml": self.folder / "config.yaml",
            "/var/lib/portcullis": self.folder / "state",
            "/var/lib/opa": self.folder / "opa",
            "/run/portcullis": self.folder / "run",
            "%2Frun%2Fportcullis": str(self.folder / "run").replace("/", "%2F"),
            "/demo/": f"{ROOT}/examples/front-door/",
            "//sync:": "//127.0.0.1:",
            "//servers:": "//localhost:",
            "0.0.0.0": "127.0.0.1",
        }
        for there, own_place in places.items():
            text = text.replace(there, str(own_place))
        return text

    @property
    def environment(self) -> dict[str, str]:
        """The environment that the gateway's image sets."""
        return {"PORTCULLIS_STATE_DIR": str(self.folder / "state")}

    def command(self, words: list[str]) -> list[str]:
        """Return a service's command or health check as it reads on this machine."""
        return [str(PROGRAMS[words[0]]), *(self.here(word) for word in words[1:])]

    def run(self, words: list[str]) -> str:
        """Run a command to its end, and return what it prints."""
        environment = os.environ | self.environment
        return subprocess.run(self.command(words), check=True, capture_output=True, text=True, env=environment).stdout

    async def up(self) -> None:
        """Start every service as soon as what it depends on is as it wants it."""
        waiting = dict(self.services)
        while waiting:
            name = next(name for name, one in waiting.items() if not set(one.get("depends_on", ())) & set(waiting))
            for other, wanted in waiting.pop(name).get("depends_on", {}).items():
                if wanted["condition"] == "service_healthy":
                    await self.healthy(other)
            self.start(name)
        for name in self.processes:
            await self.healthy(name)

    def start(self, name: str) -> None:
        """Start a service; one that does not go on is run to its end."""
        service = self.services[name]
        if service.get("restart") == "no":
            self.run([entrypoint(service), *service["command"]])
            return
        command = self.command([entrypoint(service), *service["command"]])
        process = running(command, self.folder, name=name, environment=self.environment)
        self.processes[name] = self._stack.enter_context(process)

    async def healthy(self, name: str) -> None:
        """Wait until a service's own health check succeeds."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        command = self.command(words)
        process = self.processes[name]

        def well() -> bool:
            process.require()
            return subprocess.run(command, check=False, capture_output=True).returncode == 0

        await until(well, HEALTHY_SECONDS, f"{name} is healthy by {shlex.join(command)}")

    def kill(self, *names: str) -> None:
        """End services as a machine does that loses its power."""
        for name in names:
            process = self.processes.pop(name).popen
            process.kill()
            process.wait()
