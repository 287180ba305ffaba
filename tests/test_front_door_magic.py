"""Nothing but a credential lets anybody in: no header, no program's name, no secret that comes with it (A19)."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import World

GATEWAY = Path(__file__).parent.parent / "gateway"
# What the gateway reads of a request's head besides credentials; whoever adds one says here why it lets nobody in.
READ = {
    "Accept": "the form of the answer",
    "Authorization": "the credential",
    "Content-Encoding": "refused",
    "Content-Type": "the form of the body, which is JSON or refused",
    "Expect": "whether a client waits to be told to send its body",
    "Host": "may only refuse",
    "Origin": "may only refuse",
    "X-Forwarded-For": "the address, from trusted proxies",
    "X-Tenant-ID": "may only refuse, or select for whom policy permits it",
    "MCP-Protocol-Version": "the protocol",
    "Mcp-Method": "must agree with the body",
    "Mcp-Name": "must agree with the body",
}
MAGIC = [
    {"User_Agent": "kube-probe/1.29"},
    {"User_Agent": "GoogleHC/1.0"},
    {"X_Forwarded_User": "root"},
    {"X_Remote_User": "root"},
    {"X_Auth_Request_User": "root"},
    {"X_Forwarded_Email": "root@example.com"},
    {"X_Internal": "true"},
    {"X_Debug": "1"},
    {"X_Skip_Auth": "true"},
    {"X_Original_URL": "/health/live"},
    {"X_Rewrite_URL": "/health/live"},
    {"X_Forwarded_Uri": "/health/live"},
    {"X_Client_Cert": "root"},
    {"X_HTTP_Method_Override": "GET"},
    {"Cookie": "session=admin"},
    {"Upgrade": "h2c", "Connection": "Upgrade"},
]
DEFAULTS = (
    "admin",
    "root",
    "changeme",
    "password",
    "secret",
    "test",
    "token",
    "default",
    "null",
    "undefined",
    "0",
    "mcp_",
)
PATHS = [("POST", "/mcp"), ("POST", "/api/admin/tools/payments/refund/withdraw"), ("GET", "/metrics")]
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_a19_no_header_and_no_name_of_a_program_stands_for_a_credential(
    guarded: World, method: str, path: str
) -> None:
    for headers in MAGIC:
        reply = await guarded.gateway.http(method, path, LIST if method == "POST" else None, **headers)
        assert (headers, reply.status) == (headers, 401)


async def test_a19_no_secret_comes_with_the_product(guarded: World) -> None:
    customers = itertools.count()
    for secret in DEFAULTS:
        for sent in ({"X_API_Key": secret}, {"Authorization": f"Bearer {secret}"}):
            address = f"2001:db8:19:{next(customers):x}::1"
            reply = await guarded.gateway.rpc("tools/list", X_Forwarded_For=address, **sent)
            assert (secret, reply.status) == (secret, 401)


async def test_a19_health_is_a_word_and_nothing_that_an_attacker_could_use(guarded: World) -> None:
    live = await guarded.gateway.http("GET", "/health/live")
    assert live.json == {"status": "live"}
    ready = await guarded.gateway.http("GET", "/health/ready")
    assert ready.json == {"status": "ready", "waiting_for": [], "drift": False}


def read_headers() -> Iterator[str]:
    """Yield the name of every header that the code which serves requests reads."""
    for path in [*GATEWAY.glob("endpoints/*.py"), *GATEWAY.glob("authn/*.py"), *GATEWAY.glob("mcp/*.py")]:
        tree = ast.parse(path.read_text())
        named = {
            target.id: node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            for argument in looked_up(node):
                value = argument.value if isinstance(argument, ast.Constant) else named.get(ast.unparse(argument))
                if isinstance(value, str):
                    yield value


def looked_up(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what is looked up in a request's headers: by a method, by `in`, by index."""
    match node:
        case ast.Call(func=ast.Attribute(value=of, attr="get" | "getall" | "getone"), args=[argument, *_]):
            pass
        case ast.Compare(left=argument, ops=[ast.In() | ast.NotIn()], comparators=[of]):
            pass
        case ast.Subscript(value=of, slice=argument, ctx=ast.Load()):
            pass
        case _:
            return
    if ast.unparse(of) in ("request.headers", "headers"):
        yield argument


def test_a19_only_the_headers_that_are_listed_here_are_read() -> None:
    found = set(read_headers())
    assert {"Authorization", "Expect", "X-Forwarded-For", "X-Tenant-ID"} <= found
    assert found <= READ.keys()
