"""Catalogs under a running gateway: only what changed is made anew, and no state but a right one is ever in force."""

from __future__ import annotations

import asyncio
import contextlib
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.config import Loaded, load
from gateway.config.contents import SETTLED_NS, Contents, Terms
from gateway.config.watch import Watcher
from gateway.errors import ConfigError, Mistake, Unavailable
from tests.support.teams import TENANTS, B, Teams, kept, offered
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def many(folder: Path, count: int) -> Teams:
    rows = "".join(f"  - {{id: t{number}, catalog_file: catalogs/t{number}.yaml}}\n" for number in range(count))
    teams = Teams(folder, tenants=f"tenants:\n{rows}")
    for number in range(count):
        teams.write(B, f"catalogs/t{number}.yaml")
    return teams


def test_a_reload_makes_anew_only_what_changed(tmp_path: Path):
    teams = many(tmp_path, 30)
    before = teams.load()
    teams.write("servers: {payments: {}}", "catalogs/t7.yaml")
    after = teams.reload()
    drafts = {id_ for id_, one in after.standings.items() if one.draft is not before.standings[id_].draft}
    tenants = {new.id for old, new in zip(before.config.tenants, after.config.tenants, strict=True) if old is not new}
    assert (drafts, tenants) == ({"t7"}, {"t7"})


def test_a_change_of_one_tenant_s_row_leaves_the_others_as_they_are(tmp_path: Path):
    teams = many(tmp_path, 30)
    before = teams.load()
    text = (tmp_path / "tenants.yaml").read_text()
    teams.write(text.replace("{id: t3, ", "{id: t3, active: false, "), "tenants.yaml")
    after = teams.reload()
    assert [new.id for old, new in zip(before.config.tenants, after.config.tenants, strict=True) if old is not new] == [
        "t3"
    ]


def test_what_was_made_of_files_that_are_no_longer_named_is_let_go(tmp_path: Path):
    teams = many(tmp_path, 5)
    loaded = teams.load()
    assert set(loaded.memory.made) == {"config", "tenants", *(f"catalog:t{number}" for number in range(5))}
    teams.write("tenants: [{id: t1, catalog_file: catalogs/t1.yaml}]", "tenants.yaml")
    assert set(teams.reload().memory.made) == {"config", "tenants", "catalog:t1"}
    teams.write("tenants: [", "tenants.yaml")
    with pytest.raises(ConfigError):
        teams.reload()
    assert "catalog:t1" in loaded.memory.made


def test_a_file_is_read_again_only_when_it_is_another_by_the_clock_of_its_file_system(tmp_path: Path):
    """Two writes within one tick leave the same times behind, so nothing younger than two seconds is believed."""
    path = tmp_path / "file"
    path.write_text("first")
    now = path.stat().st_ctime_ns
    contents = Contents(lambda: now)
    assert contents.look(path, Terms()).raw == b"first"
    assert contents.look(path, Terms()).raw == b"first"
    now += SETTLED_NS + 1
    assert contents.look(path, Terms()).raw == b"first"
    assert contents.look(path, Terms()).raw is None
    assert contents.look(path, Terms(limit=3)).raw == b"firs"
    path.write_text("other")
    assert contents.look(path, Terms(limit=3)).raw == b"othe"


EDITS = {
    "valid": "servers: {{payments: {{}}, search: {{tools: {{deny_list: [t{0}]}}}}}}\n",
    "another": "servers: {{search: {{tools: {{deny_list: [t{0}]}}}}}}\n",
    "invalid": "servers: {{search: {{tool: {0}}}}}\n",
    "unknown": "servers: {{server{0}: {{}}}}\n",
    "empty": "",
    "truncated": "servers: {{search: {{tools: {{deny_list: [t{0}",
}


def test_of_500_edits_of_every_kind_none_is_ever_half_in_force(tmp_path: Path):
    """Valid, invalid, truncated, renamed over, swapped by link as Kubernetes does, written in place, taken away."""
    chance = random.Random(5)
    teams = Teams(tmp_path, a=B, b=B)
    teams.load()
    folder = tmp_path / "catalogs"
    good = dict.fromkeys(("team-a", "team-b"), B)
    for number in range(500):
        tenant = chance.choice(("team-a", "team-b"))
        kind = chance.choice((*EDITS, "absent"))
        text = EDITS.get(kind, "").format(number)
        way = chance.choice(("write", "rename", f"..v{number}"))
        _put(way, folder / f"{tenant}.yaml", text if kind in EDITS else None)
        loaded = teams.reload()
        right = kind in ("valid", "another")
        if right:
            good[tenant] = text
        assert kept(loaded).get(tenant) == (None if right else False), kind
        assert [one.catalog for one in loaded.config.tenants] == [_catalog(tmp_path, good[one]) for one in sorted(good)]
    assert {path.name for path in folder.iterdir()} > {"..data-team-a", "..data-team-b"}


def _put(way: str, path: Path, text: str | None) -> None:
    """Change a file in place, by a rename, or by a link to a folder of this name."""
    if text is None:
        path.unlink(missing_ok=True)
    elif way == "write" and not path.is_symlink():
        path.write_text(text)
    elif way.startswith(".."):
        version = path.with_name(way)
        version.mkdir()
        (version / path.name).write_text(text)
        data = path.with_name(f"..data-{path.stem}")
        _swap(data, version.name)
        _swap(path, f"{data.name}/{path.name}")
    else:
        new = path.with_name("new")
        new.write_text(text)
        new.rename(path)


def _swap(link: Path, target: str) -> None:
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.rename(link)


_CATALOGS: dict[str, object] = {}


def _catalog(folder: Path, text: str) -> object:
    if text not in _CATALOGS:
        aside = folder.parent / f"{folder.name}-aside"
        _CATALOGS[text] = Teams(aside, a=text, b=B).load().config.tenants[0].catalog
    return _CATALOGS[text]


@asynccontextmanager
async def watching(teams: Teams, *, broken: bool = False) -> AsyncIterator[Watcher]:
    """Watch as `up` does; where something is `broken`, nothing new can be put in force."""
    teams.load()

    def current() -> Loaded:
        assert teams.loaded
        return teams.loaded

    async def deliver(found: Loaded | ConfigError) -> None:
        if broken:
            raise Unavailable("the ledger is away")
        if isinstance(found, Loaded):
            teams.loaded = found

    watcher = Watcher(current, deliver, poll_seconds=60)
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("name", ["catalogs/team-b.yaml", "tenants.yaml", "config.yaml"])
async def test_a_change_of_any_of_the_files_is_seen(tmp_path: Path, name: str):
    teams = Teams(tmp_path)
    text = (tmp_path / name).read_text()
    async with watching(teams):
        assert teams.loaded
        before, seen = teams.loaded.digest, False
        for number in range(20):
            teams.write(f"{text}# {number}\n", name)
            with contextlib.suppress(AssertionError):
                await until(lambda: teams.loaded and teams.loaded.digest != before, timeout=0.5)
                seen = True
                break
        assert seen, "no change was ever seen"


async def test_whoever_asks_for_a_reload_is_told_what_came_of_it(tmp_path: Path):
    teams = Teams(tmp_path)
    async with watching(teams) as watcher:
        assert teams.loaded
        first = teams.loaded.hash
        outcome = await watcher.reload()
        assert (outcome.in_force, outcome.hash, outcome.mistakes, outcome.kept_back) == (True, first, (), ())
        teams.write("servers: {serach: {}}", "catalogs/team-b.yaml")
        outcome = await watcher.reload()
        (back,) = outcome.kept_back
        assert (outcome.in_force, outcome.hash, back.tenant, back.suspended) == (True, first, "team-b", False)
        assert [(one.path, one.line) for one in back.mistakes] == [("servers.serach", 1)]
        teams.write("tenants: [{id: a}, {id: a}]", "tenants.yaml")
        outcome = await watcher.reload()
        twice = Mistake(str(tmp_path / "tenants.yaml"), "tenants[1].id", 1, "a is defined twice; keep one")
        assert (outcome.in_force, outcome.mistakes, outcome.hash) == (False, (twice,), first)
        assert outcome.kept_back == (back,)


async def test_several_who_ask_at_once_are_all_told(tmp_path: Path):
    teams = Teams(tmp_path)
    async with watching(teams) as watcher:
        outcomes = await asyncio.gather(*(watcher.reload() for _ in range(5)))
        assert {outcome.hash for outcome in outcomes} == {teams.loaded and teams.loaded.hash}


async def test_what_cannot_be_put_in_force_is_told_with_the_reason(tmp_path: Path):
    async with watching(Teams(tmp_path), broken=True) as watcher:
        outcome = await watcher.reload()
        assert (outcome.in_force, outcome.trouble) == (False, "the ledger is away")


async def test_nobody_waits_for_a_watch_that_has_ended(tmp_path: Path):
    async with watching(Teams(tmp_path)) as watcher:
        await watcher.reload()
    with pytest.raises(asyncio.CancelledError):
        await watcher.reload()


def test_offers_of_a_tenant_that_is_new_in_the_file_are_there_with_the_reload(tmp_path: Path):
    teams = Teams(tmp_path)
    teams.load()
    teams.write(TENANTS + "  - {id: team-c, catalog_file: catalogs/team-c.yaml}\n", "tenants.yaml")
    assert (offered(teams.reload())["team-c"], kept(teams.reload())) == (None, {"team-c": True})
    teams.write(B, "catalogs/team-c.yaml")
    assert offered(teams.reload())["team-c"] == ["search"]


def test_a_load_with_nothing_before_it_remembers_nothing_of_another(tmp_path: Path):
    teams = Teams(tmp_path)
    teams.load()
    teams.write("a: [", "catalogs/team-a.yaml")
    assert kept(load(tmp_path / "config.yaml")) == {"team-a": True}
