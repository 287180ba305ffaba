"""`portcullis policy replay`: recorded decisions are asked again, and a draft is held against what is in force."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import click
import orjson
import pytest

from gateway.audit import now_ms
from gateway.cli.recorded import WINDOW, Wanted, from_file, from_ledger
from gateway.cli.replay import replay, since_when
from gateway.ledger.connect import open_ledger
from gateway.model import AuditEvent
from tests.support.files import ROOT
from tests.support.gateway import PATIENT, Portcullis, front_door
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import World
    from tests.support.backend import FakeBackend
    from tests.support.issuer import Issuer

SPEND_LIMIT = ROOT / "examples" / "policies" / "spend_limit"
HIDE = """package custom.discretion

import future.keywords.not

# Refunds are for finance alone.
hide contains "payments/refund" if not "finance" in input.principal.groups
"""
FAIL = """package custom.spend_limit

import future.keywords.not

deny contains "bad" if to_number(input.target.name) > 1
"""


@dataclass
class History:
    """A gateway with the worked example in force, and a history of decisions of every kind."""

    gateway: Portcullis
    folder: Path

    async def replay(self, *words: str) -> tuple[int, Any]:
        """Replay the history against a draft, and return status and report."""
        status, out, err = await self.gateway.cli("policy", "replay", *words, "--json")
        assert out, err
        return status, json.loads(out)


@pytest.fixture(scope="module")
async def history(
    tmp_path_factory: pytest.TempPathFactory, backend: FakeBackend, issuer: Issuer
) -> AsyncIterator[History]:
    folder = tmp_path_factory.mktemp("history")
    shutil.copytree(SPEND_LIMIT, folder / "rules" / "spend_limit")
    settings = {
        "opa": {
            **PATIENT,
            "custom_policies": str(folder / "rules"),
            "on_stale": "deny",
            "max_staleness_seconds": 60,
        },
        "audit": {"include_arguments": True, "file": str(folder / "audit.jsonl")},
    }
    async with Portcullis(folder, front_door(backend.url, issuer.url, **settings)) as gateway:
        await made(gateway, issuer)
        yield History(gateway, folder)


async def made(gateway: Portcullis, issuer: Issuer) -> None:
    """Make the history: 3 lists, 6 calls and 1 admin action."""
    a, b = issuer.mint(tenant_id="tenant:a"), issuer.mint(tenant_id="tenant:b", groups=["finance"])
    nobody = issuer.mint(tenant_id="tenant:zz")
    for token in (a, b, nobody):
        assert (await gateway.rpc("tools/list", token=token)).status == 200
    for amount in (300, 300, 700):
        await gateway.call("charge", {"amount": amount}, token=a)
    await gateway.call("refund", {"amount": 10}, token=a)
    await gateway.call("refund", {"amount": 10}, token=b)
    own = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "charge", "arguments": {"amount": 1}}}
    await gateway.http("POST", "/tenant/tenant:b/servers/payments/mcp", own, Authorization=f"Bearer {b}")
    key = await gateway.key()
    await gateway.admin("payments/refund/withdraw", {"tenant_id": "tenant:a"}, key=key)
    await gateway.admin("payments/refund/restore", {"tenant_id": "tenant:a"}, key=key)

    async def recorded() -> bool:
        return len(await gateway.events(type="ToolRestored")) == 1

    await until(recorded)


def draft(folder: Path, name: str, rego: str) -> str:
    """Write a folder with one package of custom policy."""
    (folder / name).mkdir(parents=True)
    (folder / name / f"{name}.rego").write_text(rego)
    return str(folder)


def limits(folder: Path, tenant_a: int) -> str:
    """Write the worked example with another limit for tenant:a."""
    shutil.copytree(SPEND_LIMIT, folder / "spend_limit")
    data = folder / "spend_limit" / "data.yaml"
    data.write_text(data.read_text().replace('"tenant:a": 500', f'"tenant:a": {tenant_a}'))
    return str(folder)


async def test_what_is_in_force_decides_all_of_the_history_as_it_was_recorded(history: History) -> None:
    status, report = await history.replay(str(history.folder / "rules"), "--fail-on-change")
    assert (status, report["changes"], report["otherwise"], report["unasked"], report["partial"]) == (0, [], 0, 0, 0)
    assert report["asked"] == 11


async def test_a_lower_limit_refuses_the_calls_above_it_and_no_others(history: History, tmp_path: Path) -> None:
    lower = limits(tmp_path / "draft", tenant_a=200)
    status, report = await history.replay(lower, "--fail-on-change")
    assert (status, report["changed"]) == (1, 2)
    for change in report["changes"]:
        assert (change["tenant"], change["name"], change["arguments_recorded"]) == ("tenant:a", "charge", True)
        assert change["recorded"] == {"allow": True, "reasons": []}
        assert (change["now"]["allow"], change["draft"]["allow"]) == (True, False)
        assert change["draft"]["reasons"] == ["amount_over_limit"]
    assert (await history.replay(lower))[0] == 0
    _, out, _ = await history.gateway.cli("policy", "replay", lower)
    assert out.splitlines()[1].split() == [
        *("2", "tenant:a", "user:jo", "tools/call", "charge", "admitted", "refused:", "amount_over_limit")
    ]
    assert out.splitlines()[-1] == "11 decisions asked again, 2 would change"


async def test_a_rule_that_hides_changes_lists_and_calls_of_those_whom_it_concerns(
    history: History, tmp_path: Path
) -> None:
    careful = draft(tmp_path / "draft", "discretion", HIDE)
    assert (await history.replay(careful, "--tenant", "tenant:b"))[1]["changes"] == []
    careless = draft(tmp_path / "other", "discretion", HIDE.replace("finance", "treasury"))
    listed, called = (await history.replay(careless, "--tenant", "tenant:b"))[1]["changes"]
    assert (listed["action"], called["action"], called["name"]) == ("tools/list", "tools/call", "refund")
    assert listed["now"]["ids"] == ["payments/charge", "payments/refund"]
    assert listed["draft"]["ids"] == ["payments/charge"]
    assert (called["draft"]["visible"], called["draft"]["reasons"]) == (False, ["hidden"])


async def test_a_draft_of_the_configuration_is_replayed_alone_or_beside_one_of_policy(
    history: History, tmp_path: Path
) -> None:
    config = tmp_path / "draft.yaml"
    config.write_text(history.gateway.config_path.read_text().replace("- refund", "- charge"))
    _, report = await history.replay("--draft-config", str(config), "--tenant", "tenant:a")
    changed = {(one["action"], one["name"], tuple(one["draft"]["ids"])) for one in report["changes"]}
    assert changed == {
        ("tools/list", None, ("payments/refund",)),
        ("tools/call", "charge", ()),
        ("tools/call", "refund", ("payments/refund",)),
    }
    both = await history.replay(limits(tmp_path / "rules", 200), "--draft-config", str(config), "--tenant", "tenant:a")
    assert both[1]["changed"] == report["changed"]


async def test_a_draft_of_another_mode_changes_what_agents_are_told_and_not_what_admins_may(
    history: History, tmp_path: Path
) -> None:
    config = tmp_path / "draft.yaml"
    text = history.gateway.config_path.read_text()
    config.write_text(text.replace("tool_access:\n  mode: front_door", "tool_access:\n  mode: egress", 1))
    _, report = await history.replay("--draft-config", str(config))
    assert {one["action"] for one in report["changes"]} >= {"tools/list", "tools/call"}
    assert not [one for one in report["changes"] if one["action"] == "mcp_servers:lifecycle"]


async def test_the_file_that_the_gateway_writes_says_the_same_as_the_ledger(history: History, tmp_path: Path) -> None:
    lower, file = limits(tmp_path / "draft", 200), history.folder / "audit.jsonl"
    of_ledger, of_file = await history.replay(lower), await history.replay(lower, "--audit", str(file))
    assert of_file == of_ledger
    exported = tmp_path / "exported.jsonl"
    _, out, _ = await history.gateway.cli("audit", "tail", "--json", "-n", "1000")
    exported.write_text(out)
    assert await history.replay(lower, "--audit", str(exported)) == of_ledger


def decided(number: int, tenant: str = "tenant:a", **changes: Any) -> AuditEvent:
    """Return the event of a list that was decided in the second of its number."""
    base = AuditEvent(
        id=str(number),
        time=number * 1000,
        type="AuthorizationGranted",
        outcome="success",
        tenant=tenant,
        actor={"principal": "user:jo", "kind": "jwt", "issuer": None, "credential_id": None},
        target={"action": "tools/list"},
        policy={"allow": True},
    )
    return replace(base, **changes)


async def test_of_the_trail_the_newest_that_are_wanted_are_taken_and_what_is_no_decision_is_passed_over(
    tmp_path: Path,
) -> None:
    ledger = await open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    # More than one window of events, so that the trail is read backwards in several steps.
    events = [decided(number, f"tenant:{number % 2}") for number in range(2 * WINDOW)]
    await ledger.append_audit([*events, decided(0, policy={}), decided(0, actor={"kind": "command_line"})])

    async def ids(**wanted: Any) -> list[int]:
        return [int(one.id) for one in await from_ledger(ledger, Wanted(**wanted))]

    newest = 2 * WINDOW - 1
    assert await ids(limit=2) == [newest - 1, newest]
    assert await ids(limit=2, tenant="tenant:0") == [newest - 3, newest - 1]
    assert await ids(limit=9, since=(newest - 1) * 1000) == [newest - 1, newest]
    assert await ids(limit=WINDOW + 1) == list(range(newest - WINDOW, newest + 1))
    assert await ids(limit=10**6, tenant="tenant:9") == []
    await ledger.close()


def test_of_a_file_the_newest_that_are_wanted_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"\n".join(orjson.dumps({"seq": 1, **asdict(decided(number))}) for number in range(9)))
    assert [one.id for one in from_file(path, Wanted(limit=2))] == ["7", "8"]
    assert [one.id for one in from_file(path, Wanted(limit=9, since=8000))] == ["8"]


@pytest.mark.parametrize(
    ("value", "least"),
    [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("1970-01-01T00:00", 10**9)],
)
def test_a_time_is_an_age_or_a_moment(value: str, least: int) -> None:
    found = since_when(click.Context(replay), replay.params[0], value)
    assert found is not None
    assert now_ms() - found >= least * 1000


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        ([], 2, "name a FOLDER of custom policy, a --draft-config, or both"),
        (["RULES", "--since", "yesterday"], 2, "must be an age such as 30m"),
        (["BROKEN"], 1, "spend_limit.rego"),
        (["RULES", "--audit", "BAD"], 1, "bad.jsonl:2: is not an audit event"),
    ],
)
async def test_a_replay_that_cannot_be_held_says_why(
    history: History, tmp_path: Path, words: list[str], status: int, why: str
) -> None:
    (tmp_path / "bad.jsonl").write_text("\n{}\n")
    paths = {
        "RULES": str(history.folder / "rules"),
        "BROKEN": draft(tmp_path / "broken", "spend_limit", "package custom.spend_limit\n}}}"),
        "BAD": str(tmp_path / "bad.jsonl"),
    }
    found, report = await history.replay(*(paths.get(word, word) for word in words))
    assert (found, why in report["error"]["message"]) == (status, True), report


async def test_a_rule_that_fails_while_it_decides_is_shown_as_the_error_that_callers_would_get(
    history: History, tmp_path: Path
) -> None:
    _, report = await history.replay(draft(tmp_path / "draft", "spend_limit", FAIL), "--tenant", "tenant:b")
    errors = [one for one in report["changes"] if one["draft"]["error"]]
    assert {one["action"] for one in errors} == {"tools/call"}
    assert all("eval_builtin_error" in one["draft"]["error"] for one in errors)


async def test_of_a_call_whose_arguments_were_not_recorded_only_its_visibility_is_compared(
    world: World, tmp_path: Path
) -> None:
    token = world.issuer.mint(sub="replayed", tenant_id="tenant:b")
    for name in ("charge", "refund"):
        await world.gateway.call(name, {"amount": 5000}, token=token)
    await world.gateway.events(actor__principal="user:replayed", target__name="refund")
    words = ["policy", "replay", "--tenant", "tenant:b", "--limit", "2"]
    status, out, err = await world.gateway.cli(*words, str(SPEND_LIMIT.parent), "--fail-on-change")
    assert (status, out.splitlines()) == (0, ["nothing would change", "2 decisions asked again, 0 would change"])
    assert "2 calls recorded without arguments: only whether the tool is shown was compared" in err
    hiding = draft(tmp_path / "draft", "discretion", HIDE)
    status, out, err = await world.gateway.cli(*words, hiding)
    assert out.splitlines()[1].split()[:5] == ["1", "tenant:b", "user:replayed", "tools/call", "refund"]
    assert "without arguments" not in err
