"""Messages over a pipe: the lines of any chunks, and which request a message is about."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mcp.answers import Answer, ServerRequest, Unusable, parse_any
from gateway.mcp.lines import Lines, one_line, progress_token, topic

MAX = 20


def fed(data: bytes, cuts: list[int], max_bytes: int = MAX) -> tuple[list[bytes | None], bytes]:
    lines = Lines(max_bytes)
    found: list[bytes | None] = []
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        found += lines.feed(data[at : max(cut, at)])
        at = max(cut, at)
    return found, lines.rest()


@given(st.lists(st.binary(max_size=30), max_size=8), st.lists(st.integers(0, 250), max_size=8))
def test_lines_are_the_same_however_they_are_cut_up(pieces: list[bytes], cuts: list[int]):
    data = b"\n".join(pieces)
    *whole, last = data.split(b"\n")
    wanted = [None if len(line) > MAX else line for line in whole]
    found, rest = fed(data, cuts)
    assert (found, rest) == (([*wanted, None], b"") if len(last) > MAX else (wanted, last))


def test_a_line_that_is_too_long_is_said_to_be_so_once_and_the_next_is_read():
    lines = Lines(3)
    assert lines.feed(b"abc\nabcd") == [b"abc", None]
    assert lines.feed(b"efg" * 1000) == []
    assert lines.feed(b"h\nab") == []
    assert lines.feed(b"c\n") == [b"abc"]


def test_a_long_line_in_small_pieces_is_kept_as_it_came_until_its_end():
    lines = Lines(10**6)
    for _ in range(10_000):
        assert lines.feed(b"x" * 50) == []
    assert len(lines._pending) == 10_001 - 1
    assert lines.feed(b"\n") == [b"x" * 500_000]


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_one_line_says_the_same_as_many(value: object):
    for pretty in (json.dumps(value, indent=2), json.dumps(value, indent="\r\n")):
        line = one_line(pretty.encode())
        assert not {b"\n", b"\r"} & {line[at : at + 1] for at in range(len(line))}
        assert json.loads(line) == value


def notification(method: str, params: object) -> ServerRequest:
    found = parse_any(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode())
    assert isinstance(found, ServerRequest)
    return found


@pytest.mark.parametrize(
    ("method", "params", "about"),
    [
        ("notifications/progress", {"progressToken": 7}, (7, None)),
        ("notifications/progress", {"progressToken": "7"}, ("7", None)),
        ("notifications/progress", {"progressToken": 7, "requestId": 8}, (7, None)),
        ("notifications/progress", {"progressToken": [7]}, (None, None)),
        ("notifications/progress", {}, (None, None)),
        ("notifications/progress", [7], (None, None)),
        ("notifications/cancelled", {"requestId": 8}, (None, 8)),
        ("notifications/resources/updated", {"requestId": 8}, (None, None)),
        ("notifications/resources/updated", {"_meta": {"io.modelcontextprotocol/subscriptionId": 9}}, (None, 9)),
        ("notifications/message", {"_meta": {"progressToken": 9}}, (None, None)),
        ("notifications/message", None, (None, None)),
    ],
)
def test_a_notification_is_about_the_request_that_it_names_and_no_other(method: str, params: object, about: object):
    assert topic(notification(method, params)) == about


@pytest.mark.parametrize(
    ("request_", "token"),
    [
        (b'{"params":{"_meta":{"progressToken":5},"progressToken":6}}', 5),
        (b'{"params":{"arguments":{"_meta":{"progressToken":5}}}}', None),
        (b'{"params":{"_meta":{"progressToken":null}}}', None),
        (b'{"method":"ping"}', None),
    ],
)
def test_a_progress_token_is_the_one_in_the_meta_of_a_request(request_: bytes, token: object):
    assert progress_token(request_) == token


def test_an_answer_comes_with_the_id_that_it_names_and_what_is_neither_is_refused():
    id_, answer = parse_any(b'{"jsonrpc":"2.0","id":12,"result":{"a":1}}')
    assert (id_, bytes(answer.result["a"])) == (b"12", b"1")
    id_, failed = parse_any(b'{"jsonrpc":"2.0","id":"x","error":{"code":1,"message":"m"}}')
    assert isinstance(failed, Answer)
    assert (id_, failed.error.code) == (b'"x"', 1)
    asked = parse_any(b'{"jsonrpc":"2.0","id":[1],"method":"ping"}')
    assert (asked.method, asked.id) == ("ping", b"[1]")
    for body in (b"{}", b"[]", b'{"jsonrpc":"2.0","id":1}', b'{"jsonrpc":"1.0","id":1,"result":{}}', b"\xff"):
        with pytest.raises(Unusable):
            parse_any(body)
