"""Which addresses may be connected to (threat A21)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.addresses import Addresses, is_loopback, parsed

ISSUER = Addresses.of_issuer()
SERVER = Addresses.of_server()

PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "2001:4860:4860::8888", "172.32.0.1"]
PRIVATE = ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd00::1", "fc00::1"]
LOOPBACK = ["127.0.0.1", "127.255.255.254", "::1"]
NEVER = [
    "169.254.169.254",  # metadata of AWS, Azure, GCP
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fd00:ec2::254",  # metadata of AWS over IPv6, inside a private block
    "100.100.100.200",  # metadata of Alibaba, inside shared address space
    "168.63.129.16",  # Azure's wire server, a public address
    "192.0.0.192",  # metadata of Oracle
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "224.0.0.1",
    "239.255.255.250",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "198.18.0.1",
    "2001:db8::1",
    "100::1",
    "64:ff9b:1::7f00:1",
]
DISGUISED = [
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:0:a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
    "2001:0:a9fe:a9fe::1",  # Teredo server
    "2001:0:808:808:0:0:5601:5601",  # Teredo client, inverted
    "2001:0:808:808:0:0:f7f7:f7f7",  # Teredo, however public both may be
]
NO_ADDRESS = ["", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "::ffff:127.0.0.1:80", "127.0.0.1 "]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_admitted_for_issuers_and_servers(address):
    assert ISSUER.admit(address)
    assert SERVER.admit(address)


@pytest.mark.parametrize("address", PRIVATE + LOOPBACK)
def test_private_and_loopback_addresses_are_for_servers_of_the_operator_only(address):
    assert not ISSUER.admit(address)
    assert SERVER.admit(address)


@pytest.mark.parametrize("address", NEVER + DISGUISED + NO_ADDRESS)
def test_link_local_metadata_and_multicast_are_admitted_in_no_disguise(address):
    assert not ISSUER.admit(address)
    assert not SERVER.admit(address)
    assert not Addresses.of_issuer(loopback=True).admit(address)


@pytest.mark.parametrize("address", ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1"])
def test_a_disguised_loopback_address_is_loopback(address):
    assert not ISSUER.admit(address)
    assert Addresses.of_issuer(loopback=True).admit(address)


def test_an_issuer_on_loopback_opens_loopback_and_nothing_private():
    policy = Addresses.of_issuer(loopback=True)
    assert policy.admit("127.0.0.1")
    assert not policy.admit("10.0.0.1")


def test_listed_networks_are_added_for_an_issuer_and_exclusive_for_a_server():
    networks = (ip_network("10.1.0.0/16"), ip_network("fd00:1::/32"))
    issuer, server = Addresses.of_issuer(networks), Addresses.of_server(networks)
    for address in ("10.1.2.3", "fd00:1::9", "::ffff:10.1.2.3"):
        assert issuer.admit(address)
        assert server.admit(address)
    assert issuer.admit("8.8.8.8")
    for address in ("8.8.8.8", "10.2.0.1", "127.0.0.1"):
        assert not server.admit(address)


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("0.0.0.0/0", "169.254.169.254"),
        ("0.0.0.0/0", "0.0.0.0"),
        ("::/0", "fe80::1"),
        ("fd00::/8", "fd00:ec2::254"),
        ("100.64.0.0/10", "100.100.100.200"),
        ("168.0.0.0/8", "168.63.129.16"),
        ("2000::/3", "2001:0:808:808:0:0:f7f7:f7f7"),
    ],
)
def test_a_wide_network_does_not_open_forbidden_ground_by_accident(network, address):
    assert not Addresses.of_server((ip_network(network),)).admit(address)
    assert not Addresses.of_issuer((ip_network(network),)).admit(address)


@pytest.mark.parametrize(
    ("network", "address"),
    [("169.254.169.254/32", "169.254.169.254"), ("fe80::/64", "fe80::1"), ("198.18.0.0/15", "198.18.0.1")],
)
def test_a_network_that_names_forbidden_ground_opens_it(network, address):
    assert Addresses.of_server((ip_network(network),)).admit(address)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["mapped", "nat64", "6to4", "translated"]))
def test_no_ipv6_disguise_admits_more_than_the_ipv4_address_in_it(number, disguise):
    forms = {
        "mapped": (0xFFFF << 32) | number,
        "translated": (0xFFFF << 48) | number,
        "nat64": (0x0064FF9B << 96) | number,
        "6to4": (0x2002 << 112) | (number << 80) | 1,
    }
    disguised, plain = str(IPv6Address(forms[disguise])), str(IPv4Address(number))
    for policy in (ISSUER, SERVER, Addresses.of_issuer(loopback=True)):
        assert policy.admit(disguised) == policy.admit(plain)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_loopback_is_known_by_its_spelling(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["localhost.example.com", "example.com", "10.0.0.1", "127.0.0.1.nip.io", "", "0.0.0.0", "::", "[::]"]
)
def test_nothing_else_is_taken_for_loopback(host):
    assert not is_loopback(host)


def test_a_parsed_address_has_one_spelling():
    assert parsed("::ffff:192.0.2.1") == IPv4Address("192.0.2.1")
    assert parsed("2001:DB8:0::1") == IPv6Address("2001:db8::1")
    assert parsed("fe80::1%eth0") == IPv6Address("fe80::1")
    assert parsed("example.com") is None
