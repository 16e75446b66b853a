"""Which IP addresses and names are public: the only ones that a twist reaches unless its operator says otherwise.

An own table, since the standard library's `is_global` differs from release to release. Sources: IANA's IPv4 and IPv6 Special-Purpose
Address Registries (RFC 6890; what is not "Globally Reachable: True" there is not public here), RFC 5771 and RFC 4291 (multicast),
and the addresses at which cloud providers serve a machine's own credentials. An IPv6 address is public only within 2000::/3, the one
range that is assigned for global unicast; forms that embed an IPv4 address and are translated on the way are as public as that one.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from ropewalk.egress.urls import Address

_REACHABLE: Final = [
    "192.0.0.9/32",  # Port Control Protocol anycast, RFC 7723
    "192.0.0.10/32",  # TURN anycast, RFC 8155
    "2001:1::1/128",  # Port Control Protocol anycast, RFC 7723
    "2001:1::2/128",  # TURN anycast, RFC 8155
    "2001:1::3/128",  # DNS-SD service registration anycast, RFC 9665
    "2001:3::/32",  # AMT, RFC 7450
    "2001:4:112::/48",  # AS112, RFC 7535
    "2001:20::/28",  # ORCHIDv2, RFC 7343
    "2001:30::/28",  # drone remote identification, RFC 9374
]

_SPECIAL: Final = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private use",
    "100.64.0.0/10": "shared address space",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "cloud metadata",
    "169.254.0.0/16": "link-local and cloud metadata",
    "172.16.0.0/12": "private use",
    "192.0.0.0/24": "IETF protocol assignments",
    "192.0.2.0/24": "documentation",
    "192.88.99.0/24": "deprecated 6to4 relays",
    "192.168.0.0/16": "private use",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved and broadcast",
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::ffff:0:0/96": "IPv4-mapped",
    "::/96": "IPv4-compatible",
    "64:ff9b:1::/48": "local-use IPv4 translation",
    "100::/64": "discard-only",
    "100:0:0:1::/64": "dummy prefix",
    "2001::/32": "Teredo",
    "2001:2::/48": "benchmarking",
    "2001:10::/28": "deprecated ORCHID",
    "2001::/23": "IETF protocol assignments",
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4",
    "3fff::/20": "documentation",
    "5f00::/16": "segment routing",
    "fc00::/7": "unique local",
    "fe80::/10": "link-local",
    "fec0::/10": "deprecated site-local",
    "ff00::/8": "multicast",
}

_SPECIAL_NAMES: Final = {
    "localhost": "loopback",  # RFC 6761, 6.3
    "local": "link-local",  # RFC 6762, 3
    "home.arpa": "a home network",  # RFC 8375
    "internal": "private use, clouds' metadata among it",  # ICANN Board resolution 2024.07.29.06
}

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)


def is_public(address: Address) -> bool:
    """Whether the address is reachable for everyone on the internet, and is no cloud's metadata service."""
    return why_not_public(address) is None


def why_not_public(address: Address) -> str | None:
    """Return what kind of address this is, such as `loopback (127.0.0.0/8)`; None when it is public."""
    for network in _REACHABLE_NETWORKS:
        if address in network:
            return None
    for special, kind in _SPECIAL_NETWORKS:
        if address in special:
            return f"{kind} ({special})"
    if isinstance(address, IPv4Address):
        return None
    embedded = _embedded(address)
    if embedded is not None and (why := why_not_public(embedded)):
        return f"an IPv6 form of {why}"
    if address in _GLOBAL_UNICAST or address in _NAT64:
        return None
    return "not assigned for global unicast (outside 2000::/3)"


def why_name_not_public(host: str) -> str | None:
    """Return what kind of name this is when it or one above it is kept for private use, such as `loopback (localhost)`; else None.

    Whatever it resolves to here and now: such names have no meaning that is the same for everyone.
    """
    labels = host.split(".")
    tails = (".".join(labels[-count:]) for count in (1, 2))
    return next((f"{_SPECIAL_NAMES[tail]} ({tail})" for tail in tails if tail in _SPECIAL_NAMES), None)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a NAT64 or ISATAP router would deliver to."""
    number = int(address)
    if address in _NAT64 or (number >> 32) & 0xFFFF_FFFF in _ISATAP:
        return IPv4Address(number & 0xFFFF_FFFF)
    return None


_REACHABLE_NETWORKS: Final[list[IPv4Network | IPv6Network]] = [ip_network(text) for text in _REACHABLE]
_SPECIAL_NETWORKS: Final[list[tuple[IPv4Network | IPv6Network, str]]] = [
    (ip_network(text), kind) for text, kind in _SPECIAL.items()
]
