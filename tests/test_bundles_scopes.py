"""What tenant tokens may see at most: their globs over canonical ids, expanded over what servers offer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bundles.scopes import token_scopes
from gateway.facts import ServerInventory
from gateway.keys import scope_of
from gateway.model import Credential, CredentialKind

INVENTORY = (
    ServerInventory(
        "payments", "", ("charge", "refund"), 1,
        prompts=("greet",), resources=("file:///a",), templates=("file:///{name}",),
    ),
    ServerInventory("ledger", "", ("charge",), 1),
    ServerInventory("team-a:reports", "", ("lend",), 1),
)  # fmt: skip
TOKEN = Credential(
    id="t_1", hash="h", prefix="mcpt_", principal="token:t_1", name="", role="developer", tenant="team-a",
    created_at=1, created_by="user:jo", kind=CredentialKind.TENANT_TOKEN,
)  # fmt: skip


@pytest.mark.parametrize(
    ("globs", "ids"),
    [
        (("payments/*",), {"payments/charge", "payments/refund"}),
        (("payments#prompts/*",), {"payments#prompts/greet"}),
        (("payments#resources/*",), {"payments#resources/file:///a", "payments#resources/file:///{name}"}),
        (("*/charge",), {"payments/charge", "ledger/charge"}),
        (("payments/charge", "ledger/*"), {"payments/charge", "ledger/charge"}),
        (("team-a:reports/*",), {"team-a:reports/lend"}),
        (("nowhere/*",), set()),
        (("payments",), set()),
    ],
)
def test_globs_admit_ids_of_every_kind(globs: tuple[str, ...], ids: set[str]):
    assert token_scopes([replace(TOKEN, tools=globs)], INVENTORY) == {scope_of(globs): dict.fromkeys(ids, True)}


def test_what_another_tenant_brings_along_is_in_no_scope():
    globs = ("*",)
    (scope,) = token_scopes([replace(TOKEN, tools=globs, tenant="team-b")], INVENTORY).values()
    assert "payments/charge" in scope
    assert "team-a:reports/lend" not in scope


def test_the_same_globs_in_another_order_are_one_scope():
    one, other = ("payments/*", "ledger/*"), ("ledger/*", "payments/*")
    assert len(token_scopes([replace(TOKEN, tools=one), replace(TOKEN, id="t_2", tools=other)], INVENTORY)) == 1


def test_a_revoked_token_and_one_that_is_not_narrowed_have_no_scope():
    assert token_scopes([TOKEN, replace(TOKEN, tools=("*",), revoked_at=2)], INVENTORY) == {}
