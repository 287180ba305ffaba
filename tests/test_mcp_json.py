"""Two readers of one body must see one thing; what leaves room for two readings is refused (A06, A44)."""

from __future__ import annotations

import json as lenient

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mcp import json
from gateway.mcp.errors import Malformed

REFUSED = {
    "a member twice": b'{"name":"charge","name":"refund"}',
    "a member twice, once escaped": b'{"name":"charge","n\\u0061me":"refund"}',
    "a member twice, deep inside": b'{"a":[{"b":{"c":1,"c":1}}]}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "minus Infinity": b'{"a":-Infinity}',
    "a number that overflows": b'{"a":1e400}',
    "half a surrogate pair": b'{"a":"\\ud800"}',
    "half a surrogate pair as a name": b'{"\\udc00":1}',
    "a byte order mark": b'\xef\xbb\xbf{"a":1}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a":1}'.encode("utf-16-le"),
    "no UTF-8": b'{"a":"\xff"}',
    "an overlong encoding": b'{"a":"\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "65 levels of arrays": b"[" * 65 + b"]" * 65,
    "65 levels of objects": b'{"a":' * 64 + b"{}" + b"}" * 64,
    "5000 levels": b"[" * 5000 + b"]" * 5000,
    "500,000 levels that never close": b"[" * 500_000,
    "an integer of 5000 digits": b"9" * 5000,
    "nothing": b"",
    "blanks": b"  \n",
    "two values": b"{}{}",
    "a trailing comma": b'{"a":1,}',
    "a comment": b'{"a":1/**/}',
    "single quotes": b"{'a':1}",
    "a bare control character": b'{"a":"\n"}',
    "a leading zero": b'{"a":01}',
    "a plus sign": b'{"a":+1}',
    "a number without digits after the point": b'{"a":1.}',
    "a word": b"true false",
}
ACCEPTED = {
    "64 levels": b"[" * 64 + b"]" * 64,
    "brackets in a string": b'{"a":"' + b"[{" * 500 + b'"}',
    "an integer of 64 bits and more": str(2**70).encode(),
    "a negative one": str(-(2**70)).encode(),
    "a pair of surrogates": b'"\\ud83d\\ude00"',
    "a line separator": '"\u2028"'.encode(),
    "an escaped NUL": b'{"a\\u0000b":"\\u0000"}',
    "blanks around": b' { "a" : [ 1 , 2 ] }\r\n',
    "null": b"null",
    "a float": b"1.10",
    "minus zero": b"-0.0",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_what_two_readers_may_read_differently_is_refused(body):
    with pytest.raises(Malformed):
        json.decode(body)


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED)
def test_what_everybody_reads_alike_is_read_so(body):
    assert json.decode(body) == lenient.loads(body)


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64, 2**70, -(2**63) - 1, 10**400])
def test_integers_of_any_size_keep_every_digit_in_and_out(number):
    body = b'{"amount":%d}' % number
    value = json.decode(body)
    assert value == {"amount": number}
    assert type(value["amount"]) is int
    assert json.encode(value) == body


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_every_value_survives_however_it_is_written(value, ascii_only, indent):
    body = lenient.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert same(json.decode(body), value)
    assert same(json.decode(json.encode(value)), value)


@given(VALUES)
def test_what_goes_out_means_the_same_to_another_reader(value):
    assert same(lenient.loads(json.encode(value)), value)


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1), st.integers(), min_size=1
    ),
    st.data(),
)
def test_a_member_repeated_anywhere_is_refused_in_either_reading(members, data):
    name = data.draw(st.sampled_from(sorted(members)))
    pairs = [*members.items(), (name, 0)]
    compact = b"{" + b",".join(orjson.dumps(key) + b":%d" % value for key, value in pairs) + b"}"
    for body in (compact, compact.replace(b"{", b"{ ", 1), b'{"nested":' + compact + b"}"):
        with pytest.raises(Malformed):
            json.decode(body)


def same(left, right):
    """Equal, and of equal types: 1 is not 1.0 and not true."""
    return lenient.dumps(left, sort_keys=True) == lenient.dumps(right, sort_keys=True)
