"""What is missing admits nothing: data, a layer's file, a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.judge import BUNDLES, Judge, bundled_judge, core, open_judge
from tests.support.worlds import Case, custom, manifests, merged, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

JO = {"tenant": "tenant:a"}
ANONYMOUS = {"subject": "anonymous", "kind": "anonymous", "issuer": None, "credential": None}
ROOT = {"subject": "user:root"}
TEAM_A = {"tenant": "team-a"}
FRONT = {
    "subject": "service:front",
    "kind": "api_key",
    "issuer": None,
    "acting_for": "team-a",
    "credential": {"id": "c_1", "role": None, "scope": None},
}
TEMPLATE = "file:///{+path}"
GRANT = {"role": "admin", "scope": "global"}
ADMITTED = {
    "front_door": (
        {"action": "tools/call", "principal": JO, "target": {"name": "charge"}},
        {"action": "tools/call", "view": "server", "principal": JO, "target": {"name": "report", "server": "payments"}},
        {"action": "tools/list", "principal": JO},
        {"action": "tools/list", "view": "server", "principal": JO, "target": {"server": "payments"}},
        {"action": "mcp_servers:lifecycle", "principal": ROOT, "target": {"tenant": None}},
        {"action": "mcp_servers:read", "principal": JO, "target": {"tenant": "tenant:a"}},
    ),
    "egress": (
        {"action": "tools/call", "principal": ANONYMOUS, "target": {"name": "payments__refund"}},
        {"action": "tools/call", "principal": JO, "target": {"name": "payments__charge"}},
        {"action": "tools/list", "principal": ANONYMOUS},
        {"action": "tools/list", "principal": {}},
        {"action": "mcp_servers:read", "principal": {}, "target": {"tenant": None}},
    ),
    "custom": (
        {"action": "tools/call", "principal": JO, "target": {"name": "charge", "arguments": {"amount": 1}}},
        {"action": "tools/list", "principal": JO},
    ),
    "teams": (
        {"action": "tools/call", "principal": TEAM_A, "target": {"name": "run"}},
        {
            "action": "tools/call",
            "view": "server",
            "principal": TEAM_A,
            "target": {"name": "lend", "server": "reports"},
        },
        {"action": "tools/call", "principal": FRONT, "target": {"name": "run"}},
        {"action": "tools/list", "principal": TEAM_A},
        {"action": "prompts/get", "principal": TEAM_A, "target": {"name": "greet"}},
        {"action": "prompts/list", "principal": TEAM_A},
        {"action": "resources/read", "principal": TEAM_A, "target": {"name": "file:///index", "templates": []}},
        {"action": "resources/read", "principal": TEAM_A, "target": {"name": "file:///x", "templates": [TEMPLATE]}},
        {"action": "resources/list", "principal": TEAM_A},
        {"action": "resources/templates/list", "principal": TEAM_A},
        {"action": "completion/complete", "kind": "resource", "principal": TEAM_A, "target": {"name": TEMPLATE}},
        {"action": "roles:write", "principal": ROOT, "target": {"tenant": None, "grants": GRANT}},
        {"action": "tokens:own", "principal": TEAM_A, "target": {"tenant": "team-a"}},
    ),
}
# `explain` decides nothing.
LAYERS = sorted({path.split("/")[1] for path in core()} - {"explain"})
NEEDED = {
    "call": {"call", "catalog", "ctx", "frontdoor", "guard", "role", "scope", "target", "withdrawal"},
    "list": {"catalog", "ctx", "frontdoor", "guard", "list", "role", "scope", "withdrawal"},
    "admin": {"admin", "ctx", "frontdoor", "role"},
}
# What some questions are answered by and others are not.
HELPERS = {"target"}
REFUSAL = {"allow": False, "epoch": "", "revision": 0, "config": "", "stale": True}


def asked(world: str) -> list[Case]:
    """Return questions that the whole world answers with yes."""
    return [Case("", "", world, {}, (), question, {}) for question in ADMITTED[world]]


def whole(world: str) -> dict[str, Any]:
    """Return the world's documents as of now."""
    return asked(world)[0].documents()


def paths() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every world with each document and each top-level key of it."""
    for world in ADMITTED:
        for name, document in whole(world).items():
            yield world, (name,)
            yield from ((world, (name, key)) for key in sorted(document))


@pytest.fixture(scope="module", params=sorted(ADMITTED))
def judge(request: pytest.FixtureRequest) -> Iterator[tuple[str, Judge]]:
    """A world and an OPA with the shipped policy and the world's own."""
    with open_judge(custom(request.param)) as judge:
        yield request.param, judge


def test_the_whole_world_admits_what_is_asked_here(judge: tuple[str, Judge]):
    world, opa = judge
    opa.load(whole(world))

    assert all(opa.admits(case.entrypoint, case.question()) for case in asked(world))


def test_a_missing_part_of_the_data_admits_nothing(judge: tuple[str, Judge]):
    world, opa = judge
    admitted = []
    for path in (path for of, path in paths() if of == world):
        opa.load(Case("", "", world, {}, (path,), {"action": "tools/list"}, {}).documents())
        admitted += [(path, case.input) for case in asked(world) if opa.admits(case.entrypoint, case.question())]

    assert admitted == []


CHARGE = {"action": "tools/call", "principal": JO, "target": {"name": "charge"}}
READING = {"action": "mcp_servers:read", "principal": JO, "target": {"tenant": "tenant:a"}}
ROOTED = {"action": "mcp_servers:read", "principal": {"subject": "user:root"}, "target": {"tenant": None}}
IN_A_GROUP = {"action": "tools/list", "principal": {"tenant": "tenant:a", "groups": ["data"]}}
TOKEN = {
    "action": "tools/list",
    "principal": {
        "subject": "token:t_1",
        "kind": "tenant_token",
        "issuer": None,
        "tenant": "team-b",
        "credential": {"id": "t_1", "role": "developer", "scope": "5c09e"},
    },
}
BELOW: list[tuple[str, str, str, dict[str, Any]]] = [
    ("front_door", "portcullis_data", "settings.on_stale", CHARGE),
    ("private", "portcullis_data", "settings.max_staleness_seconds", {"action": "tools/list"}),
    ("front_door", "portcullis_data", "settings.default_role", CHARGE),
    ("egress", "portcullis_data", "settings.anonymous", {"action": "tools/list", "principal": ANONYMOUS}),
    ("teams", "portcullis_data", "settings.act_as_on_mcp", {"action": "tools/list", "principal": FRONT}),
    ("front_door", "portcullis_data", "settings.several_issuers", ROOTED),
    ("front_door", "portcullis_data", "withdrawn.global", CHARGE),
    ("front_door", "portcullis_data", "withdrawn.tenant", CHARGE),
    ("front_door", "portcullis_data", "rbac.roles", CHARGE),
    ("front_door", "portcullis_data", "rbac.bindings", CHARGE),
    ("front_door", "portcullis_data", "rbac.bindings", READING),
    ("front_door", "portcullis_data", "rbac.groups", READING),
    ("front_door", "portcullis_data", "rbac.groups", IN_A_GROUP),
    ("front_door", "portcullis_live", "withdrawn.global", CHARGE),
    ("front_door", "portcullis_live", "withdrawn.tenant", CHARGE),
    ("teams", "portcullis_live", "scopes.5c09e", TOKEN),
]


@pytest.mark.parametrize(("world", "document", "below", "question"), BELOW)
def test_what_a_question_is_judged_by_admits_nothing_where_it_is_missing(
    world: str, document: str, below: str, question: dict[str, Any]
):
    given = {"portcullis_live": {"scopes": {"5c09e": {"team-b:reports/run": True}}}}
    with open_judge(custom(world)) as opa:
        for without in ((), ((document, *below.split(".")),)):
            case = Case("", "", world, given, without, question, {})
            opa.load(case.documents())
            assert opa.admits(case.entrypoint, case.question()) is (not without)


@pytest.mark.parametrize("value", [None, "x", 0, [], True])
@pytest.mark.parametrize("key", ["withdrawn", "revoked", "bindings", "generated_at"])
def test_data_of_another_shape_admits_nothing(judge: tuple[str, Judge], key: str, value: Any):
    world, opa = judge
    if key == "generated_at" and value == 0:
        return  # a number is the right shape, and too old
    documents = whole(world)
    documents["portcullis_live"][key] = value
    opa.load(documents)
    # Of anybody's roles and withdrawals no question is asked that is not by somebody, about what servers offer.
    cases = [one for one in asked(world) if one.entrypoint != "admin" and one.input["principal"] != ANONYMOUS]

    assert not any(opa.admits(case.entrypoint, case.question()) for case in cases)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_missing_layer_admits_nothing(judge: tuple[str, Judge], layer: str):
    world, opa = judge
    opa.load(whole(world))
    files = {path: text for path, text in core().items() if path.split("/")[1] == layer}
    answers = [opa.ask(case.entrypoint, case.question()) for case in asked(world)]
    if layer == "bindings":
        with pytest.raises(AssertionError, match="undefined function"):
            opa.delete_policies(files)
        return
    opa.delete_policies(files)
    try:
        for case, answer in zip(asked(world), answers, strict=True):
            decision = opa.ask(case.entrypoint, case.question())
            if layer in HELPERS - NEEDED[case.entrypoint]:
                assert not opa.admits(case.entrypoint, case.question()) or decision == answer
            elif layer not in NEEDED[case.entrypoint]:
                assert decision["allow"] is True, "a layer that has no part in it should not be listed as needed"
            elif layer == case.entrypoint:
                assert decision is None
            else:
                assert not opa.admits(case.entrypoint, case.question())
                unknown = {"unknown_target"} if layer == "target" else set()
                assert {reason["code"] for reason in decision["reasons"]} <= {"policy_error"} | unknown
    finally:
        opa.put_policies(files)


def test_a_refusal_for_want_of_a_layer_has_the_full_shape(judge: tuple[str, Judge]):
    world, opa = judge
    opa.load(whole(world))
    files = {path: text for path, text in core().items() if path.split("/")[1] == "ctx"}
    opa.delete_policies(files)
    error = {"reasons": [{"code": "policy_error", "layer": "core"}]}
    shapes = {
        "call": {**REFUSAL, **error, "visible": False, "id": None, "obligations": {}},
        "list": {**REFUSAL, **error, "ids": [], "obligations": {}},
        "admin": {**REFUSAL, **error, "roles": []},
    }
    try:
        for case in asked(world):
            assert opa.ask(case.entrypoint, case.question()) == shapes[case.entrypoint]
    finally:
        opa.put_policies(files)


@pytest.mark.parametrize("missing", BUNDLES)
def test_a_missing_bundle_admits_nothing(missing: str):
    with bundled_judge(whole("custom"), custom("custom"), tuple(name for name in BUNDLES if name != missing)) as opa:
        assert not any(opa.admits(case.entrypoint, case.question()) for case in asked("custom"))


def test_all_four_bundles_admit():
    with bundled_judge(whole("custom"), custom("custom")) as opa:
        assert all(opa.admits(case.entrypoint, case.question()) for case in asked("custom"))


def test_an_empty_revision_is_no_revision(judge: tuple[str, Judge]):
    world, opa = judge
    for bundle in BUNDLES:
        unnamed = {"bundles": {bundle: {"manifest": {"revision": ""}}}}
        opa.load(merged({**whole(world)}, unnamed))

        assert not any(opa.admits(case.entrypoint, case.question()) for case in asked(world))


def test_a_question_that_is_none_gets_no_yes(judge: tuple[str, Judge]):
    world, opa = judge
    opa.load(whole(world))
    usual = asked(world)[0].question()
    needless = {"request", "untrusted"}
    cut = [{key: value for key, value in usual.items() if key != gone} for gone in usual.keys() - needless]
    odd: list[Any] = [{}, None, [], "x", {"v": 1}, *cut]

    assert not any(opa.admits(entrypoint, each) for entrypoint in NEEDED for each in odd)


def test_manifests_name_the_packages_of_the_custom_world():
    assert manifests(snapshot("custom")["packages"])["bundles"]["custom"]["manifest"]["metadata"]["packages"] == {
        "amounts": ["deny"],
        "discretion": ["hide"],
    }
