"""Every method and notification that the protocol knows has its place in the gateway's tables, in every revision."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import mcp_types.methods as sdk
import pytest
import yaml
from multidict import CIMultiDict

from gateway.mcp.envelope import Notification, Request
from gateway.mcp.eras import LEGACY_VERSIONS, METHODS, MODERN_VERSIONS, SUPPORTED_VERSIONS, Action, Era, Route, classify
from gateway.mcp.errors import METHOD_NOT_FOUND, Rejection
from gateway.mcp.unserved import FROM_AGENTS, FROM_SERVERS, REFUSED
from tests.support.agents import META, headers

ERA = dict.fromkeys(MODERN_VERSIONS, Era.MODERN) | dict.fromkeys(LEGACY_VERSIONS, Era.LEGACY)
SURFACES = {
    "client_requests": sdk.CLIENT_REQUESTS,
    "client_notifications": sdk.CLIENT_NOTIFICATIONS,
    "server_requests": sdk.SERVER_REQUESTS,
    "server_notifications": sdk.SERVER_NOTIFICATIONS,
}
# Older than streamable HTTP, which is what an agent comes by.
UNSPOKEN = {"2024-11-05"}
revisions = pytest.mark.parametrize("revision", SUPPORTED_VERSIONS)


@cache
def protocol() -> dict[str, dict[str, list[str]]]:
    read: dict[str, dict[str, list[str]]] = yaml.safe_load((Path(__file__).parent / "protocol.yaml").read_text())
    return read


def known(revision: str, *kinds: str) -> set[str]:
    """Return what a revision knows of these kinds."""
    return {method for kind in kinds for method in protocol()[revision].get(kind, ())}


def placed(table: dict[str, tuple[frozenset[Era], object]], era: Era) -> set[str]:
    """Return what a table places in an era."""
    return {method for method, (eras, _) in table.items() if era in eras}


@revisions
def test_every_request_of_an_agent_is_served_or_refused_for_a_reason(revision: str):
    era = ERA[revision]
    asked = known(revision, "client_requests", "extension")
    assert asked <= placed(METHODS, era) | placed(REFUSED, era)
    assert not placed(METHODS, era) & placed(REFUSED, era)


@revisions
def test_every_notification_of_an_agent_has_its_place(revision: str):
    assert known(revision, "client_notifications") <= placed(FROM_AGENTS, ERA[revision])


@revisions
def test_every_message_of_a_server_has_its_place(revision: str):
    sent = known(revision, "server_requests", "input_requests", "server_notifications")
    assert sent <= placed(FROM_SERVERS, ERA[revision])


@pytest.mark.parametrize("era", Era)
def test_nothing_has_a_place_that_no_revision_knows(era: Era):
    spoken = [revision for revision in SUPPORTED_VERSIONS if ERA[revision] is era]
    kinds = {
        ("client_requests", "extension"): placed(METHODS, era) | placed(REFUSED, era),
        ("client_notifications",): placed(FROM_AGENTS, era),
        ("server_requests", "input_requests", "server_notifications"): placed(FROM_SERVERS, era),
    }
    for of, table in kinds.items():
        assert table <= {method for revision in spoken for method in known(revision, *of)}


def test_every_place_has_a_reason():
    for table in (REFUSED, FROM_AGENTS, FROM_SERVERS):
        assert all(reason for _, reason in table.values())


def test_every_revision_of_the_sdk_is_spoken():
    revisions = {revision for surface in SURFACES.values() for _, revision in surface}
    assert revisions - UNSPOKEN == set(SUPPORTED_VERSIONS) == set(protocol())


@revisions
@pytest.mark.parametrize("kind", SURFACES)
def test_the_list_of_the_protocol_has_what_the_sdk_has(revision: str, kind: str):
    of_the_sdk = {method for method, version in SURFACES[kind] if version == revision}
    # The SDK leaves out the tasks of 2025-11-25, which were experimental.
    tasks = {method for method in known(revision, kind) if "tasks/" in method}
    assert known(revision, kind) - tasks == of_the_sdk


@revisions
def test_what_is_refused_is_answered_as_unknown_and_what_is_served_is_routed(revision: str):
    era = ERA[revision]
    for method in sorted(placed(METHODS, era) | placed(REFUSED, era)):
        params = {"_meta": META} if era is Era.MODERN else {}
        lines = {name.replace("_", "-"): value for name, value in headers(revision, method).items()}
        verdict = classify(CIMultiDict(lines), Request(1, method, params))
        if method in placed(REFUSED, era):
            assert isinstance(verdict, Rejection)
            assert (verdict.code, verdict.status) == (METHOD_NOT_FOUND, 404 if era is Era.MODERN else 200)
        else:
            assert isinstance(verdict, Route), method


@revisions
def test_what_an_agent_tells_is_accepted(revision: str):
    for method in placed(FROM_AGENTS, ERA[revision]):
        verdict = classify(CIMultiDict({"MCP-Protocol-Version": revision}), Notification(method))
        assert isinstance(verdict, Route), method
        assert verdict.action is Action.ACCEPT
