"""Which addresses an outgoing connection may go to. Pure rules; `net.py` and `dial.py` apply them."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK = tuple(map(ip_network, ("127.0.0.0/8", "::1/128")))
PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")))
# Never by default, in either policy: link-local with its metadata services, the metadata services that clouds put
# elsewhere (AWS, Alibaba, Azure, Oracle), "this host", multicast, blocks that nobody may legitimately use, and the
# tunnels that hide an IPv4 address too well (Teredo, NAT64 under local prefixes).
FORBIDDEN = tuple(
    map(
        ip_network,
        (
            "169.254.0.0/16",
            "fe80::/10",
            "fec0::/10",
            "fd00:ec2::254/128",
            "100.100.100.200/32",
            "168.63.129.16/32",
            "192.0.0.0/24",
            "0.0.0.0/8",
            "::/128",
            "224.0.0.0/4",
            "ff00::/8",
            "240.0.0.0/4",
            "192.0.2.0/24",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "198.18.0.0/15",
            "192.88.99.0/24",
            "100::/64",
            "2001::/32",
            "2001:db8::/32",
            "64:ff9b:1::/48",
        ),
    )
)
EMBEDDING = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


class AddressRefused(OSError):
    """An address that this policy does not connect to; an OSError, as all that fails on the way to a connection."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EACCES, why)


def parsed(text: str) -> Address | None:
    """Return the address, None for what is none; an IPv4 address in IPv6 clothes is the IPv4 address (RFC 4291)."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def unwrapped(address: Address) -> tuple[Address, ...]:
    """Return the IPv4 addresses that an IPv6 one carries (mapped, compatible, 6to4, NAT64), else itself."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.sixtofour:
        return (address.sixtofour,)
    # ::/96 has the two addresses that carry nothing: unspecified and loopback.
    if int(address) > 1 and any(address in network for network in EMBEDDING):
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    return (address,)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Which addresses may be connected to: whole classes by flag, and `networks` whatever their class.

    A network opens forbidden ground (link-local, metadata, multicast) only where it lies wholly inside it:
    `169.254.169.254/32` says what it means, `0.0.0.0/0` does not.
    """

    networks: tuple[Network, ...] = ()
    public: bool = True
    private: bool = False
    loopback: bool = False

    @classmethod
    def of_issuer(cls, networks: tuple[Network, ...] = (), *, loopback: bool = False) -> Addresses:
        """Public addresses and the listed networks; loopback where the issuer itself is configured there."""
        return cls(networks, loopback=loopback)

    @classmethod
    def of_server(cls, networks: tuple[Network, ...] = ()) -> Addresses:
        """Anything an operator may run a server on; with `networks`, those alone."""
        return cls(networks, public=not networks, private=not networks, loopback=not networks)

    def admit(self, address: str) -> bool:
        """Say whether this literal address may be connected to, with everything that it embeds."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return all(self._admits(one) for one in unwrapped(parsed))

    def _admits(self, address: Address) -> bool:
        forbidden = _within(address, FORBIDDEN)
        if any(address in net and (forbidden is None or _inside(net, forbidden)) for net in self.networks):
            return True
        if forbidden:
            return False
        if _within(address, LOOPBACK):
            return self.loopback
        if _within(address, PRIVATE):
            return self.private
        return self.public and address.is_global


def _within(address: Address, networks: tuple[Network, ...]) -> Network | None:
    return next((network for network in networks if address in network), None)


def _inside(network: Network, outer: Network) -> bool:
    return network.version == outer.version and network.subnet_of(outer)  # type: ignore[arg-type]


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine by its spelling alone: `localhost` or a loopback literal, `[::1]` too."""
    if host.lower().rstrip(".") in LOCAL_NAMES:
        return True
    try:
        return _within(ip_address(host.removeprefix("[").removesuffix("]")), LOOPBACK) is not None
    except ValueError:
        return False
