"""Who may do what, held against an evaluator of a few lines, over random roles, bindings, principals and actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundles.roles import bindings, covered, roles
from gateway.ids import Kind
from gateway.permissions import BUILT_IN, GRANTABLE, Permission
from tests.support.judge import Judge, open_judge
from tests.support.worlds import CONFIG, USUAL_INPUT, manifests, merged, quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

Document = dict[str, Any]
MINE, OTHERS = "https://mine.example", "https://other.example"
ROLES = (*BUILT_IN, "custom", "wizard")
SCOPES = ("global", "tenant:x", "tenant:y")
TARGETS = (None, "x", "y", "asleep", "unknown")
ACTIONS = (*(one.value for one in Permission), "*", "tokens:own")


@pytest.fixture(scope="module")
def opa() -> Iterator[Judge]:
    """An OPA with the shipped policy."""
    with open_judge() as judge:
        yield judge


# The rules once more, as one would write them in an afternoon (docs/policy.md, "Roles").


def held(world: Document, who: Document, scope: str) -> set[str]:
    """Return the roles that somebody has at a scope."""
    home = f"tenant:{who['tenant']}" if who["tenant"] else "global"
    if who["kind"] == "anonymous":
        return set()
    own = who["credential"]["role"] if who["kind"] in ("api_key", "tenant_token") else None
    tied = who["kind"] != "jwt" and who["tenant"] is not None
    counting = {"global", scope} if not tied else {scope} & {home}
    found = {own} if own and home in counting else set()
    lines = [] if who["kind"] == "tenant_token" else [line for line in world["lines"] if is_about(line, who)]
    found |= {role for _, role, at, issuer, holds in lines if holds and at in counting and is_clear(world, who, issuer)}
    if found or own or who["kind"] == "tenant_token" or who["acting_for"]:
        return found
    in_egress = world["mode"] == "egress" and bool(counting)
    default = in_egress or (scope == home and who["tenant"] in world["tenants"])
    ever = any(at in ("global", scope, home) for _, _, at, _, _ in lines)
    return {world["default"]} if default and not ever and world["default"] else set()


def is_about(line: tuple[str, str, str, str | None, bool], who: Document) -> bool:
    """Whether an assignment is one of somebody, or of one of the groups."""
    return line[0] in (who["subject"], *(f"group:{group}" for group in who["groups"])) and (
        line[3] in (None, who["issuer"])
    )


def is_clear(world: Document, who: Document, issuer: str | None) -> bool:
    """Whether an assignment can be of this person alone: among several issuers one without an issuer is nobody's."""
    return issuer is not None or who["kind"] != "jwt" or not world["several"]


def grants(world: Document, names: set[str]) -> set[str]:
    """Return everything that roles permit together."""
    return {one for name in names for grant in world["roles"].get(name, ()) for one in covered(grant)}


def may(world: Document, who: Document, question: Document) -> bool:
    """Whether somebody may do what is asked."""
    selected = who["acting_for"]
    tenant = who["tenant"] or selected
    if selected and "tenant:act_as" not in grants(world, held(world, who, "global")):
        return False
    if selected and (who["tenant"] or who["kind"] not in ("jwt", "api_key") or not world["tenants"].get(selected)):
        return False
    if question["kind"] is None:
        return administers(world, who, question) and selected in (None, question["target"]["tenant"])
    if not world["tenants"].get(tenant, world["mode"] == "egress"):
        return False
    if who["kind"] == "anonymous":
        return bool(world["mode"] == "egress" and world["anonymous"])
    if selected and not (world["act_as"] and who["kind"] == "api_key" and who["subject"].startswith("service:")):
        return False
    needed = {"tool:invoke"} if question["action"] == "tools/call" else {"tool:list", "tool:invoke"}
    scope = f"tenant:{tenant}" if tenant in world["tenants"] else "global"
    return bool(needed & grants(world, held(world, who, scope)))


def administers(world: Document, who: Document, question: Document) -> bool:
    """Whether somebody may take an admin action, and hand out what it hands out."""
    about, handed, action = question["target"]["tenant"], question["target"]["grants"], question["action"]
    scope = f"tenant:{about}" if about else "global"
    has = grants(world, held(world, who, scope))
    if who["kind"] in ("local", "anonymous") or not world["tenants"].get(who["tenant"], True):
        return False
    at_home = who["tenant"] is not None and about == who["tenant"] and who["tenant"] in world["tenants"]
    own = {"jwt": "tokens:own", "api_key": "metrics:read", "tenant_key": "metrics:read"}.get(who["kind"])
    if not (action in has or "*" in has or (at_home and action == own)):
        return False
    given = grants(world, {handed["role"]}) if handed else set()
    return not handed or (handed["scope"] == scope and handed["role"] in world["roles"] and given <= has)


lines = st.lists(
    st.tuples(
        st.sampled_from(("user:jo", "group:g", "service:bot")),
        st.sampled_from(ROLES),
        st.sampled_from(SCOPES),
        st.sampled_from((None, MINE, OTHERS)),
    ),
    max_size=4,
    unique=True,
)


@st.composite
def worlds(draw: st.DrawFn) -> Document:
    """Return a configuration's roles and bindings, and what a ledger has assigned and revoked."""
    configured = [(*line, True) for line in draw(lines)]
    ledger = [(*line, draw(st.booleans())) for line in draw(lines)]
    custom = draw(st.lists(st.sampled_from(sorted(GRANTABLE)), max_size=3))
    return {
        "mode": draw(st.sampled_from(("front_door", "egress"))),
        "default": draw(st.sampled_from((None, "developer", "viewer", "custom"))),
        "anonymous": draw(st.booleans()),
        "act_as": draw(st.booleans()),
        "several": draw(st.booleans()),
        "roles": {**BUILT_IN, "custom": custom},
        "tenants": {"x": True, "y": True, "asleep": False},
        "configured": configured,
        "ledger": ledger,
        "lines": [*configured, *ledger],
    }


@st.composite
def people(draw: st.DrawFn) -> Document:
    """Return somebody: a person, a service, a key, a token, or nobody in particular."""
    kinds = ("jwt", "jwt", "api_key", "api_key", "tenant_key", "tenant_token", "local", "anonymous")
    kind = draw(st.sampled_from(kinds))
    tenant = draw(st.sampled_from(TARGETS))
    subject = draw(st.sampled_from(("user:jo", "service:bot")))
    if kind == "anonymous":
        tenant, subject = None, "anonymous"
    role = draw(st.sampled_from((None, *ROLES))) if kind in ("api_key", "tenant_token") else None
    credential = {"id": "c_1", "role": role, "scope": None, "expires_at": None}
    return {
        "subject": subject,
        "kind": kind,
        "issuer": MINE if kind == "jwt" else None,
        "tenant": tenant,
        "acting_for": draw(st.sampled_from((None, None, None, "x", "asleep", "unknown"))),
        "groups": draw(st.sampled_from(([], ["g"], ["h", "g"]))) if kind == "jwt" else [],
        "scopes": [],
        "credential": None if kind in ("local", "anonymous") else credential,
    }


@st.composite
def administering(draw: st.DrawFn) -> Document:
    """Return an admin action, some of which hand out a role."""
    handed = st.fixed_dictionaries({"role": st.sampled_from(ROLES), "scope": st.sampled_from(SCOPES)})
    target = {
        "name": None,
        "server": None,
        "tenant": draw(st.sampled_from(TARGETS)),
        "grants": draw(st.none() | handed),
    }
    return {"action": draw(st.sampled_from(ACTIONS)), "kind": None, "target": target}


CALL = {"action": "tools/call", "kind": Kind.TOOL, "target": {"name": "a"}}
LIST = {"action": "tools/list", "kind": Kind.TOOL, "target": {}}


def documents(world: Document) -> Document:
    """Return what OPA is told: one server with one tool, which everybody is offered."""
    subjects, groups = bindings(world["configured"])
    live_subjects, live_groups = bindings(world["ledger"])
    entry = {"obligations": {}, "own": {}, "tool": {"offer": "all", "deny": "none", "drop": "none"}}
    return {
        **manifests({}),
        "portcullis_data": {
            "mode": world["mode"],
            "config": CONFIG,
            "settings": {
                "on_stale": "deny",
                "max_staleness_seconds": 300,
                "default_role": world["default"],
                "anonymous": world["anonymous"],
                "act_as_on_mcp": world["act_as"],
                "several_issuers": world["several"],
            },
            "flat": {"tool": {"a": {"server": "s", "id": "s/a"}}, "prompt": {}, "resource": {}, "template": {}},
            "contested": {},
            "offers": {"all": {"s": "all"}},
            "sets": {"none": {}},
            "patterns": {},
            "servers": {"s": {}},
            "server_ids": {"s": {"tool": {"s/a": True}}},
            "everyone": {"active": True, **entry} if world["mode"] == "egress" else {},
            "tenants": {tenant: {"active": active, **entry} for tenant, active in world["tenants"].items()},
            "withdrawn": {"global": {}, "tenant": {}},
            "rbac": {"roles": roles(world["roles"]), "bindings": subjects, "groups": groups},
        },
        "portcullis_live": {**quiet(), "bindings": live_subjects, "groups": live_groups},
    }


def decided(opa: Judge, world: Document, who: Document, question: Document) -> bool:
    """Ask OPA; a refusal always has its reason."""
    entrypoint = {"tools/call": "call", "tools/list": "list"}.get(question["action"], "admin")
    document = merged(USUAL_INPUT, {"mode": world["mode"], "principal": who, **question})
    decision = opa.ask(entrypoint, document)
    assert decision is not None
    assert bool(decision["reasons"]) is not decision["allow"]
    return bool(decision["allow"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), st.lists(people(), min_size=1, max_size=4), st.lists(administering(), min_size=1, max_size=4))
def test_policy_judges_roles_as_the_rules_say(opa: Judge, world: Document, who: list[Document], asked: list[Document]):
    opa.load(documents(world))
    for one in who:
        for question in (*asked, CALL, LIST):
            assert decided(opa, world, one, question) is may(world, one, question), (one, question)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), people(), st.lists(administering(), max_size=3), st.sampled_from(ROLES), st.sampled_from(SCOPES))
def test_revoking_a_role_never_widens(
    opa: Judge, world: Document, who: Document, asked: list[Document], role: str, scope: str
):
    def answers(*more: tuple[str, str, str, str | None, bool]) -> list[bool]:
        opa.load(documents({**world, "ledger": [*world["ledger"], *more]}))
        return [decided(opa, world, who, question) for question in (*asked, CALL, LIST)]

    before = answers()
    held = answers((who["subject"], role, scope, None, True))
    revoked = answers((who["subject"], role, scope, None, False))

    # What a tombstone leaves is what was there before, or less: the default role does not come back.
    assert all(had or not has for had, has in zip(before, revoked, strict=True))
    assert all(had or not has for had, has in zip(held, revoked, strict=True))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), people(), administering(), st.sampled_from(ROLES), st.sampled_from(SCOPES))
def test_nobody_hands_out_more_than_they_hold_where_they_hold_it(
    opa: Judge, world: Document, who: Document, question: Document, role: str, scope: str
):
    opa.load(documents(world))
    target = {**question["target"], "tenant": scope.partition(":")[2] or None, "grants": {"role": role, "scope": scope}}
    handing = {**question, "target": target}
    if decided(opa, world, who, handing):
        # Whoever may hand something out may then do it.
        for permission in grants(world, {role}):
            needed = {"action": permission, "kind": None, "target": {**target, "grants": None}}
            assert decided(opa, world, who, needed)
