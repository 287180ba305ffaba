"""Hot reload: changes are seen however they are made, and a bad file changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from typing import TYPE_CHECKING

import pytest

from gateway.config import Live, Loaded, load, reload
from gateway.config.files import folders
from gateway.config.memory import Memory
from gateway.config.watch import READINGS, Watcher, on_hangup, unmixed
from gateway.errors import ConfigError, Unavailable
from tests.support.files import written
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

SERVER = """\
mcp_servers:
  p: {{mode: remote, endpoint: "http://localhost/mcp", description: "{}", headers: {{X-Team: "${{file:team}}"}}}}
"""


class Reloads:
    """What a watcher delivered, in force or not."""

    def __init__(self, path: Path) -> None:
        self.live = Live(load(path))
        self.delivered: list[Loaded | ConfigError] = []
        self.watcher = Watcher(lambda: self.live.value, self.deliver, poll_seconds=60)

    async def deliver(self, outcome: Loaded | ConfigError) -> None:
        self.delivered.append(outcome)
        if isinstance(outcome, Loaded):
            self.live.set(outcome)

    @property
    def description(self) -> str:
        return self.live.value.config.mcp_servers["p"].description

    async def comes(self, change: Callable[[str], object]) -> None:
        """Make the change over and over, each time another one, until it is in force: the watch starts in its time."""
        for number in itertools.count():
            wanted = f"{change.__name__} {number}"
            change(SERVER.format(wanted))
            with contextlib.suppress(AssertionError):
                return await until(lambda wanted=wanted: self.description == wanted, timeout=0.5)
            assert number < 20, "no change was ever seen"
        return None


@contextlib.asynccontextmanager
async def watching(path: Path) -> AsyncIterator[Reloads]:
    reloads = Reloads(path)
    task = asyncio.create_task(reloads.watcher.run())
    try:
        yield reloads
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "team").write_text("blue")
    return written(tmp_path, SERVER.format("first"))


async def test_a_file_that_is_written_renamed_over_or_swapped_by_link_is_read_again(tmp_path: Path, path: Path):
    def write(text: str) -> None:
        path.write_text(text)

    def rename(text: str) -> None:
        written(tmp_path, text, "new").rename(path)

    def relink(text: str) -> None:
        target = written(tmp_path, text, f"v{len(list(tmp_path.iterdir()))}")
        link = tmp_path / "link"
        link.symlink_to(target.name)
        link.rename(path)

    async with watching(path) as reloads:
        for change in (write, rename, relink):
            await reloads.comes(change)
        assert all(isinstance(one, Loaded) for one in reloads.delivered)


async def test_a_folder_of_versions_behind_a_link_is_followed_as_kubernetes_swaps_it(tmp_path: Path):
    """`config.yaml -> ..data/config.yaml`, and `..data` is what is replaced."""
    (tmp_path / "v0").mkdir()
    (tmp_path / "v0" / "team").write_text("blue")
    written(tmp_path / "v0", SERVER.format("first"))
    (tmp_path / "..data").symlink_to("v0")
    for name in ("config.yaml", "team"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    count = itertools.count(1)

    def swap(text: str) -> None:
        version = tmp_path / f"v{next(count)}"
        version.mkdir()
        (version / "team").write_text("blue")
        written(version, text)
        (tmp_path / "fresh").symlink_to(version.name)
        (tmp_path / "fresh").rename(tmp_path / "..data")

    async with watching(tmp_path / "config.yaml") as reloads:
        await reloads.comes(swap)


async def test_a_bad_file_is_reported_once_and_the_old_configuration_stays(path: Path):
    async with watching(path) as reloads:
        await reloads.comes(path.write_text)
        before, count = reloads.description, len(reloads.delivered)
        written(path.parent, "auth: {enabeld: true}\n")
        await until(lambda: len(reloads.delivered) > count)
        error = reloads.delivered[-1]
        assert isinstance(error, ConfigError)
        assert [one.path for one in error.mistakes] == ["auth.enabeld"]
        assert reloads.description == before
        os.utime(path)
        await reloads.comes(path.write_text)
        assert [isinstance(one, ConfigError) for one in reloads.delivered].count(True) == 1


async def test_a_changed_secret_is_taken_up(tmp_path: Path, path: Path):
    async with watching(path) as reloads:
        await reloads.comes(path.write_text)
        (tmp_path / "team").write_text("red")
        await until(lambda: reloads.live.value.config.mcp_servers["p"].headers["X-Team"].reveal() == "red")


async def test_a_file_that_was_only_touched_is_no_news_and_sighup_asks_all_the_same(path: Path):
    async with watching(path) as reloads:
        await reloads.comes(path.write_text)
        count = len(reloads.delivered)
        with on_hangup(reloads.watcher.trigger):
            os.utime(path)
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: len(reloads.delivered) > count)
        assert len(reloads.delivered) == count + 1


async def test_what_was_changed_before_the_watch_began_is_found_by_the_poll(path: Path):
    reloads = Reloads(path)
    watcher = Watcher(lambda: reloads.live.value, reloads.deliver, poll_seconds=0.05)
    written(path.parent, SERVER.format("second"))
    task = asyncio.create_task(watcher.run())
    await until(lambda: reloads.description == "second")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_folders_of_a_linked_file_are_those_of_every_link_on_the_way(tmp_path: Path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "c" / "file").write_text("")
    (tmp_path / "b" / "link").symlink_to("../c/file")
    (tmp_path / "a" / "folder").symlink_to("../b")
    (tmp_path / "loop").symlink_to("loop")
    found = {folder.resolve() for folder in folders([tmp_path / "a" / "folder" / "link", tmp_path / "loop"])}
    assert found >= {tmp_path / "a", tmp_path / "b", tmp_path / "c", tmp_path}


def test_the_fingerprint_is_of_contents_and_an_absent_file_has_one(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("x")
    look = Memory().fingerprint
    before = look([one, two])
    two.write_text("y")
    assert len({before, look([one, two]), look([two])}) == 3


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ("tool_access: {mode: front_door}\nauth: {enabled: true}", "tool_access.mode"),
        ("auth: {enabled: true}", "auth.enabled"),
        ("server: {port: 9}", "server"),
        ("storage: {url: 'sqlite:///other.db'}", "storage"),
        ("opa: {replica: other}", "opa.replica"),
    ],
)
def test_what_only_a_restart_can_change_refuses_the_reload_by_name(tmp_path: Path, change: str, path: str):
    before = load(written(tmp_path, "auth: {enabled: false}\n"))
    written(tmp_path, change)
    with pytest.raises(ConfigError, match="needs a restart") as refused:
        reload(before)
    assert path in [one.path for one in refused.value.mistakes]


def test_a_reload_keeps_host_and_port_of_the_command_line(tmp_path: Path):
    before = load(written(tmp_path, "auth: {enabled: false}\n")).with_server("localhost", 9)
    written(tmp_path, "auth: {enabled: false, default_role: viewer}\n")
    after = reload(before)
    assert (after.config.server.host, after.config.server.port) == ("localhost", 9)
    assert after.config.auth.default_role == "viewer"


async def test_a_change_made_while_the_one_before_is_put_in_force_is_not_missed(path: Path):
    reloads = Reloads(path)

    async def deliver(outcome: Loaded | ConfigError) -> None:
        if not reloads.delivered:
            written(path.parent, SERVER.format("third"))
        await reloads.deliver(outcome)

    written(path.parent, SERVER.format("second"))
    task = asyncio.create_task(Watcher(lambda: reloads.live.value, deliver, poll_seconds=0.05).run())
    await until(lambda: reloads.description == "third")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(reloads.delivered) == 2


async def test_a_configuration_that_cannot_be_put_in_force_does_not_end_the_watch(path: Path):
    reloads = Reloads(path)

    async def deliver(outcome: Loaded | ConfigError) -> None:
        if not reloads.delivered:
            reloads.delivered.append(outcome)
            raise Unavailable("the ledger is away")
        await reloads.deliver(outcome)

    written(path.parent, SERVER.format("second"))
    watcher = Watcher(lambda: reloads.live.value, deliver, poll_seconds=0.05)
    task = asyncio.create_task(watcher.run())
    await until(lambda: reloads.delivered)
    watcher.trigger()
    await until(lambda: reloads.description == "second")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_what_changes_between_the_first_file_and_the_last_is_read_again_and_never_mixed(tmp_path: Path) -> None:
    def put(variant: str) -> None:
        written(tmp_path, f"tenants:\n  - {{id: a, display_name: {variant}, catalog_file: a.yaml}}\n", "tenants.yaml")
        written(tmp_path, f"mcp_servers: {{{variant}: {{mode: remote, endpoint: 'https://x.example'}}}}\n", "a.yaml")

    def says(found: Loaded) -> tuple[str, list[str]]:
        (tenant,) = found.config.tenants
        assert tenant.catalog is not None
        return tenant.display_name, list(tenant.catalog.own)

    put("old")
    before = load(
        written(tmp_path, "tool_access: {mode: front_door}\nauth: {enabled: true}\ntenants_file: tenants.yaml\n")
    )
    swaps = iter(("new", "newer"))

    def read() -> Loaded:
        found = reload(before)
        if variant := next(swaps, None):
            put(variant)
        return found

    assert says(unmixed(read, lambda found: before.memory.fingerprint(found.files))) == ("newer", ["newer"])
    restless = (f"v{number}" for number in itertools.count())
    with pytest.raises(ConfigError, match="changes while it is read"):
        unmixed(lambda: (reload(before), put(next(restless)))[0], lambda found: before.memory.fingerprint(found.files))
    assert next(restless) == f"v{READINGS}"
