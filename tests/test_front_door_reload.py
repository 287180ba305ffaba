"""Reload of a running gateway: what is edited counts whole or not at all, and a list is what can be called."""

from __future__ import annotations

import copy
import random
import signal
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import TOOLS
from tests.support.backend import FakeBackend, tool
from tests.support.gateway import PATIENT, Portcullis, front_door, payments
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.issuer import Issuer

A, B, C = "tenant:a", "tenant:b", "tenant:c"


class Edited:
    """A gateway whose configuration is edited, and what its agents see."""

    def __init__(self, gateway: Portcullis, issuer: Issuer, server: FakeBackend, other: FakeBackend) -> None:
        self.gateway = gateway
        self.server, self.other = server, other
        self.good = copy.deepcopy(dict(gateway.config))
        self.tokens = {tenant: issuer.mint(tenant_id=tenant) for tenant in (A, B, C)}

    async def sees(self, tenant: str) -> list[str]:
        """Return what a tenant lists."""
        return await self.gateway.tools(self.tokens[tenant])

    async def settles(self, **expected: list[str]) -> None:
        """Wait until each tenant lists exactly this; `a` stands for `tenant:a`."""

        async def settled() -> bool:
            return {name: await self.sees(f"tenant:{name}") for name in expected} == expected

        await until(settled, 15, what=str(expected))

    def with_member(self, tenant: str, entry: dict[str, Any] | None) -> dict[str, Any]:
        """Return the good configuration with one member entry replaced, or removed."""
        config = copy.deepcopy(self.good)
        members = config["mcp_servers"]["payments"]["tool_access"]["member"]
        members.pop(tenant, None)
        if entry is not None:
            members[tenant] = entry
        return config

    async def reads(self, config: dict[str, Any] | str, *, hangup: bool = True) -> None:
        """Put a file in place, and with `hangup` say so."""
        if isinstance(config, str):
            new = self.gateway.config_path.with_suffix(".new")
            new.write_text(config)
            new.rename(self.gateway.config_path)
        else:
            self.gateway.write_config(config)
        if hangup:
            self.gateway.process.send_signal(signal.SIGHUP)


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Edited]:
    server = FakeBackend(definitions=[tool(name) for name in TOOLS])
    other = FakeBackend(definitions=[tool("charge"), tool("report")], era="legacy")
    async with server.serve(), other.serve():
        config = front_door(server.url, issuer.url, opa=PATIENT)
        async with Portcullis(tmp_path_factory.mktemp("reload"), config) as gateway:
            yield Edited(gateway, issuer, server, other)


@pytest.fixture
async def edited(running: Edited) -> AsyncIterator[Edited]:
    """The gateway with the good configuration in force, before and after."""
    yield running
    await running.reads(running.good)
    await running.settles(a=["charge"], b=["charge", "refund"], c=[])


@pytest.mark.parametrize("hangup", [True, False])
async def test_a_new_member_list_counts_after_sighup_and_after_a_mere_change_of_the_file(
    edited: Edited, hangup: bool
) -> None:
    await edited.reads(edited.with_member(A, {"allow_list": ["refund"]}), hangup=hangup)
    await edited.settles(a=["refund"], b=["charge", "refund"], c=[])
    assert (await edited.gateway.call("refund", token=edited.tokens[A])).json["result"]
    assert (await edited.gateway.call("charge", token=edited.tokens[A])).json["error"]["code"] == -32602


async def test_sighup_has_an_unchanged_file_read_again(edited: Edited) -> None:
    def reloads() -> int:
        return edited.gateway.log.count("configuration reloaded")

    for _ in range(2):
        before = reloads()
        edited.gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: reloads() > before)  # noqa: B023 (awaited within the loop)


async def test_a_removed_member_is_nobody_at_the_next_request_and_a_new_one_somebody(edited: Edited) -> None:
    await edited.reads(edited.with_member(B, None))
    await edited.settles(b=[])
    before = len(edited.server.calls)
    for name in TOOLS:
        assert (await edited.gateway.call(name, token=edited.tokens[B])).json["error"]["code"] == -32602
    assert len(edited.server.calls) == before
    await edited.reads(edited.with_member(C, {}))
    await edited.settles(b=["charge", "refund"], c=["beta_tool", "charge", "refund"])


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("tool_access: {mode: front_door\n", "config.yaml"),
        ("", "config.yaml"),
        ("unknown key", "mcp_servers.payments.endpont"),
        ("needs a restart", "tool_access.mode"),
        ("authentication off", "auth.enabled"),
    ],
)
async def test_a_mistake_keeps_the_old_configuration_whole_and_is_logged(
    edited: Edited, mistake: str, said: str
) -> None:
    config: Any = edited.with_member(A, None)
    if mistake == "unknown key":
        config["mcp_servers"]["payments"]["endpont"] = "http://x"
    elif mistake == "needs a restart":
        config["tool_access"]["mode"] = "egress"
    elif mistake == "authentication off":
        config["auth"]["enabled"] = False
    else:
        config = mistake
    logged = len(edited.gateway.log)
    await edited.reads(config)

    def refused() -> bool:
        news = edited.gateway.log[logged:]
        return "the configuration is refused" in news and said in news

    await until(refused)
    assert await edited.sees(A) == ["charge"]
    assert (await edited.gateway.call("charge", token=edited.tokens[A])).json["result"]
    assert edited.gateway.process.returncode is None


async def test_a_withdrawal_at_runtime_survives_every_reload(edited: Edited) -> None:
    key = await edited.gateway.key()
    reply = await edited.gateway.admin("payments/charge/withdraw", {"tenant_id": B}, key=key)
    assert reply.status == 200
    try:
        await edited.reads(edited.with_member(A, {}))
        await edited.settles(a=["charge", "refund"], b=["refund"])
        await edited.reads(edited.with_member(B, {"allow_list": ["charge"]}))
        await edited.settles(a=["charge"], b=[])
    finally:
        await edited.gateway.admin("payments/charge/restore", {"tenant_id": B}, key=key)
    await edited.settles(b=["charge"])


async def test_a27_a_name_that_a_new_server_has_too_is_offered_by_neither_until_one_is_denied(edited: Edited) -> None:
    config = copy.deepcopy(edited.good)
    everybody = {"member": {A: {}, B: {}}}
    config["mcp_servers"]["reports"] = {"mode": "remote", "endpoint": edited.other.url, "tool_access": everybody}
    await edited.reads(config)
    await edited.settles(a=["report"], b=["refund", "report"])
    before = len(edited.server.calls) + len(edited.other.calls)
    assert (await edited.gateway.call("charge", token=edited.tokens[B])).json["error"]["code"] == -32602
    # A denial for one tenant does not point the name at the other server.
    config["mcp_servers"]["payments"]["tool_access"]["member"][A] = {"deny_list": ["charge", "refund"]}
    await edited.reads(config)
    await until(lambda: edited.gateway.log.count("configuration reloaded") >= 1)
    assert "charge" not in await edited.sees(A)
    assert len(edited.server.calls) + len(edited.other.calls) == before
    config["mcp_servers"]["reports"]["tools"] = {"deny_list": ["charge"]}
    await edited.reads(config)
    await edited.settles(a=["report"], b=["charge", "refund", "report"])
    await edited.gateway.call("charge", token=edited.tokens[B])
    assert len(edited.server.calls) == before - len(edited.other.calls) + 1


PATTERNS = (*TOOLS, "*", "c*", "*_*", "[br]*", "[!c]*", "?harge", "CHARGE", "nothing")


def entry(dice: random.Random) -> dict[str, list[str]]:
    """Return a random member entry."""
    lists = {
        "allow_list": dice.sample(PATTERNS, dice.randrange(4)),
        "deny_list": dice.sample(PATTERNS, dice.randrange(3)),
    }
    return {name: values for name, values in lists.items() if values}


def admitted(lists: dict[str, list[str]], name: str) -> bool:
    """Say what DESIGN section 5 says of a name, in the fewest words."""
    allow, deny = lists.get("allow_list", []), lists.get("deny_list", [])
    allowed = not allow or any(fnmatchcase(name, pattern) for pattern in allow)
    return allowed and not any(fnmatchcase(name, pattern) for pattern in deny)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_the_lists_say_what_is_listed_is_what_can_be_called(edited: Edited, seed: int) -> None:
    dice = random.Random(seed)
    members = {tenant: entry(dice) for tenant in (A, B, "*")}
    server = {"allow_list": dice.sample(TOOLS, 3)} if seed % 2 else entry(dice)
    gone = dice.sample(TOOLS, dice.randrange(2))
    config = copy.deepcopy(edited.good)
    config["mcp_servers"]["payments"] = payments(
        edited.server.url, tools=server, tool_access={"member": members}, tool_projection={"withdrawn": gone}
    )
    config["tenants"] = [{"id": C}]
    await edited.reads(config)
    lists = {A: members[A], B: members[B], C: members["*"]}
    expected = {
        tenant: [n for n in sorted(TOOLS) if admitted(server, n) and admitted(entry_, n) and n not in gone]
        for tenant, entry_ in lists.items()
    }
    await edited.settles(**{tenant[-1]: names for tenant, names in expected.items()})
    for tenant, names in expected.items():
        for name in TOOLS:
            before = len(edited.server.calls)
            reply = await edited.gateway.call(name, token=edited.tokens[tenant])
            assert ("result" in reply.json) is (name in names)
            assert len(edited.server.calls) - before == (name in names)
