"""The contract: every route is in it, what is served is what it says, and strangers' requests find nothing else."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from gateway.endpoints.contract import BASE, Contract, absolute
from tests.support.gateway import PATIENT, Portcullis, front_door
from tests.support.office import KEYS, ROLES, TOKENS, holder, person, root
from tests.support.routes import every_route

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.conftest import World
    from tests.support.backend import FakeBackend
    from tests.support.gateway import Reply
    from tests.support.issuer import Issuer

ROOT = Path(__file__).parent.parent
CONTRACT: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
ABSOLUTE = absolute(CONTRACT)
REGISTRY = Registry().with_resource(BASE, Resource.from_contents(ABSOLUTE, default_specification=DRAFT202012))


def test_every_route_is_described_and_nothing_else_is():
    assert Contract.read().operations == every_route()


def described() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every operation with its name."""
    for path, methods in CONTRACT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_operation_has_a_name_of_its_own_and_says_what_it_is_for():
    names = [operation["operationId"] for _, operation in described()]
    assert len(set(names)) == len(names)
    assert not [name for name, operation in described() if not (operation["summary"] and operation["tags"])]


def test_every_operation_that_takes_a_credential_says_how_it_is_refused():
    open_ = {name for name, operation in described() if operation.get("security") == []}
    told = {name: set(operation["responses"]) for name, operation in described()}
    assert not [
        name for name, statuses in told.items() if name not in open_ and not {"401", "403", "429", "503"} <= statuses
    ]


def test_every_reference_leads_somewhere_and_every_schema_is_one():
    text = (ROOT / "docs" / "openapi.yaml").read_text()
    for reference in set(re.findall(r'\$ref: "(#[^"]+)"', text)):
        assert resolved({"$ref": BASE + reference})
    for schema in CONTRACT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for kind in ("schemas", "responses", "parameters", "headers", "requestBodies"):
        assert not [name for name in CONTRACT["components"][kind] if f'/{kind}/{name}"' not in text]


def resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference."""
    return REGISTRY.resolver(BASE).lookup(part["$ref"]).contents if "$ref" in part else part


def hold(reply: Reply, method: str, path: str) -> None:
    """Hold an answer to the contract: its status, its media type, its body and the headers that are promised."""
    responses = ABSOLUTE["paths"][path][method.lower()]["responses"]
    assert str(reply.status) in responses, (path, reply.status, reply.body)
    response = resolved(responses[str(reply.status)])
    media = reply.headers["Content-Type"].partition(";")[0]
    schema = response["content"][media]["schema"]
    errors = list(Draft202012Validator(schema, registry=REGISTRY).iter_errors(reply.json))
    assert not errors, (path, errors[0].message)
    if "Portcullis-Revision" in response.get("headers", {}):
        assert re.fullmatch(r"r\d+", reply.headers["Portcullis-Revision"])
        assert re.fullmatch(r"\d+/\d+", reply.headers["Portcullis-Applied"])


async def test_answers_are_what_the_contract_says(office: World) -> None:
    admin, jo = root(office), person(office, "tenant:a")
    made = await admin.key(role="viewer", tenant_id="tenant:a")
    token = await jo.made(TOKENS, name="x")
    given = {"principal": "service:described", "role": "viewer", "scope": "global"}
    check = {"principal": "user:jo", "tenant_id": "tenant:a"}
    tool = "/api/admin/tools/{server}/{tool}"
    asked: list[tuple[Any, str, str, Any]] = [
        (admin, "POST", KEYS, {"principal": "service:x", "name": "x"}),
        (admin, "POST", KEYS, {}),
        (jo, "POST", KEYS, {"principal": "service:x", "name": "x"}),
        (admin, "GET", KEYS, None),
        (admin, "POST", KEYS + "/{id}/rotate", {}),
        (admin, "DELETE", KEYS + "/{id}", None),
        (admin, "DELETE", KEYS + "/{id}", None),
        (jo, "POST", TOKENS, {"name": "y"}),
        (jo, "GET", TOKENS, None),
        (jo, "DELETE", TOKENS + "/{id}", None),
        (admin, "GET", ROLES, None),
        (admin, "POST", ROLES + "/assign", given),
        (admin, "POST", ROLES + "/revoke", given),
        (admin, "POST", ROLES + "/revoke", given),
        (jo, "GET", "/api/auth/whoami", None),
        (admin, "GET", "/api/auth/whoami", None),
        (admin, "POST", "/api/auth/check", {**check, "action": "tools/call", "name": "charge"}),
        (admin, "POST", "/api/auth/check", {**check, "action": "tools/list"}),
        (admin, "POST", "/api/auth/check", {**check, "action": "keys:read"}),
        (admin, "GET", "/api/audit", None),
        (admin, "POST", "/api/audit/verify", None),
        (admin, "POST", tool + "/withdraw", {"tenant_id": "tenant:b"}),
        (admin, "GET", "/api/admin/withdrawals", None),
        (admin, "POST", tool + "/restore", {"tenant_id": "tenant:b"}),
        (admin, "POST", "/api/config/reload", {}),
        (jo, "GET", "/tenant/{tenant}/servers", None),
        (jo, "GET", "/tenant/{tenant}/metrics", None),
        (admin, "GET", "/api/v1/openapi.json", None),
        (admin, "GET", "/health/ready", None),
        (admin, "GET", "/.well-known/oauth-protected-resource", None),
    ]
    for clerk, method, path, body in asked:
        id_ = token["id"] if path.startswith(TOKENS) else made["id"]
        filled = path.format(id=id_, server="payments", tool="refund", tenant="tenant:a")
        hold(await office.gateway.http(method, filled, body, **clerk.header), method, path)


async def test_head_is_answered_as_get_is_without_the_body(office: World) -> None:
    for path in (KEYS, TOKENS, ROLES, "/api/auth/whoami", "/api/audit", "/api/admin/withdrawals"):
        reply = await office.gateway.http("HEAD", path, **root(office).header)
        assert (reply.status, reply.body) == ((await root(office).get(path)).status, b"")


async def test_the_contract_is_served_as_it_stands_in_the_documentation(office: World) -> None:
    reply = await office.gateway.http("GET", "/api/v1/openapi.json")
    assert (reply.status, reply.json) == (200, CONTRACT)


async def test_a_body_where_none_is_taken_and_a_query_where_none_is_read_are_refused(office: World) -> None:
    made = await root(office).key()
    with_body = await office.gateway.http("DELETE", f"{KEYS}/{made['id']}", {"a": 1}, **root(office).header)
    with_query = await root(office).get("/api/auth/whoami?tenant=tenant:a")
    assert (with_body.status, with_query.status) == (400, 400)
    assert [one["field"] for one in with_query.json["errors"]] == ["tenant"]


async def test_no_mistake_repeats_what_was_sent(office: World) -> None:
    secret = "sesame-" * 40
    reply = await root(office).post(KEYS, {"principal": secret, "name": "x\n" + secret, "role": secret, "key": secret})
    assert reply.status == 400
    assert secret.encode() not in reply.body


async def test_a66_names_that_mean_something_to_programs_are_names(office: World) -> None:
    reply = await root(office).post(KEYS, {"__proto__": 1, "constructor": 2, "__class__": 3})
    assert {"__proto__", "constructor", "__class__"} <= {one["field"] for one in reply.json["errors"]}
    steward = await holder(office, "steward", "tenant:a")
    made = await steward.key("service:__proto__", name="../{0.__class__}", role="viewer", tenant_id="tenant:a")
    assert (made["principal"], made["name"]) == ("service:__proto__", "../{0.__class__}")


# Two of its checks say something else than this contract means: a request may fit its schema and still make no sense
# (two ends of a life, a role that there is not), and whoever guesses credentials is slowed down (429).
LEFT_OUT = "positive_data_acceptance,ignored_auth"


@pytest.mark.parametrize(("who", "phases"), [("admin", "coverage,fuzzing"), ("person", "coverage")])
async def test_a_fuzzer_that_reads_the_contract_finds_no_answer_that_is_not_in_it(
    tmp_path: Path, issuer: Issuer, backend: FakeBackend, who: str, phases: str
) -> None:
    config = front_door(f"http://127.0.0.1:{backend.port}/mcp", issuer.url, opa=PATIENT)
    async with Portcullis(tmp_path, config) as gateway:
        header = f"X-API-Key: {await gateway.key()}" if who == "admin" else f"Authorization: Bearer {issuer.mint()}"
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"), "run", f"{gateway.url}/api/v1/openapi.json",
            "--url", gateway.url, "--header", header, "--exclude-tag", "mcp", "--exclude-path", "/metrics",
            "--exclude-checks", LEFT_OUT, "--phases", phases, "--max-examples", "5", "--seed", "20261125",
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()[-8000:]
        assert (await gateway.http("GET", "/health/ready")).status == 200
