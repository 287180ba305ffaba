"""Values that may be made again: never more of them than there is room for, and the least wanted go first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.lru import Lru

ROOM = 10


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(min_value=0, max_value=ROOM + 2))))
def test_there_is_never_more_than_there_is_room_for(puts: list[tuple[str, int]]):
    lru = Lru[str, bytes](ROOM, len)
    for key, size in puts:
        value = bytes(size)
        lru.put(key, value)
        assert lru.bytes == sum(len(lru.get(one) or b"") for one in "abcdef") <= ROOM
        assert lru.get(key) == (value if size <= ROOM else None)


def test_what_was_asked_for_the_longest_ago_makes_room():
    lru = Lru[str, bytes](ROOM, len)
    for key in "abc":
        lru.put(key, b"1234")
        lru.get("a")
    assert [lru.get(key) for key in "abc"] == [b"1234", None, b"1234"]


def test_what_is_larger_than_all_of_the_room_takes_none():
    lru = Lru[str, bytes](ROOM, len)
    lru.put("a", b"1234")
    lru.put("b", bytes(ROOM + 1))
    assert (lru.get("a"), lru.get("b")) == (b"1234", None)


def test_after_a_clearing_everything_is_made_anew():
    lru = Lru[str, bytes](ROOM, len)
    lru.put("a", b"1234")
    lru.clear()
    assert (lru.get("a"), lru.bytes) == (None, 0)
