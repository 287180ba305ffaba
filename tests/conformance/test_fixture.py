"""The fixture exposes what the suite asks for, in both eras."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mcp import Client
from mcp.types import CreateMessageResult, ElicitResult, TextContent

from tests.conformance.fixture.server import application
from tests.conformance.names import every, exposed
from tests.support.asgi import serving

if TYPE_CHECKING:
    from collections.abc import Collection

    from mcp.types import ElicitRequestFormParams

ERAS = ("legacy", "2026-07-28")


async def seen(era: str, without: Collection[str] = ()) -> dict[str, set[str]]:
    """Return every name that a client of an era is listed, by kind."""
    async with serving(application(without)) as origin, Client(f"{origin}/mcp", mode=era) as client:
        return {
            "tools": {one.name for one in (await client.list_tools()).tools},
            "prompts": {one.name for one in (await client.list_prompts()).prompts},
            "resources": {str(one.uri) for one in (await client.list_resources()).resources},
            "templates": {one.uri_template for one in (await client.list_resource_templates()).resource_templates},
        }


async def sampled(_context: object, _params: object) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="Paris"), model="none")


async def elicited(_context: object, params: ElicitRequestFormParams) -> ElicitResult:
    wanted = params.requested_schema["properties"]
    given = {
        name: ["yes"] if field["type"] == "array" else field.get("default", "yes") for name, field in wanted.items()
    }
    return ElicitResult(action="accept", content=given)


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
@pytest.mark.parametrize("era", ERAS)
async def test_the_fixture_asks_a_client_of_either_era_in_the_way_of_that_era(era):
    async with (
        serving(application()) as origin,
        Client(f"{origin}/mcp", mode=era, sampling_callback=sampled, elicitation_callback=elicited) as client,
    ):
        for name, arguments, answer in (
            ("test_sampling", {"prompt": "Capital of France?"}, "LLM response: Paris"),
            ("test_elicitation", {"message": "Well?"}, "yes"),
            ("test_elicitation_sep1034_defaults", {}, "John Doe"),
            ("test_elicitation_sep1330_enums", {}, "yes"),
        ):
            result = await client.call_tool(name, arguments)
            assert answer in result.content[0].text


@pytest.mark.parametrize("era", ERAS)
async def test_the_fixture_exposes_every_name_of_the_list_and_no_other(era):
    listed = await seen(era)
    assert listed == {kind: exposed(kind) for kind in listed}


async def test_the_fixture_leaves_out_what_it_is_told_to():
    without = {"greet", "test_simple_prompt", "test://static-text", "test://template/{id}/data"}
    listed = set().union(*(await seen("2026-07-28", without)).values())
    assert listed == set().union(*map(exposed, ("tools", "prompts", "resources", "templates"))) - without


def test_every_name_is_in_the_list_once():
    kinds = ("tools", "prompts", "resources", "templates", "elsewhere")
    assert len(every()) == sum(len(exposed(kind)) for kind in kinds)
