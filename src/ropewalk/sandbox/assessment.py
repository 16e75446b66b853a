"""What this host can enforce, what it cannot, and what stands in: for `ropewalk doctor`, and for the refusal to start below the floor.

A pure function of `facts`. The floor: whatever a guest might reach for outside of itself has a wall before it that the kernel keeps. With
user namespaces most of it is not there at all, and seccomp is the second wall. Without them landlock and seccomp are the two; landlock has
to be of version 4 (Linux 6.7), from which on everything that would leave a trace outside (writing, truncating, connecting) is behind
both. Whatever is missing above the floor has something that stands in, and is named.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from msgspec import Struct

from ropewalk.sandbox.facts import HostFacts

ProfileName = Literal["user-namespace", "landlock", "unsafe"]
"""The ways to build a sandbox. `unsafe` builds none: processes and resource limits are all there is."""

UNSAFE: Final = (
    "twists run WITHOUT A SANDBOX, as ordinary processes of this node's user: they can read its files, use the network, start programs and "
    "signal other processes. One process for each attempt and resource limits are all that is left. Run only code that you would run "
    "yourself, and take --unsafe-no-sandbox (ROPEWALK_UNSAFE_NO_SANDBOX) away for any other"
)
"""What it is to run without a sandbox, in words."""

_LEAST_KERNEL: Final = (5, 12)
_NEEDED_NAMESPACES: Final = frozenset({"user", "mount", "pid", "net"})
_LEAST_ABI: Final = 4
_SCOPES_ABI: Final = 6


class Finding(Struct, frozen=True, kw_only=True):
    """One means of isolation on this host.

    `state`: `enforced`; `absent`, and `detail` says what stands in; `below_floor`, and `detail` says what to do; or `off`: whoever runs the
    node has switched it off.
    """

    means: str
    state: Literal["enforced", "absent", "below_floor", "off"]
    detail: str


class Assessment(Struct, frozen=True, kw_only=True):
    """Everything that was found. The node starts only when `problems` is empty; `profile` is then the sandbox that it makes."""

    profile: ProfileName
    findings: list[Finding]

    @property
    def problems(self) -> list[Finding]:
        """What is below the floor."""
        return [finding for finding in self.findings if finding.state == "below_floor"]


def assess(facts: HostFacts, *, unsafe: bool = False) -> Assessment:
    """Judge the host; with `unsafe` only whether processes can be made on it at all."""
    if unsafe:
        off = Finding(means="sandbox", state="off", detail=UNSAFE)
        return Assessment(profile="unsafe", findings=[_machine(facts), off])
    return Assessment(
        profile="user-namespace" if _has_namespaces(facts) else "landlock",
        findings=[
            _machine(facts),
            _kernel(facts),
            _namespaces(facts),
            _identity(facts),
            _seccomp(facts),
            _landlock(facts),
            _landlock_extent(facts),
            _door(facts),
            _memory(facts),
            _cgroup(facts),
        ],
    )


def _has_namespaces(facts: HostFacts) -> bool:
    return facts.user_namespaces and set(facts.namespaces) >= _NEEDED_NAMESPACES


def has_door(facts: HostFacts) -> bool:
    """Whether ordinary HTTP clients can be let as far as the host, and no further."""
    return _has_namespaces(facts) and facts.landlock_abi >= _LEAST_ABI and facts.finds_owners


def _enforced(means: str, detail: str) -> Finding:
    return Finding(means=means, state="enforced", detail=detail)


def _absent(means: str, detail: str) -> Finding:
    return Finding(means=means, state="absent", detail=detail)


def _below(means: str, detail: str) -> Finding:
    return Finding(means=means, state="below_floor", detail=detail)


def _machine(facts: HostFacts) -> Finding:
    if facts.machine == "x86_64":
        return _enforced("machine", "x86_64: the system call table is for this machine")
    return _below("machine", f"{facts.machine}: system calls are known for x86_64 only; run the node on such a machine")


def _kernel(facts: HostFacts) -> Finding:
    found = re.match(r"(\d+)\.(\d+)", facts.kernel)
    if found and (int(found[1]), int(found[2])) >= _LEAST_KERNEL:
        return _enforced("kernel", f"Linux {facts.kernel}")
    return _below("kernel", f"Linux {facts.kernel}: mounts can be made read-only as a whole since 5.12; use a newer kernel")


def _namespaces(facts: HostFacts) -> Finding:
    if _has_namespaces(facts):
        return _enforced("namespaces", ", ".join(facts.namespaces))
    missing = ", ".join(sorted(_NEEDED_NAMESPACES - set(facts.namespaces)))
    remedy = (
        f"this kernel has no {missing} namespaces: use one that has"
        if missing
        else "user namespaces cannot be made: allow them (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces, or on Ubuntu "
        "kernel.apparmor_restrict_unprivileged_userns=0; in a container, a seccomp and an AppArmor profile that allow unshare and mount)"
    )
    if facts.landlock_abi >= _LEAST_ABI:
        stands_in = (
            "landlock stands in for mounts, seccomp for the rest. Guests can learn whether a path exists, the host's name, and which process "
            "numbers are taken"
        )
        return _absent("namespaces", f"{remedy}. Until then {stands_in}")
    has = (
        f"has landlock {facts.landlock_abi}" if facts.landlock_abi else "has no landlock (CONFIG_SECURITY_LANDLOCK, lsm=landlock)"
    )
    return _below("namespaces", f"{remedy}; or have landlock {_LEAST_ABI} stand in (Linux 6.7): this host {has}")


def _identity(facts: HostFacts) -> Finding:
    if facts.user == 0 and facts.maps_nobody and _has_namespaces(facts):
        return _enforced("identity", "guests run as nobody (65534)")
    decides = "the mounts decide" if _has_namespaces(facts) else "landlock decides"
    as_root = "; better run the node as a user of its own than as root" if facts.user == 0 else ""
    return _absent("identity", f"guests run as the node's own user, without capabilities; {decides} what it can read{as_root}")


def _seccomp(facts: HostFacts) -> Finding:
    if facts.seccomp:
        return _enforced("seccomp", "an allow list of system calls")
    return _below("seccomp", "this kernel cannot filter system calls; use one built with CONFIG_SECCOMP_FILTER")


def _landlock(facts: HostFacts) -> Finding:
    on_top = " on top of the mounts" if _has_namespaces(facts) else ""
    if facts.landlock_abi:
        return _enforced("landlock", f"files are read-only, by landlock {facts.landlock_abi}{on_top}")
    return _absent("landlock", "read-only mounts and the refusal to open for writing stand in")


def _landlock_extent(facts: HostFacts) -> Finding:
    abi = facts.landlock_abi
    if abi >= _SCOPES_ABI:
        return _enforced("landlock scopes", "no signals or abstract sockets to the outside, no TCP")
    missing = "TCP, signals and abstract sockets" if abi < _LEAST_ABI else "signals and abstract sockets"
    stands_in = (
        "the network namespace and the system call table stand in"
        if _has_namespaces(facts)
        else "the system call table stands in"
    )
    return _absent("landlock scopes", f"landlock does not cover {missing} here: {stands_in}")


def _door(facts: HostFacts) -> Finding:
    if has_door(facts):
        return _enforced(
            "door", "HTTP clients of twists that declare Network connect to the host over the sandbox's own loopback"
        )
    if not _has_namespaces(facts):
        why = "there is no network namespace, and landlock knows ports but not addresses"
    elif facts.landlock_abi < _LEAST_ABI:
        why = f"landlock {_LEAST_ABI} (Linux 6.7) is what keeps the sandbox's processes from connecting to one another"
    else:
        why = "this kernel does not tell whose a connection is: it needs CONFIG_INET_DIAG, or its module inet_diag loaded"
    return _absent("door", f"{why}. No sockets at all stand in: twists make HTTP requests by Network.fetch, other clients fail")


def _memory(_facts: HostFacts) -> Finding:
    return _enforced(
        "memory",
        "each process is looked at every 20 ms and when it is done; RLIMIT_DATA bounds it; shared memory and memfd are refused",
    )


def _cgroup(facts: HostFacts) -> Finding:
    if facts.cgroup is not None:
        return _enforced("cgroup", f"all guests together, in a group below {facts.cgroup}: memory.max and pids.max")
    remedy = "none (version 2, with memory and pids) is delegated to this process alone, as Delegate=yes of a systemd unit does"
    return _absent("cgroup", f"{remedy}; the looks at each process and waiting for room stand in")
