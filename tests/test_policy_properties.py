"""A list and a call are one rule, and custom policy can only narrow: held against random worlds in a real OPA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundles.custom import CustomPolicy
from gateway.ids import Kind
from tests.support.judge import Judge, open_judge
from tests.support.universe import (
    CALLS,
    IDS,
    LISTS,
    OWN,
    SERVERS,
    SHARED,
    TENANTS,
    documents,
    names_of,
    principals,
)
from tests.support.worlds import EPOCH, USUAL_INPUT, manifests, merged

if TYPE_CHECKING:
    from collections.abc import Iterator

# Not checked by the fence: it lets the documents say what is denied and hidden.
WHIM = b"""package custom.whim

import data.portcullis.ctx
import future.keywords.not

deny contains "whim" if ctx.id in data.whims.denied

hide contains id if some id in data.whims.hidden
"""

kinds = st.sampled_from(list(Kind))
views = st.sampled_from([("flat", None), *(("server", server) for server in sorted({*SHARED, *OWN, *SERVERS, "none"}))])
whims = st.fixed_dictionaries(
    {"denied": st.lists(st.sampled_from(IDS), max_size=2), "hidden": st.lists(st.sampled_from(IDS), max_size=2)}
)
NO_WHIMS: dict[str, list[str]] = {"denied": [], "hidden": []}
PROMISED = manifests({"whim": ["deny", "hide"]})


@pytest.fixture(scope="module")
def opa() -> Iterator[Judge]:
    """An OPA with the shipped policy and one custom policy that does what `data.whims` says."""
    with open_judge(CustomPolicy({"custom/whim/whim.rego": WHIM}, {"whim": ("deny", "hide")})) as judge:
        yield judge


def asked(
    mode: str, principal: dict[str, Any], view: tuple[str, str | None], kind: Kind, name: str | None
) -> dict[str, Any]:
    """Return the question for a list (no name) or a call."""
    question = {
        "action": CALLS[kind] if name else LISTS[kind],
        "kind": kind,
        "mode": mode,
        "view": view[0],
        "principal": principal,
        "target": {"name": name, "server": view[1], "arguments": {}, "templates": []},
    }
    return merged(USUAL_INPUT, question)


def judged(
    opa: Judge, mode: str, principal: dict[str, Any], view: tuple[str, str | None], kind: Kind
) -> dict[str, set[str]]:
    """Return the ids of a list, and those that calls by every possible name come to."""
    listed = opa.ask("list", asked(mode, principal, view, kind, None))
    calls = [opa.ask("call", asked(mode, principal, view, kind, name)) for name in names_of(kind, mode, view[0])]
    assert all(decision["epoch"] == EPOCH for decision in [listed, *calls])
    assert all(decision["reasons"] == [] for decision in calls if decision["allow"])
    assert all(decision["reasons"] for decision in calls if not decision["allow"])
    return {
        "listed": set(listed["ids"]),
        "visible": {decision["id"] for decision in calls if decision["visible"]},
        "callable": {decision["id"] for decision in calls if decision["allow"]},
        "codes": {reason["code"] for decision in calls for reason in decision["reasons"]},
    }


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), principals(), views, kinds, whims)
def test_a_list_is_what_calls_can_see_and_custom_policy_only_narrows(
    opa: Judge,
    world: dict[str, Any],
    principal: dict[str, Any],
    view: tuple[str, str | None],
    kind: Kind,
    whim: dict[str, Any],
):
    mode = world["portcullis_data"]["mode"]
    opa.load({**PROMISED, **world})
    opa.put("whims", NO_WHIMS)
    plain = judged(opa, mode, principal, view, kind)
    opa.put("whims", whim)
    narrowed = judged(opa, mode, principal, view, kind)

    for each in (plain, narrowed):
        assert each["listed"] == each["visible"]
        assert each["callable"] <= each["visible"]
    if "missing_permission" not in plain["codes"]:
        assert plain["callable"] == plain["visible"]
    assert narrowed["visible"] == plain["visible"] - set(whim["hidden"])
    assert narrowed["callable"] == plain["callable"] - set(whim["hidden"]) - set(whim["denied"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), principals(), views, kinds)
def test_nobody_sees_what_another_tenant_brings_along(
    opa: Judge, world: dict[str, Any], principal: dict[str, Any], view: tuple[str, str | None], kind: Kind
):
    opa.put("whims", NO_WHIMS)
    opa.load({**PROMISED, **world})
    found = judged(opa, world["portcullis_data"]["mode"], principal, view, kind)

    own = {id_ for id_ in found["visible"] | found["listed"] if ":" in id_.partition("/")[0].partition("#")[0]}
    assert all(id_.startswith(f"{principal['tenant']}:") for id_ in own)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), principals(), st.sampled_from(IDS), st.sampled_from((None, *TENANTS)))
def test_withdrawing_something_takes_away_that_alone(
    opa: Judge, world: dict[str, Any], principal: dict[str, Any], id_: str, tenant: str | None
):
    mode = world["portcullis_data"]["mode"]
    kind = Kind.PROMPT if "#prompts/" in id_ else Kind.RESOURCE if "#" in id_ else Kind.TOOL
    opa.put("whims", NO_WHIMS)
    opa.load({**PROMISED, **world})
    before = judged(opa, mode, principal, ("flat", None), kind)
    overlay = {"global": {id_: {}}} if tenant is None else {"tenant": {tenant: {id_: {}}}}
    opa.load(merged(world, {"portcullis_live": {"withdrawn": overlay}}) | PROMISED)
    after = judged(opa, mode, principal, ("flat", None), kind)

    known = principal["tenant"] in world["portcullis_data"]["tenants"]
    hit = tenant is None or (known and tenant == principal["tenant"])
    assert after["listed"] == before["listed"] - ({id_} if hit else set())
    assert after["callable"] == before["callable"] - ({id_} if hit else set())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), principals(), views, kinds)
def test_explain_ends_where_the_list_does(
    opa: Judge, world: dict[str, Any], principal: dict[str, Any], view: tuple[str, str | None], kind: Kind
):
    opa.put("whims", {"denied": [], "hidden": list(IDS[:2])})
    opa.load({**PROMISED, **world})
    question = asked(world["portcullis_data"]["mode"], principal, view, kind, None)
    sets = opa.ask("explain", question)["sets"]

    assert sets["visible"] == opa.ask("list", question)["ids"]
    assert set(sets["visible"]) <= set(sets["after_scope"]) <= set(sets["offered"])
    assert not set(sets["visible"]) & (set(sets["withdrawn"]) | set(sets["hidden"]))
