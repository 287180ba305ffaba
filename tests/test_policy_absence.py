"""What is missing admits nothing: data, a layer's file, a bundle."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.judge import BUNDLES, Judge, bundled_judge, core, open_judge
from tests.support.worlds import Case, custom, manifests, merged, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

JO = {"tenant": "tenant:a"}
ANONYMOUS = {"subject": "anonymous", "kind": "anonymous", "issuer": None, "credential": None}
ROOT = {"subject": "user:root"}
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
}
# `explain` decides nothing; `contested` is only a help to find names that two servers have.
LAYERS = sorted({path.split("/")[1] for path in core()} - {"explain"})
NEEDED = {
    "call": {"call", "catalog", "ctx", "frontdoor", "guard", "role", "scope", "withdrawal"},
    "list": {"catalog", "ctx", "frontdoor", "guard", "list", "role", "scope", "withdrawal"},
    "admin": {"admin", "ctx", "frontdoor", "role"},
}
REFUSAL = {"allow": False, "epoch": "", "revision": 0, "stale": True}


def asked(world: str) -> list[Case]:
    """Return questions that the whole world answers with yes."""
    return [Case("", "", world, {}, (), question, {}) for question in ADMITTED[world]]


def whole(world: str) -> dict[str, Any]:
    """Return the world's documents as of now."""
    return asked(world)[0].documents(time.time())


def paths() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every world with each document, each top-level key of it, and each key below those of a fixed shape."""
    for world in ADMITTED:
        for name, document in whole(world).items():
            yield world, (name,)
            for key in sorted(document.keys() - {"contested"}):
                yield world, (name, key)
                if key in ("settings", "withdrawn", "rbac"):
                    yield from ((world, (name, key, below)) for below in document[key])


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
        opa.load(Case("", "", world, {}, (path,), {"action": "tools/list"}, {}).documents(time.time()))
        admitted += [(path, case.input) for case in asked(world) if opa.admits(case.entrypoint, case.question())]

    assert admitted == []


@pytest.mark.parametrize("value", [None, "x", 0, [], True])
def test_data_of_another_shape_admits_nothing(judge: tuple[str, Judge], value: Any):
    world, opa = judge
    admitted = []
    for path in [("portcullis_live", key) for key in ("withdrawn", "revoked", "bindings", "scopes", "generated_at")]:
        documents = whole(world)
        if path[-1] == "generated_at" and value == 0:
            continue  # a number is the right shape, and too old
        documents[path[0]][path[1]] = value
        opa.load(documents)
        admitted += [(path, case.input) for case in asked(world) if opa.admits(case.entrypoint, case.question())]

    assert admitted == []


@pytest.mark.parametrize("layer", LAYERS)
def test_a_missing_layer_admits_nothing(judge: tuple[str, Judge], layer: str):
    world, opa = judge
    opa.load(whole(world))
    files = {path: text for path, text in core().items() if path.split("/")[1] == layer}
    opa.delete_policies(files)
    try:
        for case in asked(world):
            decision = opa.ask(case.entrypoint, case.question())
            if layer not in NEEDED[case.entrypoint]:
                assert decision["allow"] is True, "a layer that has no part in it should not be listed as needed"
            elif layer == case.entrypoint:
                assert decision is None
            else:
                assert not opa.admits(case.entrypoint, case.question())
                assert {reason["code"] for reason in decision["reasons"]} == {"policy_error"}
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
