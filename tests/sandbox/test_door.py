"""What lets ordinary clients as far as the host, and no further: the tables, the finding of owners, the authority."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ropewalk.sandbox.assessment import assess, has_door
from ropewalk.sandbox.authority import Authority
from ropewalk.sandbox.owners import can_be_found, inode_of
from ropewalk.sandbox.profile import describe_profile, make_plan, printable
from ropewalk.sandbox.seccomp import ALLOW, compile_table, without_fork, zygotes_table
from ropewalk.sandbox.syscalls import NUMBERS
from ropewalk.wire.plan import DOOR_AUTHORITY, DOOR_PORT, Text
from tests.sandbox.test_profile import HOST, changed
from tests.sandbox.test_seccomp import ARGUMENTS, X86_64, run_bpf, verdict_of

TABLE = zygotes_table(network=True)
PROGRAM = compile_table(TABLE)
DOOR = changed(finds_owners=True)
MORE = {"socket", "connect", "setsockopt", "getsockopt", "sendto"}


def allows(name: str, *arguments: int) -> bool:
    return without_fork(TABLE).decide(NUMBERS[name], (*arguments, *[0] * 6)[:6]) == ALLOW


# ── System calls ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_clients_may_connect_by_tcp_and_nothing_else() -> None:
    plain, now = zygotes_table(), TABLE
    assert {name for name in NUMBERS if plain.rulings[name] != now.rulings[name]} == MORE
    assert allows("socket", socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.IPPROTO_TCP)
    for family, kind, protocol in [(2, 2, 0), (2, 3, 6), (2, 1, 132), (2, 1, 262), (10, 1, 0), (1, 1, 0), (16, 3, 0), (38, 5, 0)]:
        assert not allows("socket", family, kind, protocol)


@pytest.mark.parametrize("name", ["bind", "listen", "accept", "accept4", "sendmsg", "sendmmsg", "splice", "recvmmsg"])
def test_clients_may_never_be_connected_to(name: str) -> None:
    assert not allows(name)


@pytest.mark.parametrize("flags", [socket.MSG_FASTOPEN, socket.MSG_OOB, 0x0400_0000, socket.MSG_FASTOPEN | socket.MSG_NOSIGNAL])
def test_sending_does_not_connect(flags: int) -> None:
    assert allows("sendto", 3, 0, 0, socket.MSG_NOSIGNAL)
    assert not allows("sendto", 3, 0, 0, flags)


@given(number=st.sampled_from([NUMBERS[name] for name in sorted(MORE)]), arguments=ARGUMENTS)
def test_arguments_are_judged_the_same_compiled(number: int, arguments: Sequence[int]) -> None:
    assert verdict_of(run_bpf(PROGRAM, X86_64, number, arguments)) == TABLE.decide(number, arguments)


# ── The profile ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_versions_that_declare_network_are_let_through() -> None:
    plan = make_plan(describe_profile(DOOR, "/bundles", authority="PEM"), DOOR)
    assert plan.networked is not None
    assert plan.networked.landlock is not None
    assert plan.confinement.landlock is not None
    assert (plan.confinement.door, plan.confinement.landlock.connect) == (False, [])
    assert (plan.networked.door, plan.networked.landlock.connect) == (True, [DOOR_PORT])
    assert plan.networked.no_fork == plan.confinement.no_fork
    assert Text(target=DOOR_AUTHORITY, text="PEM") in plan.mounts


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"user_namespaces": False}, "ports but not addresses"),
        ({"landlock_abi": 3}, "Linux 6.7"),
        ({"finds_owners": False}, "CONFIG_INET_DIAG"),
    ],
)
def test_where_clients_could_not_be_held_there_is_no_door(facts: dict[str, Any], why: str) -> None:
    host = changed(**{"finds_owners": True, **facts})
    assert not has_door(host)
    found = assess(host)
    (door,) = [one for one in found.findings if one.means == "door"]
    assert door.state == "absent"
    assert why in door.detail
    assert "Network.fetch" in door.detail
    assert make_plan(describe_profile(host, "/bundles", found.profile), host).networked is None


def test_what_is_printed_says_what_is_other_with_network() -> None:
    plain: Any = printable(describe_profile(DOOR, "/bundles"))
    assert {plain["seccomp_names"][number] for number in plain["seccomp_network"]} == MORE
    assert plain["seccomp_network"][str(NUMBERS["connect"])] == "allow"
    assert printable(describe_profile(HOST, "/bundles"))["seccomp_network"] is None


# ── Owners ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not can_be_found(), reason="OWNERS WERE NOT TESTED: this kernel does not tell whose a connection is")
def test_a_connection_is_whose_socket_it_is() -> None:
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 4) as diag,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as one,
        socket.create_connection(server.getsockname()) as two,
    ):
        for client in (one, two):
            assert inode_of(diag, client.getsockname(), server.getsockname()) == os.fstat(client.fileno()).st_ino
        mine = one.getsockname()
        one.close()
        assert inode_of(diag, mine, server.getsockname()) is None


# ── The authority ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> str | None:
    """Have two contexts shake hands in memory; returns the protocol that they chose. Raises ssl.SSLError."""
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(ours, theirs, server_hostname=host), server.wrap_bio(theirs, ours, server_side=True)]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass  # it is the other's turn
    return ends[0].selected_alpn_protocol()


@pytest.mark.parametrize(
    "host", ["example.com", "a." * 100 + "example.com", "xn--mnchen-3ya.example", "127.0.0.1", "2001:db8::1"]
)
def test_its_certificates_are_those_of_the_host(host: str) -> None:
    authority = Authority()
    client = ssl.create_default_context(cadata=authority.certificate)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.set_alpn_protocols(["h2", "http/1.1"])
    assert handshake(authority.context_for(host), client, host) == "http/1.1"
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(authority.context_for("example.org"), client, host)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(Authority().context_for(host), client, host)


def test_it_keeps_certificates_of_so_many_hosts() -> None:
    authority = Authority()
    first = authority.context_for("0.example.com")
    for number in range(256):
        authority.context_for(f"{number}.example.com")
    assert authority.context_for("0.example.com") is first
    authority.context_for("256.example.com")
    authority.context_for("257.example.com")
    assert len(authority._contexts) == 256
