"""The parser of OPA's answers: whole answers in any split, and nothing that is not one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http1.head import MAX_HEAD_BYTES
from gateway.pdp.http1 import Answer, Malformed
from tests.support.fake_opa import chunked, http

LIMIT = 10_000


def feed_in_pieces(data: bytes, cuts: list[int]) -> Answer:
    """Feed `data` cut at the given places and assert that only the last piece completes the answer."""
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    pieces = [data[start:end] for start, end in pairwise(places)]
    answer = Answer(LIMIT)
    for piece in pieces[:-1]:
        assert not answer.feed(piece)
    assert answer.feed(pieces[-1])
    return answer


cuts = st.lists(st.integers(min_value=0, max_value=20_000), max_size=30)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=12), cuts)
def test_a_chunked_answer_reads_the_same_in_any_split(chunks: list[bytes], cuts: list[int]):
    answer = feed_in_pieces(chunked(*chunks), cuts)
    assert (answer.status, answer.body) == (200, b"".join(chunks))
    assert answer.head is not None
    assert answer.head.keep_alive


@given(st.binary(max_size=2_000), cuts)
def test_an_answer_with_a_length_reads_the_same_in_any_split(body: bytes, cuts: list[int]):
    answer = feed_in_pieces(http(body, "500 Internal Server Error"), cuts)
    assert (answer.status, answer.body) == (500, body)
    assert answer.head is not None
    assert answer.head.keep_alive


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=5), st.data())
def test_no_proper_beginning_of_an_answer_is_an_answer(chunks: list[bytes], data: st.DataObject):
    for whole in (chunked(*chunks), http(b"".join(chunks))):
        end = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
        assert not Answer(LIMIT).feed(whole[:end])


@given(st.binary(max_size=400), cuts)
def test_arbitrary_bytes_are_refused_or_waited_on_and_never_crash(noise: bytes, cuts: list[int]):
    answer = Answer(LIMIT)
    try:
        for start, end in pairwise(sorted({0, len(noise), *(cut % (len(noise) + 1) for cut in cuts)})):
            assert not answer.feed(noise[start:end])
    except Malformed:
        pass


@given(st.binary(max_size=200), cuts)
def test_arbitrary_bytes_after_a_chunked_head_never_crash(noise: bytes, cuts: list[int]):
    answer = Answer(LIMIT)
    answer.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    try:
        for start, end in pairwise(sorted({0, len(noise), *(cut % (len(noise) + 1) for cut in cuts)})):
            if answer.feed(noise[start:end]):
                break
    except Malformed:
        pass


def test_a_chunk_extension_is_ignored():
    answer = Answer(LIMIT)
    assert answer.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n")
    assert answer.body == b"{}"


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: Close\r\n"])
def test_an_answer_says_that_its_connection_ends(head: bytes):
    answer = Answer(LIMIT)
    assert answer.feed(head + b"Content-Length: 2\r\n\r\n{}")
    assert answer.head is not None
    assert not answer.head.keep_alive


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
MALFORMED = {
    "no status line": b"hello\r\n\r\n",
    "another protocol": b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "an interim answer": b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}",
    "neither length": OK + b"\r\n{}",
    "both lengths": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two codings": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "an unknown coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "a content coding": OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "a signed length": OK + b"Content-Length: +2\r\n\r\n{}",
    "a hexadecimal length": OK + b"Content-Length: 0x2\r\n\r\n{}",
    "an empty length": OK + b"Content-Length:\r\n\r\n{}",
    "a length above the limit": OK + b"Content-Length: 10001\r\n\r\n",
    "more than its length": OK + b"Content-Length: 2\r\n\r\n{}{}",
    "a folded header": OK + b"Content-Length: 2\r\n 3\r\n\r\n{}",
    "a space before the colon": OK + b"Content-Length : 2\r\n\r\n{}",
    "a header without a colon": OK + b"Content-Length\r\n\r\n{}",
    "a bare line feed in a header": OK + b"X: 1\nContent-Length: 2\r\n\r\n{}",
    "a head without an end": OK + b"X: " + b"x" * MAX_HEAD_BYTES,
    "a chunk size that is no number": CHUNKED + b"xyz\r\n{}\r\n0\r\n\r\n",
    "an empty chunk size": CHUNKED + b"\r\n",
    "a negative chunk size": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n",
    "a chunk size without an end": CHUNKED + b"0" * 2_000,
    "chunks above the limit": CHUNKED + b"2710\r\n" + b"x" * 10_000 + b"\r\n1\r\nx\r\n0\r\n\r\n",
    "a chunk size above the limit": CHUNKED + b"ffffffff\r\n",
    "a trailer": CHUNKED + b"2\r\n{}\r\n0\r\nX: y\r\n\r\n",
    "more than its last chunk": CHUNKED + b"2\r\n{}\r\n0\r\n\r\nHTTP/1.1",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_what_is_no_clean_answer_is_refused(data: bytes, step: int):
    with pytest.raises(Malformed):
        feed_in_steps(data, step)


def feed_in_steps(data: bytes, step: int) -> None:
    """Feed `data`; what is left when the answer is complete is refused, as the connection refuses it."""
    answer = Answer(LIMIT)
    for start in range(0, len(data), step):
        if answer.feed(data[start : start + step]):
            assert data[start + step :], "accepted"
            raise Malformed("is followed by something")


def test_a_body_of_exactly_the_limit_is_read():
    for whole in (http(b"x" * LIMIT), chunked(b"x" * LIMIT)):
        answer = Answer(LIMIT)
        assert answer.feed(whole)
        assert len(answer.body) == LIMIT
