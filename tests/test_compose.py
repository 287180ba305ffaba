"""compose.yaml: everything that it names exists in the product, and the processes that it runs are a front door."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import click
import pytest
from testcontainers.compose import DockerCompose

from gateway.cli import main
from gateway.config import Source, load
from gateway.pdp.opa_binary import PINNED, find
from tests.support.compose import DOCKERFILE, ROOT, Processes, compose, entrypoint, mounts
from tests.support.fake_opa import short_directory
from tests.support.recipe import broken, quiet_tour
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SERVICES: dict[str, Any] = compose()["services"]
OURS = {name: one for name, one in SERVICES.items() if "build" in one and entrypoint(one) == "portcullis"}
CONFIG = ROOT / "deploy" / "compose" / "config.yaml"
KEY = [
    "key",
    "create",
    "--config",
    "/etc/portcullis/config.yaml",
    "--principal",
    "user:root",
    "--role",
    "admin",
    "--json",
]


def parsed(words: list[str]) -> click.Context:
    """Parse a command line of `portcullis` as it would itself; a word it does not know raises click's UsageError."""
    command: click.Command = main
    rest = list(words)
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), rest[0])
        assert found, f"portcullis has no command {rest[0]}"
        command = found
        del rest[0]
    return command.make_context(command.name, rest)


def flag(service: str, name: str) -> str:
    """Return the value of a `--name=value` or `--name value` of a service's command."""
    words = SERVICES[service]["command"]
    joined = [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    return joined[0] if joined else words[words.index(name) + 1]


@pytest.mark.parametrize("name", OURS)
def test_every_command_and_flag_of_ours_exists(name: str):
    context = parsed(OURS[name]["command"])
    assert context.params["config_path"] == Source(Path("/etc/portcullis/config.yaml"))


def test_every_flag_of_opa_exists():
    help_ = subprocess.run([find().path, "run", "--help"], capture_output=True, text=True, check=True).stdout
    for word in SERVICES["opa"]["command"][1:]:
        assert re.search(rf"{re.escape(word.partition('=')[0])}\b", help_)


def test_the_scripts_of_the_demo_take_the_flags_they_are_given():
    for name in ("issuer", "servers"):
        script, *words = SERVICES[name]["command"]
        source = ROOT / "examples" / "front-door" / Path(script).name
        help_ = subprocess.run([sys.executable, source, "--help"], capture_output=True, text=True, check=True).stdout
        assert all(word in help_ for word in words if word.startswith("--"))


def test_opa_is_the_pinned_one_and_runs_as_the_user_of_the_gateway():
    assert SERVICES["opa"]["image"] == f"openpolicyagent/opa:{PINNED}-static"
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == [SERVICES["opa"]["user"]]


def test_nothing_of_opa_or_sync_is_on_a_public_port():
    assert [name for name, one in SERVICES.items() if "ports" in one] == ["gateway"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["gateway"]["ports"])
    assert flag("opa", "--addr").startswith("unix://")
    assert not [word for word in SERVICES["opa"]["command"] if "diagnostic" in word]
    assert {name for name, one in SERVICES.items() if "control" in one.get("networks", ())} == {
        "sync",
        "opa",
        "gateway",
    }
    assert compose()["networks"]["control"] == {"internal": True}


def test_every_published_port_is_one_that_a_service_listens_on():
    listened = {flag("gateway", "--port"), flag("issuer", "--port")}
    assert SERVICES["issuer"]["network_mode"] == "service:gateway"
    assert {port.rpartition(":")[2] for port in SERVICES["gateway"]["ports"]} == listened


def test_the_processes_find_each_other_where_the_configuration_says():
    config = load(CONFIG).config
    assert config.auth.opa.url == flag("opa", "--addr")
    assert config.sync.url == f"http://sync:{str(config.sync.listen).rpartition(':')[2]}"
    assert config.mcp_servers["payments"].endpoint == f"http://servers:{flag('servers', '--port')}/mcp"
    assert config.auth.oidc.issuer == flag("issuer", "--issuer")
    assert flag("keys", "--output") == flag("opa", "--config-file")


def test_the_front_door_of_compose_is_the_recipe_with_other_addresses():
    recipe, here = load(ROOT / "examples/front-door/config.yaml").config, load(CONFIG).config
    assert here.tool_access == recipe.tool_access
    theirs, ours = recipe.mcp_servers["payments"], here.mcp_servers["payments"]
    assert replace(ours, endpoint=theirs.endpoint) == theirs
    changed = {"issuer": recipe.auth.oidc.issuer}
    assert here.auth.oidc.model_copy(update=changed) == recipe.auth.oidc


def test_every_volume_is_declared_and_mounted_where_its_files_are_looked_for():
    used = {source for name in SERVICES for source in mounts(SERVICES[name]).values() if not source.startswith(".")}
    assert used == set(compose()["volumes"])
    (state,) = re.findall(r"PORTCULLIS_STATE_DIR=(\S+)", DOCKERFILE)
    assert all(mounts(SERVICES[name])[state] == "state" for name in OURS)
    assert mounts(SERVICES["opa"]) == {"/var/lib/opa": "opa", "/run/portcullis": "socket"}
    assert Path(flag("opa", "--config-file")).parent == Path("/var/lib/opa")
    assert mounts(SERVICES["gateway"])["/run/portcullis"] == "socket"
    folders = re.search(r"install -d .* -m 0700 .*", DOCKERFILE)
    assert folders
    assert {state, *mounts(SERVICES["opa"])} <= set(folders[0].split())


def test_opa_starts_after_its_keys_and_sees_no_other_secret():
    assert SERVICES["opa"]["depends_on"] == {"keys": {"condition": "service_completed_successfully"}}
    assert "state" not in mounts(SERVICES["opa"]).values()
    assert flag("keys", "--token-path").startswith("/var/lib/opa/")
    assert flag("keys", "--persistence-directory").startswith("/var/lib/opa/")


def test_the_images_are_built_from_files_and_stages_that_exist():
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert {one["build"]["target"] for one in SERVICES.values() if "build" in one} <= stages
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored
    assert set(re.findall(r"--from=(\S+)", DOCKERFILE)) <= stages


@dataclass(frozen=True)
class FrontDoor:
    """A running front door: where it is, and a key of its admin."""

    port: int
    issuer: str
    key: str


def docker_engine() -> bool:
    """Whether containers can be run here; where they cannot, the same is proved with processes alone."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    asked = (["info"], ["compose", "version"])
    return all(subprocess.run([docker, *words], capture_output=True, check=False).returncode == 0 for words in asked)


def made_in(processes: Processes) -> FrontDoor:
    """Make an admin key beside a running front door of processes."""
    key = json.loads(processes.run(["portcullis", *KEY]))["key"]
    return FrontDoor(processes.ports[8000], f"http://localhost:{processes.ports[9090]}", key)


@asynccontextmanager
async def in_processes() -> AsyncIterator[FrontDoor]:
    with short_directory() as folder, Processes(folder) as processes:
        await processes.up()
        yield made_in(processes)


@asynccontextmanager
async def in_containers() -> AsyncIterator[FrontDoor]:
    with DockerCompose(ROOT, build=True, wait=True) as containers:
        said, _, _ = containers.exec_in_container(["portcullis", *KEY], "gateway")
        yield FrontDoor(8000, "http://localhost:9090", json.loads(said)["key"])


async def tour_of(door: FrontDoor) -> Any:
    """Return a tour once the gateway knows the key, which was made beside it."""
    url, headers = f"http://localhost:{door.port}/api/admin/withdrawals", {"X-API-Key": door.key}

    async def known() -> bool:
        async with session.get(url, headers=headers) as answer:
            return answer.status == 200

    async with aiohttp.ClientSession() as session:
        await until(known, what="the gateway knows the key")
    return quiet_tour(door.port, door.issuer, door.key)


WAYS = [in_processes, in_containers] if docker_engine() else [in_processes]


@pytest.mark.parametrize("way", WAYS)
async def test_the_processes_apart_keep_every_promise_of_the_recipe(way: Any):
    async with way() as door:
        tour = await tour_of(door)
        for step in (tour.metadata, tour.challenge, tour.tenants, tour.withdraw, tour.restore):
            step()
    assert broken(tour) == []


async def test_a_withdrawal_survives_the_loss_of_everything_and_a_start_without_sync():
    with short_directory() as folder, Processes(folder) as processes:
        await processes.up()
        tour = await tour_of(made_in(processes))
        tour.withdraw()
        processes.kill("sync", "gateway", "opa")
        for name in ("opa", "gateway"):
            processes.start(name)
            await processes.healthy(name)
        tour.still_withdrawn()
    assert broken(tour) == []


# --- several replicas on one PostgreSQL -------------------------------------------------------------------------------

REPLICAS = "deploy/compose/replicas.yaml"
TWO: dict[str, Any] = compose(REPLICAS)["services"]


def test_every_command_and_flag_of_the_replicas_exists():
    ours = [one for one in TWO.values() if "build" in one and entrypoint(one) == "portcullis"]
    assert len(ours) == 5
    for one in ours:
        assert parsed(one["command"]).params["config_path"] == Source(Path("/etc/portcullis/config.yaml"))


def test_each_replica_has_its_own_opa_and_state_and_shares_nothing_but_keys_and_database():
    declared = compose(REPLICAS)
    for number in ("1", "2"):
        gateway, keys, opa = (TWO[f"{name}-{number}"] for name in ("gateway", "keys", "opa"))
        assert gateway["hostname"] == keys["hostname"] == f"gateway-{number}"
        assert mounts(gateway)["/var/lib/portcullis"] == mounts(keys)["/var/lib/portcullis"] == f"state-{number}"
        assert mounts(opa) == {"/var/lib/opa": f"opa-{number}", "/run/portcullis": f"socket-{number}"}
        assert mounts(gateway)["/run/portcullis"] == f"socket-{number}"
        assert opa["image"] == SERVICES["opa"]["image"]
    used = [set(mounts(TWO[name]).values()) - {"./replicas-config.yaml"} for name in ("gateway-1", "gateway-2", "sync")]
    assert used[0] & used[1] == used[0] & used[2] == {"shared"}
    named = {source for one in TWO.values() for source in mounts(one).values() if not source.startswith(".")}
    assert named == set(declared["volumes"])
    assert declared["networks"]["control"] == {"internal": True}
    assert {name for name, one in TWO.items() if "ports" in one} == {"gateway-1", "gateway-2"}


def test_the_folders_that_volumes_are_mounted_at_belong_to_the_user_of_the_image():
    folders = re.search(r"install -d .*", DOCKERFILE)
    assert folders
    ours = [one for one in TWO.values() if "build" in one or "openpolicyagent" in one["image"]]
    assert {target for one in ours for target in mounts(one)} - {"/etc/portcullis/config.yaml"} <= set(
        folders[0].split()
    )


async def test_what_one_replica_is_told_the_other_enforces_before_the_answer(new_postgresql: Callable[[], str]):
    instead = {"postgresql://portcullis:${file:/run/secrets/database}@database/portcullis": new_postgresql()}
    with short_directory() as folder, Processes(folder, REPLICAS, frozenset(("database",)), instead) as two:
        await two.up()
        admin = json.loads(two.run(["portcullis", *KEY], "gateway-1"))["key"]
        agent = json.loads(
            two.run(["portcullis", *KEY[:5], "service:agent", "--tenant", "tenant:b", "--json"], "gateway-2")
        )["key"]
        ports = [two.ports[8001], two.ports[8002]]
        async with aiohttp.ClientSession() as session:

            async def tools(port: int) -> list[str] | None:
                message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
                async with session.post(
                    f"http://localhost:{port}/mcp", json=message, headers={"X-API-Key": agent}
                ) as answer:
                    found = (await answer.json()).get("result") if answer.status == 200 else None
                return sorted(tool["name"] for tool in found["tools"]) if found else None

            async def told(port: int, verb: str) -> tuple[int, str | None]:
                url = f"http://localhost:{port}/api/admin/tools/payments/refund/{verb}"
                async with session.post(url, json={"tenant_id": "tenant:b"}, headers={"X-API-Key": admin}) as answer:
                    return answer.status, answer.headers.get("Portcullis-Applied")

            for port in ports:
                await until(lambda port=port: tools(port), what="the agent's key is known")
                await until(lambda port=port: both_apply(told, port), what="the admin's key is known")
            for here, there in (ports, ports[::-1]):
                assert await told(here, "withdraw") == (200, "2/2")
                assert await tools(there) == ["charge"]
                assert await told(there, "restore") == (200, "2/2")
                assert await tools(here) == ["charge", "refund"]


async def both_apply(told: Callable[[int, str], Awaitable[tuple[int, str | None]]], port: int) -> bool:
    return await told(port, "restore") == (200, "2/2")
