"""Five hundred edits under load: whatever lies there for a moment, what is in force is one configuration, and whole."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from itertools import count, product
from typing import TYPE_CHECKING

from gateway import keys
from gateway.config import load
from tests.support.backend import FakeBackend, tool
from tests.support.gateway import PATIENT, Portcullis
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ROUNDS, EDITS = 10, 50
KINDS = ("renamed", "written", "truncated", "invalid", "swapped", "swapped, invalid", "broken catalog")
KEYS = {name: keys.mint() for name in ("team-a", "team-b", "team-c")}
TOOLS = ("stable", "only_x", "only_y")
DENIED = ("v0", "v1")
# The last line of it is the end of a quoted word, so that no beginning of the file is a configuration.
CONFIG = """\
tool_access: {{mode: front_door}}
auth: {{enabled: true}}
opa: {{deadline_ms: {deadline}}}
tenants_file: mounted/tenants.yaml
mcp_servers:
  payments:
    mode: remote
    tools: {{allow_list: [stable, {tool}, v0, v1]}}
    endpoint: "{endpoint}"
"""
# Two files that say one thing: who is let in by which of them, no other configuration has.
ROW = '  - {{id: {id}, display_name: "{word}", catalog_file: {id}.yaml, api_keys: [{{key_hash: "sha256:{hash}"}}]}}\n'
CATALOG = "servers: {{payments: {{tools: {{deny_list: [{word}]}}}}}}\n"
BROKEN_CATALOG = "servers: {nowhere: {}}\n"


@dataclass
class Edited:
    """The files of one installation: config.yaml as people edit it, the tenants as Kubernetes mounts them."""

    folder: Path
    endpoints: tuple[str, str]
    numbers: count[int] = field(default_factory=count)

    def config(self, variant: int) -> str:
        """Return config.yaml: one server or the other, each with a tool that is offered there alone."""
        tool = TOOLS[1 + variant]
        return CONFIG.format(deadline=PATIENT["deadline_ms"], tool=tool, endpoint=self.endpoints[variant])

    def mounted(self, variant: int) -> dict[str, str]:
        """Return the files of the volume, all of which name the variant."""
        rows = (ROW.format(id=id_, word=f"v{variant}", hash=keys.sha256(key)) for id_, key in KEYS.items())
        catalogs = {f"{id_}.yaml": CATALOG.format(word=f"v{variant}") for id_ in ("team-a", "team-b")}
        return {"tenants.yaml": f"tenants:\n{''.join(rows)}", "team-c.yaml": "servers: {payments: {}}\n", **catalogs}

    def rename(self, text: str) -> None:
        """Put config.yaml in place whole."""
        new = self.folder / "config.yaml.new"
        new.write_text(text)
        new.rename(self.folder / "config.yaml")

    def overwrite(self, text: str) -> None:
        """Write into config.yaml as it lies there."""
        (self.folder / "config.yaml").write_text(text)

    def swap(self, files: dict[str, str]) -> None:
        """Replace all files of the volume at once, as kubelet does: by the link that they are all reached through."""
        volume = self.folder / "mounted"
        version = volume / f"..v{next(self.numbers)}"
        version.mkdir(parents=True)
        for name, text in files.items():
            (version / name).write_text(text)
            if not (volume / name).is_symlink():
                (volume / name).symlink_to(f"..data/{name}")
        before = (volume / "..data").resolve() if (volume / "..data").exists() else None
        (volume / "..data_tmp").symlink_to(version.name)
        (volume / "..data_tmp").rename(volume / "..data")
        if before is not None:
            for path in before.iterdir():
                path.unlink()
            before.rmdir()

    def hashes(self) -> set[str]:
        """Return what every configuration is called that the files ever say."""
        found = set()
        for config, mounted in product(range(2), range(2)):
            self.put(config, mounted)
            found.add(load(self.folder / "config.yaml").hash)
        assert len(found) == 4
        return found

    def put(self, config: int, mounted: int) -> list[str]:
        """Put valid files in place, and return what team-a sees by them."""
        self.rename(self.config(config))
        self.swap(self.mounted(mounted))
        return sorted(("stable", TOOLS[1 + config], DENIED[1 - mounted]))

    def edit(self, dice: random.Random) -> str:
        """Make one edit and return which kind it was."""
        config, volume = self.config(dice.randrange(2)), self.mounted(dice.randrange(2))
        kind = dice.choice(
            ("renamed", "written", "truncated", "invalid", "swapped", "swapped, invalid", "broken catalog")
        )
        match kind:
            case "renamed":
                self.rename(config)
            case "written":
                self.overwrite(config)
            case "truncated":
                self.overwrite(config[: dice.randrange(1, len(config) - 2)])
            case "invalid":
                self.rename(config.replace("endpoint", dice.choice(("endpont", "endpoint: {", "mode"))))
            case "swapped":
                self.swap(volume)
            case "swapped, invalid":
                self.swap(volume | {"tenants.yaml": volume["tenants.yaml"].replace("id: team-b", "id: team-a")})
            case "broken catalog":
                self.swap(volume | {"team-c.yaml": BROKEN_CATALOG})
        return kind


class Load:
    """Agents of two teams that call and list without a pause, and what they were told."""

    def __init__(self, gateway: Portcullis) -> None:
        self.gateway = gateway
        self.failed: list[object] = []
        self.answered: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        """Go on for as long as the block lasts."""
        over = asyncio.Event()
        agents = [asyncio.create_task(self._agent(team, over)) for team in ("team-a", "team-b", "team-c")]
        try:
            yield self
        finally:
            over.set()
            await asyncio.gather(*agents)

    async def _agent(self, team: str, over: asyncio.Event) -> None:
        while not over.is_set():
            for name in TOOLS:
                reply = await self.gateway.call(name, X_API_Key=KEYS[team])
                unknown = reply.status == 200 and reply.json.get("error", {}).get("code") == -32602
                if not (reply.status == 200 and "result" in reply.json) and not (unknown and name != "stable"):
                    self.failed.append((name, reply))
                self.answered["unknown" if unknown else name] += 1
            if "stable" not in (names := await self.gateway.tools(X_API_Key=KEYS[team])):
                self.failed.append(names)


async def configurations(gateway: Portcullis) -> set[str]:
    """Return every configuration that was ever put in force, by its hash."""
    status, out, err = await gateway.cli("audit", "tail", "--json", "-n", "100000")
    assert status == 0, err
    events = [json.loads(line) for line in out.splitlines() if "ConfigReloaded" in line]
    return {event["target"]["config"] for event in events}


async def test_five_hundred_edits_under_load_never_mix_configurations_nor_fail_what_policy_admits(
    tmp_path: Path,
) -> None:
    dice = random.Random(5)
    x, y = (FakeBackend(definitions=[tool(name) for name in (*TOOLS, *DENIED)]) for _ in range(2))
    async with x.serve(), y.serve():
        files = Edited(tmp_path, (x.url, y.url))
        known = files.hashes()
        async with Portcullis(tmp_path, {}) as gateway, Load(gateway).running() as load_:
            kinds: Counter[str] = Counter()
            for number in range(ROUNDS):
                for _ in range(EDITS - 1):
                    kinds[files.edit(dice)] += 1
                    # What is edited while the last edit is read is the point of it; so is what comes a moment after.
                    await asyncio.sleep(dice.random() * 0.03)
                gateway.process.send_signal(signal.SIGHUP)
                expected = files.put(number % 2, number // 2 % 2)

                async def settled(expected: list[str] = expected) -> bool:
                    return sorted(await gateway.tools(X_API_Key=KEYS["team-a"])) == expected

                await until(settled, 30, what="the last edit of a round is in force")
            in_force = await configurations(gateway)
            log = gateway.log
    assert load_.failed == []
    assert in_force == known
    # No tool was called at a server whose configuration does not offer it.
    assert {call.message["params"]["name"] for call in x.calls} == {"stable", "only_x"}
    assert {call.message["params"]["name"] for call in y.calls} == {"stable", "only_y"}
    # And all of that did happen.
    assert kinds.keys() == set(KINDS)
    assert "the configuration is refused, the old one stays" in log
    assert "tenant team-c keeps its last good catalog" in log
    assert min(load_.answered.values()) > 20


async def test_a_call_under_way_ends_at_the_server_where_it_began_and_the_next_goes_where_the_files_say_now(
    tmp_path: Path,
) -> None:
    x, y = (FakeBackend(definitions=[tool(name) for name in (*TOOLS, *DENIED)]) for _ in range(2))
    async with x.serve(), y.serve():
        files = Edited(tmp_path, (x.url, y.url))
        files.put(0, 0)
        async with Portcullis(tmp_path, {}) as gateway:
            x.delay = asyncio.Event()
            call = asyncio.create_task(gateway.call("only_x", X_API_Key=KEYS["team-a"]))
            await until(lambda: bool(x.calls), what="the call is at its server")
            expected = files.put(1, 0)

            async def settled() -> bool:
                return sorted(await gateway.tools(X_API_Key=KEYS["team-a"])) == expected

            await until(settled, 15, what="the other server is in force")
            assert "result" in (await gateway.call("only_y", X_API_Key=KEYS["team-a"])).json
            assert (await gateway.call("only_x", X_API_Key=KEYS["team-a"])).json["error"]["code"] == -32602
            x.delay.set()
            assert "result" in (await call).json
    assert [len(one.calls) for one in (x, y)] == [1, 1]
