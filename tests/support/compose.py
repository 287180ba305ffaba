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


def compose(file: str = "compose.yaml") -> dict[str, Any]:
    """Return compose.yaml, or another such file, with its anchors resolved."""
    document: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())
    return document


def mounts(service: Mapping[str, Any]) -> dict[str, str]:
    """Return what is mounted where, by target."""
    return dict(reversed(volume.split(":")[:2]) for volume in service.get("volumes", ()))


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
PORTS = (8000, 8001, 8002, 8080, 8180, 9090)
CONFIG = "/etc/portcullis/config.yaml"


@dataclass
class Processes:
    """The services of a compose file as processes; only paths, ports and host names differ. `folder` has a short path.

    `without` are services that are not started, `instead` is text to be read in the place of other text.
    """

    folder: Path
    file: str = "compose.yaml"
    without: frozenset[str] = frozenset()
    instead: Mapping[str, str] = field(default_factory=dict)
    ports: dict[int, int] = field(default_factory=lambda: {usual: free_port() for usual in PORTS})
    services: dict[str, Any] = field(init=False)
    processes: dict[str, Running] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        every = compose(self.file)["services"]
        self.services = {name: one for name, one in every.items() if name not in self.without}
        for name, service in self.services.items():
            for target, source in mounts(service).items():
                if target == CONFIG:
                    text = (ROOT / self.file).parent.joinpath(source).read_text()
                    (self.folder / f"{name}.yaml").write_text(self.here(self._named(text, service), name))
                else:
                    (self.folder / source).mkdir(exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def here(self, text: str, name: str) -> str:
        """Return text of a service as it reads on this machine."""
        for usual, own in self.ports.items():
            text = re.sub(rf"(?<!\d){usual}(?!\d)", str(own), text)
        places = {CONFIG: str(self.folder / f"{name}.yaml"), **self.instead}
        for target, source in mounts(self.services[name]).items():
            if target != CONFIG:
                places[target] = str(self.folder / source)
                places[target.replace("/", "%2F")] = str(self.folder / source).replace("/", "%2F")
        places |= {
            "/demo/": f"{ROOT}/examples/front-door/",
            "//sync:": "//127.0.0.1:",
            "//servers:": "//localhost:",
            "0.0.0.0": "127.0.0.1",
        }
        for there, own_place in places.items():
            text = text.replace(there, own_place)
        return text

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment that the image of a service sets."""
        state = mounts(self.services[name]).get("/var/lib/portcullis")
        return {"PORTCULLIS_STATE_DIR": str(self.folder / state)} if state else {}

    def command(self, words: list[str], name: str) -> list[str]:
        """Return a service's command or health check as it reads on this machine."""
        return [str(PROGRAMS[words[0]]), *(self.here(word, name) for word in words[1:])]

    def run(self, words: list[str], name: str = "gateway") -> str:
        """Run a command beside a service to its end, and return what it prints."""
        environment = os.environ | self.environment(name)
        command = self.command(words, name)
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout

    def _named(self, config: str, service: Mapping[str, Any]) -> str:
        """Return a configuration with the name that a replica has by its host's."""
        return f"{config}opa: {{replica: {service['hostname']}}}\n" if "hostname" in service else config

    async def up(self) -> None:
        """Start every service as soon as what it depends on is as it wants it."""
        waiting = dict(self.services)
        while waiting:
            name = next(name for name, one in waiting.items() if not set(one.get("depends_on", ())) & set(waiting))
            for other, wanted in waiting.pop(name).get("depends_on", {}).items():
                if wanted["condition"] == "service_healthy" and other not in self.without:
                    await self.healthy(other)
            self.start(name)
        for name in self.processes:
            await self.healthy(name)

    def start(self, name: str) -> None:
        """Start a service; one that does not go on is run to its end."""
        service = self.services[name]
        if service.get("restart") == "no":
            self.run([entrypoint(service), *service["command"]], name)
            return
        command = self.command([entrypoint(service), *service["command"]], name)
        process = running(command, self.folder, name=name, environment=self.environment(name))
        self.processes[name] = self._stack.enter_context(process)

    async def healthy(self, name: str) -> None:
        """Wait until a service's own health check succeeds."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        command = self.command(words, name)
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
