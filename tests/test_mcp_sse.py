"""A stream of events gives the same events however it is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mcp.sse import Events, TooLong

STREAM = (
    b"\xef\xbb\xbf: hello\r\n\r\n"
    b'event: message\r\nid: 1\r\ndata: {"a":1}\r\n\r\n'
    b"data\n\n"
    b'retry: 5\ndata:{"b":\r\ndata: 2}\n\n'
    b"data: \xe2\x80\xa8\r\rid: 9\n\n"
    b"data: unfinished"
)
EVENTS = [b'{"a":1}', b'{"b":\n2}', b"\xe2\x80\xa8"]


def test_comments_ids_and_empty_events_are_no_data():
    assert Events(1000).feed(STREAM) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_where_a_stream_is_cut_makes_no_difference(cuts):
    events, edges = Events(1000), [0, *sorted(cuts), len(STREAM)]
    seen = [data for start, end in pairwise(edges) for data in events.feed(STREAM[start:end])]
    assert seen == EVENTS


def test_an_event_is_given_back_as_soon_as_it_is_complete():
    events = Events(1000)
    assert events.feed(b"data: 1\n") == []
    assert events.feed(b"\n") == [b"1"]


@pytest.mark.parametrize("chunk", [b"data: " + b"x" * 60, b"data: 1234567890\n" * 11, b"x" * 101])
def test_an_event_beyond_the_cap_is_refused(chunk):
    with pytest.raises(TooLong):
        Events(100).feed(chunk + chunk)


def test_the_cap_is_for_one_event_and_not_for_the_stream():
    events = Events(100)
    for _ in range(50):
        assert events.feed(b"data: 1234567890\n\n") == [b"1234567890"]


def test_a_long_event_in_small_pieces_costs_no_more_than_its_length():
    events, size = Events(4_000_000), 2_000_000
    assert events.feed(b"data: ") == []
    for _ in range(size // 20):
        events.feed(b"x" * 20)
    assert events.feed(b"\n\n") == [b"x" * size]
