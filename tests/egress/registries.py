"""IANA's two registries of special-purpose addresses, written out apart from the guard's own table."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final

IANA: Final = """
0.0.0.0/8 no        0.0.0.0/32 no        10.0.0.0/8 no         100.64.0.0/10 no      127.0.0.0/8 no        169.254.0.0/16 no
172.16.0.0/12 no    192.0.0.0/24 no      192.0.0.0/29 no       192.0.0.8/32 no       192.0.0.9/32 yes      192.0.0.10/32 yes
192.0.0.170/32 no   192.0.0.171/32 no    192.0.2.0/24 no       192.31.196.0/24 yes   192.52.193.0/24 yes   192.88.99.0/24 no
192.88.99.2/32 no   192.168.0.0/16 no    192.175.48.0/24 yes   198.18.0.0/15 no      198.51.100.0/24 no    203.0.113.0/24 no
240.0.0.0/4 no      255.255.255.255/32 no
::1/128 no          ::/128 no            ::ffff:0:0/96 no      64:ff9b:1::/48 no     100::/64 no           100:0:0:1::/64 no
2001::/23 no        2001::/32 no         2001:1::1/128 yes     2001:1::2/128 yes     2001:1::3/128 yes     2001:2::/48 no
2001:3::/32 yes     2001:4:112::/48 yes  2001:10::/28 no       2001:20::/28 yes      2001:30::/28 yes      2001:db8::/32 no
2002::/16 no        2620:4f:8000::/48 yes  3fff::/20 no        5f00::/16 no          fc00::/7 no           fe80::/10 no
"""
"""Every block of IANA's two special-purpose address registries, and whether they call it globally reachable.

Where they say N/A it is no here; 64:ff9b::/96, which they say is, depends on the IPv4 address within, and is left to the lists above.
"""

REACHABLE: Final = dict(zip(map(ip_network, IANA.split()[::2]), (word == "yes" for word in IANA.split()[1::2]), strict=True))


def said_reachable(address: IPv4Address | IPv6Address) -> bool | None:
    """Return what the registries say of the smallest block that the address is in; None when it is in none."""
    blocks = [block for block in REACHABLE if address in block]
    return REACHABLE[max(blocks, key=lambda block: block.prefixlen)] if blocks else None
