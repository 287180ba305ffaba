"""A list and a call are one rule, and custom policy can only narrow: held against random worlds in a real OPA."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundles.custom import CustomPolicy
from bundles.expand import Expander
from gateway.config import Config
from gateway.facts import ServerInventory
from tests.support.judge import Judge, open_judge
from tests.support.worlds import CONFIG_HASH, EPOCH, USUAL_INPUT, manifests, merged

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVERS = ("s", "s__t", "u")
TOOLS = ("a", "b", "t__a")
IDS = tuple(f"{server}/{tool}" for server in SERVERS for tool in TOOLS)
TENANTS = ("x", "y", "asleep")
ROLES = ("admin", "auditor", "developer", "viewer")
# Not checked by the fence: it lets the documents say what is denied and hidden.
WHIM = b"""package custom.whim

import data.portcullis.ctx
import future.keywords.not

deny contains "whim" if ctx.id in data.whims.denied

hide contains id if some id in data.whims.hidden
"""

names = st.lists(st.sampled_from(TOOLS), unique=True, max_size=2)
lists = st.fixed_dictionaries({}, optional={"allow_list": names, "deny_list": names})
servers = st.fixed_dictionaries(
    {"member": st.dictionaries(st.sampled_from(("*", *TENANTS)), lists, max_size=3), "tools": lists, "withdrawn": names}
)
overlay = st.dictionaries(st.sampled_from(IDS), st.just({"by": "user:root", "at": 1}), max_size=2)
bindings = st.dictionaries(
    st.sampled_from(("user:jo", "group:g")),
    st.dictionaries(
        st.sampled_from(("global", "tenant:x", "tenant:y")),
        st.dictionaries(st.sampled_from(ROLES), st.just({})),
        max_size=2,
    ),
    max_size=2,
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Return what sync would make of a random config, and random facts of a ledger."""
    mode = draw(st.sampled_from(("front_door", "egress")))
    drawn = draw(st.dictionaries(st.sampled_from(SERVERS), servers, min_size=1))
    config = Config.model_validate(
        {
            "tool_access": {"mode": mode},
            "auth": {
                "enabled": True,
                "allow_anonymous": mode == "egress" and draw(st.booleans()),
                "default_role": draw(st.sampled_from(("developer", "viewer", "none"))),
                "oidc": {
                    "enabled": True,
                    "issuer": "https://auth.example.com",
                    "audience": "a",
                    "resource_uri": "https://a.example.com",
                },
            },
            "tenants": [{"id": "asleep", "active": False}],
            "mcp_servers": {
                server: {
                    "mode": "remote",
                    "endpoint": "http://localhost:1/mcp",
                    "tools": each["tools"],
                    "tool_access": {"member": each["member"]},
                    "tool_projection": {"withdrawn": each["withdrawn"]},
                }
                for server, each in drawn.items()
            },
        }
    )
    inventory = [ServerInventory(server, "", TOOLS, 0) for server in drawn]
    return {
        "portcullis_data": dict(Expander().expand(config, CONFIG_HASH, inventory).data),
        "portcullis_live": {
            "epoch": EPOCH,
            "revision": 42,
            "generated_at": int(time.time()),
            "withdrawn": {
                "global": draw(overlay),
                "tenant": draw(st.dictionaries(st.sampled_from(TENANTS), overlay, max_size=2)),
            },
            "revoked": draw(st.sampled_from(({}, {"j_1": True}))) if draw(st.integers(0, 9)) == 0 else {},
            "bindings": draw(bindings),
            "scopes": {"5c09e": dict.fromkeys(draw(st.lists(st.sampled_from(IDS))), True)},
        },
    }


@st.composite
def principals(draw: st.DrawFn) -> dict[str, Any]:
    """Return somebody: a person, a key or nobody in particular."""
    tenant = draw(st.sampled_from((None, "x", "y", "asleep", "unknown")))
    kind = draw(st.sampled_from(("jwt", "jwt", "api_key", "anonymous")))
    if kind == "anonymous":
        return {"subject": "anonymous", "kind": kind, "issuer": None, "tenant": None, "credential": None}
    bound = "global" if tenant is None else f"tenant:{tenant}"
    key = kind == "api_key"
    return {
        "subject": "user:jo",
        "kind": kind,
        "issuer": None if key else "https://auth.example.com",
        "tenant": tenant,
        "groups": draw(st.sampled_from(((), ("g",)))) if not key else (),
        "credential": {
            "id": "j_1",
            "role": draw(st.sampled_from((None, *ROLES))) if key else None,
            "scope": draw(st.sampled_from((bound if key else None, "5c09e"))),
            "expires_at": None,
        },
    }


views = st.sampled_from([("flat", None), *(("server", server) for server in (*SERVERS, "none"))])
whims = st.fixed_dictionaries(
    {"denied": st.lists(st.sampled_from(IDS), max_size=2), "hidden": st.lists(st.sampled_from(IDS), max_size=2)}
)
NO_WHIMS: dict[str, list[str]] = {"denied": [], "hidden": []}


@pytest.fixture(scope="module")
def opa() -> Iterator[Judge]:
    """An OPA with the shipped policy and one custom policy that does what `data.whims` says."""
    with open_judge(CustomPolicy({"custom/whim/whim.rego": WHIM}, {"whim": ("deny", "hide")})) as judge:
        yield judge


def ask(opa: Judge, mode: str, principal: dict[str, Any], view: tuple[str, str | None], name: str | None) -> Any:
    """Ask for a list (no name) or a call."""
    question = {
        "action": "tools/call" if name else "tools/list",
        "mode": mode,
        "view": view[0],
        "principal": principal,
        "target": {"name": name, "server": view[1], "arguments": {}},
    }
    return opa.ask("call" if name else "list", merged(USUAL_INPUT, question))


def judged(opa: Judge, mode: str, principal: dict[str, Any], view: tuple[str, str | None]) -> dict[str, set[str]]:
    """Return the ids of a list, and those that calls by every possible name come to."""
    listed = ask(opa, mode, principal, view, None)
    names = TOOLS if view[0] == "server" or mode == "front_door" else [id_.replace("/", "__") for id_ in IDS]
    calls = [ask(opa, mode, principal, view, name) for name in dict.fromkeys(names)]
    assert all(decision["epoch"] == EPOCH for decision in [listed, *calls])
    assert all(decision["reasons"] == [] for decision in calls if decision["allow"])
    assert all(decision["reasons"] for decision in calls if not decision["allow"])
    return {
        "listed": set(listed["ids"]),
        "visible": {decision["id"] for decision in calls if decision["visible"]},
        "callable": {decision["id"] for decision in calls if decision["allow"]},
        "codes": {reason["code"] for decision in calls for reason in decision["reasons"]},
    }


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), principals(), views, whims)
def test_a_list_is_what_calls_can_see_and_custom_policy_only_narrows(
    opa: Judge, world: dict[str, Any], principal: dict[str, Any], view: tuple[str, str | None], whim: dict[str, Any]
):
    mode = world["portcullis_data"]["mode"]
    opa.load({**manifests({"whim": ["deny", "hide"]}), **world})
    opa.put("whims", NO_WHIMS)
    plain = judged(opa, mode, principal, view)
    opa.put("whims", whim)
    narrowed = judged(opa, mode, principal, view)

    for each in (plain, narrowed):
        assert each["listed"] == each["visible"]
        assert each["callable"] <= each["visible"]
    if "missing_permission" not in plain["codes"]:
        assert plain["callable"] == plain["visible"]
    assert narrowed["visible"] == plain["visible"] - set(whim["hidden"])
    assert narrowed["callable"] == plain["callable"] - set(whim["hidden"]) - set(whim["denied"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), principals(), st.sampled_from(IDS), st.sampled_from((None, *TENANTS)))
def test_withdrawing_a_tool_takes_away_that_tool_alone(
    opa: Judge, world: dict[str, Any], principal: dict[str, Any], id_: str, tenant: str | None
):
    mode = world["portcullis_data"]["mode"]
    opa.put("whims", NO_WHIMS)
    opa.load({**manifests({"whim": ["deny", "hide"]}), **world})
    before = judged(opa, mode, principal, ("flat", None))
    overlay = {"global": {id_: {}}} if tenant is None else {"tenant": {tenant: {id_: {}}}}
    opa.load(merged(world, {"portcullis_live": {"withdrawn": overlay}}) | manifests({"whim": ["deny", "hide"]}))
    after = judged(opa, mode, principal, ("flat", None))

    known = principal["tenant"] in world["portcullis_data"]["tenants"]
    hit = tenant is None or (known and tenant == principal["tenant"])
    assert after["listed"] == before["listed"] - ({id_} if hit else set())
    assert after["callable"] == before["callable"] - ({id_} if hit else set())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), principals(), views)
def test_explain_ends_where_the_list_does(
    opa: Judge, world: dict[str, Any], principal: dict[str, Any], view: tuple[str, str | None]
):
    mode = world["portcullis_data"]["mode"]
    opa.put("whims", {"denied": [], "hidden": list(IDS[:2])})
    opa.load({**manifests({"whim": ["deny", "hide"]}), **world})
    question = merged(
        USUAL_INPUT,
        {
            "action": "tools/list",
            "mode": mode,
            "view": view[0],
            "principal": principal,
            "target": {"name": None, "server": view[1]},
        },
    )
    sets = opa.ask("explain", question)["sets"]

    assert sets["visible"] == ask(opa, mode, principal, view, None)["ids"]
    assert set(sets["visible"]) <= set(sets["after_scope"]) <= set(sets["offered"])
    assert not set(sets["visible"]) & (set(sets["withdrawn"]) | set(sets["hidden"]))
