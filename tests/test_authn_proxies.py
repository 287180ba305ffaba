"""The client's address behind proxies (threat A16: forged X-Forwarded-For)."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.proxies import client_address

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def test_a_direct_caller_cannot_choose_its_address():
    assert client_address("203.0.113.9", ["198.51.100.1"], TRUSTED) == "203.0.113.9"


def test_without_trusted_proxies_the_header_says_nothing():
    assert client_address("10.0.0.1", ["198.51.100.1"], ()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["198.51.100.7"], "198.51.100.7"),
        (["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
        (["1.1.1.1, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        (["1.1.1.1", "198.51.100.7", "10.0.0.2"], "198.51.100.7"),
        (["198.51.100.7", "10.0.0.2, 10.0.0.3"], "198.51.100.7"),
        (["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
        (["198.51.100.7, unknown"], "10.0.0.1"),
        (["198.51.100.7, unknown, 10.0.0.2"], "10.0.0.2"),
        (["198.51.100.7,, 10.0.0.2"], "10.0.0.2"),
        (["198.51.100.7, _hidden, 10.0.0.2"], "10.0.0.2"),
        (["198.51.100.7, ' OR 1=1"], "10.0.0.1"),
        (["2001:db8::7"], "2001:db8::7"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
        (["198.51.100.7:4711"], "198.51.100.7"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["198.51.100.7, ::ffff:10.0.0.2"], "198.51.100.7"),
        (["198.51.100.7, fd00::2"], "198.51.100.7"),
    ],
)
def test_hops_are_walked_from_the_last_to_the_first_untrusted_one(forwarded, expected):
    assert client_address("10.0.0.1", forwarded, TRUSTED) == expected


def test_a_proxy_that_connects_over_a_dual_stack_socket_is_still_trusted():
    assert client_address("::ffff:10.0.0.1", ["198.51.100.7"], TRUSTED) == "198.51.100.7"


def test_a_peer_that_is_no_address_is_returned_as_it_is():
    assert client_address("", ["198.51.100.7"], TRUSTED) == ""


hops = st.lists(st.one_of(st.ip_addresses().map(str), st.text(max_size=12)), max_size=5).map(", ".join)


@given(st.lists(hops, max_size=3))
def test_a_caller_behind_one_proxy_is_found_whatever_it_wrote_before(forged):
    assert client_address("10.0.0.1", [*forged, "198.51.100.7"], TRUSTED) == "198.51.100.7"
