"""What a tenant is offered by its catalog: shared servers, narrowed twice, its own servers, and what then collides."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from bundles.expand import Collision, Expander, Expansion
from bundles.reach import reach
from gateway.config.tenants import Catalog
from gateway.facts import ServerInventory
from gateway.ids import Ref
from tests.support.configs import egress, front_door, lists, members, server

if TYPE_CHECKING:
    from gateway.config import Config

_CATALOG = TypeAdapter(Catalog)
BACKEND = {"mode": "remote", "endpoint": "http://localhost:1/mcp"}


def with_catalog(config: Config, tenant: str, **catalog: Any) -> Config:
    found = _CATALOG.validate_python(catalog)
    tenants = tuple(replace(one, catalog=found) if one.id == tenant else one for one in config.tenants)
    return config.model_copy(update={"tenants": tenants})


def shared(**servers: Any) -> Config:
    return front_door(servers, tenants=[{"id": "a"}, {"id": "b"}])


def expand(config: Config, *inventory: ServerInventory) -> Expansion:
    return Expander().expand(config, "hash", inventory)


def listing(key: str, *tools: str, **others: tuple[str, ...]) -> ServerInventory:
    return ServerInventory(key, "d", tools, 1, **others)


def test_a_catalog_offers_a_shared_server_and_narrows_what_config_yaml_offers():
    config = shared(s=server(tool_access=members(a=lists(allow=["x", "y"]))), t=server())
    config = with_catalog(config, "a", servers={"s": {"tools": {"deny_list": ["y"]}}, "t": {}})
    data = expand(config, listing("s", "x", "y", "z"), listing("t", "u")).data
    share = data["tenants"]["a"]["tool"]
    assert data["offers"][share["offer"]] == {"s": "listed", "t": "all"}
    assert set(data["sets"][share["allow"]]) == {"s/x", "s/y"}
    assert set(data["sets"][share["deny"]]) == {"s/y"}
    assert "tool" not in data["tenants"]["b"]


def test_what_reaches_a_tenant_passes_every_list_on_the_way_and_of_a_server_that_is_anothers_nothing_does():
    narrowed = server(tools=lists(deny=["*_internal"]), tool_access=members(a=lists(allow=["x", "y_*"])))
    config = with_catalog(shared(s=narrowed), "a", servers={"s": {"tools": {"deny_list": ["x"]}}})
    config = with_catalog(config, "b", mcp_servers={"own": BACKEND | {"tools": {"allow_list": ["z"]}}})
    asked = [("a", "s/x"), ("a", "s/y_1"), ("a", "s/y_internal"), ("a", "s/z"), ("a", "b:own/z"), ("a", "t/x")]
    asked += [("b", "s/y_1"), ("b", "b:own/z"), ("b", "b:own/y"), ("c", "s/y_1")]
    reaches = reach(config)
    assert [one for one in asked if reaches(one[0], Ref.parse(one[1]))] == [("a", "s/y_1"), ("b", "b:own/z")]
    everybody = reach(egress({"s": server(tools=lists(deny=["x"]))}))
    assert [name for name in ("x", "y") if everybody("anybody", Ref.of_tool("s", name))] == ["y"]


def test_what_a_tenant_brings_along_is_under_a_key_of_its_own_and_offered_to_nobody_else():
    config = with_catalog(shared(s=server(tool_access=members(everybody=lists()))), "a", mcp_servers={"s": BACKEND})
    data = expand(config, listing("s", "x"), listing("a:s", "y")).data
    assert data["servers"] == {"s": {}, "a:s": {"owner": "a"}}
    assert data["server_ids"]["a:s"] == {"tool": {"a:s/y": True}}
    assert data["offers"][data["tenants"]["a"]["tool"]["offer"]] == {"s": "all", "a:s": "all"}
    assert data["offers"][data["tenants"]["b"]["tool"]["offer"]] == {"s": "all"}
    assert data["tenants"]["a"]["own"] == {"tool": {"y": {"server": "a:s", "id": "a:s/y"}}}
    assert data["flat"]["tool"] == {"x": {"server": "s", "id": "s/x"}}


def test_a_name_of_ones_own_server_that_a_shared_one_has_is_lost_to_both_and_to_nobody_else():
    config = with_catalog(shared(s=server(tool_access=members(everybody=lists()))), "a", mcp_servers={"w": BACKEND})
    expansion = expand(config, listing("s", "x"), listing("a:w", "x"))
    assert expansion.collisions == (Collision("x", ("a:w/x", "s/x"), 1),)
    tenants, sets = expansion.data["tenants"], expansion.data["sets"]
    assert set(sets[tenants["a"]["tool"]["drop"]]) == {"s/x", "a:w/x"}
    assert sets[tenants["b"]["tool"]["drop"]] == {}
    assert tenants["a"]["own"]["tool"]["x"] == {"rivals": {"s": "s/x", "a:w": "a:w/x"}}


def test_a_resource_that_a_template_of_another_server_could_read_is_nobodys():
    everybody = members(everybody=lists())
    config = shared(s=server(tool_access=everybody), t=server(tool_access=everybody))
    s = listing("s", resources=("file:///a",))
    expansion = expand(config, s, listing("t", templates=("file:///{name}",)))
    share = expansion.data["tenants"]["a"]["resource"]
    assert set(expansion.data["sets"][share["drop"]]) == {"s#resources/file:///a"}
    assert [collision.name for collision in expansion.collisions] == ["file:///a"]
    own = replace(s, templates=("file:///{name}",))
    assert expand(shared(s=server(tool_access=everybody)), own).collisions == ()


def test_what_a_list_denies_by_its_uri_is_a_pattern_where_a_template_could_read_it():
    config = shared(s=server(tool_access=members(a={**lists(), "access": {"resource": lists(deny=["file:///x*"])}})))
    data = expand(config, listing("s", templates=("file:///{name}",))).data
    pattern = data["patterns"][data["tenants"]["a"]["resource"]["deny_patterns"]]
    assert re.match(pattern, "s#resources/file:///xy")
    assert not re.match(pattern, "s#resources/file:///y")
    assert not re.match(pattern, "t#resources/file:///xy")
    assert expand(config, listing("s", resources=("file:///x",))).data["patterns"] == {}


def test_what_a_server_list_takes_away_by_its_uri_is_withheld_from_its_templates():
    config = shared(s=server(access={"resource": lists(deny=["file:///x"])}, tool_access=members(everybody=lists())))
    data = expand(config, listing("s", resources=("file:///x", "file:///y"), templates=("file:///{name}",))).data
    assert data["servers"]["s"]["withheld"] == {"s#resources/file:///x": True}
    assert data["server_ids"]["s"] == {
        "resource": {"s#resources/file:///y": True},
        "template": {"s#resources/file:///{name}": True},
    }


def test_a_change_of_one_catalog_leaves_what_others_are_offered_as_it_was():
    config = with_catalog(shared(s=server()), "b", servers={"s": {}})
    expander, inventory = Expander(), [listing("s", "x", "y")]
    before = expander.expand(config, "1", inventory).data
    changed = with_catalog(config, "a", servers={"s": {"tools": {"deny_list": ["x"]}}})
    after = expander.expand(changed, "2", inventory).data
    assert after["tenants"]["b"] == before["tenants"]["b"]
    assert set(after["sets"][after["tenants"]["a"]["tool"]["deny"]]) == {"s/x"}
    assert after == expand(changed, *inventory).data | {"config": "2"}
