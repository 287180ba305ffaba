"""What is closed unless it was opened on purpose: bad credentials, routes, and starts that would let everybody in."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.endpoints.mcp import PATHS
from tests.support.gateway import PATIENT, Portcullis, front_door
from tests.support.routes import every_route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import World
    from tests.support.backend import FakeBackend
    from tests.support.issuer import Issuer


@pytest.fixture(scope="module")
async def lenient(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, backend: FakeBackend
) -> AsyncIterator[Portcullis]:
    """A gateway that admits whoever presents nothing, with every kind of credential switched on."""
    config = front_door(backend.url, issuer.url, opa=PATIENT, server={"trusted_proxies": ["127.0.0.1/32"]})
    config["tool_access"]["mode"] = "egress"
    config["auth"]["allow_anonymous"] = True
    async with Portcullis(tmp_path_factory.mktemp("lenient"), config) as gateway:
        yield gateway


def bad_credentials(issuer: Issuer) -> dict[str, dict[str, str]]:
    """Return every bad form of a credential, as headers."""
    good = issuer.mint()
    head, body, signature = good.split(".")
    tokens = {
        "expired": issuer.mint(exp=1),
        "of another issuer": issuer.mint(iss="https://evil.example.com"),
        "for another audience": issuer.mint(aud="other"),
        "with a tenant that is none": issuer.mint(tenant_id=["tenant:a"]),
        "unsigned": f"{head}.{body}.",
        "signed by nobody": f"{head}.{body}.{signature[::-1]}",
        "cut": good[:-10],
        "no JWT": "nonsense",
        "an unknown key as token": "mcp_" + "x" * 49,
        "a tenant's token": "mcpt_" + "x" * 43,
        "empty": "",
    }
    sent = {kind: {"Authorization": f"Bearer {token}".strip()} for kind, token in tokens.items()}
    return sent | {
        "Basic": {"Authorization": "Basic cm9vdDpyb290"},
        "an unknown key": {"X_API_Key": "mcp_" + "x" * 49},
        "a good token as key": {"X_API_Key": good},
        "an empty key": {"X_API_Key": ""},
    }


async def test_a01_a_bad_credential_is_never_taken_for_none_nor_tried_another_way(
    lenient: Portcullis, issuer: Issuer, backend: FakeBackend
) -> None:
    assert await lenient.tools() == ["payments__beta_tool", "payments__charge", "payments__refund"]
    assert await lenient.tools(issuer.mint()) == ["payments__charge"]
    before = len(backend.calls)
    for number, (kind, sent) in enumerate(bad_credentials(issuer).items()):
        for method in ("tools/list", "tools/call", "ping"):
            params = {"name": "payments__charge", "arguments": {}}
            reply = await lenient.rpc(method, params, X_Forwarded_For=f"192.0.2.{number}", **sent)
            assert (kind, reply.status) == (kind, 401)
            assert reply.headers["WWW-Authenticate"]
    assert len(backend.calls) == before


async def test_a01_a_bad_credential_is_answered_alike_whatever_is_wrong_with_it(
    lenient: Portcullis, issuer: Issuer
) -> None:
    bodies = set()
    for number, sent in enumerate(bad_credentials(issuer).values()):
        reply = await lenient.rpc("tools/list", X_Forwarded_For=f"198.51.100.{number}", **sent)
        bodies.add(json.dumps({name: value for name, value in reply.json.items() if name != "instance"}))
    details = {json.loads(body)["detail"] for body in bodies}
    assert details <= {"No valid credentials provided", "Invalid API key"}


# What each route answers to somebody without a credential; a route that is missing here fails the test below.
UNAUTHENTICATED = {
    **{(method, path): 401 for method in ("POST", "GET", "DELETE") for path in PATHS},
    ("POST", "/api/admin/tools/{server}/{tool}/withdraw"): 401,
    ("POST", "/api/admin/tools/{server}/{tool}/restore"): 401,
    ("GET", "/api/admin/withdrawals"): 401,
    ("POST", "/api/auth/keys"): 401,
    ("GET", "/api/auth/keys"): 401,
    ("DELETE", "/api/auth/keys/{id}"): 401,
    ("POST", "/api/auth/keys/{id}/rotate"): 401,
    ("POST", "/api/v1/mcp-tokens"): 401,
    ("GET", "/api/v1/mcp-tokens"): 401,
    ("DELETE", "/api/v1/mcp-tokens/{id}"): 401,
    ("GET", "/api/auth/roles"): 401,
    ("POST", "/api/auth/roles/assign"): 401,
    ("POST", "/api/auth/roles/revoke"): 401,
    ("GET", "/api/auth/whoami"): 401,
    ("POST", "/api/auth/check"): 401,
    ("GET", "/api/audit"): 401,
    ("POST", "/api/audit/verify"): 401,
    ("GET", "/api/v1/openapi.json"): 200,
    ("POST", "/api/config/reload"): 401,
    ("GET", "/tenant/{tenant}/servers"): 401,
    ("GET", "/tenant/{tenant}/metrics"): 401,
    ("GET", "/metrics"): 401,
    ("GET", "/health/live"): 200,
    ("GET", "/health/ready"): 200,
    ("GET", "/.well-known/oauth-protected-resource"): 200,
    ("GET", "/.well-known/oauth-protected-resource/mcp"): 200,
    ("GET", "/.well-known/oauth-protected-resource/tenant/{tenant}/mcp"): 200,
    ("GET", "/.well-known/oauth-protected-resource/tenant/{tenant}/servers/{server}/mcp"): 200,
    ("GET", "/.well-known/oauth-protected-resource/tenant/{tenant}/servers"): 200,
    ("GET", "/.well-known/oauth-protected-resource/tenant/{tenant}/metrics"): 200,
}


async def test_a09_every_route_is_in_the_table_and_closed_unless_the_table_opens_it(guarded: World) -> None:
    assert every_route() == UNAUTHENTICATED.keys()
    for (method, path), expected in UNAUTHENTICATED.items():
        filled = path.format(tenant="tenant:a", server="payments", tool="charge", id="c_1")
        reply = await guarded.gateway.http(method, filled, X_Forwarded_For="192.0.2.9")
        assert (path, reply.status) == (path, expected)
        for secret in (b"charge", b"tenant:b", b"legacy_charge"):
            assert secret not in reply.body


@pytest.mark.parametrize("path", ["/", "/docs", "/api", "/api/admin", "/debug", "/v1/data", "/bundles/live", "/.env"])
async def test_a09_a_path_without_a_route_is_not_found(guarded: World, path: str) -> None:
    assert (await guarded.gateway.http("GET", path, X_API_Key=guarded.admin_key)).status == 404


def open_by_mistake(issuer: Issuer) -> dict[str, tuple[dict[str, Any], str, tuple[str, ...]]]:
    """Return configurations that must not start, what is said of each, and the options it is started with."""

    def good() -> dict[str, Any]:
        return front_door("http://127.0.0.1:9/mcp", issuer.url)

    typo, off, anonymous, member, exposed = (good() for _ in range(5))
    typo["auth"]["enabledd"] = typo["auth"].pop("enabled")
    off["auth"]["enabled"] = False
    anonymous["auth"]["allow_anonymous"] = True
    member["tool_access"]["member"] = {"tenant:a": {}}
    exposed = {"mcp_servers": {"payments": {"mode": "remote", "endpoint": "http://127.0.0.1:9/mcp"}}}
    return {
        "typo": (typo, "enabledd", ()),
        "off": (off, "auth.enabled", ()),
        "anonymous": (anonymous, "allow_anonymous", ()),
        "member": (member, "mcp_servers", ()),
        "exposed": (exposed, "--insecure", ("--host", "0.0.0.0")),
    }


async def test_a30_a_configuration_that_would_let_everybody_in_starts_nothing(tmp_path: Path, issuer: Issuer) -> None:
    async def started(name: str, config: dict[str, Any], said: str, options: tuple[str, ...]) -> None:
        file, state = tmp_path / f"{name}.yaml", tmp_path / name
        file.write_text(yaml.safe_dump(config))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "up", "--config", file, "--state-dir", state, "--port", "0", *options,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert (name, process.returncode, out) == (name, 1, b"")
        assert said in err.decode()
        assert not (state / "opa").exists()

    cases = open_by_mistake(issuer)
    await asyncio.gather(*(started(name, *case) for name, case in cases.items()))


async def test_a_taken_port_is_said_in_a_sentence(guarded: World, tmp_path: Path) -> None:
    port = guarded.gateway.url.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "up", "--config", guarded.gateway.config_path, "--state-dir", tmp_path,
        "--port", port, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert f"server.port: cannot listen on 127.0.0.1:{port}" in err.decode()
    assert "Traceback" not in err.decode()


@pytest.mark.parametrize(("file", "why"), [("gone/audit.jsonl", "No such file or directory"), (".", "Is a directory")])
async def test_an_audit_file_that_cannot_be_written_starts_nothing(tmp_path: Path, file: str, why: str) -> None:
    path, state = tmp_path / "config.yaml", tmp_path / "state"
    path.write_text(f"audit: {{file: {file}}}\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "up", "--config", path, "--state-dir", state, "--port", "0",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out) == (1, b"")
    assert f"audit.file: {tmp_path / file} cannot be written: {why}" in err.decode()
    assert not (state / "opa").exists()
