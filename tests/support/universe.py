"""Random worlds for policy: configurations with tenants, catalogs and servers of their own, and facts of a ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from pydantic import TypeAdapter

from bundles.expand import Expander
from gateway.config import Config
from gateway.config.tenants import Catalog
from gateway.ids import Kind, Mode, Ref, flat_name
from tests.support.worlds import CONFIG_HASH, EPOCH, NOW, inventory_of

SHARED = ("s", "s__t", "u")
OWN = ("s", "w")
TOOLS = ("a", "b", "t__a")
PROMPTS = ("a", "p")
URIS = ("r:1", "r:2")
TENANTS = ("x", "y", "asleep")
ROLES = ("admin", "auditor", "developer", "viewer")
SERVERS = (*SHARED, *(f"{tenant}:{server}" for tenant in ("x", "y") for server in OWN))
IDS = (
    *(str(Ref.of_tool(server, tool)) for server in SERVERS for tool in TOOLS),
    *(str(Ref(server, Kind.PROMPT, prompt)) for server in SERVERS for prompt in PROMPTS),
    *(str(Ref(server, Kind.RESOURCE, uri)) for server in SERVERS for uri in URIS),
)
OFFERED = {"tools": list(TOOLS), "prompts": list(PROMPTS), "resources": list(URIS)}
LISTS = {Kind.TOOL: "tools/list", Kind.PROMPT: "prompts/list", Kind.RESOURCE: "resources/list"}
CALLS = {Kind.TOOL: "tools/call", Kind.PROMPT: "prompts/get", Kind.RESOURCE: "resources/read"}
NAMES = {Kind.TOOL: TOOLS, Kind.PROMPT: PROMPTS, Kind.RESOURCE: URIS}
_CATALOG = TypeAdapter(Catalog)


def _lists(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    some = st.lists(st.sampled_from((*names, "*")), unique=True, max_size=2)
    return st.fixed_dictionaries({}, optional={"allow_list": some, "deny_list": some})


tools, prompts, resources = _lists(TOOLS), _lists(PROMPTS), _lists(URIS)
access = st.fixed_dictionaries({}, optional={"prompt": prompts, "resource": resources})
entries = st.builds(lambda lists, others: {**lists, "access": others}, tools, access)
servers = st.fixed_dictionaries(
    {
        "member": st.dictionaries(st.sampled_from(("*", *TENANTS)), entries, max_size=3),
        "tools": tools,
        "access": access,
        "withdrawn": st.lists(st.sampled_from(TOOLS), unique=True, max_size=1),
    }
)
offers = st.fixed_dictionaries({"tools": tools, "access": access})
own = st.fixed_dictionaries({"tools": tools, "access": access})
catalogs = st.fixed_dictionaries(
    {
        "servers": st.dictionaries(st.sampled_from(SHARED), offers, max_size=2),
        "own": st.dictionaries(st.sampled_from(OWN), own, max_size=2),
    }
)
overlay = st.dictionaries(st.sampled_from(IDS), st.just({"by": "user:root", "at": 1}), max_size=3)
held = st.dictionaries(st.sampled_from(ROLES), st.just({"": True}), max_size=2)
bindings = st.dictionaries(
    st.just("user:jo"),
    st.dictionaries(st.sampled_from(("global", "tenant:x", "tenant:y")), held, max_size=2),
    max_size=1,
)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Return a configuration; what a tenant calls its own server may be what a shared one is called."""
    mode = draw(st.sampled_from(("front_door", "egress")))
    drawn = draw(st.dictionaries(st.sampled_from(SHARED), servers, min_size=1))
    config = Config.model_validate(
        {
            "tool_access": {"mode": mode},
            "auth": {
                "enabled": True,
                "allow_anonymous": mode == "egress" and draw(st.booleans()),
                "default_role": draw(st.sampled_from(("developer", "viewer", "none"))),
                "oidc": {
                    "enabled": True,
                    "issuer": "https://auth.example.com",
                    "audience": "a",
                    "resource_uri": "https://a.example.com",
                },
            },
            "tenants": [{"id": "x"}, {"id": "y"}, {"id": "asleep", "active": False}],
            "mcp_servers": {id_: _server(each) for id_, each in drawn.items()},
        }
    )
    found = {tenant: draw(catalogs) for tenant in draw(st.sets(st.sampled_from(("x", "y"))))}
    with_catalogs = [
        replace(tenant, catalog=_catalog(found[tenant.id], drawn)) if tenant.id in found else tenant
        for tenant in config.tenants
    ]
    return config.model_copy(update={"tenants": tuple(with_catalogs)})


def _server(drawn: dict[str, Any]) -> dict[str, Any]:
    return {
        **_backend(drawn),
        "tool_access": {"member": drawn["member"]},
        "tool_projection": {"withdrawn": drawn["withdrawn"]},
    }


def _backend(drawn: dict[str, Any]) -> dict[str, Any]:
    return {
        "mode": "remote",
        "endpoint": "http://localhost:1/mcp",
        "tools": drawn["tools"],
        "access": drawn["access"],
    }


def _catalog(drawn: dict[str, Any], shared: dict[str, Any]) -> Catalog:
    return _CATALOG.validate_python(
        {
            "servers": {id_: offer for id_, offer in drawn["servers"].items() if id_ in shared},
            "mcp_servers": {id_: _backend(each) for id_, each in drawn["own"].items()},
        }
    )


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Return what sync would make of a random config, and random facts of a ledger."""
    inventory = [inventory_of(server, OFFERED) for server in SERVERS]
    return {
        "portcullis_data": dict(Expander().expand(draw(configs()), CONFIG_HASH, inventory).data),
        "portcullis_live": {
            "epoch": EPOCH,
            "revision": 42,
            "generated_at": NOW,
            "withdrawn": {
                "global": draw(overlay),
                "tenant": draw(st.dictionaries(st.sampled_from(TENANTS), overlay, max_size=2)),
            },
            "revoked": draw(st.sampled_from(({}, {"j_1": True}))) if draw(st.integers(0, 9)) == 0 else {},
            "bindings": draw(bindings),
            "groups": draw(st.dictionaries(st.just("g"), st.dictionaries(st.just("global"), held), max_size=1)),
            "scopes": {"5c09e": dict.fromkeys(draw(st.lists(st.sampled_from(IDS))), True)},
        },
    }


@st.composite
def principals(draw: st.DrawFn) -> dict[str, Any]:
    """Return somebody: a person, a key, a token or nobody in particular."""
    tenant = draw(st.sampled_from((None, "x", "y", "asleep", "unknown")))
    kind = draw(st.sampled_from(("jwt", "jwt", "api_key", "tenant_key", "tenant_token", "anonymous")))
    if kind == "anonymous":
        return {"subject": "anonymous", "kind": kind, "issuer": None, "tenant": None, "credential": None}
    if tenant is None and kind in ("tenant_key", "tenant_token"):
        tenant = "x"
    person = kind == "jwt"
    scopes = (None, "5c09e") if kind == "tenant_token" else (None,)
    return {
        "subject": "user:jo",
        "kind": kind,
        "issuer": "https://auth.example.com" if person else None,
        "tenant": tenant,
        "groups": draw(st.sampled_from(((), ("g",)))) if person else (),
        "credential": {
            "id": "j_1",
            "role": draw(st.sampled_from((None, *ROLES))) if kind in ("api_key", "tenant_token") else None,
            "scope": draw(st.sampled_from(scopes)),
            "expires_at": None,
        },
    }


def names_of(kind: Kind, mode: str, view: str) -> list[str]:
    """Return every name by which anything of a kind might be asked for."""
    if view == "server" or mode == "front_door" or kind is Kind.RESOURCE:
        return list(NAMES[kind])
    return sorted({flat_name(Ref(server, kind, name), Mode.EGRESS) for server in SERVERS for name in NAMES[kind]})
