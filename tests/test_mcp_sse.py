"""A stream of events gives the same events however it is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mcp.sse import Event, Events, TooLong, written

STREAM = (
    b"\xef\xbb\xbf: hello\r\n\r\n"
    b'event: message\r\nid: 1\r\ndata: {"a":1}\r\n\r\n'
    b"data\n\n"
    b'retry: 5\ndata:{"b":\r\ndata: 2}\n\n'
    b"data: \xe2\x80\xa8\r\rid: 9\n\n"
    b"data: unfinished"
)
EVENTS = [
    Event(b'{"a":1}', b"1"),
    Event(b'{"b":\n2}', retry=5),
    Event(b"\xe2\x80\xa8"),
    Event(b"", b"9"),
]


def test_comments_and_names_say_nothing_and_an_id_alone_does():
    assert Events(1000).feed(STREAM) == EVENTS


@pytest.mark.parametrize(
    "line", [b"retry: soon", b"retry: -1", b"retry: 99999999999999", b"id: a\0b", b"event: x", b":"]
)
def test_a_field_that_means_nothing_is_passed_over(line):
    assert Events(1000).feed(line + b"\n\n" + line + b"\ndata: 1\n\n") == [Event(b"1")]


def test_an_id_may_be_empty_which_takes_back_those_before():
    assert Events(1000).feed(b"id\n\nid: \ndata: 1\n\n") == [Event(b"", b""), Event(b"1", b"")]


@given(
    data=st.text().map(lambda text: b"x" + text.encode()),
    id_=st.none() | st.text("abc-_", min_size=1),
    retry=st.none() | st.integers(0, 99_999),
)
def test_what_is_written_is_read_as_one_event_whatever_is_in_it(data, id_, retry):
    event = Events(100_000).feed(written(data, id_, retry))
    read = data.replace(b"\n", b" ").replace(b"\r", b" ")
    assert event == [Event(read, id_.encode() if id_ else None, retry)]


def test_an_event_without_data_gives_an_agent_an_id_to_come_back_with():
    assert written(b"", "7", 100) == b"retry: 100\nid: 7\ndata: \n\n"
    assert Events(100).feed(written(b"", "7", 100)) == [Event(b"", b"7", 100)]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_where_a_stream_is_cut_makes_no_difference(cuts):
    events, edges = Events(1000), [0, *sorted(cuts), len(STREAM)]
    seen = [event for start, end in pairwise(edges) for event in events.feed(STREAM[start:end])]
    assert seen == EVENTS


_LINES = st.sampled_from(
    [
        b"data: 1",
        b"data:2",
        b"data:",
        b"data",
        b"event: x",
        b"id: 3",
        b"retry: 4",
        b"id",
        b": hello",
        b":",
        b"",
        b"other: y",
    ]
)
_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(_LINES, _ENDS), max_size=30), st.lists(st.integers(0, 300), max_size=9))
def test_any_stream_is_the_same_in_one_piece_in_some_and_byte_by_byte(lines, cuts):
    data = b"".join(line + end for line, end in lines)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    events = [Events(1000) for _ in range(3)]
    whole = events[0].feed(data)
    assert [one for start, end in pairwise(edges) for one in events[1].feed(data[start:end])] == whole
    assert [one for byte in data for one in events[2].feed(bytes([byte]))] == whole


def test_a_line_that_ends_in_a_carriage_return_alone_is_not_waited_on():
    events = Events(1000)
    assert events.feed(b"data: 1\r\r") == [Event(b"1")]
    assert events.feed(b"\ndata: 2\r") == []
    assert events.feed(b"\n\r") == [Event(b"2")]
    assert events.feed(b"\n") == []


def test_an_event_is_given_back_as_soon_as_it_is_complete():
    events = Events(1000)
    assert events.feed(b"data: 1\n") == []
    assert events.feed(b"\n") == [Event(b"1")]


@pytest.mark.parametrize("chunk", [b"data: " + b"x" * 60, b"data: 1234567890\n" * 11, b"x" * 101])
def test_an_event_beyond_the_cap_is_refused(chunk):
    with pytest.raises(TooLong):
        Events(100).feed(chunk + chunk)


def test_the_cap_is_for_one_event_and_not_for_the_stream():
    events = Events(100)
    for _ in range(50):
        assert events.feed(b"data: 1234567890\n\n") == [Event(b"1234567890")]


def test_a_long_event_in_small_pieces_costs_no_more_than_its_length():
    events, size = Events(4_000_000), 2_000_000
    assert events.feed(b"data: ") == []
    for _ in range(size // 20):
        events.feed(b"x" * 20)
    assert events.feed(b"\n\n") == [Event(b"x" * size)]
