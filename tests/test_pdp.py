"""Questions to a real OPA with the real policies, and what the gateway makes of decisions of the wrong time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import policies
from gateway.errors import DecisionUnavailable
from gateway.ids import Mode, Ref
from gateway.model import ANONYMOUS, CredentialKind, CredentialRef, Limits, Principal, Question, RequestInfo
from gateway.pdp.client import OpaClient
from gateway.pdp.high_water import HighWaterMark, Mark
from gateway.pdp.pdp import Pdp
from tests.support.engine import answering, supervised_opa
from tests.support.fake_opa import EPOCH, Reply, Request, answer, decided, fake_opa, http
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.pdp.engine import Engine

REQUEST = RequestInfo("0190", "10.0.0.1", int(time.time()))
IDS = {f"payments/{tool}": True for tool in ("charge", "refund", "legacy_charge")}


def snapshot(**changes: Any) -> dict[str, Any]:
    """What the four bundles say of one server and one tenant, which may not see `refund`; by dotted path changed."""
    manifest = {"revision": "r42", "roots": [], "metadata": {}}
    document: dict[str, Any] = {
        "system": {"bundles": {name: {"manifest": dict(manifest)} for name in ("policy", "tenants", "live", "custom")}},
        "portcullis_data": {
            "mode": "front_door",
            "config": "c1",
            "settings": {
                "on_stale": "deny", "max_staleness_seconds": 86_400, "default_role": "developer", "anonymous": False,
                "act_as_on_mcp": False, "several_issuers": False,
            },
            "flat": {
                "tool": {id_.partition("/")[2]: {"server": "payments", "id": id_} for id_ in IDS},
                "prompt": {}, "resource": {}, "template": {},
            },
            "contested": {},
            "offers": {"all": {"payments": "all"}},
            "sets": {"no-refund": {"payments/refund": True}, "none": {}},
            "patterns": {},
            "servers": {"payments": {}},
            "server_ids": {"payments": {"tool": IDS}},
            "everyone": {},
            "tenants": {
                "tenant:a": {
                    "active": True,
                    "obligations": {"limits": {"requests_per_minute": 60}},
                    "own": {},
                    "tool": {"offer": "all", "deny": "no-refund", "drop": "none"},
                },
            },
            "withdrawn": {"global": {"payments/legacy_charge": {"origin": "config"}}, "tenant": {}},
            "rbac": {
                "roles": {"developer": {"tool:list": True, "tool:invoke": True}, "admin": {"*": True}},
                "bindings": {"user:root": {"global": {"admin": {"": True}}}},
                "groups": {},
            },
        },
        "portcullis_live": {
            "epoch": EPOCH,
            "revision": 42,
            "generated_at": REQUEST.time,
            "withdrawn": {"global": {}, "tenant": {}},
            "revoked": {},
            "bindings": {},
            "groups": {},
            "scopes": {},
        },
    }  # fmt: skip
    document["system"]["bundles"]["custom"]["manifest"]["metadata"] = {"packages": {}}
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = document
        for parent in parents:
            place = place[parent]
        place[last] = value
    return document


def jo(tenant: str | None = "tenant:a") -> Principal:
    return Principal("user:jo", CredentialKind.JWT, tenant=tenant, credential=CredentialRef("c_1"))


ROOT = Principal("user:root", CredentialKind.API_KEY, credential=CredentialRef("c_2"))
LIST = Question("tools/list", jo(), REQUEST)


def call(name: str, principal: Principal | None = None, **rest: Any) -> Question:
    return Question("tools/call", principal or jo(), REQUEST, name=name, **rest)


@contextlib.asynccontextmanager
async def deciding(
    tmp_path: Path, *rego: Path, custom: bool = False, **changes: Any
) -> AsyncIterator[tuple[Pdp, Engine]]:
    """A Pdp over the real OPA with the real policies and a snapshot."""
    data = tmp_path / "data.json"
    data.write_text(json.dumps(snapshot(**changes)))
    rules = [path for path in policies.ROOT.glob("portcullis/*/*.rego") if not path.stem.endswith("_test")]
    mark = HighWaterMark(tmp_path / "mark.json")
    async with supervised_opa(*rules, *rego, data) as engine, OpaClient(engine.url, deadline=1) as client:
        yield pdp(client, mark, custom=custom), engine
        await mark.close()


def pdp(client: OpaClient, mark: HighWaterMark, epoch: str = EPOCH, *, custom: bool = False) -> Pdp:
    return Pdp(client, epoch=lambda: epoch, mark=mark, mode=Mode.FRONT_DOOR, custom_policy=lambda: custom)


async def test_the_policies_admit_what_they_list_and_name_its_server(tmp_path: Path):
    async with deciding(tmp_path) as (pdp, _):
        assert await pdp.ready() is None
        listed = await pdp.list(LIST)
        assert (listed.allow, listed.ids, listed.revision) == (True, ("payments/charge",), 42)
        assert (listed.config, listed.limits) == ("c1", Limits(requests_per_minute=60))
        admitted = await pdp.call(call("charge"))
        assert (admitted.allow, admitted.ref) == (True, Ref.of_tool("payments", "charge"))
        for name, code in (
            ("refund", "not_in_member_scope"),
            ("legacy_charge", "withdrawn"),
            ("nope", "unknown_target"),
        ):
            refused = await pdp.call(call(name))
            assert (refused.allow, refused.visible) == (False, False)
            assert code in {reason.code for reason in refused.reasons}


async def test_strangers_get_an_empty_list_and_a_reason(tmp_path: Path):
    async with deciding(tmp_path) as (pdp, _):
        for principal, code in (
            (jo(None), "no_tenant"),
            (jo("tenant:x"), "unknown_tenant"),
            (ANONYMOUS, "anonymous_not_admitted"),
        ):
            listed = await pdp.list(Question("tools/list", principal, REQUEST))
            assert (listed.allow, listed.ids) == (False, ())
            assert [reason.code for reason in listed.reasons] == [code]


async def test_an_admin_action_is_decided_by_roles(tmp_path: Path):
    async with deciding(tmp_path) as (pdp, _):
        action = Question("mcp_servers:lifecycle", ROOT, REQUEST, server="payments", name="charge")
        assert (await pdp.admin(action)).roles == ("admin",)
        refused = await pdp.admin(Question("mcp_servers:lifecycle", jo(), REQUEST, server="payments", name="charge"))
        assert not refused.allow
        assert refused.reasons


async def test_an_explanation_goes_layer_by_layer(tmp_path: Path):
    async with deciding(tmp_path) as (pdp, _):
        layers = (await pdp.explain(call("refund")))["layers"]
        assert layers["catalog"]["ok"] is True
        assert layers["scope"]["ok"] is False


MISSING = {
    "no policy bundle": {"system.bundles.policy": {}},
    "no custom bundle": {"system.bundles.custom": {}},
    "no revision": {"portcullis_live.revision": "42"},
    "no epoch": {"portcullis_live.epoch": ""},
    "another mode": {"portcullis_data.mode": "egress"},
    "stale data": {"portcullis_live.generated_at": 1},
}


@pytest.mark.parametrize("changes", MISSING.values(), ids=MISSING.keys())
async def test_data_that_is_missing_or_old_admits_nothing_and_is_not_ready(tmp_path: Path, changes: dict[str, Any]):
    async with deciding(tmp_path, **changes) as (pdp, _):
        assert await pdp.ready() is not None
        await nothing_is_admitted(pdp)


async def nothing_is_admitted(pdp: Pdp) -> None:
    with contextlib.suppress(DecisionUnavailable):
        assert not (await pdp.call(call("charge"))).allow
    with contextlib.suppress(DecisionUnavailable):
        assert (await pdp.list(LIST)).ids == ()


CUSTOM = """package custom.limit
import future.keywords.not
deny contains {"code": "too_much"} if not input.target.arguments.amount <= 100
deny contains {"code": "odd"} if regex.match("[", input.target.arguments.note)
"""


async def test_custom_policy_sees_exact_arguments_and_its_failing_builtin_admits_nothing(tmp_path: Path):
    rego = tmp_path / "limit.rego"
    rego.write_text(CUSTOM)
    packages = {"system.bundles.custom.manifest.metadata": {"packages": {"limit": ["deny"]}}}
    async with deciding(tmp_path, rego, custom=True, **packages) as (pdp, _):
        assert await pdp.ready() is None
        assert (await pdp.call(call("charge", arguments={"amount": 100}))).allow
        for amount in (101, 2**80, "1"):
            refused = await pdp.call(call("charge", arguments={"amount": amount}))
            assert (refused.allow, refused.visible) == (False, True)
        with pytest.raises(
            DecisionUnavailable, match=r"OPA answered 500: internal_error, eval_builtin_error at \S+:4$"
        ):
            await pdp.call(call("charge", arguments={"amount": 1, "note": "secret"}))
        omitted = await pdp.call(call("charge", arguments={"amount": 1, "pad": "x" * 70_000}))
        assert (omitted.allow, omitted.visible) == (False, True)
        assert "arguments_omitted" in {reason.code for reason in omitted.reasons}


async def test_a_gateway_that_does_not_know_of_custom_policy_admits_nothing(tmp_path: Path):
    rego = tmp_path / "limit.rego"
    rego.write_text(CUSTOM)
    packages = {"system.bundles.custom.manifest.metadata": {"packages": {"limit": ["deny"]}}}
    async with deciding(tmp_path, rego, custom=False, **packages) as (pdp, _):
        assert not (await pdp.call(call("charge", arguments={"amount": 1}))).allow


async def test_a_stopped_opa_admits_nothing_and_heals_when_it_goes_on(tmp_path: Path):
    async with deciding(tmp_path) as (pdp, engine):
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGSTOP)
        try:
            await until(lambda: refusal(pdp))  # its threads stop one after the other
            assert "deadline" in str(await refusal(pdp))
            assert await pdp.ready() is not None
        finally:
            os.kill(engine.pid, signal.SIGCONT)
        await until(lambda: admits(pdp))
        assert engine.restarts == 0


async def test_a_killed_opa_admits_nothing_until_it_is_back(tmp_path: Path):
    async with deciding(tmp_path) as (pdp, engine):
        killed = engine.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await until(lambda: engine.pid != killed)
        await answering(engine)
        assert await pdp.ready() is None
        assert (await pdp.call(call("charge"))).allow
        assert engine.restarts == 1


async def refusal(pdp: Pdp) -> DecisionUnavailable | None:
    """Ask for what is admitted; return what was raised instead."""
    try:
        assert (await pdp.call(call("charge"))).allow
    except DecisionUnavailable as error:
        return error
    return None


async def admits(pdp: Pdp) -> bool:
    return await refusal(pdp) is None


WRONG_TIMES = {
    "another epoch": {"epoch": "f" * 32},
    "no epoch": {"epoch": ""},
    "no revision": {"revision": 0},
    "an older revision": {"revision": 41},
}


@pytest.mark.parametrize("changes", WRONG_TIMES.values(), ids=WRONG_TIMES.keys())
async def test_a_decision_of_the_wrong_time_admits_nothing(tmp_path: Path, changes: dict[str, Any]):
    mark = HighWaterMark(tmp_path / "mark.json")
    async with fake_opa(decided) as opa, OpaClient(opa.url) as client:
        judge = pdp(client, mark)
        assert (await judge.call(call("charge"))).allow
        opa.script = partial(decided, **changes)
        for ask in (judge.call(call("charge")), judge.list(LIST), judge.admin(LIST)):
            with pytest.raises(DecisionUnavailable):
                await ask
        assert await judge.ready() is not None
        assert mark.value == Mark(EPOCH, 42)
        await mark.close()


async def test_a_rolled_back_bundle_admits_nothing_after_a_restart_either(tmp_path: Path):
    async with fake_opa(decided) as opa, OpaClient(opa.url) as client:
        mark = HighWaterMark(tmp_path / "mark.json")
        await pdp(client, mark).list(LIST)
        await mark.close()
        opa.script = partial(decided, revision=41)
        with pytest.raises(DecisionUnavailable, match="older than r42"):
            await pdp(client, HighWaterMark(tmp_path / "mark.json")).list(LIST)


@pytest.mark.parametrize(
    ("known", "said"), [("", {}), ("", {"epoch": ""}), (EPOCH, {"epoch": ""}), (EPOCH, {"revision": 0})]
)
async def test_a_decision_without_epoch_or_revision_admits_nothing_even_to_a_gateway_without_a_past(
    tmp_path: Path, known: str, said: dict[str, Any]
):
    async with fake_opa(partial(decided, **said)) as opa, OpaClient(opa.url) as client:
        with pytest.raises(DecisionUnavailable):
            await pdp(client, HighWaterMark(tmp_path / "mark.json"), epoch=known).list(LIST)


async def test_an_answer_overtaken_by_one_of_a_newer_revision_still_holds(tmp_path: Path):
    gate = asyncio.Event()

    def script(request: Request) -> Reply:
        old = request.input["target"]["name"] == "charge"
        return Reply(decided(request).data, after=gate) if old else decided(request, revision=43)

    async with fake_opa(script) as opa, OpaClient(opa.url, deadline=5) as client:
        mark = HighWaterMark(tmp_path / "mark.json")
        judge = pdp(client, mark)
        early = asyncio.create_task(judge.call(call("charge")))
        await until(lambda: opa.requests)
        assert (await judge.call(call("refund"))).revision == 43
        gate.set()
        assert (await early).revision == 42
        assert mark.value == Mark(EPOCH, 43)
        await mark.close()


async def test_ready_says_why_not(tmp_path: Path):
    async with fake_opa(lambda _request: Reply(http(b"{}"))) as opa, OpaClient(opa.url) as client:
        judge = pdp(client, HighWaterMark(tmp_path / "mark.json"))
        assert "missing required field `result`" in str(await judge.ready())
        reasons = [{"code": "policy_data_missing", "layer": "ctx"}]
        nothing = {
            "allow": False,
            "ids": [],
            "epoch": "",
            "revision": 0,
            "config": "",
            "stale": True,
            "reasons": reasons,
        }
        opa.script = lambda _request: Reply(http(answer(nothing | {"obligations": {}})))
        assert await judge.ready() == "OPA has not all of its data yet: policy_data_missing"


@pytest.mark.parametrize("path", ["", "/portcullis", "a//b", "a?b", "a b", "../a", "a/"])
async def test_a_policy_path_that_is_none_is_refused(tmp_path: Path, path: str):
    async with OpaClient("unix:///nowhere") as client:
        with pytest.raises(ValueError, match="not a policy path"):
            Pdp(
                client,
                epoch=lambda: EPOCH,
                mark=HighWaterMark(tmp_path / "mark.json"),
                mode=Mode.EGRESS,
                custom_policy=lambda: False,
                policy_path=path,
            )
