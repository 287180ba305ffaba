"""The table of cases, played through a running gateway: what the agent is answered, and what the audit trail says."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from gateway.ids import TENANT_ID, Mode, Ref, flat_name
from tests.support.backend import LISTS
from tests.support.stage import Stage, stageable
from tests.support.worlds import Case, cases, snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.gateway import Reply
    from tests.support.issuer import Issuer

STAGED = [case for case in cases() if stageable(case)]


@pytest.fixture(scope="module")
async def stages(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer
) -> AsyncIterator[Callable[[str], Awaitable[Stage]]]:
    running: dict[str, Stage] = {}
    async with AsyncExitStack() as stack:

        async def of(world: str) -> Stage:
            if world not in running:
                stage = Stage(world, tmp_path_factory.mktemp(world), issuer)
                await stage.open()
                stack.push_async_callback(stage.stack.aclose)
                running[world] = stage
            return running[world]

        yield of


@pytest.mark.parametrize("case", STAGED, ids=lambda case: case.id)
async def test_a_case_through_the_gateway(stages: Callable[[str], Awaitable[Stage]], case: Case) -> None:
    reply, event = await (await stages(case.world)).play(case)
    answer = case.answer()
    if turned_away(case, answer):
        assert reply.status == 401
        return
    assert event is not None
    ANSWERED[case.entrypoint](case, reply, answer)
    assert reasons(event.policy["reasons"]) == reasons(answer["reasons"])
    assert event.outcome == ("success" if answer["allow"] else "failure")


def turned_away(case: Case, answer: dict[str, Any]) -> bool:
    """Whether authentication refuses before policy is asked, or policy knows that it should have."""
    tenant = case.question()["principal"]["tenant"]
    codes = {reason["code"] for reason in answer["reasons"]}
    malformed = tenant is not None and not TENANT_ID.fullmatch(tenant)
    return malformed or bool(codes & {"credential_revoked", "anonymous_not_admitted"})


def listed(case: Case, reply: Reply, answer: dict[str, Any]) -> None:
    mode = Mode(snapshot(case.world)["portcullis_data"]["mode"])
    wanted = [flat_name(ref, mode) for ref in map(Ref.parse, sorted(answer["ids"]))]
    assert reply.status == 200
    member = LISTS[case.input["action"]][0]
    assert [one.get("uri", one.get("uriTemplate", one["name"])) for one in reply.json["result"][member]] == wanted


def called(case: Case, reply: Reply, answer: dict[str, Any]) -> None:
    name = case.question()["target"]["name"]
    action = case.input["action"]
    if not answer["visible"]:
        assert (reply.json["error"]["code"], reply.json["error"]["message"]) == UNKNOWN[action](name)
    elif not answer["allow"] and action != "tools/call":
        assert reply.json["error"]["code"] == 40300
        assert all(reason["code"] in reply.json["error"]["message"] for reason in answer["reasons"])
    elif not answer["allow"]:
        text = reply.json["result"]["content"][0]["text"]
        assert reply.json["result"]["isError"] is True
        assert all(reason["code"] in text for reason in answer["reasons"])
    else:
        assert "isError" not in reply.json["result"] or reply.json["result"]["isError"] is False


def administered(case: Case, reply: Reply, answer: dict[str, Any]) -> None:
    allowed = {200, 202, 404} if case.question()["target"].get("tenant") else {200, 202}
    assert reply.status in (allowed if answer["allow"] else {403})


UNKNOWN: dict[str, Callable[[str], tuple[int, str]]] = {
    "tools/call": lambda name: (-32602, f"Unknown tool: {name}"),
    "prompts/get": lambda name: (-32602, f"Unknown prompt: {name}"),
    "resources/read": lambda name: (-32002, f"Resource not found: {name}"),
    "completion/complete": lambda name: (-32602, f"Unknown reference: {name}"),
}
ANSWERED: dict[str, Callable[[Case, Reply, dict[str, Any]], None]] = {
    "list": listed,
    "call": called,
    "admin": administered,
}


def reasons(found: list[dict[str, Any]]) -> set[frozenset[tuple[str, str]]]:
    return {frozenset((name, str(value)) for name, value in reason.items()) for reason in found}


def test_most_of_the_table_is_played_and_something_of_each_kind() -> None:
    assert len(STAGED) > len(cases()) / 2
    assert {case.question()["kind"] for case in STAGED} == {"tool", "prompt", "resource", None}
