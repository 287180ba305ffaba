"""Config and inventory become the data that policy reads: who is offered what, and which lists narrow it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles.bundle import canonical
from bundles.expand import Collision, Expander, Expansion
from gateway.facts import ServerInventory
from gateway.ids import Mode
from tests.support.configs import egress, front_door, lists, members, server

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config import Config

PAYMENTS = ("beta_tool", "charge", "legacy_charge", "refund")


def expand(config: Config, **inventory: tuple[str, ...]) -> Expansion:
    known = tuple(ServerInventory(name, "d", tools, 1) for name, tools in inventory.items())
    return Expander().expand(config, "hash", known)


def ids(data: Mapping[str, Any], tenant: str, kind: str = "tool") -> set[str]:
    """Read the document as policy does: ((offer ∩ allow) − deny)."""  # noqa: RUF002
    entry = data["tenants"][tenant].get(kind)
    if entry is None:
        return set()
    return (kept(data, entry, kind) | kept(data, entry, "template" if kind == "resource" else kind)) - set(
        data["sets"][entry["deny"]]
    )


def kept(data: Mapping[str, Any], entry: Mapping[str, str], section: str) -> set[str]:
    """Return what an offer leaves of a section of every server: all of it, or what the allow list says."""
    found = set()
    for key, how in data["offers"][entry["offer"]].items():
        offered = set(data["server_ids"][key].get(section, ()))
        found |= offered if how == "all" else offered & set(data["sets"][entry["allow"]])
    return found


# The member policy once more, as one would write it in an afternoon.


def hit(patterns: list[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def passes(entry: dict[str, list[str]], name: str) -> bool:
    return (not entry["allow_list"] or hit(entry["allow_list"], name)) and not hit(entry["deny_list"], name)


def naive(servers: dict[str, Any], inventory: dict[str, list[str]], tenant: str, mode: Mode) -> set[str]:
    """server allow ∩ member allow - server deny - member deny; in egress nobody needs to be a member."""
    found = set()
    for name, section in servers.items():
        entries = section["tool_access"]["member"]
        entry = entries.get(tenant, entries.get("*", lists() if mode is Mode.EGRESS else None))
        if entry is not None:
            tools = inventory.get(name, [])
            found |= {f"{name}/{tool}" for tool in tools if passes(section["tools"], tool) and passes(entry, tool)}
    return found


TOOLS = st.sampled_from(["get", "get_a", "get_b", "set_a", "del", "a.b", "Get"])
PATTERNS = st.lists(
    st.one_of(TOOLS, st.sampled_from(["*", "get*", "*_a", "[gs]et_?", "[!g]*", "a?b", "none"])), max_size=3
)
LISTS = st.builds(lists, PATTERNS, PATTERNS)
TENANTS = ("tenant:a", "tenant:b", "tenant:c")
MEMBERS = st.dictionaries(st.sampled_from([*TENANTS, "*"]), LISTS, max_size=4)
SERVERS = st.dictionaries(
    st.sampled_from(["one", "two", "three"]),
    st.builds(lambda own, member: server(tools=own, tool_access={"member": member}), LISTS, MEMBERS),
    max_size=3,
)
INVENTORY = st.dictionaries(st.sampled_from(["one", "two", "three", "stray"]), st.lists(TOOLS, unique=True))


@given(servers=SERVERS, inventory=INVENTORY, mode=st.sampled_from([front_door, egress]))
def test_every_tenant_is_admitted_to_exactly_what_the_member_policy_says(
    servers: dict[str, Any], inventory: dict[str, list[str]], mode: Any
) -> None:
    config = mode(servers, tenants=[{"id": "tenant:c"}])
    data = expand(config, **{name: tuple(tools) for name, tools in inventory.items()}).data
    named = {tenant for section in servers.values() for tenant in section["tool_access"]["member"]}
    assert set(data["tenants"]) == (named - {"*"}) | {"tenant:c"}
    for tenant in data["tenants"]:
        assert ids(data, tenant) == naive(servers, inventory, tenant, config.tool_access.mode)


@given(servers=SERVERS, inventory=INVENTORY)
def test_the_same_facts_make_the_same_bytes_whatever_was_expanded_before(
    servers: dict[str, Any], inventory: dict[str, list[str]]
) -> None:
    known = tuple(ServerInventory(name, "d", tuple(tools), 1) for name, tools in inventory.items())
    used = Expander()
    used.expand(egress(servers), "other", ())
    used.expand(front_door({"one": server()}), "other", known[:1])
    again = used.expand(front_door(servers), "hash", known).data
    assert canonical(again) == canonical(Expander().expand(front_door(servers), "hash", tuple(reversed(known))).data)


def test_the_recipe() -> None:
    access = members(**{"tenant:a": lists(deny=["refund"]), "tenant:b": lists(allow=["charge", "refund"])})
    projection = {"withdrawn": ["legacy_charge"], "tenant_overrides": {"tenant:a": {"withdrawn": ["beta_tool"]}}}
    config = front_door({"payments": server(tool_access=access, tool_projection=projection)})
    data = expand(config, payments=PAYMENTS).data
    assert ids(data, "tenant:a") == {"payments/beta_tool", "payments/charge", "payments/legacy_charge"}
    assert ids(data, "tenant:b") == {"payments/charge", "payments/refund"}
    assert data["withdrawn"] == {
        "global": {"payments/legacy_charge": {"origin": "config"}},
        "tenant": {"tenant:a": {"payments/beta_tool": {"origin": "config"}}},
    }
    assert data["flat"]["tool"]["charge"] == {"server": "payments", "id": "payments/charge"}
    assert data["everyone"] == {}


def test_an_entry_of_its_own_takes_a_tenant_out_of_the_entry_for_everybody() -> None:
    access = members(everybody=lists(deny=["refund"]), **{"tenant:a": lists(allow=["refund"])})
    config = front_door({"payments": server(tool_access=access)}, tenants=[{"id": "tenant:b"}])
    data = expand(config, payments=PAYMENTS).data
    assert ids(data, "tenant:a") == {"payments/refund"}
    assert ids(data, "tenant:b") == {"payments/beta_tool", "payments/charge", "payments/legacy_charge"}


def test_a_list_of_one_server_does_not_narrow_another() -> None:
    servers = {
        "one": server(tool_access=members(a=lists(allow=["x"]))),
        "two": server(tool_access=members(a=lists(deny=["y"]))),
    }
    assert ids(expand(front_door(servers), one=("x", "y"), two=("x", "y")).data, "a") == {"one/x", "two/x"}


def test_a_suspended_tenant_is_known_and_not_active() -> None:
    config = front_door({"s": server(tool_access=members(everybody=lists()))}, tenants=[{"id": "a", "active": False}])
    assert expand(config, s=("x",)).data["tenants"]["a"]["active"] is False


def test_a_server_that_was_never_listed_offers_nothing_and_is_known() -> None:
    data = expand(front_door({"s": server(tool_access=members(a=lists()))})).data
    assert data["servers"] == {"s": {}}
    assert data["server_ids"] == {"s": {}}
    assert ids(data, "a") == set()


def test_a_config_withdrawal_of_a_tool_not_listed_yet_is_kept() -> None:
    config = egress({"s": server(tool_projection={"withdrawn": ["later"]})}, tool_projection={"withdrawn": ["s/now"]})
    assert set(expand(config, s=("now",)).data["withdrawn"]["global"]) == {"s/later", "s/now"}


def test_in_egress_everybody_is_offered_all_servers_under_prefixed_names() -> None:
    data = expand(egress({"a": server(tools=lists(deny=["y"])), "b": server()}), a=("x", "y"), b=("x",)).data
    assert data["offers"][data["everyone"]["tool"]["offer"]] == {"a": "all", "b": "all"}
    assert {server: set(ids["tool"]) for server, ids in data["server_ids"].items()} == {"a": {"a/x"}, "b": {"b/x"}}
    assert set(data["flat"]["tool"]) == {"a__x", "b__x"}


@pytest.mark.parametrize("deny", [False, True])
def test_a_name_that_two_offered_servers_have_is_reported_unless_a_server_list_remedies_it(deny: bool) -> None:
    everybody = members(everybody=lists())
    servers = {"a": server(tool_access=everybody), "b": server(tool_access=everybody)}
    if deny:
        servers["b"]["tools"] = lists(deny=["x"])
    expansion = expand(front_door(servers, tenants=[{"id": "t1"}, {"id": "t2"}]), a=("x",), b=("x", "y"))
    assert expansion.collisions == (() if deny else (Collision("x", ("a/x", "b/x"), 2),))
    alone, rivals = {"server": "a", "id": "a/x"}, {"rivals": {"a": "a/x", "b": "b/x"}}
    assert expansion.data["flat"]["tool"]["x"] == (alone if deny else rivals)
    assert expansion.data["contested"] == ({} if deny else {"a/x": "x", "b/x": "x"})


def test_the_same_name_at_servers_of_different_tenants_collides_for_nobody() -> None:
    servers = {"a": server(tool_access=members(t1=lists())), "b": server(tool_access=members(t2=lists()))}
    assert expand(front_door(servers), a=("x",), b=("x",)).collisions == ()


def test_in_egress_a_prefix_that_runs_into_a_name_collides() -> None:
    expansion = expand(egress({"a": server(), "a__b": server()}), a=("b__c",), a__b=("c",))
    assert expansion.collisions == (Collision("a__b__c", ("a/b__c", "a__b/c"), 0),)


@pytest.mark.parametrize("name", ["with space", "x" * 129, "", "tool\n", "naïve", "a:b"])
def test_a_name_that_no_agent_can_be_shown_is_left_out_and_reported(name: str) -> None:
    expansion = expand(egress({"s": server()}), s=("fine", name))
    assert expansion.data["server_ids"] == {"s": {"tool": {"s/fine": True}}}
    assert expansion.unprojected == (f"s/{name}",)


def test_a_name_that_is_too_long_with_its_prefix_is_left_out_in_egress_only() -> None:
    name = "x" * 126
    assert expand(egress({"s": server()}), s=(name,)).unprojected == (f"s/{name}",)
    assert expand(front_door({"s": server()}), s=(name,)).unprojected == ()


def test_settings_and_roles_are_data() -> None:
    assigned = [{"principal": "user:root", "role": "admin", "scope": "global", "issuer": "https://idp.example.com"}]
    opa = {"on_stale": "deny", "max_staleness_seconds": 60}
    data = expand(egress({}, auth={"role_assignments": assigned, "default_role": "none"}, opa=opa)).data
    assert data["mode"] == Mode.EGRESS.value
    assert data["settings"] == {
        "on_stale": "deny",
        "max_staleness_seconds": 60,
        "default_role": None,
        "anonymous": True,
        "act_as_on_mcp": False,
        "several_issuers": False,
    }
    assert data["rbac"]["bindings"] == {"user:root": {"global": {"admin": {"https://idp.example.com": True}}}}
    assert data["rbac"]["roles"]["viewer"] == dict.fromkeys(
        ["mcp_servers:list", "mcp_servers:read", "metrics:read", "tool:list"], True
    )


def test_ten_thousand_tenants_with_lists_of_their_own_take_less_than_500_bytes_each_beside_the_catalog() -> None:
    tools = tuple(f"tool_{number:03}" for number in range(200))
    entries = {
        f"tenant:{number:05}": lists(deny=[tools[number % 200], tools[number * 7 % 199], f"tool_{number % 20:02}?"])
        for number in range(10_000)
    }
    small = front_door({"payments": server(tool_access={"member": {}})})
    large = front_door({"payments": server(tool_access={"member": entries})})
    catalog = len(canonical(expand(small, payments=tools).data))
    data = expand(large, payments=tools).data
    assert len(data["tenants"]) == 10_000
    assert (len(canonical(data)) - catalog) / 10_000 <= 500
