"""Answers in HTTP/1.1: the same in any split, and nothing that two readers could read in two ways."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http1.body import MAX_TRAILER_BYTES, Chunked, UntilClosed, body_of
from gateway.http1.head import MAX_HEAD_BYTES, Head, HeadReader, Malformed, read_head
from gateway.http1.request import BadField, field_lines
from tests.support.scripted import LAST_CHUNK, chunk

OK = b"HTTP/1.1 200 OK\r\n"
cuts = st.lists(st.integers(min_value=0, max_value=20_000), max_size=30)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def read(data: bytes, cuts: list[int]) -> tuple[Head | None, bytes, bool, bool]:
    """Return the head, what there is of the body, and whether that is the whole of it, with something after it."""
    heads, head, body, parts = HeadReader(), None, None, []
    for piece in pieces(data, cuts):
        rest = piece
        if body is None:
            found = heads.feed(piece)
            if found is None:
                continue
            head, rest = found
            body = body_of(head)
        body.feed(rest, parts)
    return head, b"".join(parts), bool(body and body.done), bool(body and body.excess)


def outcome(data: bytes, cuts: list[int]) -> object:
    try:
        return read(data, cuts)
    except Malformed:
        return "malformed"


WHOLE = {
    "a length": (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "no body": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"hel") + chunk(b"lo") + LAST_CHUNK, b"hello"),
    "chunks named otherwise": (OK + b"transfer-encoding:\tChunked \r\n\r\n" + chunk(b"hello") + LAST_CHUNK, b"hello"),
    "chunk sizes in both cases": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n0A\r\n0123456789\r\n0b\r\n0123456789a\r\n00\r\n\r\n",
        b"01234567890123456789a",
    ),
    "chunk extensions": (
        OK + b'Transfer-Encoding: chunked\r\n\r\n5;a=b;c="d"\r\nhello\r\n0 ;e\r\n\r\n',
        b"hello",
    ),
    "trailers": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"hello") + b"0\r\nX: y\r\nZ:\r\n\r\n", b"hello"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "not modified, with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "a reason in another tongue": (b"HTTP/1.1 200 \xc3\xa9\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
}


@pytest.mark.parametrize(("data", "body"), WHOLE.values(), ids=WHOLE)
def test_an_answer_reads_the_same_wherever_it_is_cut(data: bytes, body: bytes):
    for cut in range(len(data) + 1):
        head, seen, done, excess = read(data, [cut])
        assert (seen, done, excess) == (body, True, False)
        assert head == read(data, [])[0]
    assert read(data, list(range(len(data))))[1:] == (body, True, False)


@pytest.mark.parametrize(("data", "body"), WHOLE.values(), ids=WHOLE)
def test_no_proper_beginning_of_an_answer_is_whole_and_what_follows_it_is_seen(data: bytes, body: bytes):
    assert not any(read(data[:end], [])[2] for end in range(len(data)))
    for cut in range(len(data) + 1):
        _, seen, done, excess = read(data + b"HTTP/1.1 200 OK\r\n", [cut])
        assert (seen, done, excess) == (body, True, True)


@given(st.binary(max_size=400), cuts)
def test_arbitrary_bytes_come_to_the_same_in_any_split(noise: bytes, cuts: list[int]):
    for start in (
        b"",
        b"HTTP/1.1 200 OK\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        OK + b"Content-Length: 9\r\n\r\n",
    ):
        whole, cut = outcome(start + noise, []), outcome(start + noise, cuts)
        assert whole == cut


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=12), cuts)
def test_chunks_come_to_their_data_in_any_split(chunks: list[bytes], cuts: list[int]):
    data = OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(map(chunk, chunks)) + LAST_CHUNK
    assert read(data, cuts)[1:] == (b"".join(chunks), True, False)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
MALFORMED = {
    "no status line": b"hello\r\n\r\n",
    "another protocol": b"RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "another version": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "an empty line first": b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status of zero": b"HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status that nobody has": b"HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\n{}",
    "two spaces": b"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "both lengths": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths in one line": OK + b"Content-Length: 2, 2\r\n\r\n{}",
    "two codings": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "an unknown coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "no coding": OK + b"Transfer-Encoding: identity\r\n\r\n{}",
    "chunks of an older version": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a signed length": OK + b"Content-Length: +2\r\n\r\n{}",
    "a hexadecimal length": OK + b"Content-Length: 0x2\r\n\r\n{}",
    "a length with a blank in it": OK + b"Content-Length: 2 2\r\n\r\n{}",
    "an empty length": OK + b"Content-Length:\r\n\r\n{}",
    "a length of a thousand digits": OK + b"Content-Length: " + b"9" * 1000 + b"\r\n\r\n",
    "a folded header": OK + b"X: 1\r\n 2\r\nContent-Length: 2\r\n\r\n{}",
    "a space before the colon": OK + b"Content-Length : 2\r\n\r\n{}",
    "a header without a colon": OK + b"Content-Length\r\n\r\n{}",
    "a header without a name": OK + b": 2\r\nContent-Length: 2\r\n\r\n{}",
    "a bare line feed in a header": OK + b"X: 1\nContent-Length: 2\r\n\r\n{}",
    "a bare carriage return in a header": OK + b"X: 1\rContent-Length: 2\r\n\r\n{}",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "a null byte": OK + b"X: \x00\r\nContent-Length: 2\r\n\r\n{}",
    "a control character": OK + b"X: \x7f\r\nContent-Length: 2\r\n\r\n{}",
    "a head without an end": OK + b"X: " + b"x" * MAX_HEAD_BYTES,
    "another protocol from now on": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "an interim answer with a body": b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n{}",
    "no content, with some": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
    "no content, in chunks": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is no number": CHUNKED + b"xyz\r\n{}\r\n0\r\n\r\n",
    "an empty chunk size": CHUNKED + b"\r\n",
    "a negative chunk size": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk size in another notation": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk size of nine digits": CHUNKED + b"000000002\r\n{}\r\n0\r\n\r\n",
    "a chunk size with a blank after it": CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n",
    "a chunk size with a bare line feed": CHUNKED + b"2\n{}\r\n0\r\n\r\n",
    "a line feed in an extension": CHUNKED + b"2;a\nb\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n",
    "a chunk that ends in a bare line feed": CHUNKED + b"2\r\n{}\n0\r\n\r\n",
    "a chunk size without an end": CHUNKED + b"0" * 2_000,
    "a trailer that is no header": CHUNKED + b"0\r\nnonsense\r\n\r\n",
    "a trailer with a bare line feed": CHUNKED + b"0\r\nX: y\nZ: z\r\n\r\n",
    "trailers without an end": CHUNKED + b"0\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * (MAX_TRAILER_BYTES // 30),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_clean_answer_is_refused_in_any_split(data: bytes):
    for places in ([], list(range(0, len(data), 7)), list(range(len(data)))):
        with pytest.raises(Malformed):
            read(data, places)


@pytest.mark.parametrize(
    "beginning", [b"220 smtp ready", b"\r", b"h", b"HTTP/1.1 200 OK\nX", b"HTTP/1.1 200 OK\r\nX: \rY"]
)
def test_what_cannot_become_an_answer_is_refused_before_its_head_ends(beginning: bytes):
    with pytest.raises(Malformed):
        HeadReader().feed(beginning)


def test_a_head_of_exactly_the_limit_is_read_wherever_it_is_cut():
    start = OK + b"Content-Length: 0\r\nX: "
    data = start + b"x" * (MAX_HEAD_BYTES - len(start)) + b"\r\n\r\n"
    for cut in range(len(data) - 6, len(data) + 1):
        assert read(data, [cut])[2]
    with pytest.raises(Malformed):
        read(start + b"x" + data[len(start) :], [])


def test_lines_of_one_name_are_taken_together():
    head = read_head(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nconnection: close\r\nContent-Length: 2")
    assert head.fields[b"connection"] == b"keep-alive, close"
    assert not head.keep_alive
    head = read_head(b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 2")
    assert head.encoded


@pytest.mark.parametrize(
    ("lines", "keep_alive"),
    [
        (b"1.1 200 OK\r\nContent-Length: 2", True),
        (b"1.1 200 OK\r\nTransfer-Encoding: chunked", True),
        (b"1.1 204 OK", True),
        (b"1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2", False),
        (b"1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2", False),
        (b"1.1 200 OK", False),
    ],
)
def test_a_connection_is_used_again_only_where_the_answer_has_an_end_of_its_own(lines: bytes, keep_alive: bool):
    assert read_head(b"HTTP/" + lines).keep_alive is keep_alive


def test_a_body_without_a_length_lasts_until_its_connection_ends():
    body, parts = body_of(read_head(b"HTTP/1.1 200 OK")), []
    assert isinstance(body, UntilClosed)
    body.feed(b"hello", parts)
    assert (parts, body.done) == ([b"hello"], False)


def test_chunks_beyond_a_limit_are_refused_by_the_size_that_they_announce():
    Chunked(10).feed(b"a\r\n", [])
    with pytest.raises(Malformed):
        Chunked(10).feed(b"b\r\n", [])


def test_what_came_before_a_malformed_chunk_has_come():
    parts: list[bytes] = []
    with pytest.raises(Malformed):
        Chunked().feed(chunk(b"hello") + b"zz\r\n", parts)
    assert parts == [b"hello"]


@pytest.mark.parametrize("value", ["application/json", "Application/JSON ; charset=utf-8", "application/json;"])
def test_a_media_type_is_read_without_parameters_and_case(value: str):
    assert read_head(b"HTTP/1.1 200 OK\r\nContent-Type: " + value.encode()).media_type == b"application/json"


def test_headers_are_written_line_by_line():
    assert field_lines({"A": "b c", "D-e": ""}) == b"A: b c\r\nD-e: \r\n"
    assert field_lines({"A": "\u00e9\udcff"}) == b"A: \xc3\xa9\xff\r\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("A", "b\r\nX: y"),
        ("A", "b\n"),
        ("A", "b\rX"),
        ("A", "b\x00"),
        ("A", "\x7f"),
        ("A", "\ud800"),
        ("A: b\r\nX", "y"),
        ("A ", "b"),
        ("", "b"),
        ("\u00e9", "b"),
    ],
)
def test_a_header_that_would_be_another_is_not_written(name: str, value: str):
    with pytest.raises(BadField):
        field_lines({name: value})
