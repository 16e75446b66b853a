"""What this host can enforce, what it cannot, and what stands in: for `ropewalk doctor`, and for the refusal to start below the floor.

A pure function of `facts`. The floor is what without which a guest could reach past the sandbox; whatever is missing above it has
something that stands in, and is named.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from msgspec import Struct

from ropewalk.sandbox.facts import HostFacts

_LEAST_KERNEL: Final = (5, 12)
_NET_ABI: Final = 4
_SCOPES_ABI: Final = 6


class Finding(Struct, frozen=True, kw_only=True):
    """One means of isolation on this host.

    `state`: `enforced`; `absent`, and `detail` says what stands in; or `below_floor`, and `detail` says what to do.
    """

    means: str
    state: Literal["enforced", "absent", "below_floor"]
    detail: str


class Assessment(Struct, frozen=True, kw_only=True):
    """Everything that was found. The node starts only when `problems` is empty."""

    findings: list[Finding]

    @property
    def problems(self) -> list[Finding]:
        """What is below the floor."""
        return [finding for finding in self.findings if finding.state == "below_floor"]


def assess(facts: HostFacts) -> Assessment:
    """Judge the host."""
    return Assessment(
        findings=[
            _machine(facts),
            _kernel(facts),
            _namespaces(facts),
            _identity(facts),
            _seccomp(facts),
            _landlock(facts),
            _landlock_extent(facts),
            Finding(
                means="memory",
                state="enforced",
                detail="each process is looked at every 20 ms and when it is done; RLIMIT_DATA bounds it; shared memory and memfd are refused",
            ),
        ]
    )


def _enforced(means: str, detail: str) -> Finding:
    return Finding(means=means, state="enforced", detail=detail)


def _below(means: str, detail: str) -> Finding:
    return Finding(means=means, state="below_floor", detail=detail)


def _machine(facts: HostFacts) -> Finding:
    if facts.machine == "x86_64":
        return _enforced("machine", "x86_64: the system call table is for this machine")
    return _below("machine", f"{facts.machine}: system calls can be filtered on x86_64 only; run the node on such a machine")


def _kernel(facts: HostFacts) -> Finding:
    found = re.match(r"(\d+)\.(\d+)", facts.kernel)
    if found and (int(found[1]), int(found[2])) >= _LEAST_KERNEL:
        return _enforced("kernel", f"Linux {facts.kernel}")
    return _below("kernel", f"Linux {facts.kernel}: mounts can be made read-only as a whole since 5.12; use a newer kernel")


def _namespaces(facts: HostFacts) -> Finding:
    if not facts.user_namespaces:
        remedy = (
            "user namespaces cannot be made: allow them (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces, or on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns=0; in a container, run it with a seccomp profile that allows unshare)"
        )
        return _below("namespaces", remedy)
    missing = {"user", "mount", "pid", "net"} - set(facts.namespaces)
    if missing:
        return _below("namespaces", f"this kernel has no {', '.join(sorted(missing))} namespaces; use one that has")
    return _enforced("namespaces", ", ".join(facts.namespaces))


def _identity(facts: HostFacts) -> Finding:
    if facts.user == 0 and facts.maps_nobody:
        return _enforced("identity", "guests run as nobody (65534)")
    stands_in = "guests run as the node's own user, without capabilities; the mounts decide what it can read"
    return Finding(means="identity", state="absent", detail=stands_in)


def _seccomp(facts: HostFacts) -> Finding:
    if facts.seccomp:
        return _enforced("seccomp", "an allow list of system calls")
    return _below("seccomp", "this kernel cannot filter system calls; use one built with CONFIG_SECCOMP_FILTER")


def _landlock(facts: HostFacts) -> Finding:
    if facts.landlock_abi:
        return _enforced("landlock", f"files are read-only, by landlock {facts.landlock_abi} on top of the mounts")
    return Finding(means="landlock", state="absent", detail="read-only mounts and the refusal to open for writing stand in")


def _landlock_extent(facts: HostFacts) -> Finding:
    abi = facts.landlock_abi
    if abi >= _SCOPES_ABI:
        return _enforced("landlock scopes", "no signals or abstract sockets to the outside, no TCP")
    missing = "TCP, signals and abstract sockets" if abi < _NET_ABI else "signals and abstract sockets"
    stands_in = f"landlock does not cover {missing} here: the network namespace and the system call table stand in"
    return Finding(means="landlock scopes", state="absent", detail=stands_in)
