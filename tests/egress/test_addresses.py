"""Which addresses are public."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest

from ropewalk.egress.addresses import is_public, why_name_not_public, why_not_public
from tests.egress.registries import REACHABLE, said_reachable

PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0
168.63.129.15 168.63.129.17 172.15.255.255 172.32.0.0 192.0.0.9 192.0.0.10 192.0.1.0 192.31.196.1 192.52.193.1 192.88.98.255
192.88.100.0 192.167.255.255 192.169.0.0 192.175.48.1 198.17.255.255 198.20.0.0 203.0.112.255 203.0.114.0 223.255.255.255
2000::1 2001:1::1 2001:1::2 2001:1::3 2001:3::1 2001:4:112::1 2001:20::1 2001:30::1 2001:200::1 2001:4860:4860::8888
2003::1 2400:cb00::1 2606:4700:4700::1111 2620:4f:8000::1 2a00:1450::1 3ffe::1 3fff:1000::1 64:ff9b::808:808
2a00::5efe:808:808
"""

NOT_PUBLIC = """
0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255 168.63.129.16
169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.8 192.0.0.11 192.0.0.170 192.0.0.192
192.0.2.1 192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.0
239.255.255.255 240.0.0.1 255.255.255.254 255.255.255.255
:: ::1 ::2 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b::a9fe:a9fe
64:ff9b:1::1 64:ff9b:1::808:808 100::1 100:0:0:1::1 2001::1 2001:0:7f00:1:: 2001:2::1 2001:10::1 2001:1::4 2001:4:113::1
2001:40::1 2001:db8::1 2002:: 2002:7f00:1:: 2002:808:808:: 2a00::5efe:7f00:1 2a00::200:5efe:a00:1 3fff::1 4000::1 5f00::1
8000::1 fc00::1 fd00:ec2::254 fd20:ce::254 fdff::1 fe80::1 febf::1 fec0::1 feff::1 ff00::1 ff02::1 ff0e::1
"""


@pytest.mark.parametrize("block", REACHABLE, ids=str)
def test_registered_block(block: IPv4Network | IPv6Network) -> None:
    """Its first and last address are as the registry says of it, or of the smallest block that they are in."""
    for address in (block[0], block[-1]):
        assert is_public(address) == said_reachable(address), address


@pytest.mark.parametrize("text", PUBLIC.split())
def test_public(text: str) -> None:
    assert why_not_public(ip_address(text)) is None


@pytest.mark.parametrize("text", NOT_PUBLIC.split())
def test_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


def test_reason_names_the_range() -> None:
    assert why_not_public(ip_address("10.1.2.3")) == "private use (10.0.0.0/8)"
    assert why_not_public(ip_address("64:ff9b::7f00:1")) == "an IPv6 form of loopback (127.0.0.0/8)"


def test_scope_does_not_hide_an_address() -> None:
    assert not is_public(IPv6Address("fe80::1%eth0"))


@pytest.mark.parametrize(
    "name", ["localhost", "a.localhost", "a.b.local", "metadata.google.internal", "internal", "nas.home.arpa"]
)
def test_name_of_private_use(name: str) -> None:
    assert why_name_not_public(name)


@pytest.mark.parametrize(
    "name", ["mylocalhost", "localhost.example", "local.example", "arpa", "x.arpa", "xinternal", "93.184.216.34", "::1"]
)
def test_name_like_any_other(name: str) -> None:
    assert why_name_not_public(name) is None
