"""The administration on the command line: the same on the ledger of this machine and by a running gateway's API."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from gateway import keys
from gateway.cli import main
from tests.support.office import anybody
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from tests.conftest import World

    Run = Callable[..., Coroutine[Any, Any, tuple[int, str, str]]]

HOME = "tenant:tenant:a"


@pytest.fixture(params=["ledger", "server"])
def portcullis(request: pytest.FixtureRequest, office: World, tmp_path: Path) -> Run:
    """Run a command of the administration, each test once on the ledger and once by the API of the gateway."""
    key_file = tmp_path / "key"
    key_file.touch(0o600)
    key_file.write_text(office.admin_key + "\n")
    local = ("--config", str(office.gateway.config_path), "--state-dir", str(office.gateway.state))
    remote = ("--server", office.gateway.url, "--key-file", str(key_file))
    where = local if request.param == "ledger" else remote

    async def run(*words: str) -> tuple[int, str, str]:
        done = await asyncio.to_thread(CliRunner().invoke, main, [*words, *where])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    return run


async def told(portcullis: Run, *words: str) -> Any:
    """Run a command that must succeed, and return what it tells programs."""
    status, out, err = await portcullis(*words, "--json")
    assert (status, err) == (0, ""), err
    return json.loads(out)


async def lets_in(office: World, secret: str) -> bool:
    return (await office.gateway.rpc("ping", Authorization=f"Bearer {secret}")).status == 200


async def test_a_key_is_made_listed_rotated_and_revoked(office: World, portcullis: Run) -> None:
    words = ("--principal", anybody(), "--role", "viewer", "--tenant", "tenant:a", "--name", "ci")
    made = await told(portcullis, "key", "create", *words)
    assert keys.looks_like_key(made["key"])
    await until(lambda: lets_in(office, made["key"]))
    listed = {one["id"]: one for one in await told(portcullis, "key", "list", "--tenant", "tenant:a")}
    assert (listed[made["id"]]["name"], listed[made["id"]]["state"]) == ("ci", "live")
    new = await told(portcullis, "key", "rotate", made["id"], "--overlap-seconds", "60")
    assert (new["replaces"], new["principal"]) == (made["id"], made["principal"])
    await until(lambda: lets_in(office, new["key"]))
    revoked = await told(portcullis, "key", "revoke", new["id"])
    assert (revoked["revoked"], revoked["revision"][0]) == (True, "r")

    async def refused() -> bool:
        return not await lets_in(office, new["key"])

    await until(refused)
    status, out, _ = await portcullis("key", "list")
    assert (status, made["id"] in out, made["key"] in out) == (0, True, False)


async def test_a_secret_is_alone_on_stdout_so_that_it_can_be_caught_in_a_variable(portcullis: Run) -> None:
    status, out, err = await portcullis("token", "mint", "--tenant", "tenant:a", "--name", "Cursor")
    assert (status, keys.looks_like_token(out.rstrip("\n"))) == (0, True)
    assert "developer in tenant tenant:a" in err


async def test_a_token_is_minted_listed_and_revoked(office: World, portcullis: Run) -> None:
    words = ("--tenant", "tenant:a", "--name", "VS Code", "--tool", "payments/*", "--tool", "search/*")
    made = await told(portcullis, "token", "mint", *words)
    assert made["tools"] == ["payments/*", "search/*"]
    await until(lambda: lets_in(office, made["token"]))
    await told(portcullis, "token", "revoke", made["id"])
    listed = {one["id"]: one["state"] for one in await told(portcullis, "token", "list", "--tenant", "tenant:a")}
    assert listed[made["id"]] == "revoked"
    status, out, _ = await portcullis("token", "list")
    assert (status, "payments/*, search/*" in out) == (0, True)


async def test_a_role_is_given_listed_and_taken(portcullis: Run) -> None:
    name = anybody("user")
    given = await told(portcullis, "role", "assign", name, "viewer", "--tenant", "tenant:a")
    assert (given["assigned"], given["scope"]) == (True, HOME)
    (one,) = await told(portcullis, "role", "list", "--principal", name)
    assert (one["role"], one["scope"], one["origin"]) == ("viewer", HOME, "runtime")
    await told(portcullis, "role", "revoke", name, "viewer", "--tenant", "tenant:a")
    assert await told(portcullis, "role", "list", "--principal", name) == []
    status, out, _ = await portcullis("role", "list")
    assert (status, "user:rooted" in out) == (0, True)


async def test_a_check_says_which_layer_says_no(portcullis: Run) -> None:
    asked = ("role", "check", "user:jo", "tools/call", "--tenant", "tenant:a", "--name")
    assert await portcullis(*asked, "charge") == (0, "yes\n", "")
    assert await portcullis(*asked, "refund") == (1, "no: scope says not_in_member_scope\n", "")


async def test_a_tool_is_withdrawn_listed_and_given_back(portcullis: Run) -> None:
    done = await told(portcullis, "tool", "withdraw", "payments", "charge", "--tenant", "tenant:b")
    assert (done["withdrawn"], done["tool"], done["tenant_id"]) == (True, "charge", "tenant:b")
    found = await told(portcullis, "tool", "list")
    assert ("charge", "tenant:b") in {(one["tool"], one["tenant_id"]) for one in found}
    status, out, _ = await portcullis("tool", "restore", "payments", "charge", "--tenant", "tenant:b")
    assert (status, out.startswith("payments/charge is restored for tenant:b as r")) == (0, True)


async def test_the_trail_is_read_filtered_and_verified(office: World, portcullis: Run) -> None:
    name = anybody("user")
    await office.gateway.call("charge", token=office.token("tenant:a", sub=name.removeprefix("user:")))
    await office.gateway.events(type="ToolCalled", actor__principal=name)
    status, out, _ = await portcullis("audit", "tail", "--principal", name, "--type", "ToolCalled", "--json")
    assert [json.loads(line)["target"]["id"] for line in out.splitlines()] == ["payments/charge"]
    status, out, _ = await portcullis("audit", "tail", "-n", "3")
    assert (status, len(out.splitlines())) == (0, 3)
    found = await told(portcullis, "audit", "verify")
    assert (found["intact"], found["breaks"]) == (True, [])
    status, out, _ = await portcullis("audit", "verify")
    assert (status, out.endswith(": whole\n")) == (0, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("key", "create", "--principal", "jo", "--role", "wizard"),
            ("principal: must be", "role: is none of the roles"),
        ),
        (("token", "mint", "--name", "x"), ("tenant_id: is missing",)),
        (("role", "assign", "user:jo", "wizard"), ("role: is none of the roles",)),
        (("key", "revoke", "c_0"), ("no key c_0",)),
        (("token", "revoke", "c_0"), ("no token c_0",)),
        (("role", "revoke", "user:jo", "viewer"), ("user:jo was not given viewer at global",)),
    ],
)
async def test_what_makes_no_sense_is_refused_with_every_mistake(
    portcullis: Run, words: tuple[str, ...], said: tuple[str, ...]
) -> None:
    status, out, err = await portcullis(*words)
    assert (status != 0, out) == (True, "")
    assert [text for text in said if text not in err] == []


async def test_a_failure_is_told_to_programs_alike(portcullis: Run) -> None:
    status, out, _ = await portcullis("key", "create", "--principal", "jo", "--role", "wizard", "--json")
    found = json.loads(out)["error"]
    assert (status, found["code"], {one["path"] for one in found["mistakes"]}) == (
        2,
        "invalid_body",
        {"principal", "role"},
    )
    status, out, _ = await portcullis("token", "revoke", "c_0", "--json")
    assert (status, json.loads(out)["error"]["code"]) == (1, "not_found")


async def test_the_key_for_a_server_comes_out_of_a_file_and_goes_nowhere_unprotected(
    office: World, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(office.admin_key)
    key_file.chmod(0o644)

    async def run(*words: str) -> tuple[int, str]:
        done = await asyncio.to_thread(CliRunner().invoke, main, [*words])
        return done.exit_code, done.stderr

    assert (await run("key", "list", "--server", office.gateway.url))[0] == 2
    status, err = await run("key", "list", "--server", "http://gateway.example.com", "--key-file", str(key_file))
    assert (status, "must be https" in err) == (2, True)
    status, err = await run("role", "whoami", "--server", office.gateway.url, "--key-file", str(key_file))
    assert (status, "others on this machine may read" in err) == (0, True)
    status, err = await run("key", "list", "--server", "http://127.0.0.1:9", "--key-file", str(key_file))
    assert (status, "cannot be reached" in err) == (1, True)
