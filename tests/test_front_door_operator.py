"""What an operator asks of a running gateway: `check`, `explain` and `doctor`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests.support.gateway import PATIENT, Portcullis, front_door
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import World


@pytest.fixture(scope="module")
async def rivals(tmp_path_factory: pytest.TempPathFactory, world: World) -> AsyncIterator[Portcullis]:
    """A gateway with two servers that offer the same names."""
    config = front_door(world.backend.url, world.issuer.url, opa=PATIENT)
    config["mcp_servers"]["other"] = config["mcp_servers"]["payments"]
    async with Portcullis(tmp_path_factory.mktemp("rivals"), config) as gateway:
        yield gateway


async def explained(world: World, *words: str) -> tuple[int, list[str]]:
    status, out, err = await world.gateway.cli("explain", *words)
    return status, [line.rstrip() for line in (out + err).splitlines()]


async def test_a_list_is_explained_layer_by_layer_in_the_order_in_which_they_narrow(world: World) -> None:
    status, lines = await explained(world, "--tenant", "tenant:a")
    assert (status, lines[0]) == (0, "a list by user:explain of tenant:a")
    layers = ["ctx", "frontdoor", "catalog", "scope", "withdrawal", "role", "guard"]
    assert [line.split() for line in lines[2:9]] == [[layer, "ok"] for layer in layers]
    assert lines[-1] == "   1 visible: payments/charge"


async def test_the_endpoint_of_one_server_is_explained_by_the_names_that_tools_have_there(world: World) -> None:
    status, lines = await explained(world, "--tenant", "tenant:b", "--server", "payments")
    assert (status, lines[0]) == (0, "a list at payments by user:explain of tenant:b")
    assert lines[-1] == "   2 visible: payments/charge, payments/refund"
    status, lines = await explained(world, "--tenant", "tenant:b", "--server", "payments", "--tool", "refund")
    assert (status, lines[0]) == (0, "a call of refund at payments by user:explain of tenant:b")


@pytest.mark.parametrize("where", [["--server", "payments"], []], ids=["one server", "all"])
async def test_a_name_that_two_servers_share_is_refused_at_the_flat_endpoint_and_explained_at_its_servers_own(
    rivals: Portcullis, where: list[str]
) -> None:
    status, out, err = await rivals.cli("explain", "--tenant", "tenant:a", "--tool", "charge", *where)
    assert (status, "ambiguous_name" in out + err) == ((0, False) if where else (1, True))


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        (["--tenant", "tenant:a", "--server", "payments", "--tool", "refund"],
         "refused: scope says not_in_member_scope"),
        (["--tenant", "tenant:a", "--server", "payments", "--tool", "payments/charge"],
         "refused: catalog says unknown_target; payments/charge is an id, and agents call it charge"),
        (["--tenant", "tenant:a", "--server", "paymnets"],
         "nothing is visible: catalog leaves nothing; there is no server paymnets, or nothing of it is offered here"),
        (["--tenant", "tenant:a", "--server", "paymnets", "--tool", "charge"],
         "refused: catalog says unknown_target; there is no server paymnets, or nothing of it is offered here"),
        (["--tenant", "tenant:zz"], "nothing is visible: frontdoor says unknown_tenant; docs/reasons.md"),
        ([], "nothing is visible: frontdoor says anonymous_not_admitted; docs/reasons.md"),
        (["--tenant", "tenant:a", "--role", "auditor"], "nothing is visible: role says missing_permission"),
        (["--tenant", "tenant:a", "--tool", "refund"], "refused: scope says not_in_member_scope"),
        (["--tenant", "tenant:a", "--tool", "beta_tool"], "refused: withdrawal says withdrawn"),
        (["--tenant", "tenant:a", "--tool", "nope"], "refused: catalog says unknown_target; docs/reasons.md"),
        (["--tenant", "tenant:a", "--prompt", "greet"], "refused: catalog says unknown_target; docs/reasons.md"),
        (["--tenant", "tenant:a", "--resource", "file:///a", "--template", "file:///{name}"],
         "refused: catalog says unknown_target; docs/reasons.md"),
        (["--tenant", "tenant:a", "--kind", "prompt"], "nothing is visible: catalog leaves nothing"),
        (["--tenant", "tenant:a", "--tool", "payments/charge"],
         "refused: catalog says unknown_target; payments/charge is an id, and agents call it charge"),
    ],
)  # fmt: skip
async def test_a_refusal_ends_in_one_line_that_names_the_first_layer_with_a_reason(
    world: World, words: list[str], verdict: str
) -> None:
    status, lines = await explained(world, *words)
    assert (status, lines[-1][: len(verdict)]) == (1, verdict)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--principal", "jo"], "must be user:<name> or service:<name>"),
        (["--role", "king"], "is not one of"),
        (["--tool", "charge", "--arguments", "{"], "is not JSON"),
        (["--tool", "charge", "--arguments", "[]"], "must be a JSON object"),
        (["--arguments", '{"amount": 1}'], "name its --tool"),
        (["--tool", "charge", "--prompt", "greet"], "name one --tool, --prompt or --resource"),
    ],
)
async def test_a_question_that_no_gateway_would_ask_is_refused(world: World, words: list[str], why: str) -> None:
    status, lines = await explained(world, "--tenant", "tenant:a", *words)
    assert (status, why in lines[-1]) == (2, True)


async def test_check_names_the_entries_of_lists_that_match_no_tool(world: World, tmp_path: Path) -> None:
    mistyped = tmp_path / "config.yaml"
    mistyped.write_text(world.gateway.config_path.read_text().replace("- refund", "- refnud"))
    done = await asyncio.to_thread(CliRunner().invoke, main, ["check", "--config", str(mistyped)])
    found = [line.partition(" matches")[0] for line in done.stdout.splitlines() if "matches no tool" in line]
    assert (done.exit_code, done.stderr) == (0, "")
    assert found == [
        "warning: mcp_servers.payments.tool_access.member.tenant:a.deny_list: refnud",
        "warning: mcp_servers.payments.tool_access.member.tenant:b.allow_list: refnud",
    ]


async def test_doctor_finds_nothing_wrong_with_the_recipe(world: World) -> None:
    status, out, err = await world.gateway.cli("doctor", "--json")
    assert status == 0, out + err
    findings = json.loads(out)["findings"]
    assert {one["level"] for one in findings} == {"ok"}, findings
    assert {"config", "storage", "drift", "opa", "replica", "issuer", "server", "clock"} == {
        one["part"] for one in findings
    }


RULE = """\
package custom.never

import future.keywords.not

deny contains "never" if not true
"""


async def test_doctor_shows_the_mistake_that_keeps_a_rule_out_of_force(world: World, tmp_path: Path) -> None:
    rule = tmp_path / "rules" / "never" / "never.rego"
    rule.parent.mkdir(parents=True)
    rule.write_text(RULE)
    endpoint = f"http://127.0.0.1:{world.backend.port}/mcp"
    config = front_door(endpoint, world.issuer.url, opa={"custom_policies": str(rule.parent.parent)})
    async with Portcullis(tmp_path, config) as gateway:
        rule.write_text(RULE.replace("deny contains", "denny contains"))

        async def shown() -> bool:
            status, out, _ = await gateway.cli("doctor")
            return status == 1 and "did you mean `deny`?" in out

        await until(shown)
