"""What is known of the servers: kept while they are down, written when it changes, encoded under the right names."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from gateway.errors import Unavailable, UpstreamFailed
from gateway.facts import ServerInventory
from gateway.ids import Kind, Mode, Ref
from gateway.inventory import FETCH_AGAIN_SECONDS, Inventory
from gateway.mcp import results
from gateway.mcp.definitions import joined, usable
from gateway.mcp.eras import Era
from gateway.mcp.sections import SECTIONS, TOOLS
from gateway.model import View
from gateway.upstream.pool import Upstreams
from gateway.upstream.target import Target
from tests.support.backend import FakeBackend, tool
from tests.support.wait import until


class Servers:
    """Servers that offer what they are told to, and a ledger that keeps what it is given."""

    def __init__(self, **offers):
        self.offers = offers
        self.down: set[str] = set()
        self.hanging: dict[str, asyncio.Event] = {}
        self.listed: list[str] = []
        self.kept = []
        self.ledger_down = False
        self.keeping = asyncio.Event()
        self.keeping.set()
        self.now = 1_790_000_000.0

    async def list_tools(self, server):
        self.listed.append(server)
        if server in self.hanging:
            await self.hanging[server].wait()
        if server in self.down:
            raise UpstreamFailed(server, "cannot be reached")
        definitions = [one if isinstance(one, bytes) else json.dumps(tool(one)).encode() for one in self.offers[server]]
        return {TOOLS.method: usable(TOOLS, definitions)[0]}

    async def keep(self, inventory):
        if self.ledger_down:
            raise Unavailable("the disk is full")
        self.kept.append(inventory)
        await self.keeping.wait()

    def inventory(self, mode=Mode.FRONT_DOOR):
        return Inventory(self.offers, mode, list_=self.list_tools, keep=self.keep, clock=lambda: self.now)


def names(fragments):
    return [json.loads(one.modern)["name"] for one in fragments]


IDS = ("crm/charge", "payments/charge", "payments/refund")


@pytest.fixture
def servers():
    return Servers(payments=["refund", "charge"], crm=["charge"])


@pytest.mark.parametrize(
    ("mode", "view", "expected"),
    [
        (Mode.FRONT_DOOR, View.FLAT, ["charge", "charge", "refund"]),
        (Mode.FRONT_DOOR, View.SERVER, ["charge", "charge", "refund"]),
        (Mode.EGRESS, View.FLAT, ["crm__charge", "payments__charge", "payments__refund"]),
        (Mode.EGRESS, View.SERVER, ["charge", "charge", "refund"]),
    ],
)
async def test_tools_are_listed_under_the_names_of_the_mode_and_the_view(servers, mode, view, expected):
    inventory = servers.inventory(mode)
    await inventory.refresh_all()
    assert names(await inventory.fragments(IDS, view)) == expected


async def test_definitions_come_in_the_order_asked_for(servers):
    inventory = servers.inventory()
    await inventory.refresh_all()
    fragments = await inventory.fragments(["payments/refund", "payments/charge"], View.FLAT)
    assert names(fragments) == ["refund", "charge"]
    listed = json.loads(b"".join(results.listed(1, Era.LEGACY, "tools/list", joined(fragments))))["result"]["tools"]
    assert [one["description"] for one in listed] == ["does refund", "does charge"]


async def test_what_is_kept_names_the_tools_and_changes_with_their_definitions(servers):
    inventory = servers.inventory()
    await inventory.refresh_all()
    kept = {one.server: one for one in servers.kept}
    assert kept["payments"].tools == ("charge", "refund")
    assert kept["payments"].updated_at == 1_790_000_000_000
    await inventory.refresh("payments")
    assert len(servers.kept) == 2
    servers.offers["payments"] = ["charge", json.dumps(tool("refund", title="new")).encode()]
    await inventory.refresh("payments")
    assert servers.kept[2].tools == ("charge", "refund")
    assert servers.kept[2].digest != kept["payments"].digest
    assert b'"title":"new"' in (await inventory.fragments(["payments/refund"], View.FLAT))[0].modern.replace(
        b": ", b":"
    )


async def test_a_server_is_listed_once_the_ledger_has_what_it_offers(servers):
    inventory = servers.inventory()
    servers.keeping.clear()
    listing = asyncio.create_task(inventory.refresh_all())
    await until(lambda: len(servers.kept) == 2)
    assert inventory.unlisted == ("crm", "payments")
    servers.keeping.set()
    await listing
    assert inventory.unlisted == ()


async def test_the_digest_does_not_depend_on_the_order_in_which_a_server_lists(servers):
    inventory = servers.inventory()
    await inventory.refresh("payments")
    servers.offers["payments"].reverse()
    await inventory.refresh("payments")
    assert len(servers.kept) == 1


async def test_what_a_server_offered_last_stays_while_it_is_down(servers):
    inventory = servers.inventory()
    await inventory.refresh_all()
    servers.down.add("payments")
    await inventory.refresh_all()
    assert names(await inventory.fragments(IDS, View.FLAT)) == ["charge", "charge", "refund"]
    assert inventory.listings["payments"].failure == "cannot be reached"
    assert (inventory.listings["payments"].tools, inventory.listings["crm"].failure) == (2, None)
    servers.down.clear()
    servers.offers["payments"] = ["charge"]
    await inventory.refresh_all()
    assert inventory.listings["payments"].failure is None
    assert names(await inventory.fragments(IDS, View.FLAT)) == ["charge", "charge"]


async def test_it_is_settled_once_every_server_was_listed_or_given_up_on(servers):
    inventory = servers.inventory()
    servers.down.add("crm")
    assert not inventory.settled
    await inventory.refresh("payments")
    assert not inventory.settled
    await inventory.refresh("crm")
    assert inventory.settled


async def test_an_unknown_definition_is_fetched_before_answering(servers):
    inventory = servers.inventory()
    assert names(await inventory.fragments(IDS, View.FLAT)) == ["charge", "charge", "refund"]
    servers.offers["payments"] = ["charge", "refund", "beta"]
    servers.now += FETCH_AGAIN_SECONDS + 1
    assert names(await inventory.fragments(["payments/beta"], View.FLAT)) == ["beta"]
    assert servers.listed.count("crm") == 1
    assert inventory.left_out == 0


async def test_what_nobody_defines_is_left_out_and_counted_and_not_asked_for_again_at_once(servers):
    inventory = servers.inventory()
    for _ in range(3):
        assert names(await inventory.fragments(["payments/charge", "payments/gone", "other/x"], View.FLAT)) == [
            "charge"
        ]
    assert servers.listed == ["payments"]
    assert inventory.left_out == 6


def listed(encoded, era=Era.LEGACY):
    return [
        one["name"] for one in json.loads(b"".join(results.listed(1, era, "tools/list", encoded)))["result"]["tools"]
    ]


async def test_a_list_is_encoded_once_for_everybody_who_is_shown_the_same(servers):
    inventory = servers.inventory(Mode.EGRESS)
    await inventory.refresh_all()
    first = await inventory.listing(IDS, View.FLAT)
    assert await inventory.listing(tuple(IDS), View.FLAT) is first
    assert listed(first) == ["crm__charge", "payments__charge", "payments__refund"]
    assert listed(await inventory.listing(IDS, View.SERVER)) == ["charge", "charge", "refund"]
    assert listed(await inventory.listing(IDS[1:], View.FLAT)) == ["payments__charge", "payments__refund"]
    assert listed(await inventory.listing((), View.FLAT)) == []


async def test_an_encoded_list_is_made_anew_when_a_definition_in_it_changes(servers):
    inventory = servers.inventory()
    await inventory.refresh_all()
    before = await inventory.listing(IDS, View.FLAT)
    await inventory.refresh_all()
    assert await inventory.listing(IDS, View.FLAT) is before
    servers.offers["payments"] = ["charge", json.dumps(tool("refund", title="new")).encode()]
    await inventory.refresh("payments")
    after = json.loads(b"[%b]" % (await inventory.listing(IDS, View.FLAT)).modern)
    assert [one.get("title") for one in after] == [None, None, "new"]


async def test_an_encoded_list_loses_what_its_server_no_longer_offers(servers):
    inventory = servers.inventory()
    await inventory.refresh_all()
    assert listed(await inventory.listing(IDS, View.FLAT)) == ["charge", "charge", "refund"]
    servers.offers["payments"] = ["charge"]
    await inventory.refresh("payments")
    assert listed(await inventory.listing(IDS, View.FLAT)) == ["charge", "charge"]
    inventory.replace(["payments"], Mode.EGRESS)
    assert listed(await inventory.listing(IDS, View.FLAT)) == ["payments__charge"]


async def test_a_list_that_lacks_a_definition_is_not_kept(servers):
    inventory = servers.inventory()
    servers.down.add("payments")
    assert listed(await inventory.listing(IDS, View.FLAT)) == ["charge"]
    servers.down.clear()
    await inventory.refresh("payments")
    assert listed(await inventory.listing(IDS, View.FLAT)) == ["charge", "charge", "refund"]


async def test_a_list_has_the_form_that_each_era_allows(servers):
    output = b'{"name":"sum","inputSchema":{"type":"object"},"outputSchema":{"type":"integer"}}'
    servers.offers["payments"] = ["charge", output]
    inventory = servers.inventory()
    await inventory.refresh("payments")
    encoded = await inventory.listing(("payments/charge", "payments/sum"), View.FLAT)
    assert listed(encoded) == listed(encoded, Era.MODERN) == ["charge", "sum"]
    assert b"outputSchema" in encoded.modern
    assert b"outputSchema" not in encoded.legacy


async def test_many_lists_at_once_fetch_once(servers):
    inventory = servers.inventory()
    servers.hanging["payments"] = asyncio.Event()
    lists = [asyncio.create_task(inventory.fragments(["payments/charge"], View.FLAT)) for _ in range(10)]
    await until(lambda: servers.listed)
    servers.hanging["payments"].set()
    assert [names(one) for one in await asyncio.gather(*lists)] == [["charge"]] * 10
    assert servers.listed == ["payments"]


async def test_a_ledger_that_is_down_takes_the_inventory_at_the_next_listing(servers):
    inventory = servers.inventory()
    servers.ledger_down = True
    await inventory.refresh_all()
    assert names(await inventory.fragments(IDS, View.FLAT)) == ["charge", "charge", "refund"]
    servers.ledger_down = False
    await inventory.refresh_all()
    assert {one.server for one in servers.kept} == {"payments", "crm"}


async def test_each_tick_lists_every_server_and_waits_for_none(servers):
    inventory, ticks = servers.inventory(), asyncio.Queue()
    servers.hanging["payments"] = asyncio.Event()
    loop = asyncio.create_task(inventory.run(ticks.get))
    for expected in (1, 2, 3):
        ticks.put_nowait(None)
        await until(lambda expected=expected: servers.listed.count("crm") == expected)
        await until(lambda: inventory.listings.get("crm"))
    assert servers.listed.count("payments") == 1
    loop.cancel()
    await asyncio.wait([loop])
    await inventory.close()


async def test_a_reload_keeps_what_is_known_of_the_servers_that_stay(servers):
    inventory = servers.inventory()
    await inventory.refresh_all()
    servers.offers["new"] = ["hello"]
    inventory.replace(["payments", "new"], Mode.EGRESS)
    assert not inventory.settled
    await inventory.refresh("new")
    assert inventory.settled
    assert inventory.listings.keys() == {"payments", "new"}
    assert names(await inventory.fragments([*IDS, "new/hello"], View.FLAT)) == [
        "payments__charge",
        "payments__refund",
        "new__hello",
    ]
    assert servers.listed.count("payments") == 1


@asynccontextmanager
async def real(backend):
    async with backend.serve():
        upstreams = Upstreams({"payments": Target("payments", backend.url)})
        servers = Servers()
        try:
            yield Inventory(["payments"], Mode.EGRESS, list_=upstreams.offered, keep=servers.keep)
        finally:
            await upstreams.close()


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_definition_reaches_the_list_with_every_byte_of_its_values(era):
    schema = f'{{"type":"object", "properties": {{"x": {{"maximum": {2**70}, "multipleOf": 1.10}}}}}}'
    definition = f'{{"name":"charge","inputSchema":{schema},"description":"\u2028 \\u2028","Name":"x","vendor":[1e2]}}'
    async with real(FakeBackend(era=era, definitions=[definition.encode()])) as inventory:
        fragments = await inventory.fragments(["payments/charge"], View.FLAT)
    for text in (
        b"".join(results.listed(1, Era.MODERN, "tools/list", joined(fragments))),
        b"".join(results.listed(1, Era.LEGACY, "tools/list", joined(fragments))),
    ):
        for value in (schema, '"\u2028 \\u2028"', '"Name":"x"', '"vendor":[1e2]', '"name":"payments__charge"'):
            assert value.encode() in text


def offering(method, key, *names):
    section = SECTIONS[method]
    return {method: usable(section, [json.dumps({"name": "x", key: name}).encode() for name in names])[0]}


def everything():
    """Return what a server offers that has something of each kind."""
    tools = usable(TOOLS, [json.dumps(tool("charge")).encode()])[0]
    return (
        {TOOLS.method: tools}
        | offering("prompts/list", "name", "greet", "sum up")
        | offering("resources/list", "uri", "file:///index")
        | offering("resources/templates/list", "uriTemplate", "file:///{name}", "{+any}")
    )


class Offering(Servers):
    """Servers of which each offers something of each kind, until it is told otherwise."""

    async def list_tools(self, server):
        self.listed.append(server)
        return self.offers[server]


async def test_every_kind_is_kept_by_name_and_listed_in_its_own_way():
    servers = Offering(s=everything())
    inventory = servers.inventory(Mode.EGRESS)
    await inventory.refresh("s")
    (kept,) = servers.kept
    assert (kept.tools, kept.prompts) == (("charge",), ("greet", "sum up"))
    assert (kept.resources, kept.templates) == (("file:///index",), ("file:///{name}", "{+any}"))
    ids = ("s#prompts/sum up", "s#resources/file:///index", "s#resources/file:///{name}")
    shown = [json.loads(one.modern) for one in await inventory.fragments(ids, View.FLAT)]
    assert shown == [
        {"name": "s__sum up"},
        {"name": "x", "uri": "file:///index"},
        {"name": "x", "uriTemplate": "file:///{name}"},
    ]
    assert all(inventory.knows(Ref.parse(id_)) for id_ in ids)
    assert not inventory.knows(Ref.parse("s#prompts/charge"))
    assert all(inventory.summary.has(section) for section in SECTIONS.values())


async def test_a_change_is_told_by_the_kinds_that_it_is_of():
    told = []
    servers = Offering(s=everything())
    inventory = Inventory(
        ["s"], Mode.FRONT_DOOR, list_=servers.list_tools, keep=servers.keep, changed=lambda *what: told.append(what)
    )
    await inventory.refresh("s")
    assert told.pop() == ("s", frozenset(Kind))
    servers.offers["s"] = everything() | offering("resources/templates/list", "uriTemplate", "file:///{other}")
    await inventory.refresh("s")
    assert told.pop() == ("s", {Kind.RESOURCE})
    servers.offers["s"] = {name: some for name, some in servers.offers["s"].items() if name != "prompts/list"}
    await inventory.refresh("s")
    assert told.pop() == ("s", {Kind.PROMPT})
    await inventory.refresh("s")
    assert not told


async def test_a_uri_is_matched_by_shared_templates_and_those_of_its_own_tenant_alone():
    own = offering("resources/templates/list", "uriTemplate", "file:///own/{x}", "{+own}")
    servers = Offering(s=everything(), **{"a:mine": own, "b:mine": own})
    inventory = servers.inventory()
    await inventory.refresh_all()
    assert inventory.summary.matching("file:///own/1", None, "a") == ("file:///own/{x}", "{+any}", "{+own}")
    assert inventory.summary.matching("file:///own/1", None, "c") == ("{+any}",)
    assert inventory.summary.matching("file:///own/1", "mine", "b") == ("file:///own/{x}", "{+own}")
    assert inventory.summary.matching("file:///own/1", "mine", None) == ()
    assert inventory.summary.matching("file:///one", "s", "a") == ("file:///{name}", "{+any}")


async def test_templates_of_a_server_that_was_not_listed_yet_are_those_that_the_ledger_has():
    servers = Offering(s=everything())
    inventory = servers.inventory()
    inventory.recall([ServerInventory("s", "d", (), 1, templates=("old:///{x}",)), ServerInventory("gone", "d", (), 1)])
    assert inventory.summary.matching("old:///1", None, None) == ("old:///{x}",)
    await inventory.refresh("s")
    inventory.recall([ServerInventory("s", "d", (), 1, templates=("old:///{x}",))])
    assert inventory.summary.matching("old:///1", None, None) == ("{+any}",)


@pytest.mark.parametrize(
    ("method", "definition"),
    [
        ("prompts/list", {"name": ""}),
        ("prompts/list", {"name": "pay\u00ad"}),
        ("prompts/list", {"name": " greet"}),
        ("prompts/list", {"title": "x"}),
        ("resources/list", {"uri": "file:///x"}),
        ("resources/list", {"name": "x", "uri": "file:///{x}"}),
        ("resources/list", {"name": "x", "uri": 1}),
        ("resources/templates/list", {"name": "x", "uriTemplate": "file:///x"}),
        ("resources/templates/list", {"name": "x", "uriTemplate": "file:///{x"}),
        ("resources/templates/list", {"uriTemplate": "file:///{x}"}),
    ],
)
def test_what_has_no_legal_name_or_lacks_what_every_client_reads_is_left_out(method, definition):
    good = {"name": "x", "uri": "x:y", "uriTemplate": "x:{y}"}
    listed, dropped = usable(SECTIONS[method], [json.dumps(definition).encode(), json.dumps(good).encode()])
    assert (len(listed), dropped) == (1, 1)
