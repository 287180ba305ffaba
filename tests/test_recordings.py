"""How real clients open a connection, recorded and played to the gateway (`recordings/README.md` says from where)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.recordings import Answer, Expected, Recording, differences, recordings, replay

if TYPE_CHECKING:
    from tests.conftest import World

EVERY = recordings()
each = pytest.mark.parametrize("recording", EVERY, ids=lambda recording: recording.name)


@each
async def test_a_client_gets_the_answers_that_it_goes_on_with(world: World, recording: Recording):
    answers = 0
    async for exchange, answer in replay(recording, world.gateway.url, world.token("tenant:b")):
        assert differences(exchange.answer, answer) == [], (exchange.what, answer)
        answers += 1
    assert answers == len(recording.exchanges)


@each
def test_a_recording_says_how_long_its_bodies_are(recording: Recording):
    for exchange in recording.exchanges:
        declared = re.findall(r"^content-length: (\d+)$", exchange.head, re.IGNORECASE | re.MULTILINE)
        assert declared == ([str(len(exchange.body))] if exchange.body else []), exchange.what


@each
def test_a_request_goes_out_as_it_was_recorded(recording: Recording):
    for exchange in recording.exchanges:
        sent = exchange.request("127.0.0.1:8000", "abc", "s1")
        head, _, body = sent.partition(b"\r\n\r\n")
        filled = exchange.head.rstrip("\n").replace("{host}", "127.0.0.1:8000")
        filled = filled.replace("{token}", "abc").replace("{session}", "s1")
        assert head.decode().split("\r\n") == filled.split("\n")
        assert body == exchange.body
        assert b"session-id" not in exchange.request("127.0.0.1:8000", "abc", None).partition(b"\r\n\r\n")[0].lower()


def test_the_clients_that_people_use_are_recorded():
    names = {recording.name for recording in EVERY}
    assert names >= {"claude-code", "claude-code-falls-back", "claude-connector", "codex", "cursor", "vscode"}


def test_an_answer_that_differs_in_anything_named_is_noticed():
    expected = Expected(200, "application/json", {"vary": "<present>"}, {"id": 1, "result": {"tools": [{"name": "a"}]}})
    message = {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "a", "title": "A"}], "ttlMs": 0}}
    headers = {"content-type": "application/json; charset=utf-8", "vary": "Origin"}
    assert differences(expected, Answer(200, headers, message)) == []
    other = json.loads(json.dumps(message).replace('"a"', '"b"'))
    assert differences(expected, Answer(404, {"content-type": "text/plain"}, other)) == [
        "status 404, not 200",
        "content type text/plain, not application/json",
        "no headers.vary",
        "message.result.tools[0].name is 'b', not 'a'",
    ]
